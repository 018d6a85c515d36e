"""Which config fields go together; `training.validation` adds encoders and losses.

What one field accepts stands beside it in `tree`.
"""

from flaxrec.config.paths import fit, get
from flaxrec.config.tree import (
    Config,
    FeatureConfig,
    GroupConfig,
    ModelConfig,
    feature_length,
    groups,
)
from flaxrec.errors import ConfigError, shown

_ASK = ("since", "hour", "weekday")
# As `data.moments.OF_NOW`, which this room cannot import; a test compares the two.
OF_NOW = ("event.gap_after", "event.seconds_ago", *(f"ask.{name}" for name in _ASK))
_SECONDS_AGO = OF_NOW[1]
_WHOLE = ("user.", "ask.")  # sources of features of the whole context


def check_fields(config: Config) -> None:
    """Raises ConfigError naming the first field that cannot be used."""
    fit(Config, config, "config")
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
    if split.protocol == "cold_items" and (
        config.reference_mode or config.data.source == "tfrecord"
    ):
        raise ConfigError(
            "config.split.protocol is cold_items, but reference mode and TFRecords have every item "
            "in training; use leave_one_out."
        )
    if not config.evaluation.ks:
        raise ConfigError("config.evaluation.ks is empty; give at least one cut-off, such as 10.")
    if not list(groups(config.model)):
        raise ConfigError(
            "config.model has no feature group; add one to config.model.activity_groups."
        )
    _check_select_metric(config)
    _check_loss(config)
    _check_shards(config)
    if config.evaluation.max_megabytes and config.quirks.batch_metrics:
        raise ConfigError(
            f"config.evaluation.max_megabytes is {config.evaluation.max_megabytes}, but reference "
            "mode's metrics need all scores of a batch; set it to 0, and "
            "config.evaluation.batch_size lower."
        )
    if config.train.batch_size % config.data.buckets:
        raise ConfigError(
            f"config.train.batch_size is {config.train.batch_size}, not a multiple of "
            f"config.data.buckets={config.data.buckets}, each of which gives as many contexts to "
            "a batch; change one of them."
        )
    if config.data.source == "tfrecord":
        _check_records(config)
    inputs: dict[str, FeatureConfig] = {}
    for path, group in groups(config.model):
        _check_group(path, group, config.model, inputs)
        numbers = [f for f in group.features if f.type == "FLOAT" or f.source == _SECONDS_AGO]
        padded = any(f.source.partition(".")[0] not in ("user", "ask") for f in group.features)
        sees_padding = config.quirks.encoders_see_padding
        if numbers == group.features and padded and not sees_padding:
            kinds = dict.fromkeys("FLOAT" if f.type == "FLOAT" else f.source for f in numbers)
            raise ConfigError(
                f"config.{path} has only {' and '.join(kinds)} features, whose padding cannot be "
                "told from a 0; add an INT or STRING feature to the group."
            )
    if config.model.tied_tables:
        _check_tied(config)
    _check_label_features(config)
    if config.model.transitions and config.reference_mode:
        raise ConfigError(
            f"config.model.transitions is {config.model.transitions}, but config.reference_mode "
            "stands for an example without such a head; use 0."
        )
    if config.recipe == "by_data" and (config.reference_mode or config.data.source == "tfrecord"):
        raise ConfigError(
            "config.recipe is by_data, but reference mode and TFRecords are taken as they are; use "
            "as_set."
        )
    if config.train.packed:
        _check_packed(config)
    if config.train.teachers and (config.loss.name != "global_softmax" or config.train.packed):
        raise ConfigError(
            f"config.train.teachers is {shown(config.train.teachers)}, but teachers need "
            "config.loss.name=global_softmax and config.train.packed=False; change these, or use "
            "()."
        )
    if config.reference_mode and config.train.quantization != "none":
        raise ConfigError(
            f"config.train.quantization is {config.train.quantization}, but config.reference_mode "
            "stands for an example that trains exact tables; use none."
        )
    _check_warm_start(config)
    _check_time(config)
    _check_first_events(config)
    if config.train.labels_per_context > 1:
        _check_one_pass(config)


def check_choice(path: str, value: str, choices: tuple[str, ...]) -> None:
    """Raises ConfigError if the value of config.PATH is not one of the choices."""
    if value not in choices:
        raise ConfigError(f"config.{path} is {shown(value)}; use one of {', '.join(choices)}.")


