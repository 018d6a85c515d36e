"""Judging files: metrics by hand, the interval beside a plain bootstrap, labels that runs keep."""

import contextlib
import math
import shutil
from pathlib import Path

import numpy as np
import pytest

from flaxrec.config import Config, DataConfig, FeatureConfig, RecordsConfig
from flaxrec.data.dataset import prepare
from flaxrec.data.records import tfrecord
from flaxrec.data.vocabulary import Vocabulary
from flaxrec.errors import ExportError
from flaxrec.exporting import judge
from flaxrec.tflite import runtime
from flaxrec.tflite.metadata import IDS, SCORES
from flaxrec.tflite.runtime import TfliteModel
from flaxrec.training.run import Run, train
from flaxrec.training.run_assets import Judged, RunAssets
from flaxrec.training.workdir import Workdir
from tests.support.builders import make_config
from tests.support.exports import exported, require_export, tiny_config

ITEM_IDS = FeatureConfig("ids", "item.id")
IDS_NK = np.array([[5, 3, 9, 7], [3, 9, 5, 1], [7, 5, 3, 9]], np.int32)


# ---- per label ------------------------------------------------------------------------------


def test_hits():
    assert judge.hits(IDS_NK, np.array([9, 3, 2]), 3).tolist() == [True, True, False]
    assert judge.hits(IDS_NK, np.array([9, 3, 2]), 2).tolist() == [False, True, False]
    assert judge.hits(IDS_NK, np.array([7, 1, 9]), 10).tolist() == [True, True, True]


def test_ndcg():
    expected = [1 / math.log2(1 + 3), 1 / math.log2(1 + 1), 0.0]
    np.testing.assert_allclose(judge.ndcg(IDS_NK, np.array([9, 3, 2]), 3), expected)
    np.testing.assert_allclose(judge.ndcg(IDS_NK, np.array([9, 3, 2]), 2), [0.0, 1.0, 0.0])


def test_overlap_counts_items_whatever_their_places():
    others = np.array([[3, 5, 7, 9], [8, 9, 3, 1], [1, 2, 4, 6]], np.int32)
    np.testing.assert_allclose(judge.overlap(IDS_NK, others, 2), [2 / 2, 1 / 2, 0 / 2])
    np.testing.assert_allclose(judge.overlap(IDS_NK, others, 4), [4 / 4, 3 / 4, 0 / 4])


def test_overlap_is_that_of_sets():
    rng = np.random.default_rng(0)
    a, b = (np.argsort(rng.random((40, 60)))[:, :30] for _ in range(2))
    for k in (1, 10, 30):
        sets = [
            len(set(x[:k]) & set(y[:k])) / k for x, y in zip(a.tolist(), b.tolist(), strict=True)
        ]
        np.testing.assert_allclose(judge.overlap(a, b, k), sets)


# ---- a loss and how sure it is --------------------------------------------------------------


def outcomes(both: int, lost: int, gained: int, neither: int) -> tuple[np.ndarray, np.ndarray]:
    """Hits before and after, so many labels of each kind."""
    before = np.repeat([True, True, False, False], [both, lost, gained, neither])
    after = np.repeat([True, False, True, False], [both, lost, gained, neither])
    return before, after


def test_relative_loss():
    assert judge.relative_loss(*outcomes(6, 2, 1, 9)) == pytest.approx(1 - 7 / 8)
    assert judge.relative_loss(*outcomes(6, 1, 2, 9)) == pytest.approx(1 - 8 / 7)
    assert judge.relative_loss(*outcomes(0, 0, 3, 9)) == 0.0


def test_the_interval_is_a_plain_bootstraps():
    """Labels drawn one by one, with replacement, a pair each."""
    before, after = outcomes(50, 12, 7, 131)
    rng = np.random.default_rng(1)
    drawn = rng.integers(len(before), size=(20_000, len(before)))
    losses = 1 - after[drawn].sum(axis=1) / before[drawn].sum(axis=1)
    expected = np.percentile(losses, [2.5, 97.5])
    found = judge.loss_interval(before, after, resamples=100_000)
    np.testing.assert_allclose(found, expected, atol=0.006)


