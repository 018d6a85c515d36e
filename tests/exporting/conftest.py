"""Runs with an export, for the tests of this folder."""

import shutil

import pytest

from flaxrec.training.workdir import Workdir


@pytest.fixture
def copy(bow_id, tmp_path) -> Workdir:
    """A run of the test's own, with an export."""
    ignore = shutil.ignore_patterns("tensorboard")
    return Workdir(shutil.copytree(bow_id.path, tmp_path / "run", ignore=ignore))
