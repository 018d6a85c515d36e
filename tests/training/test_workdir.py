"""The run folder: whose it is, the metrics file through kills, and what is written whole."""

import contextlib
import dataclasses
import json
import os
import re
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from flaxrec import config as config_lib
from flaxrec.config import Config, DataConfig, FeatureConfig, GroupConfig, ModelConfig
from flaxrec.data.dataset import Dataset
from flaxrec.data.spec import InputSpec, ModelSpec
from flaxrec.data.splits import Split
from flaxrec.data.vocabulary import Vocabulary
from flaxrec.errors import FlaxrecError
from flaxrec.files import read_jsonl
from flaxrec.training.run import train
from flaxrec.training.run_assets import Judged, RunAssets
from flaxrec.training.workdir import MetricsLog, Workdir
from tests.support.builders import make_timelines

ROW = {"step": 3, "epoch": 0, "split": "train", "protocol": "leave_one_out"}
ROWS = [{**ROW, "step": step, "metrics": {"loss": step / 7}} for step in (1, 2, 3)]


def make_config(**fields) -> Config:
    groups = [GroupConfig([FeatureConfig("context_item_id", "item.id")])]
    config = Config(model=ModelConfig(activity_groups=groups))
    config.data.synthetic = dataclasses.replace(config.data.synthetic, users=60, items=40)
    config.data.synthetic.mean_events, config.export.top_k = 12, 10
    config.evaluation.ks = (1, 10)
    return dataclasses.replace(config, **fields)


