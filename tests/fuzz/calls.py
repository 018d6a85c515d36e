"""Calls of `Recommender.recommend` with arguments of any kind, and `flaxrec recommend`'s items."""

import array
import collections
import datetime
import decimal
import enum
import fractions
import logging
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import polars as pl

from flaxrec.data import moments
from flaxrec.data.vocabulary import Vocabulary
from flaxrec.recommender import Recommender
from tests.fuzz.attempts import Attempt
from tests.support.places import ROOT

FOLDER = ROOT / "tests/compatibility/version_0_1_0/run/export"
NAMES = (
    "history",
    "top_k",
    "user",
    "now",
    "'time'",
    "exclude_history",
    "The input",
    "A value of",
    "only",
    "without",
)
FEATURES = ("rating", "liked", "gap", "time", "genres", "age", "tags", "other")


class Hostile:
    """Its text is an error."""

    def __init__(self, error: type[Exception]):
        self.error = error

    def __str__(self) -> str:
        raise self.error("x" * 1000 + "\x1b[31m\n")


class Unshown(Hostile):
    """As `Hostile`, and it cannot be shown."""

    def __repr__(self) -> str:
        raise ValueError("no")

    def __float__(self) -> float:
        raise ValueError("no")


class Colour(enum.Enum):
    """A value of a class of one's own."""

    RED = 1


def endless() -> list:
    """A list that holds itself."""
    one: list = [1]
    one.append(one)
    return one


DAY = datetime.datetime(2024, 5, 31, 18, 30)
ZONE = datetime.timezone(datetime.timedelta(hours=14))
# Made anew for each use: a generator can be read once.
VALUES: tuple[Callable[[], Any], ...] = (
    *(lambda value=value: value for value in (None, True, False, 0, 1, -1, 7, 10**30, 1.5, 3.0)),
    *(lambda value=value: value for value in (1e300, "", "1", "5", "abc", "unknown", "2024-05-31")),
    *(lambda value=value: value for value in (float("nan"), float("inf"), -float("inf"), 1j)),
    *(lambda value=value: value for value in (b"1", "\x1b[31m\n", "\udcff", "\0", "item", Colour)),
    *(lambda value=value: value for value in (DAY, DAY.date(), DAY.time(), DAY - DAY, ZONE, ...)),
    *(lambda zone=zone: datetime.datetime.max.replace(tzinfo=zone) for zone in (ZONE, None)),
    lambda: datetime.datetime.min.replace(tzinfo=ZONE),
    lambda: 10**5_000,
    lambda: -(10**400),
    lambda: "x" * 100_000,
    lambda: [1] * 100_000,
    *(lambda text=text: decimal.Decimal(text) for text in ("1", "1.5", "sNaN", "-Infinity")),
    lambda: fractions.Fraction(1, 3),
    lambda: uuid.UUID(int=5),
    lambda: Colour.RED,
    object,
    lambda: print,
    *(lambda kind=kind: Hostile(kind) for kind in (ValueError, RuntimeError, KeyError, OSError)),
    lambda: Unshown(TypeError),
    list,
    dict,
    set,
    tuple,
    endless,
    lambda: [1, 2],
    lambda: [[1, 2], [3]],
    lambda: (5, 4.0),
    lambda: {1, 2},
    lambda: frozenset({1}),
    lambda: {"item": 3},
    lambda: {"item": 3, "rating": "good", 5: None},
    lambda: {1: 2}.keys(),
    lambda: range(5),
    lambda: iter([1, 2]),
    lambda: (item for item in (1, 2)),
    lambda: collections.deque([1, 2]),
    lambda: collections.UserDict(item=3),
    lambda: array.array("i", [1, 2]),
    lambda: memoryview(b"12"),
    lambda: bytearray(b"12"),
    *(lambda kind=kind: kind(3) for kind in (np.int8, np.uint64, np.float16, np.float64, np.bool_)),
    *(lambda kind=kind: kind("1") for kind in (np.str_, np.bytes_)),
    lambda: np.longdouble("1e4000"),
    lambda: np.datetime64("NaT"),
    lambda: np.datetime64("2024-05-31T18:30"),
    lambda: np.timedelta64(1, "D"),
    lambda: np.array(5),
    lambda: np.array([1, 2]),
    lambda: np.array([1.0, np.nan], object),
    lambda: np.zeros((2, 2)),
    lambda: np.zeros(0),
    lambda: pl.Series([1, 2]),
    lambda: pl.Series([None, "x"]),
    lambda: pl.DataFrame({"item": [1, 2]}),
)
TEXTS = (
    "1",
    "5",
    "-5",
    "",
    " ",
    "@",
    "1@5",
    "1@",
    "@5",
    "1@2024-05-31",
    "5@2024-05-31T18:30+02:00",
    "1@1e999",
    "1@nan",
    "1@0000-00-00",
    "9" * 5_000,
    "1@" + "9" * 5_000,
    "x" * 100_000,
    "\x1b[31m",
    "a\nb",
    "\udcff\udc80",
    "é\u202e",
    "the " * 2_000,
    "--",
    "-h1",
    "--top_k",
    "--now=5",
    "--now=\udcff",
    "--now=unknown",
    "--now=1e400",
    "--top_k=0",
    "--top_k=3.5",
    "--top_k=" + "9" * 40,
    "--top_k=" + "9" * 5_000,
    "--top_k=x\x1b[31m",
    "--x\x07",
)


