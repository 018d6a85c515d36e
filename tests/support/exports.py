"""Tiny models, trained and exported once a session, and what is expected of their files."""

import dataclasses
import functools
import gc
import json
import os
from pathlib import Path

import jax
import numpy as np
import pytest

from flaxrec.config import Config, FeatureConfig, GroupConfig
from flaxrec.config.presets import (
    example_network,
    gap_after,
    genres,
    item_id,
    make_smoke,
    rating,
)
from flaxrec.exporting import serving
from flaxrec.exporting.bundle import export
from flaxrec.files import lock
from flaxrec.files.sums import FILES, sums_of
from flaxrec.tflite import flatbuffer
from flaxrec.tflite.runtime import TfliteModel
from flaxrec.training.run import train
from flaxrec.training.workdir import Workdir
from tests.support.places import ANCHORS

NAMES = ("bow_id", "cnn_combined", "lstm_id_genre", "attention_id", "bow_user", "reference")
EVERY_CANDIDATE = ("bow_id", "bow_user", "reference")  # their K is the whole catalogue
USERS = 200


def tiny_config(name: str) -> Config:
    """A model that trains in seconds; its contexts.npz holds every test label."""
    if name == "bow_user":
        config = example_network("bow", "id,smoke")
        age = FeatureConfig("age_group", "user.age_group", "STRING", 4)
        config.model.global_groups = [GroupConfig([age])]
    elif name == "bow_time":  # knows the moment of asking; in no list, only its own tests need it
        config = example_network("bow", "id,smoke")
        config.model.activity_groups[0].features += [gap_after(), rating()]
    elif name == "reference":
        groups = [GroupConfig([item_id()]), GroupConfig([genres(4, 12)]), GroupConfig([rating()])]
        config = make_smoke(Config(reference_mode=True))
        config.model.activity_groups = groups
    else:
        encoder, _, inputs = name.partition("_")
        config = example_network(encoder, f"{inputs},smoke")
    if name == "cnn_combined":
        config.model.activity_groups[1].features[0].length = 16
    if name == "lstm_id_genre":  # short, for the unrolled graph to compile quickly
        config.model.context_length = 4
        config.model.activity_groups[1].features[0].length = 8
    config.name = name
    config.data.synthetic.users = USERS
    config.train.log_every = 100
    config.export.verification_contexts = USERS
    return config


def exported(tmp_path_factory: pytest.TempPathFactory, name: str) -> Workdir:
    """The run of `tiny_config(name)`, trained and exported by the first test that asks for it."""
    require_export()
    root = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent
    workdir = Workdir(root / "exported" / name)
    workdir.path.parent.mkdir(exist_ok=True)
    with open(workdir.path.with_suffix(".lock"), "wb") as file:
        lock(file, wait=True)
        if not workdir.export.exists():
            train(tiny_config(name), workdir, say=lambda line: None)
            top_k = None
            if name in EVERY_CANDIDATE:
                spec = json.loads((workdir.assets / "spec.json").read_text())
                top_k = spec["candidates"]
            export(workdir, top_k=top_k, say=lambda line: None)
    return workdir


def note_again(assets: Path) -> None:
    """Notes a run's files as they are now, as if the run had written them."""
    file = assets / FILES
    noted = json.loads(file.read_text(encoding="utf-8"))
    file.unlink()
    text = json.dumps(noted | {"files": sums_of(assets)})
    file.write_text(text, encoding="utf-8", newline="\n")


def require_export() -> None:
    """Skips the test where an export cannot be made."""
    pytest.importorskip("tensorflow", reason="the export needs TensorFlow")
    pytest.importorskip("ai_edge_litert", reason="running a .tflite needs ai-edge-litert")
    _leave_modules_out_of_collections()


@functools.cache
def _leave_modules_out_of_collections() -> None:
    """The converter collects garbage at every call, among all that TensorFlow has loaded."""
    gc.freeze()


def anchor(name: str) -> Path:
    """A published .tflite; skips the test where it is missing or cannot be run."""
    path = ANCHORS / name
    if not path.is_file():
        pytest.skip(f"{path} is not here")
    require_export()
    return path


@dataclasses.dataclass(frozen=True)
class Case:
    """One exported model and what is expected of it."""

    name: str
    workdir: Workdir

    @functools.cached_property
    def file(self) -> TfliteModel:
        return TfliteModel(self.workdir.export / "model.tflite")

    @functools.cached_property
    def model(self) -> serving.ServingModel:
        return serving.load(self.workdir)

    @property
    def spec(self):
        return self.model.spec

    @functools.cached_property
    def saved(self) -> dict[str, np.ndarray]:
        """The contexts that the run saved."""
        with np.load(self.workdir.assets / "contexts.npz") as file:
            return dict(file)

    @functools.cached_property
    def random(self) -> dict[str, np.ndarray]:
        """Contexts of any ids, far outside the tables too; the first one is padding only."""
        rng = np.random.default_rng(0)
        drawn = {}
        for spec in self.spec.inputs:
            shape = (60, spec.length)
            if spec.type == "FLOAT":
                drawn[spec.name] = rng.uniform(-1, 6, shape).astype(np.float32)
            else:
                ids = rng.integers(-3, spec.rows + 3, shape, dtype=np.int32)
                ids[rng.random(shape) < 0.2] = 0
                ids[1, 0], ids[2, 0], ids[3, :] = 2**31 - 1, -(2**31), -1
                drawn[spec.name] = ids
            drawn[spec.name][0] = 0
        return drawn

    @functools.cached_property
    def contexts(self) -> list[dict[str, np.ndarray]]:
        """The saved contexts, then the random ones, one dict each."""
        both = {name: np.concatenate([self.saved[name], self.random[name]]) for name in self.saved}
        return [{n: v[row] for n, v in both.items()} for row in range(USERS + 60)]

    @functools.cached_property
    def logits(self) -> np.ndarray:
        """[n, C] of the training graph for `contexts`."""
        features = {n: np.stack([c[n] for c in self.contexts]) for n in self.contexts[0]}
        forward = jax.jit(lambda params, x: self.model.structure.merge(params).logits(x))
        with jax.default_matmul_precision("float32"):
            return np.asarray(forward(self.model.params, features))


def content_of(case: Case) -> bytes:
    """The exported file."""
    return (case.workdir.export / "model.tflite").read_bytes()


def buffers_of(content: bytes) -> list[bytes]:
    """All buffers, in their order; among them the metadata."""
    return [bytes(b.data) for b in flatbuffer.read(content).buffers if b.data is not None]
