"""MovieLens as published, in its three formats: `.dat` (1M, 10M), `u.data` (100K), `.csv` (later).

Harper and Konstan, "The MovieLens Datasets: History and Context", ACM TiiS 5 (4), 2015.
"""

import csv
import io
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

import polars as pl

from flaxrec.data.sources.interactions import Interactions
from flaxrec.data.sources.table_paths import for_polars
from flaxrec.errors import DataError, reason
from flaxrec.files import opened, own_path, read_errors_as

_EVENTS = {"user": pl.Int64, "item": pl.Int64, "rating": pl.Float32, "time": pl.Int64}
# polars takes one-byte separators: '::' is read as ':' around fields that must be empty.
_DOUBLE_SEPARATED = {"user": pl.Int64, "gap 1": pl.Boolean, "item": pl.Int64, "gap 2": pl.Boolean}
_DOUBLE_SEPARATED |= {"rating": pl.Float32, "gap 3": pl.Boolean, "time": pl.Int64}
_ITEMS = {"item": pl.Int64, "title": pl.String, "genres": pl.List(pl.String), "year": pl.Int64}
_USERS = {
    "user": pl.Int64,
    "gender": pl.String,
    "age": pl.Int64,
    "occupation": pl.String,
    "zip_code": pl.String,
}
_YEAR = re.compile(r"\((\d{4})\)", re.ASCII)
_INTEGER = re.compile(r"[+-]?\d{1,18}", re.ASCII)  # 18 digits always fit an Int64
_WHOLE = re.compile(r"[+-]?\d{1,19}", re.ASCII)
_LATEST = 10**18  # of times: the time between two fits an Int64
_MOST_RATING = 3.4e38  # of Float32
_REPAIR = "correct the line, or take the file from the published archive again."

Movies = Iterator[tuple[int, str, str, list[str]]]  # line number, id, title, genres


def read_movielens(folder: str | Path) -> Interactions:
    """Reads a MovieLens release from its unpacked folder or that folder's parent.

    Returns:
      Interactions with
        `events`: user Int64, item Int64, rating Float32, time Int64 (seconds), in file order;
        keeps exact repeats and ratings of items without a title;
        `items`: item Int64, title String, genres List(String) (empty: none), year Int64 (0: none);
        `users`: user Int64, gender String, age Int64, occupation String, zip_code String (1M,
        100K), or None.

    Raises:
      DataError: a file is missing or empty, or a line cannot be used; the message names the file,
        the line and the remedy.
    """
    folder = own_path(folder)
    with read_errors_as(DataError, folder, "set --config.data.path=DIR to what can be read"):
        return _read(_find(folder))


def _read(folder: Path) -> Interactions:
    ratings = next(name for name in _FORMATS if (folder / name).is_file())
    separator, header, movies, read_movies, people, person = _FORMATS[ratings]
    events = _events(folder / ratings, separator, header)
    items = _items(folder / movies, read_movies)
    has_users = bool(people) and (folder / people).is_file()
    users = _users(folder / people, person) if has_users else None
    return Interactions(events, items, users, source=f"MovieLens ({folder.resolve().name})")


def _find(folder: Path) -> Path:
    """The folder with a ratings file: the given one, or its only subfolder with one."""
    expected = "ratings.dat (1M, 10M), u.data (100K) or ratings.csv (later releases)"
    if not folder.is_dir():
        raise DataError(
            f"{folder} is not a folder; set --config.data.path=DIR to the MovieLens folder with "
            f"{expected}, or leave it empty to download."
        )
    candidates = [folder, *sorted(path for path in folder.iterdir() if path.is_dir())]
    found = [path for path in candidates if any((path / name).is_file() for name in _FORMATS)]
    if found[:1] == [folder] or len(found) == 1:
        return found[0]
    problem = f"has several MovieLens folders ({', '.join(p.name for p in found)})"
    raise DataError(
        f"{folder} {problem if found else 'has no MovieLens ratings'}; set "
        f"--config.data.path=DIR to the folder with {expected}."
    )


# ---- movies ---------------------------------------------------------------------------------


def _dat_movies(path: Path) -> Movies:
    for number, line in _lines(path):
        # Titles may contain the separator: only the first and the last one count.
        first, last = line.find("::"), line.rfind("::")
        if first == last:
            raise _unusable(path, number, line, "item::title::genres")
        yield number, line[:first], line[first + 2 : last], _genres(line[last + 2 :])


