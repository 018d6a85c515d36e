"""The settings that accounts of data lead to (config.recipe=by_data), and that they can be used."""

import copy
import dataclasses
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flaxrec import config as config_lib
from flaxrec.config import Config, FeatureConfig, GroupConfig, loading, paths
from flaxrec.data import recipe
from flaxrec.data.account import Account
from flaxrec.errors import ConfigError
from flaxrec.models.encoders import ENCODERS
from flaxrec.training.validation import validate

SPARSE = Account(
    rows_read=10_000, bad_rows=0, dropped={}, repeated_events=0, users=1_000, are_sessions=False,
    items=2_000, events=9_000, median_length=7.0, p95_length=20.0, repeat_share=0.0, has_time=True,
    span=1e6, equal_time_share=0.1, heaviest_user="1", heaviest_user_share=0.01,
    single_item_share=0.1, described_item_share=None, item_features=(),
)  # fmt: skip


def account(**changes) -> Account:
    return dataclasses.replace(SPARSE, **changes)


DENSE = account(users=943, items=1_682, events=100_000, median_length=65.0)


def own_table(**overrides) -> Config:
    named = {path.replace("__", "."): text for path, text in overrides.items()}
    return loading.load_config("own_table", named)


def chosen(config: Config, of: Account) -> Config:
    return recipe.chosen(config, of)[0]


# ---- what accounts lead to ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("of", "expected"),
    [
        (
            SPARSE,
            {
                "recipe": "as_set",
                "model.activity_groups[0].encoder": "recency_bow",
                "model.activity_groups[0].features[0].embedding_dim": 64,
                "model.embedding_dim": 64,
                "model.context_length": 50,
                "model.hidden_dims": (),
                "model.projection": False,
                "model.tied_tables": True,
                "model.item_bias": True,
                "model.item_table": "ppmi",
                "model.transitions": 32,
                "model.transitions_to_self": False,
                "train.packed": True,
                "train.labels_per_context": 1,
                "train.select_metric": "filtered/ndcg@10",
                "loss.name": "global_softmax",
                "export.top_k": 60,
                "export.quantization": "float16",
            },
        ),
        (account(items=5_000), {"loss.name": "global_softmax"}),
        (
            account(items=5_001),
            {
                "loss.name": "sampled_softmax",
                "loss.negatives": 2_048,
                "loss.negatives_power": 0.0,
            },
        ),
        (
            account(repeat_share=0.3),
            {
                "model.transitions_to_self": True,
                "train.select_metric": "ndcg@10",
                "export.top_k": 20,
                "loss.exclude_seen": False,
            },
        ),
        (
            DENSE,
            {
                "model.activity_groups[0].encoder": "lstm",
                "model.projection": True,
                "train.packed": False,
                "train.labels_per_context": 20,
                "train.batch_size": 160,
                "loss.exclude_seen": True,
                "export.top_k": 30,
            },
        ),
        (dataclasses.replace(DENSE, repeat_share=0.5), {"loss.exclude_seen": False}),
        (
            account(items=7),
            {"evaluation.ks": (1, 5), "train.select_metric": "filtered/ndcg@5", "export.top_k": 7},
        ),
        (
            account(items=3, repeat_share=0.9),
            {"evaluation.ks": (1,), "train.select_metric": "ndcg@1", "export.top_k": 3},
        ),
        # Too few labels for rows that are full.
        (account(users=10, events=60), {"train.packed": False, "train.labels_per_context": 50}),
        # Most users have three events, and no label.
        (
            account(users=10_000, events=30_150),
            {"train.packed": False, "train.batch_size": 1},
        ),
        # A household: long, but a batch is no more than a twentieth of the contexts.
        (
            account(users=12, items=11, events=720, median_length=60.0),
            {"model.activity_groups[0].encoder": "lstm", "train.batch_size": 1},
        ),
    ],
)  # fmt: skip
def test_settings_of_accounts(of, expected):
    config = chosen(own_table(), of)
    assert {path: paths.get(config, path) for path in expected} == expected


