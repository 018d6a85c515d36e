"""The reference once more, in plain TensorFlow: what flaxrec is compared with where no golden is.

Written from the description of the TensorFlow example's behaviour, quirks included, and checked
against numbers of the real one in test_oracle.py. It does the example's work where the example is
slow, since benchmarks/against_reference.py times it. Keras is used where it is a second
implementation (LSTM, initialisers), not for training: Keras 3 cannot train the example, and squares
an embedding's gradients before it sums them. The metrics are in oracle_metrics.py.

Shape letters: B batch, L length of a feature, C channels of a group, F width of its encoding,
D label width, V label rows, K predictions. Weights go by names such as
group{i}/embedding/{feature}; i counts all global groups, then all activity groups.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

INITIAL_ACCUMULATOR, EPSILON = 0.1, 1e-7  # Adagrad's

Features = Mapping[str, tf.Tensor]  # input name -> [B, L] int32 ids or float32 numbers
Gradient = tf.Tensor | tf.IndexedSlices


class Oracle:
    """The model with its weights and its Adagrad.

    Args:
      inputs: the reference's InputConfig as a dict.
      model: the launcher's settings of the network as a dict.
      weights: initial values by name; None draws them from `seed` as the reference would.
      seed: of the initialisation.
      learning_rate: Adagrad's.
      clip_norm: largest norm of one variable's gradient; 0 does not clip.
    """

    def __init__(
        self,
        inputs: dict[str, Any],
        model: dict[str, Any],
        weights: Mapping[str, np.ndarray] | None = None,
        *,
        seed: int = 0,
        learning_rate: float = 0.1,
        clip_norm: float = 1.0,
    ):
        self.groups = [*inputs.get("global_feature_groups", ())]
        self.groups += inputs.get("activity_feature_groups", ())
        self.label, self.model = inputs["label_feature"], model
        self.learning_rate, self.clip_norm = learning_rate, clip_norm
        self.weights: dict[str, tf.Variable] = {}
        self._lstm: dict[int, tf.keras.layers.LSTM] = {}
        width = sum(self._build_group(i, group) for i, group in enumerate(self.groups))
        for j, units in enumerate(model["hidden_layer_dims"]):
            self._add_layer(f"dense/hidden_layer{j}", (width, units))
            width = units
        self._add_layer("dense/proj_layer", (width, self.label["embedding_dim"]))
        self._add("label_embedding", (self.label["vocab_size"], self.label["embedding_dim"]))
        values = self._initial_values(seed) if weights is None else weights
        if set(values) != set(self.weights):
            raise ValueError(f"weights that differ: {sorted(set(values) ^ set(self.weights))}")
        for name, value in values.items():
            self.weights[name].assign(value)
        self.accumulators = {
            name: tf.Variable(tf.fill(w.shape, INITIAL_ACCUMULATOR))
            for name, w in self.weights.items()
        }

    # ---- variables ----

    def _build_group(self, i: int, group: dict[str, Any]) -> int:
        """Adds the variables of a group; returns the width of its encoding."""
        channels = sum(not _is_embedded(feature) for feature in group["features"])
        for feature in _embedded(group):
            shape = (feature["vocab_size"], feature["embedding_dim"])
            self._add(f"group{i}/embedding/{feature['feature_name']}", shape)
            channels += feature["embedding_dim"]
        encoder = group.get("encoder_type", "BOW")
        if encoder == "LSTM":
            layer = self._lstm[i] = tf.keras.layers.LSTM(self.model["lstm_num_units"])
            layer.build((None, None, channels))
            for name in ("kernel", "recurrent_kernel", "bias"):
                self.weights[f"group{i}/lstm/{name}"] = getattr(layer.cell, name).value
            return layer.units
        if encoder == "CNN":
            for j, ratio in enumerate(self.model["conv_num_filter_ratios"]):
                filters = ratio * self.label["embedding_dim"]
                kernel = (self.model["conv_kernel_size"], channels, filters)
                self._add_layer(f"group{i}/conv{j}", kernel)
                channels = filters
        return channels

    def _add_layer(self, name: str, kernel: tuple[int, ...]) -> None:
        self._add(f"{name}/kernel", kernel)
        self._add(f"{name}/bias", kernel[-1:])

    def _add(self, name: str, shape: tuple[int, ...]) -> None:
        self.weights[name] = tf.Variable(tf.zeros(shape), name=name)

    def _initial_values(self, seed: int) -> dict[str, tf.Tensor]:
        """Embeddings truncated normal, kernels Glorot uniform, biases 0 (forget gates 1)."""
        values, init = {}, tf.keras.initializers
        for number, (name, variable) in enumerate(self.weights.items()):
            shape, own_seed = tuple(variable.shape), 1000 * seed + number
            if "embedding" in name:
                initializer = init.TruncatedNormal(0.0, shape[1] ** -0.5, own_seed)
            elif name.endswith("recurrent_kernel"):
                initializer = init.Orthogonal(seed=own_seed)
            elif name.endswith("kernel"):
                initializer = init.GlorotUniform(own_seed)
            else:
                initializer = init.Zeros()
            values[name] = initializer(shape)
            if name.endswith("lstm/bias"):
                units = shape[0] // 4
                values[name] = tf.concat([tf.zeros(units), tf.ones(units), tf.zeros(2 * units)], 0)
        return values

    # ---- forward ----

    def vectors(self, i: int, features: Features) -> tuple[tf.Tensor, tf.Tensor]:
        """What a group's encoder reads: x [B, L, C], zero where the mask [B, L] is, and the mask.

        The mask of a group without embedded features is [1, 1], whatever B and L.
        """
        parts, mask = [], tf.ones((1, 1))
        for feature in _embedded(self.groups[i]):  # in the order of their names
            ids = features[feature["feature_name"]]
            table = self.weights[f"group{i}/embedding/{feature['feature_name']}"]
            parts.append(tf.nn.embedding_lookup(table, ids))
            mask *= tf.cast(ids != 0, tf.float32)
        for feature in self.groups[i]["features"]:  # in the order of the config
            if not _is_embedded(feature):
                parts.append(features[feature["feature_name"]][..., tf.newaxis])
        return tf.concat(parts, axis=-1) * mask[..., tf.newaxis], mask

    def group(self, i: int, features: Features) -> tf.Tensor:
        """The encoding of one group, [B, F]."""
        x, mask = self.vectors(i, features)
        encoder = self.groups[i].get("encoder_type", "BOW")
        if encoder == "LSTM":  # no mask: the state runs on over padding
            return self._lstm[i](x)
        if encoder == "BOW":
            # A group of numbers only has the mask [[1]]: the sum over time is divided by 1.
            count = tf.reduce_sum(mask, axis=1, keepdims=True)
            # Without a safe divisor: going back, 0/0 makes the gradient NaN, as the reference's.
            return tf.where(count > 0, tf.reduce_sum(x, axis=1) / count, 0.0)
        for j in range(len(self.model["conv_num_filter_ratios"])):  # no mask here either
            kernel = self.weights[f"group{i}/conv{j}/kernel"]
            x = tf.nn.conv1d(x, kernel, stride=kernel.shape[0], padding="SAME")
            x = tf.nn.relu(x + self.weights[f"group{i}/conv{j}/bias"])
        return tf.reduce_max(x, axis=1)

    def dense(self, encodings: list[tf.Tensor]) -> tf.Tensor:
        """The groups' encodings -> [B, D], never negative: the projection ends in a ReLU too."""
        x = tf.concat(encodings, axis=-1)
        hidden = [f"hidden_layer{j}" for j in range(len(self.model["hidden_layer_dims"]))]
        for name in [*hidden, "proj_layer"]:
            kernel, bias = (self.weights[f"dense/{name}/{part}"] for part in ("kernel", "bias"))
            x = tf.nn.relu(x @ kernel + bias)
        return x

    def context(self, features: Features) -> tf.Tensor:
        """[B, D]."""
        return self.dense([self.group(i, features) for i in range(len(self.groups))])

    def labels(self) -> tf.Tensor:
        """[V, D]: row 0 is a candidate as any other. Looked up, so that gradients are slices."""
        return tf.nn.embedding_lookup(
            self.weights["label_embedding"], tf.range(self.label["vocab_size"])
        )

    def logits(self, features: Features) -> tf.Tensor:
        """[B, V]."""
        return tf.matmul(self.context(features), self.labels(), transpose_b=True)

    def serve(self, features: Features) -> tuple[tf.Tensor, tf.Tensor]:
        """Of one context, [L] by name: ids int32 [K] and sigmoid scores [K], best first."""
        logits = self.logits({name: tf.convert_to_tensor(x)[None] for name, x in features.items()})
        best, ids = tf.math.top_k(logits[0], self.model["num_predictions"])
        return ids, tf.sigmoid(best)

    # ---- backward ----

    def gradients(
        self, features: Features, labels: tf.Tensor, loss: str = "global_softmax"
    ) -> tuple[tf.Tensor, tf.Tensor, dict[str, Gradient]]:
        """Loss, logits [B, V] and each weight's gradient; of embeddings one slice a lookup."""
        with tf.GradientTape() as tape:
            logits = self.logits(features)
            value = {"global_softmax": global_softmax, "batch_softmax": batch_softmax}[loss](
                logits, labels
            )
        return value, logits, tape.gradient(value, self.weights)

    def train_step(self, features: Features, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """One step of Adagrad on the global softmax; returns loss and logits before it.

        Wrap it in tf.function for many steps.
        """
        loss, logits, gradients = self.gradients(features, labels)
        for name, gradient in gradients.items():
            if self.clip_norm > 0:  # of slices: by the norm of all of them, duplicates not summed
                gradient = tf.clip_by_norm(gradient, self.clip_norm)
            self._adagrad(self.weights[name], self.accumulators[name], gradient)
        return loss, logits

    def _adagrad(self, weight: tf.Variable, sums: tf.Variable, gradient: Gradient) -> None:
        if not isinstance(gradient, tf.IndexedSlices):
            sums.assign_add(gradient**2)
            weight.assign_sub(self.learning_rate * gradient / tf.sqrt(sums + EPSILON))
            return
        # First duplicates are summed, then the sums are squared.
        rows, place = tf.unique(gradient.indices)
        g = tf.math.unsorted_segment_sum(gradient.values, place, tf.size(rows))
        sums.scatter_add(tf.IndexedSlices(g**2, rows))
        step = self.learning_rate * g / tf.sqrt(tf.gather(sums, rows) + EPSILON)
        weight.scatter_sub(tf.IndexedSlices(step, rows))

    def numpy(self) -> dict[str, np.ndarray]:
        """The weights by name."""
        return {name: weight.numpy() for name, weight in self.weights.items()}


def clip_norm_of(gradient: Gradient) -> tf.Tensor:
    """The norm that the reference clips by: of un-deduplicated slices for embeddings."""
    return tf.norm(gradient.values if isinstance(gradient, tf.IndexedSlices) else gradient)


def _is_embedded(feature: dict[str, Any]) -> bool:
    return feature.get("feature_type", "STRING") != "FLOAT"


def _embedded(group: dict[str, Any]) -> Iterator[dict[str, Any]]:
    embedded = filter(_is_embedded, group["features"])
    return iter(sorted(embedded, key=lambda feature: feature["feature_name"]))


# ---- losses: of logits [B, V] and labels int32 [B] ------------------------------------------


def global_softmax(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """Mean cross-entropy over all rows; a label outside the table counts as loss 0."""
    targets = tf.one_hot(labels, logits.shape[-1])
    return tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(targets, logits))


def batch_softmax(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """Mean cross-entropy over the batch's labels; another example's equal label is a negative."""
    among = tf.gather(logits, labels, axis=1)
    targets = tf.eye(tf.shape(among)[0])
    return tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(targets, among))
