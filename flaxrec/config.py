"""The configuration: one tree of dataclasses, built by `configs/*.py`, validated once.

Every field may be overridden on the command line, for example
`--config.model.activity_groups[0].encoder=lstm` or `--config.train.epochs=5`.
"""

import dataclasses
import hashlib
import json
import types
import typing
from collections.abc import Iterator
from dataclasses import field
from typing import Any

from flaxrec.errors import ConfigError
from flaxrec.quirks import Quirks


@dataclasses.dataclass
class SyntheticConfig:
    """Size of the embedded, seeded data set (`data.source='synthetic'`)."""

    users: int = 2000  # number of users
    items: int = 800  # number of items
    mean_events: int = 60  # mean number of interactions of a user
    seed: int = 0  # the data's own seed, apart from the training seed


@dataclasses.dataclass
class ColumnsConfig:
    """Names of the columns of one's own tables (`data.source='table'`); '' means: there is none."""

    user: str = "user"  # column of the user's id, any type
    item: str = "item"  # column of the item's id, any type
    time: str = "time"  # number, date or date-time; only the order is used
    rating: str = ""  # numeric rating, becomes the source `event.rating`
    title: str = ""  # readable name of the item
    event_features: tuple[str, ...] = ()  # further columns, become `event.NAME`
    item_features: tuple[str, ...] = ()  # columns of the item, become `item.NAME`
    user_features: tuple[str, ...] = ()  # columns of the user, become `user.NAME`
    multi_valued: tuple[str, ...] = ()  # the item features whose cells hold several values
    separator: str = "|"  # what stands between the values of such a cell


@dataclasses.dataclass
class RecordsConfig:
    """The TensorFlow example's TFRecords (`data.source='tfrecord'`, `data.path` for training)."""

    test: str = ""  # pattern of the files with the test examples
    vocabularies: str = ""  # folder of the vocabulary files; movie_vocab.json there gives titles
    label: str = "label_movie_id"  # key of the label
    label_vocab_size: int = 0  # V, the label's ids are below it; 0: as many as its file has lines
    label_vocabulary: str = ""  # the label's vocabulary file; '' means: the records hold rows


@dataclasses.dataclass
class DataConfig:
    """Where the interactions come from and which of them count."""

    source: str = "synthetic"  # synthetic, movielens, table or tfrecord
    # A folder (movielens; '' downloads it), a file (table: .csv, .tsv, .parquet) or a pattern
    # (tfrecord: the training files).
    path: str = ""
    release: str = "ml-1m"  # the MovieLens release to download when path is ''
    cache_dir: str = "~/.cache/flaxrec"  # where downloads are kept
    items_path: str = ""  # table: separate file with one row an item
    users_path: str = ""  # table: separate file with one row a user
    columns: ColumnsConfig = field(default_factory=ColumnsConfig)
    synthetic: SyntheticConfig = field(default_factory=SyntheticConfig)
    records: RecordsConfig = field(default_factory=RecordsConfig)
    min_rating: float = 0.0  # interactions rated lower are removed everywhere; 0 keeps all
    min_timeline_length: int = 3  # users with fewer interactions are removed
    drop_duplicates: bool = False  # drop repeats of the same (user, item, time); kept by default


@dataclasses.dataclass
class SplitConfig:
    """Which events are labels of training, validation and test."""

    protocol: str = "leave_one_out"  # leave_one_out, random (the reference's) or global_time
    validation_fraction: float = (
        0.1  # random, global_time: share of the labels (or of time-ordered events)
    )
    test_fraction: float = 0.1  # the same for the test
    # random: what of the training labels after a user's first test or validation label; keep (the
    # reference), drop, or match: drop as many of the user's, wherever they lie.
    later: str = "keep"
    seed: int = 0  # random: seed of the permutation


@dataclasses.dataclass
class FeatureConfig:
    """One input of the model."""

    name: str = ""  # name of the graph's input; the same name in two groups is the same input
    source: str = "item.id"  # item.id, item.NAME, event.NAME or user.NAME: a column of the data
    type: str = (
        "INT"  # INT or STRING (looked up in a vocabulary and embedded) or FLOAT (used as is)
    )
    embedding_dim: int = 16  # width of the embedding; not used by FLOAT
    length: int = 0  # number of values kept; 0: context_length (user features: 1)
    # Keep this many most frequent values, others are 'unknown'; 0 keeps all. With tfrecord and
    # in reference mode: rows of the table; 0: as many as the vocabulary needs.
    vocab_size: int = 0
    vocabulary: str = ""  # tfrecord: file of the vocabulary; '' means: the records hold rows


