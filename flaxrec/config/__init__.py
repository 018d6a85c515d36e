# ruff: noqa: F401
"""The configuration: a tree of dataclasses and its checks.

`tree` holds the fields, `validation` what they accept, `paths` finds a field by its dotted path,
`quirks` lists the reference's deviations, `presets` has the building blocks of `configs/`.
"""

from flaxrec.config.paths import differences, get
from flaxrec.config.tree import (
    CONVERTERS,
    ITEM_FIELDS,
    QUANTIZATIONS,
    CodeConfig,
    ColumnsConfig,
    Config,
    DataConfig,
    EvaluationConfig,
    ExportConfig,
    FeatureConfig,
    GroupConfig,
    LossConfig,
    ModelConfig,
    OptimizerConfig,
    RecordsConfig,
    SplitConfig,
    SyntheticConfig,
    TrainConfig,
    feature_length,
    from_json,
    groups,
    sha256,
    to_json,
)
