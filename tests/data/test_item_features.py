"""The label tower by hand: features as rows and numbers, their sums with the items' vectors."""

import dataclasses
import logging

import jax
import jax.numpy as jnp
import numpy as np
import polars as pl
import pytest

from flaxrec.config import FeatureConfig
from flaxrec.data import item_features
from flaxrec.data import timelines as timelines_lib
from flaxrec.data.item_features import Known
from flaxrec.data.spec import ModelSpec
from flaxrec.errors import ConfigError, DataError
from flaxrec.models import item_sums
from flaxrec.training import steps
from flaxrec.training.validation import validate
from tests.support.builders import ITEM_ID, WATCHED, make_config, make_interactions, random_model

GENRES = FeatureConfig("genres", "item.genres", "STRING")
YEAR = FeatureConfig("year", "item.year", "INT")
PRICE = FeatureConfig("price", "item.price", "FLOAT")
TEXT_YEAR = FeatureConfig("text_year", "item.year", "STRING")
# Item 50 has no row here.
ITEMS = {
    "item": [10, 20, 30, 40],
    "genres": [["Drama", "War"], [], None, ["War", None, "Sci-Fi"]],
    "year": [1999, None, 1950, 1999],
    "price": [1.0, 3.0, None, 5.0],
}
IDS = [10, 20, 30, 40, 99]  # of vectors; 50 has none
VECTORS = np.arange(10, dtype=np.float32).reshape(5, 2) ** 2


def config_of(*features):
    config = make_config(ITEM_ID)
    config.model.label_features = list(features)
    config.model.tied_tables = True
    config.model.activity_groups[0].features[0].embedding_dim = config.model.embedding_dim
    return config


def built(*features, items=None):
    interactions = make_interactions(WATCHED, ITEMS if items is None else items)
    return timelines_lib.build(interactions, config_of(*features))


def by_id(timelines, values):
    return dict(zip(timelines.items["item"].to_list(), values, strict=True))


def test_values_of_one_and_of_several():
    timelines = built(GENRES, YEAR, TEXT_YEAR)
    found = {
        name: by_id(timelines, of.values.tolist()) for name, of in timelines.item_values.items()
    }
    (drama, war, _), scifi = found["genres"][10], found["genres"][40][-1]
    # A null in a list is 'unknown', as everywhere; no list, or an empty one, has no value.
    assert len({war, drama, scifi}) == 3
    unknown = timelines.item_values["genres"].rows - 1
    assert found["genres"] == {
        10: [drama, war, 0],
        20: [0, 0, 0],
        30: [0, 0, 0],
        40: [war, unknown, scifi],
        50: [0, 0, 0],
    }
    for name in ("year", "text_year"):
        rows = timelines.item_values[name].rows
        (new,), (old,) = found[name][10], found[name][30]
        assert {new, old} == {1, 2}
        assert found[name] == {10: [new], 20: [3], 30: [old], 40: [new], 50: [3]}
        assert rows == 4
    # They are no inputs of the model.
    assert [i.name for i in timelines.inputs] == [ITEM_ID.name]
    assert set(timelines.vocabularies) == {"item"}


def test_words_of_texts():
    """In lower case, each once; of more than 64 the first. Later texts are read alike."""
    title = FeatureConfig("words", "item.title", "STRING", words=True)
    long = " ".join(f"w{i}" for i in range(70))
    titles = ["It's War, war! (1998)", "ÉTÉ été: \u65e5\u672c 2", None, long]
    timelines = built(title, items={"item": [10, 20, 30, 40], "title": titles})
    (of,) = timelines.item_values.values()
    entries = np.array([*of.known.vocabulary.entries, "?"])
    found = by_id(timelines, [entries[row[row > 0]].tolist() for row in of.values])
    assert found[10] == ["it's", "war", "1998"]
    assert found[20] == ["été", "\u65e5\u672c", "2"]
    assert (found[30], found[50]) == ([], [])
    assert found[40] == long.split()[:64]
    later = pl.DataFrame({"item": ["new"], "title": ["War of Words"]})
    (rows,) = item_features.of_later_items(
        config_of(title), later, {"words": of.known}, {}
    ).values()
    assert entries[rows[0]].tolist() == ["war", "?", "?"]
    with pytest.raises(DataError, match=r"'words' .item.genres. is to be read by words, but its"):
        built(dataclasses.replace(title, source="item.genres"))