@dataclasses.dataclass
class GroupConfig:
    """Features that are embedded, concatenated and encoded together."""

    features: list[FeatureConfig] = field(default_factory=list)
    encoder: str = "bow"  # bow, cnn, lstm, causal_cnn or attention
    conv_filter_ratios: tuple[int, ...] = (
        2,
        4,
    )  # cnn: filters of each layer, times model.embedding_dim
    # cnn, causal_cnn: activities under the kernel. cnn: also its stride; causal_cnn: also by how
    # much the dilation grows from block to block.
    conv_kernel_size: int = 4
    lstm_units: int = 16  # lstm: width of the state
    width: int = 0  # attention, causal_cnn: width of the vectors inside; 0: that of the features
    blocks: int = 2  # attention, causal_cnn: blocks, one after the other
    heads: int = 2  # attention: heads of a block; they divide the width
    feedforward_ratio: int = 4  # attention: width of a block's hidden layer, times its width


@dataclasses.dataclass
class ModelConfig:
    """The dual encoder."""

    context_length: int = 10  # L, the number of activities before the label that the model sees
    embedding_dim: int = 16  # D, width of the context and label encodings
    global_groups: list[GroupConfig] = field(default_factory=list)
    activity_groups: list[GroupConfig] = field(default_factory=list)
    hidden_dims: tuple[int, ...] = (
        32,
    )  # widths of the ReLU layers between encoders and projection
    # One table for context and label: the candidates' encodings are rows of the table of item.id.
    tied_tables: bool = False
    normalized: bool = False  # encodings of length 1: scores are cosines (over the temperature)
    temperature: float = 1.0  # scores are divided by it
    dropout: float = 0.0  # share of embedded values, and of layers' outputs, left out in training
    compute_dtype: str = "float32"  # float32, or bfloat16 on accelerators; parameters stay float32


@dataclasses.dataclass
class LossConfig:
    """What is minimised."""

    # global_softmax (all items), sampled_softmax (some drawn) or batch_softmax (the batch's labels)
    name: str = "global_softmax"
    logq_correction: bool = (
        True  # batch_softmax: subtract the log of the items' sampling probability
    )
    label_smoothing: float = 0.0  # global_softmax: share of the target given to all items alike
    # global_softmax: leave the items of its context out of a label's candidates, as recommending
    # does. Where users come back to items, their labels stay.
    exclude_seen: bool = False
    negatives: int = 1000  # sampled_softmax: items drawn for a step
    # sampled_softmax: items are drawn by their training labels' count to this power; 0: alike.
    negatives_power: float = 0.5
    # global_softmax: scores are held for so many MiB of contexts at a time; 0: what suits the
    # device.
    max_megabytes: int = 0


@dataclasses.dataclass
class OptimizerConfig:
    """The optax optimiser."""

    name: str = "adam"  # adagrad, adam or adamw
    learning_rate: float = 1e-3  # the peak, if there is a schedule
    schedule: str = "constant"  # constant, cosine or linear (both fall to 0 over the whole run)
    warmup_steps: int = 0  # steps of linear increase from 0
    clip_norm: float = 0.0  # clip the gradient to this norm; 0: no clipping
    clip: str = "global"  # whose norm: global (all parameters together) or per_parameter (as Keras)
    weight_decay: float = 0.0  # adamw only; of matrices, not of biases and scales
    beta2: float = 0.999  # adam, adamw: decay of the squared gradients' mean
    initial_accumulator: float = 0.1  # adagrad only, the reference's default
    epsilon: float = 1e-7  # adagrad 1e-7 as in the reference; adam and adamw use it as well


@dataclasses.dataclass
class TrainConfig:
    """The training loop."""

    batch_size: int = 128  # contexts a step, over all devices together
    epochs: int = 5  # passes over the training labels, at most
    log_every: int = 500  # steps of one compiled scan: progress, train metrics, NaN check
    checkpoint_every: int = (
        2000  # steps between checkpoints inside an epoch; an epoch's end always has one
    )
    patience: int = 3  # stop after so many epochs without a better select_metric; 0: never
    select_metric: str = (
        "filtered/ndcg@10"  # the best checkpoint is the one with the best validation value
    )
    devices: int = 0  # number of devices to train on; 0: all that divide the batch evenly
    # Labels trained in one pass over a context: its own, and those of its prefixes. 1: its own
    # alone; the context length: each event is read about once an epoch.
    labels_per_context: int = 1


