"""The reference's finished models read back: from files that it published, and from small ones.

The small ones are converted here by a graph that stands for the reference's; that it does is
itself checked, against outputs and operators of the real one.
"""

import dataclasses
import functools
import json
from pathlib import Path

import numpy as np
import pytest

from flaxrec import export_tflite
from flaxrec.config import DataConfig, groups
from flaxrec.data.sources import read as read_lib
from flaxrec.errors import ExportError
from flaxrec.exporting import serving
from flaxrec.exporting.bundle import export_model
from flaxrec.exporting.ranked_lists import lists_agree
from flaxrec.recommender import Recommender
from flaxrec.reference import goldens, published
from flaxrec.reference import weights as weights_lib
from flaxrec.reference.graph import Graph
from flaxrec.tflite.metadata import IDS, SCORES
from flaxrec.tflite.runtime import TfliteModel
from tests.fuzz.published import weights_in
from tests.support.exports import require_export
from tests.support.places import GOLDEN
from tests.support.serving_graph import to_tflite
from tests.support.small_files import CASES, DIM, LABELS, make, small

SHARED = GOLDEN.parent
ANCHORS, MOVIELENS = SHARED / "anchors", SHARED / "data" / "ml-1m"
TOLERANCE = 1e-6  # the contract's, of scores, for an import

needs_anchors = pytest.mark.skipif(
    not (ANCHORS.is_dir() and MOVIELENS.is_dir()),
    reason=f"the published models and MovieLens-1M are not in {SHARED}",
)
both = pytest.mark.parametrize("name", ["bow", "rnn"])


# ---- the published files ------------------------------------------------------------------------


def imported(name: str):
    return _imported(ANCHORS / f"published_{name}_i10o100.tflite")


@functools.cache
def _imported(file: Path):
    return published.load(file)


@functools.cache
def real_contexts(count: int = 1000, length: int = 10) -> np.ndarray:
    """Int32 [count, length] of MovieLens-1M ids: the 1 to 10 events before a random one."""
    events = read_lib.read(DataConfig(source="movielens", path=str(MOVIELENS))).events
    events = events.sort("user", "time", maintain_order=True)
    user, item = events["user"].to_numpy(), events["item"].to_numpy()
    place = np.arange(len(user)) - np.searchsorted(user, user)
    rng = np.random.default_rng(0)
    drawn = np.zeros((count, length), np.int32)
    for row, position in zip(drawn, rng.choice(np.flatnonzero(place), count), strict=True):
        n = min(place[position], rng.integers(1, length, endpoint=True))
        row[:n] = item[position - n : position]
    return drawn


@pytest.fixture(scope="module")
def again(tmp_path_factory):
    """The .tflite that we make of a published one."""

    @functools.cache
    def exported(name: str) -> TfliteModel:
        require_export()
        folder = tmp_path_factory.mktemp(name) / "export"
        export_model(*imported(name), folder, say=lambda line: None)
        return TfliteModel(folder / "model.tflite")

    return exported


@needs_anchors
def test_real_contexts_are_of_all_lengths_and_padded_at_the_end():
    lengths = (real_contexts() > 0).sum(axis=1)
    assert set(lengths) == set(range(1, 11))
    assert ((real_contexts() > 0) == (np.arange(10) < lengths[:, None])).all()
    assert real_contexts().max() <= 3952


@needs_anchors
@both
def test_lists_agree_with_a_published_file_on_real_contexts(name, again):
    model, assets = imported(name)
    (only,) = model.spec.inputs
    logits = model.batch_logits({only.name: real_contexts()})
    ours, theirs, differences = 0, 0, []
    for context, row in zip(real_contexts(), logits, strict=True):
        ids, scores = assets.original.run({only.name: context})
        theirs += lists_agree(ids, scores, row, 100, TOLERANCE)
        out = again(name)({only.name: context})
        ours += lists_agree(out[IDS], out[SCORES], row, 100, TOLERANCE)
        differences.append(np.abs(out[SCORES] - scores).max())  # of the two files, by position
    assert theirs >= 999
    assert ours >= 999
    assert np.sum(np.array(differences) <= TOLERANCE) >= 999


