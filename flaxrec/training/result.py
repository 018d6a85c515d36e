"""The result of a finished run."""

import dataclasses
from pathlib import Path


@dataclasses.dataclass(frozen=True)
class Result:
    """The result of a finished run.

    Attributes:
      workdir: the run folder.
      protocol: the split's name.
      metrics: of the best checkpoint on the test labels, by name.
      labels: statistics of the test labels, see `evaluator.label_report`.
      best_step: step of the best checkpoint.
      examples_per_second: labels trained per second in this process, without compilation; 0 if
        it trained nothing.
      baselines: of counting baselines, by name and split ('validation', 'test'), metrics as the
        model's but without a loss; empty if they were not asked for.
      remarks: sentences about the result, such as that counting is better.
      asked: when a model that knows the moment was asked, `ModelSpec.asked`; None for others.
      cold: of the protocol cold_items: the metrics of the cold labels, see `evaluation.cold.means`.
      cold_labels: see `evaluation.cold.report`.
      cold_baselines: by name, metrics as `cold`.
    """

    workdir: Path
    protocol: str
    metrics: dict[str, float]
    labels: dict[str, float]
    best_step: int
    examples_per_second: float
    baselines: dict[str, dict[str, dict[str, float]]] = dataclasses.field(default_factory=dict)
    remarks: tuple[str, ...] = ()
    asked: str | None = None
    cold: dict[str, float] = dataclasses.field(default_factory=dict)
    cold_labels: dict[str, float] = dataclasses.field(default_factory=dict)
    cold_baselines: dict[str, dict[str, float]] = dataclasses.field(default_factory=dict)
