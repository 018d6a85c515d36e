"""The config: every rule of its validation by its message, and its way to JSON and back."""

import dataclasses
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flaxrec import config as config_lib
from flaxrec.config import (
    ColumnsConfig,
    Config,
    FeatureConfig,
    GroupConfig,
    ModelConfig,
    feature_length,
    from_json,
    to_json,
)
from flaxrec.config.loading import shipped
from flaxrec.errors import ConfigError
from flaxrec.training.validation import validate

REMEDY = re.compile(r"; (use|give|add|leave|change|put) |[;,] give it ")


def make_config():
    """A valid config with a global and two activity groups."""
    age = FeatureConfig("age_group", "user.age_group", "STRING", 4)
    item = FeatureConfig("context_item_id", "item.id", "INT", 8)
    rating = FeatureConfig("context_rating", "event.rating", "FLOAT", 0)
    genres = FeatureConfig("context_genres", "item.genres", "STRING", 4, 32)
    return Config(
        model=ModelConfig(
            global_groups=[GroupConfig([age])],
            activity_groups=[GroupConfig([item, rating], "cnn"), GroupConfig([genres], "lstm")],
        )
    )


def with_value(path, value):
    """The valid config with the field at a path such as 'model.activity_groups[0].encoder' set."""
    config = make_config()
    *parents, last = re.findall(r"[^.\[\]]+", path)
    node = config
    for part in parents:
        node = node[int(part)] if part.isdigit() else getattr(node, part)
    assert hasattr(node, last)
    setattr(node, last, value)
    return config


def message_of(config):
    with pytest.raises(ConfigError) as error:
        validate(config)
    return str(error.value)


# ---- validation -----------------------------------------------------------------------------


def test_defaults_and_the_sample_are_valid():
    config = make_config()
    assert validate(config) is config
    feature = FeatureConfig("context_item_id")
    assert validate(Config(model=ModelConfig(activity_groups=[GroupConfig([feature])])))


@pytest.mark.parametrize(
    ("path", "value", "accepted"),
    [
        ("data.source", "csv", "synthetic, movielens, table, tfrecord"),
        ("data.release", "ml-2m", "ml-1m, ml-100k, ml-latest-small, ml-20m, ml-25m, ml-32m"),
        ("split.protocol", "loo", "leave_one_out, random, global_time, cold_items"),
        ("model.compute_dtype", "float16", "float32, bfloat16"),
        ("loss.name", "softmax", "global_softmax, sampled_softmax, batch_softmax"),
        ("optimizer.name", "sgd", "adagrad, adam, adamw"),
        ("optimizer.schedule", "step", "constant, cosine, linear"),
        (
            "model.global_groups[0].encoder",
            "rnn",
            "bow, recency_bow, cnn, lstm, linear_rnn, causal_cnn, attention",
        ),
        (
            "model.activity_groups[1].encoder",
            "LSTM",
            "bow, recency_bow, cnn, lstm, linear_rnn, causal_cnn, attention",
        ),
        ("model.activity_groups[0].features[1].type", "float", "INT, STRING, FLOAT, VECTOR"),
    ],
)
def test_choices(path, value, accepted):
    assert message_of(with_value(path, value)) == (
        f"config.{path} is {value!r}; use one of {accepted}."
    )


@pytest.mark.parametrize(
    "path",
    [
        "data.synthetic.users",
        "data.synthetic.items",
        "data.synthetic.mean_events",
        "data.min_timeline_length",
        "model.context_length",
        "model.embedding_dim",
        "optimizer.learning_rate",
        "optimizer.epsilon",
        "train.batch_size",
        "train.epochs",
        "train.log_every",
        "train.checkpoint_every",
        "evaluation.batch_size",
        "export.top_k",
        "export.verification_contexts",
    ],
)
@pytest.mark.parametrize("value", [0, -1, float("nan")])
def test_numbers_above_zero(path, value):
    message = message_of(with_value(path, value))
    remedies = ("use 1 to ", "use a number above 0, at most ", "expected int.")
    assert message.startswith(tuple(f"config.{path} is {value!r}; {told}" for told in remedies))