@needs_anchors
@both
def test_a_published_files_config_and_weights(name):
    model, assets = imported(name)
    (group,) = (group for _, group in groups(model.config.model))
    assert model.config.reference_mode
    assert (group.encoder, group.lstm_units) == {"bow": ("bow", 16), "rnn": ("lstm", 16)}[name]
    assert model.config.model.hidden_dims == (16,)
    (only,) = model.spec.inputs
    assert (only.source, only.rows, only.length, only.vocabulary) == ("item.id", 3953, 10, "item")
    assert (model.spec.candidates, model.spec.first_candidate) == (3953, 0)
    assert (assets.original.top_k, model.config.export.top_k) == (100, 100)
    assert assets.vocabularies["item"].entries == tuple(str(n) for n in range(3953))
    assert assets.items[0] == {"id": 1}
    assert len(assets.items) == 3952


@needs_anchors
def test_the_published_rnn_leaks_from_call_to_call_and_ours_does_not(again):
    model, assets = imported("rnn")
    (only,) = model.spec.inputs
    contexts = [{only.name: context} for context in real_contexts()[:50]]

    shared = []
    for context in contexts:
        first, _ = assets.original.run(context)
        second, _ = assets.original.run(context, reset=False)  # as the Android sample calls it
        shared.append(len(set(first) & set(second)))
    assert max(shared) < 100  # not once the same list
    assert np.mean(shared) < 60

    ours = again("rnn")
    before = [{name: value.copy() for name, value in ours(c).items()} for c in contexts]
    for context, expected in reversed(list(zip(contexts, before, strict=True))):
        out = ours(context)
        np.testing.assert_array_equal(out[IDS], expected[IDS])
        np.testing.assert_array_equal(out[SCORES], expected[SCORES])


# ---- small files ----------------------------------------------------------------------------

every_case = pytest.mark.parametrize("name", CASES)


@pytest.fixture
def write(tmp_path):
    """Writes a .tflite and returns its path."""

    def write(content: bytes) -> Path:
        (tmp_path / "small.tflite").write_bytes(content)
        return tmp_path / "small.tflite"

    return write


def message_of(file: Path) -> str:
    """The one sentence of the error that reading the file raises."""
    with pytest.raises(ExportError) as error:
        published.load(file)
    assert "\n" not in str(error.value)
    return str(error.value)


def assert_same_weights(found: dict, expected: dict) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)


@every_case
def test_weights_come_back_to_the_bit(name, write):
    assert_same_weights(published.read(write(small(name).content)).weights, small(name).weights)


@every_case
def test_the_config_comes_back(name, write):
    made, found = small(name), published.read(write(small(name).content))
    ours, theirs = found.config.model, made.config.model
    assert found.config.reference_mode
    assert (ours.embedding_dim, ours.hidden_dims) == (DIM, theirs.hidden_dims)
    assert ours.global_groups == []
    for a, b in zip(ours.activity_groups, theirs.activity_groups, strict=True):
        assert a.encoder == b.encoder
        assert [f.name for f in a.features] == [f.name for f in b.features]
        assert [f.embedding_dim for f in a.features] == [f.embedding_dim for f in b.features]
        if a.encoder == "cnn":
            assert (a.conv_filter_ratios, a.conv_kernel_size) == ((2, 3), 4)
        if a.encoder == "lstm":
            assert a.lstm_units == 5
    shapes = [(i.name, i.type, i.length, i.rows) for i in found.spec.inputs]
    assert shapes == [(i.name, i.type, i.length, i.rows) for i in made.spec.inputs]
    assert (found.spec.candidates, found.spec.first_candidate) == (LABELS, 0)
    assert found.config.export.top_k == 7


@every_case
def test_our_logits_give_the_files_lists(name, write):
    model, assets = published.load(write(small(name).content))
    contexts = published.draw_contexts(model.spec, 40, seed=1)
    for i in model.spec.inputs:
        contexts[i.name][0] = 0  # nothing but padding
        contexts[i.name][1:5, 0] = 0  # padding before activities
    logits = model.batch_logits(contexts)
    for row in range(40):
        ids, scores = assets.original.run({n: values[row] for n, values in contexts.items()})
        assert lists_agree(ids, scores, logits[row], 7, TOLERANCE)


def test_biases_of_zero_that_the_converter_drops(write):
    def zero(weights):
        for name in weights:
            if name.endswith("/bias") and "lstm" not in name:
                weights[name] = np.zeros_like(weights[name])

    made = make(*CASES["cnn"], change=zero)
    assert_same_weights(published.read(write(made.content)).weights, made.weights)


