"""Tables of text, aligned for a terminal or in Markdown."""

from collections.abc import Iterable, Sequence
from itertools import zip_longest

Row = Sequence[str]


def aligned(rows: Iterable[Row], left: int | None = None) -> list[str]:
    """Lines with two spaces between the columns.

    Args:
      rows: cells; a row may have fewer than others.
      left: so many columns are aligned to the left, the others to the right; None: all.
    """
    return ["  ".join(row) for row in _padded(rows, left)]


def markdown(rows: Iterable[Row]) -> str:
    """A whole table, its header first. Whatever stands in a cell stays in it."""
    header, *others = _padded([[one_line(cell) for cell in row] for row in rows], None)
    rule = ["-" * max(len(cell), 3) for cell in header]
    return "\n".join(map(markdown_line, (header, rule, *others)))


def markdown_line(cells: Row, widths: Sequence[int] = ()) -> str:
    """A row, its cells at least so wide."""
    if widths:
        cells = [cell.ljust(width) for cell, width in zip(cells, widths, strict=True)]
    return f"| {' | '.join(cells)} |"


def one_line(text: str) -> str:
    """A text of others, such as a file's name, so that it cannot end its cell."""
    return " ".join(text.replace("|", "/").split())


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
