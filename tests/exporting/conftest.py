"""Runs with an export, for the tests of this folder."""

import dataclasses
import hashlib
import shutil

import numpy as np
import pytest

from flaxrec.exporting import bundle, coarse
from flaxrec.training.workdir import Workdir


@pytest.fixture
def copy(bow_id, tmp_path) -> Workdir:
    """A run of the test's own, with an export."""
    ignore = shutil.ignore_patterns("tensorboard")
    return Workdir(shutil.copytree(bow_id.path, tmp_path / "run", ignore=ignore))


@pytest.fixture(scope="session")
def keeping(tmp_path_factory):
    """`bundle.make_float_file` that converts a model once for the same K and filters."""
    make, root = bundle.make_float_file, tmp_path_factory.mktemp("converted")

    def make_once(model, options, folder) -> bytes:
        plain = dataclasses.replace(options, quantization="none", max_recall_loss=0.0)
        large = coarse.pays(model.spec.candidates, options)
        key = hashlib.sha256(repr((model.config.model, model.spec, plain, large)).encode())
        for name, value in sorted(model.params.items()):
            key.update(name.encode() + np.asarray(value).tobytes())
        kept = root / key.hexdigest()
        if not kept.exists():
            content = make(model, options, kept / "saved_model")
            (kept / "model.tflite").write_bytes(content)
        shutil.copytree(kept / "saved_model", folder)
        return (kept / "model.tflite").read_bytes()

    return make_once


@pytest.fixture
def converted_once(keeping, monkeypatch):
    """Exports of this test take a float32 file that another test has had converted."""
    monkeypatch.setattr(bundle, "make_float_file", keeping)
