"""Which axis goes where in a plot: along x, as lines of their own, as panels beside each other."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from flaxrec.errors import ConfigError
from flaxrec.reporting.measured import Measured
from flaxrec.reporting.results import axes_of, is_number, rank, text


@dataclasses.dataclass(frozen=True)
class Layout:
    """Where the axes go.

    Attributes:
      x: a numeric axis; None if no axis of these points is.
      series: one line or colour a value; None if there is no further axis.
      panels: one panel a combination of values.
    """

    x: str | None
    series: str | None
    panels: tuple[str, ...] = ()

    @property
    def axes(self) -> tuple[str, ...]:
        """All of them, x first."""
        return tuple(axis for axis in (self.x, self.series, *self.panels) if axis)

    def by_panel(self, points: Sequence[Measured]) -> dict[str, list[Measured]]:
        """The points of every panel, by its title."""
        return _grouped(
            points,
            lambda m: "\n".join(f"{axis}={text(m.point.axes.get(axis))}" for axis in self.panels),
        )

    def by_series(self, points: Sequence[Measured]) -> dict[str, list[Measured]]:
        """The points of every line, by its value of the series axis, along x."""
        series = self.series
        in_order = sorted(points, key=lambda m: rank(m.point.axes.get(self.x or "")))
        if series is None:
            return {"": in_order}
        in_order.sort(key=lambda m: rank(m.point.axes.get(series)))
        return _grouped(in_order, lambda m: text(m.point.axes.get(series)))

    def label(self, measured: Measured) -> str:
        """What a legend calls the point's series: a number alone would not say of what."""
        if self.series is None:
            return ""
        value = measured.point.axes.get(self.series)
        return f"{self.series} {text(value)}" if is_number(value) else text(value)


def choose(points: Sequence[Measured], x: str | None = None) -> Layout:
    """The numeric axis with most values on x, the next axis as series, the rest as panels.

    Args:
      points: trained ones of one test set.
      x: the axis to take instead; one that these points do not vary is not taken.
    """
    values: dict[str, set[Any]] = {
        axis: {text(m.point.axes.get(axis)) for m in points}
        for axis in axes_of(m.point for m in points)
    }
    varying = sorted((axis for axis in values if len(values[axis]) > 1), key=_by_size(values))
    numeric = [axis for axis in varying if all(is_number(m.point.axes.get(axis)) for m in points)]
    if x in varying:
        if x not in numeric:
            raise ConfigError(
                f"--x={x} is not an axis of numbers; use one of {', '.join(numeric) or 'none'}, or "
                "leave --x out."
            )
        chosen: str | None = x
    else:
        chosen = numeric[0] if numeric else None
    rest = [axis for axis in varying if axis != chosen]
    return Layout(chosen, rest[0] if rest else None, tuple(rest[1:]))


def _by_size(values: dict[str, set[Any]]) -> Any:
    order = list(values)
    return lambda axis: (-len(values[axis]), order.index(axis))


def _grouped(points: Sequence[Measured], key: Any) -> dict[str, list[Measured]]:
    groups: dict[str, list[Measured]] = {}
    for measured in points:
        groups.setdefault(key(measured), []).append(measured)
    return groups
