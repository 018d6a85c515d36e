"""The command python -m flaxrec.report DIR [DIR ...] --output=DIR, from sweeps to files."""

import csv
import json
import random
import shutil

import pytest

from flaxrec.errors import ConfigError, DataError
from flaxrec.files import read_jsonl
from flaxrec.reporting import output as reporting
from flaxrec.reporting.output import Options
from tests.support import made_up_reports
from tests.support.commands import Command, assert_one_sentence, run_all
from tests.support.made_up_reports import Size

TEXTS = ("table.md", "table.tex", "table.csv")
pytest.importorskip("matplotlib")


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    """Two encoders, two lengths, two seeds, two baselines and a run that failed."""
    folder = tmp_path_factory.mktemp("sweep")
    rows = made_up_reports.sweep(folder, ("bow", "cnn"))
    failed = rows[0] | {"run": "encoder=rnn,context_length=5,seed=0", "status": "failed"}
    failed |= {"reason": "Training stopped: 100% of a|b_c is not finite.", "metrics": {}}
    made_up_reports.write_rows(folder, [*rows, failed])
    return folder


@pytest.fixture(scope="module")
def report(sweep, tmp_path_factory):
    output = tmp_path_factory.mktemp("report") / "out"
    reporting.write([sweep], output, Options())
    return output


@pytest.fixture
def no_plots(monkeypatch):
    """For what is told of tables alone: drawing takes longest."""
    monkeypatch.setattr("flaxrec.reporting.plots.draw", lambda *arguments: None)


def long(report):
    """table.csv, as a number by (table, row, column, statistic)."""
    with open(report / "table.csv", newline="", encoding="utf-8") as file:
        return {
            (r["table"], r["row"], r["column"], r["statistic"]): r["value"]
            for r in csv.DictReader(file)
        }


def test_the_files(report):
    names = {path.name for path in report.iterdir()}
    stems = [f"{m}_by_context_length" for m in ("filtered_recall_at_10", "filtered_ndcg_at_10",
             "recall_at_10", "ndcg_at_10")]  # fmt: skip
    stems += ["filtered_recall_at_10_by_bytes", "learning_curves"]
    pictures = {f"{stem}.{kind}" for stem in stems for kind in ("png", "svg")}
    assert names == {*TEXTS, "runs.csv", "report.json"} | pictures


def test_the_figures_are_those_of_the_runs(sweep, report):
    rows = read_jsonl(sweep / "results.jsonl")
    numbers = long(report)
    for encoder in ("bow", "cnn"):
        name = f"encoder={encoder},context_length=10"
        of_point = [r for r in rows if r["run"].startswith(name)]
        own = [r["metrics"]["test"]["filtered/ndcg@10"] for r in of_point]
        assert len(own) == 2
        key = ("metrics", name, "filtered/ndcg@10")
        # One label a user: means over users are means over labels.
        assert float(numbers[*key, "mean"]) == pytest.approx(sum(own) / 2, rel=1e-12)
        assert float(numbers[*key, "deviation"]) == pytest.approx(abs(own[0] - own[1]) / 2**0.5)
        assert float(numbers[*key, "low"]) < sum(own) / 2 < float(numbers[*key, "high"])
        assert int(numbers["metrics", name, "bytes", "value"]) == of_point[0]["export_bytes"]
    baseline = next(r for r in rows if r["run"].startswith("baseline=popularity"))
    assert float(numbers["metrics", "popularity", "recall@10", "mean"]) == pytest.approx(
        baseline["metrics"]["test"]["recall@10"]
    )


def test_every_table_is_there(report):
    text = (report / "table.md").read_text(encoding="utf-8")
    for caption in (
        "Metrics on the test labels (120 labels of 120 users, 90 candidates).",
        "Pairs that differ in encoder alone: filtered/recall@10 of B minus that of A.",
        "Pairs that differ in context_length alone: filtered/recall@10 of B minus that of A.",
        "filtered/recall@10 by the user's earlier events.",
        "filtered/recall@10 by the item's training labels.",
        "filtered/recall@10 by the events in a context of 10.",
        "What the lists of ten hold (seen items left out): popularity and coverage.",
        "Failed runs; they are in no other table.",
    ):
        assert f"**{caption}**" in text
    assert "| 100% of a\\|b_c is not finite." not in text
    assert "Training stopped: 100% of a\\|b_c is not finite. |" in text


