"""Records as a data source: arrays by hand, the same contexts as from ratings, training, export."""

import json

import jax
import numpy as np
import pytest

from flaxrec.config import (
    Config,
    DataConfig,
    FeatureConfig,
    GroupConfig,
    ModelConfig,
    RecordsConfig,
)
from flaxrec.data import contexts
from flaxrec.data.dataset import prepare
from flaxrec.data.histories import history
from flaxrec.data.records import tfrecord
from flaxrec.data.sources.movielens import read_movielens
from flaxrec.devices import Mesh
from flaxrec.errors import ConfigError, DataError
from flaxrec.reference import examples
from flaxrec.training.run import train
from flaxrec.training.validation import validate
from flaxrec.training.workdir import Workdir
from tests.support.movielens_files import write_movielens

IDS = FeatureConfig("ids", "item.id")
WORDS = FeatureConfig("words", "item.genres", "STRING", length=4, vocabulary="words.txt")
STARS = FeatureConfig("stars", "event.stars", "FLOAT")
SHOP = FeatureConfig("shop", "event.shop", "STRING", length=1, vocabulary="shops.txt")
AGE = FeatureConfig("age", "user.age", "INT", vocab_size=9)
LIKES = FeatureConfig("likes", "user.likes", "STRING", length=2, vocabulary="words.txt")
FEATURES = (AGE, LIKES, IDS, STARS, WORDS, SHOP)

TRAIN = [
    {"ids": [4, 2, 0], "words": [b"War", b"Noir", b"UNK", b"UNK"], "stars": [1.0, 3.0, 0.0],
     "shop": [b"kiosk"], "age": [8], "likes": [b"Noir", b"UNK"], "label": [3]},
    {"ids": [2, 3, 4], "words": [b"Noir", b"Opera", b"War", b"War"], "stars": [2.0, 2.0, 4.0],
     "shop": [b"web"], "age": [1], "likes": [b"War", b"Noir"], "label": [4]},
    {"label": [3]},
]  # fmt: skip
TEST = [{**TRAIN[0], "label": [1]}, {**TRAIN[1], "ids": [2, 0, 0], "label": [3]}]
MOVIES = [[3, "Drei (1931)", "Noir|War", 9], [2, "Zwei", "", 5], [4, "Vier (2001)", "War", 5],
          [77, "Elsewhere (1999)", "War", 1]]  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "words.txt").write_text("UNK\nWar\nNoir\n")
    (tmp_path / "shops.txt").write_text("UNK\nweb\n")
    (tmp_path / "movie_vocab.json").write_text(json.dumps(MOVIES))
    tfrecord.write(tmp_path / "train-0", TRAIN[:2])
    tfrecord.write(tmp_path / "train-1", TRAIN[2:])
    tfrecord.write(tmp_path / "test", TEST)
    return tmp_path


def make_config(folder, *features, reference_mode=True, context_length=3, **records):
    """Each feature in a group of its own, but numbers, which go with the last; ids below 5."""
    groups: list[GroupConfig] = []
    for feature in features or (IDS,):
        if feature.type == "FLOAT" and groups:
            groups[-1].features.append(feature)
        else:
            groups.append(GroupConfig([feature]))
    files = {"test": f"{folder}/test*", "vocabularies": str(folder), "label": "label"}
    records = RecordsConfig(**{**files, "label_vocab_size": 5, **records})
    config = Config(
        reference_mode=reference_mode,
        data=DataConfig("tfrecord", f"{folder}/train*", records=records),
        model=ModelConfig(context_length, 8, activity_groups=groups),
    )
    config.split.validation_fraction = 0.0
    config.train.select_metric = "loss"
    config.evaluation.ks, config.export.top_k = (1, 4), 4
    return validate(config)


def gather(config, dataset, positions):
    timelines = contexts.to_device(dataset.timelines, Mesh(1, 1).replicated)
    gather = contexts.gatherer(config, dataset.spec.inputs)
    return jax.device_get(gather(timelines, np.asarray(positions, np.int32)))


# ---- the arrays -----------------------------------------------------------------------------


