"""Ranks by a file: brute force on known logits, the evaluator, complete lists, a run's own figures.

The logits of the first are small whole numbers, a function of the context's last item: ties are
many and every comparison is exact.
"""

import dataclasses
import shutil

import jax
import numpy as np
import pytest

from flaxrec.config import FeatureConfig
from flaxrec.data import contexts
from flaxrec.data.dataset import Dataset, prepare
from flaxrec.data.spec import ModelSpec
from flaxrec.data.splits import Split
from flaxrec.devices import Mesh
from flaxrec.evaluation import evaluator as evaluation
from flaxrec.exporting import bundle, choice, coarse, file_ranks, judge
from flaxrec.tflite import flatbuffer
from flaxrec.tflite.metadata import write_metadata
from flaxrec.training.workdir import Workdir
from tests.support.builders import make_config, make_timelines
from tests.support.bundles import export, message_of, metadata_of
from tests.support.exports import (
    Case,
    buffers_of,
    content_of,
    exported,
    tiny_config,
)

LAST = FeatureConfig("last", "item.id", length=1)
ITEMS = 30


# ---- known logits -----------------------------------------------------------------------------


def known(events, monkeypatch, logits=None) -> tuple[Dataset, np.ndarray]:
    """The data of (user, item, time) tuples; a 'file' that answers with rows of `logits`."""
    timelines = make_timelines(events, LAST)
    candidates = len(timelines.vocabularies["item"].entries) - 1
    if logits is None:
        logits = np.random.default_rng(1).integers(0, 8, (candidates + 2, candidates))
    logits = np.asarray(logits, np.float32)
    split = Split(*[np.zeros(0, np.int32)] * 3, "none")
    dataset = Dataset(timelines, split, ModelSpec(timelines.inputs, candidates, 1))
    monkeypatch.setattr(
        file_ranks, "LogitsModel", lambda *_, **__: lambda context: logits[context["last"][0]]
    )
    return dataset, logits


def ranks_of(dataset: Dataset, positions, **options) -> evaluation.PerLabel:
    positions = np.asarray(positions, np.int32)
    return file_ranks.ranks(b"", make_config(LAST), dataset, positions, **options)


def test_seen_items_are_left_out_and_equal_ones_count_half(monkeypatch):
    """By hand. Vocabulary rows are by count, then by id: 7, 5, 6, 8, 9 are candidates 0 to 4."""
    events = [
        (1, 7, 0),
        (1, 5, 1),
        (1, 7, 2),
        (1, 6, 3),
        (2, 7, 0),
        (2, 5, 1),
        (2, 8, 2),
        (2, 9, 3),
    ]
    logits = np.zeros((7, 5))
    logits[1] = [4, 2, 2, 2, 4]  # after item 7
    logits[3] = [1, 3, 3, 3, 3]
    dataset, _ = known(events, monkeypatch, logits)
    # Item 6 (2) after 7, 5, 7: better are 7 and 9, equal are 5 and 8. Seen are 7 (once) and 5.
    # Item 5 (2) of the other user after 7: the same, but only 7 is seen.
    found = ranks_of(dataset, [3, 5])
    assert found.rank.tolist() == [2 + 2 / 2, 2 + 2 / 2]
    assert found.filtered_rank.tolist() == [1 + 1 / 2, 1 + 2 / 2]
    assert found.loss is None
    assert found.top is None
    # The item itself counts though it was seen: 7 (4) after 7, 5; 9 is as good.
    dataset, _ = known([*events[:2], (1, 7, 2), *events[4:]], monkeypatch, [[4, 2, 2, 4]] * 6)
    again = ranks_of(dataset, [2])
    assert (again.rank.tolist(), again.filtered_rank.tolist()) == ([1 / 2], [1 / 2])


