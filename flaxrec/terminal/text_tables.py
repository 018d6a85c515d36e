"""Text tables, aligned for a terminal or in Markdown."""

from collections.abc import Iterable, Sequence
from itertools import zip_longest

from flaxrec.errors import printable

Row = Sequence[str]


def aligned(rows: Iterable[Row], left: int | None = None) -> list[str]:
    """Lines with two spaces between columns, of which the first `left` (None: all) align left.

    Rows may have fewer cells than others. Cells become printable.
    """
    return ["  ".join(row) for row in _padded([list(map(printable, row)) for row in rows], left)]


def markdown(rows: Iterable[Row]) -> str:
    """A whole table; the first row is the header. Cells go through `one_line`."""
    header, *others = _padded([[one_line(cell) for cell in row] for row in rows], None)
    rule = ["-" * max(len(cell), 3) for cell in header]
    return "\n".join(map(markdown_line, (header, rule, *others)))


def markdown_line(cells: Row, widths: Sequence[int] = ()) -> str:
    """One row, its cells padded to `widths`."""
    if widths:
        cells = [cell.ljust(width) for cell, width in zip(cells, widths, strict=True)]
    return f"| {' | '.join(cells)} |"


def one_line(text: str) -> str:
    """A foreign text, such as a file name, without the line breaks and '|' that end a cell."""
    return printable(" ".join(text.replace("|", "/").split()))


def _padded(rows: Iterable[Row], left: int | None) -> list[list[str]]:
    rows = list(rows)
    widths = [max(map(len, column)) for column in zip_longest(*rows, fillvalue="")]
    return [
        [
            cell.ljust(width) if left is None or place < left else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=False))
        ]
        for row in rows
    ]
