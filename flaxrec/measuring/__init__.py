"""How large and how fast a `.tflite` is, ours or another's; knows nothing of JAX or TensorFlow.

fresh_contexts (what a file is fed) -> runners (a file in one of two runtimes) -> timing, profiling
(by operator) -> comparison (files side by side) -> comparison_table, phone (commands for a phone).
"""