@pytest.mark.parametrize(
    "path",
    [
        "seed",
        "split.seed",
        "data.synthetic.seed",
        "split.validation_fraction",
        "split.test_fraction",
        "optimizer.warmup_steps",
        "optimizer.clip_norm",
        "optimizer.weight_decay",
        "optimizer.initial_accumulator",
        "train.patience",
        "train.devices",
    ],
)
def test_numbers_from_zero(path):
    validate(with_value(path, 0))
    message = message_of(with_value(path, -1))
    assert re.fullmatch(rf"config\.{path} is -1; use 0 to \d\S*\.", message)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("evaluation.ks", ()),
        ("model.activity_groups[0].features", []),
        ("model.activity_groups[0].conv_kernel_size", 0),
        ("model.activity_groups[1].lstm_units", 0),
        ("model.activity_groups[0].conv_filter_ratios", ()),
        ("model.global_groups[0].features[0].name", ""),
        ("model.global_groups[0].features[0].name", "2nd"),
        ("model.global_groups[0].features[0].name", "age group"),
        ("model.global_groups[0].features[0].name", "../age"),
        ("model.global_groups[0].features[0].source", "age"),
        ("model.global_groups[0].features[0].source", "user."),
        ("model.global_groups[0].features[0].source", "people.age"),
        ("model.activity_groups[1].features[0].embedding_dim", 0),
        ("train.select_metric", "filtered/loss"),
        ("train.select_metric", "ndcg@3"),
        ("train.select_metric", "precision@10"),
        ("train.select_metric", "filtered/filtered/ndcg@10"),
    ],
)
def test_message_names_field_and_remedy(path, value):
    message = message_of(with_value(path, value))
    assert message.startswith(f"config.{path} is ")
    assert repr(value) in message or (not value and " is empty;" in message)
    assert REMEDY.search(message)
    assert message.endswith(".")


@pytest.mark.parametrize(
    ("path", "value", "remedy"),
    [
        ("model.hidden_dims", (32, 0), "use 1 to 65536."),
        ("evaluation.ks", (10, -1), "use 1 to 10000000."),
        ("model.activity_groups[0].conv_filter_ratios", (2, 0), "use 1 to 64."),
    ],
)
def test_the_entry_that_is_wrong_is_named(path, value, remedy):
    message = message_of(with_value(path, value))
    assert message == f"config.{path}[1] is {value[1]}; {remedy}"


@pytest.mark.parametrize(("field", "most"), [("length", 100_000), ("vocab_size", 1_000_000_000)])
def test_negative_length_and_vocab_size(field, most):
    path = f"model.activity_groups[1].features[0].{field}"
    assert message_of(with_value(path, -1)) == f"config.{path} is -1; use 0 to {most}."


@pytest.mark.parametrize("fractions", [(0.5, 0.5), (0.0, 1.0), (0.9, 0.2)])
def test_fractions_leave_a_share_for_training(fractions):
    config = make_config()
    config.split.validation_fraction, config.split.test_fraction = fractions
    message = message_of(config)
    assert "config.split.validation_fraction and config.split.test_fraction" in message
    assert REMEDY.search(message)


def test_a_model_needs_a_group():
    message = message_of(Config())
    assert message == "config.model has no feature group; add one to config.model.activity_groups."
    only_global = make_config()
    only_global.model.activity_groups = []
    validate(only_global)


def test_values_that_do_not_apply_are_not_checked():
    """A bag of words has no filters, a FLOAT no embedding."""
    config = with_value("model.global_groups[0].conv_filter_ratios", ())
    validate(config)
    validate(with_value("model.activity_groups[0].features[1].embedding_dim", 0))
    validate(with_value("model.hidden_dims", ()))


@pytest.mark.parametrize(
    "metric", ["loss", "mean_rank", "filtered/mean_rank", "recall@1", "filtered/mrr@100"]
)
def test_select_metric(metric):
    validate(with_value("train.select_metric", metric))


