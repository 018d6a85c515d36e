"""Config trees drawn over the fields' types: some may train, others no run can use."""

import dataclasses
import datetime
import math
import random
import typing
from pathlib import Path
from typing import Any

from flaxrec import config as config_lib
from flaxrec.config import Config, FeatureConfig, GroupConfig, bounds
from flaxrec.models.encoders import ENCODERS
from flaxrec.scoring.losses import LOSSES

Sources = dict[str, tuple[str, ...]]  # types of features by source
_OF_ACTIVITIES: Sources = {
    "item.id": ("INT", "STRING"),
    "item.genres": ("STRING",),
    "item.year": ("INT", "STRING", "FLOAT"),
    "event.rating": ("INT", "STRING", "FLOAT"),
    "event.gap": ("INT", "FLOAT"),
    "event.gap_after": ("INT", "FLOAT"),
    "event.seconds_ago": ("INT",),
}
_OF_TABLES: Sources = {
    "item.id": ("INT", "STRING"),
    "item.tags": ("STRING",),
    "item.size": ("INT", "STRING", "FLOAT"),
    "event.price": ("STRING", "FLOAT", "INT"),
    "event.rating": ("INT", "FLOAT"),
    "event.weight": ("FLOAT",),
    "event.event_type": ("STRING",),
    "event.gap": ("INT",),
    "event.gap_after": ("INT", "STRING"),
    "event.seconds_ago": ("INT",),
}
_OF_USERS: Sources = {"user.age_group": ("STRING",)}
_OF_NOW: Sources = {
    "ask.since": ("INT",),
    "ask.hour": ("INT", "FLOAT"),
    "ask.weekday": ("INT", "STRING"),
}
_LOSSES = tuple(LOSSES)
# Fields whose largest values are allowed, and take minutes or gigabytes: those of the other fields
# are tried.
_COSTLY = (
    *("users", "items", "mean_events", "epochs", "length", "context_length", "labels_per_context"),
    *("batch_size", "embedding_dim", "hidden_dims", "width", "lstm_units", "blocks", "heads"),
    *("feedforward_ratio", "conv_filter_ratios", "conv_kernel_size", "negatives", "transitions"),
)
_METRICS = ("loss", "mean_rank", "recall@1", "ndcg@5", "filtered/ndcg@5", "filtered/mrr@1")