def test_the_interval_is_paired():
    """Where the same labels are hit, nothing was lost, however few labels there are."""
    assert judge.loss_interval(*outcomes(20, 0, 0, 80)) == (0.0, 0.0)
    # As many lost as gained: the difference is uncertain, and its middle is nothing.
    low, high = judge.loss_interval(*outcomes(20, 10, 10, 60))
    assert low < -0.1 < 0.1 < high


def test_the_interval_narrows_with_the_root_of_the_labels():
    widths = [
        np.diff(judge.loss_interval(*outcomes(20 * n, 3 * n, 2 * n, 75 * n))) for n in (1, 100)
    ]
    assert widths[0] / widths[1] == pytest.approx(10, rel=0.2)


def test_the_interval_comes_from_the_seed():
    hits = outcomes(50, 12, 7, 131)
    assert judge.loss_interval(*hits) == judge.loss_interval(*hits)
    assert judge.loss_interval(*hits) != judge.loss_interval(*hits, seed=1)


def test_no_hits_no_loss():
    assert judge.loss_interval(*outcomes(0, 0, 0, 9)) == (0.0, 0.0)
    low, high = judge.loss_interval(*outcomes(1, 0, 1, 3))  # some resamples have none
    assert low <= high <= 0.0


# ---- running a file -------------------------------------------------------------------------


def test_a_files_lists_are_those_of_single_calls(tmp_path_factory):
    run = exported(tmp_path_factory, "bow_id")
    file = run.export / "model.tflite"
    contexts = {"context_item_id": np.load(run.assets / "contexts.npz")["context_item_id"][:20]}
    lists = judge.run(file.read_bytes(), contexts, range(1, 121))
    model = TfliteModel(file)
    for row, context in enumerate(contexts["context_item_id"]):
        out = model({"context_item_id": context})
        np.testing.assert_array_equal(lists.ids[row], out[IDS])
        np.testing.assert_array_equal(lists.scores[row], out[SCORES])
    assert lists.ids.shape == lists.scores.shape == (20, 120)
    with pytest.raises(ExportError, match="no list of 120 items for 20 of 20 contexts"):
        judge.run(file.read_bytes(), contexts, range(2, 121))  # a row that is no candidate


def returning(monkeypatch, ids: list[list[int]], scores: list[list[float]]) -> None:
    """Lets every file return these lists, one after the other."""
    calls = iter(
        [{IDS: np.int32(i), SCORES: np.float32(s)} for i, s in zip(ids, scores, strict=True)]
    )

    class File:
        def __init__(self, file):
            assert file == b"content"

        def __call__(self, inputs):
            return next(calls)

    monkeypatch.setattr(judge, "TfliteModel", File)


@pytest.mark.parametrize(
    ("ids", "scores"),
    [
        ([3, 3, 2], [0.3, 0.2, 0.1]),
        ([3, 0, 2], [0.3, 0.2, 0.1]),
        ([3, 1, 5], [0.3, 0.2, 0.1]),
        ([3, 1, 2], [0.3, np.nan, 0.1]),
    ],
    ids=["twice", "padding", "unknown", "NaN"],
)
def test_lists_that_are_none_are_refused(monkeypatch, ids, scores):
    contexts = {"ids": np.zeros((2, 4), np.int32)}
    returning(monkeypatch, [[4, 1, 2], ids], [[0.3, 0.2, 0.1], scores])
    with pytest.raises(ExportError, match="no list of 3 items for 1 of 2 contexts"):
        judge.run(b"content", contexts, range(1, 5))


def test_a_file_that_fails_in_a_call_is_told_in_a_sentence(monkeypatch):
    def fails(**inputs):
        raise RuntimeError("gather index\nout of bounds")

    file = TfliteModel.__new__(TfliteModel)
    file._runners = runtime._Runners(fails)
    file._masks = {}
    monkeypatch.setattr(judge, "TfliteModel", lambda content: file)
    with pytest.raises(ExportError, match=r"does not run \(gather index out of bounds\)"):
        judge.run(b"content", {"ids": np.zeros((1, 4), np.int32)}, range(1, 5))


def test_a_file_that_is_no_model(tmp_path):
    require_export()
    with pytest.raises(ExportError, match="not a TFLite model"):
        judge.run(b"TFL3", {"ids": np.zeros((1, 4), np.int32)}, range(1, 5))


# ---- the labels that a run keeps ------------------------------------------------------------


@pytest.fixture(scope="module", params=["bow_id", "cnn_combined", "bow_user", "reference"])
def run(request, tmp_path_factory) -> Workdir:
    return exported(tmp_path_factory, request.param)