def test_select_metric_follows_the_cutoffs():
    message = message_of(with_value("evaluation.ks", (3, 7)))
    assert message == (
        "config.train.select_metric is 'filtered/ndcg@10'; use one of mean_rank, loss, recall@3, "
        "recall@7, ndcg@3, ndcg@7, mrr@3, mrr@7, or filtered/ before any but loss."
    )


def test_lengths_in_a_group_must_agree():
    config = with_value("model.activity_groups[0].features[1].length", 7)
    assert message_of(config) == (
        "config.model.activity_groups[0] mixes features of different lengths (context_item_id 10, "
        "context_rating 7); give them one length or put them into groups of their own."
    )
    config.model.context_length = 7
    validate(config)


def test_user_features_have_length_one_by_default():
    model = make_config().model
    lengths = [feature_length(f, model) for _, g in config_lib.groups(model) for f in g.features]
    assert lengths == [1, 10, 10, 32]
    assert feature_length(FeatureConfig("tags", "user.tags", length=5), model) == 5
    mixed = make_config()
    mixed.model.activity_groups[0].features.append(mixed.model.global_groups[0].features[0])
    assert "(context_item_id 10, context_rating 10, age_group 1)" in message_of(mixed)


@pytest.mark.parametrize(
    "change",
    [{"source": "item.year"}, {"type": "STRING"}, {"length": 10}, {"vocab_size": 5}],
)
def test_a_name_stands_for_one_input(change):
    config = make_config()
    known = config.model.activity_groups[0].features[0]
    config.model.activity_groups.append(GroupConfig([dataclasses.replace(known, **change)]))
    message = message_of(config)
    where = "config.model.activity_groups[2].features[0] uses the name 'context_item_id' "
    assert message.startswith(where)
    assert message.endswith("; give it a name of its own.")


def test_a_name_in_two_groups_may_have_two_embedding_widths():
    config = make_config()
    known = config.model.activity_groups[0].features[0]
    again = dataclasses.replace(known, embedding_dim=3)
    config.model.activity_groups.append(GroupConfig([again]))
    validate(config)


def test_a_feature_stands_once_in_a_group():
    """Twice, with two widths, the group's encoder would fail on the number of channels."""
    config = make_config()
    features = config.model.activity_groups[0].features
    features.append(dataclasses.replace(features[0], embedding_dim=3))
    message = message_of(config)
    assert "config.model.activity_groups[0]" in message
    assert "'context_item_id'" in message


@pytest.mark.parametrize("change", [{"source": "item.genres"}, {"vocab_size": 5}])
def test_the_name_of_the_items_vocabulary_is_taken(change):
    """A feature 'item' would overwrite the label's vocabulary with its own."""
    config = make_config()
    config.model.activity_groups.append(GroupConfig([FeatureConfig("item", "item.id")]))
    validate(config)  # this one shares the vocabulary: no harm
    config.model.activity_groups[-1] = GroupConfig([FeatureConfig("item", **change)])
    message = message_of(config)
    assert message.startswith("config.model.activity_groups[2].features[0]")
    assert "'item'" in message


def test_an_input_is_not_called_as_the_labels_are():
    """It would be overwritten by them in the files that a run keeps for judging."""
    config = make_config()
    config.model.activity_groups[0].features[0].name = "label"
    assert "features[0].name is 'label'" in message_of(config)


# ---- tied tables ----------------------------------------------------------------------------


def tied_config(**changes):
    """A valid config with tied tables, and these changes of its item feature."""
    config = make_config()
    config.model.tied_tables = True
    item = dataclasses.replace(
        config.model.activity_groups[0].features[0], **{"embedding_dim": 16, **changes}
    )
    config.model.activity_groups[0].features[0] = item
    return config


def test_tied_tables_share_the_items_table():
    validate(tied_config())
    # Any name and place will do, and a number is no table.
    config = tied_config(name="seen", type="STRING")
    config.model.global_groups.append(config.model.activity_groups.pop(0))
    config.model.global_groups[1].features.append(FeatureConfig("x", "item.id", "FLOAT"))
    validate(config)


