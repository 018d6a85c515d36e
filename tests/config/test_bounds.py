"""Every field's bound: stated, told in one sentence, and met by what ships."""

import dataclasses
import json
import math
import typing

import numpy as np
import pytest

from flaxrec.config import Config, FeatureConfig, GroupConfig, bounds, from_json, paths
from flaxrec.errors import ConfigError
from flaxrec.training.validation import checked
from tools import make_configuration as made


def config_of_all() -> Config:
    """A config in which every kind of section stands once."""
    config = Config()
    config.model.activity_groups = [GroupConfig([FeatureConfig("context_item_id")])]
    config.model.global_groups = [GroupConfig([FeatureConfig("age_group", "user.age_group")])]
    config.model.tied_tables = True
    config.model.label_features = [FeatureConfig("year", "item.year")]
    return config


def fields() -> list[tuple[str, typing.Any]]:
    """(path, type) of every field that is no section and no list of sections."""
    found = []

    def walk(section: typing.Any, path: str) -> None:
        for name, hint in typing.get_type_hints(type(section), include_extras=True).items():
            value, place = getattr(section, name), f"{path}.{name}".lstrip(".")
            if dataclasses.is_dataclass(value):
                walk(value, place)
            elif isinstance(value, list):
                walk(value[0], f"{place}[0]")
            else:
                found.append((place, hint))

    walk(config_of_all(), "")
    return found


FIELDS = fields()
LONG = "x" * 50_000_000
NUMBERS = [(path, kind) for path, hint in FIELDS if (kind := bounds.of(hint)[0]) in (int, float)]


def refusal(path: str, value: object) -> str:
    """What is said of a value, the same wherever it is given."""
    with pytest.raises(ConfigError) as error:
        paths.put(config_of_all(), path, value)
    message = str(error.value)
    assert message.startswith(f"config.{path}")
    assert len(message) < 400
    assert "; " in message
    assert message.endswith(".")
    config = config_of_all()
    *_, name = path.split(".")
    owner = paths.get(config, path.rpartition(".")[0]) if "." in path else config
    setattr(owner, name, value)
    with pytest.raises(ConfigError) as again:
        checked(config)
    assert str(again.value) == message
    return message


def test_every_number_has_a_range():
    assert len(NUMBERS) > 60
    for path, hint in FIELDS:
        kind, bound = bounds.of(hint)
        inner = typing.get_args(kind)[0] if typing.get_origin(kind) is tuple else hint
        kind, bound = bounds.of(inner)
        assert kind is bool or bound is not None, path
        if kind in (int, float):
            assert isinstance(bound, bounds.Range), path
            assert math.isfinite(bound.low), path
            assert math.isfinite(bound.high), path


@pytest.mark.parametrize(("path", "kind"), NUMBERS)
def test_numbers_that_no_run_needs(path, kind):
    for value in (10**40, -(10**40), 10**400, 1e308, math.nan, math.inf, -math.inf, True):
        refusal(path, value)
    assert f"{made.accepted(_page(path))}." in refusal(path, 10**40)
    assert "too long int" in refusal(path, 10**5000)


@pytest.mark.parametrize("path", [path for path, hint in FIELDS if bounds.of(hint)[0] is str])
def test_texts_that_no_run_needs(path):
    for value in (LONG, "a\0b", "\ud800", b"a", 3, None):
        refusal(path, value)


@pytest.mark.parametrize("path", ["name", "model.activity_groups[0].features[0].name"])
def test_names_are_printable(path):
    for value in ("a\nb", "\x1b[2J", "\u202e"):
        assert "200 bytes of printable characters." in refusal(path, value)


@pytest.mark.parametrize("path", ["evaluation.ks", "model.hidden_dims", "data.event_types"])
def test_long_lists(path):
    assert " entries." in refusal(path, (1,) * 1_000_000)


def _page(path: str) -> str:
    """The path as the configuration page writes it."""
    groups = path.replace("global_groups", "activity_groups")
    label = groups.replace("label_features[0]", "activity_groups[i].features[j]")
    return label.replace("groups[0]", "groups[i]").replace("features[0]", "features[j]")


def test_the_page_shows_every_bound():
    page = made.PAGE.read_text(encoding="utf-8")
    for path, hint in FIELDS:
        _, bound = bounds.of(hint)
        if isinstance(bound, bounds.Range):
            assert f" | {bound} | " in page, path
    assert "| `context_length` | `int` | `10` | 1 to 10000 | " in page
    assert "| `dropout` | `float` | `0.0` | 0 or more, below 1 | " in page
    assert f"at most {bounds.of(str)[1].most} bytes" in page
    assert f"at most {bounds.of(list)[1].most} entries" in page


def test_a_range_ends_where_it_says():
    whole, share = bounds.Range(1, 10), bounds.Range(0, 1, below=True)
    above = bounds.Range(0, 2.5, above=True)
    assert [n for n in range(-3, 15) if whole.takes(n)] == list(range(1, 11))
    assert [n for n in (-0.1, 0, 0.5, 1, 1.5) if share.takes(n)] == [0, 0.5]
    assert [n for n in (-1, 0, 1e-300, 2.5, 2.6) if above.takes(n)] == [1e-300, 2.5]
    assert [str(bound) for bound in (whole, share, above)] == [
        "1 to 10",
        "0 or more, below 1",
        "a number above 0, at most 2.5",
    ]


def test_a_field_that_does_not_exist_is_noticed_in_a_config_file():
    config = config_of_all()
    config.train.epohcs = 30  # type: ignore[attr-defined]
    with pytest.raises(ConfigError, match=r"config\.train .* 'epohcs'; did you mean 'epochs'\?"):
        checked(config)


def test_numbers_of_numpy_are_taken_or_told():
    config = config_of_all()
    config.optimizer.learning_rate = np.float64(0.5)
    assert type(checked(config).optimizer.learning_rate) is float
    config.train.epochs = np.int64(3)
    with pytest.raises(ConfigError, match=r"config\.train\.epochs is .*3.*; expected int\."):
        checked(config)


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        '{"train": ' * 100_000,
        '{"seed": ' + "9" * 5_000 + "}",
        '{"seed": 1, "seed": 2}',
        '{"train": {"epochs": NaN}}',
        '{"optimizer": {"learning_rate": Infinity}}',
        '{"optimizer": {"learning_rate": 1e999}}',
        '{"name": "\\ud800"}',
        '{"name": ' + "[" * 900 + "]" * 900 + "}",
        "\ufeff{}",
        "",
        "null",
        json.dumps({"x" * 10_000_000: 1}),
    ],
    ids=range(13),
)
def test_what_a_saved_config_may_hold(text):
    with pytest.raises(ConfigError) as error:
        from_json(text)
    message = str(error.value)
    assert message.startswith(("The saved config is not valid JSON (", "config"))
    assert len(message) < 400
    assert message.isprintable()
