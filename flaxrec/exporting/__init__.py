"""From a trained or imported model to the on-device artifact.

serving (the model as a function of one context) -> serving_form (written for conversion), topk,
coarse, exclusion (ranking) -> saved_model -> converter -> the bytes, finished by `flaxrec.tflite`
-> agreement, ranked_lists (the file against JAX) -> judge, choice (which of the quantised files)
-> android, bundle (the folder, which appears whole or not at all).
trial converts an untrained model beforehand; logits and file_ranks measure a finished file.
TensorFlow is imported inside the functions that need it; all of it runs on the CPU.
"""
