"""The folder of a report: new, empty or an earlier report; nothing of others' is written over."""

import contextlib
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from flaxrec import files
from flaxrec.errors import DataError, write_errors_as

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
    with contextlib.ExitStack() as stack:
        with write_errors_as(DataError, output):
            output.parent.mkdir(parents=True, exist_ok=True)
            aside = stack.enter_context(files.folder_beside(output))
        yield aside
        with write_errors_as(DataError, output):
            _put_in_place(aside, output, earlier, keep)


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
