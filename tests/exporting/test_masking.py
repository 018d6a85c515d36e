"""What a mask leaves out is not listed: the file, the batch, and the comparison with JAX."""

import dataclasses
import itertools

import numpy as np
import pytest

from flaxrec.errors import ExportError
from flaxrec.exporting import agreement, choice, converter, exclusion, masking, saved_model
from flaxrec.exporting.assets import Assets
from flaxrec.exporting.logits import LogitsModel
from flaxrec.exporting.serving import ServingModel
from flaxrec.tflite import flatbuffer
from flaxrec.tflite.metadata import CANDIDATE_MASK, IDS, LEFT_OUT, SCORES
from flaxrec.tflite.quiet import quiet
from flaxrec.tflite.runtime import TfliteModel
from tests.support.builders import random_model
from tests.support.exports import require_export
from tests.support.grouped_models import GENRE, group, settings
from tests.support.ranked_models import LENGTH, ROWS, K, model_of

OTHERS = ("own tables", "tied", "reference", "context-only rows", "head")
KINDS = ["excluded", *(pytest.param(kind, marks=pytest.mark.long) for kind in OTHERS)]


@pytest.fixture(scope="module", params=KINDS)
def exported(request, tmp_path_factory):
    require_export()
    model, options = model_of(request.param)
    folder = tmp_path_factory.mktemp("masked")
    saved_model.save(model, options, folder)
    return model, options, folder, flatbuffer.finish(converter.convert(folder))


def contexts_of(model: ServingModel, count: int = 30) -> dict[str, np.ndarray]:
    random = np.random.default_rng(2)
    rows = {"item": ROWS, "genre": 7}
    inside = np.arange(LENGTH) < random.integers(0, LENGTH + 1, (count, 1))
    return {
        i.name: (random.integers(1, rows[i.name], inside.shape) * inside).astype(np.int32)
        for i in model.spec.inputs
    }


def expected(model, options, contexts, mask):
    """What may be shown, best first, by a loop over rows; at most K of each context."""
    first, lists = model.spec.first_candidate, []
    for n, logits in enumerate(model.batch_logits(contexts)):
        scores = {first + c: x + mask[first + c] for c, x in enumerate(logits)}
        out = {row for row in scores if mask[row] < LEFT_OUT / 2}
        if options.exclude_context:
            out |= {0, *contexts["item"][n].tolist()}
        lists.append(sorted(scores.keys() - out, key=lambda row: (-scores[row], row))[:K])
    return lists


def masks() -> list[np.ndarray]:
    """Nothing left out; some; almost all; all; minus infinity; small numbers added."""
    made = np.zeros((6, ROWS), np.float32)
    made[1, [2, 5, 6]] = made[2, :] = made[3, :] = LEFT_OUT
    made[2, 4] = 0
    made[4, [1, 2, 7]] = -np.inf
    made[5] = np.random.default_rng(0).normal(size=ROWS)
    made[5, 3] = LEFT_OUT
    return list(made)


def test_the_file_lists_what_may_be_shown(exported):
    model, options, _, content = exported
    contexts, file = contexts_of(model), TfliteModel(content)
    for mask in masks():
        for n, ids in enumerate(expected(model, options, contexts, mask)):
            out = file({CANDIDATE_MASK: mask, **{name: v[n] for name, v in contexts.items()}})
            assert out[IDS][: len(ids)].tolist() == ids
            assert len(set(out[IDS].tolist())) == K
            assert (out[SCORES][: len(ids)] > 0).all()
            assert not out[SCORES][len(ids) :].any()  # no score of what is left out


def test_a_batch_has_one_mask(exported):
    import tensorflow as tf

    model, options, folder, _ = exported
    contexts = contexts_of(model)
    with quiet():
        run = tf.saved_model.load(str(folder)).signatures["serve_batch"]
    for mask, count in zip(masks(), itertools.cycle((1, 30))):  # any B
        part = {name: tf.constant(values[:count]) for name, values in contexts.items()}
        out = run(**part, **{CANDIDATE_MASK: tf.constant(mask)})
        lists = expected(model, options, contexts, mask)[:count]
        for ids, own in zip(out[IDS].numpy(), lists, strict=True):
            assert ids[: len(own)].tolist() == own


