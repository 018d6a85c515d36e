"""Training speed: labels a second at several batch sizes, compilation left out.

    python benchmarks/training_speed.py [--movielens=DIR] [--batch=128,512] [--encoders=bow,lstm]

The network is the reference's launcher default made small (D=8, one hidden layer of 32, context of
10 item ids, Adagrad, global softmax); without --movielens the data are generated at the size of
MovieLens-1M. Each figure is the median of several scans; two figures compare only within one run.
"""

import argparse
import statistics
import time

import jax
import numpy as np

from flaxrec.config import (
    Config,
    DataConfig,
    ModelConfig,
    OptimizerConfig,
    SyntheticConfig,
    presets,
)
from flaxrec.data import contexts
from flaxrec.data.dataset import Dataset, prepare
from flaxrec.devices import Mesh
from flaxrec.models import dual_encoder
from flaxrec.training import optimizers
from flaxrec.training.steps import Targets, TrainState, make_scan, ones_of


def network(encoder: str, data: DataConfig, batch_size: int) -> Config:
    """The benchmark's config."""
    groups = presets.activity_groups("id", encoder)
    groups[0].features[0].embedding_dim = 8
    groups[0].lstm_units = 8
    config = Config(data=data, model=ModelConfig(embedding_dim=8, activity_groups=groups))
    config.optimizer = OptimizerConfig(name="adagrad", learning_rate=0.1)
    config.train.batch_size = batch_size
    return config


def labels_per_second(config: Config, dataset: Dataset, steps: int, repeats: int) -> list[float]:
    """Speed of each scan of `steps` steps, after one that compiles."""
    batch_size = config.train.batch_size
    mesh = Mesh(0, batch_size)
    structure, params = dual_encoder.create(config, dataset.spec)
    optimizer = optimizers.make_optimizer(config.optimizer, steps * repeats)
    state = mesh.replicate(TrainState(params, optimizer.init(params)))
    timelines = contexts.to_device(dataset.timelines, mesh.replicated)
    targets = mesh.replicate(Targets(np.zeros(dataset.spec.candidates, np.float32)))
    scan = make_scan(structure, dataset.spec, config, optimizer)
    random = np.random.default_rng(0)
    speeds = []
    for repeat in range(repeats + 1):
        labels = random.choice(dataset.split.train, (steps, batch_size))
        positions = mesh.shard(labels, axis=1)
        start = time.perf_counter()
        state, losses = scan(state, timelines, targets, ones_of(positions))
        jax.block_until_ready(losses)
        if repeat:
            speeds.append(labels.size / (time.perf_counter() - start))
    return speeds


def arguments_of(description: str) -> argparse.ArgumentParser:
    """A parser with what the benchmarks of training share."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--movielens", default="", help="folder of MovieLens-1M")
    parser.add_argument("--batch", default="128,512", help="batch sizes, comma-separated")
    parser.add_argument("--encoders", default="bow,cnn,lstm", help="encoders, comma-separated")
    parser.add_argument("--labels", type=int, default=60_000, help="labels between two clocks")
    return parser


def data_of(movielens: str) -> DataConfig:
    """MovieLens-1M from its folder, or generated data of its size."""
    if movielens:
        return DataConfig(source="movielens", path=movielens)
    return DataConfig(source="synthetic", synthetic=SyntheticConfig(6040, 3706, 165))


def main() -> None:
    """Prints one line an encoder and batch size."""
    parser = arguments_of(__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5, help="scans a figure")
    arguments = parser.parse_args()
    data = data_of(arguments.movielens)
    dataset = prepare(network("bow", data, 128))
    device = jax.devices()[0]
    print(
        f"jax {jax.__version__}, {len(jax.devices())} x {device.device_kind}; "
        f"{dataset.timelines.report['source']}: {dataset.spec.candidates} items"
    )
    for encoder in arguments.encoders.split(","):
        for batch_size in map(int, arguments.batch.split(",")):
            config = network(encoder, data, batch_size)
            steps = max(1, arguments.labels // batch_size)
            speeds = labels_per_second(config, dataset, steps, arguments.repeats)
            print(
                f"{encoder:5} batch {batch_size:5}: {statistics.median(speeds):9,.0f} labels/s "
                f"(of {len(speeds)}: {min(speeds):,.0f} to {max(speeds):,.0f})",
                flush=True,
            )


if __name__ == "__main__":
    main()