def _check_select_metric(config: Config) -> None:
    accepted = ["mean_rank", "loss"]
    accepted += [f"{name}@{k}" for name in ("recall", "ndcg", "mrr") for k in config.evaluation.ks]
    metric = config.train.select_metric.removeprefix("filtered/")
    if metric not in accepted or config.train.select_metric == "filtered/loss":
        raise ConfigError(
            f"config.train.select_metric is {shown(config.train.select_metric)}; use one of "
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
    lengths = {}
    for i, feature in enumerate(group.features):
        where = f"{path}.features[{i}]"
        _check_feature(where, feature)
        if feature.type == "VECTOR":
            raise ConfigError(
                f"config.{where}.type is VECTOR, which is for config.model.label_features; with "
                "config.model.tied_tables contexts read the same vectors."
            )
        if feature.words:
            raise ConfigError(
                f"config.{where}.words is True, but only config.model.label_features read texts by "
                "words; use False, or a column of lists."
            )
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
        twins = {name for name in inputs if name.lower() == feature.name.lower()}
        if len(twins) > 1:
            raise ConfigError(
                f"config.{where}.name is one of {', '.join(sorted(twins))}, which differ only in "
                "case and would share files on macOS and Windows; give it another."
            )
    durations = [feature for feature in group.features if feature.source == _SECONDS_AGO]
    if len(durations) > 1 or any(feature.type != "INT" for feature in durations):
        raise ConfigError(
            f"config.{path} reads {_SECONDS_AGO} as {', '.join(f.type for f in durations)}; give "
            "it one such feature, of the type INT."
        )
    kinds = {f.source.partition(".")[0] for f in group.features}
    if "ask" in kinds and len(kinds) > 1:
        raise ConfigError(
            f"config.{path} mixes features of the moment of asking with others; give those of "
            "ask.NAME a group of their own."
        )
    if len(set(lengths.values())) > 1:
        listed = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise ConfigError(
            f"config.{path} mixes features of different lengths ({listed}); give them one length "
            "or put them into groups of their own."
        )


def _check_time(config: Config) -> None:
    """Checks the features that know the moment of asking."""
    found = [
        feature.source
        for _, group in groups(config.model)
        for feature in group.features
        if feature.source in OF_NOW
    ]
    if config.reference_mode and config.model.feature_dropout:
        raise ConfigError(
            f"config.model.feature_dropout is {config.model.feature_dropout}, but "
            "config.reference_mode stands for an example that forgets nothing; use 0."
        )
    if found and (config.reference_mode or config.data.source == "tfrecord"):
        raise ConfigError(
            f"A feature's source is {found[0]}, but reference mode and TFRecords have no moment of "
            "asking; leave the feature out."
        )


def _check_first_events(config: Config) -> None:
    """Checks that the model can learn something of an empty context."""
    if not config.train.first_events:
        return
    if config.reference_mode or config.data.source == "tfrecord":
        raise ConfigError(
            "config.train.first_events is True, but reference mode and TFRecords have no labels "
            "without a context; use False."
        )
    model = config.model
    sources = {feature.source for _, group in groups(model) for feature in group.features}
    of_whole = any(source.startswith(_WHOLE) for source in sources)
    layers = model.projection or model.hidden_dims or model.item_bias
    if not (layers or of_whole or config.code.text):  # encoders of one's own may know something
        raise ConfigError(
            "config.train.first_events is True, but without any activity this model's scores are "
            "all 0, whatever it learns; set config.model.item_bias or config.model.projection to "
            "True."
        )


def _check_warm_start(config: Config) -> None:
    """Checks that what an older run was trained on is not held out here by chance."""
    if not config.train.warm_start:
        return
    where, split = f"config.train.warm_start is {shown(config.train.warm_start)}, but", config.split
    if config.reference_mode or config.data.source == "tfrecord":
        raise ConfigError(
            f"{where} reference mode and TFRecords have rows instead of ids; leave it out."
        )
    if split.protocol == "random" or (split.protocol == "cold_items" and split.cold_by == "random"):
        raise ConfigError(
            f"{where} config.split draws what is held out, and that run was trained on some of it; "
            "use leave_one_out or global_time, or cold_by=first."
        )


def _check_loss(config: Config) -> None:
    loss = config.loss
    if loss.exclude_seen and config.data.source == "tfrecord":
        raise ConfigError(
            "config.loss.exclude_seen is True, but records (config.data.source=tfrecord) hold "
            "contexts without the users' own timelines; use False."
        )


def _check_shards(config: Config) -> None:
    """Checks that nothing keeps on every device as much as what is split."""
    shards = config.train.model_shards
    if shards == 1:
        return
    where = f"config.train.model_shards is {shards}, but"
    for path in ("reference_mode", "model.transitions", "train.teachers"):
        if value := get(config, path):
            raise ConfigError(
                f"{where} config.{path} is {shown(value)}, whose tables are whole on every device; "
                "use 1 shard, or leave it out."
            )


def _check_one_pass(config: Config) -> None:
    """Checks that the prefixes of a context can be trained in one pass."""
    labels, length = config.train.labels_per_context, config.model.context_length
    where = f"config.train.labels_per_context is {labels}, but"
    if labels > length:
        raise ConfigError(f"{where} config.model.context_length is {length}; use at most that.")
    if config.reference_mode or config.data.source == "tfrecord":
        raise ConfigError(
            f"{where} reference mode and TFRecords have one label for each context; use 1."
        )


def _check_label_features(config: Config) -> None:
    """Checks the label tower: the features that are added to the items' vectors."""
    features, share = config.model.label_features, config.model.id_dropout
    if share and not features and config.recipe == "as_set":
        raise ConfigError(
            f"config.model.id_dropout is {share}, but config.model.label_features is empty, so "
            "nothing would be left of an item; name features, or use 0."
        )
    if features and (config.reference_mode or config.data.source == "tfrecord"):
        raise ConfigError(
            "config.model.label_features has features, but reference mode and TFRecords have no "
            "table of items that describes labels; leave them out."
        )
    names = set()
    for i, feature in enumerate(features):
        where = f"model.label_features[{i}]"
        _check_feature(where, feature)
        is_id, is_vector = feature.source == "item.id", feature.type == "VECTOR"
        if not feature.source.startswith("item.") or is_id != is_vector:
            raise ConfigError(
                f"config.{where} is {feature.source} of the type {feature.type}; use item.NAME as "
                "INT, STRING or FLOAT, or item.id as VECTOR."
            )
        if feature.words and feature.type != "STRING":
            raise ConfigError(
                f"config.{where}.words is True, but its type is {feature.type}; use STRING."
            )
        if feature.name in names:
            raise ConfigError(f"config.{where}.name is {feature.name!r} once more; use another.")
        names.add(feature.name)


def _check_packed(config: Config) -> None:
    """Checks that several users' labels can be trained in one pass."""
    if config.train.labels_per_context != 1:
        raise ConfigError(
            f"config.train.labels_per_context is {config.train.labels_per_context}, but with "
            "config.train.packed every label of a pass is trained; use 1."
        )
    for path, group in groups(config.model):
        if any(feature.source == _SECONDS_AGO for feature in group.features):
            raise ConfigError(
                f"config.train.packed is True, but config.{path} reads {_SECONDS_AGO}, which is "
                "relative to one label; leave the feature out, or use False."
            )
    if config.reference_mode or config.data.source == "tfrecord":
        raise ConfigError(
            "config.train.packed is True, but reference mode and TFRecords have one label for "
            "each context; use False."
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
            f"config.{path}.vocabulary is {shown(feature.vocabulary)}, but with "
            "config.model.tied_tables its rows are the labels'; leave it empty."
        )


def _check_feature(path: str, feature: FeatureConfig) -> None:
    if not feature.name.isidentifier():
        raise ConfigError(
            f"config.{path}.name is {feature.name!r}; use letters, digits and '_', not starting "
            "with a digit."
        )
    if feature.name.lower() == "item" and (feature.source != "item.id" or feature.vocab_size):
        raise ConfigError(
            f"config.{path}.name is {feature.name!r}, the name of the items' vocabulary; give it "
            "another."
        )
    if feature.name == "label":
        raise ConfigError(
            f"config.{path}.name is 'label', which stands beside the inputs in files of judged "
            "labels; give it another."
        )
    table, _, column = feature.source.partition(".")
    if table not in ("item", "event", "user", "ask") or not column:
        raise ConfigError(
            f"config.{path}.source is {shown(feature.source)}; use item.id, item.NAME, event.NAME, "
            "user.NAME or ask.NAME."
        )
    if table == "ask" and column not in _ASK:
        raise ConfigError(
            f"config.{path}.source is {shown(feature.source)}; of the moment of asking there are "
            f"{', '.join(f'ask.{name}' for name in _ASK)}."
        )
    if table == "ask" and feature.length > 1:
        raise ConfigError(
            f"config.{path}.length is {feature.length}, but {feature.source} is one value; use 0."
        )
    if (feature.type == "VECTOR") != bool(feature.file):
        raise ConfigError(
            f"config.{path} has the type {feature.type} and the file {feature.file!r}; give a "
            "VECTOR a file, and no other type one."
        )
    if feature.embedding_dim < 1 and feature.type in ("INT", "STRING"):
        raise ConfigError(
            f"config.{path}.embedding_dim is {feature.embedding_dim}; use a number above 0."
        )
