"""Reads, writes, edits, shrinks and runs a `.tflite`, without JAX or TensorFlow."""