@pytest.mark.parametrize(
    ("changes", "sources"),
    [
        ({}, ["event.gap_after", "ask.since"]),
        ({"has_time": False, "span": 0.0}, []),
        ({"span": 0.0}, []),
        ({"equal_time_share": 1.0}, []),
    ],
)
def test_models_know_the_moment_where_times_tell_something(changes, sources):
    """In the sequence with an LSTM, beside it with a bag of words; and the run says so."""
    for of, source in zip((DENSE, SPARSE), sources or (None, None), strict=True):
        config, choices = recipe.chosen(own_table(), dataclasses.replace(of, **changes))
        read = [f.source for _, group in config_lib.groups(config.model) for f in group.features]
        assert read == ["item.id", *[source] * bool(sources)] or read == [source, "item.id"]
        assert config.model.feature_dropout == (0.1 if sources else 0.0)
        told = [line for line in recipe.lines(choices) if "the moment of asking" in line]
        assert len(told) == bool(sources)
        validate(config)


def test_inputs_without_the_moment_are_not_forgotten():
    """Where the inputs were chosen by hand, and none of them knows it."""
    for of, path in ((DENSE, "model.activity_groups"), (SPARSE, "model.global_groups")):
        config = own_table()
        config.set_by_hand = (path,)
        made, choices = recipe.chosen(config, of)
        assert made.model.feature_dropout == 0.0
        assert not any("the moment" in line for line in recipe.lines(choices))


def test_features_of_items_are_added_to_tied_tables():
    of = account(item_features=("brand", "year"))
    features = chosen(own_table(), of).model.label_features
    assert [(f.source, f.type) for f in features] == [
        ("item.brand", "STRING"),
        ("item.year", "STRING"),
    ]
    apart = chosen(own_table(model__tied_tables="false"), of)
    assert not apart.model.label_features
    validate(apart)


@pytest.mark.parametrize(
    ("overrides", "told"),
    [({}, "item.price, user.age, event.shop"), ({"model__tied_tables": "false"}, "item.brand, ")],
)
def test_features_that_are_not_read_are_told(overrides, told):
    named = {"item": "brand,price", "user": "age", "event": "shop"}
    flags = {f"data__columns__{table}_features": names for table, names in named.items()}
    config = chosen(own_table(**flags, **overrides), account(item_features=("brand",)))
    assert recipe.unread(config).startswith(f"The model does not read {told}")
    of_brands = own_table(data__columns__item_features="brand")
    assert recipe.unread(chosen(of_brands, account(item_features=("brand",)))) == ""


def test_every_choice_is_told_with_its_reason():
    config, choices = recipe.chosen(own_table(), SPARSE)
    differing = config_lib.differences(own_table(), config)
    # A list that was chosen whole stands in `differing` by its parts.
    assert {re.sub(r"(global_groups)\[.*", r"\1", path) for path in differing} == {"recipe"} | {
        choice.path for choice in choices if paths.get(own_table(), choice.path) != choice.value
    }
    told = recipe.lines(choices)
    assert len(told) == len({choice.reason for choice in choices})
    text = " ".join(told)
    assert "8.5" not in text
    assert "an item 4.5 (mean)" in text
    assert "6,000 training labels" in text
    assert all(f"{choice.path}=" in text for choice in choices)


