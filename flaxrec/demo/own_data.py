"""A model of one's own table, to look at: columns by their names, then a run and its export."""

from collections.abc import Callable, Mapping
from pathlib import Path

from flaxrec.config import loading
from flaxrec.data.sources import guessing
from flaxrec.exporting.bundle import export
from flaxrec.files import own_path
from flaxrec.tflite.metadata import is_export
from flaxrec.train_main import report, train
from flaxrec.training.workdir import Workdir

_COLUMNS = "data.columns."


def export_of(
    data: str, overrides: Mapping[str, str], workdir: str = "", say: Callable[[str], None] = print
) -> Path:
    """Trains the config own_table on a table and exports it, or uses the run that is there.

    Args:
      data: as config.data.path.
      overrides: text by dotted path; columns among them are not guessed.
      workdir: the run folder; default: runs/demo-NAME.
      say: called with each line of progress.

    Returns:
      The export folder.

    Raises:
      FlaxrecError: as training and exporting; or no column is called like the user's or the item's.
    """
    given = {path.removeprefix(_COLUMNS) for path in overrides if path.startswith(_COLUMNS)}
    columns = guessing.columns_of(data, overrides.get("data.format", "auto"))
    found = guessing.guess(columns, data, given)
    if "time" not in found and "time" not in given:
        found["time"] = ""
    told = ", ".join(
        f"{field}={column or 'none: the file is in order'}" for field, column in found.items()
    )
    say(f"columns by their names: {told}; --config.data.columns.FIELD=COLUMN takes another")
    guessed = {_COLUMNS + field: column for field, column in found.items()}
    config = loading.load("own_table", {"data.path": data} | guessed | dict(overrides)).config
    run = Workdir(workdir or Path("runs") / f"demo-{own_path(data).stem.partition('.')[0]}")
    say(f"training on {data} in {run.path}; the same command uses the run again")
    report(train(config, run.path, say))
    if not is_export(run.export):
        export(run, say=say)
    return run.export
