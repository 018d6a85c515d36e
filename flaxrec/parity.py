"""Compares flaxrec with numbers that the TensorFlow example computed: is it still the same?

python -m flaxrec.parity FOLDER [--json=FILE]

FOLDER holds goldens, as `tests/reference/golden` does. Prints a table (Markdown) with the largest
difference of every stage against its tolerance; exit status 1 if a stage exceeds it, is missing or
cannot be compared, 2 if there is nothing to compare. TensorFlow is not needed.
"""

import argparse
import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from flaxrec.errors import DataError, FlaxrecError
from flaxrec.reference import parity
from flaxrec.reference.measuring import Row

_HEADER = ("configuration", "stage", "difference", "tolerance", "pass", "remark")
_WIDTHS = (18, 38, 10, 9, 4, 0)


def lines(rows: Iterable[Row]) -> Iterator[str]:
    """The rows as a Markdown table, line by line."""
    yield _line(_HEADER)
    yield "|" + "|".join("-" * (max(width, 6) + 2) for width in _WIDTHS) + "|"
    for row in rows:
        numbers = [
            "-" if value is None else f"{value:.2g}" for value in (row.difference, row.tolerance)
        ]
        # A remark comes from files and names of others: it must stay in its cell.
        remark = " ".join(row.remark.replace("|", "/").split())
        verdict = "yes" if row.passed else "NO"
        yield _line((row.configuration, row.stage, *numbers, verdict, remark))


def main(argv: Sequence[str] | None = None) -> int:
    """Parses the arguments, compares, prints and writes; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m flaxrec.parity", description=__doc__.splitlines()[0]
    )
    parser.add_argument("folder", help="folder with NAME.npz and NAME.json")
    parser.add_argument("--json", metavar="FILE", help="also write the table as JSON")
    arguments = parser.parse_args(argv)
    rows: list[Row] = []
    try:
        for line in lines(_kept(parity.run(Path(arguments.folder)), rows)):
            print(line, flush=True)
        if arguments.json:
            _write(Path(arguments.json), rows)
    except FlaxrecError as error:
        print(f"flaxrec: {error}", file=sys.stderr)
        return 2
    failed = [row for row in rows if not row.passed]
    print(f"\n{len(rows) - len(failed)} of {len(rows)} stages agree.")
    for row in failed:
        print(f"flaxrec: {row.configuration}: {row.stage} does not agree.", file=sys.stderr)
    return 1 if failed else 0


def _kept(rows: Iterable[Row], kept: list[Row]) -> Iterator[Row]:
    for row in rows:
        kept.append(row)
        yield row


def _line(cells: Sequence[str]) -> str:
    padded = (cell.ljust(width) for cell, width in zip(cells, _WIDTHS, strict=True))
    return f"| {' | '.join(padded)} |"


def _write(path: Path, rows: Sequence[Row]) -> None:
    text = json.dumps([row.to_dict() for row in rows], indent=2, allow_nan=False) + "\n"
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        aside.write_text(text, encoding="utf-8")
        os.replace(aside, path)
    except OSError as error:
        raise DataError(f"{path} cannot be written ({error.strerror}); choose another.") from error


if __name__ == "__main__":
    sys.exit(main())
