"""Vocabularies: the row of the embedding table for each value.

Row 0 is padding, rows 1.. are the values, most frequent first, and the row after the last line
is 'unknown': a vocabulary of n lines needs a table of n + 1 rows.
"""

import dataclasses
import functools
import os
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from flaxrec.errors import DataError

PADDING = "<pad>"
ITEM = "item"  # the vocabulary shared by item inputs and the label


@dataclasses.dataclass(frozen=True)
class Vocabulary:
    """Values by row.

    Attributes:
      entries: one string per row; entry 0 is padding.
    """

    entries: tuple[str, ...]

    @functools.cached_property
    def _row_of(self) -> dict[str | None, int]:
        return {entry: row for row, entry in enumerate(self.entries) if entry != PADDING}

    @property
    def unknown_row(self) -> int:
        """The row of all values without an entry."""
        return len(self.entries)

    @property
    def rows(self) -> int:
        """Rows of a table for this vocabulary, 'unknown' included."""
        return len(self.entries) + 1

    def lookup(self, values: Iterable[Any]) -> np.ndarray:
        """Rows of values, int32 [n]; None and values without an entry get `unknown_row`."""
        row_of, unknown = self._row_of, self.unknown_row
        return np.array([row_of.get(text(value), unknown) for value in values], np.int32)

    def write(self, path: str | os.PathLike) -> None:
        """Writes one entry per line, UTF-8."""
        with open(path, "w", encoding="utf-8", newline="\n") as file:
            file.writelines(f"{entry}\n" for entry in self.entries)

    @classmethod
    def read(cls, path: str | os.PathLike) -> "Vocabulary":
        """The inverse of `write`."""
        with open(path, encoding="utf-8", newline="\n") as file:
            entries = file.read().split("\n")
        return cls(tuple(entries[:-1] if entries[-1] == "" else entries))


def text(value: Any) -> str | None:
    """A value's entry in a vocabulary: 7, 7.0 and np.int64(7) become '7'."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return str(int(value))
    return str(value)


def build(
    values: Sequence[Any],
    counts: np.ndarray,
    what: str,
    size: int = 0,
    *,
    ties_as_given: bool = False,
) -> Vocabulary:
    """A vocabulary of distinct values, most frequent first, ties in ascending order.

    Args:
      values: distinct values, numbers or strings, in any order.
      counts: int [len(values)], how often each occurs.
      what: the feature's name, for messages.
      size: number of most frequent values kept; 0 keeps all.
      ties_as_given: ties keep the order of `values` instead.

    Raises:
      DataError: a value cannot be a line of a vocabulary file.
    """
    ascending = np.arange(len(values)) if ties_as_given else np.argsort(np.asarray(values))
    order = ascending[np.argsort(-np.asarray(counts)[ascending], kind="stable")]
    kept = [str(text(values[i])) for i in (order[:size] if size else order)]
    for value in kept:
        if "\n" in value or value == PADDING:
            raise DataError(
                f"The value {value!r} of {what} cannot stand in a vocabulary file; rename it "
                f"(no line breaks, not '{PADDING}')."
            )
    return Vocabulary((PADDING, *kept))


def identity(largest: int) -> Vocabulary:
    """The reference's item vocabulary: row = raw id, 0..largest."""
    return Vocabulary(tuple(str(i) for i in range(largest + 1)))
