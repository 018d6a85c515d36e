"""The command python -m flaxrec.accuracy: its tables, and what it refuses."""

import pytest

from tests.support.commands import Command, Finished, run_all
from tests.support.exports import exported

REFUSED = {
    (): "Which run? Name its folder",
    ("nowhere",): "nowhere is not a run of flaxrec",
    ("nowhere", "--quantization=int7"): "--quantization has 'int7'; use none, float16",
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
    arguments["test"] = [str(run.path), "--split=test", "--quantization=auto,int8_tensor"]
    commands = {n: Command("here", a, "flaxrec/accuracy.py") for n, a in arguments.items()}
    return run_all(tmp_path_factory.mktemp("commands"), commands)


@pytest.mark.parametrize("split", ["validation", "test"])
def test_the_table(split, run, finished):
    """The run's figures, its float32 export's, which are the same, and those of a recipe."""
    done = finished[split]
    assert done.status == 0, done.err
    header, *lines = [line.split() for line in done.out.splitlines()]
    names = ["recall@10", "ndcg@10", "filtered/recall@10", "filtered/ndcg@10"]
    assert header == ["run", "recipe", "bytes", *names]
    metrics = [row["metrics"] for row in run.read_metrics() if row["split"] == split][-1]
    figures = [f"{metrics[name]:.4f}" for name in names]
    size = f"{(run.export / 'model.tflite').stat().st_size:,}"
    assert lines[:2] == [["bow_id", "JAX", "-", *figures], ["bow_id", "none", size, *figures]]
    if split == "validation":
        assert len(lines) == 2
        assert "tensorflow" not in done.modules  # the file is there
    else:
        assert lines[2][:2] == ["bow_id", "int8_tensor"]
        assert lines[2][2].endswith("*")
        assert done.out.splitlines()[-1].startswith("* not published")


@pytest.mark.parametrize("place", range(len(REFUSED)))
def test_wrong_use_is_told_in_one_sentence(place, finished):
    done = finished[str(place)]
    assert done.status == 2
    assert list(REFUSED.values())[place] in done.err
    assert len(done.err.strip().splitlines()) == 1, done.err
