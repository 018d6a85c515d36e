"""Models that know the moment of asking: what they learn, and what training does with it.

The data of the first test are of people who want one thing at each part of the day, and nothing
else decides.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import polars as pl
import pytest

from flaxrec.config import (
    Config,
    DataConfig,
    FeatureConfig,
    GroupConfig,
    LossConfig,
    ModelConfig,
    OptimizerConfig,
    TrainConfig,
)
from flaxrec.data.dataset import prepare
from flaxrec.data.spec import InputSpec
from flaxrec.errors import ConfigError
from flaxrec.models import features, rounded_tables, smoothing
from flaxrec.tflite import rounding
from flaxrec.training import teacher as teacher_lib
from flaxrec.training.run import train
from flaxrec.training.steps import Job
from flaxrec.training.validation import validate
from flaxrec.training.workdir import Workdir
from tests.support.builders import ITEM_ID, make_timelines
from tests.support.shared_programs import shared_programs

ZONE = "America/New_York"  # hours of the zone decide, not those of UTC
PARTS = 6
HOUR = GroupConfig([FeatureConfig("hour", "ask.hour", "INT", 8)], modulates=True)
AFTER = FeatureConfig("after", "event.gap_after", "INT", 4)


@pytest.fixture(scope="module", autouse=True)
def traced_once():
    """Equal functions are traced once in all these runs."""
    with shared_programs():
        yield


@pytest.fixture(scope="module")
def days(tmp_path_factory):
    """A file of date-times; the item is the part of the day in that zone."""
    random = np.random.default_rng(0)
    hours = np.cumsum(random.integers(1, 30, (60, 12)), axis=1).ravel()
    times = pl.from_epoch(1_704_085_200 + 3600 * pl.Series(hours)).dt.replace_time_zone("UTC")
    times = times.dt.convert_time_zone(ZONE)
    table = pl.DataFrame(
        {
            "user": np.repeat(np.arange(60), 12),
            "item": times.dt.hour() // (24 // PARTS),
            "time": times.dt.convert_time_zone("UTC").dt.strftime("%Y-%m-%dT%H:%M:%SZ"),
        }
    )
    path = tmp_path_factory.mktemp("days") / "days.csv"
    table.write_csv(path)
    return path


def config_of(path, *groups, epochs=8, encoder="bow", **model) -> Config:
    item = FeatureConfig("context_item_id", embedding_dim=8)
    return Config(
        data=DataConfig("table", str(path), time_zone=ZONE),
        model=ModelConfig(
            context_length=4,
            embedding_dim=8,
            global_groups=list(groups),
            activity_groups=[GroupConfig([item], encoder)],
            hidden_dims=(),
            **model,
        ),
        optimizer=OptimizerConfig("adam", 0.05),
        train=TrainConfig(batch_size=54, epochs=epochs, patience=0, select_metric="recall@1"),
    )


def trained(config, folder):
    config.evaluation.ks, config.evaluation.baselines = (1, 5), False
    config.export.enabled, config.export.top_k = False, 2
    return train(validate(config), Workdir(folder), say=lambda line: None)


def test_the_hour_is_learned_where_it_decides(days, tmp_path):
    knows = trained(config_of(days, HOUR), tmp_path / "knows")
    assert knows.metrics["recall@1"] > 0.95
    blind = trained(config_of(days, epochs=2), tmp_path / "blind")
    assert blind.metrics["recall@1"] < 0.5


# ---- training for the unknown -----------------------------------------------------------------

INPUTS = (
    InputSpec("ids", "item.id", "INT", 4, 9, "item"),
    InputSpec("after", "event.gap_after", "INT", 4, 6, "after"),
    InputSpec("rating", "event.rating", "FLOAT", 4, default=3.5),
    InputSpec("hour", "ask.hour", "INT", 1, 26, "hour"),
)


def forgotten(rate, labels=1):
    """Inputs of 400 contexts, whose last place is padding, and what is left of them."""
    padding = np.array([1, 1, 1, 0])
    given = {
        "ids": jnp.asarray(np.tile([3, 4, 5, 0], (400, 1))),
        "after": jnp.asarray(np.tile([2, 3, 4, 0], (400, 1))),
        "rating": jnp.full((400, 4), 2.0) * padding,
        "hour": jnp.full((400, labels), 7),
    }
    left = features.forget(given, INPUTS, rate, jax.random.key(0))
    return given, {name: np.asarray(values) for name, values in left.items()}


def test_forgotten_values_are_unknown_and_padding_stays():
    given, left = forgotten(0.3, labels=3)
    assert (left["ids"] == given["ids"]).all()
    assert set(np.unique(left["after"][:, :3])) == {2, 3, 4, 5}
    assert (left["after"][:, 3] == 0).all()
    assert set(np.unique(left["rating"][:, :3])) == {2.0, 3.5}
    assert set(np.unique(left["hour"])) == {7, 25}
    ratings = left["rating"][:, :3] == 3.5
    assert (ratings == ratings[:, :1]).all()  # of a whole context
    assert 0.2 < ratings.mean() < 0.4
    gone = left["after"][:, :3] == 5
    assert 0.2 < gone.all(axis=1).mean() < 0.45  # of a whole context, or one by one
    assert (gone[:, 2] & ~gone[:, 0]).any()
    assert 0.41 < gone.mean() < 0.61
    hours = left["hour"] == 25
    assert (hours[:, 0] != hours[:, 1]).any()  # each label by itself
    assert not (hours[:, 0] == ratings[:, 0]).all()


def test_a_rate_of_0_forgets_nothing():
    given, left = forgotten(0.0)
    assert all((left[name] == given[name]).all() for name in given)


# ---- smoothing --------------------------------------------------------------------------------


def test_a_rare_value_reads_its_neighbours():
    """40 pairs a second apart, one 2^4 seconds apart; nothing in between."""
    times = np.cumsum([0, *[1] * 40, 20, 1])
    timelines = make_timelines(
        [(1, i % 4, int(time)) for i, time in enumerate(times)], ITEM_ID, AFTER
    )
    kernel = smoothing.weights(timelines, np.arange(1, len(times)))["after"]
    entries = timelines.vocabularies["after"].entries
    assert entries[1:] == ("0", "1", "2", "3", "4")
    assert kernel.shape == (7, 7)
    np.testing.assert_allclose(kernel.sum(axis=1), 1, rtol=1e-6)
    assert (kernel[[0, -1]] == np.eye(7)[[0, -1]]).all()  # padding and 'unknown' are their own
    assert kernel[2, 2] > 0.9  # 1 s: itself
    assert kernel[3, 2] > 0.5  # never seen: what is next to it
    assert kernel[5, 5] > kernel[5, 4] > kernel[5, 3]
    params = {"groups/0/features/tables/after": np.eye(7, dtype=np.float32), "other": np.ones(2)}
    made = smoothing.smoothed(params, {"after": kernel})
    np.testing.assert_allclose(made["groups/0/features/tables/after"], kernel)
    assert made["other"] is params["other"]


def test_the_last_hour_is_next_to_the_first():
    kernel = smoothing._kernel(np.full(24, 5), cyclic=True)
    assert kernel[1, 24] == kernel[1, 2] > kernel[1, 3]


# ---- tables rounded in training ---------------------------------------------------------------


@pytest.mark.parametrize(("recipe", "bits"), [("int4", 4), ("int8", 8)])
def test_rounded_tables_are_those_of_the_file(recipe, bits):
    """What training saw is what the export stores: rounding once more changes nothing."""
    table = np.random.default_rng(0).normal(0, 0.3, (20, 16)).astype(np.float32)
    table[3] = 0
    made = np.asarray(rounded_tables.rounded({"table": table}, ["table"], recipe)["table"])
    stored = rounding.by_row(made, bits)
    np.testing.assert_allclose(stored.values * stored.scales[:, None], made, atol=1e-6)
    exact = rounding.by_row(table, bits)
    error = np.square(exact.values * exact.scales[:, None] - table).sum()
    assert error * 0.999 <= np.square(made - table).sum() <= error * 1.2
    assert rounded_tables.rounded({"table": table}, ["table"], "none")["table"] is table


def test_gradients_pass_as_if_nothing_were_rounded():
    table = jnp.asarray(np.random.default_rng(0).normal(size=(4, 5)), jnp.float32)

    def loss(table):
        return jnp.sum(jnp.arange(5) * rounded_tables.rounded({"t": table}, ["t"], "int4")["t"])

    np.testing.assert_allclose(jax.grad(loss)(table), np.tile(np.arange(5), (4, 1)))


# ---- a teacher --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def lesson(days, tmp_path_factory):
    """A trained teacher's folder, and the config of a student."""
    folder = tmp_path_factory.mktemp("teacher") / "run"
    teacher = config_of(days, epochs=1, encoder="lstm", tied_tables=True)
    teacher.train.labels_per_context = 4
    trained(teacher, folder)
    student = dataclasses.replace(teacher, train=dataclasses.replace(teacher.train))
    student.train.teachers = (str(folder),)
    return folder, student


