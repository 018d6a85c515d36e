"""The commands, as a person types them: exit status, messages, folders, overrides.

A process that has imported the library, and started nothing yet, forks for every command: each
runs in a process of its own, but imports only once.
"""

import json
import re
from pathlib import Path

import pytest

from tests.support.commands import Command, assert_one_sentence, run_all
from tests.support.places import ROOT

SMALL = (
    "--config.data.synthetic.users=36",
    "--config.data.synthetic.items=40",
    "--config.data.synthetic.mean_events=12",
    "--config.train.epochs=1",
    "--config.train.log_every=2",
    "--config.evaluation.ks=(1,10)",
    "--config.export.top_k=10",
)
NO_EXPORT = "--config.export.enabled=False"
PROGRESS = re.compile(r"[^:]+: [\d,]+ of [\d,]+ \w+, [\d,]+ \w+/s, [\d,]+ s left")
NO_TENSORFLOW = "sys.modules['tensorflow'] = None"

# What is wrong, and what its message must name.
REFUSED = {
    "unknown field": (
        ["--config.train.epoch=3"],
        ["config.train has no field 'epoch'; did you mean 'epochs'?"],
    ),
    "unknown field of a group": (
        ["--config.model.activity_groups[0].features[0].typ=INT"],
        ["config.model.activity_groups[0].features[0] has no field 'typ'; did you mean 'type'?"],
    ),
    "unknown field like no other": (
        ["--config.evaluation.zzz=1"],
        [
            "config.evaluation has no field 'zzz'; it has ks, batch_size, max_megabytes, ",
            "max_labels, every, keep_per_label, baselines.",
        ],
    ),
    "unknown section": (
        ["--config.trane.epochs=3"],
        ["config has no field 'trane'; did you mean 'train'?"],
    ),
    "a section": (["--config.train=3"], ["train"]),
    "no number": (["--config.train.epochs=many"], ["epochs", "many"]),
    "no whole number": (["--config.train.epochs=1.5"], ["epochs", "1.5"]),
    "no truth": (["--config.export.enabled=perhaps"], ["enabled", "perhaps"]),
    "no tuple of numbers": (["--config.model.hidden_dims=(a,)"], ["hidden_dims"]),
    "no such item": (["--config.model.activity_groups[7].encoder=cnn"], ["activity_groups[7]"]),
    "not a choice": (
        ["--config.loss.name=hinge"],
        ["config.loss.name is 'hinge'; use one of global_softmax, sampled_softmax, batch_softmax."],
    ),
    "not positive": (["--config.train.epochs=0"], ["config.train.epochs is 0; use 1 to 1000000."]),
    "unknown variant": (
        ["--config=configs/quickstart.py:tiny"],
        ["The config has no variant 'tiny'; use smoke."],
    ),
    "unknown field of a proto": (
        ["--config=configs/from_reference.py:films.pbtxt"],
        ["films.pbtxt, line 2: Feature has no field 'feature_kind'; use feature_name, "],
    ),
    "no proto": (
        ["--config=configs/from_reference.py:no/films.pbtxt"],
        ["The input config no/films.pbtxt cannot be read (No such file or directory); name a"],
    ),
    "no file": (["--config=configs/none.py"], ["There is no config file 'configs/none.py'"]),
    "a folder": (["--config=configs"], ["There is no config file 'configs'"]),
    "no python": (["--config=broken.py"], ["broken.py"]),
    "no get_config": (["--config=empty.py"], ["empty.py", "get_config"]),
    "no Config": (["--config=dict.py"], ["get_config() must return flaxrec.config.Config"]),
    "unknown flag": (["--wokrdir=x"], ["wokrdir"]),
    "argument": (["smoke"], ["smoke"]),
    "workdir without value": (["--workdir"], ["workdir"]),
    "K above the catalogue": (
        [*SMALL, "--config.export.top_k=41"],
        ["config.export.top_k is 41, but the catalogue has 40 items; use at most 40."],
    ),
    "cut-off above the catalogue": (
        [*SMALL, "--config.evaluation.ks=(1,10,50)"],
        ["config.evaluation.ks is 50, but the catalogue has 40 items; use at most 40."],
    ),
    "batch above the labels": (
        [*SMALL, "--config.train.batch_size=4096"],
        ["config.train.batch_size is 4096, but there are only 277 training labels"],
    ),
    "too many devices": (
        [*SMALL, "--config.train.devices=256", "--config.train.batch_size=256"],
        ["config.train.devices is 256, but there are "],
    ),
    "no data": (
        ["--config=configs/example_networks.py:bow", "--config.data.path=/no/such/folder"],
        ["/no/such/folder"],
    ),
    "no column": (
        [*SMALL, "--config.model.activity_groups[0].features[0].source=item.colour"],
        ["item.colour"],
    ),
}
OF_IDS = "example_networks-bow-id-smoke"
TRAINED = {
    "quickstart": [*SMALL],
    OF_IDS: ["--config=configs/example_networks.py:bow,id,smoke", *SMALL, NO_EXPORT],
    "movielens_lstm-smoke": [  # of 0.1; as a bag of words, which compiles sooner
        "--config",
        "configs/movielens_lstm.py:smoke",
        "--config.model.activity_groups[0].encoder=bow",
        *SMALL,
        NO_EXPORT,
    ],
    "from_reference-models-films.pbtxt": [
        "--config=configs/from_reference.py:models/films.pbtxt",
        "--config.data.source=synthetic",
        *SMALL,
        NO_EXPORT,
    ],
}
EXPORTS_REFUSED = {
    "export without workdir": (
        [],
        "give --workdir=DIR, --from_tflite=FILE or --starter=NAME.",
    ),
    "export of no run": (["--workdir=no/run"], "no/run is not a run of flaxrec"),
    "export of no starter": (
        ["--starter=nope"],
        "There is no starter 'nope'",
    ),
    "export of two things": (
        ["--starter=nope", "--workdir=x"],
        "Exactly one of --workdir, --from_tflite and --starter",
    ),
    "films of a run": (
        ["--workdir=x", "--movielens=none"],
        "--movielens goes with --starter=NAME; leave it out.",
    ),
}
FILMS = """activity_feature_groups { features {
  feature_name: "context_movie_id" feature_type: INT feature_length: 10
  vocab_size: 41 embedding_dim: 8 } }
label_feature { feature_name: "label_movie_id" feature_type: INT vocab_size: 41 embedding_dim: 8 }
"""
OVERRIDES = (
    "--config.seed=3",
    "--config.model.activity_groups[0].encoder=cnn",
    "--config.model.activity_groups[0].features[0].embedding_dim=6",
    "--config.model.activity_groups[0].conv_kernel_size=2",
    "--config.model.activity_groups[0].conv_filter_ratios=(1,)",
    "--config.model.hidden_dims=(12,8)",
    "--config.optimizer.learning_rate=1e-2",
    "--config.train.select_metric=mean_rank",
    "--config.export.enabled=false",
)


