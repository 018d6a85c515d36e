"""Export folders with one byte, line or field changed, files of another, links and FIFOs.

A folder is one of three: `noted` says which files belong to it, so a command refuses a change or
answers as before; `old`, of version 0.1.0, says nothing and warns; of a `stranger` every file is
noted as it is, so that only what the files say can be checked.
"""

import copy
import json
import os
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from flaxrec.tflite import flatbuffer, quantize
from flaxrec.tflite.metadata import write_metadata
from tests.fuzz.attempts import Attempt
from tests.support.faults import Answer, answer, changed_bytes
from tests.support.places import ROOT

SECRET = "root-of-all-secrets"  # in a file outside the folder
OLD = ROOT / "tests" / "compatibility" / "version_0_1_0" / "run" / "export"
FILES = ("metadata.json", "items.jsonl", "vocabularies/item.txt", "vocabularies/context_genre.txt")
MODEL = "model.tflite"
ODD: list[Any] = [
    None, True, False, 0, 1, -1, 3, 12, 2**31, 2**63, 10**400, 0.5, -0.0, 1e308, "", "x", "0", "-",
    "int64", "item.id", "event.gap", "ask.hour", "none", "ms", "../secret.txt", "/etc/passwd",
    "vocabularies/item.txt", "vocabularies", "\x1b]0;owned\x07", "\u202e\u0000", "y" * 100_000,
    "\ud800", [], [1], [[1]], {}, {"a": 1}, [None], ["x", 2], [10**9], [[[[]]]],
]  # fmt: skip


def attempts(random: random.Random, folder: Path) -> Iterator[Attempt]:
    """Attempts without end."""
    (folder / "secret.txt").write_text(f"{SECRET}\n", encoding="utf-8")
    base = shutil.copytree(OLD, folder / "base", ignore=shutil.ignore_patterns("android"))
    other = other_export(base, folder / "other")
    commands = [("recommend", base, 2, 17, 29, "--top_k=5"), ("benchmark", base, "--calls=20")]
    page = folder / "page.html"
    commands += [commands[0]] * 4 + [("demo", base, f"--output={page}", "--noopen")]
    right = expected(commands, page)
    while True:
        kind = random.choice(["noted", "noted", "old", "stranger", "stranger"])
        start(base, kind)
        name = random.choice([*FILES, FILES[0], FILES[1], MODEL])
        if kind == "stranger" and name == MODEL:
            name = FILES[0]  # the runtime itself may not take any bytes, see SECURITY.md
        what = change(random, base, name, other)
        if kind == "stranger":
            note_anew(base)
        command = random.choice(commands)
        names = (base, "now", "item", "top_k")
        yield Attempt(f"{kind}, {command[0]}: {what}", command, names, right(command, kind))


def start(base: Path, kind: str) -> None:
    """Makes the folder anew."""
    shutil.rmtree(base)
    shutil.copytree(OLD, base, ignore=shutil.ignore_patterns("android"))
    if kind != "old":
        write_metadata(base, json.loads((base / "metadata.json").read_text(encoding="utf-8")))


def other_export(base: Path, folder: Path) -> Path:
    """Another export whose files fit those of `base` by their shapes."""
    shutil.copytree(base, folder)
    file = folder / "vocabularies" / "item.txt"
    padding, *ids = file.read_text(encoding="utf-8").splitlines()
    file.write_text("\n".join([padding, *reversed(ids)]) + "\n", encoding="utf-8", newline="\n")
    items = folder / "items.jsonl"
    rows = items.read_text(encoding="utf-8").replace("The ", "Their ")
    items.write_text(rows, encoding="utf-8", newline="\n")
    small = quantize.quantize((folder / MODEL).read_bytes(), "int8")
    (folder / MODEL).write_bytes(flatbuffer.finish(small))
    metadata = json.loads((folder / "metadata.json").read_text(encoding="utf-8"))
    write_metadata(folder, metadata | {"context_length": 5, "recommends_seen": True})
    return folder


def expected(
    commands: list[tuple[Any, ...]], page: Path
) -> Callable[[tuple[Any, ...], str], Callable[[Answer], bool]]:
    """Whether an answer is right: printable, without the secret, and where noted as before."""

    def written(given: Answer) -> str:
        told = "" if not page.exists() else page.read_text(encoding="utf-8")
        page.unlink(missing_ok=True)
        return given.out + told

    def is_right(command: tuple[Any, ...], kind: str) -> Callable[[Answer], bool]:
        def check(given: Answer) -> bool:
            made = written(given)
            clean = given.out.replace("\n", "").isprintable() and SECRET not in made
            same = command[0] == "benchmark" or made == before[command]
            return clean and (same or kind != "noted")

        return check

    start(commands[0][1], "noted")
    before = {}
    for command in dict.fromkeys(commands):
        given = answer(*command)
        assert given.status == 0, given
        before[command] = written(given)
    return is_right


