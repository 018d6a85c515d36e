"""Runs of a few steps on some devices, with whole and with split tables, and what they exchange."""

import copy
import dataclasses
import functools
import re

import jax
import numpy as np

from flaxrec.config import (
    Config,
    DataConfig,
    FeatureConfig,
    GroupConfig,
    ModelConfig,
    SyntheticConfig,
    TrainConfig,
    get,
)
from flaxrec.data.dataset import Dataset, prepare
from flaxrec.evaluation.evaluator import PerLabel
from flaxrec.training import optimizers, steps
from flaxrec.training.steps import Batches, Job
from flaxrec.training.validation import checked

_EXCHANGE = re.compile(r" = (.*?) (?:all-gather|all-to-all|collective-permute)(?:-start)?\(")
_SHAPE = re.compile(r"\w+\[([\d,]*)\]")
BATCH, STEPS = 64, 50


def make_config(**changed) -> Config:
    """A run of 50 steps with dropout; fields by path, with __ for each point."""
    group = GroupConfig([FeatureConfig("context_item_id")])
    config = Config(
        data=DataConfig(synthetic=SyntheticConfig(260, 500, 16)),
        model=ModelConfig(context_length=4, activity_groups=[group], hidden_dims=(), dropout=0.1),
        train=TrainConfig(batch_size=BATCH, epochs=1),
    )
    config.optimizer.learning_rate, config.loss.negatives = 1e-3, 50
    config.evaluation.ks, config.export.top_k = (1, 10), 10
    config.evaluation.batch_size = 32
    for path, value in changed.items():
        *sections, name = path.split("__")
        of = get(config, ".".join(sections)) if sections else config
        setattr(of, name, value)
    return checked(config)


@dataclasses.dataclass
class Trained:
    """What a run gives.

    Attributes:
      losses: float32 [S].
      params: whole tables, on the host.
      ranks: of the test labels.
      largest_exchange: the most numbers of an array that a step, and evaluation, gather or move.
      bytes: of a device for the arguments of a scan, and for its temporary arrays.
      tables: the least numbers of a split table, all rows together.
    """

    losses: np.ndarray
    params: dict[str, np.ndarray]
    ranks: PerLabel
    largest_exchange: tuple[int, int]
    bytes: tuple[int, int]
    tables: int


@functools.lru_cache(maxsize=1)
def _data(text: str, config: "_Hashed") -> Dataset:
    return prepare(config.of)


@dataclasses.dataclass(frozen=True)
class _Hashed:
    of: Config = dataclasses.field(compare=False)


def trained(config: Config, devices: int, shards: int, params=None) -> Trained:
    """Fifty steps, and ranks of the test labels with the parameters reached, or others."""
    config = copy.deepcopy(config)
    data = _data(repr((config.data, config.model, config.split)), _Hashed(config))
    config.train.devices, config.train.model_shards = devices, shards
    job = Job(checked(config), data)
    optimizer = optimizers.make_optimizer(config.optimizer, job.steps)
    state = steps.first_state(steps.initial_params(config, data), optimizer, job.tables)
    scan = steps.make_scan(
        job.structure, data.spec, config, optimizer, job.most_values, (), job.tables
    )
    epochs = [job.epoch(0, number) for number in range(-(-STEPS // job.steps_per_epoch))]
    batches = jax.tree.map(
        lambda *of: np.concatenate([x.reshape(-1, *x.shape[2:]) for x in of])[:STEPS], *epochs
    )
    batches = Batches(
        job.mesh.shard(batches.positions, 1),
        job.mesh.shard(batches.counts, 1),
        job.mesh.replicate(batches.keys),
    )
    given = job.timelines, job.mesh.replicate(job.targets), batches
    compiled = scan.lower(state, *given).compile()
    state, losses = compiled(state, *given)
    whole = job.whole(state.params)
    reached = jax.device_get(job.tables.whole(whole))
    whole = whole if params is None else job.tables.place(params)
    memory = compiled.memory_analysis()
    return Trained(
        np.array(losses),
        reached,
        job.evaluator(whole, data.split.test, top=10),
        (largest_exchange(compiled), largest_exchange(of_evaluation(job, whole))),
        (memory.argument_size_in_bytes, memory.temp_size_in_bytes),
        smallest_table(job),
    )


def of_evaluation(job: Job, params) -> jax.stages.Compiled:
    """The program that ranks labels and lists the ten best."""
    rank = job.evaluator
    labels = job.mesh.shard(np.resize(job.dataset.split.test, rank._batch_size))
    return rank._step.lower(params, None, job.timelines, labels, 10).compile()


def smallest_table(job: Job) -> int:
    """The least numbers of a split table, all rows together; 0: none is split."""
    shapes = [job.structure.shapes[name].shape for name in job.tables.names]
    return min((int(np.prod(shape)) for shape in shapes if len(shape) == 2), default=0)


def largest_exchange(program: jax.stages.Compiled) -> int:
    """The most numbers of an array that devices gather or move, but for sums of all devices'."""
    found = [
        int(np.prod([int(n) for n in shape.split(",") if n]))
        for results in _EXCHANGE.findall(program.as_text())
        for shape in _SHAPE.findall(results)
    ]
    return max(found, default=0)


def compare(one: Trained, other: Trained) -> dict[str, float]:
    """How far a run is from another, as plain numbers."""
    means = [of.ranks.means((1, 10)) for of in (one, other)]
    return {
        "steps": len(one.losses),
        "losses": float(np.abs(other.losses / one.losses - 1).max()),
        "params": max(float(np.abs(other.params[n] - one.params[n]).max()) for n in one.params),
        "shapes": all(other.params[n].shape == one.params[n].shape for n in one.params),
        "metrics": max(abs(means[0][n] - means[1][n]) for n in means[0] if "mean_rank" not in n),
        "ranks": sum(
            int((getattr(one.ranks, name) != getattr(other.ranks, name)).sum())
            for name in ("rank", "filtered_rank")
        ),
        "lists": int((one.ranks.top != other.ranks.top).sum()),
        "exchange of a step": other.largest_exchange[0],
        "exchange of evaluation": other.largest_exchange[1],
        "tables": other.tables,
        "bytes": other.bytes[0] / one.bytes[0],
    }