# ---- names ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "numbers", "expected"),
    [
        (["anything"], [], {"anything": "item.id"}),
        (
            ["context_movie_genre", "context_movie_id", "context_movie_year"],
            ["context_movie_rating"],
            {
                "context_movie_genre": "item.genres",
                "context_movie_id": "item.id",
                "context_movie_year": "item.year",
                "context_movie_rating": "event.rating",
            },
        ),
        (
            ["a_genre", "b_genre", "movie"],
            ["x"],
            {
                "a_genre": "item.a_genre",
                "b_genre": "item.b_genre",
                "movie": "item.movie",
                "x": "item.x",
            },
        ),
        (["city", "item_id"], [], {"city": "item.city", "item_id": "item.id"}),
    ],
    ids=["the only one", "the reference's", "ambiguous", "says id"],
)
def test_sources_where_names_tell(write, names, numbers, expected):
    lengths = dict.fromkeys([*names, *numbers], 2)
    made = make([(names, numbers, "bow")], lengths, ())
    found = published.read(write(made.content)).spec.inputs
    assert {i.name: i.source for i in found} == expected
    assert {i.name for i in found if i.multi_valued} == {
        name for name, source in expected.items() if source == "item.genres"
    }


# ---- other files of the same models -----------------------------------------------------------


def altered(content: bytes, change) -> bytes:
    """The .tflite after `change(schema, model)`."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
    change(schema, model)
    builder = flatbuffers.Builder(len(content))
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def operators(schema, model, name: str) -> list:
    codes = [code.builtinCode for code in model.operatorCodes]
    number = getattr(schema.BuiltinOperator, name)
    return [op for op in model.subgraphs[0].operators if codes[op.opcodeIndex] == number]


@pytest.mark.parametrize("name", ["bow groups", "lstm"])
def test_names_positions_and_signatures_do_not_matter(name, write):
    def disguise(schema, model):
        graph = model.subgraphs[0]
        model.signatureDefs = []
        graph.outputs = graph.outputs[::-1]
        for number, tensor in enumerate(graph.tensors):
            if number not in graph.inputs:
                tensor.name = f"t{number % 3}".encode()

    found = published.read(write(altered(small(name).content, disguise)))
    assert_same_weights(found.weights, small(name).weights)
    context = {n: values[0] for n, values in published.draw_contexts(found.spec, 1).items()}
    ids, scores = found.run(context)
    assert (ids.dtype, scores.dtype) == (np.int32, np.float32)
    assert (np.diff(scores) <= 0).all()


# ---- files that are not understood --------------------------------------------------------------


def set_option(operator: str, option: str, value: int, which: int = 0):
    def change(schema, model):
        setattr(operators(schema, model, operator)[which].builtinOptions, option, value)

    return change


def set_constant(operator: str, i: int, value, which: int = 0):
    """The operator's input i becomes a constant of its own, filled with `value`."""

    def change(schema, model):
        graph = model.subgraphs[0]
        op = operators(schema, model, operator)[which]
        old, new, buffer = graph.tensors[op.inputs[i]], schema.TensorT(), schema.BufferT()
        dtype = np.float32 if isinstance(value, float) else np.int32
        shape = () if old.shape is None else tuple(old.shape)
        buffer.data = np.full(shape, value, dtype).reshape(-1).view(np.uint8)
        new.shape, new.type, new.name = old.shape, old.type, b"altered"
        new.buffer = len(model.buffers)
        model.buffers.append(buffer)
        op.inputs = np.where(np.arange(len(op.inputs)) == i, len(graph.tensors), op.inputs)
        graph.tensors.append(new)

    return change


def rename(operator: str, other: str):
    def change(schema, model):
        for code in model.operatorCodes:
            if code.builtinCode == getattr(schema.BuiltinOperator, operator):
                code.builtinCode = code.deprecatedBuiltinCode = getattr(
                    schema.BuiltinOperator, other
                )

    return change


def mask_of_one_feature(schema, model):
    """The mask is the square of one feature's, not the product of two."""
    op = next(
        op
        for op in operators(schema, model, "MUL")
        if model.subgraphs[0].tensors[op.outputs[0]].shape.tolist() == [1, 10]
    )
    op.inputs = op.inputs[[0, 0]]


def one_more_operator(schema, model):
    """The scores once more, for nobody."""
    graph = model.subgraphs[0]
    op = operators(schema, model, "LOGISTIC")[0]
    copy, tensor = schema.OperatorT(), schema.TensorT()
    old = graph.tensors[op.outputs[0]]
    tensor.shape, tensor.type, tensor.name, tensor.buffer = old.shape, old.type, b"more", 0
    graph.tensors.append(tensor)
    copy.opcodeIndex, copy.inputs = op.opcodeIndex, op.inputs
    copy.outputs = np.array([len(graph.tensors) - 1], np.int32)
    graph.operators.append(copy)


