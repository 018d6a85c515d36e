"""How large and how fast a `.tflite` is, ours or another's; knows nothing of JAX or TensorFlow.

inspection (what the file says of itself) -> fresh_contexts (what it is fed) -> runners -> latency,
profiling -> comparison (files side by side) -> tables, phone (the commands for one).
"""
