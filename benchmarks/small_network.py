"""What the benchmarks share: a network of item ids, generated data, scans of training steps."""

import argparse
import time

import jax
import numpy as np

from flaxrec.config import Config, DataConfig, ModelConfig, SyntheticConfig, presets
from flaxrec.data import contexts
from flaxrec.data.dataset import Dataset
from flaxrec.data.spec import InputSpec, ModelSpec
from flaxrec.data.timelines import ITEM
from flaxrec.devices import Mesh
from flaxrec.models import dual_encoder
from flaxrec.reference import weights
from flaxrec.training import optimizers
from flaxrec.training.steps import Targets, TrainState, make_scan, ones_of


def network(encoder: str, width: int, **fields) -> ModelConfig:
    """A model of ten item ids, one hidden layer of 32, and tables of this width."""
    groups = presets.activity_groups("id", encoder)
    groups[0].features[0].embedding_dim = width
    return ModelConfig(embedding_dim=width, activity_groups=groups, **fields)


def spec_of(model: ModelConfig, items: int) -> ModelSpec:
    """The spec of a `network` with every item as a candidate."""
    name, rows = model.activity_groups[0].features[0].name, items + 2
    inputs = (InputSpec(name, "item.id", "INT", model.context_length, rows, ITEM),)
    return ModelSpec(inputs, items, 1)


def data_of(movielens: str) -> DataConfig:
    """MovieLens-1M from its folder, or generated data of its size."""
    if movielens:
        return DataConfig(source="movielens", path=movielens)
    return DataConfig(source="synthetic", synthetic=SyntheticConfig(6040, 3706, 165))


def integers(text: str) -> list[int]:
    """Parses comma-separated numbers."""
    return [int(number) for number in text.split(",")]


def parser(script: str | None) -> argparse.ArgumentParser:
    """A parser described by the first line of a script's docstring."""
    return argparse.ArgumentParser(description=(script or "").splitlines()[0])


def training_parser(script: str | None) -> argparse.ArgumentParser:
    """As `parser`, with the shared arguments of the training benchmarks."""
    made = parser(script)
    made.add_argument("--movielens", default="", help="folder of MovieLens-1M")
    made.add_argument("--batch", default="128,512", help="batch sizes, comma-separated")
    made.add_argument("--encoders", default="bow,cnn,lstm", help="encoders, comma-separated")
    made.add_argument("--labels", type=int, default=60_000, help="labels between two clocks")
    return made


class Scans:
    """Runs flaxrec's training step in scans of several steps.

    Args:
      config: with its batch size.
      dataset: the data.
      labels: number in a scan, about.
      initial: first weights, by the reference's names; None: drawn.
    """

    def __init__(
        self,
        config: Config,
        dataset: Dataset,
        labels: int,
        initial: dict[str, np.ndarray] | None = None,
    ):
        self.shape = max(1, labels // config.train.batch_size), config.train.batch_size
        self._mesh, self._labels = Mesh(0, config.train.batch_size), dataset.split.train
        structure, params = dual_encoder.create(config, dataset.spec)
        if initial is not None:
            params = weights.from_reference(initial, structure.shapes)
        optimizer = optimizers.make_optimizer(config.optimizer, self.shape[0])
        self._state = self._mesh.replicate(TrainState(params, optimizer.init(params)))
        self.timelines = contexts.to_device(dataset.timelines, self._mesh.replicated)
        self._targets = self._mesh.replicate(Targets(np.zeros(dataset.spec.candidates, np.float32)))
        self._scan = make_scan(structure, dataset.spec, config, optimizer)
        self._random = np.random.default_rng(0)

    def positions(self) -> np.ndarray:
        """Draws the labels of a scan's steps, int32 [S, B]."""
        return self._random.choice(self._labels, self.shape)

    def losses(self, positions: np.ndarray) -> np.ndarray:
        """Trains on labels [S, B]; returns the loss of each step."""
        sharded = ones_of(self._mesh.shard(positions, axis=1))
        self._state, losses = self._scan(self._state, self.timelines, self._targets, sharded)
        return np.asarray(jax.block_until_ready(losses))

    def speed(self) -> float:
        """Runs one scan; returns labels a second."""
        positions = self.positions()
        start = time.perf_counter()
        self.losses(positions)
        return positions.size / (time.perf_counter() - start)