@pytest.mark.parametrize("reference_mode", [True, False])
def test_contexts_labels_and_split(folder, reference_mode):
    """All training files, then those of the test; row 3 is 'Opera', which no line has."""
    config = make_config(folder, *FEATURES, reference_mode=reference_mode)
    dataset = prepare(config)
    assert dataset.timelines.item.tolist() == [3, 4, 3, 1, 3]
    assert dataset.split.protocol == "records"
    assert dataset.split.train.tolist() == [0, 1, 2]
    assert dataset.split.test.tolist() == [3, 4]
    features = gather(config, dataset, [4, 1, 2])
    assert {name: values.tolist() for name, values in features.items()} == {
        "age": [[1], [1], [0]],
        "likes": [[1, 2], [1, 2], [0, 0]],
        "ids": [[2, 0, 0], [2, 3, 4], [0, 0, 0]],
        "words": [[2, 3, 1, 1], [2, 3, 1, 1], [0, 0, 0, 0]],
        "stars": [[2.0, 2.0, 4.0], [2.0, 2.0, 4.0], [0.0, 0.0, 0.0]],
        "shop": [[1], [1], [0]],
    }


def test_tables_in_reference_mode(folder):
    """As large as they are said to be; every row of the label's is a candidate."""
    spec = prepare(make_config(folder, *FEATURES)).spec
    assert (spec.candidates, spec.first_candidate) == (5, 0)
    rows = {i.name: (i.rows, i.vocabulary) for i in spec.inputs}
    assert rows == {
        "age": (9, "age"),
        "likes": (4, "likes"),
        "ids": (5, "item"),
        "words": (4, "words"),
        "stars": (0, ""),
        "shop": (3, "shop"),
    }


def test_tables_without_it(folder):
    """Rows of ids get one more for 'unknown'; row 0 is no candidate."""
    dataset = prepare(make_config(folder, *FEATURES, reference_mode=False))
    spec = dataset.spec
    assert (spec.candidates, spec.first_candidate) == (4, 1)
    rows = {i.name: i.rows for i in spec.inputs}
    assert rows == {"age": 10, "likes": 4, "ids": 6, "words": 4, "stars": 0, "shop": 3}
    assert dataset.timelines.vocabularies["item"].entries == ("0", "1", "2", "3", "4")


def test_vocab_size_in_reference_mode_is_the_tables(folder):
    features = [
        FeatureConfig("words", "item.genres", "STRING", length=4, vocab_size=7,
                      vocabulary="words.txt"),
        FeatureConfig("ids", "item.id", vocab_size=9),
    ]  # fmt: skip
    spec = prepare(make_config(folder, *features)).spec
    assert [(i.rows, i.vocabulary) for i in spec.inputs] == [(7, "words"), (9, "ids")]
    features[0].vocab_size = 3
    with pytest.raises(
        DataError, match=r"record 2: 'words' is 'Opera', .* set its vocab_size to 4"
    ):
        prepare(make_config(folder, *features))


def test_what_only_the_data_tell(folder):
    """Lists of genres are flattened; an absent number is the mean over the activities."""
    inputs = {i.name: i for i in prepare(make_config(folder, *FEATURES)).spec.inputs}
    several = {name for name, spec in inputs.items() if spec.multi_valued}
    assert several == {"likes", "words"}
    # Ids stand beside eight of the numbers: test contexts count as well.
    mean = (1 + 3 + 2 + 2 + 4 + 1 + 3 + 2) / 8
    assert inputs["stars"].default == pytest.approx(mean)


def test_items_are_those_of_the_vocabulary_and_of_the_records(folder):
    """By count; id 77 has no row, and movie_vocab.json does not know id 1."""
    items = prepare(make_config(folder)).timelines.items
    assert items.select("row", "item", "title", "genres", "year", "count").rows() == [
        (3, 3, "Drei (1931)", ["Noir", "War"], 1931, 9),
        (2, 2, "Zwei", [], 0, 5),
        (4, 4, "Vier (2001)", ["War"], 2001, 5),
        (1, 1, None, None, None, 1),
    ]
    (folder / "movie_vocab.json").unlink()
    items = prepare(make_config(folder)).timelines.items
    assert items.select("row", "item", "count").rows() == [
        (3, 3, 3), (1, 1, 1), (4, 4, 1), (2, 2, 0)
    ]  # fmt: skip


