r"""Lines of text files that polars reads right: one record a line, with the header's fields.

polars takes every quote for the begin or the end of a cell, and loses the rows between two stray
ones. Therefore an independent count decides. A line is regular if each quote in it opens or closes
a cell, and if it has no more fields than the header; polars reads regular lines. The others are
read here, a cell at a time, and written as regular ones:

- a quote inside an unquoted cell is a character (`7" single`), as for Python's csv module;
- a quoted cell may hold line breaks, and quotes as `""` or `\"`;
- a quote that opens a cell and does not close it is a character in a .tsv and in columns that
  nobody wants, if the line has the header's number of fields so; also where a later quote would
  close it, but the lines between look like records of their own;
- all else is a bad row.
"""

import concurrent.futures
import dataclasses
import os
import re
from collections.abc import Callable, Collection, Iterator, Sequence

import numpy as np

from flaxrec.data.sources.table_paths import Content

_BLOCK = 1 << 20  # bytes examined at a time
_QUOTE, _END, _RETURN = 34, 10, 13
_FAR = 1 << 24  # bytes that a quoted cell may span
_SAMPLE = 1000  # records whose cells show what a record looks like
_PATTERNS = 20  # a column with more patterns than these has free text

Patterns = list[tuple[Callable[[bytes], bytes], set[bytes]]]  # pattern of a cell, those seen

# Quotes inside a quoted cell are doubled, or have a backslash before them.
_INNER = (rb'(?:[^"]+|"")*+', rb'(?:[^"\\]+|\\.|"")*+')


@dataclasses.dataclass(frozen=True)
class Lines:
    """A text file's records after the header.

    Attributes:
      rewritten: the records as regular lines; None: the file's own lines are.
      has_quotes: whether quotes mean anything.
      numbers: int64 [records], each record's line in the file, from 1.
      bad: (line, column or -1, reason, remedy) of the records that were left out; {column} in a
        reason stands for the column's name.
      literal: lines in which a quote that opens a cell was read as a character.
    """

    rewritten: bytes | None
    has_quotes: bool
    numbers: np.ndarray
    bad: list[tuple[int, int, str, str]]
    literal: list[int]


@dataclasses.dataclass(frozen=True)
class Columns:
    """What is known of a header.

    Attributes:
      width: its number of fields.
      used: positions of the columns whose cells must be right.
      keys: positions of the columns whose patterns tell records from text.
    """

    width: int
    used: Collection[int]
    keys: Sequence[int]


class Grammar:
    """Cells of records; `separator` is one byte."""

    def __init__(self, separator: bytes) -> None:
        self.separator = separator
        apart = re.escape(separator)
        quoted = [b' *"(%b)" *' % inner for inner in _INNER]
        self._in_line = [re.compile(q + b"(?=%b|\\Z)" % apart, re.DOTALL) for q in quoted]
        self._in_file = [re.compile(q + b"(?=%b|\r?\n|\\Z)" % apart, re.DOTALL) for q in quoted]
        self._special = re.compile(b'["\r\n%b]' % apart)
        self._plain = re.compile(b"[^%b\n]*" % apart)

    def cells(self, line: bytes, style: int) -> tuple[list[bytes], list[int]]:
        """A line's cells, and those that begin with a quote but are not quoted.

        Args:
          line: without its line break.
          style: of quotes in quoted cells, 0: doubled, 1: doubled or after a backslash.
        """
        found, stray, at = [], [], 0
        while True:
            may_be = line.startswith((b'"', b" "), at)
            if may_be and (quoted := self._in_line[style].match(line, at)):
                found.append(_unquoted(quoted[1], style))
                at = quoted.end()
            else:
                end = line.find(self.separator, at)
                end = end if end >= 0 else len(line)
                found.append(line[at:end])
                if may_be and found[-1].lstrip(b" ").startswith(b'"'):
                    stray.append(len(found) - 1)
                at = end
            if at >= len(line):
                return found, stray
            at += 1  # the separator

    def record(self, content: Content, at: int, style: int) -> tuple[list[bytes], int] | None:
        """The cells of a record that may hold line breaks, and the offset after it.

        None: a cell begins with a quote but is not quoted.
        """
        found, limit = [], min(at + _FAR, len(content))
        while True:
            may_be = content[at : at + 1] in (b'"', b" ")
            if may_be and (quoted := self._in_file[style].match(content, at, limit)):
                found.append(_unquoted(quoted[1], style))
                at = quoted.end()
            else:
                plain = self._plain.match(content, at, limit)
                found.append(plain[0] if plain else b"")
                if may_be and found[-1].lstrip(b" ").startswith(b'"'):
                    return None
                at = plain.end() if plain else at
            if content[at : at + 1] != self.separator:
                end = content.find(b"\n", at)
                found[-1] = found[-1].removesuffix(b"\r")
                if at >= limit < len(content):
                    return None
                return found, end + 1 if end >= 0 else len(content)
            at += 1

    def regular(self, cells: Sequence[bytes]) -> bytes:
        """A line of these cells in which every quote opens or closes one."""
        return self.separator.join(
            b'"%b"' % cell.replace(b'"', b'""') if self._special.search(cell) else cell
            for cell in cells
        )


