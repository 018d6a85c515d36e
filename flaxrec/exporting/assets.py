"""What an export needs besides the model, wherever the model comes from."""

import dataclasses
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from flaxrec.data.spec import ModelSpec
from flaxrec.data.timelines import ITEM
from flaxrec.data.vocabulary import Vocabulary
from flaxrec.errors import ExportError
from flaxrec.exporting.judge import Judged
from flaxrec.exporting.ranked_lists import Runner
from flaxrec.files import read_jsonl
from flaxrec.training.workdir import Workdir


@dataclasses.dataclass(frozen=True)
class Original:
    """The file that a model was imported from, to be run beside the new one.

    Attributes:
      run: [length] by input name -> ids int32 [K], scores float32 [K].
      top_k: its K.
    """

    run: Runner
    top_k: int


@dataclasses.dataclass(frozen=True)
class Assets:
    """What goes into the export folder or is needed to verify it.

    Attributes:
      vocabularies: by name: the items' and those of the inputs.
      items: what is known of the items, the most frequent first; rows of items.jsonl.
      contexts: inputs to verify the finished file with, [n, length] by name, n at least 1.
      tests: rows of metrics.jsonl that tell how good the model is.
      original: an imported model's file.
      judged: labels to judge a quantised file by, by split ('validation', 'test').
    """

    vocabularies: dict[str, Vocabulary]
    items: list[dict[str, Any]]
    contexts: dict[str, np.ndarray]
    tests: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    original: Original | None = None
    judged: dict[str, Judged] = dataclasses.field(default_factory=dict)


def of_run(workdir: Workdir, spec: ModelSpec) -> Assets:
    """The assets that a run kept of its data.

    Raises:
      ExportError: some are missing or damaged, or the run kept no contexts.
      TrainingError: metrics.jsonl is missing or was cut off.
    """
    contexts = _arrays(_asset(workdir, "contexts.npz"))
    if not all(map(len, contexts.values())):
        raise ExportError(
            f"The run {workdir.path} kept no contexts to verify an export with; train with "
            "config.export.verification_contexts above 0."
        )
    names = {ITEM, *(i.vocabulary for i in spec.inputs if i.vocabulary)}
    return Assets(
        {name: Vocabulary.read(_asset(workdir, f"vocabularies/{name}.txt")) for name in names},
        read_jsonl(_asset(workdir, "items.jsonl")),
        contexts,
        [row for row in workdir.read_metrics() if row["split"] == "test"],
        judged={file.stem: _judged(file) for file in workdir.judged.glob("*.npz")},
    )


def _judged(file: Path) -> Judged:
    contexts = _arrays(file)
    return Judged(labels=contexts.pop("label"), contexts=contexts)


def _arrays(file: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(file) as arrays:
            return dict(arrays)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ExportError(
            f"{file} is damaged ({error}); restore it, or remove {file.parent} and run "
            "train_main.py again."
        ) from error


def _asset(workdir: Workdir, name: str) -> Path:
    path = workdir.assets / name
    if not path.is_file():
        raise ExportError(
            f"{path} is missing; restore it, or remove {workdir.assets} and run train_main.py "
            "again."
        )
    return path
