"""JSON lines that are read at once are those that are read one by one, or refused as these."""

import json
import random

import pytest

from flaxrec.data.sources import table_files
from flaxrec.errors import ExportError
from flaxrec.files import strict_json
from flaxrec.files.strict_json import parse_json, parse_objects

GOOD = [b'{"id": 1, "title": "Alien: the first", "genres": ["a", "b"]}', b'{"id":2,"x":0.5}']
# Lines that together look like so many objects, or in which a field stands twice.
ODD = {
    "an object of two lines, two in one": [b'{"a":1', b'"b":2},{"c":3}'],
    "the same, from a brace on": [b'{"a":[1', b'{"b":2}]},{"c":3}'],
    "a text of two lines": [b'{"a":"x', b'{":1}'],
    "two in a line": [b'{"a":1},{"b":2}', b""],
    "a number between": [b'{"a":1},5', b'{"b":2}'],
    "a list from a comma on": [b'{"a":1},[', b'{"b":2}]'],
    "a list": [b'[{"a":1}]'],
    "a number": [b"7"],
    "twice": [b'{"a":1,"a":2}'],
    "twice, spaced": [b'{"a" :1,"a"\t:2}'],
    "twice, after the end of a line of old": [b'{"a"\r:1,"a":2}'],
    "twice, escaped": [b'{"a":1,"\\u0061":2}'],
    "twice, beside one without": [b'{"a":1,"a":2}', b'{"b":":"}'],
    "twice, further down": [b'{"a":{"b":1,"b":2}}'],
    "half a character": [b'{"a":"\\ud800"}'],
    "more than 64 bits": [b'{"a":99999999999999999999}'],
    "deep": [b'{"a":' + b"[" * 65 + b"]" * 65 + b"}"],
    "no UTF-8": [b'{"a":"\xff"}'],
    "cut off": [b'{"a":1'],
}


def one_by_one(lines: list[bytes]) -> list:
    rows = []
    for number, line in enumerate(lines, 1):
        row = parse_json(line, f"f, line {number}", ExportError, "mend it")
        if not isinstance(row, dict):
            raise ExportError(f"f, line {number} is no object; mend it.")
        rows.append(row)
    return rows


def outcome(read, *given) -> str:
    try:
        return repr(read(*given))
    except ExportError as error:
        return str(error)


def at_once(lines: list[bytes]) -> list:
    return parse_objects(b"\n".join(lines) + b"\n", "f", ExportError, "mend it")


@pytest.mark.parametrize("odd", ODD)
def test_what_only_looks_like_objects(odd):
    for lines in (ODD[odd], [*GOOD, *ODD[odd]], [*ODD[odd], *GOOD]):
        said = outcome(at_once, lines)
        assert said.endswith("; mend it.")
        assert said == outcome(one_by_one, lines)
        tables(lines)


def test_any_change_of_a_byte():
    drawn = random.Random(0)
    bits = [b'"', b"{", b"}", b"[", b"]", b",", b":", b"\\", b" ", b"1", b"e9", b"NaN", b"\\ud83d"]
    bits += [b'"id":', b'{"id":1}', b'},{"', b"\n", b"\xc3\xa9", b'"x" :3,']
    refused = 0
    for _ in range(3_000):
        text = bytearray(b"\n".join(GOOD * 2))
        for _ in range(drawn.choice((1, 1, 2, 3))):
            place = drawn.randrange(len(text))
            text[place : place + drawn.randrange(3)] = drawn.choice(bits)
        lines = bytes(text).split(b"\n")
        if not lines[-1]:
            continue
        said = outcome(at_once, lines)
        assert said == outcome(one_by_one, lines), lines
        refused += said.endswith("; mend it.")
        tables(lines)
    assert 1_000 < refused < 2_900


def tables(lines: list[bytes]) -> None:
    """Rows of a table, whose numbers keep their digits, are read at once as one by one."""
    try:
        texts = [line.decode() for line in lines]
    except UnicodeDecodeError:
        return
    rows = table_files._objects(texts, ["id", "x"])
    for row, text in zip(rows, texts, strict=True):
        alone = table_files._object(text, ["id", "x"])
        if isinstance(alone, dict) or isinstance(row, dict):
            assert row == alone, lines


def test_plain_lines_are_read_at_once(monkeypatch):
    monkeypatch.setattr(strict_json, "parse_json", None)
    lines = GOOD * 2_000
    assert at_once(lines) == [json.loads(line) for line in lines]