def note_anew(base: Path) -> None:
    """Notes every file as it is, also in a metadata.json that is hardly one."""
    file = base / "metadata.json"
    if file.is_symlink() or not file.is_file():
        return
    try:
        metadata = json.loads(file.read_text(encoding="utf-8"))
        kept = metadata.get("files")
        write_metadata(base, metadata)
        if kept is None or not isinstance(kept, dict):
            return
    except (ValueError, AttributeError, RecursionError, OSError):
        return


# ---- changes ----------------------------------------------------------------------------------


def change(random: random.Random, folder: Path, name: str, other: Path) -> str:
    """Changes one file of a folder; what was changed."""
    file = folder / name
    ways = [in_bytes, in_lines, as_an_editor, replaced, elsewhere]
    if name.endswith((".json", ".jsonl")):
        ways += [in_fields] * 8
    way = random.choice(ways)
    return f"{name}, {way.__name__}: {way(random, file, other / name)}"


def in_bytes(random: random.Random, file: Path, other: Path) -> str:
    """A byte changed, the end cut off, or doubled."""
    made = list(changed_bytes(file.read_bytes(), [random.random()]))
    place = random.randrange(len(made))
    file.write_bytes(made[place])
    return str(place)


def in_lines(random: random.Random, file: Path, other: Path) -> str:
    """A line left out, twice, emptied, exchanged with another, or one more."""
    lines = file.read_bytes().split(b"\n")
    place, way = random.randrange(len(lines)), random.randrange(5)
    if way == 0:
        del lines[place]
    elif way == 1:
        lines.insert(place, lines[place])
    elif way == 2:
        lines[place] = b""
    elif way == 3:
        at = random.randrange(len(lines))
        lines[place], lines[at] = lines[at], lines[place]
    else:
        lines.insert(
            place, random.choice([b"new", b"\xff\xfe", b"[" * 100_000, b"null", b"7" * 9000])
        )
    file.write_bytes(b"\n".join(lines))
    return f"{way} at {place}"


def as_an_editor(random: random.Random, file: Path, other: Path) -> str:
    """What an editor does without being asked."""
    content = file.read_bytes()
    way = random.randrange(5)
    changed = [
        content.replace(b"\n", b"\r\n"),
        content.removesuffix(b"\n"),
        b"\xef\xbb\xbf" + content,
        content.replace(b" ", b"\xc2\xa0"),
        content.decode("latin-1").encode("utf-16"),
    ]
    file.write_bytes(changed[way])
    return str(way)


def replaced(random: random.Random, file: Path, other: Path) -> str:
    """Another export's file, nothing, or much."""
    way = random.randrange(4)
    if way == 0:
        shutil.copy(other, file)
    elif way == 1:
        file.write_bytes(b"")
    elif way == 2:
        file.unlink()
    else:
        os.truncate(file, 10**6)
    return str(way)


def elsewhere(random: random.Random, file: Path, other: Path) -> str:
    """A link out of the folder or in a circle, a folder, a FIFO, a device."""
    way = random.randrange(6)
    file.unlink()
    if way == 0:
        file.symlink_to("/etc/passwd")
    elif way == 1:
        file.symlink_to(other)
    elif way == 2:
        file.symlink_to(file.name)
    elif way == 3:
        file.mkdir()
    elif way == 4:
        os.mkfifo(file)
    else:
        file.symlink_to("/dev/zero")
    return str(way)


def in_fields(random: random.Random, file: Path, other: Path) -> str:
    """A field of another type or value, left out, twice or unknown."""
    text = file.read_text(encoding="utf-8")
    if file.suffix == ".json":
        made, what = changed_json(random, text)
    else:
        lines = text.splitlines()
        place = random.randrange(len(lines))
        lines[place], what = changed_json(random, lines[place])
        made, what = "\n".join(lines) + "\n", f"line {place + 1}, {what}"
    file.write_text(made, encoding="utf-8", newline="\n")
    return what


def changed_json(random: random.Random, text: str) -> tuple[str, str]:
    """A JSON text with one value changed, and what was."""
    value = json.loads(text)
    places = list(places_in(value))
    place = random.choice(places)
    way = random.choice(["set"] * 6 + ["drop", "twice", "NaN", "deep", "new"])
    made = copy.deepcopy(value)
    holder = made
    for key in place[:-1]:
        holder = holder[key]
    what = f"{'.'.join(map(str, place))} {way}"
    if way == "drop":
        del holder[place[-1]]
    elif way == "new" and isinstance(holder, dict):
        holder[random.choice(["x", "unit", "\x1b[2J", "id"])] = random.choice(ODD)
    elif way in ("twice", "NaN", "deep"):
        holder[place[-1]] = "<here>"
        put = {"NaN": random.choice(["NaN", "-Infinity", "1e999"]), "deep": "[" * 3000 + "]" * 3000}
        put["twice"] = '1, "id": 2, "id": 2, "inputs": []'
        return json.dumps(made).replace('"<here>"', put[way]), what
    else:
        holder[place[-1]] = odd = random.choice(ODD)
        what += f" {str(odd)[:40]!r}"
    return json.dumps(made), what


def places_in(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The places of all values within a value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value)
    for key, one in inner:
        yield (*at, key)
        if isinstance(one, dict | list):
            yield from places_in(one, (*at, key))
