"""The parts of the data that a run keeps, so that its export needs no data set.

WORKDIR/assets: spec.json  vocabularies/NAME.txt  items.jsonl  contexts.npz  histories.jsonl
                judged/SPLIT.npz  transitions.npz (at the end, with config.model.transitions)
"""

import dataclasses
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from flaxrec.config import Config
from flaxrec.data.dataset import Dataset
from flaxrec.data.histories import history
from flaxrec.data.spec import ModelSpec
from flaxrec.data.splits import evenly
from flaxrec.data.timelines import ITEM, Timelines
from flaxrec.data.vocabulary import Vocabulary
from flaxrec.errors import ExportError
from flaxrec.files import read_jsonl, recover, whole_file, whole_folder, write_jsonl
from flaxrec.models.transitions_head import TransitionsHead

Row = dict[str, Any]
# Label positions [n] -> inputs of the graph, [n, length] by name.
InputsBefore = Callable[[np.ndarray], dict[str, np.ndarray]]


@dataclasses.dataclass(frozen=True)
class Judged:
    """Labels to judge a quantised file by, and the graph's inputs for them.

    Attributes:
      contexts: [n, length] by input name, n at least 1.
      labels: int32 [n], vocabulary rows of the items that followed.
    """

    contexts: dict[str, np.ndarray]
    labels: np.ndarray


class RunAssets:
    """The folder; each part is read on demand.

    Reading raises ExportError if a file is missing or damaged.
    """

    def __init__(self, folder: Path):
        self._folder = folder

    def write_of(self, config: Config, dataset: Dataset, inputs_before: InputsBefore) -> None:
        """Writes the parts of the data set that the config keeps, see `write`."""
        timelines = dataset.timelines
        sample = evenly(dataset.split.test, config.export.verification_contexts)
        length = config.model.context_length
        self.write(
            dataset.spec,
            timelines.vocabularies,
            items_of(timelines),
            inputs_before(sample),
            [history(timelines, label, length) for label in sample.tolist()],
            judged_of(config, dataset, inputs_before),
        )

    def write(
        self,
        spec: ModelSpec,
        vocabularies: Mapping[str, Vocabulary],
        items: Sequence[Row],
        contexts: Mapping[str, np.ndarray],
        histories: Sequence[Row],
        judged: Mapping[str, Judged],
    ) -> None:
        """Writes the folder, whole or not at all.

        Args:
          spec: inputs and candidates.
          vocabularies: by name.
          items: rows of items.jsonl: id, title, count and features.
          contexts: sample inputs of the graph, [n, length] by name.
          histories: the same contexts in the data's own ids: `user` (id and features),
            `activities` (oldest first) and `label`.
          judged: by split.
        """
        with whole_folder(self._folder) as folder:
            for subfolder in ("vocabularies", "judged"):
                (folder / subfolder).mkdir()
            (folder / "spec.json").write_text(spec.to_json(), encoding="utf-8", newline="\n")
            for name, vocabulary in vocabularies.items():
                vocabulary.write(folder / "vocabularies" / f"{name}.txt")
            write_jsonl(folder / "items.jsonl", items)
            write_jsonl(folder / "histories.jsonl", histories)
            np.savez_compressed(folder / "contexts.npz", **contexts)  # type: ignore[arg-type]
            for split, of_split in judged.items():
                arrays = {**of_split.contexts, "label": of_split.labels}
                np.savez_compressed(folder / f"judged/{split}.npz", **arrays)  # type: ignore[arg-type]

    def write_head(self, head: TransitionsHead) -> None:
        """Writes transitions.npz."""
        with whole_file(self._folder / "transitions.npz") as file:
            np.savez_compressed(file, **dataclasses.asdict(head))

    def head(self) -> TransitionsHead | None:
        """The transitions head, on the host; None if there is none."""
        if not (self._folder / "transitions.npz").exists():
            return None
        stored = self._arrays("transitions.npz")
        plain = {name: stored.pop(name).item() for name in ("input", "candidates", "power")}
        return TransitionsHead(**stored, **plain)  # type: ignore[arg-type]

    def spec(self) -> ModelSpec:
        """Inputs and candidates."""
        return ModelSpec.from_json(self._file("spec.json").read_text(encoding="utf-8"))

    def vocabularies(self) -> dict[str, Vocabulary]:
        """The vocabularies of the items and the inputs, by name."""
        names = {ITEM, *(i.vocabulary for i in self.spec().inputs if i.vocabulary)}
        return {
            name: Vocabulary.read(self._file(f"vocabularies/{name}.txt")) for name in sorted(names)
        }

    def items(self) -> list[Row]:
        """Rows of items.jsonl, most frequent item first (in reference mode by id)."""
        return read_jsonl(self._file("items.jsonl"))

    def contexts(self) -> dict[str, np.ndarray]:
        """Sample inputs of the graph, [n, length] by name, n at least 1."""
        contexts = self._arrays("contexts.npz")
        if not all(map(len, contexts.values())):
            raise ExportError(
                f"The run {self._folder.parent} kept no contexts to verify an export with; train "
                "with config.export.verification_contexts above 0."
            )
        return contexts

    def histories(self) -> list[Row]:
        """The sample contexts in the data's own ids with their labels, see `write`."""
        return read_jsonl(self._file("histories.jsonl"))

    def judged(self) -> dict[str, Judged]:
        """Labels to judge quantised files by, for each of 'validation' and 'test' that has any."""
        found = {}
        for file in self._folder.glob("judged/*.npz"):
            contexts = self._arrays(f"judged/{file.name}")
            found[file.stem] = Judged(labels=contexts.pop("label"), contexts=contexts)
        return found

    def _arrays(self, name: str) -> dict[str, np.ndarray]:
        file = self._file(name)
        try:
            with np.load(file) as arrays:
                return dict(arrays)
        except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise self._unusable(file, f"damaged ({error})") from error

    def _file(self, name: str) -> Path:
        recover(self._folder)
        file = self._folder / name
        if not file.is_file():
            raise self._unusable(file, "missing")
        return file

    def _unusable(self, file: Path, why: str) -> ExportError:
        return ExportError(
            f"{file} is {why}; restore it, or remove {self._folder} and run train_main.py again."
        )


def items_of(timelines: Timelines) -> list[Row]:
    """Rows of items.jsonl.

    A number that JSON has no form for (infinite, or not a number) is null. A Float32 is the number
    of its own digits, 4.2 instead of 4.199999809265137, as it stands in a vocabulary.
    """
    items = timelines.items.rename({"item": "id"}).drop("row")
    exact = []
    for name, dtype in items.schema.items():
        if dtype.is_float():
            exact.append(_exact(pl.col(name), dtype))
        elif isinstance(dtype, pl.List) and dtype.inner in (pl.Float32, pl.Float64):
            exact.append(pl.col(name).list.eval(_exact(pl.element(), dtype.inner)))
    return items.with_columns(exact).to_dicts()


def _exact(number: pl.Expr, dtype: Any) -> pl.Expr:
    if dtype == pl.Float32:
        number = number.cast(pl.String).cast(pl.Float64)
    return pl.when(number.is_finite()).then(number)


def judged_of(config: Config, dataset: Dataset, inputs_before: InputsBefore) -> dict[str, Judged]:
    """At most config.export.judged_labels labels each of validation and test, if there are any."""
    judged = {}
    for part in ("validation", "test"):
        labels = evenly(getattr(dataset.split, part), config.export.judged_labels)
        if len(labels):
            judged[part] = Judged(inputs_before(labels), dataset.timelines.item[labels])
    return judged
