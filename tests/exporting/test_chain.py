"""The chain: JAX, SavedModel and TFLite agree on the same contexts for every shipped config.

Each config is prepared as its smoke variant: its own model on generated data. Random parameters
stand in for trained ones, which the graph does not know from them. The exporter itself compares
and refuses; what it compared is read here from the folder, and the finished file is run once more.
"""

import dataclasses
import functools
import json
from collections import Counter
from pathlib import Path

import jax
import numpy as np
import pytest

from flaxrec.config import Config, groups
from flaxrec.data import contexts as contexts_lib
from flaxrec.data.dataset import Dataset, prepare
from flaxrec.exporting import serving
from flaxrec.exporting.assets import Assets
from flaxrec.exporting.bundle import export_model
from flaxrec.exporting.ranked_lists import lists_agree
from flaxrec.exporting.serving import ServingModel
from flaxrec.tflite import flatbuffer
from flaxrec.tflite.metadata import IDS, SCORES
from flaxrec.tflite.quiet import quiet
from flaxrec.tflite.runtime import TfliteModel
from flaxrec.training import transitions
from tests.support.builders import random_model
from tests.support.exports import require_export
from tests.support.places import ROOT
from tests.support.shipped_configs import SMOKES, load

CONTEXTS = 50


@functools.cache
def config_and_data(case: tuple) -> tuple[Config, Dataset]:
    path, variant = case
    data = prepare(load(path).get_config(variant))
    return data.config, data


def graph_of(case: tuple) -> tuple:
    """What the graph depends on: cases that share it are one model under two names."""
    config, data = config_and_data(case)
    model = dataclasses.replace(config.model, feature_dropout=0.0)  # of training alone
    return repr(model), config.reference_mode, data.spec


# Every operator of a graph, in the order of execution, by CONFIG:VARIANT.
OPERATORS = json.loads((Path(__file__).parent / "operators.json").read_text(encoding="utf-8"))
CASES = [
    (ROOT / "configs" / f"{name.partition(':')[0]}.py", name.partition(":")[2])
    for name in OPERATORS
]


# In the default suite one of each kind: numbers and several features, tied tables, an LSTM in
# reference mode, causal convolutions. Attention is among the shared exports (test_converter.py).
DEFAULT = (
    "example_networks:bow,features,smoke",
    "example_networks:cnn,tied,smoke",
    "reference:lstm,smoke",
    "starters:movielens_cnn,smoke",
)


def ids(cases) -> list[str]:
    return [f"{path.stem}:{variant}" for path, variant in cases]


def test_every_shipped_variant_has_a_recorded_graph():
    recorded = [graph_of(case) for case in CASES]
    assert len({repr(graph) for graph in recorded}) == len(CASES) >= 30
    for case in SMOKES:
        assert graph_of(case) in recorded, ids([case])


def test_operators_are_plain_and_few():
    for name, operators in OPERATORS.items():
        config, _ = config_and_data(CASES[ids(CASES).index(name)])
        kinds = Counter(operators.split())
        features = [f for _, g in groups(config.model) for f in g.features]
        embedded = [f for f in features if f.type != "FLOAT" and "seconds_ago" not in f.source]
        assert kinds["EMBEDDING_LOOKUP"] == len(embedded)
        assert not set(kinds) & {"WHILE", "CUSTOM", "DELEGATE", "VAR_HANDLE", "SELECT"}
        assert not any("SEQUENCE" in kind for kind in kinds)
        # Some encoders want contexts with the latest activity at their end.
        latest = ("attention", "causal_cnn", "recency_bow", "linear_rnn")
        of_latest = [g for _, g in groups(config.model) if g.encoder in latest]
        # The transitions head looks up the latest items, their followers and these' weights.
        has_head = bool(config.model.transitions)
        gathers = kinds["GATHER_ND"] + kinds["GATHER"]
        assert gathers == sum(len(g.features) for g in of_latest) + 3 * has_head
        assert kinds["SCATTER_ND"] == has_head
        # Ids outside the tables cost two operators an input; MINIMUM also joins masks of a group.
        inputs = len({f.name for f in embedded})
        # Where contexts are moved, it is joined once more, to find the latest activity.
        masked = [*(g for _, g in groups(config.model)), *of_latest]
        joined = [f for g in masked for f in g.features[1:] if f.type != "FLOAT"]
        assert kinds["MINIMUM"] <= inputs + len(joined) + len(of_latest) + has_head
        # One more MAXIMUM a bag of words: its divisor.
        bows = sum(g.encoder in ("bow", "recency_bow") for _, g in groups(config.model))
        assert kinds["MAXIMUM"] <= inputs + bows
        assert kinds["FULLY_CONNECTED"] >= len(config.model.hidden_dims) + 2


def loads_as_compiled_model(content: bytes) -> bool:
    from ai_edge_litert.compiled_model import CompiledModel

    with quiet():
        return CompiledModel.from_buffer(content) is not None


def contexts_of(config: Config, data: Dataset) -> dict[str, np.ndarray]:
    """Contexts of test labels, as training keeps them for the export."""
    positions = data.split.test[:: max(1, len(data.split.test) // CONTEXTS)][:CONTEXTS]
    device = contexts_lib.to_device(
        data.timelines, jax.sharding.SingleDeviceSharding(serving.cpu())
    )
    gather = jax.jit(contexts_lib.gatherer(config, data.spec.inputs))
    return jax.device_get(gather(device, positions))


def marked(case: tuple):
    marks = () if ids([case])[0] in DEFAULT else pytest.mark.long
    return pytest.param(case, marks=marks, id=ids([case])[0])


@pytest.mark.parametrize("case", [marked(case) for case in CASES])
def test_jax_saved_model_and_tflite_agree(case, tmp_path):
    require_export()
    config, data = config_and_data(case)
    structure, params = random_model(config, data.spec)
    head = transitions.head_of(config, data)
    model = ServingModel(config, data.spec, structure, params, head=head)
    contexts = contexts_of(config, data)
    assets = Assets(data.timelines.vocabularies, [], contexts)
    folder = export_model(
        model, assets, tmp_path / "export", say=lambda line: None, quantization="none"
    ).folder
    logits = model.batch_logits(contexts)

    metadata = json.loads((folder / "metadata.json").read_text(encoding="utf-8"))
    equality = metadata["equality"]
    assert equality["compared"] == ["JAX", "SavedModel", "TFLite"]
    assert equality["contexts"] == equality["agree"] == CONTEXTS
    assert 0 <= equality["max_score_difference"] < equality["tolerance"] == 1e-5
    assert metadata["encoder"] == [group.encoder for _, group in groups(config.model)]

    content = (folder / "model.tflite").read_bytes()
    assert " ".join(flatbuffer.operators(content)) == OPERATORS[ids([case])[0]]
    assert loads_as_compiled_model(content)

    file = TfliteModel(folder / "model.tflite")
    lists = []
    for row in range(CONTEXTS):
        out = file({name: values[row] for name, values in contexts.items()})
        candidates = out[IDS] - data.spec.first_candidate
        assert lists_agree(candidates, out[SCORES], logits[row], config.export.top_k)
        lists.append(tuple(candidates))
    # A graph that does not read its inputs would agree as well.
    assert len(set(lists)) > CONTEXTS // 2
