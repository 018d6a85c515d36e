"""The exported file against the model it came from, for every encoder and both modes."""

import dataclasses
import sys

import numpy as np
import pytest

from flaxrec.config import ExportConfig
from flaxrec.errors import ExportError
from flaxrec.exporting import converter, saved_model
from flaxrec.tflite import flatbuffer, runtime_versions
from flaxrec.tflite.metadata import IDS, SCORES
from flaxrec.tflite.runtime import TfliteModel
from tests.support.exports import EVERY_CANDIDATE, NAMES, USERS, Case, exported, tiny_config


@pytest.fixture(scope="module", params=NAMES)
def case(request, tmp_path_factory) -> Case:
    return Case(request.param, exported(tmp_path_factory, request.param))


@pytest.fixture(scope="module")
def bow_id(tmp_path_factory) -> Case:
    return Case("bow_id", exported(tmp_path_factory, "bow_id"))


def answer(case: Case, context: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    out = case.file(context)
    return out[IDS].copy(), out[SCORES].copy()


# ---- the signature --------------------------------------------------------------------------


def test_inputs_are_the_features_by_name(case):
    specs = {s.name: ([s.length], s.dtype) for s in case.spec.inputs}
    assert {name: (shape, dtype) for name, shape, dtype in case.file.inputs} == specs
    config = tiny_config(case.name)
    features = [
        feature
        for group in config.model.global_groups + config.model.activity_groups
        for feature in group.features
    ]
    lengths = {f.name: f.length or config.model.context_length for f in features}
    if case.name == "bow_user":
        lengths["age_group"] = 1
    dtypes = {f.name: "float32" if f.type == "FLOAT" else "int32" for f in features}
    assert specs == {name: ([lengths[name]], dtypes[name]) for name in lengths}


def test_outputs_are_ids_and_scores(case):
    k = case.spec.candidates if case.name in EVERY_CANDIDATE else 20
    assert {name: (shape, dtype) for name, shape, dtype in case.file.outputs} == {
        "top_prediction_ids": ([k], "int32"),
        "top_prediction_scores": ([k], "float32"),
    }
    ids, scores = answer(case, case.contexts[0])
    assert (ids.shape, ids.dtype, scores.shape, scores.dtype) == ((k,), np.int32, (k,), np.float32)


# ---- the ranking ----------------------------------------------------------------------------


def test_every_context_gets_the_top_of_the_training_graph(case):
    first, differences = case.spec.first_candidate, []
    assert case.logits.shape == (USERS + 60, case.spec.candidates)
    assert np.ptp(case.logits, axis=1).min() > 1e-3  # there is a ranking to get right
    for context, logits in zip(case.contexts, case.logits, strict=True):
        ids, scores = answer(case, context)
        k = len(ids)
        assert len(np.unique(ids)) == k
        assert (np.diff(scores) <= 0).all()
        expected = 1 / (1 + np.exp(-logits.astype(np.float64)))
        # Each item has its own score, and each place the score that belongs there.
        differences.append(np.abs(scores - expected[ids - first]).max())
        differences.append(np.abs(scores - np.sort(expected)[::-1][:k]).max())
    assert max(differences) < 1e-5


def test_nearly_all_ids_are_the_very_same(case):
    same = 0
    for context, logits in zip(case.contexts, case.logits, strict=True):
        ids, _ = answer(case, context)
        order = np.lexsort((np.arange(len(logits)), -logits))
        same += np.array_equal(ids - case.spec.first_candidate, order[: len(ids)])
    assert same >= 0.9 * len(case.contexts)


def test_padding_and_unknown_are_no_candidates(case):
    entries = len((case.workdir.assets / "vocabularies/item.txt").read_text().splitlines())
    first = 0 if case.name == "reference" else 1
    seen = np.unique([answer(case, context)[0] for context in case.contexts])
    assert seen.min() >= first
    assert seen.max() <= entries - 1
    if case.name in EVERY_CANDIDATE:  # reference mode ranks row 0 like any other
        np.testing.assert_array_equal(seen, np.arange(first, entries))


@pytest.fixture(scope="module")
def twins(bow_id, tmp_path_factory) -> bytes:
    """A file as converted, in which the second half of the items is like the first."""
    table = bow_id.model.params["label_encoder/table"]
    params = {**bow_id.model.params, "label_encoder/table": table.at[60:].set(table[:60])}
    folder = tmp_path_factory.mktemp("twins") / "saved"
    model = dataclasses.replace(bow_id.model, params=params)
    saved_model.save(model, ExportConfig(top_k=120), folder)
    return converter.convert(folder)


def test_the_converter_notes_the_same_oldest_runtime(twins):
    model = flatbuffer.read(twins)
    (noted,) = (entry for entry in model.metadata if entry.name == b"min_runtime_version")
    release = bytes(model.buffers[noted.buffer].data).rstrip(b"\0").decode()
    assert runtime_versions.oldest(twins) == {"tflite": release, "litert": "1.0.1"}


def test_equal_scores_come_in_ascending_order_of_the_id(bow_id, twins):
    file = TfliteModel(twins)
    for context in bow_id.contexts[:20]:
        ids = file(context)[IDS]
        np.testing.assert_array_equal(ids[1::2], ids[::2] + 60)


# ---- ids outside the tables -----------------------------------------------------------------


def test_negative_ids_pad_and_ids_beyond_the_table_are_unknown(case):
    for row in range(60):
        raw = {name: values[row] for name, values in case.random.items()}
        clamped = dict(raw)
        for spec in case.spec.inputs:
            if spec.type != "FLOAT":
                ids = raw[spec.name]
                clamped[spec.name] = np.where(ids < 0, 0, np.where(ids < spec.rows, ids, -1))
                clamped[spec.name][clamped[spec.name] == -1] = spec.rows - 1
        np.testing.assert_array_equal(answer(case, raw), answer(case, clamped))


# Not in the others: one unknown age group is as silent as padding, and a last ReLU may be dead.
@pytest.mark.parametrize("case", NAMES[:4], indirect=True, scope="module")
def test_padding_first_last_and_unknown_are_four_different_rows(case):
    ones = {s.name: np.ones(s.length, s.dtype) for s in case.spec.inputs}
    for spec in case.spec.inputs:
        if spec.type != "FLOAT":
            answers = {}
            for row in (0, 1, spec.rows - 2, spec.rows - 1):
                ids = ones[spec.name].copy()
                ids[: spec.length // 2] = row
                answers.setdefault(answer(case, {**ones, spec.name: ids})[1].tobytes(), row)
            assert len(answers) == 4, (spec.name, answers.values())


def test_a_context_of_padding_only_is_answered(case):
    padding = case.contexts[USERS]
    assert not any(values.any() for values in padding.values())
    ids, scores = answer(case, padding)
    assert np.isfinite(scores).all()
    assert len(np.unique(ids)) == len(ids)


# ---- state and operators --------------------------------------------------------------------


def test_answers_do_not_depend_on_what_was_asked_before(case):
    some = case.contexts[:12] + case.contexts[USERS : USERS + 12]
    forwards = [answer(case, context) for context in some]
    backwards = [answer(case, context) for context in reversed(some)][::-1]
    fresh = Case(case.name, case.workdir)
    assert fresh.file is not case.file
    alone = [answer(fresh, context) for context in some[-1:]]
    np.testing.assert_array_equal(backwards, forwards)
    np.testing.assert_array_equal(alone, forwards[-1:])
    assert len({ids.tobytes() for ids, _ in forwards}) > 12  # the contexts are told apart


def test_operators_are_builtin_and_stateless(case):
    from ai_edge_litert.interpreter import Interpreter, OpResolverType
    from tensorflow.lite.python import schema_py_generated as schema

    content = (case.workdir.export / "model.tflite").read_bytes()
    interpreter = Interpreter(
        model_content=content,
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    names = [op["op_name"] for op in interpreter._get_ops_details()]
    assert set(names) <= set(vars(schema.BuiltinOperator)) - {"CUSTOM", "DELEGATE"}
    stateful = {"WHILE", "IF", "CALL_ONCE", "VAR_HANDLE", "READ_VARIABLE", "ASSIGN_VARIABLE"}
    assert not stateful & set(names)
    assert not [name for name in names if "LSTM" in name or "RNN" in name or "HASHTABLE" in name]
    assert names.count("TOPK_V2") == 1
    # One lookup a table; a gather would be eleven operators.
    assert names.count("EMBEDDING_LOOKUP") == sum(s.type != "FLOAT" for s in case.spec.inputs)
    assert not {"GATHER", "ONE_HOT"} & set(names)
    # Attention has the context moved to its end.
    assert names.count("GATHER_ND") == (case.name == "attention_id")
    model = schema.Model.GetRootAs(content)
    assert model.SubgraphsLength() == 1
    graph = model.Subgraphs(0)
    assert not any(graph.Tensors(i).IsVariable() for i in range(graph.TensorsLength()))


def test_the_saved_model_gives_the_same(case):
    tf = converter.import_tensorflow()
    loaded = tf.saved_model.load(str(case.workdir.export / "saved_model"))
    serve = loaded.signatures["serving_default"]
    for context, logits in list(zip(case.contexts, case.logits, strict=True))[::20]:
        out = serve(**{name: tf.constant(value) for name, value in context.items()})
        assert set(out) == {IDS, SCORES}
        ids, scores = out[IDS].numpy(), out[SCORES].numpy()
        best = np.sort(logits)[::-1][: len(ids)]
        np.testing.assert_allclose(scores, 1 / (1 + np.exp(-best)), atol=1e-5)
        np.testing.assert_allclose(logits[ids - case.spec.first_candidate], best, atol=1e-4)


# ---- errors ---------------------------------------------------------------------------------


def test_a_failing_converter_is_reported_in_one_line(bow_id, monkeypatch):
    tf = converter.import_tensorflow()

    def fail(folder):
        raise RuntimeError("op 'x' is not allowed\n" + "loc(unknown) " * 100_000)

    monkeypatch.setattr(tf.lite.TFLiteConverter, "from_saved_model", fail)
    with pytest.raises(ExportError) as error:
        converter.convert(bow_id.workdir.export / "saved_model")
    assert str(error.value) == "The TFLite converter failed (op 'x' is not allowed)."


def test_a_converter_that_fails_without_a_message(bow_id, monkeypatch):
    tf = converter.import_tensorflow()

    def fail(folder):
        raise AssertionError

    monkeypatch.setattr(tf.lite.TFLiteConverter, "from_saved_model", fail)
    with pytest.raises(ExportError, match="AssertionError"):
        converter.convert(bow_id.workdir.export / "saved_model")


def test_without_tensorflow_the_remedy_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    with pytest.raises(ExportError, match=r"install flaxrec\[export\].*export_tflite.py there"):
        converter.import_tensorflow()


def test_the_run_is_not_touched_by_its_export(bow_id):
    assert {path.name for path in bow_id.workdir.path.iterdir()} == {
        "config.json", "metrics.jsonl", "checkpoints", "tensorboard", "assets", "per_label",
        "export", "data.json",
    }  # fmt: skip


def test_every_weight_is_in_the_file_once(case):
    bytes_of_weights = sum(4 * array.size for array in case.model.params.values())
    size = (case.workdir.export / "model.tflite").stat().st_size
    graph = 90_000 if "lstm" in case.name else 20_000  # the unrolled steps
    assert bytes_of_weights < size < bytes_of_weights + graph