@dataclasses.dataclass
class EvaluationConfig:
    """Full ranking of every item for every label."""

    ks: tuple[int, ...] = (1, 5, 10, 20, 50, 100)  # cut-offs of recall, NDCG and MRR
    batch_size: int = 256  # labels ranked at a time
    keep_per_label: bool = True  # keep the test labels' ranks and lists (per_label/test.parquet)


@dataclasses.dataclass
class ExportConfig:
    """The on-device model made at the end of training."""

    enabled: bool = True  # export after training where TensorFlow is installed
    top_k: int = (
        100  # K, number of recommendations that the graph returns; fewer if there are fewer items
    )
    verification_contexts: int = 200  # test contexts on which the file must agree with JAX
    # Labels of validation and of test, each at most, that the run keeps with their contexts: the
    # recall of quantised files is measured on them.
    judged_labels: int = 10_000
    exclude_context: bool = False  # never recommend the items of the context, inside the graph
    trust_ids: bool = False  # leave out the clamp of ids outside the tables
    # none (float32), float16, int8 (a scale a row), int8_tensor (one scale a tensor), int4,
    # int4_tensor, or auto: the smallest file within max_recall_loss.
    quantization: str = "none"
    max_recall_loss: float = 0.01  # auto: relative loss of recall@10 on validation, at most


