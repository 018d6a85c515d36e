"""Dotted paths: what they reach, what a text becomes there, and the one form of what is wrong."""

import pytest

from flaxrec.config import Config, FeatureConfig, GroupConfig, paths
from flaxrec.errors import ConfigError


def make_config() -> Config:
    config = Config()
    config.model.activity_groups = [GroupConfig([FeatureConfig("context_item_id")])]
    return config


@pytest.mark.parametrize(
    ("path", "text", "value"),
    [
        ("name", "12", "12"),
        ("data.path", "(1,)", "(1,)"),
        ("data.path", "", ""),
        ("train.epochs", "1_000", 1000),
        ("optimizer.learning_rate", "1e-2", 0.01),
        ("optimizer.learning_rate", "3", 3.0),
        ("export.enabled", "F", False),
        ("reference_mode", "1", True),
        ("evaluation.ks", "(1, 7)", (1, 7)),
        ("evaluation.ks", "1,7", (1, 7)),
        ("evaluation.ks", "[1, 7]", (1, 7)),
        ("evaluation.ks", "7", (7,)),
        ("evaluation.ks", "()", ()),
        ("data.columns.event_features", "price", ("price",)),
        ("data.columns.event_features", "('price', 'shop')", ("price", "shop")),
        ("data.columns.event_features", "price, shop", ("price", "shop")),
        ("data.columns.event_features", "(price,shop)", ("price", "shop")),
        ("data.columns.event_features", "'price, EUR',", ("price, EUR",)),
        ("data.columns.event_features", "3,a 4", ("3", "a 4")),
        ("data.columns.event_features", "(3, 4)", ("3", "4")),
        ("data.columns.event_features", "0", ("0",)),
        ("data.event_types", "", ()),
        ("model.activity_groups[0].encoder", "lstm", "lstm"),
        ("model.activity_groups[0].features[0].length", "3", 3),
    ],
)
def test_a_text_becomes_what_the_field_takes(path: str, text: str, value):
    config = make_config()
    paths.override(config, {path: text})
    found = paths.get(config, path)
    assert found == value
    assert type(found) is type(value)
    assert paths.differences(make_config(), config) == (
        [] if value == paths.get(make_config(), path) else [path]
    )


GROUP = "config.model.activity_groups[0]"


@pytest.mark.parametrize(
    ("path", "text", "message"),
    [
        ("", "1", "config has no field ''; it has name, seed, reference_mode, data, "),
        ("trane.epochs", "1", "config has no field 'trane'; did you mean 'train'?"),
        ("train.epochs.x", "1", "config.train.epochs has no field 'x'; it has none."),
        (
            "model.activity_groups[0].features[0].typ",
            "INT",
            f"{GROUP}.features[0] has no field 'typ'; did you mean 'type'?",
        ),
        (
            "model.activity_groups[1].encoder",
            "lstm",
            "There is no config.model.activity_groups[1]; items are numbered from 0.",
        ),
        ("model.activity_groups.x", "1", "config.model.activity_groups has no field 'x'; it has "),
        ("train", "3", "config.train is 3; expected an object with the fields of the section."),
        ("train.epochs", "1.5", "config.train.epochs is 1.5; expected int."),
        ("train.epochs", "True", "config.train.epochs is True; expected int."),
        ("export.enabled", "perhaps", "config.export.enabled is 'perhaps'; expected bool."),
        ("model.hidden_dims", "(a,)", "config.model.hidden_dims[0] is '(a,)'; expected int."),
        ("model.activity_groups", "x", "config.model.activity_groups is 'x'; expected a list."),
    ],
)
def test_what_is_wrong_is_told_with_its_place(path: str, text: str, message: str):
    config = make_config()
    with pytest.raises(ConfigError) as error:
        paths.override(config, {path: text})
    assert str(error.value).startswith(message)
    assert config == make_config()


def test_a_value_is_put_in_its_place():
    config = make_config()
    group = {"encoder": "lstm", "features": []}
    paths.put(config, "model.activity_groups[0]", group)
    assert config.model.activity_groups == [GroupConfig([], "lstm")]
    with pytest.raises(ConfigError, match=r"config\.seed is 'x'; expected int\."):
        paths.put(config, "seed", "x")