def one_output(schema, model):
    model.subgraphs[0].outputs = model.subgraphs[0].outputs[:1]
    model.signatureDefs = []


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("bow", set_option("FULLY_CONNECTED", "fusedActivationFunction", 0), "FULLY_CONNECTED"),
        ("bow", set_option("FULLY_CONNECTED", "fusedActivationFunction", 3, 1), "FULLY_CONNECTED"),
        ("bow", set_option("FULLY_CONNECTED", "fusedActivationFunction", 1, 2), "no activation"),
        ("bow", rename("NOT_EQUAL", "EQUAL"), "EQUAL"),
        ("bow", rename("LOGISTIC", "TANH"), "TANH"),
        ("bow", set_constant("SELECT_V2", 2, 1.0), "SELECT_V2"),
        ("bow", set_constant("NOT_EQUAL", 1, 1), "NOT_EQUAL"),
        ("bow", one_more_operator, "LOGISTIC"),
        ("bow", one_output, "1 outputs"),
        ("bow groups", mask_of_one_feature, "the mask of the group of a_id, b_year"),
        ("cnn", set_option("CONV_2D", "fusedActivationFunction", 0), "CONV_2D"),
        ("lstm", set_constant("STRIDED_SLICE", 1, 0), "STRIDED_SLICE"),
        ("lstm", set_option("UNIDIRECTIONAL_SEQUENCE_LSTM", "fusedActivationFunction", 1), "LSTM"),
    ],
)
def test_an_operator_that_is_not_understood_is_named(name, change, words, write):
    file = write(altered(small(name).content, change))
    message = message_of(file)
    assert message.startswith(str(file))
    assert words in message
    assert message.endswith(
        "BOW, CNN or fused LSTM groups, ReLU layers, a label table, TOPK_V2) can be imported."
    )


def test_files_that_are_no_models(write, tmp_path):
    assert message_of(tmp_path / "none") == f"There is no model file {tmp_path / 'none'}."
    assert "is not a TFLite model" in message_of(write(b"not a model, but long enough"))
    assert "is not a TFLite model" in message_of(write(small("bow").content[:500]))


@pytest.mark.parametrize("value", [np.nan, np.inf])
@every_case
def test_weights_that_are_not_finite(name, value, write):
    offset, size = list(weights_in(small(name).content))[-1]
    content = small(name).content
    bad = np.float32(value).tobytes()
    file = write(content[: offset + size - 4] + bad + content[offset + size :])
    message = message_of(file)
    assert message.startswith(f"{file}: the weights ")
    assert "are not all finite numbers; export the file again" in message


# ---- exported again -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """An export of a small file in which the padding is by far the best candidate."""

    def prefer_padding(weights):
        labels = weights["label_embedding"].copy()
        labels[0] = 3.0
        weights["label_embedding"] = labels

    groups, lengths, hidden = CASES["lstm"]
    short = lengths | {"movie": 3, "type": 3, "s": 3}  # an LSTM is exported unrolled
    made = make(groups, short, hidden, change=prefer_padding)
    root = tmp_path_factory.mktemp("again")
    (root / "small.tflite").write_bytes(made.content)
    export_model(*published.load(root / "small.tflite"), root / "export", say=lambda line: None)
    return root / "export"


def test_the_metadata_say_what_was_compared(folder):
    metadata = json.loads((folder / "metadata.json").read_text())
    equality = metadata["equality"]
    assert equality["compared"] == ["JAX", "SavedModel", "TFLite", "original file"]
    assert equality["contexts"] == equality["agree"] == 200
    assert equality["max_score_difference"] < equality["tolerance"] == TOLERANCE
    assert (metadata["name"], metadata["top_k"], metadata["step"]) == ("small", 7, None)
    assert (metadata["metrics"], metadata["labels"]) == ({}, {})
    assert metadata["encoder"] == ["lstm", "bow", "lstm"]


def test_no_state_is_left_in_the_graph(folder):
    assert "UNIDIRECTIONAL_SEQUENCE_LSTM" not in {
        op.name for op in Graph(folder / "model.tflite").operators
    }


def test_padding_is_in_the_list_but_not_recommended(folder):
    recommender = Recommender.load(folder)
    history = [{"item": 3, "type": 1}, {"item": 5, "type": 2}]
    out = TfliteModel(folder / "model.tflite")(recommender.encode(history))
    assert out[IDS][0] == 0
    recommended = recommender.recommend(history, top_k=7)
    assert 0 not in [r.item for r in recommended]
    expected = [n for n in out[IDS].tolist() if n not in (0, 3, 5)]
    assert [r.item for r in recommended] == expected


