"""Chooses a config's settings from the account of the data (config.recipe=by_data).

A pure function of the account. Each choice has its reason; what was set by hand stays: fields named
in config.set_by_hand, and fields that differ from their default. The rules come from the study in
docs/recipe.md.
"""

import copy
import dataclasses
import math
import re
from collections.abc import Iterator
from typing import Any

from flaxrec import config as config_lib
from flaxrec.config import Config, FeatureConfig, GroupConfig, paths, presets
from flaxrec.data import moments
from flaxrec.data.account import Account

# Users with about so many events and items with so many each have enough of them for an LSTM.
LONG = 30
DENSE = 20
# Above this share of repeats, users come back to items, and these must stay candidates.
_COME_BACK = 0.1
_FULL_SOFTMAX = 5_000  # items; above, a sample is faster and as good
_SPARSE, _DENSE = presets.sparse(), presets.compact("lstm")
_OF_TIMES = "the data have times: the model knows the moment of asking"
_FORGOTTEN = 0.1  # share of contexts trained as if the moment were unknown
_SINCE_WIDTH = 8
_FEW_ROWS = 4  # with fewer full rows of labels, packing would drop much of an epoch
_GROUP = "model.activity_groups[0]"
_OF_ACTIVITIES = ("item.id", "event.gap", "event.gap_after")
_PACKED = ("bow", "recency_bow", "lstm", "linear_rnn", "attention")  # encoders of packed rows


@dataclasses.dataclass(frozen=True)
class Choice:
    """One setting: where, what, and why. Several settings with one reason share it."""

    path: str
    value: Any
    reason: str


def chosen(config: Config, account: Account) -> tuple[Config, list[Choice]]:
    """The config with the settings that suit the data, and those that were chosen.

    A config without recipe=by_data is returned as it is. The result has recipe=as_set: choosing
    again changes nothing.
    """
    if config.recipe != "by_data":
        return config, []
    made = copy.deepcopy(config)
    made.recipe = "as_set"
    taken = []
    for choice in _choices(made, account):  # each sees in `made` what was chosen before
        if _is_free(config, choice.path):
            paths.put(made, choice.path, choice.value)
            taken.append(choice)
    return made, taken


def lines(choices: list[Choice]) -> list[str]:
    """For people: a line for each reason, with the settings that it decided."""
    by_reason: dict[str, list[str]] = {}
    for choice in choices:
        by_reason.setdefault(choice.reason, []).append(f"{choice.path}={_text(choice.value)}")
    return [f"{reason}: {' '.join(settings)}" for reason, settings in by_reason.items()]


def unread(config: Config) -> str:
    """Says which features that the columns name no feature of the model reads; '' if none."""
    features = [f for _, group in config_lib.groups(config.model) for f in group.features]
    sources = {feature.source for feature in [*features, *config.model.label_features]}
    columns = config.data.columns
    named = [f"item.{name}" for name in columns.item_features]
    named += [f"user.{name}" for name in columns.user_features]
    named += [f"event.{name}" for name in columns.event_features]
    left = [source for source in named if source not in sources]
    if not left:
        return ""
    return (
        f"The model does not read {', '.join(left)}: by_data takes features of items that are no "
        "fractions, with tied tables; name others in a config file (docs/own_data.md)."
    )


def _text(value: Any) -> str:
    if isinstance(value, list):
        features = [f for v in value for f in (v.features if isinstance(v, GroupConfig) else [v])]
        return "[" + ", ".join(feature.source for feature in features) + "]"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _is_free(config: Config, path: str) -> bool:
    """Whether nobody set the field by hand, nor anything that holds it or lies in it."""
    for other in config.set_by_hand:
        if path == other or path.startswith((f"{other}.", f"{other}[")):
            return False
        if other.startswith((f"{path}.", f"{path}[")):
            return False
    first = re.sub(r"\w+_groups\[\d+\]", "activity_groups[0]", path)  # all groups are alike
    first = re.sub(r"features\[\d+\]", "features[0]", first)
    return paths.get(config, path) == paths.get(_DEFAULTS, first)


_DEFAULTS = Config()
_DEFAULTS.model.activity_groups = [GroupConfig([FeatureConfig("context_item_id")])]


# ---- the rules ------------------------------------------------------------------------------


def _choices(config: Config, account: Account) -> Iterator[Choice]:
    labels = max(1, account.events - 3 * account.users)  # of leave-one-out
    is_long = account.median_length >= LONG and account.events >= DENSE * account.items
    if not config.model.activity_groups:
        pass  # nothing is known of such models
    elif is_long:
        yield from _long(config, account, labels)
    else:
        yield from _short(config, account, labels)
    yield from _of_items(account)
    if account.item_features and config.model.tied_tables:
        features = [
            FeatureConfig(f"label_feature_{number}", f"item.{name}", "STRING")
            for number, name in enumerate(account.item_features, 1)
        ]
        reason = "the table of items has features that are no fractions"
        yield Choice("model.label_features", features, reason)
    yield from _of_repeats(config, account, is_long)


