"""Latency on a clock of the test's own, the order of calls, and the bootstrap."""

import functools
import gc
import shutil
import sys
from collections import Counter
from itertools import pairwise
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flaxrec.measuring import fresh_contexts, timing
from flaxrec.measuring.runners import CompiledRunner, InterpreterRunner
from flaxrec.tflite.inspection import inspect
from flaxrec.tflite.runtime import TfliteModel
from tests.support.exports import exported, require_export


class World:
    """A clock, and models that move it; keeps what happened."""

    def __init__(self):
        self.now = 0
        self.calls: list[tuple[int, int]] = []  # (model, context)

    def clock(self) -> int:
        return self.now

    def load(self, model: int, nanoseconds: int, loading: int = 0) -> "FakeRunner":
        self.now += loading
        return FakeRunner(self, model, nanoseconds)


class FakeRunner:
    """Takes its time a call, plus the number of its context; feeding takes long."""

    def __init__(self, world: World, model: int, nanoseconds: int):
        self.world, self.model, self.nanoseconds = world, model, nanoseconds

    def feed(self, context) -> None:
        self.world.now += 1_000_000
        self.context = int(context[0])

    def run(self) -> None:
        self.world.now += self.nanoseconds + self.context
        self.world.calls.append((self.model, self.context))

    def outputs(self) -> list[np.ndarray]:
        self.world.now += 500
        return []


def measured(world: World, times: list[int], count: int, rounds: int, **options):
    loaders = [functools.partial(world.load, i, time, 5_000) for i, time in enumerate(times)]
    contexts = [[np.arange(count)]] * len(times)
    return timing.measure(loaders, contexts, rounds, clock=world.clock, **options)


@pytest.fixture
def short(monkeypatch):
    monkeypatch.setattr(timing, "_WARM_UP", 3)


# ---- arithmetic -----------------------------------------------------------------------------


def test_latencies_are_those_of_the_calls_alone(short):
    world = World()
    times = measured(world, [40_000, 20_000], 16, 100)
    assert times.calls.shape == (100, 2)
    extra = times.calls * 1000 - [40_000, 20_000]  # the context's number, in nanoseconds
    assert extra.min() >= 0
    assert extra.max() <= 15
    np.testing.assert_allclose(extra, np.round(extra), atol=1e-6)


def test_loading_ends_with_the_first_answer(short):
    times = measured(World(), [40_000, 20_000], 16, 100)
    assert times.loads.shape == (5, 2)
    # Milliseconds: 0.005 of loading, 1 of feeding, the call, 0.0005 of reading.
    expected = np.broadcast_to([1.0455, 1.0255], (5, 2))
    np.testing.assert_allclose(times.loads, expected, atol=16e-6)


def test_warm_up_does_not_count(short):
    world = World()
    times = measured(world, [1000], 16, 10)
    assert times.calls.shape == (10, 1)
    assert len(world.calls) == timing.contexts_needed(10, 1) == 10 + 5 * (3 + 1)


def test_fewer_rounds_than_loads(short):
    times = measured(World(), [1000], 16, 2)
    assert (times.calls.shape, times.loads.shape) == ((2, 1), (2, 1))


def test_bursts(short):
    world = World()
    times = measured(world, [1000, 2000], 40, 6, burst=4)
    assert times.calls.shape == (6, 2, 4)
    models = [model for model, _ in world.calls]
    first = models[2 : 2 + 8 * 2]  # after the load's calls, of which no burst is made
    assert all(len(set(first[i : i + 4])) == 1 for i in range(0, len(first), 4))


def test_the_garbage_collector_rests_while_the_clock_runs(short):
    states = []
    world = World()
    runner = world.load(0, 1000)
    run = runner.run
    runner.run = lambda: (states.append(gc.isenabled()), run())
    timing.measure([lambda: runner], [[np.arange(8)]], 5, clock=world.clock)
    assert not any(states[1:5])  # the first call is the load's
    assert gc.isenabled()


def test_an_error_of_the_runtime_comes_through(short):
    def fail():
        raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        timing.measure([fail], [[np.arange(8)]], 5)
    assert gc.isenabled()


# ---- contexts and order ---------------------------------------------------------------------


@given(st.integers(1, 5), st.integers(0, 30), st.integers(0, 2**32))
def test_no_context_comes_twice_in_neighbouring_rounds(models, more, seed):
    world = World()
    with mock.patch.object(timing, "_WARM_UP", 2):
        measured(world, [1000] * models, 4 * models + more, 15, seed=seed)
    window = 2 * models  # the calls of two rounds, wherever they begin
    contexts = [context for _, context in world.calls]
    for begin in range(len(contexts) - window + 1):
        assert len(set(contexts[begin : begin + window])) == window
    for model in range(models):  # and never twice in a row to one model
        own = [context for caller, context in world.calls if caller == model]
        assert all(a != b for a, b in pairwise(own))


def test_every_round_has_every_model_in_an_order_of_its_own(short):
    world = World()
    measured(world, [1000, 2000, 3000], 50, 300)
    models = [model for model, _ in world.calls]
    rounds = [tuple(models[i : i + 3]) for i in range(0, len(models), 3)]
    assert all(sorted(order) == [0, 1, 2] for order in rounds)
    counts = Counter(rounds)
    assert len(counts) == 6
    assert min(counts.values()) > 25  # of about 53


