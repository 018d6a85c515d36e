"""The parts of the data that a run keeps, so that its export needs no data set.

WORKDIR/assets: spec.json  vocabularies/NAME.txt  items.jsonl  contexts.npz  histories.jsonl
                judged/SPLIT.npz  files.json (which run they are of, bytes and SHA-256 of each)
                label_features.json (with config.model.label_features)
                transitions.npz (at the end, with config.model.transitions)
                new_items.json (at the end, with label features and config.model.item_bias)
"""

import dataclasses
import functools
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, NotRequired, TypedDict

import msgspec
import numpy as np
import polars as pl

from flaxrec.config import Config
from flaxrec.data.dataset import Dataset
from flaxrec.data.histories import history
from flaxrec.data.item_features import Known
from flaxrec.data.spec import ModelSpec
from flaxrec.data.splits import evenly
from flaxrec.data.timelines import ITEM, Timelines
from flaxrec.data.vocabulary import Vocabulary
from flaxrec.errors import ExportError
from flaxrec.files import recover, whole_file, whole_folder, write_jsonl, write_text
from flaxrec.files.schemas import Count, Reader, Sums
from flaxrec.files.sums import FILES, is_the_one, sums_of
from flaxrec.models.transitions_head import TransitionsHead

_FEATURES, _NEW_ITEMS = "label_features.json", "new_items.json"
Row = dict[str, Any]
# Label positions [n] -> inputs of the graph, [n, length] by name.
InputsBefore = Callable[[np.ndarray], dict[str, np.ndarray]]


class _Files(TypedDict):
    """files.json."""

    run: str  # `Workdir.identity`
    files: Sums


class _Item(TypedDict):
    """A row of items.jsonl, with the item's features beside these."""

    id: int | float | str
    count: Count


class _History(TypedDict):
    """A row of histories.jsonl, see `data.histories`."""

    user: dict[str, Any]
    activities: list[dict[str, Any]]
    label: int | float | str | None
    now: NotRequired[int | float | None]


class _LabelFeature(TypedDict):
    """A feature of label_features.json, see `Known`: of ids `vocabulary`, of numbers the others."""

    vocabulary: NotRequired[list[str]]
    mean: NotRequired[list[float]]
    deviation: NotRequired[float]
    largest: NotRequired[float]


