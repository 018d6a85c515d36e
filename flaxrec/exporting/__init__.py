"""Turns a trained or imported model into an export folder.

serving (the model as a function of one context) -> serving_form (written for conversion), ranking,
topk, coarse, exclusion -> saved_model -> converter, or litert alone -> the bytes, finished by
`flaxrec.tflite`
-> agreement, ranked_lists (compare the file with JAX) -> judge, choice (pick a quantised file)
-> android, bundle (write the folder, whole or not at all).
trial converts an untrained model before training; logits and file_ranks measure a finished file.
Functions that need TensorFlow import it themselves; everything runs on the CPU.
"""
