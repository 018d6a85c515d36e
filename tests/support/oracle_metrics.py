"""The oracle's metrics: those that the reference computes while it trains and evaluates.

Keras' recall and mean are what the reference's are made of; the cost is the reference's too,
O(B^2 V) for the mean rank over all pairs. Shape letters: B batch, V label rows.
"""

import tensorflow as tf


class Metrics:
    """The eight running metrics (with three cut-offs) that the reference also has in training."""

    def __init__(self, ks: list[int]):
        recall, mean = tf.keras.metrics.Recall, tf.keras.metrics.Mean
        self._global_recall = [recall(top_k=k, name=f"Global_Recall/Recall_{k}") for k in ks]
        self._global_mean_rank = mean(name="global_mean_rank")
        self._batch_recall = [recall(top_k=k, name=f"Batch_Recall/Recall_{k}") for k in ks]
        self._batch_mean_rank = mean(name="batch_mean_rank")
        self._all = [*self._global_recall, self._global_mean_rank]
        self._all += [*self._batch_recall, self._batch_mean_rank]

    def update(self, logits: tf.Tensor, labels: tf.Tensor) -> None:
        """Counts a batch: logits [B, V], labels int32 [B]; no cut-off may exceed B."""
        among = tf.gather(logits, labels, axis=1)
        size = tf.shape(among)[0]
        _update_recall(self._global_recall, logits, tf.one_hot(labels, logits.shape[-1]))
        _update_recall(self._batch_recall, among, tf.eye(size))
        self._batch_mean_rank.update_state(_positions(among, tf.range(size)[:, None]))
        # The reference gives labels an axis too many: every label is looked for in the order of
        # every context, [B, B, V] comparisons, and the mean is over all pairs.
        self._global_mean_rank.update_state(_positions(logits, labels[:, None, None]))

    def result(self) -> dict[str, float]:
        """Means since the beginning or the last `reset`."""
        return {metric.name: float(metric.result()) for metric in self._all}

    def reset(self) -> None:
        """Begins anew."""
        for metric in self._all:
            metric.reset_state()


def _update_recall(
    metrics: list[tf.keras.metrics.Recall], scores: tf.Tensor, targets: tf.Tensor
) -> None:
    probabilities = tf.nn.softmax(scores)  # scores that underflow become equal
    for metric in metrics:
        metric.update_state(targets, probabilities)


def _positions(scores: tf.Tensor, wanted: tf.Tensor) -> tf.Tensor:
    """0-based positions of the wanted columns in descending rows; ties keep their order."""
    order = tf.argsort(scores, direction="DESCENDING", stable=True)
    return tf.where(order == wanted)[:, -1]
