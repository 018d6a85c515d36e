"""Vocabularies: the row of the embedding table for each value.

Row 0 is padding, rows 1.. are the values, most frequent first, and the row after the last line
is 'unknown': a vocabulary of n lines needs a table of n + 1 rows.

`text` and `spellings` are what an app must do as well: the guides and the demo page
(`static/inputs.js`) have them in Kotlin, Swift and JavaScript.
"""

import dataclasses
import datetime
import functools
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from flaxrec.data import moments
from flaxrec.errors import DataError, ExportError, FlaxrecError, reason, shown
from flaxrec.files.reading import read_bytes

PADDING = "<pad>"
_REMEDY = "restore the file as it was written"
ITEM = "item"  # the vocabulary shared by item inputs and the label
_TRUTHS = (("true", "True", "TRUE", "1"), ("false", "False", "FALSE", "0"))
_CLOCK = r"\d\d:\d\d(?::\d\d(?:\.\d{1,6}0*)?)?(?:Z|[+-]\d\d:?\d\d(?::?\d\d)?)?"
_MOMENT = re.compile(rf"\d{{4}}-\d\d-\d\d(?:[T ]{_CLOCK})?")


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
        """Rows of values, int32 [n]; None and values without an entry get `unknown_row`.

        A value is looked up as its `text`, and without an entry as one of its `spellings`.
        """
        return np.array([self._row(text(value)) for value in values], np.int32)

    def _row(self, value: str | None) -> int:
        row = self._row_of.get(value)
        if row is None and value is not None:
            found = (self._row_of.get(spelled) for spelled in spellings(value))
            row = next((row for row in found if row is not None), None)
        return self.unknown_row if row is None else row

    def write(self, path: str | os.PathLike) -> None:
        """Writes one entry per line, UTF-8."""
        with open(path, "w", encoding="utf-8", newline="\n") as file:
            file.writelines(f"{entry}\n" for entry in self.entries)

    @classmethod
    def read(cls, path: str | os.PathLike) -> "Vocabulary":
        """The inverse of `write`; raises DataError if the file cannot be one that it wrote."""
        content = read_bytes(Path(path), DataError, _REMEDY)
        return cls.parse(content, path, DataError, _REMEDY)

    @classmethod
    def parse(
        cls, content: bytes, path: object, wrong: type[FlaxrecError], remedy: str
    ) -> "Vocabulary":
        """The vocabulary of a file's content.

        Raises:
          FlaxrecError: `wrong`, with the path and the remedy: it is not UTF-8, empty, or an editor
            has changed the ends of its lines or put a mark before the first.
        """
        try:
            entries = content.decode().split("\n")
        except UnicodeDecodeError as error:
            line = content.count(b"\n", 0, error.start) + 1
            raise wrong(f"{path} is not UTF-8 in line {line}; {remedy}.") from None
        if not content:
            raise wrong(f"{path} is empty; {remedy}.")
        if entries[0].endswith("\r"):
            raise wrong(f"{path} has the line ends of Windows (CR LF); {remedy}.")
        if entries[0].startswith("\ufeff"):
            raise wrong(f"{path} begins with a byte order mark; {remedy}.")
        return cls(tuple(entries[:-1] if entries[-1] == "" else entries))


def text(value: Any) -> str | None:
    """A value's entry in a vocabulary.

    7, 7.0 and np.int64(7) become '7'; True becomes 'true'; dates and date-times become ISO text,
    such as '2024-05-31' and '2024-05-31T18:30:00', with microseconds if there are any and without
    a zone: a date-time that has one is converted to UTC.

    Raises:
      ExportError: it has no text, such as a number of 5,000 digits.
    """
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool | np.bool_):
        return "true" if value else "false"
    try:
        if type(value) is int:  # most are: this is quick
            return str(value)
        if isinstance(value, datetime.date):  # a date-time is one
            return moments.in_utc(value).isoformat()
        if isinstance(value, float | np.floating) and float(value).is_integer():
            return str(int(value))
        return str(value)
    except Exception as error:  # a foreign class's own, of any kind
        raise ExportError(
            f"A value of the type {type(value).__name__} has no text ({reason(error)}); give a "
            "number, a text or a date."
        ) from error


def spellings(value: str) -> tuple[str, ...]:
    """Other entries that may stand for the text of a boolean, a date or a date-time.

    Text files hold what another program wrote: True, or 2024-05-31 18:30:00.000000 for the
    date-time whose `text` is 2024-05-31T18:30:00. A date is midnight of its day.

    >>> spellings("True")
    ('true', 'True', 'TRUE', '1')
    >>> spellings("2024-05-31 18:30:00.000Z")[0]
    '2024-05-31T18:30:00'
    """
    for alike in _TRUTHS:
        if value in alike:
            return alike
    if _MOMENT.fullmatch(value):
        try:
            moment = moments.in_utc(datetime.datetime.fromisoformat(value))
        except (ValueError, OverflowError):  # no such day or time, or before the year 1 in UTC
            return ()
        whole, micros = moment.isoformat(timespec="microseconds").split(".")
        fractions = [f".{micros[:n]}" if n else "" for n in (0, 3, 6) if not micros[n:].strip("0")]
        ends = [fraction + zone for fraction in fractions for zone in ("", "Z", "+00:00")]
        forms = [start + end for start in (whole, whole.replace("T", " ")) for end in ends]
        return (*forms, whole[:10]) if fractions[0] + whole[10:] == "T00:00:00" else tuple(forms)
    return ()


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
                f"The value {shown(value)} of {what} cannot stand in a vocabulary file; rename it "
                f"(no line breaks, not '{PADDING}')."
            )
    return Vocabulary((PADDING, *kept))


def identity(largest: int) -> Vocabulary:
    """The reference's item vocabulary: row = raw id, 0..largest."""
    return Vocabulary(tuple(str(i) for i in range(largest + 1)))
