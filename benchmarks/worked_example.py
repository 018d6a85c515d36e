"""Runs the worked example of the TensorFlow Lite page: where Toy Story 2 ranks after two films.

    python benchmarks/worked_example.py [--movielens=DIR] [--published=FILE.tflite,...]
        [--models=DIR]

Exports an ID-only and an ID+genre starter as shipped, but with the whole catalogue as the list, and
prints the table of docs/worked_example.md. Without --movielens, MovieLens-1M is downloaded.
"""

import argparse
import dataclasses
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from flaxrec.exporting.bundle import export_model
from flaxrec.recommender import Recommender
from flaxrec.reference import published
from flaxrec.starters import folder, load
from flaxrec.terminal.text_tables import markdown

TOY_STORY, TOY_STORY_2, JUNGLE_BOOK, LION_KING = 1, 3114, 362, 364
CONTEXTS = {
    "The Lion King (364), Toy Story (1)": (LION_KING, TOY_STORY),
    "Toy Story (1), The Lion King (364)": (TOY_STORY, LION_KING),
    "The Jungle Book (362), Toy Story (1): the page's ids": (JUNGLE_BOOK, TOY_STORY),
}
STARTERS = {
    "movielens_lstm": "ids",
    "movielens_lstm_genre": "ids and genres",
}
_SHOWN = 5
_VERIFIED = 20  # contexts to verify with; `export_tflite.py --starter` uses all


def recommender_of(starter: Path, movielens: str | None, output: Path) -> Recommender:
    """Exports a starter, quantised as shipped, with a list of every candidate."""
    model, assets = load.load(starter, movielens)
    few = {name: values[:_VERIFIED] for name, values in assets.contexts.items()}
    # The starter's recipe is used, so no labels are needed to choose one.
    assets = dataclasses.replace(assets, contexts=few, judged={})
    export_model(model, assets, output, lambda line: None, top_k=model.spec.candidates)
    return Recommender.load(output)


def listed(recommender: Recommender, context: Sequence[int]) -> list[int]:
    """The catalogue's ids after a context, best first, without the context's."""
    return [found.item for found in recommender.recommend(context, recommender.top_k)]


def by_count(recommender: Recommender, context: Sequence[int]) -> list[int]:
    """As `listed`, by popularity: most rated first."""
    ids = [item["id"] for item in recommender.items.values()]
    return [item for item in ids if item not in context]


def listed_by_published(file: Path, context: Sequence[int]) -> list[int]:
    """The ids from a published file of one input after a reset, without the context's."""
    model = published.read(file)
    (spec,) = model.spec.inputs
    ids = np.zeros(spec.length, np.int32)
    ids[: len(context)] = context
    found, _ = model.run({spec.name: ids})
    return [item for item in found.tolist() if item not in context]


def rank(ids: Sequence[int], item: int = TOY_STORY_2) -> int | None:
    """The item's place in the list, from 1; None if it is not listed."""
    return ids.index(item) + 1 if item in ids else None


def rows(recommenders: dict[str, Recommender], files: Sequence[Path]) -> Iterator[list[str]]:
    """Yields the table's rows: model, input, context, rank of Toy Story 2, the five best."""
    any_of_them = next(iter(recommenders.values()))
    titles = {item["id"]: item["title"] for item in any_of_them.items.values()}
    counts = {item["id"]: item["count"] for item in any_of_them.items.values()}
    for name, recommender in recommenders.items():
        for context, ids in CONTEXTS.items():
            found = listed(recommender, ids)
            best = "; ".join(titles[item] for item in found[:_SHOWN])
            yield [f"`{name}`", STARTERS[name], context, _place(found), best]
    for file in files:
        for context, ids in CONTEXTS.items():
            found = listed_by_published(file, ids)
            rated = ", ".join(str(counts.get(item, 0)) for item in found[:_SHOWN])
            best = f"films rated {rated} times"
            yield [f"`{file.name}`", "ids", context, _place(found), best]
    context, ids = next(iter(CONTEXTS.items()))
    found = by_count(any_of_them, ids)
    best = "; ".join(titles[item] for item in found[:_SHOWN])
    yield ["popularity", "none", context, _place(found), best]


def _place(ids: Sequence[int]) -> str:
    place = rank(ids)
    return f"not among {len(ids):,}" if place is None else f"{place} of {len(ids):,}"


def main() -> None:
    """Prints the table as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--movielens", help="folder of MovieLens-1M; default: the cached download")
    parser.add_argument("--published", default="", help="published .tflite files of ids alone")
    parser.add_argument("--models", help="folder of the starters (default: the repository's)")
    arguments = parser.parse_args()
    models = Path(arguments.models) if arguments.models else None
    files = [Path(file) for file in arguments.published.split(",") if file]
    with tempfile.TemporaryDirectory() as exports:
        recommenders = {
            name: recommender_of(
                folder.find(name, models), arguments.movielens, Path(exports) / name
            )
            for name in STARTERS
        }
        header = ["model", "input", "context", f"Toy Story 2 ({TOY_STORY_2})", "the five best"]
        print(markdown([header, *rows(recommenders, files)]))


if __name__ == "__main__":
    main()
