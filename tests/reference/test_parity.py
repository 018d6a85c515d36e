"""The parity command: all stages agree with the reference's numbers, and a changed number is seen.

The copies of goldens in this folder are compared here, and all goldens where they are at hand.
"""

import copy
import dataclasses
import json
import shutil

import jax
import numpy as np
import pytest

from flaxrec import parity
from flaxrec.errors import DataError
from flaxrec.reference import goldens, stages
from flaxrec.reference import parity_report as parity_lib
from tests.support.places import GOLDEN, GOLDENS

NAMES = goldens.names(GOLDENS)
STAGES = [
    "config",
    "examples",
    "weights",
    "initialisers",
    "group_out/0",
    "context_embedding",
    "logits",
    "loss/global_softmax",
    "loss/batch_softmax",
    "metrics",
    "train/loss",
    "gradients",
    "clip_norms",
    "nan_gradients",
    "train/step_losses",
    "w_after1",
    "w_after1_clip0.02",
    "w_after5",
    "serve",
    "serving_graph",
    "tflite_out",
    "tflite_out_consecutive",
]


@pytest.fixture(scope="module")
def compared():
    """Rows of the copies, and the cases that they are of, both by configuration."""
    rows, cases = {}, {}

    class Kept(stages.Case):
        def __init__(self, folder, golden):
            super().__init__(folder, golden)
            cases[golden.name] = self

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stages, "Case", Kept)
        for row in parity_lib.run(GOLDENS):
            rows.setdefault(row.configuration, []).append(row)
    return rows, cases


@pytest.fixture(scope="module")
def report(compared):
    return compared[0]


@pytest.fixture(autouse=True)
def as_the_command_computes():
    with jax.default_device(jax.devices("cpu")[0]), jax.default_matmul_precision("float32"):
        yield


# ---- agreement ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_every_stage_of_a_configuration(report, name):
    rows = report[name]
    assert [row.stage for row in rows if row.stage != "group_out/1"] == STAGES
    assert [(row.stage, row.remark) for row in rows if not row.passed] == []
    assert all(row.difference <= row.tolerance for row in rows)


def test_metrics_and_example_generation(report):
    assert set(report) == {*NAMES, "metrics_cases", "datagen"}
    assert len(report["metrics_cases"]) == 3 * 3 + 1
    assert len(report["datagen"]) == 4 + 2
    for name in ("metrics_cases", "datagen"):
        assert [(row.stage, row.remark) for row in report[name] if not row.passed] == []


needs_goldens = pytest.mark.skipif(
    not GOLDEN.is_dir(), reason=f"the reference's goldens are not at {GOLDEN}"
)
OTHERS = sorted(set(goldens.names(GOLDEN)) - set(NAMES)) if GOLDEN.is_dir() else ["absent"]


@needs_goldens
@pytest.mark.parametrize(
    "name",
    [  # the copies have bags of words
        pytest.param(name, marks=[pytest.mark.long] * name.startswith("bow")) for name in OTHERS
    ],
)
def test_the_other_goldens(name):
    rows = list(stages.configuration(GOLDEN, name))
    assert len(rows) >= len(STAGES)
    assert [(row.stage, row.remark) for row in rows if not row.passed] == []


@needs_goldens
def test_example_generation_of_the_other_goldens():
    rows = list(parity_lib.run_datagen(GOLDEN / "datagen"))
    assert rows
    assert [row for row in rows if not row.passed] == []


# ---- a changed number is seen ---------------------------------------------------------------


@pytest.fixture(params=NAMES)
def case(request, compared):
    """A case whose own numbers are all computed, so that only the reference's can change."""
    case = compared[1][request.param]
    assert {"forward", "on_train_rows", "trained", "trained_clipped"} <= set(vars(case))
    return case


def failures(case, only=None):
    """Names of the stages that do not hold; `only` looks at some."""
    measures = case.stages()
    rows = [stages.measured_row("", stage, measures[stage]) for stage in only or measures]
    return [row.stage for row in rows if not row.passed]


RESULTS = ("params", "forward", "on_train_rows", "trained", "trained_clipped")


def changed_case(case, computed_anew=(), arrays=None, notes=None):
    """The case with other numbers of the reference.

    What flaxrec computed stays, except `computed_anew` of RESULTS; what is compiled stays, too.
    """
    changed = copy.copy(case)
    changed.golden = dataclasses.replace(
        case.golden, arrays=arrays or case.golden.arrays, notes=notes or case.golden.notes
    )
    for result in computed_anew:
        vars(changed).pop(result)
    return changed


def with_arrays(case, **arrays):
    """The case with other numbers of the reference; ours stay as they were computed."""
    return changed_case(case, arrays=case.golden.arrays | arrays)