def contents(folder) -> dict:
    """Bytes and time of every file, by path."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


def message_of(function, *arguments) -> str:
    """The one sentence of the error that the call raises."""
    with pytest.raises(FlaxrecError) as error:
        function(*arguments)
    assert "\n" not in str(error.value)
    return str(error.value)


# ---- whose folder it is ---------------------------------------------------------------------


def test_claim_makes_the_folder_and_keeps_the_config(tmp_path):
    workdir = Workdir(tmp_path / "runs" / "one")
    workdir.claim(make_config(seed=5))
    assert workdir.read_config() == make_config(seed=5)
    assert [path.name for path in workdir.path.iterdir()] == ["config.json"]
    workdir.claim(make_config(seed=5, set_by_hand=("seed",)))  # the same run
    assert workdir.read_config() == make_config(seed=5)
    assert "(config.seed)" in message_of(workdir.check, make_config(seed=6, set_by_hand=("seed",)))


def test_rows_that_were_left_out_are_listed(tmp_path):
    cells = {"file": ["a.csv"], "line": [7], "column": ["time"], "reason": ["is '?', no time"]}
    timelines = make_timelines([(1, 10, 0)])
    data = Dataset(timelines, Split(*[np.zeros(0, np.int32)] * 3, "none"), ModelSpec((), 1, 1))
    workdir = Workdir(tmp_path)
    workdir.write_account(dataclasses.replace(data, bad_rows=pl.DataFrame(cells)))
    assert workdir.dropped_rows_file.read_text(encoding="utf-8").splitlines() == [
        "file,line,column,reason",
        "a.csv,7,time,\"is '?', no time\"",
    ]
    assert json.loads(workdir.account_file.read_text(encoding="utf-8"))["events"] == 1


def test_an_empty_folder_is_free(tmp_path):
    Workdir(tmp_path).claim(make_config())
    assert Workdir(tmp_path).read_config() == make_config()


def test_claim_again_changes_nothing(tmp_path):
    workdir = Workdir(tmp_path / "run")
    workdir.claim(make_config())
    before = contents(tmp_path)
    workdir.claim(make_config())
    assert contents(tmp_path) == before


@pytest.mark.parametrize("method", ["check", "claim"])
def test_another_config_is_refused_by_the_names_of_its_fields(tmp_path, method):
    workdir = Workdir(tmp_path / "run")
    workdir.claim(make_config())
    other = make_config(seed=1)
    other.train.epochs = 9
    other.model.activity_groups[0].encoder = "lstm"
    before = contents(tmp_path)
    message = message_of(getattr(workdir, method), other)
    named = set(re.findall(r"config\.[\w.\[\]]+", message.split("(")[1]))
    assert named == {
        "config.seed",
        "config.train.epochs",
        "config.model.activity_groups[0].encoder",
    }
    assert str(workdir.path) in message
    assert "use another --workdir" in message
    assert contents(tmp_path) == before


@pytest.mark.parametrize("method", ["check", "claim"])
@pytest.mark.parametrize("name", ["thesis.docx", ".hidden", "metrics.jsonl"])
def test_a_foreign_folder_is_refused_and_left_alone(tmp_path, method, name):
    (tmp_path / name).write_text("mine")
    before = contents(tmp_path)
    message = message_of(getattr(Workdir(tmp_path), method), make_config())
    assert "is not a run of flaxrec; use another --workdir" in message
    assert contents(tmp_path) == before


def test_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("mine")
    message = message_of(Workdir(tmp_path / "file").claim, make_config())
    assert "is not a run of flaxrec" in message
    assert (tmp_path / "file").read_text() == "mine"


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("mine")
    message = message_of(Workdir(tmp_path / "file" / "run").claim, make_config())
    assert str(tmp_path / "file" / "run") in message
    assert "cannot be written (Not a directory)" in message


def test_check_makes_nothing(tmp_path):
    Workdir(tmp_path / "run").check(make_config())
    assert not list(tmp_path.iterdir())


def test_a_run_killed_while_it_claimed_the_folder_does_not_block_it(tmp_path, monkeypatch):
    def killed(*_):
        raise KeyboardInterrupt

    workdir = Workdir(tmp_path / "run")
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            workdir.claim(make_config())
    assert not workdir.config_file.exists()
    workdir.claim(make_config())
    assert workdir.read_config() == make_config()


def test_a_folder_inside_a_run_leads_to_it(tmp_path):
    Workdir(tmp_path / "run").claim(make_config())
    (tmp_path / "run" / "export").mkdir()
    message = message_of(Workdir(tmp_path / "run" / "export").read_config)
    assert message.endswith(f"give the folder above, {tmp_path / 'run'}.")


def test_reading_no_run(tmp_path):
    assert "is not a run of flaxrec: it has no config.json" in message_of(
        Workdir(tmp_path / "no").read_config
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [("{", "not valid JSON"), ('{"layers": 3}', "unknown field 'layers'"), ("[1]", "config")],
)
def test_a_broken_config_file_is_named(tmp_path, text, expected):
    (tmp_path / "config.json").write_text(text)
    message = message_of(Workdir(tmp_path).claim, make_config())
    assert expected in message
    assert "config.json" in message  # which file, of which run
    assert (tmp_path / "config.json").read_text() == text


# ---- a start that fails leaves the folder free ------------------------------------------------


def bad_starts() -> dict[str, Config]:
    """Configs that pass `validate` and are refused once the data are known."""
    bad = {name: make_config() for name in ("batch", "ks", "top_k", "source", "devices")}
    bad["batch"].train.batch_size = 100_000
    bad["ks"].evaluation.ks = (1, 10, 41)
    bad["top_k"].export.top_k = 41
    bad["source"].model.activity_groups[0].features[0].source = "item.colour"
    bad["devices"].train.devices = 512
    bad["path"] = make_config(data=DataConfig(source="movielens", path="/no/such/folder"))
    bad["users"] = make_config()
    bad["users"].data.min_timeline_length = 1000
    return bad


@pytest.mark.parametrize("name", bad_starts())
def test_a_failed_start_leaves_the_folder_free(tmp_path, name):
    workdir = Workdir(tmp_path / "run")
    message_of(train, bad_starts()[name], workdir, lambda line: None)
    assert not workdir.path.exists()
    workdir.claim(make_config())  # the corrected command


# ---- metrics.jsonl ----------------------------------------------------------------------------


def write_rows(workdir: Workdir, *rows, keep_bytes=0) -> int:
    """Opens the log as a run does, writes, and returns the file's length."""
    workdir.path.mkdir(exist_ok=True)
    log = MetricsLog(workdir, keep_bytes, 0)
    for row in rows:
        log.write(row)
    length = log.bytes
    log.close()
    return length


def test_rows_come_back_to_the_bit(tmp_path):
    workdir = Workdir(tmp_path / "run")
    assert write_rows(workdir, *ROWS) == workdir.metrics_file.stat().st_size
    assert workdir.read_metrics() == ROWS


def test_a_row_is_on_disk_before_write_returns(tmp_path):
    log = MetricsLog(Workdir(tmp_path), 0, 0)
    log.write(ROWS[0])
    assert Workdir(tmp_path).read_metrics() == ROWS[:1]
    log.close()


def test_the_log_is_cut_back_to_the_checkpoint(tmp_path):
    workdir = Workdir(tmp_path / "run")
    kept = write_rows(workdir, ROWS[0])
    write_rows(workdir, *ROWS[1:], keep_bytes=kept)
    assert workdir.read_metrics() == ROWS
    write_rows(workdir, ROWS[2], keep_bytes=kept)
    assert workdir.read_metrics() == [ROWS[0], ROWS[2]]


