"""Models of the reference that no golden has, their examples and weights."""

import numpy as np

from flaxrec.reference.input_config import to_spec
from tests.support.oracle import Oracle

B, V, TRAINED = 14, 23, 12  # the last two rows are padding only and are not trained on


def embedded(name, length, rows=9, width=3, kind="INT"):
    return {
        "feature_name": name,
        "feature_type": kind,
        "feature_length": length,
        "vocab_size": rows,
        "embedding_dim": width,
    }


def number(name, length):
    return {"feature_name": name, "feature_type": "FLOAT", "feature_length": length}


def model(*activities, user=(), D=4, hidden=(6, 5), ratios=(2, 4), kernel=4, units=3, label_rows=V):
    """(inputs, model) of groups that are (encoder, features...)."""
    kinds = {"global_feature_groups": user, "activity_feature_groups": activities}
    inputs = {
        kind: [{"encoder_type": name, "features": list(features)} for name, *features in groups]
        for kind, groups in kinds.items()
    }
    inputs["label_feature"] = embedded("label", 1, label_rows, D)
    settings = {
        "hidden_layer_dims": list(hidden),
        "eval_top_k": [1, 3, 5],
        "conv_num_filter_ratios": list(ratios),
        "conv_kernel_size": kernel,
        "lstm_num_units": units,
        "num_predictions": 7,
    }
    return inputs, settings


MODELS = {
    # Two tables in another order than the config's; a number between them; one hidden layer.
    "bow": model(
        ("BOW", embedded("b", 6), number("n", 6), embedded("a", 6, 5, 2, "STRING")), hidden=(8,)
    ),
    # The encoder of numbers only: a sum over time, padding included.
    "numbers": model(("BOW", number("n", 5), number("m", 5)), ("BOW", embedded("a", 5))),
    "cnn_7_3": model(("CNN", embedded("a", 7)), ratios=(3,), kernel=3),
    "cnn_10_4": model(("CNN", embedded("a", 10), number("n", 10)), hidden=()),
    "cnn_5_8": model(("CNN", number("n", 5), embedded("a", 5)), ratios=(1, 3, 2), kernel=8),
    "lstm": model(("LSTM", number("n", 6), embedded("a", 6), embedded("z", 6, 4, 2)), units=5),
    # Every encoder and type at once; the ids 'a' are one input, with a table in each group.
    "mixed": model(
        ("CNN", embedded("s", 5, 6, 2, "STRING"), embedded("a", 5), number("n", 5)),
        ("LSTM", embedded("a", 5, 9, 5)),
        ("CNN", number("m", 4)),
        ("LSTM", number("o", 3)),
        user=(
            ("BOW", embedded("gender", 1, 3, 2), embedded("age", 1, 7, 2)),
            ("CNN", embedded("home", 2)),
        ),
        D=6,
        ratios=(1, 2),
        kernel=3,
    ),
}  # fmt: skip


def examples(inputs, seed):
    """Features [B, L] by name and labels [B]; ids repeat, and some are 0 between others."""
    random = np.random.default_rng(seed)
    features = {}
    for spec in to_spec(inputs).inputs:
        if spec.type == "FLOAT":
            values = random.normal(1, 1, (B, spec.length)).astype("float32")
        else:
            values = random.integers(0, spec.rows, (B, spec.length), dtype="int32")
            values[:, 0] = 1 + random.integers(0, 2, B)  # a bag that is not empty
            values[:, 2:] *= random.random((B, spec.length - min(2, spec.length))) < 0.7
        values[::3, spec.length // 2 + 1 :] = 0
        values[TRAINED:] = 0
        features[spec.name] = values
    labels = random.integers(0, inputs["label_feature"]["vocab_size"], B, dtype="int32")
    labels[:3] = 4, 4, 0
    return features, labels


def reference_weights(inputs, settings, seed=0):
    """Initial values with noise on all of them, biases included."""
    random = np.random.default_rng(seed)
    initial = Oracle(inputs, settings, seed=seed).numpy()
    noisy = {n: w + random.normal(0, 0.2, w.shape).astype("float32") for n, w in initial.items()}
    noisy["dense/proj_layer/bias"] += 0.5  # few contexts die
    return noisy
