"""The shipped configs: every variant is a valid experiment, and what its name says."""

import itertools
import re

import pytest

from flaxrec.config import Config, feature_length, from_json, groups, presets, sha256, to_json
from flaxrec.data.dataset import prepare
from flaxrec.errors import ConfigError
from flaxrec.training.validation import checked
from tests.support.shipped_configs import CONFIGS, SMOKES, VARIANTS, load, variants_in


def ids(cases) -> list[str]:
    return [f"{path.stem}:{name}" for path, name in cases]


def features_of(config: Config) -> list[list[str]]:
    return [[feature.name for feature in group.features] for _, group in groups(config.model)]


def test_the_shipped_configs_are_found():
    names = {path.stem for path in CONFIGS}
    assert {"quickstart", "own_table", "example_networks", "compact"} <= names


# ---- every variant ----------------------------------------------------------------------------


@pytest.mark.parametrize(("path", "name"), VARIANTS, ids=ids(VARIANTS))
def test_every_variant_is_valid(path, name):
    config = load(path).get_config(name)
    assert checked(config) == config
    assert from_json(to_json(config)) == config


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_the_docstring_lists_the_variants_that_there_are(path):
    module = load(path)
    with pytest.raises(ConfigError, match="The config has no variant 'nonsense'; use ") as error:
        module.get_config("nonsense")
    accepted = str(error.value).split("; use ")[1].rstrip(".").split(", ")
    assert sorted(variants_in(module.__doc__)) == sorted(accepted)
    assert "smoke" in accepted


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_the_docstring_gives_the_command(path):
    module = load(path)
    command = "python train_main.py"
    default = path.stem == "quickstart"
    assert (command if default else f"{command} --config=configs/{path.name}") in module.__doc__
    assert module.get_config().name == path.stem


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_variants_differ_and_a_call_does_not_change_the_next(path):
    module = load(path)
    names = [None, *variants_in(module.__doc__)]
    first = [sha256(module.get_config(name)) for name in names]
    module.get_config("smoke").model.activity_groups[0].features[0].embedding_dim = 999
    assert [sha256(module.get_config(name)) for name in names] == first
    listed = re.sub(r"\s+", " ", module.__doc__.split("Variants: ")[1])
    defaults = [name for name in names[1:] if re.search(rf"\b{name} \(default", listed)]
    assert all(first[names.index(name)] == first[0] for name in defaults)
    assert len(set(first)) == len(names) - len(defaults)


# ---- smoke ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("path", "variant"), SMOKES, ids=ids(SMOKES))
def test_every_smoke_needs_no_file_and_fits_its_data(path, variant):
    config = checked(load(path).get_config(variant))
    assert config.data.source == "synthetic"
    data = prepare(config)  # refuses a K above the catalogue and features that are not there
    steps = len(data.split.train) // config.train.batch_size
    assert 20 < steps < 200
    assert len(data.split.validation)
    assert config.train.epochs == 1
    features = itertools.chain(*features_of(data.config))
    assert [spec.name for spec in data.spec.inputs] == list(dict.fromkeys(features))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_smoke_is_the_same_model(path):
    module = load(path)
    full, smoke = module.get_config(), module.get_config("smoke")
    assert smoke.model == full.model
    assert (smoke.loss, smoke.optimizer, smoke.split) == (full.loss, full.optimizer, full.split)
    assert smoke.reference_mode == full.reference_mode


def test_the_references_sample_in_two_words():
    """As its input config has it, and by the names of flaxrec's own presets."""
    folder = CONFIGS[0].parent
    theirs = load(folder / "from_reference.py").get_config()
    ours = load(folder / "reference.py").get_config("sample")
    assert ours.optimizer == theirs.optimizer
    assert ours.split == theirs.split
    assert ours.export == theirs.export
    assert ours.train == theirs.train
    assert ours.model.hidden_dims == theirs.model.hidden_dims == (32, 32)
    assert ours.model.embedding_dim == theirs.model.embedding_dim == 8
    described = [
        [
            (
                group.encoder,
                group.conv_filter_ratios,
                group.conv_kernel_size,
                group.lstm_units,
                [
                    (f.source, f.type, feature_length(f, config.model))
                    + (() if f.type == "FLOAT" else (f.embedding_dim,))
                    for f in group.features
                ],
            )
            for _, group in groups(config.model)
        ]
        for config in (ours, theirs)
    ]
    assert described[0] == described[1]
    assert described[0] == [
        ("cnn", (2, 4), 4, 4, [("item.id", "INT", 10, 8), ("event.rating", "FLOAT", 10)]),
        ("cnn", (2, 4), 4, 4, [("item.genres", "STRING", 32, 4)]),
    ]


