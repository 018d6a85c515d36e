"""android/: the app of the TensorFlow example, followed step by step, gives our own answers."""

import json
from pathlib import Path

import numpy as np
import pytest
from export.test_tflite import exported

from flaxrec.data.vocabulary import Vocabulary
from flaxrec.export import android
from flaxrec.recommender import Recommender

SUPPORTED = ("bow_id", "lstm_id_genre")
GENRES = Vocabulary(("<pad>", "Drama", "Comedy"))


@pytest.fixture(scope="module", params=SUPPORTED)
def recommender(request, tmp_path_factory) -> Recommender:
    return Recommender(exported(tmp_path_factory, request.param).export)


@pytest.fixture(scope="module")
def app(recommender) -> "App":
    return App(recommender.folder / "android")


class App:
    """What the app does: it knows its folder only, and addresses tensors by position."""

    def __init__(self, folder: Path):
        from ai_edge_litert.interpreter import Interpreter

        self.config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        self.movies = json.loads((folder / self.config["movieList"]).read_text(encoding="utf-8"))
        self.by_id = {movie["id"]: movie for movie in self.movies}
        self.genre_ids = {}
        if "genreList" in self.config:
            lines = (folder / self.config["genreList"]).read_text(encoding="utf-8").splitlines()
            self.genre_ids = {genre: number for number, genre in enumerate(lines)}
        self.interpreter = Interpreter(model_path=str(folder / self.config["model"]))
        self.interpreter.allocate_tensors()

    def recommend(self, picks: list[dict]) -> list[tuple[str, float]]:
        """Titles and scores to follow the picks."""
        details = self.interpreter.get_input_details()
        for spec in self.config["inputs"]:
            values = self.fill(spec, picks)
            self.interpreter.set_tensor(details[spec["index"]]["index"], values)
        self.interpreter.invoke()
        ids = self.output(self.config["outputIdsIndex"])
        scores = self.output(self.config["outputScoresIndex"])
        picked = {movie["id"] for movie in picks}
        shown = [
            (self.by_id[i]["title"], score)
            for i, score in zip(ids.tolist(), scores.tolist(), strict=True)
            if i in self.by_id and i not in picked
        ]
        return shown[: self.config["topK"]]

    def fill(self, spec: dict, picks: list[dict]) -> np.ndarray:
        if spec["name"] == "movieFeature":
            values, padding = [movie["id"] for movie in picks], self.config["pad"]
        else:
            assert spec["name"] == "genreFeature"
            names = [genre for movie in picks for genre in movie["genres"]]
            values = [self.genre_ids[name] for name in names]
            padding = self.config["unknownGenre"]
        filled = np.full(spec["inputLength"], padding, np.int32)
        kept = values[: spec["inputLength"]]
        filled[: len(kept)] = kept
        return filled

    def output(self, index: int) -> np.ndarray:
        details = self.interpreter.get_output_details()[index]
        values = self.interpreter.get_tensor(details["index"])
        assert values.shape == (self.config["outputLength"],)
        return values


# ---- the app's answers ----------------------------------------------------------------------


def pick_lists(recommender: Recommender) -> list[list]:
    """Histories of 1 to L items whose genres fit the input."""
    length = recommender.metadata["context_length"]
    genre_lengths = [s["shape"][0] for s in recommender.inputs if s["source"] == "item.genres"]
    items, rng, made = list(recommender.items.values()), np.random.default_rng(0), []
    while len(made) < 60:
        count = 1 + len(made) % length
        history = [items[i] for i in rng.choice(len(items), count, replace=False)]
        if sum(len(item["genres"]) for item in history) <= min(genre_lengths, default=100):
            made.append([item["id"] for item in history])
    return made


def test_the_app_recommends_what_we_recommend(recommender, app):
    by_title = {movie["title"]: movie for movie in app.movies}
    for history in pick_lists(recommender):
        picks = [by_title[recommender.items[str(item)]["title"]] for item in history]
        ours = [(r.title, r.score) for r in recommender.recommend(history, 10)]
        assert len(ours) == 10
        assert app.recommend(picks) == ours


def test_the_app_recommends_without_picks(recommender, app):
    assert app.recommend([]) == [(r.title, r.score) for r in recommender.recommend([], 10)]


# ---- its files ------------------------------------------------------------------------------


def test_config(recommender, app):
    folder, config = recommender.folder / "android", app.config
    names = {"recommendation.tflite", "config.json", "sorted_movie_vocab.json"}
    if recommender.metadata["name"] == "lstm_id_genre":
        names.add("movie_genre_vocab.txt")
        inputs = {"movieFeature": 6, "genreFeature": 12}
    else:
        assert "genreList" not in config
        inputs = {"movieFeature": 10}
    assert {path.name for path in folder.iterdir()} == names
    model = (recommender.folder / "model.tflite").read_bytes()
    assert (folder / config["model"]).read_bytes() == model
    assert {spec["name"]: spec["inputLength"] for spec in config["inputs"]} == inputs
    assert config["outputLength"] == recommender.top_k
    assert sorted([config["outputIdsIndex"], config["outputScoresIndex"]]) == [0, 1]
    assert config["topK"] <= config["outputLength"]


