"""Tables and plots of finished sweeps and runs, for a paper.

python -m flaxrec.report DIR [DIR ...] --output=DIR [--metrics=NAMES] [--reference=POINT]
    [--x=AXIS] [--latency] [--provenance]
python -m flaxrec.report --cite

DIR is a sweep folder (results.jsonl) or a run folder of train_main.py. Writes table.md, table.tex,
table.csv, runs.csv (a line a run, with time, machine and code) and plots as PNG and SVG. The same
results give the same tables, however often a sweep was stopped and resumed. --cite prints what to
cite flaxrec as, in BibTeX.
"""

import argparse
import sys
from collections.abc import Sequence

from flaxrec.cli import arguments
from flaxrec.errors import ConfigError
from flaxrec.reporting import citation, output


def main(argv: Sequence[str] | None = None) -> int:
    """Parses the arguments and writes the report; returns the exit status."""
    parser = arguments.Parser(__doc__)
    add = parser.add_argument
    add("dir", nargs="*", help="folder of a sweep or of a run")
    add("--output", help="new or empty folder, or that of an earlier report")
    add(
        "--metrics",
        type=arguments.comma_list,
        default=[],
        help="metrics to show, the main one first; default: recall@10 and ndcg@10, filtered and "
        "not",
    )
    add(
        "--reference",
        type=arguments.comma_list,
        default=[],
        help="AXIS=VALUE,... of the point to compare with; default: each metric's best",
    )
    add("--x", help="axis along x; default: the numeric one with most values")
    parser.add_switch("--latency", "measure the points' exports side by side")
    parser.add_switch("--provenance", "also a table of time, machine and code")
    parser.add_switch("--cite", "print flaxrec's entry for BibTeX, and nothing else")
    return parser.run(_run, argv)


def _run(given: argparse.Namespace) -> None:
    if given.cite:
        print(citation.bibtex(), end="")
        return
    if not given.dir:
        raise ConfigError("No folders are given; name those of sweeps or runs, then --output=DIR.")
    if not given.output:
        raise ConfigError("--output is missing; name a new folder for the report.")
    options = output.Options(
        given.metrics, _reference(given.reference), given.x, given.latency,
        provenance=given.provenance,
    )  # fmt: skip
    output.write(given.dir, given.output, options)
    print(f"wrote {given.output}/table.md")
    print(
        "in a paper: \\usepackage{booktabs,graphicx} and \\input{table.tex}; "
        "flaxrec report --cite prints what to cite"
    )


def _reference(given: Sequence[str]) -> dict[str, str] | None:
    """The axis values by name."""
    values: dict[str, str] = {}
    for part in given:
        axis, equals, value = part.partition("=")
        if not equals or not axis:
            raise ConfigError(f"--reference has {part!r}; use AXIS=VALUE,AXIS=VALUE.")
        values[axis.strip()] = value.strip()
    return values or None


if __name__ == "__main__":
    sys.exit(main())