def stage_of(key):
    """The stage that must see a change of an array that flaxrec computes."""
    prefix = key.split("/")[0]
    by_prefix = {"g": "gradients", "gnorm_used_for_clip": "clip_norms", "in": "examples"}
    by_prefix |= {"w": "weights", "labels": "examples"}
    kept = ("group_out", "loss", "train")
    return by_prefix.get(prefix) or (key if prefix in kept else prefix)


def test_one_number_in_every_array(case):
    random = np.random.default_rng(0)
    for key, array in case.golden.arrays.items():
        if key == "train_rows":
            continue  # no result, but what the others are computed from
        place = tuple(random.integers(size) for size in array.shape)
        changed = array.copy()
        if np.issubdtype(array.dtype, np.integer):
            changed[place] = array[place] + 1
        else:
            rtol = 1e-4 if stage_of(key) in ("gradients", "clip_norms") or "after" in key else 1e-5
            changed[place] += 3 * (1e-6 + rtol * np.abs(array).max())
        stage = stage_of(key)
        assert failures(with_arrays(case, **{key: changed}), [stage]) == [stage], key


def test_a_number_that_is_none(case):
    for key in ("logits", "g/label_embedding", "w_after5/label_embedding", "train/step_losses"):
        changed = case.golden.arrays[key].copy()
        changed.flat[0] = np.nan
        assert failures(with_arrays(case, **{key: changed}), [stage_of(key)]) == [stage_of(key)]


def test_a_missing_array(case):
    for key in case.golden.arrays:
        if key == f"in/{case.golden.notes['input_config']['label_feature']['feature_name']}":
            continue  # stands in `labels`, too
        arrays = {k: v for k, v in case.golden.arrays.items() if k != key}
        if key == "train_rows":
            changed = changed_case(case, ["on_train_rows", "trained"], arrays)
            for stage in ("gradients", "w_after1"):
                assert failures(changed, [stage]), stage
            continue
        assert failures(changed_case(case, arrays=arrays), [stage_of(key)]), key
        if key.startswith("w/"):
            changed = changed_case(case, ["params", "forward"], arrays)
            assert failures(changed, ["weights", "logits"]) == ["weights", "logits"], key
        if key.startswith("in/"):
            changed = changed_case(case, ["forward"], arrays)
            assert failures(changed, ["logits"]), key


def numbers(tree, path=()):
    """Paths to the numbers of a JSON tree."""
    if isinstance(tree, dict | list):
        items = tree.items() if isinstance(tree, dict) else enumerate(tree)
        return [found for key, value in items for found in numbers(value, (*path, key))]
    is_number = isinstance(tree, int | float)
    return [path] if is_number else []


def changed_tree(tree, path):
    tree = copy.deepcopy(tree)
    node = tree
    for key in path[:-1]:
        node = node[key]
    value = node[path[-1]]
    node[path[-1]] = not value if isinstance(value, bool) else value * 1.01 + 1
    return tree


# What no computation of ours can confirm: a seed, how near fit() came to one step, what the
# exporter said of itself, the size and operators of its file.
UNCONFIRMED = {"seed", "fit_vs_manual_step1_maxabs", "saved_model_matches_serve", "tflite"}
SETTINGS = {"input_config", "model_config", "optimizer"}  # the case is built from them
# The stages that may see a change of a note.
OF_NOTE = {
    "checkpoint_variables": ["config"],
    "clip": ["clip_norms"],
    "init_stats_before_bias_noise": ["weights", "initialisers"],
    "losses": ["loss/global_softmax", "loss/batch_softmax"],
    "metrics_16rows": ["metrics"],
    "metrics_extra": ["metrics"],
    "model_evaluate_16rows": ["metrics"],
    "nan_gradients_on_all_16_rows": ["nan_gradients"],
    "raw_examples": ["examples"],
    "saved_model_outputs": ["config"],
    "serving_inputs": ["config"],
    "step_losses": ["train/step_losses"],
}


def test_one_number_of_the_json(case):
    random = np.random.default_rng(1)
    notes = case.golden.notes
    of_note = {}
    for path in numbers(notes):
        of_note.setdefault(path[0], []).append(path)
    for note, paths in of_note.items():
        if note in UNCONFIRMED | SETTINGS:
            continue
        chosen = [paths[i] for i in random.permutation(len(paths))[:6]]
        for path in chosen:
            changed = changed_case(case, notes=changed_tree(notes, path))
            assert failures(changed, OF_NOTE[note]), path