def test_validation_labels_are_drawn_from_training(tmp_path):
    tfrecord.write(tmp_path / "train", [{"label": [n % 4 + 1]} for n in range(50)])
    tfrecord.write(tmp_path / "test", TEST)
    config = make_config(tmp_path)
    config.split.validation_fraction = 0.2
    split = prepare(config).split
    assert (len(split.train), len(split.validation)) == (40, 10)
    assert sorted([*split.train, *split.validation]) == list(range(50))
    assert prepare(config).split.validation.tolist() == split.validation.tolist()
    config.split.seed = 1
    assert prepare(config).split.validation.tolist() != split.validation.tolist()


# ---- vocabularies of ids --------------------------------------------------------------------


def test_labels_and_ids_may_share_a_vocabulary(folder):
    """Their rows are line numbers; the items' own ids are the lines."""
    (folder / "ids.txt").write_text("0\n4\n3\n2\n1\n")
    config = make_config(folder, label_vocab_size=0, label_vocabulary="ids.txt")
    dataset = prepare(config)
    assert dataset.timelines.item.tolist() == [2, 1, 2, 4, 2]
    assert gather(config, dataset, [0])["ids"].tolist() == [[1, 3, 0]]
    assert dataset.spec.candidates == 5
    assert (dataset.spec.inputs[0].vocabulary, dataset.spec.inputs[0].rows) == ("item", 6)
    assert dataset.timelines.items["item"].to_list() == [3, 2, 4, 1]
    assert dataset.timelines.items["row"].to_list() == [2, 3, 1, 4]


def test_ids_may_have_a_vocabulary_of_their_own(folder):
    (folder / "ids.txt").write_text("0\n4\n3\n")
    feature = FeatureConfig("ids", "item.id", vocabulary="ids.txt")
    config = make_config(folder, feature)
    dataset = prepare(config)
    assert gather(config, dataset, [0])["ids"].tolist() == [[1, 3, 0]]
    assert (dataset.spec.inputs[0].vocabulary, dataset.spec.inputs[0].rows) == ("ids", 4)
    assert dataset.timelines.vocabularies["item"].entries == ("0", "1", "2", "3", "4")


# ---- histories ------------------------------------------------------------------------------


def test_histories_in_own_values(folder):
    """A shorter input holds the latest activities; padding is left out, 'unknown' has no value."""
    timelines = prepare(make_config(folder, *FEATURES)).timelines
    assert history(timelines, 0, 3) == {
        "user": {"user": 1, "age": 8, "likes": ["Noir", "UNK"]},
        "activities": [{"item": 4, "stars": 1.0}, {"item": 2, "stars": 3.0, "shop": None}],
        "label": 3,
    }
    assert history(timelines, 1, 3)["activities"][-1] == {"item": 4, "stars": 4.0, "shop": "web"}
    assert history(timelines, 2, 3)["activities"] == []


# ---- against ratings ------------------------------------------------------------------------

MOVIE_FEATURES = (
    FeatureConfig("context_movie_id", "item.id", embedding_dim=8),
    FeatureConfig("context_movie_rating", "event.rating", "FLOAT"),
    FeatureConfig("context_movie_year", "item.year", "INT", 4, vocabulary="movie_year_vocab.txt"),
    FeatureConfig(
        "context_movie_genre", "item.genres", "STRING", 4, 8, vocabulary="movie_genre_vocab.txt"
    ),
)


@pytest.fixture(scope="module")
def movies(tmp_path_factory):
    """`ml` with ratings and `records` with their examples in order."""
    folder = tmp_path_factory.mktemp("movies")
    write_movielens(folder / "ml", users=40, movies=60)
    examples.write(folder / "ml", folder / "records", max_context_length=5, max_genres=8)
    return folder


def movie_config(folder, reference_mode):
    config = make_config(
        folder / "records",
        *MOVIE_FEATURES,
        reference_mode=reference_mode,
        context_length=5,
        label="label_movie_id",
        label_vocab_size=90,
    )
    config.split.validation_fraction = 0.1
    config.train.batch_size, config.train.epochs, config.train.select_metric = 32, 2, "ndcg@4"
    return config