@pytest.mark.long
def test_it_is_one_input_more_and_three_operators(exported):
    model, options, folder, content = exported
    inputs = {spec["name"]: spec for spec in flatbuffer.ends(content)[0]}
    assert inputs.pop(CANDIDATE_MASK)["shape"] == [masking.rows_of(model)] == [ROWS]
    assert inputs.keys() == {i.name for i in model.spec.inputs}
    saved_model.save(model, dataclasses.replace(options, candidate_mask=False), folder / "plain")
    plain = flatbuffer.operators(flatbuffer.finish(converter.convert(folder / "plain")))
    added = flatbuffer.operators(content)
    for name in plain:
        added.remove(name)
    assert set(added) <= {"SLICE", "STRIDED_SLICE", "MAXIMUM", "ADD"}
    assert len(added) <= 3


def test_no_mask_leaves_out_nothing(exported):
    model, _, _, content = exported
    file = TfliteModel(content)
    one = {name: values[0] for name, values in contexts_of(model).items()}
    nothing = {CANDIDATE_MASK: np.zeros(ROWS, np.float32)}
    np.testing.assert_array_equal(file(one)[IDS], file({**one, **nothing})[IDS])


@pytest.mark.parametrize("mask", [np.zeros(11, np.float32), np.zeros((1, 12), np.float32), None])
def test_a_mask_of_another_length_is_refused(exported, mask):
    model, _, _, content = exported
    one = {name: values[0] for name, values in contexts_of(model).items()}
    with pytest.raises(ExportError, match=r"takes \(12,\): a number for each row of the label"):
        TfliteModel(content)({**one, CANDIDATE_MASK: mask})


def test_the_comparison_has_masks(exported):
    model, options, folder, content = exported
    assets = Assets({}, [], contexts_of(model))
    found = agreement.with_jax(model, options, assets, folder, TfliteModel(content))
    assert (found.contexts, found.agree) == (30, 30)
    assert found.identical_ids > 25
    # A file that knows nothing of the mask does not pass.
    deaf = TfliteModel(content)
    deaf_call = TfliteModel.__call__

    class Deaf(TfliteModel):
        def __call__(self, inputs):
            return deaf_call(self, {n: v for n, v in inputs.items() if n != CANDIDATE_MASK})

    deaf.__class__ = Deaf
    with pytest.raises(ExportError, match=r"The finished \.tflite disagrees with the model on"):
        agreement.with_jax(model, options, assets, folder, deaf)


def test_masks_of_the_comparison():
    model, _ = model_of("own tables")
    drawn = masking.draw(model, K)
    assert drawn.shape == (6, ROWS)
    left = [(mask[1:11] > LEFT_OUT / 2).sum() for mask in drawn]
    assert left[:5] == [10, 5, 1, 1, 3]
    assert np.unique(drawn[5]).size > 3
    assert not drawn[:5, [0, 11]].any()


@pytest.mark.parametrize("recipe", ["float16", "int8", "int4"])
def test_recipes_leave_out_the_same(exported, recipe):
    model, options, _, content = exported
    file = TfliteModel(choice.quantized(content, recipe))
    one = {name: values[1] for name, values in contexts_of(model).items()}
    for mask in masks():
        out = file({CANDIDATE_MASK: mask, **one})
        (own,) = expected(model, options, {n: v[None] for n, v in one.items()}, mask)
        shown = out[IDS][: len(own)].tolist()
        assert (mask[shown] > LEFT_OUT / 2).all()
        assert (out[SCORES][: len(own)] > 0).all()
        if len(own) < K:
            assert set(shown) == set(own)
            assert not out[SCORES][len(own) :].any()


def test_logits_of_the_file_are_those_without_a_mask(exported):
    model, options, _, content = exported
    contexts = contexts_of(model)
    read = LogitsModel(content, model.spec, excludes_context=options.exclude_context)
    logits = model.batch_logits(contexts)
    if options.exclude_context:
        logits = exclusion.without_context(logits, contexts, model.spec)
    for n, own in enumerate(logits):
        found = read({name: values[n] for name, values in contexts.items()})
        np.testing.assert_allclose(found, own, atol=1e-5)


def test_a_feature_of_that_name_is_told(tmp_path):
    model, options = model_of("own tables")
    inputs = (dataclasses.replace(model.spec.inputs[0], name=CANDIDATE_MASK),)
    named = dataclasses.replace(model, spec=dataclasses.replace(model.spec, inputs=inputs))
    with pytest.raises(ExportError, match="has a feature of the name candidate_mask"):
        saved_model.save(named, options, tmp_path)


def test_context_only_rows_that_no_input_tells_of():
    """A model of genres alone, with the items of another day: the vocabulary has their rows."""
    config, spec = settings(group("bow", GENRE), length=LENGTH)
    structure, params = random_model(config, spec)
    model = ServingModel(config, spec, structure, params)
    assert masking.rows_of(model) == 12  # padding, ten candidates, 'unknown'
    assert masking.rows_of(dataclasses.replace(model, rows=15)) == 15
