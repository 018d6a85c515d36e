"""Vocabularies: which row a value has, and what a file of one keeps."""

import datetime
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flaxrec.data import vocabulary as vocabulary_lib
from flaxrec.data.vocabulary import PADDING, Vocabulary, build, spellings, text
from flaxrec.errors import DataError

# What stands in data at times, and what str.splitlines or universal newlines would break at.
ODD = [
    "",
    " ",
    "  x ",
    "a\r",
    "\r",
    "a\rb",
    "\t",
    "x\x85y",
    "\u2028",
    "\x0b",
    "\ufeff",
    "0",
    "Σ",
    "é",
]

characters = st.characters(exclude_characters="\n", exclude_categories=["Cs"])
lines = st.lists(st.text(characters) | st.sampled_from(ODD), unique=True, max_size=12).filter(
    lambda entries: PADDING not in entries
)


def built(values, counts, **options):
    return build(values, np.array(counts), "the feature 'x'", **options).entries


# ---- order ----------------------------------------------------------------------------------


def test_most_frequent_first_then_ascending():
    assert built(["b", "c", "a", "d"], [1, 2, 1, 2]) == (PADDING, "c", "d", "a", "b")


def test_numbers_are_ordered_as_numbers():
    assert built([10, 9, 2, -1], [1, 1, 1, 1]) == (PADDING, "-1", "2", "9", "10")
    assert built(["10", "9", "2"], [1, 1, 1]) == (PADDING, "10", "2", "9")


@pytest.mark.parametrize("values", [st.integers(-(2**63), 2**63 - 1), st.text(characters)])
def test_order_is_the_naive_one(values):
    @given(st.lists(values, min_size=1, max_size=60).filter(lambda v: PADDING not in v))
    def check(occurrences):
        count = Counter(occurrences)
        expected = sorted(count, key=lambda value: (-count[value], value))
        found = built(list(count), list(count.values()))
        assert found == (PADDING, *(str(value) for value in expected))

    check()


@pytest.mark.parametrize("size", [0, 1, 2, 3, 4])
def test_size_keeps_the_most_frequent(size):
    kept = built(["a", "b", "c"], [5, 9, 7], size=size)
    assert kept == (PADDING, *["b", "c", "a"][: size or 3])


def test_no_values():
    vocabulary = build([], np.zeros(0, np.int64), "x")
    assert vocabulary.entries == (PADDING,)
    assert (vocabulary.unknown_row, vocabulary.rows) == (1, 2)


# ---- lookup ---------------------------------------------------------------------------------


def test_unknown_is_the_row_after_the_last_line():
    vocabulary = Vocabulary((PADDING, "a", "b"))
    rows = vocabulary.lookup(["b", "a", "c", None, "A", ""])
    assert rows.tolist() == [2, 1, 3, 3, 3, 3]
    assert rows.dtype == np.int32
    assert vocabulary.unknown_row == 3
    assert vocabulary.rows == 4  # a table has a row for 'unknown'


def test_none_is_unknown_even_where_its_name_is_an_entry():
    assert Vocabulary((PADDING, "None")).lookup([None, "None"]).tolist() == [2, 1]


def test_equal_numbers_are_one_entry():
    vocabulary = Vocabulary((PADDING, "7", "7.5", "-3"))
    values = [7, 7.0, np.int64(7), np.float32(7), "7", 7.5, np.float32(7.5), -3.0, "7.0"]
    assert vocabulary.lookup(values).tolist() == [1, 1, 1, 1, 1, 2, 2, 3, 4]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_numbers_that_are_not_finite_are_no_trouble(value):
    assert Vocabulary((PADDING, "7")).lookup([value]).tolist() == [2]


def test_text():
    assert [text(v) for v in (None, "a ", 7, 7.0, 7.25, True, np.False_, 2**60)] == [
        None, "a ", "7", "7", "7.25", "true", "false", str(2**60)
    ]  # fmt: skip


def test_a_value_without_an_entry_finds_its_other_spellings():
    truths = ["true", "True", "TRUE", "1", True, 1, 1.0, np.True_]
    for entry in truths[:4]:
        assert Vocabulary((PADDING, "x", entry)).lookup(truths).tolist() == [2] * len(truths)
    both = Vocabulary((PADDING, "1", "true"))  # its own entry comes first
    assert both.lookup([1, True, "true", "True", "TRUE"]).tolist() == [1, 2, 2, 2, 2]
    assert spellings("2024-05-31 18:30")[:4] == tuple(
        f"2024-05-31T18:30:00{end}" for end in ("", "Z", "+00:00", ".000")
    )
    assert spellings("2024-05-31T00:00:00.000Z")[-1] == "2024-05-31"
    for other in ("", "t", "yes", "20240531", "2024-05", "2024-02-30", "31.05.2024", "<pad>"):
        assert spellings(other) == ()


@given(st.datetimes(timezones=st.timezones() | st.none()))
def test_a_date_time_and_its_text_have_one_row(moment):
    other = moment + datetime.timedelta(microseconds=1) if moment.year < 9999 else None
    try:
        entries = [entry for entry in (text(moment), text(other)) if entry]
    except OverflowError:  # before the year 1 in UTC, or after 9999
        return
    vocabulary = Vocabulary((PADDING, *entries))
    given_as = [moment, moment.isoformat(), str(moment), entries[0]]
    assert vocabulary.lookup(given_as).tolist() == [1] * 4


@given(lines)
def test_every_value_has_the_row_of_its_line(values):
    vocabulary = build(values, np.ones(len(values), int), "x")
    rows = vocabulary.lookup(values)
    assert sorted(rows.tolist()) == list(range(1, len(values) + 1))
    assert [vocabulary.entries[row] for row in rows] == values


def test_identity_rows_are_the_raw_ids():
    vocabulary = vocabulary_lib.identity(4)
    assert vocabulary.lookup([0, 3, 4, 5]).tolist() == [0, 3, 4, 5]
    assert vocabulary.unknown_row == 5


# ---- files ----------------------------------------------------------------------------------


@given(lines)
def test_file_round_trip(tmp_path_factory, values):
    path = tmp_path_factory.mktemp("vocabulary") / "x.txt"
    vocabulary = build(values, np.ones(len(values), int), "x")
    vocabulary.write(path)
    assert Vocabulary.read(path) == vocabulary
    assert path.read_bytes().count(b"\n") == len(vocabulary.entries)


def test_a_line_is_an_entry_and_its_number_the_row(tmp_path):
    build(["é", "", "a\r"], np.array([3, 2, 1]), "x").write(tmp_path / "x.txt")
    expected = f"{PADDING}\né\n\na\r\n".encode()
    assert (tmp_path / "x.txt").read_bytes() == expected


def test_a_file_without_a_last_line_end_is_read_too(tmp_path):
    (tmp_path / "x.txt").write_bytes(b"UNK\nDrama")
    assert Vocabulary.read(tmp_path / "x.txt").entries == ("UNK", "Drama")


@pytest.mark.parametrize("value", ["two\nlines", "\n", "last\n", PADDING])
def test_a_value_that_is_no_line_is_refused(value):
    with pytest.raises(DataError) as error:
        built(["fine", value], [1, 1])
    assert str(error.value) == (
        f"The value {value!r} of the feature 'x' cannot stand in a vocabulary file; rename it "
        f"(no line breaks, not '{PADDING}')."
    )


def test_a_value_that_is_cut_off_is_not_refused():
    assert built(["fine", "two\nlines"], [2, 1], size=1) == (PADDING, "fine")