# ---- the commands, all at once ------------------------------------------------------------------


@pytest.fixture(scope="module")
def refused(tmp_path_factory):
    """The commands of REFUSED, each in a folder of its own."""
    folder = tmp_path_factory.mktemp("refused")
    commands = {name: Command(name, arguments) for name, (arguments, _) in REFUSED.items()}
    for name, text in {
        "no python": "def get_config(:\n",
        "no get_config": "config = None\n",
        "no Config": "def get_config(variant=None):\n    return {'epochs': 1}\n",
    }.items():
        file = REFUSED[name][0][0].removeprefix("--config=")
        (folder / name).mkdir()
        (folder / name / file).write_text(text)
    proto = folder / "unknown field of a proto" / "films.pbtxt"
    proto.parent.mkdir()
    proto.write_text(FILMS.replace("feature_type", "feature_kind", 1))
    return run_all(folder, commands)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Commands that train, without --workdir, after one in the same folder that was refused."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "all" / "models").mkdir(parents=True)
    (folder / "all" / "models" / "films.pbtxt").write_text(FILMS)
    commands = {name: Command("all", arguments) for name, arguments in TRAINED.items()}
    commands = {"refused": Command("all", [*SMALL, "--config.train.batch_size=4096"]), **commands}
    commands["quickstart"].before = NO_TENSORFLOW
    commands |= {
        "again": Command("all", ["--config=example_networks:bow,id,smoke", *TRAINED[OF_IDS][1:]]),
        "another seed": Command("all", [*TRAINED[OF_IDS], "--config.seed=1"]),
        "foreign": Command("all", [*SMALL, NO_EXPORT, "--workdir=configs"]),
        "interrupted": Command(
            "all",
            [*SMALL, *OVERRIDES, "--workdir=deep/er/run"],
            before="import signal; flaxrec.training.run.Run.train = "
            "lambda self: signal.default_int_handler(signal.SIGINT, None)",
        ),
        "help": Command("all", ["--help"]),
        "help of export": Command("all", ["--help"], script="export_tflite.py"),
    }
    for name, (arguments, _) in EXPORTS_REFUSED.items():
        commands[name] = Command("all", arguments, script="export_tflite.py")
    return run_all(folder, commands)


# ---- what is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", REFUSED)
def test_refused_in_one_sentence(refused, name):
    message = assert_one_sentence(refused[name])
    for expected in REFUSED[name][1]:
        assert expected in message
    assert "KeyError" not in message
    assert "object has no attribute" not in message


@pytest.mark.parametrize("name", REFUSED)
def test_a_refused_command_leaves_nothing(refused, name):
    left = {path.name for path in refused[name].folder.iterdir()}
    given = (".py", ".pbtxt")
    assert {file for file in left if not file.endswith(given)} - {"__pycache__"} == {"configs"}


def test_a_run_of_another_config_is_refused(trained):
    message = assert_one_sentence(trained["another seed"])
    assert f"runs/{OF_IDS} holds a run with another config (config.seed)" in message


