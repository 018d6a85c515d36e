"""From a trained or imported model to the on-device artifact.

serving (the model as a function of one context), assets (what goes with it) -> tflite (SavedModel
and .tflite with the top-K inside) -> verify (the file against JAX) -> bundle (the folder, published
by renaming).
TensorFlow is imported inside the functions that need it; all of it runs on the CPU.
"""