def _short(config: Config, account: Account, labels: int) -> Iterator[Choice]:
    reason = (
        f"a user has {account.median_length:,.0f} events (median), an item "
        f"{account.events / account.items:,.1f} (mean): few, so a small model with a head of counts"
    )
    yield from _as_in(
        _SPARSE,
        reason,
        f"{_GROUP}.encoder",
        "model.embedding_dim",
        "model.hidden_dims",
        "model.item_bias",
        "model.table_deviation",
        "model.dropout",
    )
    yield _length(config, account, _SPARSE, reason)
    if _tell(account) and _is_plain(config):
        since = FeatureConfig("ask_since", "ask.since", "INT", _SINCE_WIDTH)
        groups = [GroupConfig([since], modulates=True)]
        yield Choice("model.global_groups", groups, _OF_TIMES)
        yield from _forgetting(config)
    yield from _of_ids(config, reason)
    if _reads_ids(config):
        yield from _as_in(_SPARSE, reason, "model.item_table")
    if _has_no_layers(config):
        yield Choice("model.projection", False, reason)
    reason = f"{labels:,} training labels"
    length, users = config.model.context_length, account.users
    epochs = min(60, max(8, math.ceil(1_800_000 / labels)))
    if _takes_packed(config) and labels >= _FEW_ROWS * length:
        yield Choice("train.packed", True, reason)
    if config.train.packed:
        count = labels // length
        rows = min(_SPARSE.train.batch_size, max(1, min(2, count), count // 80))
    elif _takes_prefixes(config):
        yield Choice("train.labels_per_context", length, reason)
        count = labels // config.train.labels_per_context  # at least
        rows = min(_SPARSE.train.batch_size, max(1, count // 80))
        count += min(users, labels)
    else:
        count = labels
        rows = min(32 * length, max(1, count // 80))
    yield Choice("train.batch_size", rows, reason)
    yield Choice("train.epochs", epochs, reason)
    yield from _as_in(
        _SPARSE, reason, "train.patience", "optimizer.learning_rate", "optimizer.schedule"
    )
    yield _warmup(config, count, _SPARSE, reason)


def _long(config: Config, account: Account, labels: int) -> Iterator[Choice]:
    reason = (
        f"a user has {account.median_length:,.0f} events (median), an item "
        f"{account.events / account.items:,.0f} (mean): enough for an LSTM"
    )
    yield from _as_in(
        _DENSE,
        reason,
        "model.embedding_dim",
        "model.hidden_dims",
        "model.dropout",
    )
    yield _length(config, account, _DENSE, reason)
    if _tell(account):
        features = [
            FeatureConfig("context_item_id"),
            presets.gap_after(),
        ]
        yield Choice(f"{_GROUP}.features", features, _OF_TIMES)
        yield from _forgetting(config)
    yield from _as_in(_DENSE, reason, f"{_GROUP}.encoder", f"{_GROUP}.lstm_units")
    yield from _of_ids(config, reason)
    reason, length = f"{labels:,} training labels", config.model.context_length
    if _takes_prefixes(config):
        yield Choice("train.labels_per_context", length, reason)
    at_once = length if config.train.packed else config.train.labels_per_context
    in_step = _DENSE.train.batch_size * _DENSE.train.labels_per_context
    count, most = labels // at_once, max(1, in_step // at_once)  # contexts, at least
    yield Choice("train.batch_size", min(most, max(1, count // 20)), reason)
    yield from _as_in(
        _DENSE,
        reason,
        "train.epochs",
        "train.patience",
        "optimizer.name",
        "optimizer.weight_decay",
        "optimizer.learning_rate",
        "optimizer.schedule",
    )
    yield _warmup(config, count, _DENSE, reason)


def _tell(account: Account) -> bool:
    """Whether the times tell more than the order."""
    return account.has_time and account.span > 0 and account.equal_time_share < 1


def _forgetting(config: Config) -> Iterator[Choice]:
    """Training for an unknown moment, where the model knows it after what was set by hand."""
    features = [f for _, group in config_lib.groups(config.model) for f in group.features]
    if any(feature.source in moments.OF_NOW for feature in features):
        yield Choice("model.feature_dropout", _FORGOTTEN, _OF_TIMES)


def _length(config: Config, account: Account, preset: Config, reason: str) -> Choice:
    """The preset's context; with exclude_context half of the items remain to be recommended."""
    most, limit = preset.model.context_length, max(1, account.items // 2)
    if config.export.exclude_context and limit < most:
        return Choice("model.context_length", limit, f"{account.items:,} items, exclude_context")
    return Choice("model.context_length", most, reason)


def _warmup(config: Config, contexts: int, preset: Config, reason: str) -> Choice:
    """A tenth of the run's steps, at most the preset's; `contexts` are those of an epoch."""
    steps = config.train.epochs * (contexts // config.train.batch_size)
    most = preset.optimizer.warmup_steps
    return Choice("optimizer.warmup_steps", min(most, steps // 10), reason)


def _as_in(preset: Config, reason: str, *named: str) -> Iterator[Choice]:
    for path in named:
        yield Choice(path, paths.get(preset, path), reason)


def _of_ids(config: Config, reason: str) -> Iterator[Choice]:
    """What goes with the table of item ids, where the model reads them once."""
    if not _reads_ids(config):
        return
    ids = _ids(config)[0]
    yield Choice(f"{ids}.embedding_dim", config.model.embedding_dim, reason)
    if paths.get(config, ids).embedding_dim == config.model.embedding_dim:
        yield Choice("model.tied_tables", True, reason)
    yield from _as_in(_SPARSE, reason, "model.transitions")


# ---- what a config allows -------------------------------------------------------------------


def _ids(config: Config) -> list[str]:
    """The paths of the features that are item ids."""
    return [
        f"{path}.features[{place}]"
        for path, group in config_lib.groups(config.model)
        for place, feature in enumerate(group.features)
        if feature.source == "item.id"
    ]


def _reads_ids(config: Config) -> bool:
    """Whether one feature is the item ids, of the whole catalogue."""
    found = [paths.get(config, path) for path in _ids(config)]
    return len(found) == 1 and not found[0].vocab_size and not found[0].vocabulary


def _is_plain(config: Config) -> bool:
    """Whether the model reads one value of each activity, and of the moment, and nothing else."""
    groups = config.model.activity_groups
    beside = [f for group in config.model.global_groups for f in group.features]
    return (
        all(feature.source.startswith("ask.") for feature in beside)
        and len(groups) == 1
        and all(f.source in _OF_ACTIVITIES and not f.length for f in groups[0].features)
    )


def _has_no_layers(config: Config) -> bool:
    """Whether the encoding is as wide as the labels' encodings, so that no projection is needed."""
    group, width = config.model.activity_groups[0], config.model.embedding_dim
    return (
        _is_plain(config)
        and not config.model.hidden_dims
        and group.encoder in ("bow", "recency_bow", "attention", "causal_cnn")
        and sum(feature.embedding_dim for feature in group.features) == width
        and group.width in (0, width)
    )


def _takes_packed(config: Config) -> bool:
    return (
        _is_plain(config)
        and config.model.activity_groups[0].encoder in _PACKED
        and config.split.protocol in ("leave_one_out", "global_time", "cold_items")
        and config.train.labels_per_context == 1
    )


def _takes_prefixes(config: Config) -> bool:
    return (
        _is_plain(config)
        and not config.train.packed
        and config.model.activity_groups[0].encoder in (*_PACKED, "causal_cnn")
    )


# ---- further rules --------------------------------------------------------------------------


def _of_items(account: Account) -> Iterator[Choice]:
    reason = f"{account.items:,} items"
    if account.items > _FULL_SOFTMAX:
        yield from _as_in(_SPARSE, reason, "loss.name", "loss.negatives", "loss.negatives_power")
    ks = tuple(k for k in _DEFAULTS.evaluation.ks if k <= account.items) or (1,)
    if ks != _DEFAULTS.evaluation.ks:
        yield Choice("evaluation.ks", ks, reason)
    yield from _as_in(_SPARSE, reason, "export.quantization")


def _of_repeats(config: Config, account: Account, is_long: bool) -> Iterator[Choice]:
    come_back = account.repeat_share > _COME_BACK
    reason = f"{account.repeat_share:.1%} of events repeat an item of the user"
    ks = config.evaluation.ks
    at = next((k for k in (10, 5, 1) if k in ks), max(ks))
    if come_back:
        yield Choice("model.transitions_to_self", True, reason)
        yield Choice("train.select_metric", f"ndcg@{at}", reason)
        yield Choice("export.top_k", min(20, _left(config, account)), reason)
        return
    if at != 10:
        yield Choice("train.select_metric", f"filtered/ndcg@{at}", reason)
    if is_long and config.loss.name != "batch_softmax":
        yield Choice("loss.exclude_seen", True, reason)
    # Ten are left where all items of the context have been seen.
    many = 20 if config.export.exclude_context else 10 + config.model.context_length
    yield Choice("export.top_k", min(many, _left(config, account)), reason)


def _left(config: Config, account: Account) -> int:
    """Items that the graph can return: with exclude_context none of the context."""
    read = config.model.context_length if config.export.exclude_context else 0
    return max(1, account.items - read)