def test_ranks_are_the_naive_ones(monkeypatch):
    """For every event, chunks that do not divide them, and lists; users with 1 to 60 events."""
    rng = np.random.default_rng(0)
    events = [(u, int(rng.integers(ITEMS)), t) for u in range(1, 61, 7) for t in range(u)]
    dataset, logits = known(events, monkeypatch)
    monkeypatch.setattr(file_ranks, "_AT_ONCE", 16)
    timelines, n = dataset.timelines, len(events)
    positions = rng.permutation(n)
    found = ranks_of(dataset, positions, top=5)
    assert n % 16
    item = timelines.item.tolist()
    for place, position in enumerate(positions.tolist()):
        start = int(timelines.offsets[timelines.user[position]])
        row = logits[item[position - 1] if position > start else 0].tolist()
        label, seen = item[position] - 1, {i - 1 for i in item[start:position]}
        others = set(range(len(row))) - {label}
        for candidates, rank in ((others, found.rank), (others - seen, found.filtered_rank)):
            places = [(row[c] > row[label]) + (row[c] == row[label]) / 2 for c in candidates]
            assert rank[place] == sum(places)
        best = sorted(set(range(len(row))) - seen, key=lambda c: (-row[c], c))[:5]
        assert found.top[place, : len(best)].tolist() == best
    assert not timelines.first_occurrence.all()


# ---- files ------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["bow_id", "cnn_combined", "reference"])
def case(request, tmp_path_factory) -> Case:
    return Case(request.param, exported(tmp_path_factory, request.param))


@pytest.fixture(scope="module")
def bow(tmp_path_factory) -> Case:
    return Case("bow_id", exported(tmp_path_factory, "bow_id"))


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return prepare(tiny_config("bow_id"))


def test_a_float_file_ranks_as_the_evaluator(case):
    """Where they differ, items score within rounding of the label."""
    config = tiny_config(case.name)
    dataset, mesh = prepare(config), Mesh(1, 1)
    positions = dataset.split.test
    timelines = contexts.to_device(dataset.timelines, mesh.replicated)
    known = evaluation.earlier_events(dataset.timelines)
    evaluator = evaluation.Evaluator(
        case.model.structure, dataset.spec, config, timelines, known, mesh
    )
    expected = evaluator(case.model.params, positions, top=10)
    features = contexts.gatherer(config, dataset.spec.inputs)(timelines, positions)
    logits = case.model.batch_logits(jax.device_get(features))
    found = file_ranks.ranks(content_of(case), config, dataset, positions, top=10)
    own = logits[
        np.arange(len(logits)), dataset.timelines.item[positions] - case.spec.first_candidate
    ]
    near = (np.abs(logits - own[:, None]) <= 1e-5 * np.abs(logits).max()).sum(axis=1) - 1
    assert (np.abs(found.rank - expected.rank) <= near).all()
    assert (np.abs(found.filtered_rank - expected.filtered_rank) <= near).all()
    assert (found.rank == expected.rank).mean() > 0.97
    assert (found.filtered_rank == expected.filtered_rank).mean() > 0.97
    assert (found.top == expected.top).all(axis=1).mean() > 0.9
    assert (found.filtered_rank < found.rank).mean() > 0.3


@pytest.mark.parametrize("recipe", ["int8", "int8_tensor", "int4"])
def test_a_quantised_file_ranks_as_its_complete_list(recipe, bow, dataset):
    """A second implementation: this file returns the whole catalogue; seen items are struck off."""
    content = choice.quantized(content_of(bow), recipe)
    config, positions = tiny_config("bow_id"), dataset.split.test
    found = file_ranks.ranks(content, config, dataset, positions)
    lists = judge.run(content, bow.saved, range(1, bow.spec.candidates + 1))
    assert lists.ids.shape == (len(positions), bow.spec.candidates)
    item, offsets, user = (
        getattr(dataset.timelines, name).tolist() for name in ("item", "offsets", "user")
    )
    for n, position in enumerate(positions.tolist()):
        label, seen = item[position], set(item[offsets[user[position]] : position])
        for rank, left_out in ((found.rank, set()), (found.filtered_rank, seen - {label})):
            pairs = zip(lists.ids[n].tolist(), lists.scores[n].tolist(), strict=True)
            scores = {i: score for i, score in pairs if i not in left_out}
            # Scores are rounded logits: what is equal in them may differ in these.
            better = sum(score > scores[label] for score in scores.values())
            equal = sum(score == scores[label] for score in scores.values()) - 1
            assert better <= rank[n] <= better + equal
            assert equal <= 3