@pytest.mark.parametrize(
    ("of", "overrides", "steps"),
    [
        (SPARSE, {}, 60 * 60),
        (SPARSE, {"train.epochs": "1"}, 60),  # of 2 * 50 labels
        (SPARSE, {"train.epochs": "20", "train.batch_size": "60"}, 40),
        (DENSE, {}, 12 * 30),
        (DENSE, {"train.epochs": "100"}, 3000),
    ],
)
def test_the_rate_warms_up_in_a_tenth_of_the_steps_that_are_made(of, overrides, steps):
    """Also of those that were set by hand."""
    config = chosen(own_table(**overrides), of)
    most = 100 if of is SPARSE else 200
    assert config.optimizer.warmup_steps == min(most, steps // 10)


# ---- what stays -----------------------------------------------------------------------------


def test_a_config_as_set_stays():
    config = own_table()
    config.recipe = "as_set"
    assert recipe.chosen(config, SPARSE) == (config, [])


@pytest.mark.parametrize("share", [0.0, 0.5])
@pytest.mark.parametrize(
    ("items", "length", "k"), [(2, 1, 1), (30, 15, 15), (90, 45, 20), (2_000, 50, 20)]
)
def test_items_remain_where_the_graph_leaves_out_the_context(items, length, k, share):
    made = chosen(
        own_table(export__exclude_context="true"), account(items=items, repeat_share=share)
    )
    assert (made.model.context_length, made.export.top_k) == (length, k)


@pytest.mark.parametrize("of", [SPARSE, DENSE, account(items=4, users=3, events=10)])
def test_choosing_again_changes_nothing(of):
    config = own_table()
    before = copy.deepcopy(config)
    once = chosen(config, of)
    assert config == before
    assert recipe.chosen(once, of) == (once, [])
    assert chosen(config, of) == once


@pytest.mark.parametrize("of", [SPARSE, DENSE])
def test_every_single_override_stays_and_gives_a_config_that_can_be_used(of):
    """Also where it is the default's own value."""
    _, choices = recipe.chosen(own_table(), of)
    default, found = own_table(), 0
    for choice in choices:
        if choice.path.endswith("].features"):
            continue
        value = paths.get(default, choice.path)
        config = own_table(**{choice.path: str(value)})
        made, others = recipe.chosen(config, of)
        assert paths.get(made, choice.path) == value
        assert choice.path not in {other.path for other in others}
        validate(made)
        found += len(others) < len(choices)
    assert found > 10


@pytest.mark.parametrize(
    ("path", "value", "free"),
    [
        ("model.activity_groups[0]", None, False),  # what holds the field
        ("model.activity_groups", None, False),
        ("model.activity_groups[0].features[0].vocab_size", None, True),
        ("model.activity_groups[0].encoder", "lstm", False),  # without being named
    ],
)
def test_what_holds_a_field_set_by_hand_holds_it_too(path, value, free):
    config = own_table()
    if value is None:
        config.set_by_hand = (path,)
    else:
        paths.put(config, path, value)
    made = chosen(config, SPARSE)
    expected = "recency_bow" if free else value or "bow"
    assert made.model.activity_groups[0].encoder == expected
    validate(made)


@pytest.mark.parametrize(
    ("overrides", "packed", "labels"),
    [
        ({"split.protocol": "global_time"}, True, 1),
        ({"split.protocol": "random"}, False, 50),
        ({"train.packed": "false"}, False, 50),
        ({"train.labels_per_context": "3"}, False, 3),
        ({"model.activity_groups[0].encoder": "lstm"}, True, 1),
        ({"model.activity_groups[0].encoder": "attention"}, True, 1),
        ({"model.activity_groups[0].encoder": "causal_cnn"}, False, 50),
        ({"model.activity_groups[0].encoder": "cnn"}, False, 1),
        ({"model.activity_groups[0].features[0].length": "3"}, False, 1),
    ],
)
def test_rows_are_packed_where_the_config_allows_it(overrides, packed, labels):
    made = validate(chosen(own_table(**overrides), SPARSE))
    assert (made.train.packed, made.train.labels_per_context) == (packed, labels)


def test_of_an_encoder_of_ones_own_nothing_is_asked():
    made = chosen(own_table(**{"model.activity_groups[0].encoder": "mine"}), SPARSE)
    assert (made.train.packed, made.train.labels_per_context) == (False, 1)
    assert made.model.projection


def test_the_encoders_of_packed_rows_are_those_that_say_so():
    assert {n for n, e in ENCODERS.items() if e.encodes_packed} == set(recipe._PACKED)
    prefixes = {n for n, e in ENCODERS.items() if e.encodes_prefixes}
    assert prefixes == {*recipe._PACKED, "causal_cnn"}


def test_a_field_in_a_list_that_is_replaced_stays():
    """features[0].embedding_dim by hand: the features are not replaced by others."""
    config = own_table(**{"model.activity_groups[0].features[0].embedding_dim": "16"})
    made = chosen(config, DENSE)
    (feature,) = made.model.activity_groups[0].features
    assert feature.embedding_dim == 16
    assert not made.model.tied_tables


def test_a_name_that_only_begins_alike_is_another():
    config = own_table(optimizer__weight_decay="0.5")
    assert chosen(config, DENSE).optimizer.learning_rate == 1e-2
    config = own_table(train__epochs="5")
    config.set_by_hand = ("train.epoch",)
    assert chosen(config, SPARSE).train.epochs != 5


# ---- that the result can be used ------------------------------------------------------------

accounts = st.builds(
    account,
    users=st.sampled_from([1, 3, 10, 1_000, 1_000_000]),
    items=st.sampled_from([1, 2, 3, 4, 5, 6, 9, 10, 11, 5_001, 300_000]),
    events=st.sampled_from([3, 4, 9, 10, 31, 900, 100_000, 30_000_000]),
    median_length=st.sampled_from([3.0, 30.0, 400.0]),
    repeat_share=st.sampled_from([0.0, 0.1, 0.5]),
    has_time=st.booleans(),
    equal_time_share=st.sampled_from([0.0, 1.0]),
    item_features=st.sampled_from([(), ("genre",)]),
)
YEAR = FeatureConfig("year", "item.year", "INT", 8)
USER = GroupConfig([FeatureConfig("age", "user.age", "INT", 4)])


@st.composite
def by_hand(draw):
    """Settings that somebody may make beside the recipe."""
    config = own_table()
    model = config.model
    group = model.activity_groups[0]
    settings = {
        "encoder": lambda: setattr(group, "encoder", draw(st.sampled_from(OTHERS))),
        "two features": lambda: group.features.append(YEAR),
        "two groups": lambda: model.activity_groups.append(GroupConfig([YEAR])),
        "of the user": lambda: model.global_groups.append(USER),
        "no ids": lambda: group.features.__setitem__(0, YEAR),
        "limited ids": lambda: setattr(group.features[0], "vocab_size", 50),
        "ids last": lambda: model.activity_groups.insert(0, GroupConfig([YEAR])),
        "normalized": lambda: setattr(model, "normalized", True),
        "width": lambda: setattr(model, "embedding_dim", 32),
        "hidden": lambda: setattr(model, "hidden_dims", (8,)),
        "length": lambda: setattr(model, "context_length", draw(st.sampled_from([1, 15]))),
        "short feature": lambda: setattr(group.features[0], "length", 3),
        "labels": lambda: setattr(config.train, "labels_per_context", 4),
        "packed": lambda: setattr(config.train, "packed", True),
        "batch softmax": lambda: setattr(config.loss, "name", "batch_softmax"),
        "random": lambda: setattr(config.split, "protocol", "random"),
        "ks": lambda: setattr(config.evaluation, "ks", (2, 20)),
        "length by hand": lambda: setattr(config, "set_by_hand", ("model.context_length",)),
        "no groups": lambda: setattr(model, "activity_groups", []),
    }
    names = draw(st.lists(st.sampled_from(sorted(settings)), unique=True, max_size=3))
    for name in sorted(names, key=list(settings).index):
        settings[name]()
    return config


OTHERS = ("lstm", "linear_rnn", "cnn", "causal_cnn", "attention")


def valid_or_never(config: Config) -> bool:
    try:
        validate(config)
    except ConfigError:
        return False
    return True


@given(accounts, by_hand())
def test_what_is_chosen_can_be_used(of, config):
    """Wherever the config could be used as it was set."""
    as_set = copy.deepcopy(config)
    as_set.recipe = "as_set"
    as_set.train.select_metric = "filtered/mean_rank"  # also with other ks
    if config.train.labels_per_context > config.model.context_length or not valid_or_never(as_set):
        return
    made = validate(chosen(config, of))
    assert max(made.evaluation.ks) <= of.items or config.evaluation.ks == (2, 20)
    assert 1 <= made.export.top_k <= of.items
    assert made.train.epochs >= 1
    assert made.train.batch_size >= 1
    labels, train = max(1, of.events - 3 * of.users), made.train
    at_once = made.model.context_length if train.packed else train.labels_per_context
    if config.model.activity_groups:
        assert train.batch_size <= max(1, labels // at_once)
    if not made.model.projection:  # so wide that none is needed
        (group,) = made.model.activity_groups
        assert group.encoder not in ("lstm", "cnn")
        assert made.model.hidden_dims == ()
        assert sum(f.embedding_dim for f in group.features) == made.model.embedding_dim
    if made.train.packed:
        assert config.train.packed or config.split.protocol != "random"
        assert config.train.packed or not config.model.global_groups
