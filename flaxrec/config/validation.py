"""What the fields of a config accept; `training.validation` adds encoders and losses."""

from flaxrec.config.paths import get
from flaxrec.config.tree import (
    QUANTIZATIONS,
    Config,
    FeatureConfig,
    GroupConfig,
    ModelConfig,
    feature_length,
    groups,
)
from flaxrec.errors import ConfigError

_CHOICES = {
    "export.quantization": QUANTIZATIONS,
    "data.source": ("synthetic", "movielens", "table", "tfrecord"),
    "data.release": ("ml-1m", "ml-100k", "ml-latest-small", "ml-20m", "ml-25m", "ml-32m"),
    "split.protocol": ("leave_one_out", "random", "global_time"),
    "split.later": ("keep", "drop", "match"),
    "model.compute_dtype": ("float32", "bfloat16"),
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


def check_fields(config: Config) -> None:
    """Raises ConfigError naming the first field that cannot be used."""
    for path, choices in _CHOICES.items():
        check_choice(path, get(config, path), choices)
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
        sees_padding = config.quirks.encoders_see_padding
        if numbers_only and padded and not sees_padding:
            raise ConfigError(
                f"config.{path} has only FLOAT features, whose padding cannot be told from a 0; "
                "add an INT or STRING feature to the group."
            )
    if config.model.tied_tables:
        _check_tied(config)
    if config.train.labels_per_context > 1:
        _check_one_pass(config)


def check_choice(path: str, value: str, choices: tuple[str, ...]) -> None:
    """Raises ConfigError where the value of config.PATH is none of the choices."""
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
    if not group.features:
        raise ConfigError(f"config.{path}.features is empty; give the group at least one feature.")
    for name in ("conv_kernel_size", "lstm_units", "blocks", "heads", "feedforward_ratio"):
        if getattr(group, name) < 1:
            raise ConfigError(
                f"config.{path}.{name} is {getattr(group, name)}; use a number above 0."
            )
    if group.width < 0:
        raise ConfigError(f"config.{path}.width is {group.width}; use 0 or a number above.")
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


def _check_loss(config: Config) -> None:
    loss = config.loss
    if loss.exclude_seen and config.data.source == "tfrecord":
        raise ConfigError(
            "config.loss.exclude_seen is True, but records (config.data.source=tfrecord) hold "
            "contexts without the items' own timelines; use False."
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
    check_choice(f"{path}.type", feature.type, ("INT", "STRING", "FLOAT"))
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
