"""JSON files that are read by a schema, and arrays: what is wrong is said in one sentence.

A schema is a type that stands beside the file's writer: a dataclass, whose objects are made and
which may have no further fields, or a TypedDict, whose rows are given as they are.
"""

import dataclasses
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, NoReturn, TypedDict

import msgspec
import numpy as np

from flaxrec.errors import FlaxrecError, printable, reason, shown
from flaxrec.files.archives import DamagedError
from flaxrec.files.json_lines import CHECKSUM, checksum_of
from flaxrec.files.npz import read_npz
from flaxrec.files.reading import read_bytes
from flaxrec.files.strict_json import parse_json

Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
Size = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]
Scalar = None | bool | int | float | str


class _Sum(TypedDict):
    bytes: Count
    sha256: str


Sums = dict[str, _Sum]  # see `sums`


@dataclasses.dataclass(frozen=True)
class Reader:
    """Reads files of one kind.

    Attributes:
      wrong: the error of a file that cannot be used.
      remedy: the end of its sentence, such as 'restore the file'.
    """

    wrong: type[FlaxrecError]
    remedy: str

    def object(self, file: Path, schema: Any) -> Any:
        """The content of a file, one value; raises `wrong`."""
        return self.fitted(self._parsed(self._content(file), str(file)), schema, str(file))

    def rows(
        self,
        file: Path,
        schema: Any,
        *,
        of_log: bool = False,
        may_be_torn: bool = False,
        most_bytes: int | None = None,
    ) -> list[Any]:
        """The values of a file of JSON lines; raises `wrong`.

        Args:
          file: the file.
          schema: of a line.
          of_log: whether a `JsonLog` wrote it: checksums of rows are checked and left out; rows
            of earlier versions have none.
          may_be_torn: leaves out blank lines, and a last one that its writer did not finish.
          most_bytes: of the file that are read; None: all.
        """
        *lines, last = self._content(file)[:most_bytes].split(b"\n")
        lines += [last] if last else []
        rows = []
        for number, line in enumerate(lines, 1):
            where = f"{file}, line {number}"
            if may_be_torn and not line.strip():
                continue
            try:
                row = self._parsed(line, where)
            except self.wrong:
                if may_be_torn and line is last:
                    logging.warning("%s ends within a row, which is left out.", printable(where))
                    break
                raise
            if of_log and isinstance(row, dict) and CHECKSUM in row:
                told = row.pop(CHECKSUM)
                if told != checksum_of(row):
                    self._refuse(where, f"is not as it was written: its {CHECKSUM} differs")
            rows.append(self.fitted(row, schema, where))
        return rows

    def arrays(self, file: Path) -> dict[str, np.ndarray]:
        """The arrays of an .npz by name; raises `wrong`."""
        try:
            return read_npz(file)
        except DamagedError as error:
            self._refuse(str(file), f"is damaged ({reason(error)})")
        except FileNotFoundError:
            self._refuse(str(file), "is missing")
        except OSError as error:
            self._refuse(str(file), f"cannot be read ({error.strerror or error})")

    def fitted(self, value: Any, schema: Any, where: str) -> Any:
        """A parsed value by its schema; raises `wrong`, and calls its place `where`."""
        try:
            made = msgspec.convert(value, schema)
        except msgspec.ValidationError as error:
            self._refuse(where, f"does not fit: {_told(error)}")
        if field := _unknown(value, made):
            self._refuse(where, f"has an unknown field {shown(field)}")
        return made if dataclasses.is_dataclass(made) else value

    def _content(self, file: Path) -> bytes:
        return read_bytes(file, self.wrong, self.remedy)

    def _parsed(self, content: bytes, where: str) -> Any:
        return parse_json(content, where, self.wrong, self.remedy)

    def _refuse(self, where: str, what: str) -> NoReturn:
        raise self.wrong(f"{where} {what}; {self.remedy}.") from None


def _told(error: msgspec.ValidationError) -> str:
    """The field and what is wrong with it."""
    what, _, place = str(error).replace("`", "'").partition(" - at ")
    what = f"{what[:1].lower()}{what[1:200]}"
    place = place.strip("'").removeprefix("$").removeprefix(".")
    return f"{shown(place)}: {what}" if place else what


def _unknown(value: Any, made: Any) -> str:
    """The first field of an object that its dataclass does not have; '' if there is none."""
    if dataclasses.is_dataclass(made) and isinstance(value, Mapping):
        known = {field.name for field in dataclasses.fields(made)}
        for name, inner in value.items():
            if name not in known:
                return name
            if found := _unknown(inner, getattr(made, name)):
                return found
    elif isinstance(made, list | tuple) and isinstance(value, list):
        return next(filter(None, map(_unknown, value, made)), "")
    return ""
