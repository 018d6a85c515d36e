"""Measures .tflite files: bytes, load time, and latency with a new context for every call.

python -m flaxrec.benchmark FILE [FILE ...] [--contexts=FILE] [--profile] [--phone] ...

FILE is a .tflite or an export folder. Latencies compare within one run only: the files take turns,
and each has its ratio to the first. Exit status 1 if the runtime refuses every file, 2 if there is
nothing to measure.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from flaxrec import files
from flaxrec.cli import arguments
from flaxrec.errors import ExportError, write_errors_as
from flaxrec.measuring.comparison import RUNTIMES, Options, compare
from flaxrec.measuring.comparison_table import FORMATS, render
from flaxrec.tflite.inspection import inspect


def main(argv: Sequence[str] | None = None) -> int:
    """Parses the arguments, measures, prints or writes; returns the exit status."""
    parser = arguments.Parser(__doc__)
    add = parser.add_argument
    add("file", nargs="+", help=".tflite, or export folder")
    add("--contexts", metavar="FILE", help=".npz, [n, length] by input; default: drawn by seed")
    add("--calls", type=arguments.number(1, 10_000_000), default=2000, help="calls of each file")
    add("--threads", type=arguments.number(1, 1024), default=1, help="threads of the runtime")
    parser.add_switch("--delegate", "run with XNNPACK", default=True)
    add("--runtime", choices=tuple(RUNTIMES), default="interpreter", help="which of LiteRT's two")
    add("--seed", type=arguments.number(*arguments.SEED), default=0, help="of contexts and orders")
    parser.add_switch("--profile", "time the operators, too")
    parser.add_switch("--phone", "also print the commands to measure on a phone")
    add("--format", choices=FORMATS, default="table", help="of the report")
    add("--output", metavar="FILE", help="write there instead of printing")
    return parser.run(_measure, argv)


def _measure(given: argparse.Namespace) -> int:
    options = Options(
        given.calls, given.threads, given.delegate, given.runtime, given.seed, given.profile
    )
    models = [inspect(file) for file in given.file]
    comparison = compare(models, options, given.contexts)
    report = render(comparison, given.format, models if given.phone else ())
    if given.output:
        output = Path(given.output)
        with write_errors_as(ExportError, output):
            files.write_text(output, report + "\n")
    else:
        print(report)
    return 0 if any(row.median_us is not None for row in comparison.rows) else 1


if __name__ == "__main__":
    sys.exit(main())
