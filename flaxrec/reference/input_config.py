"""Turns the reference's configuration of a model into ours.

    InputConfig text proto -> the same as a dict -> Config (for people: `load`) and ModelSpec

A dict has the proto's field names. Unset fields are absent, but the two enums get their defaults
(STRING, BOW). Names of features are unique over all groups: the same name in two groups is one
input, with the type and length given last, and one table in each group.
"""

import dataclasses
import functools
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from google.protobuf import (
    descriptor_pb2,
    descriptor_pool,
    json_format,
    message_factory,
    text_format,
)

from flaxrec.config import (
    Config,
    DataConfig,
    EvaluationConfig,
    FeatureConfig,
    GroupConfig,
    LossConfig,
    ModelConfig,
    OptimizerConfig,
    RecordsConfig,
    SplitConfig,
    TrainConfig,
)
from flaxrec.data.spec import InputSpec, ModelSpec
from flaxrec.errors import ConfigError
from flaxrec.training.validation import validate

# The MovieLens example's names, and our columns for them.
SOURCES = {
    "context_movie_id": "item.id",
    "context_movie_genre": "item.genres",
    "context_movie_year": "item.year",
    "context_movie_rating": "event.rating",
}
_FLATTENED = ("item.genres",)  # several values an activity: their length is no context length
_MAX_CONTEXT_LENGTH = 10  # the default of the reference's example generation

_KINDS = ("global_feature_groups", "activity_feature_groups")


def load(path: str | os.PathLike, **settings: Any) -> Config:
    """Makes a config that trains the model of an `InputConfig` text proto; see `training_config`.

    Raises:
      ConfigError: the file cannot be read, or describes a model that cannot be built.
    """
    return training_config(read(path), **settings)


def training_config(
    inputs: dict[str, Any],
    *,
    hidden_layer_dims: Sequence[int] = (32, 32),
    eval_top_k: Sequence[int] = (1, 5, 10),
    conv_num_filter_ratios: Sequence[int] = (2, 4),
    conv_kernel_size: int = 4,
    lstm_num_units: int = 4,
    num_predictions: int = 5,
    learning_rate: float = 0.1,
    gradient_clip_norm: float = 1.0,
    batch_size: int = 128,
) -> Config:
    """Makes a config that trains the reference's model on MovieLens, in reference mode.

    The arguments are flags of the reference's launcher. Their defaults are the launcher's, except
    for the three that it leaves empty and for its batch_size of 1, which allows only eval_top_k 1.

    Args:
      inputs: the input config as a dict.
      hidden_layer_dims: widths of the hidden layers.
      eval_top_k: cut-offs of the metrics.
      conv_num_filter_ratios: filters of each CNN layer, times the label's embedding_dim.
      conv_kernel_size: kernel and stride of the CNN.
      lstm_num_units: width of the LSTM.
      num_predictions: K, items that the exported model returns.
      learning_rate: of Adagrad.
      gradient_clip_norm: largest norm of each parameter's gradient; 0 or below: no clipping.
      batch_size: labels a step.

    Raises:
      ConfigError: the model cannot be built.
    """
    model = {
        "hidden_layer_dims": hidden_layer_dims,
        "eval_top_k": eval_top_k,
        "conv_num_filter_ratios": conv_num_filter_ratios,
        "conv_kernel_size": conv_kernel_size,
        "lstm_num_units": lstm_num_units,
        "num_predictions": num_predictions,
    }
    config = to_config(inputs, model, {"lr": learning_rate, "clipnorm": gradient_clip_norm})
    label = inputs["label_feature"]
    records = RecordsConfig(
        label=label["feature_name"],
        label_vocab_size=label["vocab_size"],
        label_vocabulary=label.get("vocab_name", ""),
    )
    config.data = DataConfig(source="movielens", records=records)
    # The reference has no validation labels; the best checkpoint needs a few.
    config.split = SplitConfig(protocol="random", test_fraction=0.1, validation_fraction=0.01)
    config.train.batch_size = batch_size
    return validate(config)