def test_a_torn_last_line_is_cut_off(tmp_path):
    workdir = Workdir(tmp_path / "run")
    kept = write_rows(workdir, ROWS[0])
    with open(workdir.metrics_file, "ab") as file:
        file.write(b'{"step": 2, "epo')
    write_rows(workdir, ROWS[1], keep_bytes=kept)
    assert workdir.read_metrics() == ROWS[:2]


@pytest.mark.parametrize("lost", ["all", "some"])
def test_a_log_shorter_than_the_checkpoint_knows_is_not_filled_with_nothing(tmp_path, lost):
    """Whoever deletes or empties metrics.jsonl gets the new rows, not NUL bytes before them."""
    workdir = Workdir(tmp_path / "run")
    kept = write_rows(workdir, *ROWS[:2])
    if lost == "all":
        workdir.metrics_file.unlink()
    else:
        workdir.metrics_file.write_text(json.dumps(ROWS[0]) + "\n")
    write_rows(workdir, ROWS[2], keep_bytes=kept)
    assert workdir.read_metrics()[-1] == ROWS[2]


def test_a_log_that_is_deleted_while_it_is_written_is_there_again(tmp_path):
    workdir = Workdir(tmp_path)
    with contextlib.closing(MetricsLog(workdir, 0, 0)) as log:
        log.write(*ROWS[:2])
        workdir.metrics_file.unlink()
        log.write(ROWS[2])
        assert log.bytes == workdir.metrics_file.stat().st_size
    assert workdir.read_metrics() == ROWS


@pytest.mark.parametrize("where", ["file", "folder"])
def test_a_log_that_is_replaced_is_left_alone(tmp_path, where):
    workdir = Workdir(tmp_path / "run")
    workdir.path.mkdir()
    with contextlib.closing(MetricsLog(workdir, 0, 0)) as log:
        log.write(ROWS[0])
        workdir.path.rename(tmp_path / "moved")
        if where == "file":
            workdir.path.mkdir()
            workdir.metrics_file.write_text("mine")
        with pytest.raises(FlaxrecError, match="was removed or replaced while"):
            log.write(ROWS[1])
    assert where == "folder" or workdir.metrics_file.read_text() == "mine"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda line: line.replace('"epoch": ', '"epoch": 1'), "not as it was written"),
        (lambda line: line.replace('"step"', '"stop"'), "not as it was written"),
        (lambda line: "[" * 100_000, "lists and objects in each other"),
        (lambda line: "{" + line.strip("{") + line, "is not valid JSON"),
        (lambda line: '{"step": 1, "step": 2}', "'step' stands twice"),
        (lambda line: '{"step": null}', "step': expected 'int', got 'null'"),
        (lambda line: f'{{"step": {"9" * 30}}}', "more than 64 bits"),
        (lambda line: '{"step": "\\ud800"}', "is not UTF-8"),
        (lambda line: "", "is not valid JSON"),
    ],
)
def test_a_row_that_was_changed_is_named(tmp_path, change, told):
    workdir = Workdir(tmp_path)
    write_rows(workdir, *ROWS)
    first, second, *others = workdir.metrics_file.read_text().splitlines()
    workdir.metrics_file.write_text("\n".join([first, change(second), *others]) + "\n")
    message = message_of(workdir.read_metrics)
    assert message.startswith(f"{workdir.metrics_file}, line 2 ")
    assert told in message


def test_rows_of_earlier_versions_have_no_checksum(tmp_path):
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    assert Workdir(tmp_path).read_metrics() == ROWS


def test_tensorboard_is_optional(tmp_path, monkeypatch):
    for name in ("tensorboardX", "tensorboardX.proto"):
        monkeypatch.setitem(__import__("sys").modules, name, None)
    workdir = Workdir(tmp_path / "run")
    write_rows(workdir, *ROWS)
    assert workdir.read_metrics() == ROWS
    assert not workdir.tensorboard.exists()


def test_tensorboard_has_the_same_values(tmp_path):
    event = pytest.importorskip("tensorboardX.proto.event_pb2").Event
    row = ROWS[0] | {"split": "test", "metrics": {"loss": 2.5, "filtered/ndcg@10": 0.25}}
    workdir = Workdir(tmp_path / "run")
    write_rows(workdir, row)
    write_rows(workdir, row)  # within a second: a file of its own
    for file in sorted(workdir.tensorboard.iterdir()):
        version, start, *scalars = map(event.FromString, records(file.read_bytes()))
        assert version.file_version == "brain.Event:2"
        assert (start.step, start.session_log.status) == (1, start.session_log.START)
        written = [(v.tag, v.simple_value, e.step) for e in scalars for v in e.summary.value]
        assert written == [("test/loss", 2.5, 1), ("test/filtered/ndcg_at_10", 0.25, 1)]
    assert len(list(workdir.tensorboard.iterdir())) == 2