def _unquoted(cell: bytes, style: int) -> bytes:
    cell = cell.replace(b'""', b'"')
    return cell.replace(b'\\"', b'"') if style else cell


def header(content: Content, start: int, grammar: Grammar) -> tuple[list[bytes], int, int]:
    """The header's cells, the offset after it and its number of lines."""
    line, end = _line(content, start)
    for style in (0, 1):
        cells, stray = grammar.cells(line, style)
        if not stray:
            return cells, end, 1
        if longer := grammar.record(content, start, style):
            return *longer, content[start : longer[1]].count(b"\n")
    return grammar.cells(line, 0)[0], end, 1


def records(
    content: Content,
    start: int,
    first_line: int,
    grammar: Grammar,
    columns: Columns,
) -> Lines:
    """Examines the records from an offset on.

    Args:
      content: of the file, UTF-8.
      start: offset of the first record.
      first_line: its line.
      grammar: of the cells.
      columns: of the header.
    """
    quotes = content.find(b'"', start) >= 0
    separator = grammar.separator[0]
    odd: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    lines = 0

    def examined(part: tuple[int, np.ndarray]) -> tuple[int, np.ndarray, np.ndarray, np.ndarray]:
        return _odd(*part, separator, columns.width, quotes)

    with concurrent.futures.ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        for count, which, begins, ends in pool.map(examined, _blocks(content, start)):
            odd.append((which + lines, begins, ends))
            lines += count
    numbers, begins, ends = (
        np.concatenate([part[kind] for part in odd] or [np.zeros(0, np.int64)]) for kind in range(3)
    )
    if not len(numbers):
        return Lines(None, quotes, np.arange(first_line, first_line + lines), [], [])
    repair = _Repair(content, grammar, columns, start)
    return repair.run(numbers, begins, ends, lines, first_line)


# ---- regular lines --------------------------------------------------------------------------


def _blocks(content: Content, start: int) -> Iterator[tuple[int, np.ndarray]]:
    """Offsets and uint8 arrays of whole lines."""
    while start < len(content):
        end = min(start + _BLOCK, len(content))
        if end < len(content):
            whole = content.rfind(b"\n", start, end)
            if whole < 0:
                whole = content.find(b"\n", end)
            end = whole + 1 if whole >= 0 else len(content)
        yield start, np.frombuffer(content, np.uint8, end - start, start)
        start = end


def _odd(
    offset: int, block: np.ndarray, separator: int, width: int, has_quotes: bool
) -> tuple[int, np.ndarray, np.ndarray, np.ndarray]:
    """A block's number of lines, and the lines that are not regular or may be blank.

    Args:
      offset: of the block in the file.
      block: uint8, whole lines.
      separator: of the cells.
      width: fields of the header.
      has_quotes: whether the file has any.

    Returns:
      The number, and three int64 arrays: which lines, ascending, and the offsets where they begin
      and end, without the line break.
    """
    is_mark = (block == separator) | (block == _END)
    if has_quotes:
        is_mark |= block == _QUOTE
    places = np.flatnonzero(is_mark)
    marks = block[places]
    line_ends = np.flatnonzero(marks == _END)
    ends = places[line_ends]
    if not len(ends) or ends[-1] != len(block) - 1:  # the last line has no line break
        line_ends, ends = np.append(line_ends, len(marks)), np.append(ends, len(block))
    if has_quotes and (marks == _QUOTE).any():
        fields, odd = _quoted(block, places, marks, line_ends, separator)
    else:
        fields = np.diff(line_ends, prepend=-1)
        odd = np.zeros(len(fields), bool)
    odd |= fields > width
    odd |= fields == 1 if width > 1 else np.diff(ends, prepend=-1) <= 2
    which = np.flatnonzero(odd)
    begins = np.where(which > 0, ends[which - 1] + 1, 0)
    return len(ends), which, begins + offset, ends[which] + offset


