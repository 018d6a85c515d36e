"""Tables and plots of finished sweeps and runs, for a paper.

python -m flaxrec.report DIR [DIR ...] --output=DIR [--metrics=NAME,NAME...]
    [--reference=AXIS=VALUE,AXIS=VALUE...] [--x=AXIS] [--latency] [--provenance]

DIR is a sweep folder (results.jsonl) or a run folder of train_main.py. Writes table.md, table.tex,
table.csv, runs.csv (a line a run, with time, machine and code) and plots as PNG and SVG. The same
results give the same tables, however often a sweep was stopped and resumed.
"""

import sys
from collections.abc import Sequence

from absl import app, flags

from flaxrec.errors import ConfigError, FlaxrecError
from flaxrec.reporting import report

OUTPUT = flags.DEFINE_string("output", None, "New or empty folder, or that of an earlier report.")
METRICS = flags.DEFINE_list(
    "metrics",
    [],
    "Metrics to show, the main one first; default: recall@10 and ndcg@10, filtered and not.",
)
REFERENCE = flags.DEFINE_list(
    "reference", [], "AXIS=VALUE,... of the point to compare with; default: each metric's best."
)
X = flags.DEFINE_string("x", None, "Axis along x; default: the numeric one with most values.")
LATENCY = flags.DEFINE_bool("latency", False, "Measure the points' exports side by side.")
PROVENANCE = flags.DEFINE_bool("provenance", False, "Also a table of time, machine and code.")


def main(argv: Sequence[str]) -> int:
    """Writes the report that the flags describe; returns the exit status."""
    try:
        if len(argv) < 2:
            raise ConfigError("Which folders? Name those of sweeps or runs, then --output=DIR.")
        if not OUTPUT.value:
            raise ConfigError("--output is missing; name a new folder for the report.")
        options = report.Options(
            METRICS.value, _reference(REFERENCE.value), X.value, LATENCY.value,
            provenance=PROVENANCE.value,
        )  # fmt: skip
        report.write(argv[1:], OUTPUT.value, options)
    except FlaxrecError as error:
        print(f"flaxrec: {error}", file=sys.stderr)
        return 2
    print(f"{OUTPUT.value}/table.md")
    return 0


def _reference(given: Sequence[str]) -> dict[str, str] | None:
    """The axis values by name."""
    values: dict[str, str] = {}
    for part in given:
        axis, equals, value = part.partition("=")
        if not equals or not axis:
            raise ConfigError(f"--reference has {part!r}; use AXIS=VALUE,AXIS=VALUE.")
        values[axis.strip()] = value.strip()
    return values or None


def _parse(argv: Sequence[str]) -> list[str]:
    try:
        return flags.FLAGS(argv)
    except flags.Error as error:
        print(f"flaxrec: {' '.join(str(error).split()).rstrip('.')}; see --help.", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    app.run(main, flags_parser=_parse)
