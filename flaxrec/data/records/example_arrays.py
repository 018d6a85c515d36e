"""Arrays from the TensorFlow example's records: records -> vocabulary rows and numbers.

A record holds one label and its whole context, and is read by that example's rules: a missing
feature is padding, a value outside the vocabulary gets the row after its last line. Records that
make the reference fail in training are errors here.
Shapes: N examples.
"""

import dataclasses
import glob
import os
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from flaxrec.errors import ConfigError, DataError, shown
from flaxrec.files import opened, own_path

_CHUNK = 4096  # examples held as Python lists at a time
_KINDS: dict[str, tuple[type, Any]] = {"INT": (int, 0), "FLOAT": (float, 0.0)}
_KINDS["STRING"] = (bytes, b"UNK")


@dataclasses.dataclass(frozen=True)
class RecordFeature:
    """One key of the records.

    Attributes:
      name: the key.
      type: INT, STRING or FLOAT.
      length: number of values per example.
      vocab_size: rows of its table; a row beyond them is an error. Unused by FLOAT.
      vocabulary: the lines of its vocabulary file, row 0 first; None: the values are rows.
    """

    name: str
    type: str
    length: int
    vocab_size: int
    vocabulary: tuple[str, ...] | None = None


def parse(
    records: Iterable[Mapping[str, Sequence]],
    features: Sequence[RecordFeature],
    label: RecordFeature,
    where: str = "the records",
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Arrays of the features and the label.

    A missing key becomes 0, 0.0 or 'UNK' everywhere; other keys are ignored.

    Args:
      records: as from `tfrecord.read`.
      features: the keys to read.
      label: the label's key, of length 1; every record must have it.
      where: the file's name, for messages.

    Returns:
      int32 or float32 [N, length] by name, and the labels, int32 [N].

    Raises:
      ConfigError: a STRING feature has no vocabulary.
      DataError: a vocabulary cannot be used, the label is missing, a list has another length or
        type, or a value has no row. The message names the record, counted from 1.
    """
    columns = [_Column(feature, where) for feature in features]
    labels = _Column(label, where, required=True)
    records, number = iter(records), 1
    while chunk := list(islice(records, _CHUNK)):
        for column in (*columns, labels):
            column.append(chunk, number)
        number += len(chunk)
    return {column.feature.name: column.whole() for column in columns}, labels.whole()[:, 0]


def files(pattern: str | os.PathLike) -> list[Path]:
    """The files of a pattern such as 'train-*.tfrecord', sorted; raises DataError if none.

    A file or folder of that very name wins: names may hold [ ] * and ?.
    """
    expanded = os.fspath(own_path(pattern))
    if os.path.isfile(expanded):
        return [Path(expanded)]
    folder, name = os.path.split(expanded)
    if os.path.isdir(folder):
        expanded = os.path.join(glob.escape(folder), name)
    found = sorted(path for path in map(Path, glob.glob(expanded)) if path.is_file())
    if not found:
        raise DataError(f"No file matches {os.fspath(pattern)!r}; give the path of record files.")
    return found


def read_vocabulary(path: Path) -> tuple[str, ...]:
    """The lines of a vocabulary file; raises DataError if unreadable or if a line is empty."""
    try:
        # str.splitlines would also break lines at characters such as \x85.
        with opened(path) as file:
            lines = file.read().decode().replace("\r\n", "\n").split("\n")
    except OSError as error:
        raise DataError(
            f"The vocabulary {path} cannot be read ({error.strerror}); check "
            "config.data.records.vocabularies and the file's name."
        ) from error
    except UnicodeDecodeError as error:
        raise DataError(f"The vocabulary {path} is not UTF-8 ({error}); convert it.") from error
    lines = lines[:-1] if lines[-1] == "" else lines
    if "" in lines or not lines:
        where = f"is empty in line {lines.index('') + 1}" if lines else "is empty"
        raise DataError(f"The vocabulary {path} {where}; write one value a line, padding first.")
    return tuple(lines)


# ---- one feature ----------------------------------------------------------------------------


class _Column:
    """Collects the values of one feature."""

    def __init__(self, feature: RecordFeature, where: str, *, required: bool = False):
        self.feature, self._where, self._required = feature, where, required
        self._kind, default = _KINDS[feature.type]
        self._missing = [default] * feature.length
        self._row_of = _rows_by_value(feature)
        dtype = "float32" if feature.type == "FLOAT" else "int32"
        self._chunks = [np.zeros((0, feature.length), dtype)]

    def append(self, records: list[Mapping[str, Sequence]], number: int) -> None:
        """Adds the values of the next records; `number` is that of the first."""
        values = [self._values(record, number + i) for i, record in enumerate(records)]
        if self.feature.type == "FLOAT":
            numbers = np.array(values, np.float32)
            if not np.isfinite(numbers).all():
                i, k = np.argwhere(~np.isfinite(numbers))[0]
                found = f"is {values[i][k]}, expected a finite number"
                raise self._error(number + int(i), found, "correct the records")
            self._chunks.append(numbers)
            return
        if self._row_of is None:
            rows = np.array(values, np.int64)
        else:
            get, unknown = self._row_of.get, len(self._row_of)
            rows = np.array([[get(v, unknown) for v in of_record] for of_record in values])
        outside = np.argwhere((rows < 0) | (rows >= self.feature.vocab_size))
        if len(outside):
            i, k = outside[0]
            raise self._no_row(number + int(i), values[i][k], int(rows[i, k]))
        self._chunks.append(rows.astype(np.int32))

    def whole(self) -> np.ndarray:
        """All values, [N, length]."""
        return np.concatenate(self._chunks)

    def _values(self, record: Mapping[str, Sequence], number: int) -> Sequence:
        feature = self.feature
        values = record.get(feature.name)
        if values is None:
            if self._required:
                raise self._error(number, "is missing", "every example needs a label")
            return self._missing
        if len(values) != feature.length:
            found = f"has {len(values)} values, not {feature.length}"
            raise self._error(number, found, f"set its length to {len(values)}")
        if not isinstance(values[0], self._kind):
            names = {kind: name for name, (kind, _) in _KINDS.items()}
            found = names.get(type(values[0]), type(values[0]).__name__)
            raise self._error(number, f"is {found}, not {feature.type}", "correct its type")
        return values

    def _no_row(self, number: int, value: Any, row: int) -> DataError:
        size = self.feature.vocab_size
        if self._row_of is None:
            return self._error(
                number,
                f"is {value}, but has rows 0 to {size - 1}",
                f"set its vocab_size above {value}" if value >= 0 else "correct the records",
            )
        value = value.decode(errors="replace") if isinstance(value, bytes) else value
        known = "not in its vocabulary and has" if row == len(self._row_of) else "in"
        return self._error(
            number,
            f"is {shown(value)}, which is {known} row {row}, but there are rows 0 to {size - 1}",
            f"set its vocab_size to {len(self._row_of) + 1}, the vocabulary's lines + 1",
        )

    def _error(self, number: int, what: str, remedy: str) -> DataError:
        return DataError(f"{self._where}, record {number}: {self.feature.name!r} {what}; {remedy}.")


def _rows_by_value(feature: RecordFeature) -> dict[Any, int] | None:
    """Row by value; None if the values are already rows or numbers."""
    if feature.vocabulary is None or feature.type == "FLOAT":
        if feature.type == "STRING":
            raise ConfigError(
                f"The feature {feature.name!r} is STRING, but has no vocabulary; name its file in "
                "the feature's vocabulary."
            )
        return None
    rows: dict[Any, int] = {}
    for row, line in enumerate(feature.vocabulary):
        value: Any = line.encode()
        if feature.type == "INT":
            try:
                value = int(line)
            except ValueError as error:
                raise DataError(
                    f"The vocabulary of {feature.name!r} has {line!r} in line {row + 1}, which is "
                    "not a whole number; correct it, or use type STRING."
                ) from error
        if value in rows:
            raise DataError(
                f"The vocabulary of {feature.name!r} has {line!r} in line {row + 1} and in line "
                f"{rows[value] + 1}; remove one of them."
            )
        rows[value] = row
    return rows