@pytest.mark.parametrize(
    ("section", "field", "value", "stage"),
    [
        ("model_config", "num_predictions", 9, "config"),
        ("model_config", "hidden_layer_dims", [16, 16], "weights"),
        ("model_config", "lstm_num_units", 8, "weights"),
        ("model_config", "eval_top_k", [1, 5, 11], "metrics"),
        ("optimizer", "lr", 0.11, "w_after1"),
        ("optimizer", "initial_accumulator_value", 0.11, "w_after1"),
        ("optimizer", "clipnorm", 0.02, "w_after1"),
    ],
)
def test_another_setting(tmp_path, section, field, value, stage):
    name = "lstm_id" if section == "model_config" else "global_group"  # trained again: the quickest
    case = changed_copy(tmp_path, name, lambda notes: notes[section].update({field: value}))
    assert failures(case, [stage]) == [stage]


def changed_copy(folder, name, change_notes):
    """The case of a copy of a golden with other notes."""
    for path in GOLDENS.glob(f"{name}.*"):
        shutil.copy(path, folder)
    if (GOLDENS / "vocab").is_dir():
        shutil.copytree(GOLDENS / "vocab", folder / "vocab")
    path = folder / f"{name}.json"
    notes = json.loads(path.read_text())
    change_notes(notes)
    path.write_text(json.dumps(notes))
    return stages.Case(folder, goldens.load(folder, name))


def test_initialisers_of_another_kind(tmp_path):
    def change(notes):
        notes["init_stats_before_bias_noise"]["label_embedding"]["std"] *= 1.2

    case = changed_copy(tmp_path, "global_group", change)
    assert failures(case, ["initialisers"]) == ["initialisers"]


@pytest.fixture
def lstm(compared):
    return compared[1]["lstm_id"]


def test_other_inputs_go_through_the_whole_model(lstm):
    """A context id changed in inputs and raw examples alike: everything behind them differs."""
    notes, ids = copy.deepcopy(lstm.golden.notes), lstm.golden.arrays["in/context_movie_id"].copy()
    notes["raw_examples"][0]["context_movie_id"][0] += 1
    ids[0, 0] += 1
    arrays = lstm.golden.arrays | {"in/context_movie_id": ids}
    case = changed_case(lstm, RESULTS, arrays, notes)
    assert not failures(case, ["examples"])
    for stage in ("group_out/0", "logits", "gradients", "w_after1", "w_after5", "serve"):
        assert failures(case, [stage]), stage


def test_a_weight_that_no_example_uses(lstm):
    """It changes no output; but it is not what is left of it after a step."""
    arrays, key = lstm.golden.arrays, "w/group0/embedding/context_movie_id"
    unused = sorted(set(range(1, 500)) - set(arrays["in/context_movie_id"].flat))
    table = arrays[key].copy()
    table[unused[0], 0] += 1e-3
    case = changed_case(lstm, RESULTS, arrays | {key: table})
    assert not failures(case, ["logits"])
    assert failures(case, ["w_after1"])


# ---- metrics and example generation: the same ---------------------------------------------------


def test_changed_metrics_cases(tmp_path):
    for suffix in ("npz", "json"):
        shutil.copy(GOLDENS / f"metrics_cases.{suffix}", tmp_path)
    notes = json.loads((tmp_path / "metrics_cases.json").read_text())
    for path in numbers(notes):
        (tmp_path / "metrics_cases.json").write_text(json.dumps(changed_tree(notes, path)))
        failed = [row.stage for row in parity_lib.run(tmp_path) if not row.passed]
        expected = {"accumulated": "accumulated"}
        if path[0] == "batches":
            expected = {"metrics": f"batch{path[1]}/metrics"}
        assert failed == [expected.get(path[0]) or expected.get(path[2]) or batch_stage(path)]


def batch_stage(path):
    return f"batch{path[1]}/{path[2]}"


@pytest.mark.parametrize("file", ["expected.json", "ratings.dat", "movies.dat"])
def test_changed_example_generation(tmp_path, file):
    shutil.copytree(GOLDENS / "datagen", tmp_path / "datagen")
    path = tmp_path / "datagen" / file
    text = path.read_text(encoding="latin-1")
    changes = {
        "expected.json": ("1980", "1981"),
        "ratings.dat": ("1::15::5::", "1::15::4::"),
        "movies.dat": ("(1953)", "(1954)"),
    }
    before, after = changes[file]
    assert before in text
    path.write_text(text.replace(before, after, 1), encoding="latin-1")
    assert [row for row in parity_lib.run(tmp_path) if not row.passed]


# ---- the command ----------------------------------------------------------------------------


