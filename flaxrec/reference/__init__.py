"""What connects flaxrec with the TensorFlow example that it follows; the core knows none of it.

input_config (its text protos as a config and a spec of ours).
examples (its example generation, by our pipeline, and the files that it writes).
weights (the reference's weight names and ours, both ways) -> goldens (numbers that the reference
computed, as a config, a spec and arrays) -> stages (ours beside them, by distances) ->
parity_report (a whole folder). logged_metrics (the metrics that it logs).
graph (a .tflite as operators) -> layers (the reference's, found in it) -> published (its finished
models, ready for our export).
What reference mode changes inside the core is listed in `flaxrec/config/quirks.py`.
"""
