"""Sweep files: points, seeds, overrides, and what may train together."""

from pathlib import Path

import pytest

from flaxrec.config import paths
from flaxrec.config.presets import example_network
from flaxrec.errors import ConfigError
from flaxrec.research import plan
from tests.support.places import ROOT

SHIPPED = sorted((ROOT / "configs" / "sweeps").glob("*.py"))

SWEEP = """
from flaxrec.config.presets import example_network

def sweep(add):
    for length in (5, 10):
        config = example_network("bow", "smoke")
        config.model.context_length = length
        add(config, seeds=(3, 4), context_length=length)
"""


def write(folder: Path, text: str) -> Path:
    file = folder / "some.py"
    file.write_text(text, encoding="utf-8")
    return file


def test_points_and_seeds_in_order(tmp_path: Path):
    runs = plan.read(write(tmp_path, SWEEP), {"train.epochs": "7", "data.synthetic.users": "50"})
    assert [run.name for run in runs] == [
        f"context_length={length},seed={seed}" for length in (5, 10) for seed in (3, 4)
    ]
    assert [run.first for run in runs] == [True, False, True, False]
    assert [run.config.seed for run in runs] == [3, 4, 3, 4]
    assert {run.config.train.epochs for run in runs} == {7}
    assert {run.config.data.synthetic.users for run in runs} == {50}
    assert runs[2].axes == {"context_length": 10}


@pytest.mark.parametrize(
    ("path", "text", "value"),
    [
        ("data.path", "12", "12"),
        ("train.epochs", "3", 3),
        ("optimizer.learning_rate", "1", 1.0),
        ("export.enabled", "False", False),
        ("export.enabled", "true", True),
        ("evaluation.ks", "(1, 7)", (1, 7)),
        ("model.activity_groups[0].encoder", "lstm", "lstm"),
        ("train.select_metric", "ndcg@5", "ndcg@5"),
    ],
)
def test_overrides_become_what_they_spell(path: str, text: str, value, tmp_path: Path):
    overrides = {"train.select_metric": "loss", path: text}
    (run, *_) = plan.read(write(tmp_path, SWEEP), overrides)
    found = paths.get(run.config, path)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("path", "text", "message"),
    [
        ("nope.x", "1", r"config has no field .nope.; it has name, "),
        ("train.nope", "1", r"config\.train has no field .nope.; it has batch_size, "),
        ("model.activity_groups[7].encoder", "bow", r"no config\.model\.activity_groups\[7\]"),
        ("train.epochs", "many", r"config\.train\.epochs is 'many'; expected int"),
        ("export.enabled", "perhaps", "expected bool"),
        (
            "model.activity_groups[0].encoder",
            "gru",
            "use one of bow, recency_bow, cnn, lstm, linear_rnn, causal_cnn, attention",
        ),
    ],
)
def test_overrides_that_do_not_fit(path: str, text: str, message: str, tmp_path: Path):
    with pytest.raises(ConfigError, match=message):
        plan.read(write(tmp_path, SWEEP), {path: text})


