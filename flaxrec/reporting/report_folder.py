"""The folder of a report: new, empty or an earlier report; nothing of others' is written over."""

import contextlib
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from flaxrec.errors import DataError, write_errors_as
from flaxrec.training.workdir import write_atomically

LIST = "report.json"  # the names of the report's files, by which a report is known


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
    for left_behind in output.parent.glob(f".{output.name}.report.*"):  # by one that was killed
        shutil.rmtree(left_behind, ignore_errors=True)
    aside = output.with_name(f".{output.name}.report.{os.getpid()}")
    try:
        with write_errors_as(DataError, output):
            aside.mkdir(parents=True)
        yield aside
        with write_errors_as(DataError, output):
            _put_in_place(aside, output, earlier, keep)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _put_in_place(aside: Path, output: Path, earlier: set[str], keep: Sequence[str]) -> None:
    names = {path.name for path in aside.iterdir()}
    foreign = sorted(name for name in names - earlier if (output / name).exists())
    if foreign:
        raise DataError(
            f"{output / foreign[0]} was not written by a report; move it, or use another --output."
        )
    output.mkdir(exist_ok=True)
    kept = {name for name in keep if name in earlier}
    # Noted before: if this process dies in between, the folder is still known as a report.
    _note(output, names | earlier)
    for name in sorted(names):
        os.replace(aside / name, output / name)
    for name in earlier - names - kept:
        (output / name).unlink(missing_ok=True)
    _note(output, names | kept)


def _note(output: Path, names: set[str]) -> None:
    write_atomically(output / LIST, json.dumps({"files": sorted(names)}, indent=2) + "\n")


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
