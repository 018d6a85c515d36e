"""The ranking written without TensorFlow, as the converter `litert` has it."""

import dataclasses
import itertools

import numpy as np
import pytest

from flaxrec.config import ExportConfig
from flaxrec.exporting import coarse, exclusion, masking, ranked_lists, topk
from flaxrec.exporting.ranking import Ranking, mask_input, with_coarse
from flaxrec.tflite import flatbuffer
from flaxrec.tflite.graph_writer import GraphWriter, Tensor
from flaxrec.tflite.metadata import CANDIDATE_MASK, IDS, SCORES
from flaxrec.tflite.runtime import TfliteModel
from tests.exporting.test_coarse import CANDIDATES
from tests.exporting.test_coarse import model_of as large_model
from tests.exporting.test_topk import SIZES, distributions
from tests.support.graph_maker import Maker
from tests.support.ranked_models import model_of


def empty() -> GraphWriter:
    return GraphWriter(flatbuffer.read(Maker().packed({}, {})))


def finished(writer: GraphWriter) -> bytes:
    return flatbuffer.finish(flatbuffer.write(writer.model))


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(("count", "k"), SIZES)
def test_is_the_stable_order(count, k, masked):
    writer = empty()
    values, places = topk.top_k(writer.input("x", [count], "float32"), k, masked=masked)
    writer.set_outputs(**{IDS: places, SCORES: values})
    run = TfliteModel(finished(writer))
    for name, scores in distributions(count, np.random.default_rng(9)).items():
        scores = scores.astype(np.float32)
        if masked:
            scores[::3] += np.float32(-1e9)
        out = run({"x": scores})
        expected = ranked_lists.top(scores, k)
        np.testing.assert_array_equal(out[IDS], expected, name)
        np.testing.assert_array_equal(out[SCORES], scores[expected], name)


def ranked(model, options: ExportConfig) -> TfliteModel:
    """The ranking alone: scores, encodings, ids and mask are inputs."""
    writer, ranking = empty(), Ranking(model, options)
    count, width = ranking.labels[0].shape
    scores = writer.input("scores", [1, count], "float32")
    context = writer.input("context", [1, width], "float32") if ranking.copy else None
    ids = {
        i.name: writer.input(i.name, [i.length], i.dtype)
        for i in model.spec.inputs
        if ranking.reads_ids and i.name == "item"
    }
    mask = None
    for name, (shape, dtype) in mask_input(model, options).items():
        mask = ranking.mask(writer.input(name, shape, dtype))
    table = writer.constant(ranking.labels[0]) if ranking.copy else None
    writer.set_outputs(**ranking.of_one(scores, context, ids, mask, table))
    return TfliteModel(finished(writer))


def checked(model, options: ExportConfig, rows: int) -> None:
    """Compares lists with NumPy's, under every mask."""
    ranking, run = Ranking(model, options), ranked(model, options)
    random = np.random.default_rng(0)
    contexts = {
        i.name: random.integers(0, rows, (12, i.length), np.int32) for i in model.spec.inputs
    }
    own = model.structure.merge(model.params)
    encodings = np.asarray(own.context_encoder(dict(contexts)))
    table = ranking.labels[0] if ranking.copy is None else ranking.copy.table
    scores = np.asarray(encodings @ np.asarray(table).T, np.float32)
    logits = model.batch_logits(contexts)
    if options.exclude_context:
        logits = exclusion.without_context(logits, contexts, model.spec)
    names = {name for name, *_ in run.inputs}
    places = {**contexts, "scores": scores, "context": encodings}
    for mask in masking.draw(model, options.top_k) if options.candidate_mask else [None]:

        def lists(place, mask=mask):
            row = int(place["row"][0])
            given = {name: values[row] for name, values in contexts.items()}
            given |= {n: places[n][row : row + 1] for n in ("scores", "context")}
            out = run({name: (given | {CANDIDATE_MASK: mask})[name] for name in names})
            return out[IDS], out[SCORES]

        expected = logits if mask is None else masking.masked(logits, mask, model)
        found = ranked_lists.compare(
            lists,
            {"row": np.arange(12)[:, None]},
            expected,
            first_candidate=model.spec.first_candidate,
            top_k=options.top_k,
        )
        assert found.agree == 12


KINDS = ("own tables", "tied", "reference", "context-only rows", "head", "excluded")
DEFAULT = [("head", True), ("excluded", True), ("reference", False)]
OTHERS = itertools.product(KINDS, (False, True))


@pytest.mark.parametrize(
    ("kind", "has_mask"),
    [
        *DEFAULT,
        *(pytest.param(*case, marks=pytest.mark.long) for case in OTHERS if case not in DEFAULT),
    ],
)
def test_lists_of_every_kind_of_model(kind, has_mask):
    model, options = model_of(kind)
    checked(model, dataclasses.replace(options, candidate_mask=has_mask), 7)


@pytest.mark.parametrize("excluded", [False, pytest.param(True, marks=pytest.mark.long)])
def test_lists_of_a_large_catalogue(excluded, monkeypatch):
    monkeypatch.setattr(coarse, "FROM", CANDIDATES)
    options = ExportConfig(top_k=50, exclude_context=excluded, candidate_mask=not excluded)
    checked(large_model(tied=excluded), options, CANDIDATES + 2)


def test_operators_of_constants_are_numpys():
    writer = empty()
    x = writer.input("x", [3], "float32")
    assert writer.reshape(np.arange(4), [2, 2]).shape == (2, 2)
    assert writer.fill([2], 1.5).tolist() == [1.5, 1.5]
    assert all(same is x for same in (x + 0, x - 0.0, x[0:3], writer.concat([x], 0)))
    assert writer.cast(x, "float32") is x
    assert isinstance(np.float32(2) * x, Tensor)
    assert isinstance(np.ones(3, np.float32) - x, Tensor)
    assert writer.shape(x).tolist() == [3]
    with pytest.raises(ValueError, match="only with transpose_b"):
        writer.matmul(x, x, transpose_b=False)
    assert with_coarse(b"as it is", *model_of("tied")) == b"as it is"