ITEM_FEATURE = "config.model.activity_groups[0].features[0]"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"embedding_dim": 8},
            f"{ITEM_FEATURE}.embedding_dim is 8, but with config.model.tied_tables its table also "
            "holds the labels' encodings; use config.model.embedding_dim, which is 16.",
        ),
        (
            {"vocab_size": 100},
            f"{ITEM_FEATURE}.vocab_size is 100, but with config.model.tied_tables its table needs "
            "a row for every item; use 0.",
        ),
        (
            {"vocabulary": "items.txt"},
            f"{ITEM_FEATURE}.vocabulary is 'items.txt', but with config.model.tied_tables its rows "
            "are the labels'; leave it empty.",
        ),
        (
            {"source": "item.year"},
            "config.model.tied_tables is True, which takes one INT or STRING feature with source "
            "item.id in the whole model (there is none); leave one such feature or use False.",
        ),
    ],
)
def test_tied_tables_refuse(changes, message):
    assert message_of(tied_config(**changes)) == message
    config = tied_config(**changes)
    config.model.tied_tables = False
    validate(config)


def test_tied_tables_take_the_labels_vocabulary_by_name():
    config = tied_config(vocabulary="items.txt")
    config.data.records.label_vocabulary = "items.txt"
    validate(config)


def test_tied_tables_are_not_shared_by_three():
    config = tied_config()
    known = config.model.activity_groups[0].features[0]
    config.model.activity_groups.append(GroupConfig([known]))
    assert f"({ITEM_FEATURE} and config.model.activity_groups[2].features[0])" in message_of(config)


def test_the_reference_has_no_tied_tables():
    config = tied_config()
    config.reference_mode = True
    message = message_of(config)
    assert message.startswith("config.model.tied_tables is True, but config.reference_mode ")
    assert REMEDY.search(message)


# ---- records --------------------------------------------------------------------------------


def records_config(**changes):
    config = make_config()
    config.data.source, config.data.path = "tfrecord", "train*"
    config.data.records.test = "test*"
    config.train.select_metric = "ndcg@10"
    for path, value in changes.items():
        *sections, name = path.split("__")
        setattr(config_lib.get(config, ".".join(sections)), name, value)
    return config


def test_records_need_both_patterns():
    validate(records_config())
    for path in ("data.path", "data.records.test"):
        assert message_of(records_config(**{path.replace(".", "__"): ""})) == (
            f"config.{path} is empty; give it the pattern of the record files, such as "
            "'examples/*.tfrecord'."
        )


def test_records_know_no_filtered_metrics():
    assert message_of(records_config(train__select_metric="filtered/mrr@5")) == (
        "config.train.select_metric is 'filtered/mrr@5', but records do not tell what a user met "
        "before the context; use mrr@5."
    )


def test_groups_come_in_the_order_of_the_model():
    paths = [path for path, _ in config_lib.groups(make_config().model)]
    assert paths == [
        "model.global_groups[0]",
        "model.activity_groups[0]",
        "model.activity_groups[1]",
    ]


# ---- files ----------------------------------------------------------------------------------

names = st.text(st.characters(exclude_categories=["C", "Z"]), max_size=8)
configs = st.builds(
    lambda name, seed, rate, dims, columns, encoder, features: dataclasses.replace(
        make_config(),
        name=name,
        seed=seed,
        optimizer=config_lib.OptimizerConfig(learning_rate=rate),
        data=config_lib.DataConfig(columns=ColumnsConfig(event_features=columns)),
        model=ModelConfig(
            hidden_dims=dims,
            activity_groups=[GroupConfig([FeatureConfig(n) for n in features], encoder)],
        ),
    ),
    names,
    st.integers(0, 2**40),
    st.floats(1e-9, 1e9),
    st.lists(st.integers(1, 99), max_size=3).map(tuple),
    st.lists(names, max_size=3).map(tuple),
    st.sampled_from(["bow", "cnn", "lstm"]),
    st.lists(names, max_size=3),
)