# ---- text protos ----------------------------------------------------------------------------


def read(path: str | os.PathLike) -> dict[str, Any]:
    """Reads a text proto as a dict; raises ConfigError as `parse`, or if the file is unreadable."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise ConfigError(
            f"The input config {path} cannot be read ({reason}); name a text proto."
        ) from error
    return parse(text, str(path))


def parse(text: str, where: str = "the input config") -> dict[str, Any]:
    """Parses an `InputConfig` text proto into a dict; messages begin with `where`.

    Raises:
      ConfigError: the text is no such proto, has an unknown field, or describes a model that the
        reference cannot build.
    """
    message = _message_class()()
    try:
        text_format.Parse(text, message)
    except text_format.ParseError as error:
        raise ConfigError(f"{where}, line {error.GetLine()}: {_reason(error)}") from error
    found = json_format.MessageToDict(message, preserving_proto_field_name=True)
    inputs: dict[str, Any] = {kind: [] for kind in _KINDS} | found
    features = [inputs["label_feature"]] if "label_feature" in inputs else []
    for _, group in groups(inputs):
        group.setdefault("encoder_type", _ENUMS["EncoderType"][0])
        features += group.setdefault("features", [])
    for feature in features:
        feature.setdefault("feature_type", _ENUMS["FeatureType"][0])
    check(inputs, where)
    return inputs


_MESSAGES = {
    "Feature": (
        ("feature_name", "string"),
        ("feature_type", "FeatureType"),
        ("vocab_name", "string"),
        ("vocab_size", "int32"),
        ("embedding_dim", "int32"),
        ("feature_length", "int32"),
    ),
    "FeatureGroup": (("features", "repeated Feature"), ("encoder_type", "EncoderType")),
    "InputConfig": (
        ("global_feature_groups", "repeated FeatureGroup"),
        ("activity_feature_groups", "repeated FeatureGroup"),
        ("label_feature", "Feature"),
    ),
}
_ENUMS = {"FeatureType": ("STRING", "INT", "FLOAT"), "EncoderType": ("BOW", "CNN", "LSTM")}
_PACKAGE = "flaxrec.reference"


@functools.cache
def _message_class() -> Any:
    """The class of `InputConfig`; only text is read, so field numbers do not matter."""
    field_type = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(
        name="flaxrec/input_config.proto", package=_PACKAGE, syntax="proto2"
    )
    for name, values in _ENUMS.items():
        enum = file.enum_type.add(name=name)
        for number, value in enumerate(values):
            enum.value.add(name=value, number=number)
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for number, (field, kind) in enumerate(fields, 1):
            *repeated, kind = kind.split()
            added = message.field.add(name=field, number=number)
            added.label = field_type.LABEL_REPEATED if repeated else field_type.LABEL_OPTIONAL
            if kind in ("string", "int32"):
                added.type = getattr(field_type, f"TYPE_{kind.upper()}")
            else:
                added.type = field_type.TYPE_ENUM if kind in _ENUMS else field_type.TYPE_MESSAGE
                added.type_name = f".{_PACKAGE}.{kind}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.InputConfig"))


def _reason(error: text_format.ParseError) -> str:
    """One sentence for protobuf's error."""
    found = str(error)
    unknown = re.search(r'type "[\w.]*?(\w+)" has no field named "([^"]+)"', found)
    if unknown:
        message, field = unknown.groups()
        known = ", ".join(name for name, _ in _MESSAGES[message])
        return f"{message} has no field {field!r}; use {known}."
    unknown = re.search(r'Enum type "[\w.]*?(\w+)" has no value (?:named|with number) (\w+)', found)
    if unknown:
        enum, value = unknown.groups()
        return f"{enum} has no value {value}; use {', '.join(_ENUMS[enum])}."
    reason = re.sub(r"^\d+:\d+ ?: ?", "", found).replace(f"{_PACKAGE}.", "").rstrip(".")
    return f"{' '.join(reason.split())}; correct the text proto."


