"""Features of items as rows of tables, and their sums with the items' own vectors, by hand."""

import numpy as np
import polars as pl
import pytest

from flaxrec.config import FeatureConfig
from flaxrec.data import timelines as timelines_lib
from flaxrec.data.spec import ModelSpec
from flaxrec.errors import ConfigError
from flaxrec.models import item_sums
from flaxrec.training.validation import validate
from tests.support.builders import ITEM_ID, WATCHED, make_config, make_interactions, random_model

GENRES = FeatureConfig("genres", "item.genres", "STRING")
YEAR = FeatureConfig("year", "item.year", "INT")
TEXT_YEAR = FeatureConfig("text_year", "item.year", "STRING")
# Item 50 has no row here.
ITEMS = {
    "item": [10, 20, 30, 40],
    "genres": [["Drama", "War"], [], None, ["War", None, "Sci-Fi"]],
    "year": [1999, None, 1950, 1999],
}


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
        (lambda m: setattr(m, "tied_tables", False), "tied_tables is False"),
        (lambda m: m.label_features.append(GENRES), "'genres' once more"),
        (
            lambda m: m.label_features.append(FeatureConfig("x", "event.rating", "INT")),
            r"label_features\[1\] is event.rating of the type INT; use item.NAME",
        ),
        (
            lambda m: m.label_features.append(FeatureConfig("x", "item.price", "FLOAT")),
            "item.price of the type FLOAT",
        ),
        (lambda m: m.label_features.append(FeatureConfig("x", "item.id", "INT")), "is item.id of"),
    ],
)
def test_what_cannot_be_added_is_refused(change, message):
    config = config_of(GENRES)
    change(config.model)
    with pytest.raises(ConfigError, match=message):
        validate(config)


def test_a_source_that_is_not_there_is_refused():
    with pytest.raises(ConfigError, match=r"'item\.colour' of the feature 'x' is not in the data"):
        built(FeatureConfig("x", "item.colour", "STRING"))