def judged_of(run: Workdir) -> dict[str, Judged]:
    return RunAssets(run.assets).judged()


def test_test_labels_are_the_histories_next_items(run):
    """Contexts and histories of every test label are kept as well, written another way."""
    judged = judged_of(run)["test"]
    labels = [history["label"] for history in run.read_histories()]
    vocabulary = Vocabulary.read(run.assets / "vocabularies/item.txt")
    np.testing.assert_array_equal(judged.labels, vocabulary.lookup(labels))
    assert judged.labels.dtype == np.int32
    with np.load(run.assets / "contexts.npz") as contexts:
        assert judged.contexts.keys() == set(contexts.files)
        for name, values in judged.contexts.items():
            np.testing.assert_array_equal(values, contexts[name])
            assert values.dtype == contexts[name].dtype


def test_validation_labels_come_before_the_test_labels(run):
    """A user's test context is the validation context and label, cut to its length."""
    judged = judged_of(run)
    before, after = (judged[part].contexts["context_item_id"] for part in ("validation", "test"))
    length = before.shape[1]
    for context, label, expected in zip(before, judged["validation"].labels, after, strict=True):
        items = [*context[: np.count_nonzero(context)].tolist(), int(label)][-length:]
        assert items == expected[: np.count_nonzero(expected)].tolist()


def opened(config: Config, folder: Path) -> Workdir:
    """The run folder as it is before the first step."""
    workdir = Workdir(folder)
    with contextlib.ExitStack() as stack:
        Run(config, prepare(config), workdir, lambda line: None).open(stack)
    return workdir


def arrays_of(workdir: Workdir) -> dict[str, dict[str, np.ndarray]]:
    return {file.stem: dict(np.load(file)) for file in workdir.judged.iterdir()}


def test_fewer_labels_are_drawn_evenly(tmp_path):
    config = tiny_config("bow_id")
    every = arrays_of(opened(config, tmp_path / "every"))
    config.export.judged_labels = 5
    some = arrays_of(opened(config, tmp_path / "some"))
    assert some.keys() == every.keys() == {"validation", "test"}
    for part, arrays in some.items():
        for name, values in arrays.items():
            # 200 labels, from the first to the last: steps of 199 / 4 = 49.75.
            np.testing.assert_array_equal(values, every[part][name][[0, 50, 100, 149, 199]])


def test_none_are_kept_where_none_are_wanted(tmp_path):
    config = tiny_config("bow_id")
    config.export.judged_labels = 0
    assert arrays_of(opened(config, tmp_path / "run")) == {}


def test_a_run_of_before_gets_them_when_it_is_resumed(tmp_path):
    config = tiny_config("bow_id")
    config.export.enabled = False
    workdir = Workdir(tmp_path / "run")
    train(config, workdir, say=lambda line: None)
    expected = arrays_of(workdir)
    shutil.rmtree(workdir.judged)
    train(config, workdir, say=lambda line: None)
    found = arrays_of(workdir)
    assert found.keys() == expected.keys() == {"validation", "test"}
    for part, arrays in found.items():
        for name, values in arrays.items():
            np.testing.assert_array_equal(values, expected[part][name])


def test_records(tmp_path):
    """Contexts are stored there, and may end in padding; here without validation labels."""
    rows = [[4, 2, 0], [2, 3, 4], [0, 0, 0], [1, 1, 1]]
    examples = [{"ids": ids, "label": [n % 4 + 1]} for n, ids in enumerate(rows * 5)]
    tfrecord.write(tmp_path / "train", examples)
    tfrecord.write(tmp_path / "test", examples[1:4])
    config = make_config(ITEM_IDS, context_length=3)
    records = RecordsConfig(test=str(tmp_path / "test"), label="label", label_vocab_size=5)
    config.data = DataConfig("tfrecord", str(tmp_path / "train"), records=records)
    config.split.validation_fraction, config.train.batch_size = 0.0, 4
    config.train.select_metric, config.evaluation.ks, config.export.top_k = "loss", (1,), 4
    config.reference_mode = True
    found = arrays_of(opened(config, tmp_path / "run"))
    assert found.keys() == {"test"}
    assert found["test"]["ids"].tolist() == rows[1:]
    assert found["test"]["label"].tolist() == [2, 3, 4]
