"""The command: python -m flaxrec.benchmark FILE [FILE ...]."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from flaxrec.benchmark import main
from flaxrec.measuring import comparison
from tests.support.exports import anchor, exported
from tests.support.places import ROOT


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return exported(tmp_path_factory, "bow_id")


@pytest.fixture(scope="module")
def lstm(tmp_path_factory):
    return exported(tmp_path_factory, "lstm_id_genre")


def called(capsys, *arguments: object) -> tuple[int, str, str]:
    """Exit status, stdout and stderr of a short benchmark."""
    status = main([*map(str, arguments), "--calls=40"])
    return status, *capsys.readouterr()


def measured(capsys, *arguments: object) -> dict:
    status, out, err = called(capsys, *arguments, "--format=json")
    assert (status, err) == (0, "")
    return json.loads(out)


def failed(capsys, *arguments: object) -> str:
    """The one line of stderr of a call that fails with status 2 and prints nothing."""
    status, out, err = called(capsys, *arguments)
    assert (status, out) == (2, "")
    assert err.startswith("flaxrec: ")
    assert err.count("\n") == 1
    assert err.endswith(".\n")
    return err


# ---- reports --------------------------------------------------------------------------------


def test_json(capsys, run, lstm):
    report = measured(capsys, run.export, lstm.export / "model.tflite", "--seed=3")
    first, second = report["rows"]
    assert first["bytes"] == (run.export / "model.tflite").stat().st_size
    assert (first["ratio"], first["ratio_interval"]) == (1, None)
    assert second["ratio"] == pytest.approx(second["median_us"] / first["median_us"])
    low, high = second["ratio_interval"]
    assert low <= second["ratio"] <= high
    for row in report["rows"]:
        assert 0 < row["median_us"] <= row["p90_us"] <= row["p99_us"]
        assert row["load_ms"] * 1000 > row["median_us"]
    assert first["inputs"] == ["context_item_id [10]"]
    assert sorted(second["inputs"]) == ["context_genres [8]", "context_item_id [4]"]
    assert (first["top_k"], second["top_k"]) == (120, 20)
    assert second["operators"] > first["operators"]
    assert report["options"] == {
        "calls": 40, "threads": 1, "delegate": True, "runtime": "interpreter", "seed": 3,
        "profile": False,
    }  # fmt: skip
    assert report["contexts"] == ""
    assert report["different_contexts"] > 1000
    assert re.fullmatch(r"\d+\.\d+\.\d+.*", report["litert"])
    assert report["phone"] == []


def test_names_are_as_short_as_they_can_be(capsys, run, lstm, tmp_path):
    file = shutil.copy(run.export / "model.tflite", tmp_path / "bow.tflite")
    report = measured(capsys, file, run.export, lstm.export, file)
    assert [row["file"] for row in report["rows"]] == [
        "bow.tflite", "bow_id/export/model.tflite", "lstm_id_genre/export/model.tflite",
        "bow.tflite",
    ]  # fmt: skip


def cells(line: str) -> list[str]:
    assert line.startswith("| ")
    assert line.endswith(" |")
    return [cell.strip() for cell in line[2:-2].split(" | ")]


def test_markdown(capsys, run, lstm):
    arguments = (run.export, lstm.export, "--format=markdown", "--nodelegate", "--phone")
    status, out, _ = called(capsys, *arguments)
    lines = out.splitlines()
    assert status == 0
    header, rule, first, second = map(cells, lines[:4])
    assert set("".join(rule)) == {"-"}
    assert len(header) == len(rule) == len(first) == len(second) == 11
    size = (run.export / "model.tflite").stat().st_size
    assert first[:2] == ["bow_id/export/model.tflite", f"{size:,}"]
    assert dict(zip(header, first, strict=True))["K"] == "120"
    assert first[-2] == "1.000"
    assert re.fullmatch(r"\d+\.\d{3} \(\d+\.\d{3} to \d+\.\d{3}\)", second[-2])
    assert lines[4] == ""
    assert "XNNPACK off" in out
    assert "40 calls of each file, each on another of" in out
    assert "(drawn, seed 0)" in out
    assert "not run here" in out
    (code,) = re.findall(r"```bash\n(.*?)\n```", out, re.DOTALL)
    assert code.count("--graph=/data/local/tmp/bow_id_export_model.tflite") == 2
    assert code.count("--enable_op_profiling=true") == 2


def test_a_table_for_the_terminal_lines_up(capsys, run, lstm):
    _, out, _ = called(capsys, run.export, lstm.export)
    table = out.split("\n\n")[0].splitlines()
    assert len(table) == 3
    for title in ("bytes", "median, us", "ratio (95%)"):
        begin = table[0].index(title)
        assert all(line[begin - 2 : begin] == "  " for line in table)
        assert all(line[begin] != " " for line in table)


def test_a_profile_names_every_operator(capsys, run):
    report = measured(capsys, run.export, "--profile")
    (row,) = report["rows"]
    assert len(row["profile"]["operators"]) == row["operators"] + 1
    _, out, _ = called(capsys, run.export, "--profile", "--format=markdown")
    assert "Operators of model.tflite:" in out
    table = out.split("Operators of model.tflite:")[1].split("\n\n")[1].splitlines()
    names = [cells(line)[1] for line in table[2:]]
    assert names == [operator["name"] for operator in row["profile"]["operators"]]
    assert names.count("TOPK_V2") == 1
    assert re.search(r"Sum \d+\.\d\d us; the whole file, measured beside: \d+\.\d\d us", out)


def test_a_report_is_written_instead_of_printed(capsys, run, tmp_path):
    path = tmp_path / "report.json"
    path.write_text("old")
    status, out, _ = called(capsys, run.export, "--format=json", f"--output={path}")
    assert (status, out) == (0, "")
    assert len(json.loads(path.read_text())["rows"]) == 1
    assert [file.name for file in tmp_path.iterdir()] == ["report.json"]


def test_saved_contexts(capsys, run):
    file = run.assets / "contexts.npz"
    report = measured(capsys, run.export, f"--contexts={file}")
    with np.load(file) as saved:
        different = len(np.unique(saved["context_item_id"], axis=0))
    assert (report["contexts"], report["different_contexts"]) == ("contexts.npz", different)


def test_few_contexts_are_remarked(capsys, run, tmp_path):
    few = tmp_path / "few.npz"
    np.savez(few, context_item_id=np.arange(1, 101, dtype=np.int32).reshape(10, 10))
    _, out, _ = called(capsys, run.export, f"--contexts={few}")
    assert "another of 10 contexts (of few.npz)" in out
    assert "latencies come out too low" in out
    _, out, _ = called(capsys, run.export)
    assert "too low" not in out


def test_both_runtimes(capsys, run):
    report = measured(capsys, run.export, "--runtime=compiled_model", "--threads=2")
    assert report["rows"][0]["median_us"] > 0
    assert report["options"]["threads"] == 2


# ---- models that the runtime refuses --------------------------------------------------------


def refuse(monkeypatch, refused: Path) -> None:
    """Lets the interpreter refuse a file."""
    load = comparison.RUNTIMES["interpreter"]

    def loaded(model, *arguments):
        if model == refused:
            raise RuntimeError("Unsupported operator | FlexTopK\nand much more")
        return load(model, *arguments)

    monkeypatch.setitem(comparison.RUNTIMES, "interpreter", loaded)


def test_a_refused_file_is_a_row(capsys, run, lstm, monkeypatch):
    refuse(monkeypatch, run.export / "model.tflite")
    report = measured(capsys, run.export, lstm.export)
    first, second = report["rows"]
    assert first["remark"] == "refused (Unsupported operator | FlexTopK)"
    assert {first[name] for name in ("load_ms", "median_us", "p90_us", "p99_us", "ratio")} == {None}
    assert (second["ratio"], second["ratio_interval"]) == (1, None)
    _, out, _ = called(capsys, run.export, lstm.export, "--format=markdown")
    assert len({len(cells(line)) for line in out.splitlines()[:4]}) == 1


def test_only_refused_files(capsys, run, monkeypatch):
    refuse(monkeypatch, run.export / "model.tflite")
    status, out, err = called(capsys, run.export, "--profile")
    assert (status, err) == (1, "")
    assert "refused (" in out


def test_published_models(capsys):
    bow, rnn = map(anchor, ("published_bow_i10o100.tflite", "published_rnn_i10o100.tflite"))
    first, second = measured(capsys, bow, rnn)["rows"]
    assert (first["remark"], second["remark"]) == ("", "state reset before each call")
    first, second = measured(capsys, bow, rnn, "--runtime=compiled_model")["rows"]
    assert first["median_us"] > 0
    assert second["median_us"] is None
    assert second["remark"].startswith("refused (")
    assert second["remark"].endswith("it has variable tensors")


# ---- what cannot be measured ----------------------------------------------------------------


def test_files_that_are_no_models(capsys, run, tmp_path):
    assert "There is no model file" in failed(capsys, run.export, tmp_path / "no.tflite")
    assert "There is no model file" in failed(capsys, run.path)  # a run, not its export
    (tmp_path / "notes.tflite").write_text("hello")
    assert "not a TFLite model" in failed(capsys, tmp_path / "notes.tflite")


def test_contexts_that_do_not_fit(capsys, run, lstm, tmp_path):
    contexts = run.assets / "contexts.npz"
    assert "no array for the input" in failed(capsys, lstm.export, f"--contexts={contexts}")
    beyond = tmp_path / "beyond.npz"
    np.savez(beyond, context_item_id=np.arange(1, 1001, dtype=np.int32).reshape(100, 10))
    message = failed(capsys, run.export, f"--contexts={beyond}")
    assert "has the id 1000 for the input context_item_id" in message


def test_a_runtime_that_fails_on_a_context(capsys, run, monkeypatch):
    class Fragile:
        def __init__(self, *arguments):
            self.run = self.fail

        def feed(self, context):
            pass

        def fail(self):
            raise RuntimeError("id out of range\nnode 3")

    monkeypatch.setitem(comparison.RUNTIMES, "interpreter", Fragile)
    assert "failed on a context (id out of range node 3)" in failed(capsys, run.export)


def test_a_profile_of_the_other_runtime(capsys, run):
    message = failed(capsys, run.export, "--profile", "--runtime=compiled_model")
    assert "leave --runtime out" in message


def test_a_runtime_that_fails_on_a_cut(capsys, run, monkeypatch):
    def fail(*arguments, **options):
        raise RuntimeError("failed to setup XNNPACK runtime")

    monkeypatch.setattr(comparison.profiling, "measure", fail)
    message = failed(capsys, run.export, "--profile")
    assert "cut after an operator (failed to setup XNNPACK runtime); leave --profile out" in message


def test_an_output_that_cannot_be_written(capsys, run, tmp_path):
    assert "cannot be written" in failed(capsys, run.export, f"--output={tmp_path}/no/report.md")


def test_arguments_that_are_missing_or_wrong(capsys):
    for arguments in ([], ["x", "--calls=0"], ["x", "--calls=many"], ["x", "--format=csv"]):
        with pytest.raises(SystemExit) as error:
            main(arguments)
        assert error.value.code == 2
        message = capsys.readouterr().err
        assert message.startswith("flaxrec: ")
        assert message.endswith("; see --help.\n")
        assert message.count("\n") == 1


def test_the_command(run):
    command = [sys.executable, "-m", "flaxrec.benchmark", str(run.export), "--calls=20"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("file ")
    assert done.stderr == ""
