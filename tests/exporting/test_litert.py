"""The converter without TensorFlow; most of it is skipped where litert-converter is missing."""

import dataclasses
import importlib.util
import json
import re
import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flaxrec.config import Config, ExportConfig
from flaxrec.errors import ExportError
from flaxrec.exporting import bundle, catalogue, converter, litert, ranked_lists
from flaxrec.exporting.serving import ServingModel
from flaxrec.recommender import Recommender
from flaxrec.tflite import flatbuffer
from flaxrec.tflite.metadata import IDS, SCORES
from flaxrec.tflite.runtime import TfliteModel
from flaxrec.training.run import train
from flaxrec.training.workdir import Workdir
from tests.exporting.test_serving_form import GROUPS, any_inputs
from tests.support.builders import random_model
from tests.support.exports import tiny_config
from tests.support.grouped_models import settings

installed = pytest.mark.skipif(
    importlib.util.find_spec("litert_converter") is None,
    reason="needs the extra 'litert' (litert-converter)",
)

# ---- where the package is missing -----------------------------------------------------------


@pytest.fixture
def without_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "litert_converter", None)
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda n, *a: None if n == "litert_converter" else find(n, *a)
    )


def test_a_missing_package_is_one_sentence(without_it):
    config, spec = settings(*GROUPS["bow"])
    model = ServingModel(config, spec, *random_model(config, spec))
    with pytest.raises(ExportError) as error:
        litert.convert(model, ExportConfig(top_k=5, converter="litert"))
    sentence = (
        r"--converter=litert needs litert-converter 0\.5, .*; pip install 'flaxrec\[litert\]'\."
    )
    assert re.fullmatch(sentence, str(error.value))


def test_what_is_missing_has_its_name(without_it):
    assert converter.missing(ExportConfig(converter="litert")) == "litert-converter"
    found = importlib.util.find_spec("tensorflow")
    assert converter.missing(ExportConfig()) == ("" if found else "TensorFlow")


def test_a_new_catalogue_keeps_the_converter(tmp_path, monkeypatch):
    run = types.SimpleNamespace(export=tmp_path)
    last = {"top_k": 7, "inputs": [], "converter": "litert"}
    monkeypatch.setattr(catalogue, "read_metadata", lambda folder: last)
    assert catalogue.options(run, {})["converter"] == "litert"
    assert catalogue.options(run, {"converter": "jax2tf"})["converter"] == "jax2tf"


def module_of(function) -> str:
    taken = {"x": jax.ShapeDtypeStruct((4,), "float32")}
    return jax.export.export(jax.jit(function), platforms=["cpu"])(taken).mlir_module()


def test_an_operator_that_is_not_known_is_refused_before(monkeypatch):
    def function(x):
        return {"y": jax.lax.fori_loop(0, 3, lambda i, v: jnp.sort(v), x["x"])}

    monkeypatch.setattr(litert, "import_converter", None)
    with pytest.raises(ExportError) as error:
        litert._to_tflite(module_of(function), ["x"], ["y"])
    assert str(error.value) == (
        "The model uses the operators sort, while, which litert-converter is not known to convert; "
        "use --converter=jax2tf."
    )


def test_a_failing_package_is_one_sentence(monkeypatch):
    class Passes:
        PassManager = list

    class Failing:
        def __getattr__(self, name):
            raise RuntimeError("no reason\nat all")

    monkeypatch.setattr(litert, "import_converter", lambda: (Failing(), _Mlir, Passes))
    with pytest.raises(ExportError, match=r"^litert-converter failed \(no reason.*\); use --conv"):
        litert._to_tflite("module {}", [], [])


class _Mlir:
    class Context:
        def __enter__(self):
            return self

        def __exit__(self, *error):
            return False


# ---- with it --------------------------------------------------------------------------------


@installed
@pytest.mark.parametrize("name", list(GROUPS))
def test_lists_of_every_encoder(name):
    config, spec = settings(*GROUPS[name], length=4)
    model = ServingModel(config, spec, *random_model(config, spec))
    content = flatbuffer.finish(litert.convert(model, ExportConfig(top_k=6)))
    run, contexts = TfliteModel(content), any_inputs(spec)
    assert sorted(name for name, *_ in run.inputs) == sorted(contexts)
    assert [e["name"] for e in flatbuffer.ends(content)[1]] == [IDS, SCORES]

    def lists(context):
        out = run(context)
        return out[IDS], out[SCORES]

    found = ranked_lists.compare(
        lists, contexts, model.batch_logits(contexts), first_candidate=1, top_k=6
    )
    assert found.agree == found.contexts == len(contexts[spec.inputs[0].name])


@installed
@pytest.mark.parametrize("trusted", [False, True])
def test_what_the_ranking_reads_besides_scores(trusted):
    config, spec = settings(*GROUPS["bow"], length=4)
    inputs = (dataclasses.replace(spec.inputs[0], vocabulary="item"),)
    spec = dataclasses.replace(spec, inputs=inputs)
    model = ServingModel(config, spec, *random_model(config, spec))
    options = ExportConfig(top_k=4, exclude_context=True, trust_ids=trusted, candidate_mask=True)
    run = TfliteModel(flatbuffer.finish(litert.convert(model, options)))
    mask = np.zeros(12, np.float32)
    mask[7] = -np.inf
    out = run({"item": np.array([1, 2, 2, 0], np.int32), "candidate_mask": mask})
    logits = model.batch_logits({"item": np.array([[1, 2, 2, 0]], np.int32)})[0].copy()
    logits[[0, 1, 6]] = -np.inf
    np.testing.assert_array_equal(out[IDS], ranked_lists.top(logits, 4) + 1)


@installed
def test_a_run_is_exported_without_a_saved_model(tmp_path):
    config: Config = tiny_config("bow_id")
    config.export.converter = "litert"
    config.train.epochs = 1
    workdir = Workdir(tmp_path / "run")
    train(config, workdir, say=lambda line: None)
    made = bundle.export(workdir, quantization="int8", say=lambda line: None)
    metadata = json.loads((made.folder / "metadata.json").read_text(encoding="utf-8"))
    assert metadata["converter"] == "litert"
    assert metadata["saved_model"] == {
        "supported": False, "reason": "--converter=litert makes none"
    }  # fmt: skip
    assert metadata["equality"]["compared"] == ["JAX", "TFLite"]
    assert metadata["equality"]["agree"] == metadata["equality"]["contexts"] > 100
    assert set(metadata["versions"]) >= {"litert-converter", "ai-edge-litert"}
    assert "tensorflow" not in metadata["versions"]
    assert not (made.folder / "saved_model").exists()
    assert len(Recommender.load(made.folder).recommend([2, 5], 5)) == 5
