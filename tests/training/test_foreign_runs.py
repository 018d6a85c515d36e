"""Run folders that somebody else may have made, or that a disk has damaged."""

import random

from tests.fuzz import run_parts
from tests.fuzz.attempts import search


def test_search(tmp_path):
    """More by `python -m tests.fuzz run_parts run_folder`."""
    found = search(run_parts.attempts(random.Random(20), tmp_path), 80)
    assert found.tried == 80
    assert not found.faults