def test_the_command_prints_and_writes_the_same(tmp_path, capsys):
    folder = tmp_path / "goldens"
    folder.mkdir()
    for suffix in ("npz", "json"):
        shutil.copy(GOLDENS / f"metrics_cases.{suffix}", folder)
    file = tmp_path / "report.json"
    assert parity.main([str(folder), f"--json={file}"]) == 0
    printed = capsys.readouterr().out
    rows = json.loads(file.read_text())
    assert [set(row) for row in rows] == [
        {"configuration", "stage", "difference", "tolerance", "pass", "remark"}
    ] * 10
    assert all(row["pass"] is True and row["difference"] <= row["tolerance"] for row in rows)
    table = [line for line in printed.splitlines() if line.startswith("| metrics_cases")]
    assert [line.split("|")[2].strip() for line in table] == [row["stage"] for row in rows]
    assert "10 of 10 stages agree" in printed

    notes = json.loads((folder / "metrics_cases.json").read_text())
    notes["batches"][1]["global_softmax"] += 1
    (folder / "metrics_cases.json").write_text(json.dumps(notes))
    assert parity.main([str(folder), f"--json={file}"]) == 1
    out, err = capsys.readouterr()
    assert "9 of 10 stages agree" in out
    assert "batch1/global_softmax" in err
    assert [row["stage"] for row in json.loads(file.read_text()) if not row["pass"]] == [
        "batch1/global_softmax"
    ]


@pytest.mark.parametrize("damage", ["cut npz", "no npz", "no json", "no JSON", "no model"])
def test_files_that_cannot_be_handled(tmp_path, capsys, damage):
    for suffix in ("npz", "json"):
        shutil.copy(GOLDENS / f"lstm_id.{suffix}", tmp_path)
    arrays, notes = tmp_path / "lstm_id.npz", tmp_path / "lstm_id.json"
    match damage:
        case "cut npz":
            arrays.write_bytes(arrays.read_bytes()[:-1000])
        case "no npz":
            arrays.unlink()
        case "no json":
            notes.unlink()
        case "no JSON":
            notes.write_text("{")
        case "no model":
            notes.write_text("{}")
    file = tmp_path.parent / f"{tmp_path.name}.json"
    assert parity.main([str(tmp_path), f"--json={file}"]) == 1
    (row,) = json.loads(file.read_text())
    assert (row["configuration"], row["stage"], row["pass"]) == ("lstm_id", "load", False)
    assert row["difference"] is None
    assert "lstm_id" in row["remark"]


def test_an_encoder_that_we_do_not_have(tmp_path):
    for suffix in ("npz", "json"):
        shutil.copy(GOLDENS / f"lstm_id.{suffix}", tmp_path)
    path = tmp_path / "lstm_id.json"
    path.write_text(path.read_text().replace('"LSTM"', '"GRU"'))
    rows = list(stages.configuration(tmp_path, "lstm_id"))
    assert [(row.stage, row.passed) for row in rows] == [("load", False)]
    assert "'gru'" in rows[0].remark


def test_a_description_without_global_groups(tmp_path):
    case = changed_copy(
        tmp_path, "lstm_id", lambda notes: notes["input_config"].pop("global_feature_groups")
    )
    assert list(case.stages()) == STAGES
    assert not failures(case, ["examples", "nan_gradients"])


def test_a_description_that_nobody_foresaw(tmp_path):
    for suffix in ("npz", "json"):
        shutil.copy(GOLDENS / f"lstm_id.{suffix}", tmp_path)
    path = tmp_path / "lstm_id.json"
    notes = json.loads(path.read_text())
    notes["model_config"]["lstm_num_units"] = 16.5
    path.write_text(json.dumps(notes))
    rows = list(stages.configuration(tmp_path, "lstm_id"))
    assert [(row.stage, row.passed) for row in rows] == [("load", False)]


def test_records_alone(tmp_path):
    (tmp_path / "alone.tfrecord").write_bytes(b"")
    (row,) = parity_lib.run(tmp_path)
    assert (row.configuration, row.stage, row.passed) == ("alone", "load", False)


def test_a_folder_with_nothing_to_compare(tmp_path, capsys):
    with pytest.raises(DataError, match="holds no golden"):
        list(parity_lib.run(tmp_path))
    assert parity.main([str(tmp_path)]) == 2
    assert parity.main([str(tmp_path / "none")]) == 2
    assert "is not a folder" in capsys.readouterr().err


def test_a_report_that_cannot_be_written(tmp_path, capsys):
    for suffix in ("npz", "json"):
        shutil.copy(GOLDENS / f"metrics_cases.{suffix}", tmp_path)
    assert parity.main([str(tmp_path), f"--json={tmp_path / 'none' / 'x.json'}"]) == 2
    assert "cannot be written" in capsys.readouterr().err