def test_movies_are_the_items_with_the_graphs_rows(recommender, app):
    lines = (recommender.folder / "vocabularies/item.txt").read_text(encoding="utf-8").splitlines()
    assert len(app.movies) == len(recommender.items)
    for movie, item in zip(app.movies, recommender.items.values(), strict=True):
        assert lines[movie["id"]] == str(item["id"])
        assert {k: movie[k] for k in ("title", "genres", "count")} == {
            k: item[k] for k in ("title", "genres", "count")
        }
    counts = [movie["count"] for movie in app.movies]
    assert counts == sorted(counts, reverse=True)


def test_reference_mode_speaks_raw_ids(tmp_path_factory):
    folder = exported(tmp_path_factory, "reference").export
    assert json.loads((folder / "metadata.json").read_text())["android"]["supported"] is False
    text = (folder / "items.jsonl").read_text(encoding="utf-8")
    items = [json.loads(line) for line in text.splitlines()]
    lines = (folder / "vocabularies/item.txt").read_text(encoding="utf-8").splitlines()
    assert all(lines[item["id"]] == str(item["id"]) for item in items)


# ---- models that the app cannot feed --------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "foreign"),
    [
        ("cnn_combined", {"context_rating", "context_year"}),
        ("bow_user", {"age_group"}),
        ("reference", {"context_rating"}),
    ],
)
def test_refused_with_a_reason(tmp_path_factory, name, foreign):
    folder = exported(tmp_path_factory, name).export
    assert not (folder / "android").exists()
    told = json.loads((folder / "metadata.json").read_text(encoding="utf-8"))["android"]
    assert told["supported"] is False
    words = set(told["reason"].replace(",", "").split())
    assert foreign <= words
    assert not {"context_item_id", "context_genres"} & words


def described(*sources: str) -> list[dict]:
    return [{"name": f"input_{n}", "source": source} for n, source in enumerate(sources)]


@pytest.mark.parametrize(
    ("sources", "words"),
    [
        (["item.id", "event.rating"], "not input_1"),
        (["item.year", "user.age_group", "item.id"], "not input_0, input_1"),
        (["item.genres"], "item ids"),
        (["item.id", "item.id"], "same source"),
        (["item.id", "item.genres", "item.genres"], "same source"),
        ([], "item ids"),
    ],
)
def test_obstacle(sources, words):
    assert words in android.obstacle(described(*sources))


@pytest.mark.parametrize(
    "sources", [["item.id"], ["item.id", "item.genres"], ["item.genres", "item.id"]]
)
def test_no_obstacle(sources):
    assert android.obstacle(described(*sources)) is None


# ---- what other data bring ------------------------------------------------------------------


def written(tmp_path, items, reverse=False) -> dict:
    """The files for a model of ids and genres; `reverse` as other files order their tensors."""
    inputs = [
        {"name": "g", "source": "item.genres", "shape": [32], "vocabulary": "vocabularies/g.txt"},
        {"name": "i", "source": "item.id", "shape": [10], "vocabulary": "vocabularies/item.txt"},
    ]
    outputs = [
        {"name": "top_prediction_scores", "shape": [100]},
        {"name": "top_prediction_ids", "shape": [100]},
    ]
    if reverse:
        inputs, outputs = inputs[::-1], outputs[::-1]
    rows = list(range(1, len(items) + 1))
    vocabularies = {"g": GENRES, "item": Vocabulary(("<pad>", *(str(i["id"]) for i in items)))}
    folder = tmp_path / "android"
    android.write(folder, b"model", inputs, outputs, items, rows, vocabularies)
    return {
        path.name: json.loads(path.read_text(encoding="utf-8"))
        for path in folder.glob("*.json")
    } | {"genres": (folder / "movie_genre_vocab.txt").read_text(encoding="utf-8")}  # fmt: skip


@pytest.mark.parametrize("reverse", [False, True])
def test_positions_follow_the_file(tmp_path, reverse):
    config = written(tmp_path, [{"id": "x", "count": 1}], reverse)["config.json"]
    assert sorted(config["inputs"], key=lambda spec: spec["name"]) == [
        {"name": "genreFeature", "index": int(reverse), "inputLength": 32},
        {"name": "movieFeature", "index": int(not reverse), "inputLength": 10},
    ]
    assert config["outputIdsIndex"] == int(not reverse)
    assert config["outputScoresIndex"] == int(reverse)


def test_line_0_of_the_genres_is_unknown(tmp_path):
    assert written(tmp_path, [{"id": "x", "count": 1}])["genres"] == "UNK\nDrama\nComedy\n"


def test_items_without_title_or_genres(tmp_path):
    items = [
        {"id": "é", "title": None, "genres": None, "count": 3},
        {"id": 7, "title": "Seven", "genres": ["Drama"], "count": 2},
    ]
    assert written(tmp_path, items)["sorted_movie_vocab.json"] == [
        {"title": "é", "id": 1, "genres": [], "count": 3},
        {"title": "Seven", "id": 2, "genres": ["Drama"], "count": 2},
    ]


def test_one_genre_an_item_is_a_list_too(tmp_path):
    # A table whose column `genres` is not among columns.multi_valued.
    movies = written(tmp_path, [{"id": 1, "title": "One", "genres": "Drama", "count": 1}])
    assert movies["sorted_movie_vocab.json"][0]["genres"] == ["Drama"]
