"""Runs of one process that share what is the same in them: tracing takes most of their time."""

import contextlib
import copy
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from flaxrec.config import Config
from flaxrec.data import contexts
from flaxrec.evaluation import evaluator
from flaxrec.models import dual_encoder
from flaxrec.training import optimizers, steps


@contextlib.contextmanager
def shared_programs() -> Iterator[None]:
    """Equal steps of training and evaluation, and models, are traced once, instead of once a run.

    Data, initial parameters and all that is read and written are each run's own.
    """
    made: dict[str, tuple] = {}

    def once(key: tuple, make: Callable[[], Any]) -> Any:
        if repr(key) not in made:
            made[repr(key)] = key, make()  # the key, too: what it names must stay what it is
        return made[repr(key)][1]

    def shared_steps(
        structure, spec, config, optimizer, most_values=None, teacher=None, tables=None
    ):
        # The learning rate is part of the program; tests put others in its place.
        key = ("steps", spec, _what_counts(config), most_values, optimizers.learning_rate)
        given = (structure, spec, config, optimizer, most_values, teacher, tables)
        return once(key, lambda: make_steps(*given))

    def shared_step(structure, spec, config, **how):
        key = ("evaluation", spec, _what_counts(config), how["knows_seen"])
        return once(key, lambda: make_step(structure, spec, config, **how))

    def shared_gatherer(config, inputs):
        return once(("gather", _what_counts(config), inputs), lambda: gatherer(config, inputs))

    def shared_structure(config, spec):
        return once(("structure", _what_counts(config), spec), lambda: structure_of(config, spec))

    make_steps, make_step, gatherer = steps.make_steps, evaluator._make_step, contexts.gatherer
    structure_of = dual_encoder.structure_of
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(steps, "make_steps", shared_steps)
        patch.setattr(evaluator, "_make_step", shared_step)
        patch.setattr(contexts, "gatherer", shared_gatherer)
        patch.setattr(dual_encoder, "structure_of", shared_structure)
        yield


def _what_counts(config: Config) -> Config:
    """The config without what no program depends on."""
    config = copy.deepcopy(config)
    config.seed, config.train.patience, config.train.select_metric = 0, 0, ""
    config.train.checkpoint_every = 0
    if config.optimizer.schedule == "constant":
        config.train.epochs = 0
    return config
