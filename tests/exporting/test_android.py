"""android/: the app of the TensorFlow example, followed step by step, gives our own answers."""

import itertools
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from flaxrec.data.vocabulary import Vocabulary
from flaxrec.exporting import android
from flaxrec.exporting.converter import import_tensorflow
from flaxrec.recommender import Recommender
from flaxrec.tflite import flatbuffer
from flaxrec.tflite.metadata import IDS, SCORES, write_metadata
from tests.support.exports import exported
from tests.support.graph_maker import FLOAT32, INT32, Maker

SUPPORTED = ("bow_id", "attention_id", "lstm_id_genre")
GENRES = Vocabulary(("<pad>", "Drama", "Comedy"))
ITEM_LIST = "vocabularies/item.txt"


@pytest.fixture(scope="module", params=[*SUPPORTED, "lstm_id_genre in float16"])
def recommender(request, tmp_path_factory) -> Recommender:
    name, _, quantised = request.param.partition(" in ")
    folder = exported(tmp_path_factory, name).export
    return Recommender(in_float16(folder, tmp_path_factory.mktemp(name)) if quantised else folder)


@pytest.fixture(scope="module")
def app(recommender) -> "App":
    return App(recommender.folder / "android")


def in_float16(export: Path, parent: Path) -> Path:
    """The export with another file: weights in float16, positions of outputs and inputs turned."""
    tf = import_tensorflow()
    converter = tf.lite.TFLiteConverter.from_saved_model(str(export / "saved_model"))
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.target_spec.supported_types = [tf.float16]
    model = flatbuffer.read(flatbuffer.finish(converter.convert()))
    graph = model.subgraphs[0]
    graph.inputs, graph.outputs = graph.inputs[::-1], graph.outputs[::-1]
    content = flatbuffer.write(model)

    folder = Path(shutil.copytree(export, parent / "export"))
    metadata = json.loads((folder / "metadata.json").read_text(encoding="utf-8"))
    assert android.obstacle(content, metadata["inputs"], ITEM_LIST, vocabularies(folder)) is None
    items = [
        json.loads(line)
        for line in (folder / "items.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    shutil.rmtree(folder / "android")
    rows = vocabularies(folder)["item"].lookup([item["id"] for item in items]).tolist()
    where = folder / "android"
    android.write(where, content, metadata["inputs"], items, rows, vocabularies(folder))
    (folder / "model.tflite").write_bytes(content)
    write_metadata(folder, metadata)
    return folder


def vocabularies(export: Path) -> dict[str, Vocabulary]:
    return {path.stem: Vocabulary.read(path) for path in (export / "vocabularies").iterdir()}


class App:
    """What the app does: it knows its folder only, and addresses tensors by position."""

    def __init__(self, folder: Path):
        from ai_edge_litert.interpreter import Interpreter

        self.config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        self.movies = json.loads((folder / self.config["movieList"]).read_text(encoding="utf-8"))
        self.by_id = {movie["id"]: movie for movie in self.movies}
        self.genre_ids: dict[str, int] = {}
        if "genreList" in self.config:
            lines = (folder / self.config["genreList"]).read_text(encoding="utf-8").splitlines()
            for genre in lines:
                self.genre_ids[genre] = len(self.genre_ids)
        self.interpreter = Interpreter(model_path=str(folder / self.config["model"]))
        self.interpreter.allocate_tensors()

    def recommend(self, picks: list[dict]) -> list[tuple[str, float]]:
        """Titles and scores to follow the picks."""
        details = self.interpreter.get_input_details()
        assert len(details) == len(self.config["inputs"])
        for spec in self.config["inputs"]:
            values = self.fill(spec, picks)
            self.interpreter.set_tensor(details[spec["index"]]["index"], values)
        self.interpreter.invoke()
        ids = self.output(self.config["outputIdsIndex"])
        scores = self.output(self.config["outputScoresIndex"])
        assert (ids.dtype, scores.dtype) == (np.int32, np.float32)
        shown: list[tuple[str, float]] = []
        for number, score in zip(ids.tolist(), scores.tolist(), strict=True):
            if len(shown) >= self.config["topK"]:
                break
            movie = self.by_id.get(number)
            if movie is not None and movie not in picks:
                shown.append((movie["title"], score))
        return shown

    def fill(self, spec: dict, picks: list[dict]) -> np.ndarray:
        """An input: the first of the picks, or of their genres whoever they are of."""
        length = spec["inputLength"]
        if spec["name"] == "movieFeature":
            padding, values = self.config["pad"], [movie["id"] for movie in picks]
        else:
            assert spec["name"] == "genreFeature"
            padding = self.config["unknownGenre"]
            names = itertools.chain.from_iterable(movie["genres"] for movie in picks)
            values = [self.genre_ids.get(name, padding) for name in names]
        kept = values[:length]
        return np.array(kept + [padding] * (length - len(kept)), np.int32)

    def output(self, index: int) -> np.ndarray:
        details = self.interpreter.get_output_details()[index]
        values = self.interpreter.get_tensor(details["index"])
        assert values.shape == (self.config["outputLength"],)
        return values


# ---- the app's answers ----------------------------------------------------------------------


def histories(recommender: Recommender, longest: int, count: int = 60) -> list[list]:
    """Random histories of 0 to so many items, whose genres fit the input."""
    genre_lengths = [s["shape"][0] for s in recommender.inputs if s["source"] == "item.genres"]
    items, rng, made = list(recommender.items.values()), np.random.default_rng(0), []
    while len(made) < count:
        size = len(made) % (longest + 1)
        history = [items[i] for i in rng.choice(len(items), size, replace=False)]
        if sum(len(item["genres"]) for item in history) <= min(genre_lengths, default=1000):
            made.append([item["id"] for item in history])
    return made


def picks_of(app: App, recommender: Recommender, history: list) -> list[dict]:
    by_title = {movie["title"]: movie for movie in app.movies}
    return [by_title[recommender.items[str(item)]["title"]] for item in history]


def test_the_app_recommends_what_we_recommend(recommender, app):
    for history in histories(recommender, recommender.metadata["context_length"]):
        ours = [(r.title, r.score) for r in recommender.recommend(history, 10)]
        assert len(ours) == 10
        assert app.recommend(picks_of(app, recommender, history)) == ours


def test_the_app_feeds_what_we_feed(recommender, app):
    details = app.interpreter.get_input_details()
    for history in histories(recommender, recommender.metadata["context_length"], 20):
        ours = recommender.encode([{"item": item} for item in history])
        picks = picks_of(app, recommender, history)
        theirs = {details[s["index"]]["name"]: app.fill(s, picks) for s in app.config["inputs"]}
        assert {n: v.tolist() for n, v in theirs.items()} == {
            n: v.tolist() for n, v in ours.items()
        }


def test_of_many_picks_the_first_count(recommender, app):
    if "genreList" in app.config:
        pytest.skip("the app feeds the genres of picks whose ids it does not feed")
    length = recommender.metadata["context_length"]
    long = [h for h in histories(recommender, 2 * length) if len(h) > length]
    for history in long:
        picks = picks_of(app, recommender, history)
        picked = {movie["title"] for movie in picks}
        ours = recommender.recommend(history[:length], recommender.top_k)
        expected = [(r.title, r.score) for r in ours if r.title not in picked][:10]
        assert app.recommend(picks) == expected


# ---- its files ------------------------------------------------------------------------------


def test_config(recommender, app):
    folder, config = recommender.folder / "android", app.config
    names = {"recommendation.tflite", "config.json", "sorted_movie_vocab.json"}
    if "lstm_id_genre" in recommender.metadata["name"]:
        names.add("movie_genre_vocab.txt")
        inputs = {"movieFeature": 4, "genreFeature": 8}
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


def described(*sources: str, **fields) -> list[dict]:
    """Inputs, called input_0 and so on."""
    made = []
    for n, source in enumerate(sources):
        name = "item" if source == "item.id" else "g"
        spec = {"name": f"input_{n}", "source": source, "multi_valued": source == "item.genres"}
        made.append(spec | {"vocabulary": f"vocabularies/{name}.txt"} | fields)
    return made


def graph(
    inputs: dict[str, list[int]],
    outputs=((IDS, INT32, [100]), (SCORES, FLOAT32, [100])),
    type_=INT32,
) -> bytes:
    """A file with these inputs and outputs in this order, and nothing in between."""
    maker = Maker()
    given = {name: maker.tensor(name, shape, type_) for name, shape in inputs.items()}
    return maker.packed(given, {n: maker.tensor(n, shape, kind) for n, kind, shape in outputs})


def obstacle(inputs: list[dict], model: bytes | None = None, genres=GENRES.entries) -> str | None:
    model = model or graph({spec["name"]: [10] for spec in inputs})
    known = {"g": Vocabulary(tuple(genres)), "item": Vocabulary(("<pad>", "x"))}
    return android.obstacle(model, inputs, ITEM_LIST, known)


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
def test_obstacle_of_inputs(sources, words):
    assert words in obstacle(described(*sources))


@pytest.mark.parametrize(
    "sources", [["item.id"], ["item.id", "item.genres"], ["item.genres", "item.id"]]
)
def test_no_obstacle(sources):
    assert obstacle(described(*sources)) is None


def test_ids_of_another_vocabulary_are_an_obstacle():
    # As with vocab_size on the feature: the input's rows are not the label's.
    inputs = described("item.id", vocabulary="vocabularies/context_item_id.txt")
    assert "vocabularies of their own" in obstacle(inputs)


@pytest.mark.parametrize("genre", ["", "Film\rNoir"])
def test_genres_that_are_no_line_are_an_obstacle(genre):
    inputs = described("item.id", "item.genres")
    assert "a genre a line" in obstacle(inputs, genres=("<pad>", "Drama", genre))


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (graph({"input_0": [1, 10]}), "other shapes"),
        (graph({"input_0": []}), "other shapes"),
        (graph({"input_0": [10]}, type_=FLOAT32), "int32"),
        (graph({"input_0": [10]}, [(IDS, INT32, [1, 9]), (SCORES, FLOAT32, [1, 9])]), "shapes"),
        (graph({"input_0": [10]}, [(IDS, INT32, [9]), (SCORES, FLOAT32, [8])]), "one list"),
        (graph({"input_0": [10]}, [(IDS, FLOAT32, [9]), (SCORES, FLOAT32, [9])]), "one list"),
        (graph({"input_0": [10]}, [(IDS, INT32, [9])]), "one list"),
    ],
)
def test_obstacle_in_the_graph(model, words):
    assert words in obstacle(described("item.id"), model)