# ---- runs -------------------------------------------------------------------------------------


def test_a_run_and_its_own_export(bow, dataset):
    (found,) = file_ranks.of_run(bow.workdir, dataset)
    assert (found.recipe, found.published) == ("none", True)
    assert found.bytes == (bow.workdir.export / "model.tflite").stat().st_size
    by_split = {row["split"]: row["metrics"] for row in bow.workdir.read_metrics()}
    assert found.metrics.keys() == {"validation", "test"}
    for split, metrics in found.metrics.items():
        expected = {name: v for name, v in by_split[split].items() if name != "loss"}
        assert metrics == pytest.approx(expected, abs=1e-3)


def test_made_files_are_those_that_are_published(copy, dataset, keeping):
    """To the byte, but for the description, which only an export carries."""
    k = metadata_of(copy)["top_k"]
    options = dataclasses.replace(copy.read_config().export, top_k=k)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(bundle, "make_float_file", keeping)
        made = file_ranks.made(copy, ["int8", "none"], options)
        (before,) = file_ranks.of_run(copy, dataset, ["int8"], ["validation"])
    bundle.export(copy, say=lambda line: None, quantization="int8", top_k=k)
    assert (before.recipe, before.published, before.bytes) == ("int8", False, len(made["int8"]))
    published = (copy.export / "model.tflite").read_bytes()
    description = flatbuffer.read_metadata(published)
    assert description is not None
    assert flatbuffer.with_metadata(made["int8"], description) == published
    assert set(buffers_of(made["int8"])) < set(buffers_of(published))
    # 'auto' is what was published, and each file is measured once.
    (after,) = file_ranks.of_run(copy, dataset, ["auto", "int8"], ["validation"])
    assert (after.recipe, after.published, after.bytes) == ("int8", True, len(published))
    assert after.metrics == before.metrics


def test_a_file_with_coarse_labels_is_ranked_by_its_table(copy, dataset, monkeypatch):
    (plain,) = file_ranks.of_run(copy, dataset, splits=["test"])
    monkeypatch.setattr(coarse, "FROM", 100)
    export(copy, top_k=1)
    assert any(np.int8 == kind for kind in kinds_of_tables(copy))
    (found,) = file_ranks.of_run(copy, dataset, splits=["test"])
    assert found.bytes == (copy.export / "model.tflite").stat().st_size > plain.bytes
    assert found.metrics == plain.metrics


def kinds_of_tables(workdir: Workdir) -> list[type]:
    """Types of the constants that have a row for each item."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(workdir.export / "model.tflite"))
    tensors = interpreter.get_tensor_details()
    return [t["dtype"] for t in tensors if len(t["shape"]) == 2 and t["shape"][0] >= 100]


def test_what_cannot_be_measured_is_told_in_a_sentence(copy, dataset):
    def message(dataset: Dataset, recipe: str = "auto") -> str:
        return message_of(file_ranks.of_run, copy, dataset, [recipe])

    changed = dataclasses.replace(dataset.timelines, time=dataset.timelines.time + 1)
    other = dataclasses.replace(dataset, timelines=changed)
    assert "not those that" in message(other)
    write_metadata(copy.export, metadata_of(copy) | {"step": 7})
    assert f"is of step 7, but the run's best checkpoint is of step {step_of(copy)}" in message(
        dataset
    )
    shutil.rmtree(copy.export)
    assert "has no export; run export_tflite.py --workdir=" in message(dataset)
    assert "quantization is 'int7'; use one of" in message(dataset, "int7")
    shutil.rmtree(copy.checkpoints / "best")
    assert "has not finished an epoch" in message(dataset)
    shutil.rmtree(copy.checkpoints)
    assert "There are no checkpoints" in message(dataset)


def step_of(workdir: Workdir) -> int:
    return [row["step"] for row in workdir.read_metrics() if row["split"] == "test"][-1]
