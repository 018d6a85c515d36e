"""A report: from folders of runs to tables and plots in a folder.

The folder is new, empty or an earlier report's; other people's files are never written over.
"""

import contextlib
import dataclasses
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from flaxrec import files
from flaxrec.errors import ConfigError, DataError, write_errors_as
from flaxrec.reporting import costs, results
from flaxrec.reporting.breakdown_tables import breakdown_tables, protocol_table
from flaxrec.reporting.comparison_tables import metrics_table, pair_tables
from flaxrec.reporting.measured import TestSet, choose_metrics, distinguishing, measure
from flaxrec.reporting.results import Results
from flaxrec.reporting.table_forms import Column, Row, Table, latex, long_csv, markdown

LIST = "report.json"  # the names of the report's files, by which a report is known


@dataclasses.dataclass(frozen=True)
class Options:
    """What to show."""

    metrics: Sequence[str] = ()  # names; empty: the default ones that the runs have
    # Axis values of the point that others are compared with; None: each metric's best.
    reference: Mapping[str, str] | None = None
    x: str | None = None  # the axis along x in plots; None: the numeric one with most values
    latency: bool = False  # whether to measure the exports
    latency_calls: int = 2000  # of each file
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
      say: called with what is missing, a line at a time.

    Raises:
      ConfigError: a metric, reference or axis that the runs do not have.
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
    """All tables but that of latency, in the order of the report."""
    axes = distinguishing(test_sets, results.axes_of(read.points))
    made = []
    for test_set in test_sets:
        own = [axis for axis in axes if any(axis in m.point.axes for m in test_set.trained)]
        made.append(metrics_table(test_set, metrics, own, options.reference))
        if options.provenance:
            made.append(costs.training_table(test_set, own))
        made += pair_tables(test_set, metrics, own)
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
    """A folder to fill, whose files take the place of an earlier report's when the block ends well.

    Args:
      output: the report's folder; made if there is none.
      keep: files of an earlier report that stay if the new one has none of that name.

    Raises:
      DataError: the output holds something else, or cannot be written.
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
    # Noted before: if this process dies in between, the folder is still known as a report.
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
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        names = json.loads((output / LIST).read_text(encoding="utf-8"))["files"]
        return {name for name in names if Path(name).name == name}
    # A process that was killed while it wrote its list leaves the list's beginning.
    if any(not path.name.startswith(f".{LIST}.") for path in output.iterdir()):
        raise DataError(f"{output} is not empty and holds no report; use another --output.")
    return set()
