"""Reads and writes models/NAME/, the folder of a starter model.

weights.npz (float16)  config.json  spec.json  vocabularies/NAME.txt  figures.json  card.md

It holds only ids and weights: no titles, counts or other data of single items. A genre input needs
the names of the genres, as its rows have no meaning without them.
"""

import dataclasses
import io
import json
import zipfile
import zlib
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from flaxrec import config as config_lib
from flaxrec.config import Config
from flaxrec.config.loading import shipped
from flaxrec.data import moments
from flaxrec.data.spec import ModelSpec
from flaxrec.data.timelines import ITEM
from flaxrec.data.vocabulary import Vocabulary
from flaxrec.errors import ConfigError, ExportError, write_errors_as
from flaxrec.exporting import serving
from flaxrec.files import whole_folder
from flaxrec.starters import card
from flaxrec.training.validation import validate

MODELS = shipped("models")
WEIGHTS, CONFIG, SPEC = "weights.npz", "config.json", "spec.json"
FACTS, CARD, VOCABULARY = "figures.json", "card.md", "vocabularies/{}.txt"
_DAMAGE = (ConfigError, OSError, ValueError, TypeError, KeyError, EOFError, BadZipFile, zlib.error)
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time that zip allows
_UNIX = 3


@dataclasses.dataclass(frozen=True)
class Starter:
    """The content of a starter's folder."""

    config: Config  # of the training run, without places; export.quantization: the shipped recipe
    spec: ModelSpec  # inputs and candidates
    weights: dict[str, np.ndarray]  # float16 by parameter name
    vocabularies: dict[str, Vocabulary]  # by name
    facts: dict[str, Any]  # its accuracy and training, see `pack.facts_of`

    @property
    def joined(self) -> list[str]:
        """Sources of inputs that need more than ids and times, such as item.genres."""
        sources = {spec.source for spec in self.spec.inputs}
        return sorted(sources - {"item.id", *moments.SOURCES})


def names(models: Path | None = None) -> list[str]:
    """Names of the starters in a folder (default: the shipped ones); none if it is missing."""
    return sorted(file.parent.name for file in (models or MODELS).glob(f"[!.]*/{CONFIG}"))


def find(name: str, models: Path | None = None) -> Path:
    """The folder of a starter; raises ExportError if there is none of this name."""
    models = models or MODELS
    there = names(models)
    if name not in there:
        raise ExportError(
            f"There is no starter {name!r} in {models}; there are {', '.join(there) or 'none'}."
        )
    return models / name


# ---- reading --------------------------------------------------------------------------------


def read(folder: Path) -> Starter:
    """Reads a starter's folder.

    Raises:
      ExportError: a file is missing or damaged, or the weights do not fit the config.
    """

    def file(name: str) -> Path:
        if not (folder / name).is_file():
            raise ExportError(
                f"{folder / name} is missing; restore it, for example by git checkout."
            )
        return folder / name

    try:
        config = validate(config_lib.from_json(file(CONFIG).read_text(encoding="utf-8")))
        spec = ModelSpec.from_json(file(SPEC).read_text(encoding="utf-8"))
        facts = json.loads(file(FACTS).read_bytes())
        with np.load(file(WEIGHTS)) as arrays:
            weights = dict(arrays)
        found = {ITEM, *(i.vocabulary for i in spec.inputs if i.vocabulary)}
        vocabularies = {n: Vocabulary.read(file(VOCABULARY.format(n))) for n in sorted(found)}
    except _DAMAGE as error:
        raise _damaged(folder, error) from error
    have = {name: f"{array.dtype} {list(array.shape)}" for name, array in weights.items()}
    shapes = serving.structure_of(config, spec).shapes
    want = {name: f"float16 {list(shape.shape)}" for name, shape in shapes.items()}
    for name in sorted(have.keys() | want.keys()):
        if have.get(name) != want.get(name):
            raise _damaged(
                folder,
                f"{WEIGHTS} has {have.get(name, 'nothing')} for {name}, where {CONFIG} and {SPEC} "
                f"ask for {want.get(name, 'nothing')}",
            )
    rows = len(vocabularies[ITEM].entries)
    if rows != spec.first_candidate + spec.candidates:
        raise _damaged(folder, f"{rows} lines for {spec.candidates} items in vocabularies/item.txt")
    return Starter(config, spec, weights, vocabularies, facts)


def _damaged(folder: Path, why: object) -> ExportError:
    reason = " ".join(str(why).split()).rstrip(".")
    return ExportError(
        f"The starter {folder} is damaged ({reason}); restore it, for example by git checkout."
    )


# ---- writing --------------------------------------------------------------------------------


def write(starter: Starter, folder: Path) -> None:
    """Writes or replaces the folder; raises ExportError if it cannot."""
    with write_errors_as(ExportError, folder), whole_folder(folder) as new:
        (new / "vocabularies").mkdir()
        for path, content in files_of(starter).items():
            (new / path).write_bytes(content)


def files_of(starter: Starter) -> dict[str, bytes]:
    """Content of every file by its path in the folder; it depends only on the starter."""
    texts = {
        CONFIG: config_lib.to_json(starter.config),
        SPEC: starter.spec.to_json(),
        FACTS: json.dumps(starter.facts, indent=2) + "\n",
        CARD: card.render(starter),
    }
    for name, vocabulary in starter.vocabularies.items():
        texts[VOCABULARY.format(name)] = "".join(f"{entry}\n" for entry in vocabulary.entries)
    return {WEIGHTS: _npz(starter.weights)} | {path: t.encode() for path, t in texts.items()}


def _npz(arrays: dict[str, np.ndarray]) -> bytes:
    """Like `np.savez`, with reproducible bytes; not compressed, as weights hardly shrink."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name in sorted(arrays):
            array = io.BytesIO()
            np.lib.format.write_array(array, np.ascontiguousarray(arrays[name]))
            member = zipfile.ZipInfo(f"{name}.npy", _EPOCH)
            member.create_system = _UNIX
            archive.writestr(member, array.getvalue())
    return out.getvalue()