def write_tables(folder: Path) -> tuple[Path, Path, Path]:
    """Events, items and users of a small shop, with a column of every kind."""
    draw, seconds = random.Random(0), 1_700_000_000
    events = ["user,item,at,day,stars,kind,visit,importance,price"]
    for n in range(300):
        day = datetime.date(2024, 1, 1) + datetime.timedelta(n // 10)
        events.append(
            f"u{draw.randrange(25)},{draw.randrange(20)},{seconds + 500 * n},{day},"
            f"{draw.randrange(1, 6)},{draw.choice('ab')},{draw.randrange(4)},"
            f"{draw.choice((0, 1, 2.5))},{draw.choice(('', 1.5, 9))}"
        )
    items = [
        "item,title,tags,size",
        *(f"{n},T{n},{'x|y' if n % 2 else ''},{n % 3}" for n in range(20)),
    ]
    users = ["user,town,age", *(f"u{n},{'AB'[n % 2]},{n}" for n in range(25))]
    files = folder / "events.csv", folder / "items.csv", folder / "users.csv"
    for file, lines in zip(files, (events, items, users), strict=True):
        file.write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")
    return files


def on_tables(draw: random.Random, files: tuple[Path, Path, Path]) -> Config:
    """A small config on the tables of `write_tables`, with any of their columns."""
    some = draw.choice
    config = small(draw, _OF_TABLES, {"user.town": ("STRING",), "user.age": ("INT", "FLOAT")})
    data = config.data
    data.source = "table"
    data.path, data.items_path, data.users_path = map(str, files)
    columns = data.columns
    columns.time, columns.rating = some(("at", "at", "day", "")), some(("stars", "stars", ""))
    columns.event_type, columns.session = some(("kind", "")), some(("visit", "", ""))
    columns.weight, columns.title = some(("importance", "", "")), some(("title", ""))
    columns.event_features, columns.item_features = ("price",), ("tags", "size")
    columns.user_features, columns.multi_valued = ("town", "age"), ("tags",)
    data.event_types = some(((), (), ("a",))) if columns.event_type else ()
    return config


def small(
    draw: random.Random,
    of_activities: Sources = _OF_ACTIVITIES,
    of_users: Sources = _OF_USERS,
) -> Config:
    """A config on tiny generated data in which most fields go together, so that it may train."""
    some = draw.choice
    length = some((1, 2, 3, 5, 8))
    width = some((1, 2, 4, 8))
    config = Config(seed=draw.randrange(2**63))
    config.data.synthetic = config_lib.SyntheticConfig(some((12, 40)), some((8, 30)), some((6, 12)))
    config.data.min_timeline_length = some((1, 3, 4))
    config.data.k_core, config.data.min_item_count = some((0, 0, 2)), some((1, 1, 2))
    config.data.max_timeline_length = some((0, 0, 4, 7))
    config.data.session_gap = some((0.0, 0.0, 3600.0, 1e6))
    config.data.min_rating = some((0.0, 0.0, 3.0))
    config.data.merge_repeats, config.data.drop_duplicates = (
        some((False, True)),
        some((False, True)),
    )
    config.data.time_unit = some(("auto", "auto", "s", "ms", "none"))
    config.data.time_zone = some(("UTC", "Europe/Berlin"))
    config.split.protocol = some(("leave_one_out", "leave_one_out", "random", "global_time"))
    config.split.seed = draw.randrange(2**63)
    config.split.validation_fraction = some((0.0, 0.1, 0.4))
    config.split.test_fraction = some((0.1, 0.3))
    config.split.later = (
        some(("keep", "drop", "match")) if config.split.protocol == "random" else "keep"
    )
    config.reference_mode = draw.random() < 0.08
    model = config.model
    model.context_length, model.embedding_dim = length, width
    model.tied_tables = draw.random() < 0.6 and not config.reference_mode
    groups = [_group(draw, of_activities, length, "", width)]
    ids = FeatureConfig("context_item_id", "item.id", some(("INT", "STRING")), width)
    if model.tied_tables or draw.random() < 0.6:
        groups[0].features[:0] = [ids]
    if draw.random() < 0.3:
        groups.append(_group(draw, of_activities, some((length, 2)), "second_", width))
    model.activity_groups = groups
    if draw.random() < 0.3:
        model.global_groups.append(_group(draw, of_users, some((0, 1, 2)), "user_", width))
    if draw.random() < 0.3:
        model.global_groups.append(_group(draw, _OF_NOW, 0, "now_", width))
        model.global_groups[-1].modulates = draw.random() < 0.5
    model.hidden_dims = some(((), (4,), (3, 5)))
    model.projection = draw.random() < 0.85
    year, genres = ("item.year", "item.genres")
    if of_activities is _OF_TABLES:
        year, genres = "item.size", "item.tags"
    if model.tied_tables and draw.random() < 0.3:
        model.label_features = [FeatureConfig("label_year", year, some(("INT", "STRING")))]
        if draw.random() < 0.5:
            model.label_features.append(FeatureConfig("label_genres", genres, "STRING"))
    model.item_bias, model.normalized = some((False, True)), some((False, True))
    model.item_table = some(("random", "random", "ppmi"))
    model.table_deviation = some((0.0, 0.02))
    model.temperature = some((1.0, 0.1))
    model.transitions = some((0, 0, 2, 50))
    model.transitions_to_self = some((False, True))
    model.transitions_weight = some((0.0, 0.5))
    model.dropout, model.feature_dropout = some((0.0, 0.0, 0.5)), some((0.0, 0.0, 0.5))
    model.compute_dtype = some(("float32", "float32", "bfloat16"))
    loss = config.loss
    loss.name = some(_LOSSES)
    loss.logq_correction = some((False, True))
    if loss.name != "batch_softmax":
        loss.label_smoothing, loss.exclude_seen = some((0.0, 0.1)), some((False, True))
    loss.negatives, loss.negatives_power = some((1, 5, 64)), some((0.0, 0.5, 1.0, 100.0))
    loss.max_megabytes = some((0, 1))
    optimizer = config.optimizer
    optimizer.name = some(("adagrad", "adam", "adamw"))
    optimizer.schedule = some(("constant", "cosine", "linear"))
    optimizer.warmup_steps, optimizer.clip_norm = some((0, 3, 10**9)), some((0.0, 1.0))
    optimizer.clip = some(("global", "per_parameter"))
    optimizer.weight_decay, optimizer.beta2 = some((0.0, 0.1)), some((0.0, 0.999))
    train = config.train
    train.batch_size, train.epochs = some((1, 4, 8)), 1
    train.log_every, train.patience = some((1, 500)), some((0, 3))
    train.checkpoint_every = some((1, 2000))
    train.labels_per_context = some((1, 1, length, max(1, length // 2)))
    train.first_events = draw.random() < 0.2
    train.packed = draw.random() < 0.15
    if train.packed and draw.random() < 0.8:
        train.labels_per_context = 1
    train.quantization = some(("none", "none", "int8", "int4"))
    evaluation = config.evaluation
    evaluation.ks, evaluation.batch_size = some(((1, 5), (5, 1, 1))), some((1, 16))
    evaluation.keep_per_label, evaluation.baselines = some((False, True)), some((False, True))
    train.select_metric = some(_METRICS)
    export = config.export
    export.enabled, export.top_k = False, some((1, 3))
    export.judged_labels, export.verification_contexts = some((0, 1, 100)), some((1, 50))
    config.recipe = "by_data" if draw.random() < 0.05 else "as_set"
    return config


def wild(draw: random.Random) -> tuple[Config, str]:
    """A small config with one to three fields at the ends of their bounds or beyond, and which."""
    config = small(draw)
    changed = []
    chosen = draw.sample(fields_of(config), draw.choice((1, 1, 2, 3)))
    for path, hint in sorted(chosen, key=lambda field: -field[0].count(".")):  # leaves first
        value = _beyond(draw, hint)
        bound = bounds.of(hint)[1]
        if path.rpartition(".")[2] in _COSTLY and isinstance(bound, bounds.Range):
            value = 2 * bound.high if type(value) is int and value == bound.high else value
        _set(config, path, value)
        changed.append(f"{path}={value!r}"[:100])
    return config, ", ".join(changed)


def fields_of(config: Config) -> list[tuple[str, Any]]:
    """(path, type with its bound) of every field of the tree, sections and lists too."""
    found = []

    def walk(section: Any, path: str) -> None:
        for name, hint in typing.get_type_hints(type(section), include_extras=True).items():
            value, place = getattr(section, name), f"{path}.{name}".lstrip(".")
            if not dataclasses.is_dataclass(value):
                found.append((place, hint))
            for part, inner in (
                [("", value)]
                if not isinstance(value, list)
                else [(f"[{i}]", item) for i, item in enumerate(value)]
            ):
                if dataclasses.is_dataclass(inner):
                    walk(inner, place + part)

    walk(config, "")
    return found


def file_of(config: Config, file: Path) -> None:
    """Writes the config as a config file."""
    file.write_text(
        "from flaxrec.config import *\n\nnan, inf = float('nan'), float('inf')\n\n\n"
        f"def get_config():\n    return {config!r}\n",
        encoding="utf-8",
        errors="surrogatepass",
        newline="\n",
    )


def _group(
    draw: random.Random, sources: Sources, length: int, prefix: str, width: int
) -> GroupConfig:
    features = []
    for source in draw.sample(sorted(sources), min(len(sources), draw.choice((1, 1, 2)))):
        kind = draw.choice(sources[source])
        name = prefix + source.replace(".", "_")
        of_group = source in ("item.genres", "item.tags")
        features.append(
            FeatureConfig(
                name, source, kind, draw.choice((1, 3, width)), length if prefix or of_group else 0,
                draw.choice((0, 0, 2)),
            )
        )  # fmt: skip
    group = GroupConfig(features, draw.choice(sorted(ENCODERS)))
    group.conv_filter_ratios = draw.choice(((1,), (1, 2)))
    group.conv_kernel_size = draw.choice((1, 2, 4))
    group.lstm_units, group.width = draw.choice((1, 4)), draw.choice((0, 2, width))
    group.blocks, group.heads, group.feedforward_ratio = draw.choice((1, 2)), draw.choice((1, 2)), 1
    return group


def _beyond(draw: random.Random, hint: Any) -> Any:
    kind, bound = bounds.of(hint)
    odd: list[Any] = [None, True, "", "3", b"x", 2.5, (), [], {}, object, 10**30]
    if isinstance(bound, bounds.Range):
        odd += [
            bound.low,
            bound.high,
            bound.low - 1,
            bound.high + 1,
            -1,
            0,
            1,
            10**24,
            2_000_000_000,
        ]
        odd += [math.nan, math.inf, -math.inf, 1e308, 5e-324, -0.0, 10**4000]
    elif isinstance(bound, bounds.Choices):
        odd += [draw.choice(bound.texts), bound.texts[0].upper(), bound.texts[0] + " "]
    elif isinstance(bound, bounds.Text):
        odd += ["x" * 5000, "a\0b", "\ud800", "a\nb", "\x1b[2J", "../x", "item.nope", "item.", "."]
    elif typing.get_origin(kind) is tuple:
        inner = typing.get_args(kind)[0]
        odd += [(_beyond(draw, inner),), (1,) * 2000, ("a", "a"), ((1,),), "abc"]
    else:
        odd += [[None], [1] * 2000, [FeatureConfig()], [GroupConfig()]]
    value = draw.choice(odd)
    if draw.random() < 0.3 and kind in (int, float):
        value = kind(draw.choice((bound.low, bound.high)))
    return value


def _set(config: Config, path: str, value: Any) -> None:
    owner: Any = config
    *parents, last = path.split(".")
    for part in parents:
        name, _, index = part.partition("[")
        owner = getattr(owner, name)
        if index:
            owner = owner[int(index[:-1])]
    setattr(owner, last, value)
