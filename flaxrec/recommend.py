"""Recommends from the command line: python -m flaxrec.recommend EXPORT_DIR ITEM [ITEM ...].

ITEM is an item's id or its exact title; oldest activity first.
"""

import argparse
import difflib
import os
import sys
from collections.abc import Sequence
from typing import Any

from flaxrec.data.vocabulary import text
from flaxrec.errors import ExportError, FlaxrecError
from flaxrec.recommender import Recommendation, Recommender


def table(recommendations: Sequence[Recommendation]) -> str:
    """Recommendations as lines: rank, score, id, title."""
    return "\n".join(
        f"{rank:3d}  {r.score:.4f}  {r.item!s:>8}  {r.title}"
        for rank, r in enumerate(recommendations, 1)
    )


def show_example(folder: str | os.PathLike, history: dict[str, Any], top_k: int = 5) -> None:
    """Prints what the export recommends to one user, as `Workdir.read_histories` gives one."""
    recommender = Recommender.load(folder)

    def name(item: object) -> str:
        title = recommender.items.get(text(item), {}).get("title")
        return f"{title or item}"

    recent = [name(activity["item"]) for activity in history["activities"][-3:]]
    print(f"user {history['user']['user']}, after {' | '.join(recent)} | ...:")
    recommended = recommender.recommend(
        history["activities"], min(top_k, recommender.top_k), user=history["user"]
    )
    print(table(recommended))
    print(f"what this user did next: {name(history['label'])}")


def find_item(recommender: Recommender, name: str) -> object:
    """The item of that id or title; raises ExportError with the nearest titles if there is none."""
    if name in recommender.items:
        return recommender.items[name]["id"]
    titles: dict[str, dict[str, Any]] = {}
    for (
        item
    ) in recommender.items.values():  # most frequent first: of equal titles the first is meant
        if item.get("title"):
            titles.setdefault(str(item["title"]).casefold(), item)
    if name.casefold() in titles:
        return titles[name.casefold()]["id"]
    near = [titles[t]["title"] for t in difflib.get_close_matches(name.casefold(), titles, 3, 0.5)]
    hint = f"; did you mean {' or '.join(map(repr, near))}?" if near else "; see items.jsonl."
    raise ExportError(f"There is no item with the id or title {name!r} in the export{hint}")


def main(argv: Sequence[str] | None = None) -> int:
    """Parses the arguments, prints the list; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m flaxrec.recommend", description=__doc__.splitlines()[0]
    )
    parser.add_argument("export_dir", help="folder with model.tflite and metadata.json")
    parser.add_argument("item", nargs="+", help="item id or exact title, oldest first")
    parser.add_argument("--top_k", type=int, help="items to show (default 10)")
    arguments = parser.parse_args(argv)
    try:
        recommender = Recommender.load(arguments.export_dir)
        history = [find_item(recommender, name) for name in arguments.item]
        for item in history:
            title = recommender.items[text(item)].get("title") or ""
            print(f"history  {item!s:>12}  {title}")
        print(table(recommender.recommend(history, arguments.top_k)))
    except FlaxrecError as error:
        print(f"flaxrec: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