def test_no_model_keeps_contexts_to_itself(short):
    world = World()
    measured(world, [1000, 2000], 8, 400)
    met = [{context for model, context in world.calls if model == m} for m in (0, 1)]
    assert met == [set(range(8))] * 2


def test_the_seed_decides_the_order(short):
    worlds = [World() for _ in range(3)]
    for world, seed in zip(worlds, (1, 1, 2), strict=True):
        measured(world, [1000, 2000], 20, 30, seed=seed)
    assert worlds[0].calls == worlds[1].calls != worlds[2].calls


# ---- the bootstrap --------------------------------------------------------------------------


def ratios(medians: np.ndarray) -> np.ndarray:
    return medians / medians[0]


def test_without_noise_the_interval_is_the_ratio():
    low, high = timing.interval(np.tile([40.0, 20.0], (100, 1)), ratios)
    np.testing.assert_array_equal(low, [1, 0.5])
    np.testing.assert_array_equal(high, [1, 0.5])


def test_noise_that_hits_a_whole_round_cancels():
    rng = np.random.default_rng(0)
    slow = rng.choice([1.0, 3.0], (1000, 1))
    low, high = timing.interval(slow * [40.0, 30.0], ratios)
    np.testing.assert_allclose([low[1], high[1]], 0.75)


def test_intervals_hold_the_true_ratio_about_as_often_as_they_say():
    rng = np.random.default_rng(0)
    held = 0
    for seed in range(60):
        calls = rng.normal([40, 36], [4, 4], (400, 2))
        low, high = timing.interval(calls, ratios, seed, draws=200)
        held += low[1] <= 0.9 <= high[1]
        assert 0.015 < high[1] - low[1] < 0.06
    assert 50 <= held <= 60  # of 57 expected


def test_noise_in_bursts_widens_the_interval():
    rng = np.random.default_rng(0)
    alone = rng.normal(40, 4, (2000, 1))
    bursts = np.repeat(rng.normal(0, 4, 50), 40)[:, None]  # a block each, on one model only
    steady = np.hstack([alone, rng.normal(40, 4, (2000, 1))])
    bursty = np.hstack([alone, rng.normal(40, 4, (2000, 1)) + bursts])
    widths = [np.subtract(*timing.interval(c, ratios)[::-1])[1] for c in (steady, bursty)]
    assert widths[1] > 2 * widths[0]


# ---- the machine ----------------------------------------------------------------------------


def test_the_processor_is_named(tmp_path):
    file = tmp_path / "cpuinfo"
    file.write_text("processor\t: 0\nmodel name\t: Fast One @ 3 GHz\n\nmodel name\t: Other\n")
    assert timing.device(file).startswith("Fast One @ 3 GHz, ")
    file.write_text("processor : 0\nHardware : phone\n")
    assert timing.device(file).endswith(" cores")
    assert timing.device(tmp_path / "missing") == timing.device(file)


def test_load_average(monkeypatch):
    monkeypatch.setattr(timing.os, "getloadavg", lambda: (1.5, 2, 3))
    assert timing.load_average() == 1.5
    monkeypatch.delattr(timing.os, "getloadavg")
    assert timing.load_average() is None


# ---- real models ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return exported(tmp_path_factory, "lstm_id_genre").export / "model.tflite"


def odd(file: Path, folder: Path, is_odd: bool) -> Path:
    """The file; on Linux a copy whose name is no UTF-8, which the runtimes do not take."""
    is_odd = is_odd and sys.platform == "linux"
    return Path(shutil.copy(file, folder / "\udcff.tflite")) if is_odd else file


@pytest.mark.parametrize("delegate", [True, False])
@pytest.mark.parametrize("runtime", [InterpreterRunner, CompiledRunner])
def test_runners_feed_by_position_and_run(file, runtime, delegate, tmp_path):
    model = inspect(file)
    (contexts,) = fresh_contexts.draw([model], 30, 0)
    runner, expected = runtime(odd(file, tmp_path, delegate), 1, delegate), TfliteModel(file)
    for row in range(5):
        context = [array[row] for array in contexts]
        runner.feed(context)
        runner.run()
        names = [spec.name for spec in model.inputs]
        answers = expected(dict(zip(names, context, strict=True)))
        for found, (name, shape, dtype) in zip(runner.outputs(), expected.outputs, strict=True):
            assert found.shape == tuple(shape)
            assert found.dtype == dtype
            np.testing.assert_allclose(found, answers[name], atol=1e-5)


def test_the_same_file_twice(file):
    require_export()
    model = inspect(file)
    contexts = fresh_contexts.draw([model, model], 1500, 0)
    load = functools.partial(InterpreterRunner, file)

    def ratio() -> float:
        calls = timing.measure([load, load], contexts, 300).calls
        assert calls.min() > 0.5
        return ratios(np.median(calls, axis=0))[1]

    # About 1.00 +- 0.02 on a quiet machine. A busy one disturbs some measurements, but a mistake
    # disturbs all of them.
    assert any(0.9 < ratio() < 1.1 for _ in range(5))
