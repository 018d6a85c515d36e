"""docs/configuration.md says what the dataclasses say, and these what the models do."""

import dataclasses
import re
import typing

import pytest

from flaxrec import config as config_lib
from flaxrec.config import Config, GroupConfig, ModelConfig
from flaxrec.data.spec import InputSpec, ModelSpec
from flaxrec.errors import ConfigError
from flaxrec.models import dual_encoder
from flaxrec.models.encoders import ENCODERS
from flaxrec.training.validation import validate
from tests.support.builders import ITEM_ID
from tests.support.places import ROOT
from tools import make_configuration as made

DOCS = ROOT / "docs"


def sections() -> list[type]:
    """Every dataclass of the tree, found by its own fields' types."""
    found = [Config]
    for cls in found:
        for hint in typing.get_type_hints(cls).values():
            for kind in (hint, *typing.get_args(hint)):
                if dataclasses.is_dataclass(kind) and kind not in found:
                    found.append(kind)
    return found


def test_the_committed_page_is_current():
    committed = (DOCS / "configuration.md").read_text(encoding="utf-8")
    assert committed == made.page(), "run python tools/make_configuration.py"


def test_every_field_has_a_row_with_its_default():
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \| (.*?) \|", made.page(), re.MULTILINE)
    fields = [field for cls in sections() for field in dataclasses.fields(cls)]
    assert len(fields) > 80
    for field in fields:
        if field.default is dataclasses.MISSING:
            continue
        default = f"`{field.default!r}`".replace("|", "\\|")
        assert any(name == field.name and default in (shown, "`'\\|'`") for name, _, shown in rows)


@pytest.mark.parametrize("cls", sections(), ids=lambda cls: cls.__name__)
def test_every_field_is_explained(cls):
    said = made.comments(cls)
    assert list(said) == [field.name for field in dataclasses.fields(cls)]
    for field in dataclasses.fields(cls):
        hints = typing.get_type_hints(cls)[field.name]
        if not dataclasses.is_dataclass(hints) and field.name != "features":
            assert len(said[field.name]) > 5, field.name


def test_comments_are_found_where_the_formatter_puts_them():
    assert made.comments(config_lib.DataConfig)["path"].startswith("A folder (movielens; ''")
    assert made.comments(config_lib.SplitConfig)["validation_fraction"].startswith("random, global")
    assert made.comments(config_lib.ExportConfig)["top_k"].startswith("K, number of")
    later = made.comments(config_lib.SplitConfig)["later"]
    assert later.startswith("random: what of the training labels after")
    assert later.endswith("wherever they lie.")


@pytest.mark.parametrize("encoder", ENCODERS)
def test_every_encoder_has_its_row(encoder):
    assert f"\n| `{encoder}` | " in made.PAGE.read_text(encoding="utf-8")


def shapes(encoder: str, **changed) -> dict:
    """Shapes of the parameters of a small model."""
    feature = dataclasses.replace(ITEM_ID, embedding_dim=4)
    group = GroupConfig([feature], encoder, **changed)
    config = Config(model=ModelConfig(8, 4, activity_groups=[group], hidden_dims=()))
    inputs = (InputSpec("context_item_id", "item.id", "INT", 8, 12, "item"),)
    shapes = dual_encoder.structure_of(config, ModelSpec(inputs, 10, 1)).shapes
    return {name: value.shape for name, value in shapes.items()}


@pytest.mark.parametrize("encoder", ENCODERS)
def test_an_encoder_reads_the_fields_that_the_page_says(encoder):
    """A field is an encoder's own if another value changes its parameters."""
    other = {
        "conv_filter_ratios": (1,),
        "conv_kernel_size": 3,
        "lstm_units": 5,
        "width": 8,
        "blocks": 1,
        "heads": 4,
        "feedforward_ratio": 2,
    }
    said = made.comments(GroupConfig)
    named = {field for field in other if encoder in made.used_by(said[field])[0]}
    assert set(other) | {"features", "encoder", "modulates"} == set(said)
    before = shapes(encoder)
    assert {f for f, value in other.items() if shapes(encoder, **{f: value}) != before} == named


def test_what_a_field_accepts_is_what_validation_accepts():
    """Numbers below the said range are refused with the field's name."""
    for path, below in (("train.epochs", 0), ("seed", -1), ("model.dropout", 1.0)):
        config = Config()
        config.model.activity_groups = [GroupConfig([ITEM_ID])]
        *parents, name = path.split(".")
        setattr(config_lib.get(config, ".".join(parents)) if parents else config, name, below)
        assert made.accepted(path)
        with pytest.raises(ConfigError, match=f"config.{path} is"):
            validate(config)
