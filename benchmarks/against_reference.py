"""Training speed beside the TensorFlow reference's: both in one run, on the same network and data.

    python benchmarks/against_reference.py [--movielens=DIR] [--batch=128,512] [--encoders=bow,lstm]

The network is the reference launcher's default: D=8, hidden layers of 32 and 32, ten item ids, an
LSTM of 4 units or a CNN of 16 and 32 filters, every vocabulary row a candidate, global softmax,
Adagrad 0.1, clipping at 1. The reference is the oracle of tests/reference, which trains one
compiled step a batch, as Keras' `fit` does, in three ways:

  metrics on   with the eight metrics that the reference always computes while it trains;
  records      without metrics, reading TFRecords as the reference does, example by example;
  metrics off  without metrics and without reading: contexts are made beforehand, batches are slices
               of arrays in memory, prefetched by tf.data (so they are with metrics on).

The last costs the reference least. Its TensorFlow counts too: with 2.12, of the example's own
time, the oracle was 1.2 to 1.6 times slower than with 2.21. flaxrec runs in reference mode through
its own training step, which gathers its contexts and never computes metrics: the same figure of
ours stands beside all three; beside 'metrics on' it compares the two as shipped.

Both begin with the same weights, and their first losses must agree. Rounds alternate, so that both
meet the same other work on the machine; figures are medians of the rounds and compare only within
one run. On the CPU; without --movielens the data are generated at the size of MovieLens-1M.
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
import tensorflow as tf
import training_speed

from flaxrec.config import Config, DataConfig
from flaxrec.data import contexts
from flaxrec.data.dataset import Dataset, prepare
from flaxrec.models import dual_encoder
from flaxrec.reference import input_config, weights
from flaxrec.training import optimizers
from flaxrec.training.steps import Targets, TrainState, make_scan, ones_of

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
    """The reference's input config: item ids only."""
    table = {"feature_type": "INT", "vocab_size": rows, "embedding_dim": 8}
    item_id = table | {"feature_name": ITEM_ID, "feature_length": LENGTH}
    label = table | {"feature_name": LABEL, "feature_length": 1}
    groups = [{"features": [item_id], "encoder_type": encoder.upper()}]
    return {"activity_feature_groups": groups, "label_feature": label}


def prepare_data(data: DataConfig) -> Dataset:
    """The data in reference mode; every encoder reads the same columns."""
    config = input_config.to_config(inputs_of("bow", rows=100), MODEL, OPTIMIZER)
    config.data = data
    config.model.activity_groups[0].features[0].vocab_size = 0  # as many rows as the data need
    return prepare(config)


class Ours:
    """flaxrec's training step in scans of `steps`."""

    def __init__(
        self, config: Config, dataset: Dataset, initial: Features, batch_size: int, steps: int
    ):
        structure = dual_encoder.structure_of(config, dataset.spec)
        params = weights.from_reference(initial, structure.shapes)
        optimizer = optimizers.make_optimizer(config.optimizer, steps)
        self._state = TrainState(params, optimizer.init(params))
        self._scan = make_scan(structure, dataset.spec, config, optimizer)
        self._gather = contexts.gatherer(config, dataset.spec.inputs)
        sharding = jax.sharding.SingleDeviceSharding(jax.devices()[0])
        self._timelines = contexts.to_device(dataset.timelines, sharding)
        self._targets = Targets(jax.numpy.zeros(dataset.spec.candidates))
        self._labels = dataset.split.train
        self._shape, self._random = (steps, batch_size), np.random.default_rng(0)

    def positions(self) -> np.ndarray:
        """Labels of the steps of a scan, int32 [S, B]."""
        return self._random.choice(self._labels, self._shape)

    def examples(self) -> tuple[np.ndarray, Features, np.ndarray]:
        """Positions [S, B], their contexts [S, B, L] by input, and the labels' rows [S, B]."""
        positions = self.positions()
        gathered = self._gather(self._timelines, positions.ravel())
        features = {name: np.reshape(x, (*self._shape, -1)) for name, x in gathered.items()}
        return positions, features, np.asarray(self._timelines.item)[positions]

    def losses(self, positions: np.ndarray) -> np.ndarray:
        """Trains on labels [S, B]; the loss of each step."""
        self._state, losses = self._scan(
            self._state, self._timelines, self._targets, ones_of(positions)
        )
        return np.asarray(losses)

    def round(self) -> float:
        """Labels a second of one scan."""
        positions = self.positions()
        start = time.perf_counter()
        self.losses(positions)
        return positions.size / (time.perf_counter() - start)