# ---- what other data bring ------------------------------------------------------------------


def written(tmp_path, items, reverse=False, top_k=100, genres=GENRES, **fields) -> dict:
    """The files for a model of ids and genres; `reverse` as other files order their tensors."""
    shapes = {"g": [32], "i": [10]}
    outputs = [(SCORES, FLOAT32, [top_k]), (IDS, INT32, [top_k])]
    if reverse:
        shapes, outputs = dict(reversed(shapes.items())), outputs[::-1]
    inputs = [
        {"name": "g", "source": "item.genres", "vocabulary": "vocabularies/g.txt"}
        | {"multi_valued": True}
        | fields,
        {"name": "i", "source": "item.id", "vocabulary": ITEM_LIST},
    ]
    rows = list(range(1, len(items) + 1))
    folder = tmp_path / "android"
    known = {"g": genres, "item": Vocabulary(("<pad>", *(str(i["id"]) for i in items)))}
    android.write(folder, graph(shapes, outputs), inputs, items, rows, known)
    return {
        path.name: json.loads(path.read_text(encoding="utf-8"))
        for path in folder.glob("*.json")
    } | {"genres": (folder / "movie_genre_vocab.txt").read_text(encoding="utf-8")}  # fmt: skip


@pytest.mark.parametrize("reverse", [False, True])
def test_positions_and_lengths_are_the_files(tmp_path, reverse):
    config = written(tmp_path, [{"id": "x", "count": 1}], reverse, top_k=7)["config.json"]
    assert config["inputs"] == [
        {"name": name, "index": index, "inputLength": length}
        for index, (name, length) in enumerate(
            [("movieFeature", 10), ("genreFeature", 32)][:: 1 if reverse else -1]
        )
    ]
    assert config["outputIdsIndex"] == int(not reverse)
    assert config["outputScoresIndex"] == int(reverse)
    assert config["outputLength"] == config["topK"] == 7


