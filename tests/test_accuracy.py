"""The command python -m flaxrec.accuracy: its tables, and what it refuses."""

import json

import pytest

from flaxrec import accuracy
from flaxrec.training.workdir import Workdir
from tests.support.commands import Command, Finished, run_all
from tests.support.exports import exported

REFUSED = {
    (): "Which run? Name its folder",
    ("nowhere",): "nowhere is not a run of flaxrec",
    ("nowhere", "--quantization=int7"): "--quantization has 'int7'; use none, float16",
    ("nowhere", "--unknown=weather"): "--unknown has 'weather'; use moment, times, ratings",
    ("nowhere", "--config.model.context_length=5"): "config.data alone can be given",
    ("nowhere", "--split=train"): "should be one of",
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return exported(tmp_path_factory, "bow_id")


@pytest.fixture(scope="module")
def finished(run, tmp_path_factory) -> dict[str, Finished]:
    arguments = {str(n): list(given) for n, given in enumerate(REFUSED)}
    arguments["validation"] = [str(run.path)]
    commands = {n: Command("here", a, "flaxrec/accuracy.py") for n, a in arguments.items()}
    return run_all(tmp_path_factory.mktemp("commands"), commands)


def table(split: str, out: str, run: Workdir) -> list[list[str]]:
    """The rows after those of the run and of its float32 export, which has the same figures."""
    header, *lines = [line.split() for line in out.splitlines()]
    names = ["recall@10", "ndcg@10", "filtered/recall@10", "filtered/ndcg@10"]
    assert header == ["run", "recipe", "bytes", *names]
    metrics = [row["metrics"] for row in run.read_metrics() if row["split"] == split][-1]
    figures = [f"{metrics[name]:.4f}" for name in names]
    size = f"{(run.export / 'model.tflite').stat().st_size:,}"
    assert lines[:2] == [["bow_id", "JAX", "-", *figures], ["bow_id", "none", size, *figures]]
    return lines[2:]


def test_the_table_of_the_export(run, finished):
    done = finished["validation"]
    assert done.status == 0, done.err
    assert table("validation", done.out, run) == []
    # Nothing is said of a moment that the model does not know.
    assert not any("asked" in row for row in run.read_metrics())
    assert json.loads((run.export / "metadata.json").read_text())["asked"] is None
    assert "tensorflow" not in done.modules  # the file is there


def test_the_table_of_another_recipe(run, capsys):
    given = [str(run.path), "--split=test", "--quantization=auto,int8_tensor", "--unknown=moment"]
    assert accuracy.main(given) == 0
    left_out, out = capsys.readouterr().out.split("\n", 1)
    assert left_out == "bow_id: no input tells of --unknown=moment, so it is left out"
    made = table("test", out, run)[0]
    assert made[:2] == ["bow_id", "int8_tensor"]
    assert made[2].endswith("*")
    assert out.splitlines()[-1].startswith("* not published")


def test_a_model_that_knows_the_moment(tmp_path_factory, tmp_path, capsys):
    """Asked again without it, without any time and without ratings; by the time since."""
    run = exported(tmp_path_factory, "bow_time")
    rows = run.read_metrics()
    assert {row["asked"] for row in rows} == {"at the label's time"}
    metadata = json.loads((run.export / "metadata.json").read_text())
    assert metadata["asked"] == "at the label's time"
    assert "asked" not in json.dumps(run.read_baselines())

    file = tmp_path / "rows.jsonl"
    given = ["--split=test", "--unknown=moment,times,ratings", "--by_since", f"--json={file}"]
    assert accuracy.main([str(run.path), *given]) == 0
    first, second = capsys.readouterr().out.split("\n\n")
    known = [" ".join(line.split()[3:-4]) for line in first.splitlines()]
    asked = "asked at the label's time"
    assert known == ["known", asked, asked, "moment unknown", "times absent", "ratings absent"]
    title, header, counts, *figures = second.splitlines()
    assert title.startswith("bow_time: filtered/recall@10 / filtered/ndcg@10 by the time since")
    assert len(figures) == 4

    model, *made = [json.loads(line) for line in file.read_text().splitlines()]
    assert model["recipe"] == "JAX"
    assert [row["unknown"] for row in made] == ["", "moment", "times", "ratings"]
    tested = rows[-1]["metrics"]
    assert made[0]["metrics"] == pytest.approx({n: tested[n] for n in made[0]["metrics"]}, abs=1e-3)
    assert len({row["metrics"]["mean_rank"] for row in made}) == 4  # each says something else
    for row in made:
        parts = row["by_since"]
        assert sum(part["labels"] for part in parts) == row["labels"] == 200
        weighted = sum(part["labels"] * part["metrics"]["ndcg@10"] for part in parts) / 200
        assert row["metrics"]["ndcg@10"] == pytest.approx(weighted)
        assert all(part["part"] in header for part in parts)
        assert all(f"{part['labels']}" in counts for part in parts)


def test_the_mean_of_seeds():
    def row(recipe, value, unknown=""):
        part = {"part": "same second", "labels": 3, "metrics": {"ndcg@10": 2 * value}}
        return {"run": "r", "folder": "f", "recipe": recipe, "unknown": unknown, "bytes": 9,
                "metrics": {"ndcg@10": value, f"of {value}": 1.0}, "by_since": [part]}  # fmt: skip

    runs = [[row("int8", 0.1), row("int8", 0.5, "moment")], [row("int8", 0.2), row("int4", 0.3)]]
    (found,) = accuracy.over_seeds(runs)  # of the others there is one seed
    assert (found["run"], found["recipe"], found["unknown"]) == ("mean of 2 seeds", "int8", "")
    assert found["metrics"] == pytest.approx({"ndcg@10": 0.15})
    assert found["deviations"] == pytest.approx({"ndcg@10": 0.1 / 2**0.5})
    (part,) = found["by_since"]
    assert part["metrics"] == pytest.approx({"ndcg@10": 0.3})
    assert part["labels"] == 3
    assert accuracy._figures(found, ["ndcg@10", "mrr@10"]) == ["0.1500 ± 0.0707", "-"]


@pytest.mark.parametrize("place", range(len(REFUSED)))
def test_wrong_use_is_told_in_one_sentence(place, finished):
    done = finished[str(place)]
    assert done.status == 2
    assert list(REFUSED.values())[place] in done.err
    assert len(done.err.strip().splitlines()) == 1, done.err
