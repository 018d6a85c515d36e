"""Connects flaxrec with the TensorFlow example that it follows, called the reference.

input_config (its text protos as our config and spec).
examples (its example generation by our pipeline, and its files).
weights (its weight names and ours, both ways) -> goldens (numbers that it computed, as a config, a
spec and arrays) -> stages (our numbers compared with them, by distances) -> parity_report (a whole
folder). logged_metrics (the metrics that it logs).
graph (a .tflite as operators) -> layers (the reference's layers in it) -> published (its published
models, ready for our export).
`flaxrec/config/quirks.py` lists what reference mode changes in the core.
"""
