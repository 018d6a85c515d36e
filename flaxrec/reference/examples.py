"""Writes the reference's examples, made by our pipeline, and their vocabularies.

python -m flaxrec.reference.examples MOVIELENS_DIR OUTPUT_DIR ...

Contexts and labels in raw values, the reference's split, its vocabularies, files in its layout.
"""

import argparse
import json
import random
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import jax
import numpy as np
import polars as pl

from flaxrec.cli import arguments
from flaxrec.config import Config, DataConfig, FeatureConfig, GroupConfig, ModelConfig
from flaxrec.data import contexts, timelines
from flaxrec.data.records import tfrecord
from flaxrec.data.sources.interactions import Interactions
from flaxrec.data.sources.movielens import read_movielens
from flaxrec.errors import ConfigError, DataError, write_errors_as

TRAIN, TEST = "train_movielens_1m.tfrecord", "test_movielens_1m.tfrecord"
MOVIES, YEARS, GENRES = "movie_vocab.json", "movie_year_vocab.txt", "movie_genre_vocab.txt"

_CHUNK = 8192  # examples gathered at a time

Example = dict[str, list]
T = TypeVar("T")


def generate(
    folder: Path,
    *,
    max_context_length: int,
    max_genres: int,
    min_timeline_length: int = 3,
    min_rating: float | None = None,
) -> list[Example]:
    """Generates all examples of a MovieLens folder in the reference's order.

    Users come in the order of their first rating in the file, a user's labels by time.

    Args:
      folder: with ratings and movies, as `read_movielens` takes it.
      max_context_length: L, activities in a context.
      max_genres: G, genres in a context; keeps the oldest.
      min_timeline_length: users with fewer ratings are left out.
      min_rating: lower ratings are removed first; None keeps all.

    Returns:
      For each label `context_movie_id` int [L], `context_movie_rating` float [L],
      `context_movie_genre` bytes [G], `context_movie_year` int [L] (the year itself) and
      `label_movie_id` int [1]; padded at the end with 0, 0.0, b'UNK' and 0.

    Raises:
      ConfigError: a length is not above 0.
      DataError: the folder cannot be read, a rated movie is not in its table, or no user is left.
    """
    config = _config(max_context_length, max_genres, min_timeline_length, min_rating)
    labels, decode = _pipeline(read_movielens(folder), config)
    return list(decode(labels))


def split(
    examples: Sequence[T], train_fraction: float = 0.9, seed: int | None = None
) -> tuple[list[T], list[T]]:
    """(training, test): shuffles with Python's generator and cuts, as the reference does.

    Without a seed they stay in order. Raises ConfigError unless the fraction is from 0 to 1.
    """
    if not 0 <= train_fraction <= 1:
        raise ConfigError(f"train_fraction is {train_fraction}; use a share from 0 to 1.")
    shuffled = list(examples)
    if seed is not None:
        random.Random(seed).shuffle(shuffled)
    cut = round(len(shuffled) * train_fraction)
    return shuffled[:cut], shuffled[cut:]


def vocabularies(folder: Path, min_rating: float | None = None) -> dict[str, list]:
    """Makes the reference's vocabularies.

    Returns:
      `movie`: [id, title, genres joined by '|', number of ratings] of every movie, most rated
      first, equal counts in the file's order; `year` and `genre`: 0 and 'UNK', then the values by
      number of movies, equal ones in order of appearance. If the title of a movie has no year,
      `year` holds 0 once more, at its place by number.
    """
    return _vocabularies(read_movielens(folder), min_rating)


def write(
    folder: Path,
    output: Path,
    *,
    max_context_length: int = 10,
    max_genres: int = 10,
    min_timeline_length: int = 3,
    min_rating: float | None = None,
    train_fraction: float = 0.9,
    seed: int | None = None,
) -> tuple[int, int]:
    """Writes both record files and the three vocabularies; returns the numbers of examples.

    Args: see `generate` and `split`; creates `output` if it does not exist.

    Raises:
      ConfigError: as those.
      DataError: as `generate`; or one of the files exists already or cannot be written.
    """
    there = [n for n in (TRAIN, TEST, MOVIES, YEARS, GENRES) if (output / n).exists()]
    if there:
        raise DataError(f"{output / there[0]} exists; use another folder, or remove the file.")
    interactions = read_movielens(folder)
    config = _config(max_context_length, max_genres, min_timeline_length, min_rating)
    labels, decode = _pipeline(interactions, config)
    made = _vocabularies(interactions, min_rating)
    # Python's shuffle depends only on the length, so positions can be split instead of examples.
    parts = split(labels.tolist(), train_fraction, seed)
    with write_errors_as(DataError, output, "use another"):
        output.mkdir(parents=True, exist_ok=True)
        for name, values in ((YEARS, made["year"]), (GENRES, made["genre"])):
            text = "".join(f"{value}\n" for value in values)
            (output / name).write_text(text, encoding="utf-8", newline="\n")
        (output / MOVIES).write_text(
            json.dumps(made["movie"], indent=2), encoding="utf-8", newline="\n"
        )
    train, test = (
        tfrecord.write(output / name, decode(np.array(part, np.int32)))
        for name, part in zip((TRAIN, TEST), parts, strict=True)
    )
    return train, test


# ---- examples -------------------------------------------------------------------------------