def test_a_greater_k_than_the_files(write, tmp_path):
    """And that our own export is no file of the reference."""
    file, folder = write(small("bow").content), tmp_path / "export"
    made = export_model(*published.load(file), folder, lambda line: None, top_k=20)
    assert made.equality.agree == 200
    assert TfliteModel(folder / "model.tflite").outputs[0][1] == [20]
    assert "is not understood" in message_of(folder / "model.tflite")
    # The id input alone, but its table is shorter than the labels'.
    android = json.loads((made.folder / "metadata.json").read_text())["android"]
    assert not android["supported"]
    assert "vocabularies of their own" in android["reason"]


def test_a_quantised_import_is_told_beside_the_original(write, tmp_path):
    file = write(small("bow").content)
    made = export_model(
        *published.load(file), tmp_path / "export", lambda line: None, quantization="float16"
    )
    assert made.equality.agree == 200  # of the float32 form
    overlap = made.quantization["overlap"]
    assert overlap["contexts"] == 200
    assert overlap["original"].keys() == overlap["float"].keys()
    for part in ("float", "original"):
        assert all(0.98 < share <= 1 for share in overlap[part].values())
    assert made.quantization["test"] == "not measured"
    with pytest.raises(ExportError, match="none were kept with this model"):
        export_model(*published.load(file), tmp_path / "other", print, quantization="auto")
    assert not (tmp_path / "other").exists()


def test_an_original_that_disagrees_is_not_published(write, tmp_path):
    model, assets = published.load(write(small("bow").content))
    name = "context_encoder/projection/bias"
    wrong = dataclasses.replace(model, params={**model.params, name: model.params[name] + 1e-3})
    with pytest.raises(ExportError, match="The original file disagrees"):
        export_model(wrong, assets, tmp_path / "export", say=lambda line: None)
    assert not (tmp_path / "export").exists()


def test_the_command_with_a_smaller_k_than_the_files(write, tmp_path, monkeypatch, capsys):
    file = write(small("bow").content)
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        return export_tflite.main([*arguments]), *capsys.readouterr()

    status, out, err = call(f"--from_tflite={file}", "--top_k=3")
    assert status == 0, err
    assert "agrees with JAX and the original file on 200 of 200 contexts" in out
    made = tmp_path / "small"
    assert json.loads((made / "metadata.json").read_text())["top_k"] == 3
    assert TfliteModel(made / "model.tflite").outputs[0][1] == [3]
    (made / "metadata.json").unlink()
    status, _, err = call(f"--from_tflite={file}")
    assert status == 2
    assert err == "flaxrec: small exists and is not an export; use another --output.\n"
    status, _, err = call(f"--from_tflite={file}", "--workdir=run")
    assert status == 2
    assert "Exactly one of --workdir, --from_tflite and --starter says what to export" in err
    assert err.count("\n") == 1


# ---- the graph that stands for the reference's ---------------------------------------------------

ABSENT = pytest.mark.skip(reason=f"the reference's golden numbers are not at {GOLDEN}")
NAMES = goldens.names(GOLDEN) if GOLDEN.is_dir() else ["absent"]
# One with a group of the user, a CNN and an LSTM are compared always.
LONG = {"bow_id_dim16", "string_features"}
MARKS = {"absent": ABSENT} | dict.fromkeys(LONG, pytest.mark.long)


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=MARKS.get(name, ())) for name in NAMES],
)
def test_the_small_files_are_as_the_reference_makes_them(name, write):
    """Operators and outputs are those of the real one's file, and our import of it."""
    require_export()
    golden = goldens.load(GOLDEN, name)
    theirs = golden.under("w")
    file = write(to_tflite(golden.config, golden.spec, theirs, golden.config.export.top_k))
    real = [n for n in golden.notes["tflite"]["ops"] if n != "DELEGATE"]
    names = [op.name.replace("SELECT_V2", "SELECT") for op in Graph(file).operators]
    assert sorted(names) == sorted(real)
    found = published.read(file)
    assert_same_weights(found.weights, theirs)
    structure = serving.structure_of(found.config, found.spec)
    params = weights_lib.from_reference(found.weights, structure.shapes)
    model = serving.ServingModel(found.config, found.spec, structure, params)
    expected = golden.under("tflite_out")
    for row, logits in enumerate(model.batch_logits(golden.features)):
        ids, scores = found.run({n: values[row] for n, values in golden.features.items()})
        for i, s in ((ids, scores), (expected[IDS][row], expected[SCORES][row])):
            assert lists_agree(i, s, logits, len(i), TOLERANCE)