def test_line_0_of_the_genres_is_unknown(tmp_path):
    files = written(tmp_path, [{"id": "x", "count": 1, "genres": ["Comedy", "Drama"]}])
    assert files["genres"] == "UNK\nDrama\nComedy\n"


def test_a_genre_called_as_line_0_keeps_its_row(tmp_path):
    genres = Vocabulary(("<pad>", "Drama", "UNK"))
    assert written(tmp_path, [], genres=genres)["genres"] == "<pad>\nDrama\nUNK\n"


def test_items_without_title_or_genres(tmp_path):
    items = [
        {"id": "é", "title": None, "genres": None, "count": 3},
        {"id": 7, "title": "Seven", "genres": ["Drama"], "count": 2},
    ]
    assert written(tmp_path, items)["sorted_movie_vocab.json"] == [
        {"title": "é", "id": 1, "genres": [], "count": 3},
        {"title": "Seven", "id": 2, "genres": ["Drama"], "count": 2},
    ]


def fed(files: dict) -> list[list[int]]:
    """The rows that the app feeds for each item's genres."""
    row_of = {genre: row for row, genre in enumerate(files["genres"].splitlines())}
    return [[row_of.get(g, 0) for g in m["genres"]] for m in files["sorted_movie_vocab.json"]]


def test_genres_without_a_line_are_fed_as_unknown(tmp_path):
    # Drama 1, Comedy 2, 'unknown' 3: the row after the last line, as flaxrec.Recommender feeds.
    items = [
        {"id": 1, "genres": ["War", "Comedy"]},
        {"id": 2, "genres": ["Drama", None]},
        {"id": 3, "genres": []},
    ]
    files = written(tmp_path, items)
    assert fed(files) == [[3, 2], [1, 3], []]
    assert files["genres"] == "UNK\nDrama\nComedy\nunknown\n"


def test_the_name_of_unknown_is_nobody_elses(tmp_path):
    genres = Vocabulary(("<pad>", "unknown", "unknown_"))
    files = written(tmp_path, [{"id": 1, "genres": ["War", "unknown"]}], genres=genres)
    assert fed(files) == [[3, 1]]


def test_one_genre_an_item_is_a_list_too(tmp_path):
    # A table whose column `genres` is not among columns.multi_valued: a place for each item.
    items = [{"id": 1, "genres": "Drama"}, {"id": 2, "genres": None}, {"id": 3, "genres": "Comedy"}]
    files = written(tmp_path, items, multi_valued=False)
    assert fed(files) == [[1], [3], [2]]