def test_the_table_is_the_sum_of_an_items_own_vector_and_its_values():
    config = config_of(GENRES, YEAR)
    timelines = built(GENRES, YEAR)
    spec = ModelSpec(timelines.inputs, len(timelines.vocabularies["item"].entries) - 1, 1)
    structure, params = random_model(config, spec)
    (table,) = structure.item_tables(spec)
    random = np.random.default_rng(0)
    width = config.model.embedding_dim
    extra = {
        item_sums.PREFIX + name: random.normal(size=(of.rows, width)).astype(np.float32)
        for name, of in timelines.item_values.items()
    }
    values = {name: of.values for name, of in timelines.item_values.items()}
    found = item_sums.summed(structure, spec, params | extra, values)
    assert set(found) == set(params)
    expected = np.array(params[table])
    for name, of in values.items():
        for candidate, rows in enumerate(of):
            for row in rows[rows > 0]:
                expected[1 + candidate] += extra[item_sums.PREFIX + name][row]
    np.testing.assert_allclose(found[table], expected, rtol=1e-5, atol=1e-6)
    for row in (0, -1):
        np.testing.assert_array_equal(found[table][row], params[table][row])
    assert item_sums.summed(structure, spec, params, {}) == params


def vectors(**changes):
    return FeatureConfig("text", type="VECTOR", **changes)


def write_vectors(path, ids=IDS, values=VECTORS):
    if path.suffix == ".npz":
        np.savez(path, ids=ids, vectors=values)
    else:
        columns = {"item": ids, "text": values, "other": values}
        pl.DataFrame(columns, schema_overrides={"text": pl.List(pl.Float32)}).write_parquet(path)
    return vectors(file=str(path))


@pytest.mark.parametrize("name", ["text.npz", "text.parquet"])
def test_numbers_and_vectors_are_standardised_by_the_catalogue(tmp_path, caplog, name):
    with caplog.at_level(logging.WARNING):
        found = built(PRICE, write_vectors(tmp_path / name)).item_values
    assert [r.getMessage() for r in caplog.records] == [
        f"{tmp_path / name} has no vector for 1 of the 5 items, such as 50; they are taken as the "
        "mean."
    ]
    timelines = built(PRICE)
    prices = by_id(timelines, found["price"].values[:, 0])
    deviation = np.sqrt(8 / 3)  # of 1, 3, 5
    expected = {10: -2 / deviation, 20: 0, 30: 0, 40: 2 / deviation, 50: 0}  # missing: the mean
    assert prices == pytest.approx(expected)
    rows = by_id(timelines, found["text"].values)
    apart = VECTORS[:4] - VECTORS[:4].mean(axis=0)
    apart /= np.sqrt(np.square(apart).sum(axis=1).mean())
    for item, row in zip(IDS, apart, strict=False):
        np.testing.assert_allclose(rows[item], row, rtol=1e-5)
    assert not rows[50].any()
    assert (found["text"].rows, found["text"].values.dtype) == (2, np.float32)


def test_what_is_known_of_a_feature_reads_later_items(tmp_path):
    """A later number beyond those of training is cut; a value that is not known is 'unknown'."""
    features = [GENRES, PRICE, write_vectors(tmp_path / "text.npz")]
    config, found = config_of(*features), built(*features).item_values
    known = {name: Known.from_json(of.known.to_json()) for name, of in found.items()}
    later = pl.DataFrame(
        {"item": ["new", "20"], "genres": [["War", "Noir"], []], "price": [1000.0, None]}
    )
    write_vectors(tmp_path / "later.npz", ["20", "new"], VECTORS[:2])
    files = {"text": str(tmp_path / "later.npz")}
    values = item_features.of_later_items(config, later, known, files)
    _, war, _ = by_id(built(GENRES), found["genres"].values)[10]
    unknown = known["genres"].rows - 1
    assert values["genres"].tolist() == [[war, unknown], [0, 0]]
    assert values["price"].tolist() == [[found["price"].values.max()], [0]]
    items = by_id(built(GENRES), found["text"].values)
    np.testing.assert_allclose(values["text"], [items[20], items[10]], rtol=1e-6)
    longer = write_vectors(tmp_path / "later.npz", ["20", "new"], np.ones((2, 3))).file
    with pytest.raises(DataError, match=r"vectors of 3 numbers, but .* had 2; make them with"):
        item_features.of_later_items(config, later, known, {"text": longer})


