"""What a message shows of foreign texts."""

import pytest

from flaxrec.errors import DataError, printable, shown


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Amélie 東京 🎬", "Amélie 東京 🎬"),
        ("a\u00a0b\u3000c", "a\u00a0b\u3000c"),
        ("\x1b[2J\x07", "\\x1b[2J\\x07"),
        ("a\nb\r\t\0", "a\\nb\\r\\t\\x00"),
        ("\u202egnp\u2028\x85\x9b", "\\u202egnp\\u2028\\x85\\x9b"),
        ("\ud800", "\\ud800"),
    ],
)
def test_nothing_of_a_text_speaks_to_the_terminal(text, expected):
    assert printable(text) == expected
    assert str(DataError(text)) == expected


def test_a_long_message_keeps_its_ends():
    error = DataError(f"{'x' * 1_000_000} is \x1b not there; use another.")
    assert str(error).startswith("xxx")
    assert str(error).endswith(r"x is \x1b not there; use another.")
    assert len(str(error)) < 1000


def test_a_value_is_cut():
    assert shown("x" * 50_000_000) == "'" + "x" * 78 + "…"
    assert shown([1] * 1000, 10) == "[1, 1, 1,…"
    assert shown("\x1b" * 100, 12) == r"'\x1b\x1b\x…"
    assert shown(None) == "None"
    deep = []
    for _ in range(200_000):
        deep = [deep]
    assert (shown(deep), shown(10**5_000)) == ("too long list", "too long int")