@given(configs)
def test_json_round_trip(config):
    back = from_json(to_json(config))
    assert back == config
    assert config_lib.sha256(back) == config_lib.sha256(config)
    assert isinstance(back.model.hidden_dims, tuple)
    assert config_lib.differences(config, back) == []


def test_json_is_the_tree_as_it_is_written():
    tree = json.loads(to_json(make_config()))
    assert list(tree)[:4] == ["name", "seed", "reference_mode", "data"]
    assert tree["model"]["activity_groups"][0]["features"][1]["source"] == "event.rating"
    assert tree["evaluation"]["ks"] == [1, 5, 10, 20, 50, 100]
    assert "code" not in tree  # none of one's own: the text and checksum of version 0.1.0


def test_a_config_without_newer_fields_has_its_text_of_version_0_1_0():
    recorded = json.loads((shipped("models") / "movielens_lstm/config.json").read_text())
    config = from_json(json.dumps(recorded))
    assert json.loads(to_json(config)) == recorded
    assert from_json(to_json(config)) == config
    config.train.packed = True  # newer fields in use are kept
    assert from_json(to_json(config)) == config


def test_absent_fields_keep_their_defaults():
    """A config saved by an older version lacks the newer fields."""
    config = from_json('{"train": {"epochs": 7}}')
    assert config == dataclasses.replace(Config(), train=config_lib.TrainConfig(epochs=7))


def test_a_whole_number_is_a_float_too():
    rate = from_json('{"optimizer": {"learning_rate": 1}}').optimizer.learning_rate
    assert rate == 1.0
    assert isinstance(rate, float)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ('{"nope": 1}', "config has an unknown field 'nope'"),
        ('{"train": {"epoch": 1}}', "config.train has an unknown field 'epoch'"),
        (
            '{"model": {"activity_groups": [{"features": [{"width": 1}]}]}}',
            "config.model.activity_groups[0].features[0] has an unknown field 'width'",
        ),
        ('{"train": {"epochs": "5"}}', "config.train.epochs is '5'; expected int"),
        ('{"train": {"epochs": 5.5}}', "config.train.epochs is 5.5; expected int"),
        ('{"seed": null}', "config.seed is None; expected int"),
        ('{"name": 3}', "config.name is 3; expected str"),
        ('{"optimizer": {"learning_rate": true}}', "learning_rate is True; expected float"),
        ('{"model": {"hidden_dims": [1, "x"]}}', "config.model.hidden_dims[1] is 'x'"),
        ('{"reference_mode": 1}', "config.reference_mode is 1; expected bool"),
        ("{", "not valid JSON"),
    ],
)
def test_wrong_json_is_named(text, named):
    with pytest.raises(ConfigError, match=re.escape(named)):
        from_json(text)


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("5", "config"),
        ("[]", "config"),
        ('{"train": 5}', "config.train"),
        ('{"train": []}', "config.train"),
        ('{"model": {"hidden_dims": 32}}', "config.model.hidden_dims"),
        ('{"model": {"hidden_dims": "32"}}', "config.model.hidden_dims is '32'"),
        ('{"model": {"activity_groups": [1]}}', "config.model.activity_groups[0]"),
        ('{"model": {"activity_groups": {"a": 1}}}', "config.model.activity_groups is"),
        ('{"train": {"epochs": true}}', "config.train.epochs is True; expected int"),
    ],
)
def test_a_value_of_another_kind_is_named(text, field):
    with pytest.raises(ConfigError, match=re.escape(field)):
        from_json(text)


def test_a_name_in_place_of_a_tuple_of_names_is_refused():
    """("quantity") without its comma is a string; its letters are not eight columns."""
    config = make_config()
    config.data.columns.event_features = "quantity"
    with pytest.raises(ConfigError, match=r"config\.data\.columns\.event_features"):
        from_json(to_json(config))


