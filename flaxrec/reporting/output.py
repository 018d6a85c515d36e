"""A report: from folders of runs to tables and plots in a folder.

results (runs grouped to points) -> measured (figures, by test set) -> main_table, pairs,
breakdown_tables, origin, latency (tables) -> tables, latex (their forms); plots -> report_folder
"""

import dataclasses
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from flaxrec.errors import ConfigError
from flaxrec.reporting import (
    breakdown_tables,
    comparison_tables,
    costs,
    latex,
    measured,
    origin,
    pairs,
    report_folder,
    results,
    table_forms,
)
from flaxrec.reporting.measured import TestSet
from flaxrec.reporting.results import Results, text
from flaxrec.reporting.table_forms import Table


@dataclasses.dataclass(frozen=True)
class Options:
    """What to show.

    Attributes:
      metrics: names; empty: the default ones that the runs have.
      reference: axis values of the point that others are compared with; None: each metric's best.
      x: the axis along x in plots; None: the numeric one with most values.
      latency: whether to measure the exports.
      latency_calls: of each file.
      provenance: whether to show how the runs came about: such tables differ from run to run.
    """

    metrics: Sequence[str] = ()
    reference: Mapping[str, str] | None = None
    x: str | None = None
    latency: bool = False
    latency_calls: int = 2000
    provenance: bool = False


def write(
    folders: Iterable[str | os.PathLike],
    output: str | os.PathLike,
    options: Options,
    say: Callable[[str], None] = print,
) -> list[Table]:
    """Writes table.md, table.tex, table.csv, runs.csv and plots; returns the tables.

    Args:
      folders: of sweeps and runs.
      output: a new or empty folder, or an earlier report.
      options: what to show.
      say: told what is missing.

    Raises:
      ConfigError: a metric, reference or axis that the runs do not have.
      DataError: a folder cannot be read or written.
      ExportError: the exports cannot be measured.
    """
    output = Path(output)
    with report_folder.filled(output, keep=(costs.FILE,)) as folder:
        read = results.read(folders)
        metrics = measured.choose_metrics(read.points, options.metrics)
        _check_reference(read, options.reference)
        test_sets = measured.measure(read.points, metrics)
        made = make_tables(read, test_sets, metrics, options)
        latencies: dict[str, Any] | None = None
        if options.latency:
            trained = [point for point in read.points if not point.is_baseline]
            latencies = costs.measure(trained, output / costs.FILE, options.latency_calls)
            if latencies is None:
                say("No point has an export (FOLDER/export/model.tflite): latency is left out.")
            else:
                made += [costs.make(latencies, test_set) for test_set in test_sets]
                _put(folder / costs.FILE, json.dumps(latencies, indent=2) + "\n")
        _put(folder / "table.md", table_forms.markdown(made))
        _put(folder / "table.tex", latex.latex(made))
        _put(folder / "table.csv", table_forms.long_csv(made))
        _put(folder / "runs.csv", origin.runs_csv(read))
        try:
            from flaxrec.reporting import plots
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] != "matplotlib":
                raise
            say("matplotlib is missing, so there are no plots: pip install 'flaxrec[research]'.")
        else:
            medians = None if latencies is None else costs.medians(latencies)
            plots.draw(test_sets, metrics, folder, options.x, medians)
    return made


def make_tables(
    read: Results, test_sets: Sequence[TestSet], metrics: Sequence[str], options: Options
) -> list[Table]:
    """All tables but that of latency, in the order of the report."""
    axes = measured.distinguishing(test_sets, results.axes_of(read.points))
    made = []
    for test_set in test_sets:
        own = [axis for axis in axes if any(axis in m.point.axes for m in test_set.trained)]
        made.append(comparison_tables.make(test_set, metrics, own, options.reference))
        if options.provenance:
            made.append(origin.make(test_set, own))
        made += pairs.make(test_set, metrics, own)
        made += breakdown_tables.make(test_set, metrics[0], own)
    protocols = breakdown_tables.protocols(test_sets, metrics[0], axes)
    made += [protocols] if protocols else []
    made += [comparison_tables.failed(read.failed)] if read.failed else []
    return made


def _check_reference(read: Results, reference: Mapping[str, str] | None) -> None:
    if not reference:
        return
    for point in read.points:
        own = {axis: text(value) for axis, value in point.axes.items()}
        if all(own.get(axis) == value for axis, value in reference.items()):
            return
    given = ",".join(f"{axis}={value}" for axis, value in reference.items())
    names = "; ".join(point.name for point in read.points)
    raise ConfigError(f"--reference={given} is no point of these runs; choose among {names}.")


def _put(path: Path, content: str) -> None:
    path.write_text(content, encoding="utf-8", newline="\n")