def test_records_and_ratings_give_the_same_examples(movies):
    """In reference mode, to the bit, for all of them."""
    config = movie_config(movies, True)
    stored = prepare(config)
    config.data = DataConfig("movielens", str(movies / "ml"))
    direct = prepare(config)
    events = read_movielens(movies / "ml").events["user"].unique(maintain_order=True)
    offsets, users = direct.timelines.offsets, direct.timelines.users["user"].to_list()
    labels = [
        position
        for user in events
        if user in users
        for position in range(offsets[users.index(user)] + 1, offsets[users.index(user) + 1])
    ]
    assert len(labels) == len(stored.timelines.item) > 200
    np.testing.assert_array_equal(direct.timelines.item[labels], stored.timelines.item)
    theirs = gather(config, stored, range(len(labels)))
    for name, values in gather(config, direct, labels).items():
        np.testing.assert_array_equal(theirs[name], values)
        assert theirs[name].dtype == values.dtype


# ---- training and export --------------------------------------------------------------------


REFERENCE = pytest.param(True, id="reference", marks=pytest.mark.long)


@pytest.fixture(scope="module", params=[REFERENCE, pytest.param(False, id="default")])
def run(request, movies, tmp_path_factory):
    """A finished run: its folder, what was said and the result."""
    workdir = Workdir(tmp_path_factory.mktemp("run") / "run")
    said = []
    result = train(movie_config(movies, request.param), workdir, said.append)
    return workdir, said, result


def test_a_run_says_what_it_reads(run):
    _, said, _ = run
    assert said[0].startswith("records: ")
    assert said[0].endswith(" items")
    assert said[1].startswith("labels (records): ")


def test_a_run_learns_and_knows_no_filtered_metrics(run):
    """What a user met before the context is not known, nor what share of labels are repeats."""
    workdir, _, result = run
    rows = workdir.read_metrics()
    assert {row["protocol"] for row in rows} == {"records"}
    assert {row["split"] for row in rows} == {"train", "validation", "test"}
    names = {name for row in rows for name in row["metrics"]}
    assert {"recall@4", "ndcg@4", "mean_rank", "loss"} <= names
    assert not [name for name in names if name.startswith("filtered/")]
    assert set(result.labels) == {"labels", "without_training_event"}
    losses = [row["metrics"]["loss"] for row in rows if row["split"] == "train"]
    assert losses[-1] < losses[0]


def assert_encoded_as_the_records(workdir, recommender, at_least):
    """Every saved history."""
    with np.load(workdir.assets / "contexts.npz") as file:
        saved = dict(file)
    histories = workdir.read_histories()
    assert len(histories) >= at_least
    for row, one in enumerate(histories):
        encoded = recommender.encode(one["activities"], one["user"])
        for name, values in encoded.items():
            np.testing.assert_array_equal(values, saved[name][row])


def test_the_export_takes_own_ids(run):
    """Titles and genres are known."""
    pytest.importorskip("tensorflow")
    from flaxrec.exporting.bundle import export
    from flaxrec.recommend import show_example
    from flaxrec.recommender import Recommender

    workdir, _, _ = run
    folder = export(workdir, say=lambda line: None).folder
    recommender = Recommender.load(folder)
    assert_encoded_as_the_records(workdir, recommender, at_least=21)
    histories = workdir.read_histories()
    (best, *_) = recommender.recommend(histories[0]["activities"], exclude_history=False)
    assert best.title.startswith(f"Größe {best.item} (")
    show_example(folder, histories[0])


def test_a_row_without_a_line_is_not_recommended(folder, tmp_path):
    """In reference mode a label's table may have the row of 'unknown', which wins here."""
    pytest.importorskip("tensorflow")
    from flaxrec.exporting.bundle import export
    from flaxrec.recommender import Recommender

    (folder / "ids.txt").write_text("0\n4\n3\n2\n")  # 1 is not in it
    for name in ("train-0", "train-1", "test"):
        (folder / name).unlink()
    tfrecord.write(folder / "train", [{"ids": [2, 0, 0], "label": [1]}] * 63 + TRAIN[:1])
    tfrecord.write(folder / "test", TEST)
    config = make_config(folder, label_vocab_size=5, label_vocabulary="ids.txt")
    config.train.batch_size = 8
    config.optimizer.learning_rate = 0.1
    workdir = Workdir(tmp_path / "run")
    train(config, workdir, lambda line: None)
    recommender = Recommender.load(export(workdir, say=lambda line: None).folder)
    assert_encoded_as_the_records(workdir, recommender, at_least=2)
    ids = [r.item for r in recommender.recommend([2], exclude_history=False)]
    assert len(ids) < 4  # of 4 rows, one is the row of 'unknown'
    assert set(ids) <= {2, 3, 4}


