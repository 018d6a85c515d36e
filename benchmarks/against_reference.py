"""Compares training speed with the TensorFlow reference's, on the same network and data.

    python benchmarks/against_reference.py [--movielens=DIR] [--batch=128,512] [--encoders=bow,lstm]

The network is the reference launcher's default: D=8, hidden layers of 32 and 32, ten item ids, an
LSTM of 4 units or a CNN of 16 and 32 filters, every vocabulary row a candidate, global softmax,
Adagrad 0.1, clipping at 1. The reference is the oracle of tests/support. It trains with one
compiled step a batch, as Keras' `fit` does, in three ways:

  metrics on   with the eight metrics that the reference always computes while it trains;
  records      without metrics, reading TFRecords as the reference does, example by example;
  metrics off  without metrics and without reading: contexts are made beforehand, batches are slices
               of arrays in memory, prefetched by tf.data (as with metrics on).

The last is the fastest for the reference. The version of TensorFlow matters too: with 2.12, from
the example's time, the oracle was 1.2 to 1.6 times slower than with 2.21. flaxrec runs in reference
mode through its own training step, which gathers its contexts and never computes metrics. So all
three are compared with the same speed of ours; 'metrics on' compares the two as shipped.

Both begin with the same weights, and their first losses must agree. Rounds alternate, so that other
work on the machine affects both alike. Results are medians of the rounds and compare only within
one run. Runs on the CPU; without --movielens the data are generated at the size of MovieLens-1M.
"""

import itertools
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np
import small_network
import tensorflow as tf

from flaxrec.config import DataConfig
from flaxrec.data import contexts
from flaxrec.data.dataset import Dataset, prepare
from flaxrec.reference import input_config

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from tests.support.oracle import Oracle
from tests.support.oracle_metrics import Metrics

WAYS = ("metrics on", "records", "metrics off")
ITEM_ID, LABEL, LENGTH = "context_movie_id", "label_movie_id", 10
MODEL = {
    "hidden_layer_dims": [32, 32],
    "eval_top_k": [1, 5, 10],
    "conv_num_filter_ratios": [2, 4],
    "conv_kernel_size": 4,
    "lstm_num_units": 4,
    "num_predictions": 5,
}
OPTIMIZER = {"lr": 0.1, "clipnorm": 1.0}

Features = dict[str, np.ndarray]


def inputs_of(encoder: str, rows: int) -> dict:
    """The reference's input config with item ids only."""
    table = {"feature_type": "INT", "vocab_size": rows, "embedding_dim": 8}
    item_id = table | {"feature_name": ITEM_ID, "feature_length": LENGTH}
    label = table | {"feature_name": LABEL, "feature_length": 1}
    groups = [{"features": [item_id], "encoder_type": encoder.upper()}]
    return {"activity_feature_groups": groups, "label_feature": label}


def prepare_data(data: DataConfig) -> Dataset:
    """Prepares the data in reference mode; every encoder reads the same columns."""
    config = input_config.to_config(inputs_of("bow", rows=100), MODEL, OPTIMIZER)
    config.data = data
    config.model.activity_groups[0].features[0].vocab_size = 0  # as many rows as the data need
    return prepare(config)


class Theirs:
    """The oracle, one compiled step a batch; the step also computes `metrics`, if any."""

    def __init__(self, oracle: Oracle, metrics: Metrics | None, batches: tf.data.Dataset):
        self._oracle, self._metrics, self._iterator = oracle, metrics, iter(batches)
        self._compiled = tf.function(self._step)

    def _step(self, iterator: Iterator) -> tf.Tensor:
        features, labels = next(iterator)
        loss, logits = self._oracle.train_step(features, labels)
        if self._metrics:
            self._metrics.update(logits, labels)
        return loss

    def losses(self, steps: int) -> np.ndarray:
        """Trains on the next batches; returns the loss of each step."""
        losses = [self._compiled(self._iterator) for _ in range(steps)]
        return np.array([loss.numpy() for loss in losses])

    def round(self, steps: int, batch_size: int) -> float:
        """Trains some steps; returns labels a second."""
        start = time.perf_counter()
        self.losses(steps)
        return steps * batch_size / (time.perf_counter() - start)


def in_memory(features: Features, labels: np.ndarray) -> tf.data.Dataset:
    """Repeats batches of arrays [S, B, L] and [S, B] without end."""
    slices = tf.data.Dataset.from_tensor_slices((features, labels))
    return slices.repeat().prefetch(tf.data.AUTOTUNE)


