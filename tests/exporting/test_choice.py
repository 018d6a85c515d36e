"""Which quantisation is taken and what is said of it; files are stand-ins whose lists are known.

A file is its name and its recall: it finds the label 1 in every context from number `misses` on.
"""

import dataclasses

import numpy as np
import pytest

from flaxrec.config import ExportConfig
from flaxrec.errors import ExportError
from flaxrec.exporting import choice, judge
from flaxrec.exporting.assets import Assets, Original
from flaxrec.exporting.judge import Lists
from flaxrec.tflite import flatbuffer
from flaxrec.training.run_assets import Judged

FLOAT = b"float" * 20  # 100 bytes
K = 20
CANDIDATES = range(1, 60)


@dataclasses.dataclass(frozen=True)
class Stand:
    """What a recipe makes: so many bytes, and so many of the first contexts without a hit."""

    bytes: int
    misses: int
    misses_on_test: int = 0


def contexts_of(split: str, count: int) -> dict[str, np.ndarray]:
    """Context n holds n, and whether it is one of the test labels'."""
    numbers = np.arange(count, dtype=np.int32)
    return {"item": np.stack([numbers, np.full_like(numbers, split == "test")], axis=1)}


def judged_of(**counts: int) -> dict[str, Judged]:
    """Labels 1, so many of each split."""
    return {
        split: Judged(contexts_of(split, count), np.ones(count, np.int32))
        for split, count in counts.items()
    }


@pytest.fixture
def recipes(monkeypatch):
    """Recipes by name, a Stand or what is wrong with it each; filled by the test."""
    stands: dict[str, Stand | str] = {}

    def quantize(content: bytes, recipe: str) -> bytes:
        assert content == FLOAT
        stand = stands[recipe]
        if isinstance(stand, str):
            raise ExportError(stand)
        return recipe.encode().ljust(stand.bytes + 7, b".")

    def run(content: bytes, contexts: dict[str, np.ndarray], candidates: range) -> Lists:
        assert candidates == CANDIDATES
        numbers, is_test = contexts["item"].T
        stand = stands.get(content.rstrip(b".").decode())
        if stand is None:
            assert content.rstrip(b".") == FLOAT
            stand = Stand(100, 10, 10)
        assert isinstance(stand, Stand)
        misses = np.where(is_test, stand.misses_on_test, stand.misses)
        first = np.where(numbers >= misses, 1, 2)
        ids = first[:, None] + np.arange(K)
        return Lists(ids.astype(np.int32), np.zeros(ids.shape, np.float32))

    monkeypatch.setattr(choice.quantize, "quantize", quantize)
    monkeypatch.setattr(choice.quantize, "RECIPES", stands)
    monkeypatch.setattr(flatbuffer, "finish", lambda content: content[:-7])  # every one is finished
    monkeypatch.setattr(judge, "run", run)
    return stands


def choose(quantization: str, judged: dict[str, Judged], original=None, coarse=None, **options):
    """The choice, and what was said."""
    said: list[str] = []
    assets = Assets({}, [], contexts_of("test", 40), original=original, judged=judged)
    options = {"quantization": quantization, **options}
    chosen = choice.choose(FLOAT, ExportConfig(**options), assets, CANDIDATES, said.append, coarse)
    return chosen, said


# ---- auto -----------------------------------------------------------------------------------


def test_the_smallest_file_within_the_bound_is_taken(recipes):
    """The float file has 2,000 hits of 2,010; 20 less are a loss of 0.01, inside its interval.

    A Poisson number of mean 20 and more is at most 29 or 30 in 97.5% of cases: 0.015 and less.
    """
    recipes["half"] = Stand(50, misses=10)
    recipes["quarter"] = Stand(25, misses=14)
    recipes["eighth"] = Stand(12, misses=30)
    chosen, _ = choose("auto", judged_of(validation=2010), max_recall_loss=0.01)
    eighth = chosen.report["candidates"][-1]
    assert eighth["recall_loss"] == 0.01
    assert 0.005 < eighth["recall_loss_interval"][0] < 0.01
    assert 0.014 < eighth["recall_loss_interval"][1] < 0.016
    assert chosen.report["recipe"] == "quarter"
    assert chosen.content == b"quarter".ljust(25, b".")
    assert (chosen.report["bytes"], chosen.report["float_bytes"]) == (25, 100)
    assert chosen.report["ratio"] == 0.25
    for bound, recipe in ((0.0, "none"), (0.003, "half"), (0.017, "eighth")):
        chosen, _ = choose("auto", judged_of(validation=2010), max_recall_loss=bound)
        assert chosen.report["recipe"] == recipe