BAD = {
    "is missing": (None, "cannot be read .No such file or directory.; correct its `file`"),
    "is text": (b"item,text", "neither .npz nor Parquet; write it"),
    "is cut": (b"PAR1 and no more", "cannot be read"),
    "is cut too": (b"PK and no more", "cannot be read"),
    "of objects": ({"ids": [None, "a"], "vectors": VECTORS[:2]}, "ids as numbers or text"),
    "of other arrays": ({"names": IDS, "vectors": VECTORS}, "it needs `ids` and `vectors`"),
    "too short": ({"ids": IDS, "vectors": VECTORS[:4]}, r"has ids \[5\] of int64 and vectors \[4"),
    "flat": ({"ids": IDS, "vectors": VECTORS[:, 0]}, r"of the shape \[n, V\]"),
    "empty": ({"ids": np.zeros(0, int), "vectors": VECTORS[:0]}, "holds no vectors"),
    "not finite": (
        {"ids": IDS, "vectors": np.where(VECTORS == 4, np.nan, VECTORS)},
        "1 of 5 vectors have numbers that are not finite, such as those of 20; correct",
    ),
    "beyond 32 bits": (
        {"ids": IDS, "vectors": VECTORS.astype(float) * 1e40 + 1e40},
        "5 of 5 .* those of 10, 20, 30;",
    ),
    "twice": ({"ids": [10, 20, 10, 20, 3], "vectors": VECTORS}, "2 of 5 .* stands in it already"),
    "foreign": (
        {"ids": ["a", "b", "c", "d", "e"], "vectors": VECTORS},
        r"none of its 5 ids is one of the 5 items \(there 'a', here 40\); correct",
    ),
    "of lengths": (
        pl.DataFrame({"id": [1, 2, 3], "v": [[1.0], [1.0, 2.0], []]}),
        "2 of 3 vectors have another length than the first, 1, such as those of 2, 3; correct",
    ),
    "without an id": (pl.DataFrame({"id": [1, None], "v": [[1.0], [2.0]]}), "1 of 2 .* have no id"),
    "of two columns": (pl.DataFrame({"id": [1], "v": [[1.0]], "w": [[1.0]]}), "needs one of ids"),
    "of no column": (pl.DataFrame({"key": [1], "v": [[1.0]]}), "ids called 'item', and one of"),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_file_of_vectors_that_cannot_be_used_is_told_in_a_sentence(tmp_path, kind):
    content, message = BAD[kind]
    path = tmp_path / "vectors"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif isinstance(content, dict):
        with path.open("wb") as file:
            np.savez(file, **{name: np.asarray(value) for name, value in content.items()})
    elif content is not None:
        content.write_parquet(path)
    with pytest.raises(DataError, match=message) as error:
        built(vectors(file=str(path)))
    assert str(error.value).startswith(str(path))


def test_several_numbers_of_an_item_are_no_float():
    with pytest.raises(DataError, match=r"'x' .item.genres. is FLOAT, but its column holds"):
        built(FeatureConfig("x", "item.genres", "FLOAT"))


@pytest.mark.parametrize("tied", [True, False])
def test_training_leaves_out_some_items_own_vectors(tied):
    """Another share of items in each step; the tower's part, and the contexts' table, stay.

    Tied, they have the vector of 'unknown' instead, which learns so.
    """
    config, timelines = config_of(GENRES, PRICE), built(GENRES, PRICE)
    config.model.tied_tables, config.model.id_dropout = tied, 0.5
    spec = ModelSpec(timelines.inputs, len(timelines.vocabularies["item"].entries) - 1, 1)
    structure, params = random_model(config, spec)
    extra = {
        item_sums.PREFIX + name: np.ones((of.rows, config.model.embedding_dim), np.float32)
        for name, of in timelines.item_values.items()
    }
    values = {name: of.values for name, of in timelines.item_values.items()}
    targets = steps.Targets(np.zeros(5), item_values=values)
    made = [
        steps.whole(config, structure, spec, params | extra, targets, key)
        for key in [None, *jax.random.split(jax.random.key(0), 20)]
    ]
    name, first = item_sums.label_table(structure, spec)
    assert (name, first) == (name, 1 if tied else 0)
    own = params[name][first : first + 5]
    tower = item_sums.of_features(params | extra, values)
    np.testing.assert_allclose(made[0][name][first : first + 5], own + tower, rtol=1e-5, atol=1e-6)
    kept, nobody = [], params[name][-1] if tied else np.zeros(config.model.embedding_dim)
    for of_step in made[1:]:
        rows = np.asarray(of_step[name][first : first + 5] - tower)
        kept.append(np.abs(rows - nobody).max(axis=1) > 1e-4)
        expected = np.where(kept[-1][:, None], own, nobody)
        np.testing.assert_allclose(rows, expected, rtol=1e-5, atol=1e-5)
    assert 0.3 < np.mean(kept) < 0.7
    assert len({tuple(row) for row in kept}) > 5
    for other in set(params) - {name}:
        np.testing.assert_array_equal(made[1][other], params[other])


@pytest.mark.parametrize("tied", [True, False])
def test_some_sums_have_the_gradients_of_all(tied, monkeypatch):
    """Of candidates and contexts that a step reads; others are not made."""
    monkeypatch.setattr(item_sums, "_FEW", 2.0)
    config, timelines = config_of(GENRES, PRICE), built(GENRES, PRICE)
    config.model.tied_tables = tied
    spec = ModelSpec(timelines.inputs, len(timelines.vocabularies["item"].entries) - 1, 1)
    structure, params = random_model(config, spec)
    for place, (name, of) in enumerate(timelines.item_values.items()):
        shape = of.rows, config.model.embedding_dim
        params[item_sums.PREFIX + name] = jax.random.normal(jax.random.key(place), shape)
    values = {name: jnp.asarray(of.values) for name, of in timelines.item_values.items()}
    kept = jnp.array([True, False, True, True, True])
    contexts, labels = jnp.array([[2, 0, 6], [2, 4, -3]]), jnp.array([3, 1])
    only = item_sums.some(5, labels, contexts - 1)
    assert sorted(only[only < 5].tolist()) == [1, 3]
    assert len(set(only.tolist())) == len(only) == 8

    def loss(params, only):
        made = structure.merge(item_sums.summed(structure, spec, params, values, kept, only))
        (name,) = (spec.name for spec in timelines.inputs)
        scored = made.encode_context({name: contexts}) * made.label_encoder.some(labels)
        return jnp.sum(scored**2)

    wanted, found = (jax.value_and_grad(loss)(params, of) for of in (None, only))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(b, a, rtol=1e-5, atol=1e-6), wanted, found)


