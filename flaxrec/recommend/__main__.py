"""Recommends from an export: what comes after these items?

python -m flaxrec.recommend EXPORT_DIR ITEM[@TIME] [ITEM[@TIME] ...] [--now=TIME] [--top_k=K]
    [--only=WHAT] [--without=WHAT]
python -m flaxrec.recommend EXPORT_DIR --users=FILE --output=FILE [--now=TIME] [--top_k=K] ...

Prints rank, probability relative to the first, id and title; the items given are left out. Without
items it is the list for a new user, of a model trained with config.train.first_events. An id may
begin with '-'; put '--' before one that is also a flag, such as -h. A TIME is a number in the
data's unit, a date, or a date-time such as 2024-05-31T18:30 (in UTC, or with a zone: +02:00).

With --users, a table of many users' activities, it writes a list for each of them, with the columns
user, rank (from 1), item and score.

WHAT names items that alone may be shown, or must not be: ids and COLUMN=VALUE of items.jsonl with
commas between them, such as 12,44,genres=Horror, or @FILE with an id a line. Both flags may be
given more than once.
"""

import argparse
import contextlib
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from flaxrec.cli import arguments
from flaxrec.data.vocabulary import text
from flaxrec.errors import ConfigError, ExportError, printable
from flaxrec.recommend.find import find_item, find_items, known
from flaxrec.recommend.times import read_time
from flaxrec.recommender import UNKNOWN, Recommendation, Recommender

_MOST = 200  # characters of an id or title on the terminal


def table(recommendations: Sequence[Recommendation], *, narrowed: bool = False) -> str:
    """Recommendations as lines: rank, relative score, id, title; of none, a line that says why.

    `narrowed`: only some items were allowed.
    """
    if not recommendations:
        left_out = " or left out" if narrowed else ""
        return f"  (nothing: all items that the model returns are in the history{left_out})"
    return "\n".join(
        f"{rank:3d}  {r.relative:.4f}  {_line(r.item):>8}  {_line(r.title)}".rstrip()
        for rank, r in enumerate(recommendations, 1)
    )


def _line(value: object) -> str:
    """A foreign id or title as the terminal may show it: printable, at most `_MOST` characters."""
    line = str(value)
    return printable(line if len(line) <= _MOST else f"{line[: _MOST - 1]}…")


def show_example(folder: str | os.PathLike, history: dict[str, Any], top_k: int = 5) -> None:
    """Prints what the export recommends to one user, as `Workdir.read_histories` gives one."""
    recommender = Recommender.load(folder)

    def name(item: object) -> str:
        title = recommender.items.get(text(item), {}).get("title")
        return _line(title or item)

    def at(time: object) -> str:
        return recommender.clock.text(recommender.clock.number(time))

    activities, now = history["activities"], history.get("now")
    recent = [name(activity["item"]) for activity in activities[-3:]]
    older = ["..."] * (len(activities) > len(recent))
    asked = f", asked at {at(now)}" if now is not None else ""
    print(f"user {_line(history['user']['user'])}, after {' | '.join([*older, *recent])}{asked}:")
    recommended = recommender.recommend(
        activities, min(top_k, recommender.top_k), user=history["user"], now=now
    )
    print(table(recommended))
    print(f"what this user did next: {name(history['label'])}")
    flags = [f"--now={at(now)}"] if now is not None else []
    items = [
        f"{activity['item']}" + (f"@{at(activity['time'])}" if now is not None else "")
        for activity in activities[-2:]
    ]
    given = [Path(folder).as_posix(), *items]
    ends_flags = ["--"] if any(argument.startswith("-") for argument in given) else []
    command = ["python", "-m", "flaxrec.recommend", *flags, *ends_flags, *given]
    print(f"try others: {printable(shlex.join(command))}")


def find_activity(recommender: Recommender, given: str) -> dict[str, Any]:
    """The activity of ITEM or ITEM@TIME: `item`, its id, and `time` where one is given.

    What is an item as a whole, '@' included, is that item.

    Raises:
      ExportError: there is no such item, or the time is none.
    """
    name, at, time = given.rpartition("@")
    if not at or known(recommender, given) is not None:
        return {"item": find_item(recommender, given)}
    if known(recommender, name) is not None:
        return {"item": find_item(recommender, name), "time": read_time(time)}
    with contextlib.suppress(ExportError):  # else it is rather a title with '@'
        read_time(time)
        given = name
    return {"item": find_item(recommender, given)}


def main(argv: Sequence[str] | None = None) -> int:
    """Parses the arguments, prints the list; returns the exit status."""
    parser = arguments.Parser(__doc__, takes_dashes=True)
    parser.add_argument("export_dir", help="folder with model.tflite and metadata.json")
    add, text = parser.add_argument, arguments.any_text
    add("item", nargs="*", type=text, help="id or exact title of an item, oldest first")
    add("--only", action="append", type=text, help="show only these")
    add("--without", action="append", type=text, help="show none of these")
    parser.add_argument("--now", help="the moment of asking, or unknown; default: the clock's")
    parser.add_argument(
        "--top_k",
        type=arguments.number(0, 10_000_000),
        help="items to show; default: 10, or all there are",
    )
    parser.add_argument(
        "--users", help="many histories: a table with one activity a row, or a file of sequences"
    )
    parser.add_argument(
        "--output", help="their lists: .parquet, .csv, .tsv, .jsonl, or .trec, a run file"
    )
    parser.add_argument("--now_column", help="--users: the column of each user's moment of asking")
    parser.add_argument(
        "--threads",
        type=arguments.number(1, 64),
        default=1,
        help="--users: threads that recommend; more than one helps larger models",
    )
    parser.add_overrides(
        "--users: how the table is read, as in training: config.data.columns, format, bad_rows, "
        "users_path, filters"
    )
    return parser.run(_recommend, argv)


def _recommend(given: argparse.Namespace) -> None:
    if given.users is None:
        for flag in ("output", "now_column", "overrides"):
            if getattr(given, flag):
                name = "config.FIELD" if flag == "overrides" else flag
                raise ConfigError(f"--{name} is of many users; give --users=FILE too.")
        _show(given)
        return
    from flaxrec.recommend import many  # tables need more than numpy

    many.write_lists(given)


def _show(given: argparse.Namespace) -> None:
    """Prints the history, then what the export recommends after it."""
    recommender = Recommender.load(given.export_dir)
    if not given.item and not recommender.metadata.get("first_events"):
        raise ExportError(
            "After which items? This model has not learned what new users begin with; name one "
            "item or more, or train with config.train.first_events=True."
        )
    history = [find_activity(recommender, name) for name in given.item]
    now = given.now if given.now in (None, UNKNOWN) else read_time(given.now)
    only = find_items(recommender, "--only", given.only)
    without = find_items(recommender, "--without", given.without)
    recommended = recommender.recommend(history, given.top_k, now=now, only=only, without=without)
    for activity in history:
        title = recommender.items[text(activity["item"])].get("title") or ""
        time = f"  at {activity['time']}" if "time" in activity else ""
        print(f"history  {_line(activity['item']):>12}  {_line(title)}{time}".rstrip())
    if recommender.knows_moment:
        moment = recommender.moment(now)
        print(f"now      {UNKNOWN if moment is None else recommender.clock.text(moment)}")
    elif given.now is not None:
        print("now      (no input of this model depends on it)")
    print(table(recommended, narrowed=bool(only or without)))


if __name__ == "__main__":
    sys.exit(main())