def test_few_labels_show_nothing(recipes):
    """Of 20 hits none is lost, yet of 20 more one may be; only more labels can tell."""
    recipes["half"] = Stand(50, misses=10)
    chosen, said = choose("auto", judged_of(validation=30))
    assert chosen.report["recipe"] == "none"
    assert "20 hits are too few to show a loss of at most 0.01; float32 stays" in said[-2]
    chosen, said = choose("auto", judged_of(validation=30), max_recall_loss=0.2)
    assert chosen.report["recipe"] == "half"
    assert not any("too few" in line for line in said)


def test_without_a_hit_nothing_is_chosen(recipes):
    recipes["half"] = Stand(50, misses=0)
    with pytest.raises(ExportError, match="none of 10 validation labels among its 10 best"):
        choose("auto", judged_of(validation=10))


def test_float_may_have_a_coarse_copy(recipes):
    """Then 'none' is the file with the copy, which is larger; recipes are made without it."""
    coarse = FLOAT.ljust(120, b".")
    half = recipes["half"] = Stand(50, misses=400)
    chosen, said = choose("auto", judged_of(validation=2010), coarse=coarse)
    assert (chosen.report["recipe"], chosen.content) == ("none", coarse)
    none = chosen.report["candidates"][0]
    assert (none["bytes"], none["ratio"], none["recall_loss_interval"]) == (120, 1.2, [0, 0])
    assert chosen.report["coarse_copy"]
    assert "none: with a coarse copy of the labels" in said[0]
    recipes["half"] = dataclasses.replace(half, misses=10)
    chosen, _ = choose("auto", judged_of(validation=2010), coarse=coarse)
    assert chosen.content == b"half".ljust(50, b".")


def test_float_stays_where_every_candidate_loses_too_much_or_is_larger(recipes):
    recipes["large"] = Stand(101, misses=0)  # though it gains
    recipes["small"] = Stand(10, misses=40)
    chosen, _ = choose("auto", judged_of(validation=2010))
    assert (chosen.report["recipe"], chosen.content) == ("none", FLOAT)


def test_a_recipe_that_does_not_run_is_told_and_left(recipes):
    recipes["broken"] = "int4 does not run here."
    recipes["half"] = Stand(50, misses=10)
    chosen, said = choose("auto", judged_of(validation=2010))
    assert chosen.report["recipe"] == "half"
    assert chosen.report["candidates"][1] == {
        "recipe": "broken",
        "obstacle": "int4 does not run here.",
    }
    assert [line for line in said if "broken" in line] == ["  broken  int4 does not run here."]


def test_every_candidate_is_reported(recipes):
    recipes["half"] = Stand(50, misses=10)
    recipes["quarter"] = Stand(25, misses=60)
    chosen, said = choose("auto", judged_of(validation=110), max_recall_loss=0.1)
    intervals = [row.pop("recall_loss_interval") for row in chosen.report["candidates"]]
    assert intervals[0] == [0.0, 0.0]
    # Bootstraps over 110 labels and one of each outcome.
    np.testing.assert_allclose(intervals[1:], [[-0.03, 0.03], [0.38, 0.6]], atol=0.03)
    # Contexts 10 to 59 lost the label 1 and got 1 + K instead.
    at_10, at_20 = (60 + 50 * 9 / 10) / 110, (60 + 50 * 19 / 20) / 110
    assert chosen.report["candidates"] == [
        {"recipe": "none", "bytes": 100, "ratio": 1.0, "recall@10": 100 / 110,
         "ndcg@10": 100 / 110, "recall_loss": 0.0, "overlap@10": 1.0, "overlap@20": 1.0},
        {"recipe": "half", "bytes": 50, "ratio": 0.5, "recall@10": 100 / 110,
         "ndcg@10": 100 / 110, "recall_loss": 0.0, "overlap@10": 1.0, "overlap@20": 1.0},
        {"recipe": "quarter", "bytes": 25, "ratio": 0.25, "recall@10": 50 / 110,
         "ndcg@10": 50 / 110, "recall_loss": 0.5, "overlap@10": pytest.approx(at_10),
         "overlap@20": pytest.approx(at_20)},
    ]  # fmt: skip
    assert chosen.report["asked"] == "auto"
    assert chosen.report["max_recall_loss"] == 0.1
    assert (chosen.report["validation_labels"], chosen.report["validation_hits"]) == (110, 100)
    assert not chosen.report["coarse_copy"]
    head, columns, *lines, last = said
    assert "110 validation labels, 100 of them among the 10 best of float32" in head
    assert columns.split() == [*chosen.report["candidates"][0], "recall_loss_interval"]
    told = ["..".join(f"{end:.4f}" for end in interval) for interval in intervals]
    assert [line.split() for line in lines] == [
        ["none", "100", "1.0000", "0.9091", "0.9091", "0.0000", "1.0000", "1.0000", told[0]],
        ["half", "50", "0.5000", "0.9091", "0.9091", "0.0000", "1.0000", "1.0000", told[1]],
        ["quarter", "25", "0.2500", "0.4545", "0.4545", "0.5000", "0.9545", "0.9773", told[2]],
    ]
    assert len({len(line) for line in (columns, *lines)}) == 1  # aligned
    assert "half: 50 bytes, 0.500 of float32" in last


