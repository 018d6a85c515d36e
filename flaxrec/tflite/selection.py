"""What of an export's items may be shown: ids and rules become rows of the label vocabulary.

N is the number of lines of that vocabulary, R the length of the mask that a model takes.
"""

import dataclasses
import functools
import hashlib
import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from flaxrec.data.vocabulary import text
from flaxrec.errors import ExportError, reason, shown
from flaxrec.tflite import export_folder
from flaxrec.tflite.metadata import LEFT_OUT, left_out_column

Rule = Callable[[Mapping[str, Any]], bool]  # takes an item's row of items.jsonl
_TOLD = 5  # unknown ids in a warning
_NO_IDS = (list, tuple, set, frozenset, Mapping, bool, np.bool_)
_REMEDY = "give ids in a list, or a rule: a function of an item's columns"


@dataclasses.dataclass(frozen=True, eq=False)
class Selection:
    """Items of one export, as `Recommender.select` finds them.

    Attributes:
      items: number of them that can be recommended.
      rows: whether the row of the label vocabulary is one of them, bool [N].
      export: SHA-256 of that vocabulary.
    """

    items: int
    rows: np.ndarray = dataclasses.field(repr=False)
    export: str = dataclasses.field(repr=False)


Items = Iterable[Any] | Rule | Selection  # ids, a rule, or either prepared


class _LeftOut(Exception):
    """A rule asks for a column that the export left out."""


class _Slim(Mapping[str, Any]):
    """An item's columns, of which some were left out: who asks for these is told."""

    def __init__(self, item: Mapping[str, Any], left_out: Collection[str]):
        self._item, self._left_out = item, left_out

    def __getitem__(self, column: str) -> Any:
        if column in self._left_out:
            raise _LeftOut(left_out_column(column))
        return self._item[column]

    def __iter__(self) -> Iterator[str]:
        return iter(self._item)

    def __len__(self) -> int:
        return len(self._item)


class Selector:
    """Selects items of an export.

    Args:
      items: as `ExportFolder.tables` gives them.
      entries: of the label vocabulary.
      left_out: columns that the export left out of the items, see `metadata.columns_left_out`.
    """

    def __init__(
        self, items: export_folder.Items, entries: Sequence[str], left_out: Sequence[str] = ()
    ):
        self._items, self._entries, self._left_out = items, entries, frozenset(left_out)
        self._row_of = {
            entry: row
            for row, entry in enumerate(entries)
            if entry in items and items[entry].get("candidate", True)
        }

    @functools.cached_property
    def _candidates(self) -> np.ndarray:
        rows = np.zeros(len(self._entries), bool)
        rows[list(self._row_of.values())] = True
        return rows

    @functools.cached_property
    def _sum(self) -> str:
        return hashlib.sha256("\n".join(self._entries).encode()).hexdigest()

    def select(self, given: Any, name: str) -> Selection:
        """The items of ids, of a rule, or of a selection.

        Args:
          given: an iterable of ids; or a function of an item's columns, a read-only mapping, that
            returns True or False; or what this method has returned before.
          name: what the caller gives it as.

        Raises:
          ExportError: it is none of these, an id is none, the rule fails or returns something
            else, or the selection is another export's.
        """
        if isinstance(given, Selection):
            if given.export != self._sum:
                raise ExportError(
                    f"{name} was selected from another export, with other items; select it from "
                    "this one."
                )
            return given
        rows = np.zeros(len(self._entries), bool)
        rows[self._of_rule(given, name) if callable(given) else self._of_ids(given, name)] = True
        return Selection(int(rows.sum()), rows, self._sum)

    def _of_rule(self, rule: Rule, name: str) -> list[int]:
        rows = []
        for entry, row in self._row_of.items():
            item = self._items[entry]
            try:
                answer = rule(
                    _Slim(item, self._left_out) if self._left_out else MappingProxyType(item)
                )
            except _LeftOut as error:
                raise ExportError(f"The rule given as {name} reads {error}") from error
            except Exception as error:  # of the person's own code
                raise ExportError(
                    f"The rule given as {name} fails on the item {shown(item['id'])} "
                    f"({type(error).__name__}: {reason(error)}); correct it: a column may be "
                    "missing, or None."
                ) from error
            if not isinstance(answer, bool | np.bool_):
                raise ExportError(
                    f"The rule given as {name} returns {shown(answer)} for the item "
                    f"{shown(item['id'])}; return True or False."
                )
            if answer:
                rows.append(row)
        return rows

    def _of_ids(self, given: Any, name: str) -> list[int]:
        try:
            if isinstance(given, str | bytes | bytearray | Mapping):
                raise TypeError("one thing, or a mapping")
            if len(getattr(given, "shape", (1,))) != 1:
                raise TypeError("of several axes")
            ids: Iterable[Any] = iter(given)
        except TypeError as error:
            raise ExportError(f"{name} is {shown(given)}; {_REMEDY}.") from error
        rows, unknown = [], []
        for one in ids:
            if isinstance(one, _NO_IDS) or getattr(one, "shape", ()) != ():
                raise ExportError(f"{name} holds {shown(one)}, which is no id; {_REMEDY}.")
            entry = text(one)
            if entry in self._row_of:
                rows.append(self._row_of[entry])
            elif entry not in self._items:
                unknown.append(one)
        if unknown:
            told = ", ".join(map(shown, unknown[:_TOLD]))
            more = f", and {len(unknown) - _TOLD:,} more" if len(unknown) > _TOLD else ""
            logging.warning("Not in the catalogue, ignored in %s: [%s%s]", name, told, more)
        return rows

    def allowed(self, only: Any = None, without: Any = None) -> np.ndarray:
        """The rows that may be shown, bool [N], a new array; raises what `select` raises."""
        rows = self._candidates.copy()
        if only is not None:
            rows &= self.select(only, "only").rows
        if without is not None:
            rows &= ~self.select(without, "without").rows
        return rows

    def rows_of(self, texts: Iterable[str | None]) -> list[int]:
        """Rows of the items with these texts as ids; others have none."""
        return [self._row_of[entry] for entry in texts if entry in self._row_of]


def mask(allowed: np.ndarray, length: int) -> np.ndarray:
    """The model's mask, float32 [R], of the rows that may be shown, bool [N]."""
    made = np.full(length, LEFT_OUT, np.float32)
    made[: len(allowed)][allowed[:length]] = 0
    return made