# ---- checks -----------------------------------------------------------------------------------


def check(inputs: dict[str, Any], where: str = "the input config") -> None:
    """Raises ConfigError, beginning with `where`, if the reference cannot build the model."""
    if not any(inputs.get(kind) for kind in _KINDS):
        raise ConfigError(f"{where}: there is no feature group; add one activity_feature_groups.")
    label = inputs.get("label_feature", {})
    if not label.get("feature_name"):
        raise ConfigError(f"{where}: label_feature has no feature_name; name the label's feature.")
    if feature_type(label) != "INT":
        raise ConfigError(
            f"{where}: label_feature {label['feature_name']!r} is {feature_type(label)}; labels "
            "are feature_type INT."
        )
    _check_table(label, f"{where}: label_feature")
    last: dict[str, dict[str, Any]] = {}
    for path, group in groups(inputs):
        _check_group(f"{where}: {path}", group, last)
    for path, group in groups(inputs):
        # A name in several groups has one length, the one given last.
        lengths = {name: last[name]["feature_length"] for name in _names(group)}
        if len(set(lengths.values())) > 1:
            listed = ", ".join(f"{name} {length}" for name, length in lengths.items())
            raise ConfigError(
                f"{where}: {path} mixes features of different feature_length ({listed}); give "
                "them one length or put them into groups of their own."
            )


def _check_group(where: str, group: dict[str, Any], last: dict[str, dict[str, Any]]) -> None:
    """Checks one group and adds its features to `last`, by name."""
    if not group["features"]:
        raise ConfigError(f"{where} has no features; give it at least one.")
    if "" in _names(group):
        raise ConfigError(f"{where} has a feature without a feature_name; name it.")
    for feature in group["features"]:
        name = feature["feature_name"]
        if _names(group).count(name) > 1:
            raise ConfigError(f"{where} has the feature {name!r} twice; leave one out.")
        if feature.get("feature_length", 0) < 1:
            raise ConfigError(
                f"{where}: the feature {name!r} needs a feature_length above 0; give its number "
                "of values."
            )
        _check_table(feature, where)
        other = last.get(name, feature)
        if (feature_type(other) == "FLOAT") != (feature_type(feature) == "FLOAT"):
            raise ConfigError(
                f"{where} has the feature {name!r} as {feature_type(feature)}, an earlier group as "
                f"{feature_type(other)}; one input cannot be both, give one of them another name."
            )
        if feature_type(feature) != "FLOAT" and other["vocab_size"] != feature["vocab_size"]:
            raise ConfigError(
                f"{where} has the feature {name!r} with vocab_size {feature['vocab_size']}, an "
                f"earlier group with {other['vocab_size']}; use the larger in both."
            )
        last[name] = feature


def _check_table(feature: dict[str, Any], where: str) -> None:
    for field in ("vocab_size", "embedding_dim"):
        if feature_type(feature) != "FLOAT" and feature.get(field, 0) < 1:
            raise ConfigError(
                f"{where}: the feature {feature['feature_name']!r} is {feature_type(feature)} and "
                f"needs {field} above 0."
            )


# ---- our config -----------------------------------------------------------------------------