def _100k_movies(path: Path) -> Movies:
    names = _genre_names(path.with_name("u.genre"))
    for number, line in _lines(path):
        fields = line.split("|")
        flags = fields[5:]
        if len(flags) != len(names) or not set(flags) <= {"0", "1"}:
            expected = f"item|title|date|date|url and {len(names)} flags of 0 or 1"
            raise _unusable(path, number, line, expected)
        genres = [name for name, flag in zip(names, flags, strict=True) if flag == "1"]
        yield number, fields[0], fields[1], genres


def _genre_names(path: Path) -> list[str]:
    names = {}
    for number, line in _lines(path):
        name, _, index = line.rpartition("|")
        if not _INTEGER.fullmatch(index):
            raise _unusable(path, number, line, "genre|number")
        names[int(index)] = name
    return [names[index] for index in sorted(names)]


def _csv_movies(path: Path) -> Movies:
    header = "movieId,title,genres"
    rows = csv.reader(io.StringIO(_text(path), newline=""))
    try:
        if (first := next(rows, [])) != header.split(","):
            raise _unusable(path, 1, ",".join(first), f"the header {header}")
        for row in filter(None, rows):
            if len(row) != 3:
                raise _unusable(path, rows.line_num, ",".join(row), header)
            yield rows.line_num, row[0], row[1], _genres(row[2])
    except csv.Error as error:
        raise DataError(f"{path}, line {rows.line_num}: {error}; {_REPAIR}") from error


def _genres(cell: str) -> list[str]:
    return [] if cell in ("", "(no genres listed)") else cell.split("|")


# By ratings file: its separator and header, the movies file and its reader, the users file and its
# fields.
_FORMATS: dict[str, tuple[str, str, str, Callable[[Path], Movies], str, str]] = {
    "ratings.dat": (
        "::", "", "movies.dat", _dat_movies, "users.dat", "user::gender::age::occupation::zip"
    ),
    "u.data": ("\t", "", "u.item", _100k_movies, "u.user", "user|age|gender|occupation|zip"),
    "ratings.csv": (
        ",", "userId,movieId,rating,timestamp", "movies.csv", _csv_movies, "", ""
    ),
}  # fmt: skip


# ---- items and users ------------------------------------------------------------------------


def _items(path: Path, read: Callable[[Path], Movies]) -> pl.DataFrame:
    rows = [(*movie, year_of(movie[2])) for movie in read(path)]
    return _keyed(path, rows, _ITEMS)


def year_of(title: str) -> int:
    """The first '(dddd)' in a title; 0 if there is none."""
    year = _YEAR.search(title)
    return int(year[1]) if year else 0


def _users(path: Path, expected: str) -> pl.DataFrame:
    """`expected` names the fields of a line in their order."""
    separator = "::" if "::" in expected else "|"
    names, rows = expected.split(separator), []
    for number, line in _lines(path):
        fields = dict(zip(names, line.split(separator), strict=False))
        if line.count(separator) != len(names) - 1 or not _INTEGER.fullmatch(fields["age"]):
            raise _unusable(path, number, line, f"{expected}, age a whole number")
        person = fields["gender"], int(fields["age"]), fields["occupation"], fields["zip"]
        rows.append((number, fields["user"], *person))
    return _keyed(path, rows, _USERS)


def _keyed(path: Path, rows: Sequence[tuple[Any, ...]], schema: dict[str, Any]) -> pl.DataFrame:
    """Rows of (line number, key, ...) as a table; checks that keys are distinct whole numbers."""
    key = next(iter(schema))
    lines: dict[int, int] = {}
    for number, text, *_ in rows:
        if not _INTEGER.fullmatch(text):
            raise _unusable(path, number, text, f"the {key}'s id as a whole number")
        first = lines.setdefault(int(text), number)
        if first != number:
            raise DataError(
                f"{path}, line {number}: {key} {text} stands in line {first} already; keep one of "
                "the two lines."
            )
    if not rows:
        raise _nothing(path)
    return pl.DataFrame([(int(row[1]), *row[2:]) for row in rows], schema=schema, orient="row")


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """The lines that are not blank, with their numbers."""
    # str.splitlines would also break lines at Latin-1 characters such as \x85.
    for number, line in enumerate(_text(path).split("\n"), start=1):
        if line.strip():
            yield number, line.rstrip("\r")


