"""Measures training speed: labels a second at several batch sizes, without compilation.

    python benchmarks/training_speed.py [--movielens=DIR] [--batch=128,512] [--encoders=bow,lstm]

The network is a smaller form of the reference launcher's default (D=8, one hidden layer of 32,
context of 10 item ids, Adagrad, global softmax). Without --movielens the data are generated at the
size of MovieLens-1M. Each result is the median of several scans; results compare only within one
run.
"""

import statistics

import jax
import small_network

from flaxrec.config import Config, DataConfig, OptimizerConfig
from flaxrec.data.dataset import prepare


def config_of(encoder: str, data: DataConfig, batch_size: int) -> Config:
    """The benchmark's config."""
    config = Config(data=data, model=small_network.network(encoder, 8))
    config.model.activity_groups[0].lstm_units = 8
    config.optimizer = OptimizerConfig(name="adagrad", learning_rate=0.1)
    config.train.batch_size = batch_size
    return config


def main() -> None:
    """Prints a line for each encoder and batch size."""
    parser = small_network.training_parser(__doc__)
    parser.add_argument("--repeats", type=int, default=5, help="scans a figure")
    arguments = parser.parse_args()
    data = small_network.data_of(arguments.movielens)
    dataset = prepare(config_of("bow", data, 128))
    device = jax.devices()[0]
    print(
        f"jax {jax.__version__}, {len(jax.devices())} x {device.device_kind}; "
        f"{dataset.timelines.report['source']}: {dataset.spec.candidates} items"
    )
    for encoder in arguments.encoders.split(","):
        for batch_size in small_network.integers(arguments.batch):
            config = config_of(encoder, data, batch_size)
            scans = small_network.Scans(config, dataset, arguments.labels)
            scans.speed()  # compiles
            speeds = [scans.speed() for _ in range(arguments.repeats)]
            print(
                f"{encoder:5} batch {batch_size:5}: {statistics.median(speeds):9,.0f} labels/s "
                f"(of {len(speeds)}: {min(speeds):,.0f} to {max(speeds):,.0f})",
                flush=True,
            )


if __name__ == "__main__":
    main()