class Theirs:
    """The oracle, one compiled step a batch; `metrics` are computed in the step or not."""

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
        """Trains on the next batches; the loss of each step."""
        losses = [self._compiled(self._iterator) for _ in range(steps)]
        return np.array([loss.numpy() for loss in losses])

    def round(self, steps: int, batch_size: int) -> float:
        """Labels a second over some steps."""
        start = time.perf_counter()
        self.losses(steps)
        return steps * batch_size / (time.perf_counter() - start)


def in_memory(features: Features, labels: np.ndarray) -> tf.data.Dataset:
    """Batches of arrays [S, B, L] and [S, B], over and over."""
    slices = tf.data.Dataset.from_tensor_slices((features, labels))
    return slices.repeat().prefetch(tf.data.AUTOTUNE)


def write_records(path: Path, features: Features, labels: np.ndarray) -> None:
    """Examples [S, B, L] and [S, B] as the reference's TFRecords."""
    with tf.io.TFRecordWriter(str(path)) as writer:
        for context, label in zip(features[ITEM_ID].reshape(-1, LENGTH), labels.flat, strict=True):
            example = tf.train.Example()
            example.features.feature[ITEM_ID].int64_list.value.extend(context.tolist())
            example.features.feature[LABEL].int64_list.value.append(int(label))
            writer.write(example.SerializeToString())


def from_records(path: Path, batch_size: int) -> tf.data.Dataset:
    """Batches read as the reference reads them."""
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
    """Labels a second of each round, of the oracle in its three ways and of flaxrec."""
    inputs = inputs_of(encoder, dataset.spec.candidates)
    config = input_config.to_config(inputs, MODEL, OPTIMIZER)
    initial = Oracle(inputs, MODEL).numpy()
    steps, metric_steps = max(1, labels // batch_size), max(1, metric_labels // batch_size)
    ours = Ours(config, dataset, initial, batch_size, steps)
    positions, *batches = ours.examples()

    def oracle() -> Oracle:
        settings = {"learning_rate": OPTIMIZER["lr"], "clip_norm": OPTIMIZER["clipnorm"]}
        return Oracle(inputs, MODEL, initial, **settings)

    with tempfile.TemporaryDirectory() as folder:
        records = Path(folder) / "train.tfrecord"
        write_records(records, *batches)
        without = Theirs(oracle(), None, in_memory(*batches))
        reading = Theirs(oracle(), None, from_records(records, batch_size))
        measuring = Theirs(oracle(), Metrics(MODEL["eval_top_k"]), in_memory(*batches))

        # The first steps also compile. The same batches have the same losses.
        theirs = without.losses(steps)
        np.testing.assert_allclose(ours.losses(positions)[:50], theirs[:50], rtol=0.01)
        reading.losses(min(steps, 20))
        measuring.losses(2)
        speeds: dict[str, list[float]] = {name: [] for name in (*WAYS, "flaxrec")}
        for _ in range(rounds):
            speeds["metrics off"].append(without.round(steps, batch_size))
            speeds["flaxrec"].append(ours.round())
            speeds["records"].append(reading.round(steps, batch_size))
            speeds["flaxrec"].append(ours.round())
            speeds["metrics on"].append(measuring.round(metric_steps, batch_size))
            speeds["flaxrec"].append(ours.round())
    return speeds


def main() -> None:
    """Prints one line an encoder and batch size."""
    parser = training_speed.arguments_of(__doc__.splitlines()[0])
    parser.add_argument("--metric-labels", type=int, default=2_048, help="the same, metrics on")
    parser.add_argument("--rounds", type=int, default=5, help="rounds a figure")
    arguments = parser.parse_args()
    jax.config.update("jax_platforms", "cpu")
    tf.config.set_visible_devices([], "GPU")
    dataset = prepare_data(training_speed.data_of(arguments.movielens))
    print(
        f"jax {jax.__version__}, tensorflow {tf.__version__}; "
        f"{dataset.timelines.report['source']}: {dataset.spec.candidates} label rows"
    )
    sizes = map(int, arguments.batch.split(","))
    for encoder, batch_size in itertools.product(arguments.encoders.split(","), sizes):
        speeds = compare(
            encoder,
            batch_size,
            dataset,
            arguments.labels,
            arguments.metric_labels,
            arguments.rounds,
        )
        medians = {name: statistics.median(values) for name, values in speeds.items()}
        times = "; ".join(
            f"{way} {medians[way]:,.0f}, {medians['flaxrec'] / medians[way]:.1f} times"
            for way in WAYS
        )
        print(
            f"{encoder:4} batch {batch_size}: flaxrec {medians['flaxrec']:,.0f} labels/s; "
            f"reference with {times}",
            flush=True,
        )


if __name__ == "__main__":
    main()
