"""Writes a report: reads folders of runs, writes tables and plots into a folder.

The folder must be new, empty or an earlier report; no other file is overwritten.
"""

import contextlib
import dataclasses
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypedDict

from flaxrec import files
from flaxrec.errors import ConfigError, DataError, write_errors_as
from flaxrec.files.schemas import Reader
from flaxrec.reporting import costs, results
from flaxrec.reporting.breakdown_tables import breakdown_tables, cold_table, protocol_table
from flaxrec.reporting.comparison_tables import metrics_table, pair_tables
from flaxrec.reporting.measured import TestSet, choose_metrics, distinguishing, measure
from flaxrec.reporting.results import Results
from flaxrec.reporting.table_forms import Column, Row, Table, latex, long_csv, markdown

LIST = "report.json"  # lists the report's files; its presence marks a report
_OWN = re.compile(r"[^./\\\0][^/\\\0]*\.(md|tex|csv|json|png|svg)")  # names of its files


class _List(TypedDict):
    """report.json."""

    files: list[str]


@dataclasses.dataclass(frozen=True)
class Options:
    """What to show."""

    metrics: Sequence[str] = ()  # names; empty: the default ones that the runs have
    # Axis values of the point to compare with; None: each metric's best.
    reference: Mapping[str, str] | None = None
    x: str | None = None  # the axis along x in plots; None: the numeric one with most values
    latency: bool = False  # whether to measure the exports
    latency_calls: int = 2000  # per file
    provenance: bool = False  # whether to show time, machine and code, which differ from run to run


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
      say: called with one line for each missing thing.

    Raises:
      ConfigError: the runs lack a metric, the reference or the axis.
      DataError: a folder cannot be read or written.
      ExportError: the exports cannot be measured.
    """
    output = Path(output)
    with filled(output, keep=(costs.LATENCY,)) as folder:
        read = results.read(folders)
        metrics = choose_metrics(read.points, options.metrics)
        _check_reference(read, options.reference)
        test_sets = measure(read.points, metrics)
        tables = _tables(read, test_sets, metrics, options)
        texts, medians = {"runs.csv": costs.runs_csv(read)}, None
        if options.latency:
            trained = [point for point in read.points if not point.is_baseline]
            kept = output / costs.LATENCY
            latency = costs.measure_latency(trained, kept, options.latency_calls)
            if latency is None:
                say("No point has an export (FOLDER/export/model.tflite): latency is left out.")
            else:
                tables += [costs.latency_table(latency, test_set) for test_set in test_sets]
                texts[costs.LATENCY] = json.dumps(latency, indent=2) + "\n"
                medians = costs.medians(latency)
        texts["table.md"] = markdown(tables)
        texts["table.tex"] = latex(tables)
        texts["table.csv"] = long_csv(tables)
        for name, text in texts.items():
            (folder / name).write_text(text, encoding="utf-8", newline="\n")
        try:
            from flaxrec.reporting import plots
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] != "matplotlib":
                raise
            say("matplotlib is missing, so there are no plots: pip install 'flaxrec[research]'.")
        else:
            plots.draw(test_sets, metrics, folder, options.x, medians)
    return tables


def _check_reference(read: Results, reference: Mapping[str, str] | None) -> None:
    if reference and not any(point.has(reference) for point in read.points):
        given = ",".join(f"{axis}={value}" for axis, value in reference.items())
        names = "; ".join(point.name for point in read.points)
        raise ConfigError(f"--reference={given} is no point of these runs; choose among {names}.")


def _tables(
    read: Results, test_sets: Sequence[TestSet], metrics: Sequence[str], options: Options
) -> list[Table]:
    """All tables but latency, in the report's order."""
    axes = distinguishing(test_sets, results.axes_of(read.points))
    made = []
    for test_set in test_sets:
        own = [axis for axis in axes if any(axis in m.point.axes for m in test_set.trained)]
        made.append(metrics_table(test_set, metrics, own, options.reference))
        if options.provenance:
            made.append(costs.training_table(test_set, own))
        made += pair_tables(test_set, metrics, own)
        cold = cold_table(test_set, metrics[0], own)
        made += [cold] if cold else []
        made += breakdown_tables(test_set, metrics[0], own)
    protocols = protocol_table(test_sets, metrics[0], axes)
    made += [protocols] if protocols else []
    if read.failed:
        columns = (Column("run", is_label=True), Column("reason", is_label=True))
        rows = [Row(run.name, (run.name, run.failure), run.axes) for run in read.failed]
        caption = "Failed runs; they are in no other table."
        made.append(Table("failed", "", caption, columns, tuple(rows)))
    return made


# ---- the folder -----------------------------------------------------------------------------


@contextlib.contextmanager
def filled(output: Path, keep: Sequence[str] = ()) -> Iterator[Path]:
    """A folder to fill; if the block succeeds, its files replace those of an earlier report.

    Args:
      output: the report's folder; made if it does not exist.
      keep: files of an earlier report to keep if the new report has none of that name.

    Raises:
      DataError: the output holds other files, or cannot be written.
    """
    earlier = _earlier(output)
    with contextlib.ExitStack() as stack:
        with write_errors_as(DataError, output):
            output.parent.mkdir(parents=True, exist_ok=True)
            new = stack.enter_context(files.folder_beside(output))
        yield new
        with write_errors_as(DataError, output):
            _put_in_place(new, output, earlier, keep)


def _put_in_place(new: Path, output: Path, earlier: set[str], keep: Sequence[str]) -> None:
    names = {path.name for path in new.iterdir()}
    foreign = sorted(name for name in names - earlier if (output / name).exists())
    if foreign:
        raise DataError(
            f"{output / foreign[0]} was not written by a report; move it, or use another --output."
        )
    output.mkdir(exist_ok=True)
    kept = earlier.intersection(keep)
    # Written first: if this process dies before the end, the folder still counts as a report.
    _note(output, names | earlier)
    for name in sorted(names):
        os.replace(new / name, output / name)
    for name in earlier - names - kept:
        (output / name).unlink(missing_ok=True)
    _note(output, names | kept)


def _note(output: Path, names: set[str]) -> None:
    files.write_text(output / LIST, json.dumps({"files": sorted(names)}, indent=2) + "\n")


def _earlier(output: Path) -> set[str]:
    """Names of an earlier report's files."""
    if not output.exists():
        return set()
    if not output.is_dir():
        raise DataError(f"{output} is a file; use another --output.")
    with contextlib.suppress(DataError):
        listed = Reader(DataError, "remove it").object(output / LIST, _List)
        return set(filter(_OWN.fullmatch, listed["files"]))
    # A process killed while writing its list leaves a partial list.
    if any(not path.name.startswith(f".{LIST}.") for path in output.iterdir()):
        raise DataError(f"{output} is not empty and holds no report; use another --output.")
    return set()
