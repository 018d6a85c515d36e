"""The reference's examples from our pipeline: its numbers, and a plain second implementation."""

import json
import random
import re
from collections import Counter

import pytest

from flaxrec.config import Config, FeatureConfig, GroupConfig, ModelConfig
from flaxrec.data import timelines
from flaxrec.data.records import tfrecord
from flaxrec.data.sources.movielens import read_movielens
from flaxrec.errors import ConfigError, DataError
from flaxrec.reference import examples
from tests.support.movielens_files import write_movielens
from tests.support.places import GOLDEN

DATAGEN = GOLDEN / "datagen"
needs_datagen = pytest.mark.skipif(not DATAGEN.exists(), reason=f"{DATAGEN} is not there")


def as_text(example):
    return {
        name: [v.decode() if isinstance(v, bytes) else v for v in values]
        for name, values in example.items()
    }


def naive(ratings, movies, context_length, genre_length, min_timeline_length, min_rating):
    """The same in plain Python: one list a user, one dictionary an example."""
    histories = {}
    for user, movie, rating, time in ratings:
        if min_rating is None or rating >= min_rating:
            histories.setdefault(user, []).append((time, movie, rating))
    made = []
    for history in histories.values():
        history.sort(key=lambda event: event[0])
        for label in range(1, len(history) if len(history) >= min_timeline_length else 0):
            context = history[max(0, label - context_length) : label]
            genres = [g for _, movie, _ in context for g in movies[movie][1].split("|")]
            years = [re.search(r"\((\d{4})\)", movies[movie][0]) for _, movie, _ in context]
            padding = [0] * (context_length - len(context))
            made.append(
                {
                    "context_movie_id": [movie for _, movie, _ in context] + padding,
                    "context_movie_rating": [float(r) for *_, r in context] + padding,
                    "context_movie_year": [int(y[1]) if y else 0 for y in years] + padding,
                    "context_movie_genre": (genres + ["UNK"] * genre_length)[:genre_length],
                    "label_movie_id": [history[label][1]],
                }
            )
    return made


# ---- examples and split ---------------------------------------------------------------------


@needs_datagen
@pytest.mark.parametrize("min_rating", [None, 3])
def test_the_references_examples(min_rating):
    """One for one and in its order, unshuffled and by seed 7."""
    expected = json.loads((DATAGEN / "expected.json").read_text(encoding="utf-8"))
    made = examples.generate(
        DATAGEN, max_context_length=5, max_genres=8, min_timeline_length=3, min_rating=min_rating
    )
    for seed in (None, 7):
        parts = examples.split(made, 0.9, seed)
        theirs = expected[f"minrating_{min_rating}_shuffle_{seed is not None}_seed_{seed}"]
        for part, name in zip(parts, ("train", "test"), strict=True):
            assert list(map(as_text, part)) == theirs[name]


@pytest.mark.parametrize(
    ("context_length", "genre_length", "min_timeline_length", "min_rating"),
    [(5, 8, 3, None), (3, 3, 6, 2), (1, 1, 1, None), (10, 32, 2, 3.5)],
)
def test_a_second_implementation(
    tmp_path, context_length, genre_length, min_timeline_length, min_rating
):
    arguments = {"min_timeline_length": min_timeline_length, "min_rating": min_rating}
    ratings, movies = write_movielens(tmp_path, seed=genre_length, years=genre_length > 5)
    made = examples.generate(
        tmp_path, max_context_length=context_length, max_genres=genre_length, **arguments
    )
    expected = naive(ratings, movies, context_length, genre_length, **arguments)
    assert list(map(as_text, made)) == expected
    assert len(made) > 8
    kinds = {name: {type(v) for e in made for v in e[name]} for name in made[0]}
    assert kinds.pop("context_movie_rating") == {float}
    assert kinds.pop("context_movie_genre") == {bytes}
    assert set(map(frozenset, kinds.values())) == {frozenset([int])}


def test_chunks_make_no_difference(tmp_path, monkeypatch):
    write_movielens(tmp_path)
    whole = examples.generate(tmp_path, max_context_length=4, max_genres=6)
    monkeypatch.setattr(examples, "_CHUNK", 11)
    assert examples.generate(tmp_path, max_context_length=4, max_genres=6) == whole
    assert len(whole) % 11


def test_split():
    numbers = list(range(25))
    assert examples.split(numbers, 0.9) == (numbers[:22], numbers[22:])  # 22.5: to the even
    random.seed(3)
    shuffled = list(numbers)
    random.shuffle(shuffled)
    assert examples.split(numbers, 0.5, seed=3) == (shuffled[:12], shuffled[12:])
    assert numbers == list(range(25))
    with pytest.raises(ConfigError, match=r"train_fraction is 1\.5; use a share from 0 to 1\."):
        examples.split(numbers, 1.5)


# ---- vocabularies ---------------------------------------------------------------------------


@needs_datagen
@pytest.mark.parametrize("min_rating", [None, 3])
def test_the_references_vocabularies(min_rating):
    expected = json.loads((DATAGEN / "expected.json").read_text(encoding="utf-8"))
    assert examples.vocabularies(DATAGEN, min_rating) == expected[f"vocabs_minrating_{min_rating}"]


