"""Tables and plots of finished sweeps and runs, for a paper.

python -m flaxrec.report DIR [DIR ...] --output=DIR [--metrics=NAMES] [--reference=POINT]
    [--x=AXIS] [--latency] [--provenance]

DIR is a sweep folder (results.jsonl) or a run folder of train_main.py. Writes table.md, table.tex,
table.csv, runs.csv (a line a run, with time, machine and code) and plots as PNG and SVG. The same
results give the same tables, however often a sweep was stopped and resumed.
"""

from collections.abc import Sequence

from absl import flags

from flaxrec.cli import flags as cli
from flaxrec.errors import ConfigError
from flaxrec.reporting import report

OUTPUT = flags.DEFINE_string("output", None, "new or empty folder, or that of an earlier report")
METRICS = flags.DEFINE_list(
    "metrics",
    [],
    "metrics to show, the main one first; default: recall@10 and ndcg@10, filtered and not",
)
REFERENCE = flags.DEFINE_list(
    "reference", [], "AXIS=VALUE,... of the point to compare with; default: each metric's best"
)
X = flags.DEFINE_string("x", None, "axis along x; default: the numeric one with most values")
LATENCY = flags.DEFINE_bool("latency", False, "measure the points' exports side by side")
PROVENANCE = flags.DEFINE_bool("provenance", False, "also a table of time, machine and code")


def main(argv: Sequence[str]) -> None:
    """Writes the report that the flags describe."""
    if len(argv) < 2:
        raise ConfigError("Which folders? Name those of sweeps or runs, then --output=DIR.")
    if not OUTPUT.value:
        raise ConfigError("--output is missing; name a new folder for the report.")
    options = report.Options(
        METRICS.value, _reference(REFERENCE.value), X.value, LATENCY.value,
        provenance=PROVENANCE.value,
    )  # fmt: skip
    report.write(argv[1:], OUTPUT.value, options)
    print(f"wrote {OUTPUT.value}/table.md")


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
    cli.run(main, takes_arguments=True)
