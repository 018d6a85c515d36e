"""Configs drawn over all fields, and command lines: each works, or is refused in a sentence."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flaxrec.errors import ConfigError
from flaxrec.training.validation import checked
from tests.fuzz import configs, flags
from tests.fuzz.attempts import search
from tests.support import config_trees

DRAWN = st.randoms(use_true_random=False)


@settings(max_examples=30)
@given(DRAWN)
def test_any_tree_is_valid_or_refused_in_a_sentence(draw):
    config, what = config_trees.wild(draw)
    try:
        checked(config)
    except ConfigError as error:
        message = str(error)
        assert message.isprintable(), what
        assert len(message) < 1_000, what
        assert "; " in message, message
        assert message.endswith((".", "?")), message


@settings(max_examples=30)
@given(DRAWN)
def test_a_valid_tree_stays_the_same(draw):
    config = config_trees.small(draw)
    try:
        once = checked(config)
    except ConfigError:
        return
    assert once == config
    assert checked(once) == once


@pytest.mark.parametrize(
    ("target", "seconds"), [pytest.param(configs, 2, marks=pytest.mark.long), (flags, 1)]
)
def test_a_short_search(tmp_path, monkeypatch, target, seconds):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(configs, "TRAINING", 0.5)
    found = search(target.attempts(random.Random(3), tmp_path), 60, seconds)
    assert not found.faults
    assert found.tried