def write_records(path: Path, features: Features, labels: np.ndarray) -> None:
    """Writes examples [S, B, L] and [S, B] as the reference's TFRecords."""
    with tf.io.TFRecordWriter(str(path)) as writer:
        for context, label in zip(features[ITEM_ID].reshape(-1, LENGTH), labels.flat, strict=True):
            example = tf.train.Example()
            example.features.feature[ITEM_ID].int64_list.value.extend(context.tolist())
            example.features.feature[LABEL].int64_list.value.append(int(label))
            writer.write(example.SerializeToString())


def from_records(path: Path, batch_size: int) -> tf.data.Dataset:
    """Reads batches as the reference does."""
    keys = {
        ITEM_ID: tf.io.FixedLenFeature([LENGTH], tf.int64, [0] * LENGTH),
        LABEL: tf.io.FixedLenFeature([1], tf.int64),
    }

    def parse(record: tf.Tensor) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
        example = tf.io.parse_single_example(record, keys)
        example = {name: tf.cast(value, tf.int32) for name, value in example.items()}
        return example, example[LABEL][0]

    examples = tf.data.TFRecordDataset([str(path)]).repeat().shuffle(10_000)
    examples = examples.map(parse, num_parallel_calls=8)
    return examples.batch(batch_size, drop_remainder=True).prefetch(1)


def compare(
    encoder: str, batch_size: int, dataset: Dataset, labels: int, metric_labels: int, rounds: int
) -> dict[str, list[float]]:
    """Labels a second in each round, for the oracle's three ways and for flaxrec."""
    inputs = inputs_of(encoder, dataset.spec.candidates)
    config = input_config.to_config(inputs, MODEL, OPTIMIZER)
    config.train.batch_size = batch_size
    initial = Oracle(inputs, MODEL).numpy()
    ours = small_network.Scans(config, dataset, labels, initial)
    steps, metric_steps = ours.shape[0], max(1, metric_labels // batch_size)
    positions = ours.positions()
    gathered = contexts.gatherer(config, dataset.spec.inputs)(ours.timelines, positions.ravel())
    features = {name: np.reshape(x, (*positions.shape, -1)) for name, x in gathered.items()}
    batches = features, np.asarray(dataset.timelines.item)[positions]

    def theirs(metrics: Metrics | None, data: tf.data.Dataset) -> Theirs:
        settings = {"learning_rate": OPTIMIZER["lr"], "clip_norm": OPTIMIZER["clipnorm"]}
        return Theirs(Oracle(inputs, MODEL, initial, **settings), metrics, data)

    with tempfile.TemporaryDirectory() as folder:
        records = Path(folder) / "train.tfrecord"
        write_records(records, *batches)
        without = theirs(None, in_memory(*batches))
        reading = theirs(None, from_records(records, batch_size))
        measuring = theirs(Metrics(MODEL["eval_top_k"]), in_memory(*batches))

        # The first steps also compile. Equal batches must give equal losses.
        first = without.losses(steps)
        np.testing.assert_allclose(ours.losses(positions)[:50], first[:50], rtol=0.01)
        reading.losses(min(steps, 20))
        measuring.losses(2)
        speeds: dict[str, list[float]] = {name: [] for name in (*WAYS, "flaxrec")}
        for _ in range(rounds):
            for way, oracle, count in (
                ("metrics off", without, steps),
                ("records", reading, steps),
                ("metrics on", measuring, metric_steps),
            ):
                speeds[way].append(oracle.round(count, batch_size))
                speeds["flaxrec"].append(ours.speed())
    return speeds


def main() -> None:
    """Prints a line for each encoder and batch size."""
    parser = small_network.training_parser(__doc__)
    parser.add_argument("--metric-labels", type=int, default=2_048, help="the same, metrics on")
    parser.add_argument("--rounds", type=int, default=5, help="rounds a figure")
    given = parser.parse_args()
    jax.config.update("jax_platforms", "cpu")
    tf.config.set_visible_devices([], "GPU")
    dataset = prepare_data(small_network.data_of(given.movielens))
    print(
        f"jax {jax.__version__}, tensorflow {tf.__version__}; "
        f"{dataset.timelines.report['source']}: {dataset.spec.candidates} label rows"
    )
    sizes = small_network.integers(given.batch)
    for encoder, size in itertools.product(given.encoders.split(","), sizes):
        speeds = compare(encoder, size, dataset, given.labels, given.metric_labels, given.rounds)
        medians = {name: statistics.median(values) for name, values in speeds.items()}
        times = "; ".join(
            f"{way} {medians[way]:,.0f}, {medians['flaxrec'] / medians[way]:.1f} times"
            for way in WAYS
        )
        print(
            f"{encoder:4} batch {size}: flaxrec {medians['flaxrec']:,.0f} labels/s; "
            f"reference with {times}",
            flush=True,
        )


if __name__ == "__main__":
    main()
