"""From a trained or imported model to the on-device artifact.

serving (the model as a function of one context), assets (what goes with it)
-> lean (the form for conversion), topk, coarse, exclusion (ranking)
-> saved_model -> tflite (the converter) -> flatbuffer, packing (the finished bytes)
-> agreement, verify (the file against JAX)
-> quantize, rounding, constants -> judge, choice (which of the quantised files)
-> metadata, android, bundle, publish (the folder, published by renaming).
TensorFlow is imported inside the functions that need it; all of it runs on the CPU.
"""
