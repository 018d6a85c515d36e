"""What the context holds is not recommended: the graph, the batch and the check in NumPy."""

import dataclasses

import numpy as np
import pytest

from flaxrec.config import ExportConfig
from flaxrec.errors import ExportError
from flaxrec.exporting import converter, exclusion, saved_model, trial
from flaxrec.exporting.serving import ServingModel
from flaxrec.tflite import flatbuffer
from flaxrec.tflite.metadata import IDS, SCORES
from flaxrec.tflite.quiet import quiet
from flaxrec.tflite.runtime import TfliteModel
from tests.support.builders import random_model
from tests.support.exports import require_export
from tests.support.grouped_models import GENRE, ITEM, group, settings

# The vocabulary of `settings` has 12 rows: padding, ten candidates, 'unknown'.
LENGTH = 4


def spec_of(*groups, first=1, candidates=10, **fields):
    """Config and spec with the item's input on the items' own vocabulary."""
    config, spec = settings(*groups, length=LENGTH, **fields)
    inputs = tuple(
        dataclasses.replace(i, rows=12 if first else candidates) if i.name == "item" else i
        for i in spec.inputs
    )
    return config, dataclasses.replace(
        spec, inputs=inputs, first_candidate=first, candidates=candidates
    )


OPTIONS = ExportConfig(top_k=6, exclude_context=True)


@pytest.fixture(scope="module", params=["own tables", "tied", "reference"])
def exported(request, tmp_path_factory):
    require_export()
    groups = [group("bow", ITEM), group("bow", GENRE)]
    reference = request.param == "reference"
    config, spec = spec_of(
        *groups,
        first=int(not reference),
        candidates=12 - 2 * (not reference),
        reference_mode=reference,
    )
    if request.param == "tied":
        config.model.tied_tables = True
        config.model.embedding_dim = ITEM.embedding_dim
    structure, params = random_model(config, spec)
    model = ServingModel(config, spec, structure, params)
    folder = tmp_path_factory.mktemp("excluded")
    saved_model.save(model, OPTIONS, folder / "saved")
    (folder / "model.tflite").write_bytes(converter.convert(folder / "saved"))
    return model, folder


def contexts_of(model: ServingModel, count: int = 50) -> dict[str, np.ndarray]:
    random = np.random.default_rng(2)
    contexts = {i.name: random.integers(-2, 15, (count, i.length)) for i in model.spec.inputs}
    contexts["item"][0] = [5, 5, 5, 5]  # one item again and again
    contexts["item"][1] = 0
    contexts["item"][2] = [3, 0, 0, 0]
    return {name: values.astype(np.int32) for name, values in contexts.items()}


def expected(model, contexts):
    """By a loop over rows."""
    lists = []
    for logits, items in zip(model.batch_logits(contexts), contexts["item"], strict=True):
        rows = [int(np.clip(item, 0, 11)) for item in items]
        ranked = (np.argsort(-logits, kind="stable") + model.spec.first_candidate).tolist()
        lists.append([row for row in ranked if row not in rows and row != 0][: OPTIONS.top_k])
    return np.array(lists)


def test_the_file_leaves_them_out(exported):
    model, folder = exported
    contexts = contexts_of(model)
    file = TfliteModel(folder / "model.tflite")
    for n, ids in enumerate(expected(model, contexts)):
        out = file({name: values[n] for name, values in contexts.items()})
        np.testing.assert_array_equal(out[IDS], ids)
        assert (np.diff(out[SCORES]) <= 0).all()
        assert out[SCORES][-1] > 0


def test_the_batch_leaves_them_out(exported):
    require_export()
    import tensorflow as tf

    model, folder = exported
    contexts = contexts_of(model)
    with quiet():
        run = tf.saved_model.load(str(folder / "saved")).signatures["serve_batch"]
    for count in (1, 50):  # any B
        part = {name: tf.constant(values[:count]) for name, values in contexts.items()}
        np.testing.assert_array_equal(run(**part)[IDS], expected(model, contexts)[:count])


def test_logits_without_the_context(exported):
    model, _ = exported
    contexts = contexts_of(model)
    logits = exclusion.without_context(model.batch_logits(contexts), contexts, model.spec)
    ranked = np.argsort(-logits, axis=1, kind="stable") + model.spec.first_candidate
    np.testing.assert_array_equal(ranked[:, : OPTIONS.top_k], expected(model, contexts))


def test_two_operators_do_it(exported):
    _, folder = exported
    operators = flatbuffer.operators((folder / "model.tflite").read_bytes())
    assert operators.count("SCATTER_ND") == 1
    assert not {"SELECT_V2", "STABLEHLO_SCATTER", "EQUAL"} & set(operators)


def test_a_model_without_item_ids_is_refused():
    _, spec = spec_of(group("bow", GENRE))
    with pytest.raises(ExportError, match="needs an input of item ids"):
        exclusion.check(spec, OPTIONS)


def test_a_vocabulary_that_was_cut_is_refused():
    _, spec = spec_of(group("bow", ITEM))
    cut = tuple(dataclasses.replace(i, vocabulary="context_item", rows=6) for i in spec.inputs)
    with pytest.raises(ExportError, match="whole vocabulary"):
        exclusion.check(dataclasses.replace(spec, inputs=cut), OPTIONS)


@pytest.mark.parametrize(("first", "left"), [(1, 6), (0, 5)])
def test_k_must_leave_room_for_the_context(first, left):
    _, spec = spec_of(group("bow", ITEM), first=first)
    exclusion.check(spec, dataclasses.replace(OPTIONS, top_k=left))
    with pytest.raises(ExportError, match=f"as few as {left} items remain"):
        exclusion.check(spec, dataclasses.replace(OPTIONS, top_k=left + 1))
    exclusion.check(spec, ExportConfig(top_k=left + 1))


def test_no_room_is_told_before_training():
    config, spec = spec_of(group("bow", ITEM), candidates=LENGTH)
    config.export = OPTIONS
    with pytest.raises(ExportError, match=r"0 items remain; use a shorter config\.model\.context"):
        trial.try_conversion(config, spec)
    config.export = dataclasses.replace(OPTIONS, enabled=False)
    trial.try_conversion(config, spec)
