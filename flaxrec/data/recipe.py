"""Chooses a config's settings from the account of the data (config.recipe=by_data).

A pure function of the account. Each choice has its reason; what was set by hand stays: fields named
in config.set_by_hand, and fields that differ from their default. The rules come from the study in
docs/recipe.md.
"""

import copy
import dataclasses
import math
from collections.abc import Iterator
from typing import Any

from flaxrec.config import Config, FeatureConfig, GroupConfig, paths
from flaxrec.data.account import Account

# Users with about so many events and items with so many each have enough of them for an LSTM.
_LONG = 30
_DENSE = 20
# Above this share of repeats, users come back to items, and these must stay candidates.
_COME_BACK = 0.1
_FULL_SOFTMAX = 5_000  # items; above, a sample is faster and as good
_NEGATIVES = 2_048
_WIDTH = 64


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
    for choice in _choices(made, account):
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


def _text(value: Any) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(feature.source for feature in value) + "]"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _is_free(config: Config, path: str) -> bool:
    """Whether nobody set the field by hand, nor anything that holds it or lies in it."""
    for other in config.set_by_hand:
        if path == other or path.startswith((f"{other}.", f"{other}[")):
            return False
        if other.startswith((f"{path}.", f"{path}[")):
            return False
    if path.endswith("].features"):  # the template's own features are replaced as a whole
        return all(feature.source == "item.id" for feature in paths.get(config, path))
    default = paths.get(_DEFAULTS, path)
    return paths.get(config, path) == default


_DEFAULTS = Config()
_DEFAULTS.model.activity_groups = [GroupConfig([FeatureConfig("context_item_id")])]


# ---- the rules ------------------------------------------------------------------------------


def _choices(config: Config, account: Account) -> Iterator[Choice]:
    labels = max(1, account.events - 3 * account.users)  # of leave-one-out
    is_long = account.median_length >= _LONG and account.events >= _DENSE * account.items
    if is_long:
        yield from _long(config, account, labels)
    else:
        yield from _short(config, account, labels)
    yield from _of_items(account)
    if account.item_features:
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
    group = "model.activity_groups[0]"
    for path, value in (
        (f"{group}.encoder", "recency_bow"),
        (f"{group}.features[0].embedding_dim", _WIDTH),
        ("model.embedding_dim", _WIDTH),
        ("model.context_length", 50),
        ("model.hidden_dims", ()),
        ("model.projection", False),
        ("model.tied_tables", True),
        ("model.item_bias", True),
        ("model.item_table", "ppmi"),
        ("model.table_deviation", 0.02),
        ("model.dropout", 0.5),
        ("model.transitions", 32),
    ):
        yield Choice(path, value, reason)
    length = config.model.context_length
    length = 50 if length == _DEFAULTS.model.context_length else length
    rows = min(32, max(2, labels // (80 * length)))
    epochs = min(60, max(8, math.ceil(1_800_000 / labels)))
    steps = epochs * max(1, labels // (rows * length))
    reason = f"{labels:,} training labels"
    for path, value in (
        ("train.packed", True),
        ("train.batch_size", rows),
        ("train.epochs", epochs),
        ("train.patience", 0),
        ("optimizer.learning_rate", 2e-3),
        ("optimizer.schedule", "linear"),
        ("optimizer.warmup_steps", min(100, steps // 10)),
    ):
        yield Choice(path, value, reason)


def _long(config: Config, account: Account, labels: int) -> Iterator[Choice]:
    reason = (
        f"a user has {account.median_length:,.0f} events (median), an item "
        f"{account.events / account.items:,.0f} (mean): enough for an LSTM"
    )
    group = "model.activity_groups[0]"
    features = [FeatureConfig("context_item_id", "item.id", "INT", _WIDTH)]
    if account.has_time and account.span > 0 and account.equal_time_share < 1:
        features.append(FeatureConfig("context_gap", "event.gap", "INT", 4))
    for path, value in (
        (f"{group}.features", features),
        (f"{group}.encoder", "lstm"),
        (f"{group}.lstm_units", 2 * _WIDTH),
        ("model.embedding_dim", _WIDTH),
        ("model.context_length", 20),
        ("model.hidden_dims", ()),
        ("model.tied_tables", True),
        ("model.dropout", 0.3),
        ("model.transitions", 32),
    ):
        yield Choice(path, value, reason)
    length = config.model.context_length
    length = 20 if length == _DEFAULTS.model.context_length else length
    batch = max(1, 3200 // length)
    steps = 12 * max(1, labels // 3200)
    reason = f"{labels:,} training labels"
    for path, value in (
        ("train.labels_per_context", length),
        ("train.batch_size", batch),
        ("train.epochs", 12),
        ("train.patience", 0),
        ("optimizer.name", "adamw"),
        ("optimizer.weight_decay", 0.01),
        ("optimizer.learning_rate", 1e-2),
        ("optimizer.schedule", "cosine"),
        ("optimizer.warmup_steps", min(200, steps // 10)),
    ):
        yield Choice(path, value, reason)


def _of_items(account: Account) -> Iterator[Choice]:
    reason = f"{account.items:,} items"
    if account.items > _FULL_SOFTMAX:
        yield Choice("loss.name", "sampled_softmax", reason)
        yield Choice("loss.negatives", _NEGATIVES, reason)
        yield Choice("loss.negatives_power", 0.0, reason)
    ks = tuple(k for k in _DEFAULTS.evaluation.ks if k <= account.items) or (1,)
    if ks != _DEFAULTS.evaluation.ks:
        yield Choice("evaluation.ks", ks, reason)
    yield Choice("export.quantization", "float16", reason)


def _of_repeats(config: Config, account: Account, is_long: bool) -> Iterator[Choice]:
    come_back = account.repeat_share > _COME_BACK
    reason = f"{account.repeat_share:.1%} of events repeat an item of the user"
    at = next((k for k in (10, 5, 1) if k <= account.items), 1)
    if come_back:
        yield Choice("model.transitions_to_self", True, reason)
        yield Choice("train.select_metric", f"ndcg@{at}", reason)
        yield Choice("export.top_k", min(20, account.items), reason)
        return
    if at != 10:
        yield Choice("train.select_metric", f"filtered/ndcg@{at}", reason)
    if is_long:
        yield Choice("loss.exclude_seen", True, reason)
    # Ten are left where all items of the context have been seen.
    length = config.model.context_length
    if length == _DEFAULTS.model.context_length:
        length = 20 if is_long else 50
    yield Choice("export.top_k", min(10 + length, account.items), reason)
