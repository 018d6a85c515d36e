# ruff: noqa: F401
"""The configuration: the tree of dataclasses, its checks, what shipped configs are built of.

`tree` holds the fields, `validation` what they accept, `paths` finds a field by its dotted path,
`quirks` is the reference's switch, `presets` has the building blocks of `configs/`.
"""

from flaxrec.config.paths import differences, get
from flaxrec.config.tree import (
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
