"""Measures differences between two sets of numbers and makes rows of the parity report."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from flaxrec.errors import FlaxrecError, show_unforeseen

ATOL = 1e-6
FORWARD = 1e-5  # rtol of logits, losses, metrics
BACKWARD = 1e-4  # rtol of gradients, and of weights after steps
LISTS = 1e-6  # scores of ranked lists, for the reference's weights
DEVIATIONS = 6.0  # tolerance of an initialiser's mean and deviation, in standard errors


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of the report.

    Attributes:
      configuration: the golden's name.
      stage: what was compared.
      difference: the largest; None if nothing could be compared.
      tolerance: the largest allowed difference; None likewise.
      passed: whether the stage holds.
      remark: the worst array, or what went wrong.
    """

    configuration: str
    stage: str
    difference: float | None = None
    tolerance: float | None = None
    passed: bool = False
    remark: str = ""

    def to_dict(self) -> dict[str, Any]:
        """The row for the report's JSON; a difference that is not finite becomes null."""
        fields = dataclasses.asdict(self)
        fields["pass"] = fields.pop("passed")
        if self.difference is not None and not np.isfinite(self.difference):
            fields["difference"] = None
        return fields


@dataclasses.dataclass(frozen=True)
class Measured:
    """A stage's worst difference, its tolerance, and the worst array or what is wrong."""

    difference: float
    tolerance: float
    remark: str = ""

    @property
    def excess(self) -> float:
        """At most 0 if the stage holds; above 0 for NaN and infinity."""
        if np.isnan(self.difference):
            return np.inf
        if not self.tolerance:  # counted: all or nothing
            return self.difference or -1.0
        return self.difference / self.tolerance - 1


class Missing(Exception):
    """An array or a note that a stage needs is missing."""


def note(notes: Mapping[str, Any], key: str) -> Any:
    """A golden's note; raises Missing if its JSON has no such key."""
    if key not in notes:
        raise Missing(f"{key} (json)")
    return notes[key]


Pairs = Mapping[str, tuple[Any, Any]]  # what -> (ours, the reference's)


def worst(measured: Sequence[Measured]) -> Measured:
    """The difference that exceeds its tolerance most, or is nearest to it."""
    return max(measured, key=lambda m: m.excess)


def close(pairs: Pairs, rtol: float) -> Measured:
    """The worst difference of pairs of arrays; see `worst`."""
    measured = []
    for name, (ours, theirs) in pairs.items():
        ours, theirs = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
        if ours.shape != theirs.shape:
            shapes = f"{list(theirs.shape)} instead of {list(ours.shape)}"
            measured.append(Measured(np.inf, 0.0, f"{name}: shape {shapes}"))
            continue
        difference = np.abs(ours - theirs).max(initial=0.0)
        tolerance = ATOL + rtol * np.abs(theirs).max(initial=0.0)
        measured.append(Measured(float(difference), float(tolerance), name))
    return worst(measured)


def equal(pairs: Pairs) -> Measured:
    """Counts the pairs that differ; the tolerance is 0."""
    different = [name for name, (ours, theirs) in pairs.items() if not _same(ours, theirs)]
    remark = f"differs: {', '.join(different[:3])}" if different else ""
    return Measured(float(len(different)), 0.0, remark)


def _same(ours: Any, theirs: Any) -> bool:
    if isinstance(ours, np.ndarray) or isinstance(theirs, np.ndarray):
        return np.array_equal(ours, theirs)
    return bool(ours == theirs)


def by_name(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Pairs by name; raises Missing for names that `theirs` lacks."""
    missing = [name for name in ours if name not in theirs]
    if missing:
        raise Missing(", ".join(missing[:3]))
    return {name: (ours[name], theirs[name]) for name in ours}


def measured_row(configuration: str, stage: str, measure: Callable[[], Measured]) -> Row:
    """The row of a stage; any exception of `measure` makes a failed row."""
    try:
        measured = measure()
    except Exception as error:  # a damaged file does not end the report
        show_unforeseen(error)
        return failed_row(configuration, stage, error)
    difference, tolerance, remark = dataclasses.astuple(measured)
    return Row(configuration, stage, difference, tolerance, measured.excess <= 0, remark)


def failed_row(configuration: str, stage: str, error: Exception) -> Row:
    """The row of a stage that cannot be compared; shortens the text of unexpected errors."""
    if isinstance(error, Missing):
        remark = f"missing: {error}"
    elif isinstance(error, FlaxrecError):
        remark = str(error)
    else:
        remark = f"{type(error).__name__}: {error}".splitlines()[0][:200]
    return Row(configuration, stage, remark=remark)
