"""models/NAME/: what a starter model is made of, and read from.

weights.npz (float16)  config.json  spec.json  vocabularies/NAME.txt  figures.json  card.md

Ids and weights alone: no titles, no counts, nothing known of single items. (A genre input has the
names of the genres, without which its rows would mean nothing.)
"""

import dataclasses
import json
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from flaxrec import config as config_lib
from flaxrec.config import Config
from flaxrec.data.spec import ModelSpec
from flaxrec.data.timelines import ITEM
from flaxrec.data.vocabulary import Vocabulary
from flaxrec.errors import ConfigError, ExportError
from flaxrec.exporting import serving
from flaxrec.training.validation import validate

MODELS = Path(__file__).resolve().parents[2] / "models"  # in the repository, not in the package
WEIGHTS, CONFIG, SPEC = "weights.npz", "config.json", "spec.json"
FIGURES, CARD = "figures.json", "card.md"


@dataclasses.dataclass(frozen=True)
class Starter:
    """What a folder holds.

    Attributes:
      config: of the training run, without places; export.quantization is what it is shipped with.
      spec: inputs and candidates.
      weights: float16 by parameter name.
      vocabularies: by name.
      figures: see `figures.of`.
    """

    config: Config
    spec: ModelSpec
    weights: dict[str, np.ndarray]
    vocabularies: dict[str, Vocabulary]
    figures: dict[str, Any]

    @property
    def joined(self) -> list[str]:
        """Sources of inputs that need more than ids, such as item.genres."""
        sources = {spec.source for spec in self.spec.inputs} - {"item.id"}
        return sorted(sources)


# ---- where they are -------------------------------------------------------------------------


def names(models: Path | None = None) -> list[str]:
    """The starters in a folder of them, by default the repository's; none if it is not there."""
    return sorted(file.parent.name for file in (models or MODELS).glob(f"[!.]*/{CONFIG}"))


def find(name: str, models: Path | None = None) -> Path:
    """The folder of a starter; raises ExportError with those that are there."""
    models = models or MODELS
    if not models.is_dir():
        raise ExportError(
            f"The starter models lie in models/ of the repository, and {models} is not there; take "
            "a clone of it, install flaxrec from there by pip install -e ., and try again."
        )
    there = names(models)
    if name not in there:
        raise ExportError(
            f"There is no starter {name!r} in {models}; there are {', '.join(there) or 'none'}."
        )
    return models / name


# ---- reading --------------------------------------------------------------------------------


def read(folder: Path) -> Starter:
    """The starter of a folder.

    Raises:
      ExportError: a file is missing or damaged, or the weights do not fit the config.
    """
    config = _config(folder)
    try:
        spec = ModelSpec.from_json(_text(folder / SPEC))
        figures = json.loads(_text(folder / FIGURES))
    except (ValueError, TypeError, KeyError) as error:
        raise _damaged(folder, error) from error
    weights = _weights(folder / WEIGHTS)
    _check(folder, weights, serving.structure_of(config, spec).shapes)
    found = {ITEM, *(i.vocabulary for i in spec.inputs if i.vocabulary)}
    vocabularies = {}
    for name in sorted(found):
        file = folder / "vocabularies" / f"{name}.txt"
        _text(file)
        vocabularies[name] = Vocabulary.read(file)
    rows = len(vocabularies[ITEM].entries)
    if rows != spec.first_candidate + spec.candidates:
        raise _damaged(folder, f"{rows} lines for {spec.candidates} items in vocabularies/item.txt")
    return Starter(config, spec, weights, vocabularies, figures)


def _config(folder: Path) -> Config:
    try:
        return validate(config_lib.from_json(_text(folder / CONFIG)))
    except ConfigError as error:
        raise _damaged(folder, error) from error


def _text(file: Path) -> str:
    if not file.is_file():
        raise ExportError(f"{file} is missing; restore it, for example by git checkout.")
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise _damaged(file.parent, error) from error


def _weights(file: Path) -> dict[str, np.ndarray]:
    if not file.is_file():
        raise ExportError(f"{file} is missing; restore it, for example by git checkout.")
    try:
        with np.load(file) as arrays:
            return dict(arrays)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise _damaged(file.parent, error) from error


def _check(folder: Path, weights: dict[str, np.ndarray], shapes: dict[str, Any]) -> None:
    """Raises ExportError unless the weights are float16 of these names and shapes."""
    have = {name: (str(array.dtype), array.shape) for name, array in weights.items()}
    want = {name: ("float16", shape.shape) for name, shape in shapes.items()}
    wrong = sorted(name for name in have.keys() | want if have.get(name) != want.get(name))
    if wrong:
        name = wrong[0]
        raise _damaged(
            folder,
            f"{WEIGHTS} has {_told(have.get(name))} for {name}, where {CONFIG} and {SPEC} ask for "
            f"{_told(want.get(name))}",
        )


def _told(array: tuple[str, tuple[int, ...]] | None) -> str:
    return f"{array[0]} {list(array[1])}" if array else "nothing"


def _damaged(folder: Path, why: object) -> ExportError:
    reason = " ".join(str(why).split()).rstrip(".")
    return ExportError(
        f"The starter {folder} is damaged ({reason}); restore it, for example by git checkout."
    )