def test_vocabularies_by_hand(tmp_path):
    movies = ["7::A (1990)::War|Drama", "3::B::Drama", "5::C (1990)::War", "1::D (1930)::UNK"]
    (tmp_path / "movies.dat").write_text("\n".join(movies) + "\n")
    (tmp_path / "ratings.dat").write_text("1::3::5::0\n1::1::2::0\n2::3::1::0\n")
    assert examples.vocabularies(tmp_path, min_rating=2) == {
        "movie": [[3, "B", "Drama", 1], [1, "D (1930)", "UNK", 1], [7, "A (1990)", "War|Drama", 0],
                  [5, "C (1990)", "War", 0]],
        "year": [0, 1990, 0, 1930],
        "genre": ["UNK", "War", "Drama", "UNK"],
    }  # fmt: skip


@pytest.mark.parametrize("years", [True, False])
def test_reference_mode_trains_with_the_same_vocabularies(tmp_path, years):
    """Line for line; a 0 that stands twice, which the reference refuses, stands once."""
    write_movielens(tmp_path, years=years)
    features = [FeatureConfig("genre", "item.genres", "STRING"), FeatureConfig("year", "item.year")]
    config = Config(reference_mode=True, model=ModelConfig(activity_groups=[GroupConfig(features)]))
    built = timelines.build(read_movielens(tmp_path), config).vocabularies
    made = examples.vocabularies(tmp_path)
    assert list(built["genre"].entries) == made["genre"]
    assert built["year"].entries == tuple(map(str, dict.fromkeys(made["year"])))
    assert (Counter(made["year"])[0] == 1) == years
    assert len(built["genre"].entries) > 3 < len(built["year"].entries)


# ---- files ----------------------------------------------------------------------------------


def test_the_command_writes_the_references_layout(tmp_path, capsys):
    folder, output = tmp_path / "ml", tmp_path / "made" / "records"
    write_movielens(folder, years=False)
    options = ["--max_context_length=4", "--max_genres=6", "--min_rating=2", "--seed=7"]
    assert examples.main([str(folder), str(output), *options]) == 0
    made = examples.generate(folder, max_context_length=4, max_genres=6, min_rating=2)
    train, test = examples.split(made, seed=7)
    said = f"wrote {len(train)} training and {len(test)} test examples to {output}\n"
    assert capsys.readouterr().out == said
    assert list(tfrecord.read(output / "train_movielens_1m.tfrecord")) == train
    assert list(tfrecord.read(output / "test_movielens_1m.tfrecord")) == test
    vocabularies = examples.vocabularies(folder, 2)
    movies = json.loads((output / "movie_vocab.json").read_text(encoding="utf-8"))
    assert movies == vocabularies["movie"]
    for name in ("year", "genre"):
        lines = (output / f"movie_{name}_vocab.txt").read_bytes().decode()
        assert lines == "".join(f"{value}\n" for value in vocabularies[name])
    assert len(list(output.iterdir())) == 5


def test_the_command_keeps_the_order_when_told(tmp_path):
    write_movielens(tmp_path)
    output = tmp_path / "records"
    assert examples.main([str(tmp_path), str(output), "--keep_order", "--train_fraction=0.5"]) == 0
    made = examples.generate(tmp_path, max_context_length=10, max_genres=10)
    train = list(tfrecord.read(output / "train_movielens_1m.tfrecord"))
    assert train == examples.split(made, 0.5)[0]


def test_the_command_overwrites_nothing(tmp_path, capsys):
    write_movielens(tmp_path)
    (tmp_path / "movie_vocab.json").write_text("mine")
    assert examples.main([str(tmp_path), str(tmp_path)]) == 2
    assert capsys.readouterr().err == (
        f"flaxrec: {tmp_path / 'movie_vocab.json'} exists; use another folder, or remove the "
        "file.\n"
    )
    assert (tmp_path / "movie_vocab.json").read_text() == "mine"
    assert not list(tmp_path.glob("*.tfrecord"))


def test_a_rated_movie_must_be_known(tmp_path):
    write_movielens(tmp_path)
    with (tmp_path / "ratings.dat").open("a") as file:
        file.write("1::99::5::0\n")
    for call in (
        lambda: examples.generate(tmp_path, max_context_length=4, max_genres=6),
        lambda: examples.vocabularies(tmp_path),
    ):
        with pytest.raises(DataError) as error:
            call()
        assert str(error.value) == (
            f"MovieLens ({tmp_path.name}): movie 99 is rated, but is not in the table of movies; "
            "add it there, or remove its ratings."
        )


@pytest.mark.parametrize("name", ["max_context_length", "max_genres"])
def test_lengths_are_above_0(tmp_path, name):
    lengths = {"max_context_length": 4, "max_genres": 6} | {name: 0}
    write_movielens(tmp_path)
    with pytest.raises(ConfigError, match=f"{name} is 0; use a number above 0"):
        examples.generate(tmp_path, **lengths)