def test_nothing_is_chosen_by_test_labels(recipes):
    """The choice is good on validation, bad on test; the report says so, and the choice stays."""
    recipes["half"] = Stand(50, misses=10, misses_on_test=10)
    recipes["quarter"] = Stand(25, misses=10, misses_on_test=60)
    chosen, said = choose("auto", judged_of(validation=2010, test=210))
    assert chosen.report["recipe"] == "quarter"
    test = chosen.report["test"]
    assert test["labels"] == 210
    assert test["float"] == {"recall@10": 200 / 210, "ndcg@10": 200 / 210}
    assert (test["recall@10"], test["recall_loss"]) == (150 / 210, 0.25)
    low, high = test["recall_loss_interval"]
    assert 0.18 < low < 0.25 < high < 0.32
    assert "0.7143 beside 0.9524 of float32, a relative loss of 25.00%" in said[-1]
    assert f"95% interval {low:.2%} to {high:.2%}" in said[-1]


@pytest.mark.parametrize("split", [{}, {"test": 9}])
def test_auto_without_validation_labels(split):
    assets = Assets({}, [], {}, judged=judged_of(**split))
    with pytest.raises(ExportError) as error:
        choice.check(ExportConfig(quantization="auto"), assets)
    assert str(error.value).startswith("quantization is 'auto'")
    assert "run train_main.py" in str(error.value)
    assert "float16" in str(error.value)
    choice.check(ExportConfig(quantization="int8"), assets)


# ---- a recipe by name -----------------------------------------------------------------------


def test_none_runs_nothing(recipes):
    chosen, said = choose("none", judged_of(validation=9, test=9))
    assert (chosen.content, chosen.report, said) == (FLOAT, {"recipe": "none"}, [])


def test_a_named_recipe_is_taken_whatever_it_loses(recipes):
    recipes["int8"] = Stand(25, misses=0, misses_on_test=110)
    chosen, said = choose("int8", judged_of(validation=9, test=210), max_recall_loss=0.0)
    assert chosen.content == b"int8".ljust(25, b".")
    assert chosen.report["recipe"] == chosen.report["asked"] == "int8"
    assert chosen.report["test"]["recall_loss"] == 0.5
    assert "candidates" not in chosen.report
    assert len(said) == 1


def test_a_named_recipe_without_labels(recipes):
    """Overlap is measured on the contexts, 40 of them: here 10 to 29 lose an item."""
    recipes["int8"] = Stand(25, misses=0, misses_on_test=30)
    chosen, said = choose("int8", {})
    assert chosen.report["test"] == "not measured"
    assert chosen.report["overlap"] == {
        "contexts": 40,
        "float": {
            "overlap@10": pytest.approx((20 + 20 * 9 / 10) / 40),
            "overlap@20": pytest.approx((20 + 20 * 19 / 20) / 40),
        },
    }
    assert "overlap@10 with float32 0.9500 on 40 contexts, recall not measured" in said[0]


def test_an_imported_files_own_lists_are_compared_too(recipes):
    recipes["int8"] = Stand(25, misses=0, misses_on_test=0)
    original = Original(lambda inputs: (np.arange(5, 9), np.zeros(4, np.float32)), 4)
    chosen, _ = choose("int8", {}, original=original)
    # Its lists are 5 to 8; those of the file 1 to 20.
    assert chosen.report["overlap"]["original"] == {"overlap@4": 0.0}


def test_a_named_recipe_that_does_not_run(recipes):
    recipes["int4"] = "int4 does not run here."
    with pytest.raises(ExportError, match=r"^int4 does not run here\.$"):
        choose("int4", judged_of(validation=9))


def test_a_list_shorter_than_ten(recipes, monkeypatch):
    monkeypatch.setitem(globals(), "K", 4)
    recipes["int8"] = Stand(25, misses=0, misses_on_test=10)
    chosen, _ = choose("int8", judged_of(test=20))
    test = chosen.report["test"]
    assert {"recall@4", "ndcg@4", "overlap@4"} < test.keys()
    assert test["float"].keys() == {"recall@4", "ndcg@4"}