# ---- the building blocks ------------------------------------------------------------------------


@pytest.mark.parametrize("encoder", ["bow", "cnn", "lstm"])
@pytest.mark.parametrize(
    ("inputs", "expected"),
    [
        ("id", [["context_item_id"]]),
        ("features", [["context_year", "context_rating"], ["context_genres"]]),
        ("id_genre", [["context_item_id"], ["context_genres"]]),
        ("combined", [["context_item_id", "context_year", "context_rating"], ["context_genres"]]),
    ],
)
def test_movielens_variants(inputs, encoder, expected):
    config = presets.example_network(encoder, inputs)
    assert features_of(config) == expected
    assert {group.encoder for _, group in groups(config.model)} == {encoder}
    assert config.data.source == "movielens"
    assert features_of(presets.example_network(encoder, f"{inputs},smoke")) == expected
    assert features_of(presets.example_network(encoder, f"smoke,{inputs}")) == expected
    lengths = {feature_length(f, config.model) for f in config.model.activity_groups[0].features}
    assert lengths == {config.model.context_length}


def test_movielens_is_item_ids_alone_by_default():
    assert presets.example_network("cnn", None) == presets.example_network("cnn", "id")
    assert presets.example_network("cnn", "") == presets.example_network("cnn", "id")


@pytest.mark.parametrize(
    ("variant", "expected"),
    [
        (None, ("", set())),
        ("", ("", set())),
        ("smoke", ("", {"smoke"})),
        ("id", ("id", set())),
        ("id,smoke", ("id", {"smoke"})),
        ("smoke,id", ("id", {"smoke"})),
        ("tied", ("", {"tied"})),
        ("smoke,id,tied", ("id", {"smoke", "tied"})),
    ],
)
def test_split_variant(variant, expected):
    assert presets.split_variant(variant, ("id", "combined"), ("tied", "smoke")) == expected


def test_smoke_is_the_switch_of_every_config():
    assert presets.split_variant("smoke,id", ("id",)) == ("id", {"smoke"})
    with pytest.raises(ConfigError, match="no variant 'tied'; use id, smoke"):
        presets.split_variant("id,tied", ("id",))


@pytest.mark.parametrize("encoder", ["bow", "cnn", "lstm"])
@pytest.mark.parametrize("variant", ["tied", "id,tied", "tied,combined", "tied,smoke"])
def test_tied_goes_with_the_other_variants(encoder, variant):
    rest = ",".join(part for part in variant.split(",") if part != "tied")
    tied, untied = (checked(presets.example_network(encoder, v)) for v in (variant, rest))
    assert tied.model.tied_tables
    assert not untied.model.tied_tables
    assert tied.data == untied.data
    assert tied.model.activity_groups == untied.model.activity_groups


def test_tied_needs_item_ids():
    config = presets.example_network("bow", "features,tied")
    with pytest.raises(ConfigError, match=r"feature with source item\.id"):
        checked(config)


@pytest.mark.parametrize(
    ("variant", "message"),
    [
        ("ids", "The config has no variant 'ids'; use id, combined, smoke."),
        ("id,Smoke", "The config has no variant 'Smoke'; use id, combined, smoke."),
        ("id,combined", "The variants id and combined exclude each other; use one."),
    ],
)
def test_split_variant_refuses(variant, message):
    with pytest.raises(ConfigError) as error:
        presets.split_variant(variant, ("id", "combined"))
    assert str(error.value) == message
