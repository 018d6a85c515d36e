"""Recommends from an export: what comes after these items?

python -m flaxrec.recommend EXPORT_DIR ITEM [ITEM ...] [--top_k=K]

Prints rank, score, id and title, best first; the items given are left out. An id may begin with
'-'; put '--' before one that is also a flag, such as -h.
"""

import argparse
import difflib
import os
import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from flaxrec.cli import arguments
from flaxrec.data.vocabulary import text
from flaxrec.errors import ExportError
from flaxrec.recommender import Recommendation, Recommender


def table(recommendations: Sequence[Recommendation]) -> str:
    """Recommendations as lines: rank, score, id, title; of none, a line that says why."""
    if not recommendations:
        return "  (nothing: all items that the model returns are in the history)"
    return "\n".join(
        f"{rank:3d}  {r.score:.4f}  {r.item!s:>8}  {r.title}".rstrip()
        for rank, r in enumerate(recommendations, 1)
    )


def show_example(folder: str | os.PathLike, history: dict[str, Any], top_k: int = 5) -> None:
    """Prints what the export recommends to one user, as `Workdir.read_histories` gives one."""
    recommender = Recommender.load(folder)

    def name(item: object) -> str:
        title = recommender.items.get(text(item), {}).get("title")
        return f"{title or item}"

    recent = [name(activity["item"]) for activity in history["activities"][-3:]]
    older = ["..."] * (len(history["activities"]) > len(recent))
    print(f"user {history['user']['user']}, after {' | '.join([*older, *recent])}:")
    recommended = recommender.recommend(
        history["activities"], min(top_k, recommender.top_k), user=history["user"]
    )
    print(table(recommended))
    print(f"what this user did next: {name(history['label'])}")
    ids = [str(activity["item"]) for activity in history["activities"][-2:]]
    given = [Path(folder).as_posix(), *ids]
    ends_flags = ["--"] if any(argument.startswith("-") for argument in given) else []
    command = ["python", "-m", "flaxrec.recommend", *ends_flags, *given]
    print(f"try others: {shlex.join(command)}")


def find_item(recommender: Recommender, name: str) -> object:
    """The item of that id or title; raises ExportError with the nearest titles if there is none."""
    if name in recommender.items:
        return recommender.items[name]["id"]
    titles: dict[str, dict[str, Any]] = {}
    for item in recommender.items.values():  # the most frequent first: of equal titles it is meant
        if item.get("title"):
            titles.setdefault(str(item["title"]).casefold(), item)
    # MovieLens writes 'Matrix, The (1999)'.
    moved = re.sub(r"^(the|an?) (.+?)( \(\d{4}\))?$", r"\2, \1\3", name.casefold())
    for title in (name.casefold(), moved):
        if title in titles:
            return titles[title]["id"]
    near = [titles[t]["title"] for t in difflib.get_close_matches(name.casefold(), titles, 3, 0.5)]
    hint = f"; did you mean {' or '.join(map(repr, near))}?" if near else "; see items.jsonl."
    if name.startswith("-"):
        hint += " Flags are in --help."
    raise ExportError(f"There is no item with the id or title {name!r} in the export{hint}")


def main(argv: Sequence[str] | None = None) -> int:
    """Parses the arguments, prints the list; returns the exit status."""
    parser = arguments.Parser(__doc__, takes_dashes=True)
    parser.add_argument("export_dir", help="folder with model.tflite and metadata.json")
    parser.add_argument("item", nargs="+", help="id or exact title of an item, oldest first")
    parser.add_argument("--top_k", type=int, help="items to show; default: 10, or all there are")
    return parser.run(_show, argv)


def _show(given: argparse.Namespace) -> None:
    """Prints the history, then what the export recommends after it."""
    recommender = Recommender.load(given.export_dir)
    history = [find_item(recommender, name) for name in given.item]
    for item in history:
        title = recommender.items[text(item)].get("title") or ""
        print(f"history  {item!s:>12}  {title}".rstrip())
    print(table(recommender.recommend(history, given.top_k)))


if __name__ == "__main__":
    sys.exit(main())