def _config(
    context_length: int, genres: int, min_timeline_length: int, min_rating: float | None
) -> Config:
    for name, value in (("max_context_length", context_length), ("max_genres", genres)):
        if value < 1:
            raise ConfigError(f"{name} is {value}; use a number above 0.")
    features = (
        FeatureConfig("context_movie_id", "item.id", "INT"),
        FeatureConfig("context_movie_rating", "event.rating", "FLOAT"),
        FeatureConfig("context_movie_genre", "item.genres", "STRING", length=genres),
        FeatureConfig("context_movie_year", "item.year", "INT"),
    )
    return Config(
        reference_mode=True,
        data=DataConfig(
            "movielens", min_rating=min_rating or 0.0, min_timeline_length=min_timeline_length
        ),
        model=ModelConfig(context_length, activity_groups=[GroupConfig([f]) for f in features]),
    )


def _pipeline(
    interactions: Interactions, config: Config
) -> tuple[np.ndarray, Callable[[np.ndarray], Iterator[Example]]]:
    """Positions of all labels in the reference's order, and a function that makes examples."""
    _check_movies(interactions)
    built = timelines.build(interactions, config)
    device = contexts.to_device(built, jax.sharding.SingleDeviceSharding(jax.devices()[0]))
    gather = jax.jit(contexts.gatherer(config, built.inputs))
    entries = {name: vocabulary.entries for name, vocabulary in built.vocabularies.items()}
    raw = {
        "context_movie_genre": np.array([e.encode() for e in entries["context_movie_genre"]], "O"),
        "context_movie_year": np.array(entries["context_movie_year"], np.int64),
    }

    def decode(positions: np.ndarray) -> Iterator[Example]:
        for begin in range(0, len(positions), _CHUNK):
            chunk = positions[begin : begin + _CHUNK]
            padded = np.resize(chunk, min(_CHUNK, len(positions)))  # one shape, one compilation
            gathered = jax.device_get(gather(device, padded))
            columns = {
                name: (raw[name][rows] if name in raw else rows)[: len(chunk)].tolist()
                for name, rows in gathered.items()
            }
            columns["label_movie_id"] = built.item[chunk, None].tolist()
            for values in zip(*columns.values(), strict=True):
                yield dict(zip(columns, values, strict=True))

    return _labels(built, _rated(interactions, config.data.min_rating)), decode


def _labels(built: timelines.Timelines, rated: pl.DataFrame) -> np.ndarray:
    """Positions of every event but a user's first, int32; users in the order of `rated`."""
    users = pl.DataFrame({"user": rated["user"].unique(maintain_order=True)})
    index = built.users.select("user").with_row_index("index")
    by_appearance = users.join(index, on="user", maintain_order="left")["index"].to_numpy()
    starts, ends = built.offsets[:-1][by_appearance], built.offsets[1:][by_appearance]
    labels = [np.arange(s + 1, e, dtype=np.int32) for s, e in zip(starts, ends, strict=True)]
    return np.concatenate(labels)


def _rated(interactions: Interactions, min_rating: float | None) -> pl.DataFrame:
    return interactions.events.filter(pl.col("rating") >= (min_rating or 0.0))


def _check_movies(interactions: Interactions) -> None:
    items = interactions.items
    assert items is not None  # MovieLens has them
    rated = interactions.events["item"]
    missing = rated.filter(~rated.is_in(items["item"].implode()))
    if len(missing):
        raise DataError(
            f"{interactions.source}: movie {missing[0]} is rated, but is not in the table of "
            "movies; add it there, or remove its ratings."
        )


# ---- vocabularies ---------------------------------------------------------------------------


def _vocabularies(interactions: Interactions, min_rating: float | None) -> dict[str, list]:
    _check_movies(interactions)
    items = interactions.items
    assert items is not None
    rated = Counter(_rated(interactions, min_rating)["item"])
    movies: list[list[Any]] = [
        [movie["item"], movie["title"], "|".join(movie["genres"]), rated[movie["item"]]]
        for movie in items.iter_rows(named=True)
    ]
    years = Counter(items["year"])
    genres = Counter(genre for of_movie in items["genres"] for genre in of_movie)
    # Both sorts are stable.
    return {
        "movie": sorted(movies, key=lambda movie: -movie[3]),
        "year": [0, *(year for year, _ in years.most_common())],
        "genre": ["UNK", *(genre for genre, _ in genres.most_common())],
    }


# ---- command --------------------------------------------------------------------------------


def main(argv: Sequence[str] | None = None) -> int:
    """Parses the arguments, writes the files; returns the exit status."""
    parser = arguments.Parser(__doc__)
    add, number = parser.add_argument, arguments.number
    add("movielens_dir", type=Path, help="folder with ratings.dat and movies.dat")
    add("output_dir", type=Path, help="gets two .tfrecord files and vocabularies")
    add("--max_context_length", type=number(1, 10_000), default=10, help="items of a context")
    add("--max_genres", type=number(1, 100_000), default=10, help="genres of a context")
    add("--min_timeline_length", type=number(1, 1_000_000_000), default=3, help="ratings of a user")
    add(
        "--min_rating",
        type=number(-1e18, 1e18, float),
        help="lower ratings are removed; default: none",
    )
    add("--train_fraction", type=number(0, 1, float), default=0.9, help="share of the examples")
    add("--seed", type=number(*arguments.SEED), default=0, help="of the shuffle before the split")
    parser.add_switch("--keep_order", "split without a shuffle")
    return parser.run(_write, argv)


def _write(arguments: argparse.Namespace) -> None:
    given = vars(arguments)
    folder, output = given.pop("movielens_dir"), given.pop("output_dir")
    if given.pop("keep_order"):
        given["seed"] = None
    train, test = write(folder, output, **given)
    print(f"wrote {train:,} training and {test:,} test examples to {output}")


if __name__ == "__main__":
    sys.exit(main())
