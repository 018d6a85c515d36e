"""Rows of a sweep's results.jsonl: one for each finished or failed run, and for each baseline."""

from pathlib import Path
from typing import Any, Literal, NotRequired, TypedDict

from flaxrec.errors import FlaxrecError
from flaxrec.files.schemas import Count, Reader, Scalar, Size

NAME = "results.jsonl"

Metrics = dict[str, float]  # by name


class _Exported(TypedDict):
    bytes: NotRequired[Count]
    recipe: NotRequired[str]
    metrics: NotRequired[Metrics]  # of test labels
    validation: NotRequired[Metrics]


class _Model(TypedDict):
    context_length: NotRequired[Size]


class _Train(TypedDict):
    select_metric: NotRequired[str]


class Config(TypedDict):
    """What is read of a run's config."""

    seed: NotRequired[int | None]
    data: NotRequired[dict[str, Any]]
    split: NotRequired[dict[str, Any]]
    model: NotRequired[_Model]
    train: NotRequired[_Train]
    export: NotRequired[dict[str, Any]]


class _Git(TypedDict):
    revision: NotRequired[str | None]
    dirty: NotRequired[bool | None]


class ResultRow(TypedDict):
    """A row; of several of a run, the last counts."""

    run: str
    kind: Literal["trained", "baseline"]
    axes: dict[str, Scalar | list[Any]]
    status: Literal["finished", "failed"]
    reason: NotRequired[str | None]
    seed: NotRequired[int | None]
    folder: NotRequired[str]  # in the sweep's
    protocol: NotRequired[str | None]
    data: NotRequired[str | None]
    metrics: NotRequired[dict[str, Metrics]]  # by split
    labels: NotRequired[dict[str, float | None] | None]
    asked: NotRequired[str | None]
    best_step: NotRequired[Count | None]
    best_epoch: NotRequired[Count | None]
    examples_per_second: NotRequired[float | None]
    wall_seconds: NotRequired[float | None]
    side_by_side: NotRequired[Count | None]
    export_bytes: NotRequired[Count | None]
    exported: NotRequired[_Exported | None]
    config: NotRequired[Config]
    config_sha256: NotRequired[str | None]
    git: NotRequired[_Git | None]
    versions: NotRequired[dict[str, str] | None]
    device: NotRequired[str | None]


def read(file: Path, wrong: type[FlaxrecError]) -> list[dict[str, Any]]:
    """The rows of a file, without an incomplete last one; raises `wrong`."""
    reader = Reader(wrong, "restore the line, or remove it")
    return reader.rows(file, ResultRow, of_log=True, may_be_torn=True)