@pytest.mark.parametrize("count", [64, 65])
def test_an_item_has_at_most_64_values(count):
    items = {"item": [10], "genres": [[f"g{i}" for i in range(count)]]}
    if count == 64:
        assert built(GENRES, items=items).item_values["genres"].values.shape == (5, 64)
        return
    with pytest.raises(ConfigError, match=r"'genres' .* has 65 values for one item"):
        built(GENRES, items=items)


def test_a_table_whose_lists_are_all_empty():
    schema = {"item": pl.Int64, "genres": pl.List(pl.String)}
    items = pl.DataFrame({"item": [10, 20], "genres": [[], []]}, schema=schema)
    (values,) = built(GENRES, items=items).item_values.values()
    assert not values.values.any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: setattr(m, "label_features", [YEAR, YEAR]), "'year' once more"),
        (lambda m: m.label_features.append(GENRES), "'genres' once more"),
        (
            lambda m: m.label_features.append(FeatureConfig("x", "event.rating", "INT")),
            r"label_features\[1\] is event.rating of the type INT; use item.NAME",
        ),
        (lambda m: m.label_features.append(FeatureConfig("x", "item.id", "INT")), "is item.id of"),
        (
            lambda m: m.label_features.append(vectors(source="item.year", file="x.npz")),
            "is item.year of the type VECTOR; use item.NAME as INT",
        ),
        (lambda m: m.label_features.append(vectors()), "the type VECTOR and the file ''; give a"),
        (
            lambda m: m.label_features.append(dataclasses.replace(YEAR, name="x", file="x.npz")),
            "the type INT and the file 'x.npz'",
        ),
        (
            lambda m: m.activity_groups[0].features.append(vectors(file="x.npz")),
            "VECTOR, which is for config.model.label_features",
        ),
        (
            lambda m: (m.label_features.clear(), setattr(m, "id_dropout", 0.5)),
            "id_dropout is 0.5, but config.model.label_features is empty",
        ),
        (
            lambda m: m.label_features.append(dataclasses.replace(YEAR, name="x", words=True)),
            r"label_features\[1\].words is True, but its type is INT; use STRING",
        ),
        (
            lambda m: m.activity_groups[0].features.append(
                FeatureConfig("x", "item.title", "STRING", words=True)
            ),
            "words is True, but only config.model.label_features read texts by words",
        ),
        (lambda m: setattr(m, "id_dropout", 1.0), "id_dropout is 1.0; use 0 or more, below 1"),
    ],
)
def test_what_cannot_be_added_is_refused(change, message):
    config = config_of(GENRES)
    change(config.model)
    with pytest.raises(ConfigError, match=message):
        validate(config)


@pytest.mark.parametrize("records", [True, False])
def test_only_tables_of_items_have_label_features(records):
    config = config_of(GENRES)
    config.model.tied_tables, config.reference_mode = False, not records
    if records:
        config.data.source, config.data.path, config.data.records.test = "tfrecord", "a", "b"
        config.train.select_metric = "recall@10"
    with pytest.raises(ConfigError, match="label_features has features, but reference mode and"):
        validate(config)


def test_a_source_that_is_not_there_is_refused():
    with pytest.raises(ConfigError, match=r"'item\.colour' of the feature 'x' is not in the data"):
        built(FeatureConfig("x", "item.colour", "STRING"))