@dataclasses.dataclass
class Config:
    """One experiment."""

    name: str = "experiment"
    seed: int = 0  # the one seed of initialisation, shuffling and sampling
    reference_mode: bool = False  # take over the TensorFlow example's quirks (flaxrec/quirks.py)
    data: DataConfig = field(default_factory=DataConfig)
    split: SplitConfig = field(default_factory=SplitConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    export: ExportConfig = field(default_factory=ExportConfig)


QUANTIZATIONS = ("none", "float16", "int8", "int8_tensor", "int4", "int4_tensor", "auto")
ENCODERS = ("bow", "cnn", "lstm", "causal_cnn", "attention")
_CHOICES = {
    "export.quantization": QUANTIZATIONS,
    "data.source": ("synthetic", "movielens", "table", "tfrecord"),
    "data.release": ("ml-1m", "ml-100k", "ml-latest-small", "ml-20m", "ml-25m", "ml-32m"),
    "split.protocol": ("leave_one_out", "random", "global_time"),
    "split.later": ("keep", "drop", "match"),
    "model.compute_dtype": ("float32", "bfloat16"),
    "loss.name": ("global_softmax", "sampled_softmax", "batch_softmax"),
    "optimizer.name": ("adagrad", "adam", "adamw"),
    "optimizer.schedule": ("constant", "cosine", "linear"),
    "optimizer.clip": ("global", "per_parameter"),
}
_POSITIVE = (
    "data.synthetic.users",
    "data.synthetic.items",
    "data.synthetic.mean_events",
    "data.min_timeline_length",
    "model.context_length",
    "model.embedding_dim",
    "model.temperature",
    "loss.negatives",
    "optimizer.learning_rate",
    "optimizer.epsilon",
    "train.batch_size",
    "train.labels_per_context",
    "train.epochs",
    "train.log_every",
    "train.checkpoint_every",
    "evaluation.batch_size",
    "export.top_k",
    "export.verification_contexts",
)
_BELOW_ONE = ("model.dropout", "loss.label_smoothing", "optimizer.beta2")
_NOT_NEGATIVE = (
    "export.judged_labels",
    "export.max_recall_loss",
    "seed",
    "split.seed",
    "data.records.label_vocab_size",
    "data.synthetic.seed",
    "split.validation_fraction",
    "split.test_fraction",
    "loss.negatives_power",
    "loss.max_megabytes",
    "optimizer.warmup_steps",
    "optimizer.clip_norm",
    "optimizer.weight_decay",
    "train.patience",
    "train.devices",
    "optimizer.initial_accumulator",
)


def get(config: Any, path: str) -> Any:
    """The value at a dotted path, such as 'train.epochs'."""
    for part in path.split("."):
        config = getattr(config, part)
    return config


def groups(model: ModelConfig) -> Iterator[tuple[str, GroupConfig]]:
    """(path, group) in the order of the model: all global groups, then all activity groups."""
    for kind in ("global_groups", "activity_groups"):
        for i, group in enumerate(getattr(model, kind)):
            yield f"model.{kind}[{i}]", group


def validate(config: Config) -> Config:
    """Returns the config; raises ConfigError naming the first field that cannot be used."""
    for path, choices in _CHOICES.items():
        _check_choice(path, get(config, path), choices)
    for path in _POSITIVE:
        if not get(config, path) > 0:
            raise ConfigError(f"config.{path} is {get(config, path)!r}; use a number above 0.")
    for path in _NOT_NEGATIVE:
        if not get(config, path) >= 0:
            raise ConfigError(f"config.{path} is {get(config, path)!r}; use 0 or a number above.")
    for path in _BELOW_ONE:
        if not 0 <= get(config, path) < 1:
            raise ConfigError(f"config.{path} is {get(config, path)!r}; use 0 or a share below 1.")
    split = config.split
    if split.validation_fraction + split.test_fraction >= 1:
        raise ConfigError(
            "config.split.validation_fraction and config.split.test_fraction add up to 1 or more; "
            "leave a share for training."
        )
    if split.later != "keep" and split.protocol != "random":
        raise ConfigError(
            f"config.split.later is {split.later!r}, but config.split.protocol={split.protocol} "
            "trains on no later labels; use keep, or the random protocol."
        )
    for path in ("model.hidden_dims", "evaluation.ks"):
        if any(width < 1 for width in get(config, path)):
            raise ConfigError(f"config.{path} is {get(config, path)!r}; use numbers above 0.")
    if not config.evaluation.ks:
        raise ConfigError("config.evaluation.ks is empty; give at least one cut-off, such as 10.")
    if not list(groups(config.model)):
        raise ConfigError(
            "config.model has no feature group; add one to config.model.activity_groups."
        )
    _check_select_metric(config)
    _check_loss(config)
    if config.data.source == "tfrecord":
        _check_records(config)
    inputs: dict[str, FeatureConfig] = {}
    for path, group in groups(config.model):
        _check_group(path, group, config.model, inputs)
        numbers_only = all(feature.type == "FLOAT" for feature in group.features)
        padded = any(not feature.source.startswith("user.") for feature in group.features)
        sees_padding = Quirks.of(config.reference_mode).encoders_see_padding
        if numbers_only and padded and not sees_padding:
            raise ConfigError(
                f"config.{path} has only FLOAT features, whose padding cannot be told from a 0; "
                "add an INT or STRING feature to the group."
            )
    if config.model.tied_tables:
        _check_tied(config)
    if config.train.labels_per_context > 1:
        _check_one_pass(config)
    return config


def feature_length(feature: FeatureConfig, model: ModelConfig) -> int:
    """Number of values of the feature that the model sees."""
    default = 1 if feature.source.startswith("user.") else model.context_length
    return feature.length or default


def _check_choice(path: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ConfigError(f"config.{path} is {value!r}; use one of {', '.join(choices)}.")


def _check_select_metric(config: Config) -> None:
    accepted = ["mean_rank", "loss"]
    accepted += [f"{name}@{k}" for name in ("recall", "ndcg", "mrr") for k in config.evaluation.ks]
    metric = config.train.select_metric.removeprefix("filtered/")
    if metric not in accepted or config.train.select_metric == "filtered/loss":
        raise ConfigError(
            f"config.train.select_metric is {config.train.select_metric!r}; use one of "
            f"{', '.join(accepted)}, or filtered/ before any but loss."
        )


def _check_records(config: Config) -> None:
    for path in ("data.path", "data.records.test"):
        if not get(config, path):
            raise ConfigError(
                f"config.{path} is empty; give it the pattern of the record files, such as "
                "'examples/*.tfrecord'."
            )
    metric = config.train.select_metric
    if metric.startswith("filtered/"):
        raise ConfigError(
            f"config.train.select_metric is {metric!r}, but records do not tell what a user met "
            f"before the context; use {metric.removeprefix('filtered/')}."
        )


def _check_group(
    path: str, group: GroupConfig, model: ModelConfig, inputs: dict[str, FeatureConfig]
) -> None:
    _check_choice(f"{path}.encoder", group.encoder, ENCODERS)
    if not group.features:
        raise ConfigError(f"config.{path}.features is empty; give the group at least one feature.")
    for name in ("conv_kernel_size", "lstm_units", "blocks", "heads", "feedforward_ratio"):
        if getattr(group, name) < 1:
            raise ConfigError(
                f"config.{path}.{name} is {getattr(group, name)}; use a number above 0."
            )
    if group.encoder == "cnn" and not (
        group.conv_filter_ratios and min(group.conv_filter_ratios) > 0
    ):
        raise ConfigError(
            f"config.{path}.conv_filter_ratios is {group.conv_filter_ratios!r}; give one number "
            "above 0 for each layer."
        )
    if group.width < 0:
        raise ConfigError(f"config.{path}.width is {group.width}; use 0 or a number above.")
    if group.encoder == "attention" and _width(group) % group.heads:
        raise ConfigError(
            f"config.{path}.heads is {group.heads}, which does not divide the width "
            f"{_width(group)}; change config.{path}.heads or config.{path}.width."
        )
    lengths = {}
    for i, feature in enumerate(group.features):
        where = f"{path}.features[{i}]"
        _check_feature(where, feature)
        if feature.name in lengths:
            raise ConfigError(
                f"config.{where} is {feature.name!r} once more; a group takes a feature once, "
                "leave it out."
            )
        lengths[feature.name] = feature_length(feature, model)
        known = inputs.setdefault(feature.name, feature)
        same = ("source", "type", "length", "vocab_size", "vocabulary")
        if any(getattr(known, key) != getattr(feature, key) for key in same):
            raise ConfigError(
                f"config.{where} uses the name {feature.name!r} of another feature with another "
                f"{' or '.join(same)}; give it a name of its own."
            )
    if len(set(lengths.values())) > 1:
        listed = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise ConfigError(
            f"config.{path} mixes features of different lengths ({listed}); give them one length "
            "or put them into groups of their own."
        )


def _width(group: GroupConfig) -> int:
    """Width of the vectors inside the group's encoder."""
    return group.width or sum(
        1 if feature.type == "FLOAT" else feature.embedding_dim for feature in group.features
    )


def _check_loss(config: Config) -> None:
    loss = config.loss
    if loss.exclude_seen and config.data.source == "tfrecord":
        raise ConfigError(
            "config.loss.exclude_seen is True, but records (config.data.source=tfrecord) hold "
            "contexts without the items' own timelines; use False."
        )
    for name in ("label_smoothing", "exclude_seen"):
        if getattr(loss, name) and loss.name != "global_softmax":
            raise ConfigError(
                f"config.loss.{name} is {getattr(loss, name)}, but config.loss.name={loss.name} "
                "has no such option; use global_softmax, or leave it out."
            )


def _check_one_pass(config: Config) -> None:
    """Whether prefixes of a context can be encoded with it."""
    labels, length = config.train.labels_per_context, config.model.context_length
    where = f"config.train.labels_per_context is {labels}, but"
    if labels > length:
        raise ConfigError(f"{where} config.model.context_length is {length}; use at most that.")
    if config.reference_mode or config.data.source == "tfrecord":
        raise ConfigError(
            f"{where} reference mode and TFRecords have one label for each context; use 1."
        )
    for path, group in groups(config.model):
        if group.encoder == "cnn":
            raise ConfigError(
                f"{where} the strided cnn of config.{path} has no encoding for every activity; "
                "use causal_cnn, or 1."
            )


def _check_tied(config: Config) -> None:
    if config.reference_mode:
        raise ConfigError(
            "config.model.tied_tables is True, but config.reference_mode stands for an example "
            "without tied tables; change one of the two to False."
        )
    found = [
        (f"{path}.features[{i}]", feature)
        for path, group in groups(config.model)
        for i, feature in enumerate(group.features)
        if feature.source == "item.id" and feature.type != "FLOAT"
    ]
    if len(found) != 1:
        listed = " and ".join(f"config.{path}" for path, _ in found) or "there is none"
        raise ConfigError(
            "config.model.tied_tables is True, which takes one INT or STRING feature with source "
            f"item.id in the whole model ({listed}); leave one such feature or use False."
        )
    ((path, feature),) = found
    dim = config.model.embedding_dim
    if feature.embedding_dim != dim:
        raise ConfigError(
            f"config.{path}.embedding_dim is {feature.embedding_dim}, but with "
            "config.model.tied_tables its table also holds the labels' encodings; use "
            f"config.model.embedding_dim, which is {dim}."
        )
    if feature.vocab_size:
        raise ConfigError(
            f"config.{path}.vocab_size is {feature.vocab_size}, but with "
            "config.model.tied_tables its table needs a row for every item; use 0."
        )
    if feature.vocabulary not in ("", config.data.records.label_vocabulary):
        raise ConfigError(
            f"config.{path}.vocabulary is {feature.vocabulary!r}, but with "
            "config.model.tied_tables its rows are the labels'; leave it empty."
        )


def _check_feature(path: str, feature: FeatureConfig) -> None:
    _check_choice(f"{path}.type", feature.type, ("INT", "STRING", "FLOAT"))
    if not feature.name.isidentifier():
        raise ConfigError(
            f"config.{path}.name is {feature.name!r}; use letters, digits and '_', not starting "
            "with a digit."
        )
    if feature.name == "item" and (feature.source != "item.id" or feature.vocab_size):
        raise ConfigError(
            f"config.{path}.name is 'item', the name of the items' vocabulary; give it another."
        )
    if feature.name == "label":
        raise ConfigError(
            f"config.{path}.name is 'label', which stands beside the inputs in files of judged "
            "labels; give it another."
        )
    table, _, column = feature.source.partition(".")
    if table not in ("item", "event", "user") or not column:
        raise ConfigError(
            f"config.{path}.source is {feature.source!r}; use item.id, item.NAME, event.NAME or "
            "user.NAME."
        )
    if feature.embedding_dim < 1 and feature.type != "FLOAT":
        raise ConfigError(
            f"config.{path}.embedding_dim is {feature.embedding_dim}; use a number above 0."
        )
    if feature.length < 0 or feature.vocab_size < 0:
        raise ConfigError(f"config.{path} has a negative length or vocab_size; use 0 or above.")


# ---- files ----------------------------------------------------------------------------------


def to_json(config: Any) -> str:
    """The tree as indented JSON, fields in their order."""
    return json.dumps(dataclasses.asdict(config), indent=2) + "\n"


def from_json(text: str) -> Config:
    """The inverse of `to_json`; raises ConfigError on an unknown field or a wrong type."""
    try:
        return _build(Config, json.loads(text), "config")
    except json.JSONDecodeError as error:
        raise ConfigError(f"The saved config is not valid JSON ({error}).") from error


def sha256(config: Config) -> str:
    """Hash of the whole tree."""
    return hashlib.sha256(to_json(config).encode()).hexdigest()


def differences(a: Config, b: Config) -> list[str]:
    """Dotted paths of the fields in which two configs differ."""
    flat_a, flat_b = _flatten(dataclasses.asdict(a)), _flatten(dataclasses.asdict(b))
    return [path for path in {**flat_a, **flat_b} if flat_a.get(path) != flat_b.get(path)]


def _flatten(value: Any, path: str = "") -> dict[str, Any]:
    if isinstance(value, dict):
        parts = [(f"{path}.{key}".lstrip("."), item) for key, item in value.items()]
    elif isinstance(value, list) and any(isinstance(item, dict) for item in value):
        parts = [(f"{path}[{i}]", item) for i, item in enumerate(value)]
    else:
        return {path: value}
    return {key: leaf for name, item in parts for key, leaf in _flatten(item, name).items()}


def _build(cls: Any, value: Any, path: str) -> Any:
    origin, arguments = typing.get_origin(cls), typing.get_args(cls)
    if dataclasses.is_dataclass(cls):
        _expect(isinstance(value, dict), path, value, "an object with the fields of the section")
        hints = typing.get_type_hints(cls)
        unknown = set(value) - set(hints)
        if unknown:
            raise ConfigError(f"{path} has an unknown field {sorted(unknown)[0]!r}.")
        built = {key: _build(hints[key], item, f"{path}.{key}") for key, item in value.items()}
        return typing.cast(type, cls)(**built)
    if origin in (list, tuple):
        _expect(isinstance(value, list | tuple), path, value, "a list")
        items = [_build(arguments[0], item, f"{path}[{i}]") for i, item in enumerate(value)]
        return origin(items)
    if origin is types.UnionType:
        return value
    if cls is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    fits = isinstance(value, cls) and (cls is bool or not isinstance(value, bool))
    _expect(fits, path, value, cls.__name__)
    return value


def _expect(fits: bool, path: str, value: Any, expected: str) -> None:
    if not fits:
        raise ConfigError(f"{path} is {value!r}; expected {expected}.")