def test_the_teacher_is_the_run_that_was_named(lesson):
    folder, config = lesson
    data = prepare(config)
    (teacher,) = teacher_lib.load(config, data)
    evaluated = Workdir(folder).read_metrics()[-1]["metrics"]["loss"]
    assert teacher.inputs == data.spec.inputs
    ranks = Job(config, data).evaluator(teacher.params, data.split.test, "test")
    assert ranks.means((1,))["loss"] == pytest.approx(evaluated, rel=1e-5)


def test_a_student_learns_from_its_teacher(lesson, tmp_path):
    """Nine tenths of the target are the teacher's; the run's config says who taught."""
    _, config = lesson
    config.train.teacher_share = 0.9
    result = trained(config, tmp_path / "student")
    assert result.metrics["recall@5"] > 0.5
    assert Workdir(tmp_path / "student").read_config().train.teachers == config.train.teachers


def test_several_teachers_teach_by_the_mean_of_their_scores(lesson):
    _, config = lesson
    data = prepare(config)
    (one,) = teacher_lib.load(config, data)
    own = jax.tree.map(jnp.asarray, one.params)
    params = {name: -2 * value for name, value in own.items()}
    job = Job(config, data)
    arguments = job.timelines, jnp.asarray(data.split.train[-8:]), 4

    def scores(*params):
        told = teacher_lib.encode([one] * len(params), params, *arguments)
        return told[0] @ told[1].T

    mean = (scores(own) + scores(params)) / 2
    np.testing.assert_allclose(scores(own, params), mean, rtol=1e-4, atol=1e-5)
    assert teacher_lib.encode((), (), *arguments) is None


def test_a_teacher_that_knows_no_first_events_cannot_teach_them(lesson):
    _, config = lesson
    first = dataclasses.replace(config.train, first_events=True)
    with pytest.raises(ConfigError, match="has not learned users' first events"):
        teacher_lib.load(dataclasses.replace(config, train=first), prepare(config))


def test_a_teacher_of_other_items_is_refused(lesson, tmp_path):
    _, config = lesson
    other = tmp_path / "other.csv"
    other.write_text("user,item,time\n" + "".join(f"1,{i},2024-01-0{i}\n" for i in range(1, 9)))
    of_others = config_of(other)
    of_others.export.top_k, of_others.evaluation.ks = 2, (1, 5)
    data = prepare(of_others)
    with pytest.raises(ConfigError, match=r"train\.teachers has .* knows other items"):
        teacher_lib.load(config, data)
    wrong = dataclasses.replace(config, loss=LossConfig("batch_softmax"))
    with pytest.raises(ConfigError, match="teachers need"):
        validate(wrong)
