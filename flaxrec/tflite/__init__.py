"""The bytes of a `.tflite`: read, written, edited, made smaller, run; no JAX, no TensorFlow."""