def _quoted(
    block: np.ndarray,
    places: np.ndarray,
    marks: np.ndarray,
    line_ends: np.ndarray,
    separator: int,
) -> tuple[np.ndarray, np.ndarray]:
    """The fields of each line of a block with quotes, and whether its quotes are not regular."""
    is_quote = marks == _QUOTE
    quotes = np.append(0, np.cumsum(is_quote, dtype=np.int32))  # before each mark
    before_line = quotes[np.append(0, line_ends[:-1] + 1)]
    odd = (quotes[line_ends] - before_line) % 2 == 1
    # In a line, quotes open and close cells in turn.
    passed = quotes[:-1]
    if odd.any():
        passed = passed - np.repeat(before_line, np.diff(line_ends, prepend=-1))[: len(marks)]
    is_open = (passed & 1).astype(bool)
    apart = np.append(0, np.cumsum((marks == separator) & ~is_open, dtype=np.int32))
    fields = apart[line_ends] - apart[np.append(0, line_ends[:-1] + 1)] + 1
    quote, closes = places[is_quote], is_open[is_quote]
    outside = np.full(2, _END, np.uint8)
    near = np.concatenate([outside[1:], block, outside])  # the block begins and ends a line
    around = np.where(closes, near[quote + 2], near[quote])
    fine = (around == _END) | (around == _QUOTE) | (around == separator)
    fine |= closes & (around == _RETURN) & (near[quote + 3] == _END)
    if not fine.all():
        odd[np.searchsorted(line_ends, np.flatnonzero(is_quote)[~fine])] = True
    return fields, odd


# ---- the others -----------------------------------------------------------------------------


def _line(content: Content, start: int) -> tuple[bytes, int]:
    """The line at an offset without its line break, and the offset after it."""
    end = content.find(b"\n", start)
    end = end if end >= 0 else len(content)
    return content[start:end].removesuffix(b"\r"), end + 1