def records(content: bytes) -> list[bytes]:
    """The records of a TFRecord file; their checksums are those of tests of `tfrecord`."""
    found = []
    while content:
        length = int.from_bytes(content[:8], "little")
        found.append(content[12 : 12 + length])
        content = content[16 + length :]
    return found


# ---- whole or not at all ----------------------------------------------------------------------

SPEC = ModelSpec((InputSpec("context_item_id", "item.id", "INT", 3, 4, "item"),), 2, 1)
ITEMS = [{"id": "b", "title": "B", "count": 3}, {"id": "ä", "title": "Ä", "count": 1}]
SAMPLE = {"context_item_id": np.array([[1, 2, 0]], np.int32)}
JUDGED = {"validation": Judged(SAMPLE, np.array([2], np.int32))}
HISTORIES = [{"user": {"user": 7}, "activities": [{"item": "b"}, {"item": "ä"}], "label": "b"}]


def write_sample_assets(folder) -> None:
    vocabularies = {"item": Vocabulary(("", "b", "ä"))}
    RunAssets(folder).write(SPEC, vocabularies, ITEMS, SAMPLE, HISTORIES, JUDGED)


def test_assets_come_back(tmp_path):
    folder = tmp_path / "assets"
    write_sample_assets(folder)
    assert ModelSpec.from_json((folder / "spec.json").read_text()) == SPEC
    assert (folder / "vocabularies" / "item.txt").read_text(encoding="utf-8").split("\n")[1:3] == [
        "b",
        "ä",
    ]
    assert read_jsonl(folder / "items.jsonl") == [
        {"id": "b", "title": "B", "count": 3},
        {"id": "ä", "title": "Ä", "count": 1},
    ]
    assert Workdir(tmp_path).read_histories() == HISTORIES
    with np.load(folder / "contexts.npz") as arrays:
        assert arrays["context_item_id"].tolist() == [[1, 2, 0]]
    (judged,) = Workdir(tmp_path).judged.iterdir()
    assert judged == folder / "judged" / "validation.npz"
    with np.load(judged) as arrays:
        assert {name: arrays[name].tolist() for name in arrays.files} == {
            "context_item_id": [[1, 2, 0]],
            "label": [2],
        }


def test_assets_replace_older_ones_whole(tmp_path):
    folder = tmp_path / "assets"
    (folder / "vocabularies").mkdir(parents=True)
    (folder / "vocabularies" / "gone.txt").write_text("old")
    write_sample_assets(folder)
    assert [path.name for path in (folder / "vocabularies").iterdir()] == ["item.txt"]
    assert [path.name for path in tmp_path.iterdir()] == ["assets"]


def test_assets_after_a_run_of_the_same_process_id_was_killed(tmp_path):
    """In a container every run may be process 1: what its predecessor left must not stop it."""
    left = tmp_path / f".assets.{os.getpid()}" / "vocabularies"
    left.mkdir(parents=True)
    (left / "gone.txt").write_text("old")
    write_sample_assets(tmp_path / "assets")
    assert [path.name for path in (tmp_path / "assets/vocabularies").iterdir()] == ["item.txt"]


def test_assets_are_not_there_before_they_are_whole(tmp_path, monkeypatch):
    def killed(*_, **__):
        assert not (tmp_path / "assets").exists()
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(np, "savez_compressed", killed)
        with pytest.raises(KeyboardInterrupt):
            write_sample_assets(tmp_path / "assets")
    assert not (tmp_path / "assets").exists()
    write_sample_assets(tmp_path / "assets")
    assert Workdir(tmp_path).read_histories() == HISTORIES


def test_a_config_is_written_whole(tmp_path, monkeypatch):
    path, replace, seen = tmp_path / "config.json", os.replace, []

    def look_then_replace(source, target):
        seen.append((path.exists(), config_lib.from_json(Path(source).read_text())))
        replace(source, target)

    monkeypatch.setattr(os, "replace", look_then_replace)
    Workdir(tmp_path).claim(make_config())
    assert seen == [(False, make_config())]
    assert config_lib.from_json(path.read_text()) == make_config()
    assert [file.name for file in tmp_path.iterdir()] == ["config.json"]


@pytest.mark.parametrize("lost", ["all", "the last line's end"])
def test_metrics_that_are_not_whole_are_named(tmp_path, lost):
    workdir = Workdir(tmp_path / "run")
    write_rows(workdir, *ROWS[:2])
    if lost == "all":
        workdir.metrics_file.unlink()
    else:
        workdir.metrics_file.write_bytes(workdir.metrics_file.read_bytes()[:-5])
    message = message_of(workdir.read_metrics)
    assert str(workdir.metrics_file) in message
    assert "run train_main.py" in message
