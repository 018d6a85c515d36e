"""Measures the size and speed of any `.tflite`, without JAX or TensorFlow.

fresh_contexts (a file's inputs) -> runners (a file in one of two runtimes) -> timing, profiling
(by operator) -> comparison (files side by side) -> comparison_table, phone (commands for a phone).
"""