def test_only_seeds_and_rates_train_together(tmp_path: Path):
    text = SWEEP + (
        "    config = example_network('bow', 'smoke')\n"
        "    config.model.context_length = 10\n"
        "    config.optimizer.learning_rate = 0.5\n"
        "    add(config, context_length=10, rate=0.5)\n"
    )
    groups = plan.side_by_side(plan.read(write(tmp_path, text), {}))
    assert [[run.name for run in group] for group in groups] == [
        ["context_length=5,seed=3", "context_length=5,seed=4"],
        [
            "context_length=10,seed=3",
            "context_length=10,seed=4",
            "context_length=10,rate=0.5,seed=0",
        ],
    ]
    # What is made for comparing must not have touched the runs.
    assert groups[1][2].config.optimizer.learning_rate == 0.5


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def sweep(add):\n    pass\n", "adds no points"),
        ("x = 1\n", "has no function sweep"),
        ("def sweep(add:\n", "line 1, is not valid Python"),
        (SWEEP.replace("context_length=length)", "axis=1)"), "two points 'axis=1,seed=3'"),
        (SWEEP.replace("seeds=(3, 4)", "seeds=()"), "has no seeds"),
        (SWEEP.replace("seeds=(3, 4)", "seeds=0"), r"seeds of the point .* is 0; use 1 to 10000\."),
        (SWEEP.replace("seeds=(3, 4)", "seeds=10**12"), "use 1 to 10000"),
        (SWEEP.replace("seeds=(3, 4)", "seeds=iter(int, 1)"), "too many seeds; give 1 to 10000"),
        (SWEEP.replace("seeds=(3, 4)", "seeds=2.5"), "expected int"),
        (SWEEP.replace("seeds=(3, 4)", "seeds='ab'"), r"config\.seed is 'a'; expected int"),
        (SWEEP.replace("seeds=(3, 4)", "seeds=(10**24,)"), r"config\.seed is 10+; use 0 to"),
        (SWEEP.replace("context_length=length)", "axis=[1])"), r"axis 'axis' of .* is \[1\]; use"),
        (
            SWEEP.replace("seeds=(3, 4)", "seeds=(10**5000,)"),
            "seed is too long int; use 0",
        ),
        (
            SWEEP.replace("context_length=length)", "axis=10**5000)"),
            "too long int; use a finite",
        ),
        (SWEEP.replace("context_length=length)", "axis=1e999)"), "is inf; use a finite number"),
        (SWEEP.replace("context_length=length)", "axis='x' * 300)"), "more than 255 bytes"),
        ("def sweep(add):\n    add(None)\n", r"adds None; call add\(config, axis=value\)"),
        ("def sweep():\n    pass\n", r"sweep\(\) of .* cannot be called as sweep\(add\)"),
        (
            SWEEP.replace("= length", "= 0"),
            r"'context_length=5,seed=3' cannot be used: config\.model",
        ),
    ],
)
def test_files_that_cannot_be_used(text: str, message: str, tmp_path: Path):
    with pytest.raises(ConfigError, match=message):
        plan.read(write(tmp_path, text), {})


def test_a_missing_file_is_named(tmp_path: Path):
    with pytest.raises(ConfigError, match="no sweep file"):
        plan.read(tmp_path / "none.py", {})


def test_places_of_data_do_not_make_another_run():
    a, b = example_network("bow", None), example_network("bow", None)
    b.data.path = "elsewhere"
    assert plan.same_run(a, b)
    b.seed = 1
    assert not plan.same_run(a, b)


def test_data_are_told_by_what_is_not_the_default():
    config = example_network("bow", None)
    assert plan.data_of(config) == "ml-1m leave_one_out"
    config.data.path = "some/where/films"
    assert plan.data_of(config) == "films leave_one_out"
    config.reference_mode = True  # other candidates, so other ranks
    assert plan.data_of(config) == "films leave_one_out reference_mode=True"
    config.reference_mode, config.split.protocol = False, "random"
    config.split.test_fraction, config.data.min_rating = 0.005, 2.0
    assert plan.data_of(config) == "films random min_rating=2.0 test_fraction=0.005"
    config.model.context_length = 7  # nothing to do with the data
    assert plan.data_of(config) == "films random min_rating=2.0 test_fraction=0.005"
    config.train.first_events = True  # more training labels, so other counts
    config.split.test_fraction = 0.1
    assert plan.data_of(config) == "films random min_rating=2.0 first_events=True"


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.stem)
def test_shipped_sweeps_make_valid_runs(file: Path):
    runs = plan.read(file, {})
    least = 2 if file.stem == "smoke" else 3
    assert all(len(group) >= least for group in plan.side_by_side(runs))


def test_overrides_of_configs_that_choose_by_data_stay(tmp_path: Path):
    """Also those that are the default's own value."""
    text = SWEEP.replace("        add(", "        config.recipe = 'by_data'\n        add(")
    for run in plan.read(write(tmp_path, text), {"train.epochs": "5"}):
        assert run.config.set_by_hand == ("train.epochs",)
    for run in plan.read(write(tmp_path, SWEEP), {"train.epochs": "5"}):
        assert run.config.set_by_hand == ()