def _text(path: Path) -> str:
    """The file's text: 1M and 100K are Latin-1, 10M and later UTF-8; copies may be re-encoded."""
    _require(path)
    with opened(path) as file:
        raw = file.read()
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        return raw.decode("latin-1")


# ---- events ---------------------------------------------------------------------------------


def _events(path: Path, separator: str, header: str = "") -> pl.DataFrame:
    _require(path)
    if header and (first := _first_line(path)) != header:
        raise _unusable(path, 1, first, f"the header {header}")
    try:
        table = pl.read_csv(
            for_polars(path),
            separator=separator[0],
            has_header=False,
            skip_rows=1 if header else 0,
            schema=_DOUBLE_SEPARATED if separator == "::" else _EVENTS,
            quote_char=None,
            glob=False,  # [ ] * and ? in a path are no pattern
        )
    except pl.exceptions.PolarsError as error:
        raise _explain(path, separator, header, reason(error)) from error
    if any(table.select(list(_EVENTS)).null_count().row(0)):
        # A blank line becomes a row of nulls, a missing field a single null.
        table = table.filter(~pl.all_horizontal(pl.all().is_null()))
    events = table.select(list(_EVENTS))
    complete = not any(events.null_count().row(0)) and events["rating"].is_finite().all()
    complete = complete and events["time"].is_between(-_LATEST, _LATEST, closed="none").all()
    if not complete or any(table[name].count() for name in set(table.columns) - set(_EVENTS)):
        raise _explain(path, separator, header, "a field is empty or not a number")
    if events.is_empty():
        raise _nothing(path)
    return events


def _explain(path: Path, separator: str, header: str, why: str) -> DataError:
    """The error for a ratings file that polars refused; names the first unusable line."""
    expected = separator.join(_EVENTS).replace("\t", "<tab>")
    empty = True
    with _lines_of(path, "\n") as file:
        for number, ended_line in enumerate(file, start=1):
            line = ended_line.rstrip("\r\n")
            if not line.strip() or (header and number == 1):
                continue
            empty = False
            fields = line.split(separator)
            if len(fields) != len(_EVENTS):
                cut = "" if ended_line.endswith("\n") else " (the file ends here, cut off?)"
                return _unusable(path, number, line, expected + cut)
            for name, value in zip(_EVENTS, fields, strict=True):
                if name == "rating" and not _is_finite(value):
                    return _unusable(path, number, value, "a finite number as the rating")
                most = _LATEST if name == "time" else 2**63
                if name != "rating" and not _is_whole(value, most):
                    told = f"a whole number as the {name}"
                    told += " below 10^18" * (name == "time" and _is_whole(value, 2**63))
                    return _unusable(path, number, value, told)
    if empty:
        return _nothing(path)
    if not header and not _first_line(path).strip():
        return _unusable(path, 1, "", expected)
    return DataError(f"{path} cannot be read as lines of {expected} ({why}); {_REPAIR}")


def _lines_of(path: Path, newline: str | None = None) -> TextIO:
    return io.TextIOWrapper(opened(path), "utf-8-sig", errors="replace", newline=newline)


def _first_line(path: Path) -> str:
    with _lines_of(path) as file:
        return file.readline().rstrip("\r\n")


def _is_finite(text: str) -> bool:
    try:
        return abs(float(text)) < _MOST_RATING
    except ValueError:
        return False


def _is_whole(text: str, end: int) -> bool:
    return bool(_WHOLE.fullmatch(text)) and abs(int(text)) < end


# ---- messages -------------------------------------------------------------------------------


def _require(path: Path) -> None:
    if not path.is_file():
        raise DataError(
            f"{path} is missing; put it there from the published archive, or leave "
            "--config.data.path empty to download."
        )
    if not path.stat().st_size:
        raise _nothing(path)


def _nothing(path: Path) -> DataError:
    return DataError(f"{path} is empty; take the file from the published archive again.")


def _unusable(path: Path, number: int, found: str, expected: str) -> DataError:
    shown = found if len(found) <= 60 else found[:57] + "..."
    return DataError(f"{path}, line {number}: found {shown!r}, expected {expected}; {_REPAIR}")