def test_a_foreign_workdir_is_refused(trained):
    assert "configs exists and is not a run of flaxrec" in assert_one_sentence(trained["foreign"])


def test_an_interrupted_run_says_how_to_go_on(trained):
    message = assert_one_sentence(trained["interrupted"], status=130)
    assert "the same command goes on" in message


@pytest.mark.parametrize("name", EXPORTS_REFUSED)
def test_export_refuses_in_one_sentence(trained, name):
    assert EXPORTS_REFUSED[name][1] in assert_one_sentence(trained[name])
    assert "tensorflow" not in trained[name].modules


# ---- what is trained ----------------------------------------------------------------------------


def rows_of(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("name", TRAINED)
def test_a_run_lives_in_the_folder_of_its_config(trained, name):
    command = trained[name]
    assert command.status == 0, command.err
    # A slow machine says now and then how far it is, and nothing else.
    assert [line for line in command.err.splitlines() if not PROGRESS.fullmatch(line)] == []
    workdir = command.folder / "runs" / name
    tests = [row for row in rows_of(workdir) if row["split"] == "test"]
    (test,) = (row for row in tests if "baseline" not in row)
    counted = {row["baseline"]: row for row in tests if "baseline" in row}
    config = json.loads((workdir / "config.json").read_text())
    names = ["popularity", "last_item", "last_ten", "transitions"]
    assert list(counted) == ([] if config["reference_mode"] else names)
    for row in counted.values():
        assert f"recall@10 {row['metrics']['filtered/recall@10']:.4f}" in command.out
    assert f"recall@10 {test['metrics']['recall@10']:.4f}" in command.out
    assert f"recall@10 {test['metrics']['filtered/recall@10']:.4f}" in command.out
    assert f"{test['labels']['labels']} labels" in command.out
    assert f"best checkpoint: step {test['step']}" in command.out
    assert not (workdir / "export").exists()


def test_there_is_no_other_folder(trained):
    assert {path.name for path in (trained["refused"].folder / "runs").iterdir()} == set(TRAINED)


def test_a_refused_start_does_not_stand_in_the_way(trained):
    """The default workdir was runs/quickstart both times."""
    assert "config.train.batch_size is 4096" in assert_one_sentence(trained["refused"])
    assert trained["quickstart"].status == 0


@pytest.mark.parametrize("name", TRAINED)
def test_training_imports_no_tensorflow(trained, name):
    assert "jax" in trained[name].modules
    assert "tensorflow" not in trained[name].modules


def test_without_tensorflow_one_sentence_says_how_to_export(trained):
    last = trained["quickstart"].out.splitlines()[-1]
    assert last.startswith("TensorFlow is not installed, so there is no .tflite: copy ")
    assert "runs/quickstart" in last
    assert "run export_tflite.py there" in last
    assert "TensorFlow" not in trained[OF_IDS].out  # it was not asked for


def test_a_finished_run_says_the_same_again(trained):
    """Its config may be named by its file or its module."""
    first, again = (trained[name].out.splitlines() for name in (OF_IDS, "again"))
    assert trained["again"].status == 0
    assert trained["again"].err == ""
    results = [line for line in first if line.startswith(("test (", "  "))]
    assert len(results) == 1 + 2 * (1 + 4)  # the labels, then two ways: the model, four baselines
    assert [line for line in again if line.startswith(("test (", "  "))] == results


def test_overrides_reach_nested_fields_and_items_of_lists(trained):
    workdir = trained["interrupted"].folder / "deep/er/run"
    config = json.loads((workdir / "config.json").read_text())
    group = config["model"]["activity_groups"][0]
    assert config["seed"] == 3
    assert (group["encoder"], group["conv_kernel_size"]) == ("cnn", 2)
    assert (group["conv_filter_ratios"], group["features"][0]["embedding_dim"]) == ([1], 6)
    assert config["model"]["activity_groups"][1]["encoder"] == "bow"
    assert config["model"]["hidden_dims"] == [12, 8]
    assert config["optimizer"]["learning_rate"] == 0.01
    assert config["train"]["select_metric"] == "mean_rank"
    assert config["evaluation"]["ks"] == [1, 10]
    export = {"enabled": False, "top_k": 10, "verification_contexts": 200}
    assert export.items() <= config["export"].items()


# ---- help and size ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "flags"),
    [("help", ["--workdir", "--config"]), ("help of export", ["--workdir", "--output", "--top_k"])],
)
def test_help(trained, name, flags):
    command = trained[name]
    assert "Traceback" not in command.err
    assert "python" in command.out  # the module's docstring with its command
    for flag in flags:
        assert flag in command.out.replace("--[no]", "--")
    assert "tensorflow" not in command.modules


@pytest.mark.parametrize("script", ["train_main.py", "export_tflite.py"])
def test_entry_points_are_short(script):
    assert len((ROOT / script).read_text().splitlines()) < 100
