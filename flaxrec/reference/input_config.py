"""The reference's configuration of a model, turned into ours."""

from typing import Any

from flaxrec import config as config_lib
from flaxrec.config import (
    Config,
    EvaluationConfig,
    FeatureConfig,
    GroupConfig,
    LossConfig,
    ModelConfig,
    OptimizerConfig,
    TrainConfig,
)
from flaxrec.features import InputSpec, ModelSpec


def to_config(
    inputs: dict[str, Any], model: dict[str, Any], optimizer: dict[str, Any] | None = None
) -> Config:
    """Our config of a reference model.

    The reference clips each variable's gradient by itself; that is no part of this config.

    Args:
      inputs: the reference's input config as a dict.
      model: its model config.
      optimizer: `lr`, `initial_accumulator_value` and `epsilon` of its Adagrad.

    Raises:
      ConfigError: we have no such model.
    """
    global_groups = [_group(g, "user", model) for g in inputs["global_feature_groups"]]
    activity_groups = [_group(g, "item", model) for g in inputs["activity_feature_groups"]]
    lengths = [f.length for group in activity_groups for f in group.features]
    config = Config(
        reference_mode=True,
        model=ModelConfig(
            context_length=max(lengths, default=1),
            embedding_dim=inputs["label_feature"]["embedding_dim"],
            global_groups=global_groups,
            activity_groups=activity_groups,
            hidden_dims=tuple(model["hidden_layer_dims"]),
        ),
        loss=LossConfig(logq_correction=False),
        train=TrainConfig(select_metric="loss"),
        evaluation=EvaluationConfig(ks=tuple(model["eval_top_k"])),
    )
    config.export.top_k = model["num_predictions"]
    if optimizer:
        config.optimizer = OptimizerConfig(
            "adagrad",
            learning_rate=optimizer["lr"],
            initial_accumulator=optimizer["initial_accumulator_value"],
            epsilon=optimizer["epsilon"],
        )
    return config_lib.validate(config)


def to_spec(inputs: dict[str, Any]) -> ModelSpec:
    """Inputs and candidates of a reference model: every row of its label table is a candidate."""
    kinds = (("global_feature_groups", "user"), ("activity_feature_groups", "item"))
    specs = {
        feature["feature_name"]: _input(feature, table)
        for kind, table in kinds
        for group in inputs[kind]
        for feature in group["features"]
    }
    return ModelSpec(tuple(specs.values()), inputs["label_feature"]["vocab_size"], 0)


def _group(group: dict[str, Any], table: str, model: dict[str, Any]) -> GroupConfig:
    return GroupConfig(
        [_feature(feature, table) for feature in group["features"]],
        group.get("encoder_type", "BOW").lower(),
        conv_filter_ratios=tuple(model["conv_num_filter_ratios"]),
        conv_kernel_size=model["conv_kernel_size"],
        lstm_units=model["lstm_num_units"],
    )


def _feature(feature: dict[str, Any], table: str) -> FeatureConfig:
    name = feature["feature_name"]
    return FeatureConfig(
        name,
        f"{table}.{name}",
        feature.get("feature_type", "STRING"),
        feature.get("embedding_dim", 0),
        feature["feature_length"],
    )


def _input(feature: dict[str, Any], table: str) -> InputSpec:
    config = _feature(feature, table)
    if config.type == "FLOAT":
        return InputSpec(config.name, config.source, config.type, config.length)
    rows = feature["vocab_size"]
    return InputSpec(config.name, config.source, config.type, config.length, rows, config.name)