class NewItems(TypedDict):
    """new_items.json, see `training.new_items`."""

    run: str  # `Workdir.identity`
    bias: Annotated[float, msgspec.Meta(ge=-1e6, le=1e6)]  # of items that training did not meet
    cold_items: Count  # the last candidates, which are such items


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

    def write_of(
        self, config: Config, dataset: Dataset, inputs_before: InputsBefore, run: str = ""
    ) -> None:
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
            run,
            {name: of.known for name, of in timelines.item_values.items()},
        )

    def write(
        self,
        spec: ModelSpec,
        vocabularies: Mapping[str, Vocabulary],
        items: Sequence[Row],
        contexts: Mapping[str, np.ndarray],
        histories: Sequence[Row],
        judged: Mapping[str, Judged],
        run: str = "",
        label_features: Mapping[str, Known] | None = None,
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
          run: what the other parts of the run know it by, `Workdir.identity`.
          label_features: what is known of config.model.label_features, by name; None: nothing.
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
            if label_features:
                known = {name: of.to_json() for name, of in label_features.items()}
                text = json.dumps(known, ensure_ascii=False)
                (folder / _FEATURES).write_text(f"{text}\n", encoding="utf-8", newline="\n")
            text = json.dumps({"run": run, "files": sums_of(folder)}, indent=2) + "\n"
            (folder / FILES).write_text(text, encoding="utf-8", newline="\n")

    def write_head(self, head: TransitionsHead, run: str = "") -> None:
        """Writes transitions.npz, which is made after the other files; `run` as in `write`."""
        with whole_file(self._folder / "transitions.npz") as file:
            np.savez_compressed(file, **dataclasses.asdict(head), run=run)

    def write_new_items(self, bias: float, cold_items: int, run: str = "") -> None:
        """Writes new_items.json, which is made after the other files; `run` as in `write`."""
        noted = NewItems(run=run, bias=bias, cold_items=cold_items)
        write_text(self._folder / _NEW_ITEMS, f"{json.dumps(noted)}\n")

    def new_items(self) -> NewItems | None:
        """What was chosen for new items; None of a run that chose nothing, as of old."""
        file = self._folder / _NEW_ITEMS
        if not file.exists():
            return None
        found = self._reader.object(file, NewItems)
        if found["run"] not in ("", self._noted["run"]):
            raise self._unusable(file, "of another run")
        if found["cold_items"] >= self.spec().candidates:
            raise self._unusable(file, "not of this model")
        return found

    def check_run(self, run: str) -> None:
        """Raises ExportError if the files are of another run, see `write`; old ones do not say."""
        if self._noted["run"] not in ("", run):
            raise self._unusable(self._folder, "of another run than the checkpoints")

    def head(self) -> TransitionsHead | None:
        """The transitions head, on the host; None if there is none."""
        file = self._folder / "transitions.npz"
        if not file.exists():
            return None
        stored = self._reader.arrays(file)
        if str(stored.pop("run", "")) not in ("", self._noted["run"]):
            raise self._unusable(file, "of another run")
        names = {field.name for field in dataclasses.fields(TransitionsHead)}
        if names != set(stored) or not _is_head(stored, self.spec()):
            raise self._unusable(file, "not of this model")
        plain = {name: stored.pop(name).item() for name in ("input", "candidates", "power")}
        return TransitionsHead(**stored, **plain)  # type: ignore[arg-type]

    def label_features(self) -> dict[str, Known]:
        """What is known of the label tower's features, by name; {} if the run kept nothing."""
        if _FEATURES not in self._noted["files"] and not (self._folder / _FEATURES).exists():
            return {}
        found = self._reader.object(self._file(_FEATURES), dict[str, _LabelFeature])
        return {name: Known.from_json(of) for name, of in found.items()}

    def spec(self) -> ModelSpec:
        """Inputs and candidates."""
        return self._spec

    def vocabularies(self) -> dict[str, Vocabulary]:
        """The vocabularies of the items and the inputs, by name."""
        spec = self.spec()
        rows = {i.vocabulary: i.rows for i in spec.inputs if i.vocabulary}
        rows.setdefault(ITEM, 0)
        found = {}
        for name in sorted(rows):
            file = self._file(f"vocabularies/{name}.txt")
            found[name] = vocabulary = Vocabulary.read(file)
            lines = len(vocabulary.entries)
            needed = spec.first_candidate + spec.candidates if name == ITEM else 0
            fits = lines >= needed and rows[name] in (0, lines + 1)
            if spec.first_candidate and not fits:  # in reference mode the config says the rows
                raise self._unusable(file, f"of another model: it has {lines} lines")
        return found

    def items(self) -> list[Row]:
        """Rows of items.jsonl, most frequent item first (in reference mode by id)."""
        return self._reader.rows(self._file("items.jsonl"), _Item)

    def contexts(self) -> dict[str, np.ndarray]:
        """Sample inputs of the graph, [n, length] by name, n at least 1."""
        contexts = self._inputs("contexts.npz")
        if not all(map(len, contexts.values())):
            raise ExportError(
                f"The run {self._folder.parent} kept no contexts to verify an export with; train "
                "with config.export.verification_contexts above 0."
            )
        return contexts

    def histories(self) -> list[Row]:
        """The sample contexts in the data's own ids with their labels, see `write`."""
        return self._reader.rows(self._file("histories.jsonl"), _History)

    def judged(self) -> dict[str, Judged]:
        """Labels to judge quantised files by, for each of 'validation' and 'test' that has any."""
        found = {}
        for split in ("validation", "test"):
            name = f"judged/{split}.npz"
            if name in self._noted["files"] or (self._folder / name).exists():
                contexts = self._inputs(name, "label")
                found[split] = Judged(labels=contexts.pop("label"), contexts=contexts)
        return found

    def _inputs(self, name: str, *labels: str) -> dict[str, np.ndarray]:
        """Arrays of the inputs and of `labels`, with the same number of rows."""
        file = self._file(name)
        arrays = self._reader.arrays(file)
        wanted: dict[str, tuple[np.dtype, tuple[int, ...]]]
        wanted = {i.name: (np.dtype(i.dtype), (i.length,)) for i in self.spec().inputs}
        wanted |= dict.fromkeys(labels, (np.dtype(np.int32), ()))
        if {n: (a.dtype, a.shape[1:]) for n, a in arrays.items() if a.ndim} != wanted or (
            len({len(a) for a in arrays.values()}) > 1
        ):
            raise self._unusable(file, "not of this model: its arrays have another form")
        return arrays

    @functools.cached_property
    def _spec(self) -> ModelSpec:
        return ModelSpec.read(self._file("spec.json"), self._reader)

    @functools.cached_property
    def _noted(self) -> _Files:
        recover(self._folder)
        file = self._folder / FILES
        if file.exists():
            return self._reader.object(file, _Files)
        if self._folder.is_dir():
            logging.warning("%s does not say which files belong to it, as of old.", self._folder)
        return {"run": "", "files": {}}

    @property
    def _reader(self) -> Reader:
        return Reader(
            ExportError, f"restore it, or remove {self._folder} and run train_main.py again"
        )

    def _file(self, name: str) -> Path:
        noted, file = self._noted["files"], self._folder / name
        if not file.is_file():
            raise self._unusable(file, "no file" if file.exists() else "missing")
        if noted and not (name in noted and is_the_one(file, noted[name])):
            raise self._unusable(file, f"damaged ({FILES} notes another)")
        return file

    def _unusable(self, file: Path, why: str) -> ExportError:
        return ExportError(
            f"{file} is {why}; restore it, or remove {self._folder} and run train_main.py again."
        )


def _is_head(stored: Mapping[str, np.ndarray], spec: ModelSpec) -> bool:
    """Whether the arrays are those of a `TransitionsHead` for the model."""
    followers, levels = stored["followers"], stored["levels"]
    inputs = {i.name: i.rows for i in spec.inputs}
    one = [stored[name] for name in ("scale", "weight", "input", "candidates", "power")]
    return (
        all(not array.ndim for array in one)
        and [array.dtype.kind for array in one] == ["f", "f", "U", "i", "f"]
        and (followers.dtype.kind, levels.dtype.kind) == ("i", "f")
        and followers.shape == levels.shape
        and followers.ndim == 2
        and followers.size > 0
        and 0 <= followers.min() <= followers.max() < spec.candidates
        and stored["candidates"].item() == spec.candidates
        and inputs.get(stored["input"].item(), 0) == len(followers)
    )


def items_of(timelines: Timelines) -> list[Row]:
    """Rows of items.jsonl.

    A number that JSON has no form for (infinite, or not a number) is null. A Float32 is the number
    of its own digits, 4.2 instead of 4.199999809265137, as it stands in a vocabulary.
    """
    return plain_rows(timelines.items.drop("row"))


def plain_rows(items: pl.DataFrame) -> list[Row]:
    """A table of items as rows of items.jsonl, see `items_of`."""
    items = items.rename({"item": "id"})
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
