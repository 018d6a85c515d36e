"""Compares flaxrec with numbers that the TensorFlow example computed: is it still the same?

python -m flaxrec.parity FOLDER [--json=FILE]

FOLDER holds goldens, as `tests/reference/golden` does. Prints a table (Markdown) with the largest
difference of every stage against its tolerance; exit status 1 if a stage exceeds it, is missing or
cannot be compared, 2 if there is nothing to compare. TensorFlow is not needed.
"""

import argparse
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from flaxrec import files
from flaxrec.cli import arguments
from flaxrec.errors import DataError, write_errors_as
from flaxrec.reference import parity_report
from flaxrec.reference.distances import Row
from flaxrec.terminal.text_tables import markdown_line, one_line

_HEADER = ("configuration", "stage", "difference", "tolerance", "pass", "remark")
_WIDTHS = (18, 38, 10, 9, 4, 0)


def lines(rows: Iterable[Row]) -> Iterator[str]:
    """The rows as a Markdown table, line by line."""
    yield markdown_line(_HEADER, _WIDTHS)
    yield "|" + "|".join("-" * (max(width, 6) + 2) for width in _WIDTHS) + "|"
    for row in rows:
        numbers = [
            "-" if value is None else f"{value:.2g}" for value in (row.difference, row.tolerance)
        ]
        verdict = "yes" if row.passed else "NO"
        cells = (row.configuration, row.stage, *numbers, verdict, one_line(row.remark))
        yield markdown_line(cells, _WIDTHS)


def main(argv: Sequence[str] | None = None) -> int:
    """Parses the arguments, compares, prints and writes; returns the exit status."""
    parser = arguments.Parser(__doc__)
    parser.add_argument("folder", help="folder with NAME.npz and NAME.json")
    parser.add_argument("--json", help="also write the table as JSON")
    return parser.run(_compare, argv)


def _compare(given: argparse.Namespace) -> int:
    rows: list[Row] = []
    for line in lines(_kept(parity_report.run(Path(given.folder)), rows)):
        print(line, flush=True)
    if given.json:
        _write(Path(given.json), rows)
    failed = [row for row in rows if not row.passed]
    print(f"\n{len(rows) - len(failed)} of {len(rows)} stages agree.")
    for row in failed:
        arguments.say(f"{row.configuration}: {row.stage} does not agree.")
    return 1 if failed else 0


def _kept(rows: Iterable[Row], kept: list[Row]) -> Iterator[Row]:
    for row in rows:
        kept.append(row)
        yield row


def _write(path: Path, rows: Sequence[Row]) -> None:
    text = json.dumps([row.to_dict() for row in rows], indent=2, allow_nan=False) + "\n"
    with write_errors_as(DataError, path, "choose another --json"):
        files.write_text(path, text)


if __name__ == "__main__":
    sys.exit(main())