class _Repair:
    """Reads lines that are not regular."""

    def __init__(self, content: Content, grammar: Grammar, columns: Columns, start: int) -> None:
        self._content, self._grammar, self._start = content, grammar, start
        self._columns, self._width = columns, columns.width
        self._known: Patterns | None = None

    def run(
        self,
        odd: np.ndarray,
        begins: np.ndarray,
        ends: np.ndarray,
        lines: int,
        first_line: int,
    ) -> Lines:
        content, at = self._content, self._start
        pieces: list[bytes] = []
        bad: list[tuple[int, int, str, str]] = []
        literal: list[int] = []
        kept = np.ones(lines, bool)
        for number, begin, end in zip(odd.tolist(), begins.tolist(), ends.tolist(), strict=True):
            if begin < at:
                continue  # inside a cell
            pieces.append(content[at:begin])
            at = end + 1
            line = content[begin:end].removesuffix(b"\r")
            if not line.strip():
                kept[number] = False
                continue
            cells, is_literal, after, several = self._read(line, begin, at)
            if cells is None:
                kept[number] = False
                bad.append((number + first_line, *self._reason(line)))
                continue
            if is_literal:
                literal.append(number + first_line)
            at = after
            kept[number + 1 : number + several] = False
            pieces.append(self._grammar.regular(cells) + b"\n")
        pieces.append(content[at:])
        return Lines(b"".join(pieces), True, np.flatnonzero(kept) + first_line, bad, literal)

    def _read(
        self, line: bytes, begin: int, after: int
    ) -> tuple[list[bytes] | None, bool, int, int]:
        """Cells or None, whether a stray quote is in them, the offset after them, their lines."""
        literal, stray = self._grammar.cells(line, 0)
        if not stray and len(literal) == self._width:
            return literal, False, after, 1
        cells, still_stray = self._grammar.cells(line, 1) if b"\\" in line else (literal, stray)
        if not still_stray and len(cells) == self._width:
            return cells, False, after, 1
        fits = len(literal) == self._width
        is_clear = not any(place in self._columns.used for place in stray)
        for style in (0, 1) if stray else ():
            longer = self._grammar.record(self._content, begin, style)
            if longer and longer[1] > after and len(longer[0]) == self._width:
                if self._look_like_records(after, longer[1]):
                    break
                rest = self._content[after : longer[1]].removesuffix(b"\n")
                several = rest.count(b"\n") + 2
                return longer[0], False, longer[1], several
        if (fits and is_clear) or (not stray and len(literal) < self._width):  # cut short
            return literal, fits, after, 1
        return None, False, after, 1

    def _reason(self, line: bytes) -> tuple[int, str, str]:
        separator = repr(self._grammar.separator.decode())
        cells, stray = self._grammar.cells(line, 0)
        if len(cells) > self._width and not stray:
            return (
                -1,
                f"{len(cells)} fields, but the header has {self._width}",
                f'put values that hold {separator} between "',
            )
        column = next((place for place in stray if place < self._width), -1)
        return (
            column,
            'column {column} begins with a " that does not end before the next '
            f"{separator} or the line's end",
            'check that every " has its counterpart',
        )

    # ---- text in quotes, or records after a stray quote? ----

    def _look_like_records(self, begin: int, end: int) -> bool:
        """Whether the lines between two offsets may be records, the quote before them stray.

        Half of them look so by number of fields and keys; or one by its keys alone, counted from
        the left or the right, if these are user, item and time.
        """
        known = self._patterns()
        lines = self._content[begin:end].removesuffix(b"\n").split(b"\n")
        fitting = alike = 0
        keys = self._columns.keys
        needed = max(keys) - min(keys) if len(known) > 2 else self._width - 1
        for line in lines:
            if line.count(self._grammar.separator) < needed:
                continue
            cells = self._grammar.cells(line.removesuffix(b"\r"), 0)[0]
            fits = len(cells) == self._width
            fitting += fits
            if fits or len(known) > 2:
                shifts = {0, len(cells) - self._width}
                alike += any(self._has_keys(cells, shift, known) for shift in shifts)
        if self._width > 2 and len(lines) > 2 and fitting == len(lines):
            return True
        return 2 * alike >= len(lines) or (alike > 0 and len(known) > 2)

    def _has_keys(self, cells: list[bytes], shift: int, known: Patterns) -> bool:
        places = [place + shift for place in self._columns.keys]
        if min(places, default=0) < 0 or max(places, default=0) >= len(cells):
            return False
        return all(
            pattern(cells[place]) in seen
            for place, (pattern, seen) in zip(places, known, strict=False)
        )

    def _patterns(self) -> Patterns:
        """For each wanted column: a cell's pattern, and the patterns of the first records."""
        if self._known is None:
            cells: list[list[bytes]] = []
            at = self._start
            while at < len(self._content) and len(cells) < _SAMPLE:
                begin = at
                line, at = _line(self._content, at)
                found, stray = self._grammar.cells(line, 0)
                if stray and (longer := self._grammar.record(self._content, begin, 0)):
                    at = longer[1]  # what it spans is in question
                elif len(found) == self._width and not stray:
                    cells.append(found)
            self._known = []
            for place in self._columns.keys if cells else ():
                pattern = _fine
                if len({_fine(one[place]) for one in cells}) > _PATTERNS:
                    pattern = _coarse
                self._known.append((pattern, {pattern(one[place]) for one in cells}))
        return self._known


def _fine(cell: bytes) -> bytes:
    """'2024-05-31' -> '0-0-0', 'n2' -> 'a0'."""
    return re.sub(rb"[A-Za-z\x80-\xff]+", b"a", re.sub(rb"[0-9]+", b"0", cell.strip()))


def _coarse(cell: bytes) -> bytes:
    """As `_fine`, with one pattern for all words of letters and digits."""
    return re.sub(rb"[a0]*a[a0]*", b"a", _fine(cell))