# ---- what cannot be used --------------------------------------------------------------------


def message_of(kind, *arguments, **options):
    with pytest.raises(kind) as error:
        prepare(make_config(*arguments, **options))
    return str(error.value)


def test_sizes_must_be_known(folder):
    assert message_of(ConfigError, folder, label_vocab_size=0) == (
        "config.data.records.label_vocab_size is 0, but the labels have no vocabulary; set it to "
        "the number of ids, 0 included (3953 for MovieLens-1M)."
    )
    feature = FeatureConfig("age", "user.age")
    assert message_of(ConfigError, folder, feature) == (
        "The feature 'age' has neither a vocab_size nor a vocabulary; records of rows need the "
        "number of rows."
    )


def test_a_vocabulary_needs_its_folder(folder):
    assert message_of(ConfigError, folder, WORDS, vocabularies="") == (
        "config.data.records.vocabularies is empty, but there is a vocabulary 'words.txt'; name "
        "its folder."
    )
    (folder / "words.txt").unlink()
    assert "words.txt cannot be read" in message_of(DataError, folder, WORDS)


@pytest.mark.parametrize("label", [0, 5])
def test_labels_must_be_candidates(folder, label):
    """Row 0 is one in reference mode only; an id beyond the table never is."""
    tfrecord.write(folder / "train-1", [TRAIN[0], {"label": [label]}])
    if label == 0:
        assert prepare(make_config(folder)).timelines.item[3] == 0
        assert message_of(DataError, folder, reference_mode=False) == (
            f"{folder / 'train-1'}, record 2: 'label' is in row 0, which is padding or 'unknown' "
            "and cannot be recommended; remove such examples, or set config.reference_mode."
        )
        return
    for mode in (True, False):
        message = message_of(DataError, folder, reference_mode=mode)
        assert message.startswith(f"{folder / 'train-1'}, record 2: 'label' is 5, but has rows 0")


def test_an_unknown_label_is_no_candidate(folder):
    (folder / "ids.txt").write_text("0\n4\n3\n2\n")
    records = {"label_vocab_size": 0, "label_vocabulary": "ids.txt"}
    message = message_of(DataError, folder, reference_mode=False, **records)
    assert message.startswith(f"{folder / 'test'}, record 1: 'label' is in row 4, which is padding")
    message = message_of(DataError, folder, **records)
    assert message.startswith(f"{folder / 'test'}, record 1: 'label' is 1, which is not in its")


def test_item_ids_are_no_quantity(folder):
    feature = FeatureConfig("ids", "item.id", "FLOAT")
    assert message_of(ConfigError, folder, feature) == (
        "The feature 'ids' takes item ids as FLOAT; use INT."
    )


def test_the_name_of_the_items_vocabulary_is_taken(folder):
    (folder / "ids.txt").write_text("0\n4\n")
    feature = FeatureConfig("item", "item.id", vocabulary="ids.txt")
    assert "give it another name" in message_of(ConfigError, folder, feature)


def test_there_must_be_examples(folder):
    tfrecord.write(folder / "test", [])
    assert message_of(DataError, folder) == (
        f"{folder}/test* leaves no test examples; give files with more of them."
    )
    (folder / "test").unlink()
    assert message_of(DataError, folder).startswith(f"No file matches '{folder}/test*'")


@pytest.mark.parametrize("content", ["{", "[[1, 2]]", '[["x", "A", "B", 1]]', "[[1, 2, 3, 4]]"])
def test_a_table_of_movies_that_cannot_be_read(folder, content):
    (folder / "movie_vocab.json").write_text(content)
    message = message_of(DataError, folder)
    assert message.startswith(f"{folder / 'movie_vocab.json'} cannot be read as rows of [id, title")