def test_a_stopped_and_resumed_sweep_gives_the_same_report(sweep, report, tmp_path):
    lines = (sweep / "results.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    rows = [json.loads(line) for line in lines]
    shutil.copytree(sweep, tmp_path / "resumed")
    killed = rows[3] | {"status": "failed", "reason": "Killed.", "metrics": {}}
    for row in rows:  # made again on another machine, on another day
        row |= {"wall_seconds": 99.0, "device": "another", "side_by_side": 2}
    random.Random(0).shuffle(rows)
    made_up_reports.write_rows(tmp_path / "resumed", [killed, *rows])
    with open(tmp_path / "resumed" / "results.jsonl", "a") as file:
        file.write(lines[0][:99])
    reporting.write([tmp_path / "resumed"], tmp_path / "out", Options())
    for path in report.iterdir():
        if path.name != "runs.csv":
            assert path.read_bytes() == (tmp_path / "out" / path.name).read_bytes(), path.name


def test_provenance_is_shown_on_demand(sweep, report, tmp_path, no_plots):
    assert "0123456789" not in (report / "table.md").read_text()
    reporting.write([sweep], tmp_path / "out", Options(provenance=True))
    assert (
        "| bow | 5 | 32.0 | 100,000 | cpu | 0123456789 |"
        in (tmp_path / "out" / "table.md").read_text()
    )
    with open(report / "runs.csv", newline="") as file:
        runs = list(csv.DictReader(file))
    assert len(runs) == 8 + 2 + 1
    assert runs[0]["wall_seconds"] == "31.5"
    assert runs[-1]["reason"].startswith("Training stopped")


def test_protocols_have_sections_and_stand_side_by_side(tmp_path):
    folders = []
    for protocol, labels in (("leave_one_out", 1), ("random", 3), ("global_time", 2)):
        folder = tmp_path / protocol
        size = Size(users=60, items=50, labels=labels, protocol=protocol)
        made_up_reports.sweep(folder, ("bow", "cnn"), (5,), 2, size, protocol=protocol)
        folders.append(folder)
    tables = reporting.write(folders, tmp_path / "out", Options(["filtered/mrr@5"]))
    assert [t.section for t in tables if t.name == "metrics"] == [
        "global_time", "leave_one_out", "random",
    ]  # fmt: skip
    for table in tables:
        if table.name == "metrics":
            assert [row.cells[0] for row in table.rows] == ["bow", "cnn", "last item", "popularity"]
            assert [c.name for c in table.columns][:3] == ["encoder", "context_length", "seeds"]
    (protocols,) = [t for t in tables if t.name == "protocols"]
    assert len(protocols.rows) == 4 * 3
    shares = {row.cells[2]: row.cells[4] for row in protocols.rows}
    assert shares["leave_one_out"] == shares["global_time"] == 0
    assert shares["random"] > 0.8
    assert (tmp_path / "out" / "random-filtered_mrr_at_5_by_point.png").exists()


def test_a_reference(sweep, tmp_path, no_plots):
    reference = {"encoder": "bow", "context_length": "5"}
    (table, *_) = reporting.write([sweep], tmp_path / "out", Options(reference=reference))
    assert table.rows[0].cells[0] == "bow (reference)"
    with pytest.raises(ConfigError, match=r"--reference=encoder=gru is no point of these runs; ch"):
        reporting.write([sweep], tmp_path / "none", Options(reference={"encoder": "gru"}))
    assert not (tmp_path / "none").exists()


def test_without_exports_latency_is_one_sentence(sweep, tmp_path, no_plots):
    said = []
    reporting.write([sweep], tmp_path / "out", Options(latency=True), said.append)
    assert said == ["No point has an export (FOLDER/export/model.tflite): latency is left out."]
    assert not (tmp_path / "out" / "latency.json").exists()


def test_a_foreign_folder_is_not_written_over(sweep, tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(DataError, match="is not empty and holds no report"):
        reporting.write([sweep], tmp_path, Options())
    with pytest.raises(DataError, match="is not empty and holds no report"):
        reporting.write([sweep], sweep, Options())


# ---- the command ------------------------------------------------------------------------------


REFUSED = {
    "No folders are given; name those of sweeps or runs, then --output=DIR.": ["--output=refused"],
    "--reference has 'bow'; use AXIS=VALUE": ["SWEEP", "--output=refused", "--reference=bow"],
    "--x=encoder is not an axis of numbers": ["SWEEP", "--output=refused", "--x=encoder"],
    "unrecognized arguments: --outptu=": ["SWEEP", "--outptu=refused"],
}


@pytest.fixture(scope="module")
def finished(sweep, tmp_path_factory):
    """The command, each time in a process and a folder of its own."""
    flags = ["--metrics=mrr@10,recall@3", "--x=context_length"]
    flags += ["--reference=encoder=bow,context_length=10"]
    given = {"flags": ["SWEEP", "--output=out", *flags], "tables": ["SWEEP", "--output=out"]}
    given |= REFUSED
    commands = {}
    for place, (name, arguments) in enumerate(given.items()):
        arguments = [str(sweep) if argument == "SWEEP" else argument for argument in arguments]
        commands[name] = Command(str(place), arguments, "flaxrec/report.py")
    commands["tables"].before = "sys.modules['matplotlib'] = None"
    return run_all(tmp_path_factory.mktemp("commands"), commands)


def test_the_command(finished):
    done = finished["flags"]
    assert (done.status, done.err) == (0, "")
    wrote, in_a_paper = done.out.splitlines()
    assert wrote == "wrote out/table.md"
    packages = in_a_paper.partition(";")[0]
    assert packages == r"in a paper: \usepackage{booktabs,graphicx} and \input{table.tex}"
    text = (done.folder / "out" / "table.md").read_text()
    assert "| encoder | context_length | seeds | mrr@10 | recall@3 | bytes |" in text
    assert "| bow (reference) | 10 | 2 |" in text


def test_without_matplotlib_there_are_tables(finished, report):
    done = finished["tables"]
    assert (done.status, done.err) == (0, "")
    assert done.out.startswith(
        "matplotlib is missing, so there are no plots: pip install 'flaxrec[research]'.\n"
    )
    for name in TEXTS:
        assert (done.folder / "out" / name).read_bytes() == (report / name).read_bytes()
    assert not list((done.folder / "out").glob("*.png"))


@pytest.mark.parametrize("told", REFUSED)
def test_what_cannot_be_done_is_told_in_a_sentence(finished, told):
    done = finished[told]
    assert assert_one_sentence(done).startswith(f"flaxrec: {told}")
    assert done.out == ""
    assert [path.name for path in done.folder.iterdir()] == ["configs"]