def test_differences_are_dotted_paths():
    a, b = make_config(), make_config()
    assert config_lib.differences(a, b) == []
    b.train.epochs = 9
    b.model.hidden_dims = (64, 32)
    b.model.activity_groups[1].features[0].length = 16
    assert sorted(config_lib.differences(a, b)) == [
        "model.activity_groups[1].features[0].length",
        "model.hidden_dims",
        "train.epochs",
    ]
    assert config_lib.differences(a, b) == config_lib.differences(b, a)


@pytest.mark.parametrize("kind", ["global_groups", "activity_groups"])
def test_differences_see_a_group_more(kind):
    a, b = make_config(), make_config()
    getattr(b.model, kind).append(GroupConfig([FeatureConfig("more")]))
    found = config_lib.differences(a, b)
    assert found
    assert all(path.startswith(f"model.{kind}") for path in found)
    getattr(a.model, kind).clear()
    assert config_lib.differences(a, b)


def test_the_hash_sees_every_change():
    hashes = {
        config_lib.sha256(config)
        for config in (
            make_config(),
            with_value("seed", 1),
            with_value("train.epochs", 6),
            with_value("model.activity_groups[0].features[0].embedding_dim", 9),
        )
    }
    assert len(hashes) == 4


def test_get_follows_a_dotted_path():
    assert config_lib.get(make_config(), "data.synthetic.users") == 2000


@pytest.mark.parametrize(
    ("source", "reference_mode", "accepted"),
    [
        ("event.rating", False, False),
        ("event.rating", True, True),
        ("user.age", False, True),  # one value a user: nothing is padded
    ],
)
def test_a_group_of_numbers_whose_padding_cannot_be_told(source, reference_mode, accepted):
    feature = FeatureConfig("x", source, "FLOAT")
    config = Config(
        reference_mode=reference_mode,
        model=ModelConfig(activity_groups=[GroupConfig([feature])]),
    )
    if accepted:
        validate(config)
    else:
        assert message_of(config) == (
            "config.model.activity_groups[0] has only FLOAT features, whose padding cannot be told "
            "from a 0; add an INT or STRING feature to the group."
        )


AGO = FeatureConfig("ago", "event.seconds_ago")


@pytest.mark.parametrize(
    ("encoder", "features", "message"),
    [
        ("lstm", [FeatureConfig("id"), AGO], "which its encoder lstm does not read; use event.gap"),
        ("attention", [AGO], "has only event.seconds_ago features, whose padding cannot be told"),
        (
            "attention",
            [FeatureConfig("id"), AGO, dataclasses.replace(AGO, name="again")],
            "reads event.seconds_ago as INT, INT; give it one such feature, of the type INT.",
        ),
        (
            "attention",
            [FeatureConfig("id"), dataclasses.replace(AGO, type="FLOAT")],
            "reads event.seconds_ago as FLOAT; give it one such feature, of the type INT.",
        ),
    ],
)
def test_seconds_ago_is_for_encoders_that_read_times(encoder, features, message):
    config = Config(model=ModelConfig(activity_groups=[GroupConfig(features, encoder)]))
    found = message_of(config)
    assert message in found
    assert REMEDY.search(found)


def test_packed_rows_have_no_one_label_that_seconds_are_counted_from():
    features = [FeatureConfig("id"), AGO]
    config = Config(model=ModelConfig(activity_groups=[GroupConfig(features, "attention")]))
    validate(config)
    config.train.packed = True
    assert "reads event.seconds_ago, which is relative to one label; leave" in message_of(config)


def test_later_labels_are_treated_in_a_random_split_alone():
    config = with_value("split.later", "drop")
    with pytest.raises(ConfigError, match=r"config\.split\.later is 'drop'"):
        validate(config)
    config.split.protocol = "random"
    assert validate(config) is config


def test_metrics_of_whole_batches_need_all_scores():
    config = with_value("evaluation.max_megabytes", 1)
    assert validate(config) is config
    config.reference_mode = True
    assert "max_megabytes is 1, but reference mode's metrics need all scores" in message_of(config)
