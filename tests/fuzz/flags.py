"""Command lines of every command, with flags and values of any kind; none of them does any work."""

import contextlib
import io
import re
from collections.abc import Iterator
from pathlib import Path
from random import Random

from flaxrec.__main__ import COMMANDS, main
from tests.fuzz.attempts import Attempt

VALUES = (
    *(
        "",
        " ",
        " 5 ",
        "5",
        "0",
        "-1",
        "1_000",
        "1e3",
        "0x10",
        "١٢",
        "１２",
        "²",
        "nan",
        "inf",
        "-inf",
    ),
    *(
        "9" * 30,
        "9" * 5_000,
        "-" * 20_000 + "1",
        "1e999",
        "1e-999",
        "1" + "0" * 400,
        "True",
        "None",
    ),
    *(
        "[" * 5_000,
        "(1,",
        "{[]: 1}",
        "1if 2",
        "'\\d'",
        "lstm",
        "'lstm'",
        '"',
        "{}",
        "1,2",
        "(1, 2)",
    ),
    *("x" * 100_000, "\udcff", "\x1b[2J", "a\nb", "a\tb", "\u202e", "é", "\\", "*", "a[1]", "a:b"),
    *(
        "--x",
        "-",
        "--",
        "=",
        ":",
        "/no",
        ".",
        "..",
        "~",
        "/dev/null",
        "C:\\x",
        "a/../../b",
        "a/" * 5_000,
    ),
)
_NUMBERED = ("[0]", "[-1]", "[99]", "[1e9]", "[" + "9" * 5_000 + "]", "[²]", "[１]", "[]", "[[0]]")
PATHS = (
    *("train.epochs", "seed", "name", "optimizer.learning_rate", "export.enabled", "evaluation.ks"),
    *("model.hidden_dims", "data.path", "data.columns.event_features", "train", "model", "", "."),
    *(f"model.activity_groups{n}.encoder" for n in _NUMBERED),
    *(f"evaluation.ks{n}" for n in _NUMBERED),
    *("nope", "train.nope", "train.epochs.x", "__class__", "train.__dict__.x", "x" * 100_000),
    *("a." * 50_000, "\udcff", "train.epochs\n", "train..epochs", "train[epochs]", "model.0"),
)
_SWITCHES = ("true", "false", "maybe", "", "1", "２", "x" * 1_000)
# Their values begin work that takes long.
_LEFT_OUT = ("measure", "table", "help")
_OVERRIDES = ("train", "sweep", "accuracy")


def attempts(random: Random, folder: Path) -> Iterator[Attempt]:
    """Yields command lines that name no input that is there, so that each is refused."""
    flags = {command: flags_of(command) for command in COMMANDS}
    while True:
        command = random.choice(sorted(COMMANDS))
        argv = [a_flag(random, flags[command]) for _ in range(random.choice((0, 1, 1, 2, 3)))]
        argv += [random.choice(VALUES) for _ in range(random.choice((0, 0, 1, 2)))]
        if command in _OVERRIDES:
            argv += [an_override(random) for _ in range(random.choice((0, 1, 1, 3)))]
        random.shuffle(argv)
        if command == "train":
            argv = [random.choice(("--config=quickstart:smoke", "--config=nope")), *argv]
            argv.append("--config.train.epochs=0")
        if command in ("sweep", "export"):
            argv.append(f"--workdir={folder / 'none'}")
        what = f"{command} {[argument[:60] for argument in argv]}"
        yield Attempt(what[:300], (command, *argv), ("",))


def flags_of(command: str) -> list[tuple[str, bool]]:
    """Names of a command's flags, as its help lists them, and whether each takes a value."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.suppress(SystemExit):
        main([command, "--help"])
    found = re.findall(r"^  --(?:\[no\])?(\w+)(=?)", out.getvalue(), re.MULTILINE)
    return [(name, bool(equals)) for name, equals in found if name not in _LEFT_OUT]


def a_flag(random: Random, flags: list[tuple[str, bool]]) -> str:
    """A flag with a value, which it may take or not."""
    name, takes = random.choice([*flags, ("nope", True), ("", True)])
    form = random.choice(
        ("--{}={}", "--{}={}", "--{}={}", "-{}={}", "--no{}={}", "--{}", "--no-{}")
    )
    return form.format(name, random.choice(VALUES if takes else _SWITCHES))


def an_override(random: Random) -> str:
    """A field of the config, or none, and a value."""
    flag = random.choice(("--config.", "--config.", "--config.", "-config.", "--noconfig."))
    return (
        f"{flag}{random.choice(PATHS)}{random.choice(('=', '=', '=', ''))}{random.choice(VALUES)}"
    )