class EveryKind(Recommender):
    """A catalogue of nine items, a graph that ranks them in their order, and all kinds of input."""

    def __init__(self) -> None:
        spec = {"multi_valued": False, "default": None, "vocabulary": None, "dtype": "int32"}
        gaps = {source: 1 if source.startswith("ask.") else 4 for source in moments.SOURCES}
        self.folder = Path("every kind")
        self.metadata = {
            "context_length": 4,
            "flatten_keeps_oldest": False,
            "label_vocabulary": "item",
            "top_k": 9,
            "time": {"unit": "s", "zone": "UTC", "resolution": 1, "dates": False, "moments": False},
            "inputs": [
                {**spec, "source": "item.id", "shape": [4], "vocabulary": "item"},
                {**spec, "source": "event.rating", "shape": [4], "dtype": "float32", "default": 2},
                {**spec, "source": "event.liked", "shape": [4], "vocabulary": "liked"},
                {**spec, "source": "event.genres", "shape": [6], "vocabulary": "liked"},
                {**spec, "source": "user.age", "shape": [1], "dtype": "float32", "default": 30},
                {**spec, "source": "user.tags", "shape": [3], "vocabulary": "liked"},
                *(
                    {
                        **spec,
                        "source": source,
                        "shape": [length],
                        "vocabulary": None if source == moments.SECONDS_AGO else "steps",
                    }
                    for source, length in gaps.items()
                ),
            ],
        }
        for of in self.metadata["inputs"]:
            of["name"] = of["source"]
            of["multi_valued"] = of["source"] in ("event.genres", "user.tags")
        self.items = {str(item): {"id": item} for item in range(1, 10)}
        self._vocabularies = {
            "item": Vocabulary(("<pad>", *self.items)),
            "liked": Vocabulary(("<pad>", "true", "false", "5")),
            "steps": Vocabulary(("<pad>", *map(str, range(-1, 32)))),
        }

    def _model(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:  # type: ignore[override]
        for spec in self.inputs:
            values = inputs[spec["name"]]
            assert (values.dtype.name, values.shape) == (spec["dtype"], tuple(spec["shape"])), spec
            assert np.isfinite(values).all(), spec
        ranked = np.arange(1, 10, dtype=np.int32)
        return {"top_prediction_ids": ranked, "top_prediction_scores": 1 / (1 + ranked)}


class Heard(logging.Handler):
    """What was logged."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keeps the message."""
        self.messages.append(record.getMessage())


def call(recommender: Recommender, arguments: dict[str, Any]) -> Callable[[], str]:
    """A call; it raises AssertionError if the list or a warning is not as promised."""

    def run() -> str:
        heard, root = Heard(), logging.getLogger()
        before, root.handlers = root.handlers, [heard]
        try:
            found = recommender.recommend(**arguments)
        finally:
            root.handlers = before
        most = arguments.get("top_k")
        assert len(found) <= (min(10, recommender.top_k) if most is None else most)
        assert all(recommender.items[str(one.item)]["id"] == one.item for one in found)
        assert len({one.item for one in found}) == len(found)
        for message in heard.messages:
            assert len(message) < 1_000, message
            assert message.isprintable(), message
        return f"{len(found)} items"

    return run


def _value(random: Random) -> Any:
    return random.choice(VALUES)()


def _activity(random: Random) -> Any:
    if random.random() < 0.5:
        return random.randint(1, 9) if random.random() < 0.7 else _value(random)
    activity = {"item": random.randint(1, 9) if random.random() < 0.9 else _value(random)}
    for name in random.sample(FEATURES, random.randint(0, 3)):
        activity[name] = _value(random)
    return activity


def _arguments(random: Random) -> dict[str, Any]:
    arguments: dict[str, Any] = {
        "history": [_activity(random) for _ in range(random.randint(0, 4))]
    }
    kind = random.random()
    if kind < 0.2:
        arguments["history"] = _value(random)
    elif kind < 0.3:
        arguments["user"] = _value(random)
    elif kind < 0.45:
        names = random.sample(FEATURES, random.randint(1, 3))
        arguments["user"] = {name: _value(random) for name in names}
    elif kind < 0.6:
        arguments["now"] = _value(random)
    elif kind < 0.75:
        arguments["top_k"] = _value(random)
    elif kind < 0.8:
        arguments["exclude_history"] = _value(random)
    elif kind < 0.9:
        arguments[random.choice(("only", "without"))] = _value(random)
    return arguments


def _told(arguments: dict[str, Any]) -> str:
    try:
        return repr(arguments)[:300]
    except (ValueError, RecursionError):
        return f"{list(arguments)}, one of them cannot be shown"


def attempts(random: Random, folder: Path) -> Iterator[Attempt]:
    """Calls in Python, mostly; one in twenty is the command."""
    recommenders = Recommender.load(FOLDER), EveryKind()
    while True:
        if random.random() < 0.05:
            texts = random.choices(TEXTS, k=random.randint(1, 5))
            names = ("item", "time", "top_k", "now", "flag")
            yield Attempt(f"recommend {texts!r}"[:300], ("recommend", FOLDER, *texts), names)
        else:
            arguments = _arguments(random)
            yield Attempt(_told(arguments), call(random.choice(recommenders), arguments), NAMES)