def to_config(
    inputs: dict[str, Any], model: dict[str, Any], optimizer: dict[str, Any] | None = None
) -> Config:
    """Makes our config of a reference model, in reference mode.

    Args:
      inputs: the reference's input config as a dict.
      model: its model config: hidden_layer_dims, eval_top_k, conv_num_filter_ratios,
        conv_kernel_size, lstm_num_units, num_predictions.
      optimizer: of its Adagrad: `lr` and, where they differ from its defaults,
        `initial_accumulator_value`, `epsilon` and `clipnorm`.

    Raises:
      ConfigError: the model cannot be built.
    """
    check(inputs)
    specs = {spec.name: spec for spec in to_spec(inputs).inputs}
    last = {f["feature_name"]: f for _, group in groups(inputs) for f in group["features"]}
    files = {name: feature.get("vocab_name", "") for name, feature in last.items()}
    lengths = [specs[n].length for n in _activities(inputs) if specs[n].source not in _FLATTENED]
    global_groups, activity_groups = (
        [_group(group, specs, files, model) for group in inputs.get(kind, [])] for kind in _KINDS
    )
    config = Config(
        reference_mode=True,
        model=ModelConfig(
            context_length=max(lengths, default=_MAX_CONTEXT_LENGTH),
            embedding_dim=inputs["label_feature"]["embedding_dim"],
            global_groups=global_groups,
            activity_groups=activity_groups,
            hidden_dims=tuple(model["hidden_layer_dims"]),
        ),
        loss=LossConfig(logq_correction=False),
        # The reference never stops early.
        train=TrainConfig(select_metric="loss", patience=0),
        evaluation=EvaluationConfig(ks=tuple(model["eval_top_k"])),
    )
    config.export.top_k = model["num_predictions"]
    if optimizer:
        config.optimizer = OptimizerConfig(
            "adagrad",
            learning_rate=optimizer["lr"],
            initial_accumulator=optimizer.get("initial_accumulator_value", 0.1),
            epsilon=optimizer.get("epsilon", 1e-7),
            clip="per_parameter",
            clip_norm=max(0.0, optimizer.get("clipnorm", 1.0)),
        )
    return validate(config)


def to_spec(inputs: dict[str, Any]) -> ModelSpec:
    """Makes the spec of a reference model: every row of its label table is a candidate."""
    activities = _activities(inputs)
    specs = {}
    for _, group in groups(inputs):
        for feature in group["features"]:
            name = feature["feature_name"]
            specs[name] = _input(feature, "item" if name in activities else "user")
    return ModelSpec(tuple(specs.values()), inputs["label_feature"]["vocab_size"], 0)


def _group(
    group: dict[str, Any],
    specs: dict[str, InputSpec],
    files: dict[str, str],
    model: dict[str, Any],
) -> GroupConfig:
    """A group's config; `specs` and vocabulary `files` are by input name."""
    features = []
    for feature in group["features"]:
        i, width = specs[feature["feature_name"]], feature.get("embedding_dim", 0)
        file = files[i.name] if i.rows else ""
        features.append(FeatureConfig(i.name, i.source, i.type, width, i.length, i.rows, file))
    return GroupConfig(
        features,
        group.get("encoder_type", "BOW").lower(),
        conv_filter_ratios=tuple(model["conv_num_filter_ratios"]),
        conv_kernel_size=model["conv_kernel_size"],
        lstm_units=model["lstm_num_units"],
    )


def _input(feature: dict[str, Any], table: str) -> InputSpec:
    name = feature["feature_name"]
    source = SOURCES.get(name, f"{table}.{name}")
    spec = InputSpec(name, source, feature_type(feature), feature["feature_length"])
    if spec.type == "FLOAT":
        return spec
    vocabulary = "item" if source == "item.id" else name
    return dataclasses.replace(spec, rows=feature["vocab_size"], vocabulary=vocabulary)


def groups(inputs: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields (path, group) in the model's order: all global groups, then all activity groups."""
    for kind in _KINDS:
        for i, group in enumerate(inputs.get(kind, [])):
            yield f"{kind}[{i}]", group


def _activities(inputs: dict[str, Any]) -> list[str]:
    """Names of the features of activity groups."""
    return [n for group in inputs.get("activity_feature_groups", []) for n in _names(group)]


def _names(group: dict[str, Any]) -> list[str]:
    return [feature.get("feature_name", "") for feature in group["features"]]


def feature_type(feature: dict[str, Any]) -> str:
    """STRING, INT or FLOAT; STRING if not set."""
    return feature.get("feature_type", "STRING")
