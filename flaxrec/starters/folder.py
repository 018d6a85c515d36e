"""Reads and writes models/NAME/, the folder of a starter model.

weights.npz (float16)  config.json  spec.json  vocabularies/NAME.txt  figures.json  card.md

It holds only ids and weights: no titles, counts or other data of single items. A genre input needs
the names of the genres, as its rows have no meaning without them.
"""

import dataclasses
import io
import json
import logging
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from flaxrec import config as config_lib
from flaxrec.config import Config
from flaxrec.config.loading import shipped
from flaxrec.data import moments
from flaxrec.data.spec import ModelSpec
from flaxrec.data.timelines import ITEM
from flaxrec.data.vocabulary import Vocabulary
from flaxrec.errors import ConfigError, ExportError, printable, shown, write_errors_as
from flaxrec.exporting import serving
from flaxrec.files import inside, whole_folder
from flaxrec.files.archives import DamagedError
from flaxrec.files.json_schema import misfit
from flaxrec.files.npz import read_npz
from flaxrec.files.reading import read_bytes
from flaxrec.files.strict_json import parse_json
from flaxrec.files.sums import sum_of
from flaxrec.starters import card
from flaxrec.starters import folder_schema as schema
from flaxrec.training.validation import validate

MODELS = shipped("models")
WEIGHTS, CONFIG, SPEC = "weights.npz", "config.json", "spec.json"
FACTS, CARD, VOCABULARY = "figures.json", "card.md", "vocabularies/{}.txt"
_REMEDY = "restore it, for example by git checkout"
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
      ExportError: a file is missing, damaged, outside the folder or not the one that was packed, or
        the weights are not finite or do not fit the config.
    """
    facts = _json(folder, FACTS, _content(folder, FACTS), schema.FACTS)
    noted = facts.pop("files", None)
    if noted is None:
        logging.warning(
            "%s does not note which files belong to it, as version 0.1.0 did not; only their "
            "shapes are compared.",
            printable(str(folder / FACTS)),
        )

    def content(name: str) -> bytes:
        found = _content(folder, name)
        if noted is not None and noted.get(name) != sum_of(found):
            raise _damaged(folder, f"{name} is not the file that was packed: its SHA-256 differs")
        return found

    spec_text = content(SPEC)
    _json(folder, SPEC, spec_text, schema.SPEC)
    spec = ModelSpec.from_json(spec_text.decode())
    try:
        config = validate(config_lib.from_json(content(CONFIG).decode()))
    except (ConfigError, UnicodeDecodeError) as error:
        raise _damaged(folder, f"{CONFIG}: {error}") from error
    content(WEIGHTS)
    try:
        weights = read_npz(folder / WEIGHTS)
    except (OSError, DamagedError) as error:
        raise _damaged(folder, f"{WEIGHTS}: {error}") from error
    found = {ITEM, *(i.vocabulary for i in spec.inputs if i.vocabulary)}
    vocabularies = {
        name: Vocabulary.parse(content(file), folder / file, ExportError, _REMEDY)
        for name in sorted(found)
        for file in [VOCABULARY.format(name)]
    }
    _check_weights(folder, config, spec, weights)
    _check_rows(folder, spec, vocabularies)
    return Starter(config, spec, weights, vocabularies, facts)


def _content(folder: Path, name: str) -> bytes:
    return read_bytes(inside(folder, name, folder), ExportError, _REMEDY)


def _json(folder: Path, name: str, content: bytes, own: dict[str, Any]) -> Any:
    """The value of a file, which fits its schema."""
    value = parse_json(content, folder / name, ExportError, _REMEDY)
    if wrong := misfit(value, own):
        raise _damaged(folder, f"{name}: {wrong}")
    return value


def _check_weights(
    folder: Path, config: Config, spec: ModelSpec, weights: dict[str, np.ndarray]
) -> None:
    """Raises ExportError unless they are the model's, in shape and type, and finite."""
    have = {name: f"{array.dtype} {list(array.shape)}" for name, array in weights.items()}
    told = [
        (f.name, f.source) for _, group in config_lib.groups(config.model) for f in group.features
    ]
    if sorted(told) != sorted((i.name, i.source) for i in spec.inputs):
        raise _damaged(folder, f"{CONFIG} and {SPEC} have other inputs")
    shapes = serving.structure_of(config, spec).shapes
    want = {name: f"float16 {list(shape.shape)}" for name, shape in shapes.items()}
    for name in sorted(have.keys() | want.keys()):
        if have.get(name) != want.get(name):
            raise _damaged(
                folder,
                f"{WEIGHTS} has {have.get(name, 'nothing')} for {shown(name)[1:-1]}, where "
                f"{CONFIG} and {SPEC} ask for {want.get(name, 'nothing')}",
            )
        if not np.isfinite(weights[name]).all():
            raise _damaged(folder, f"the weights {shown(name)} are not all finite numbers")


def _check_rows(folder: Path, spec: ModelSpec, vocabularies: dict[str, Vocabulary]) -> None:
    """Raises ExportError unless the vocabularies have a line for every row."""
    rows = len(vocabularies[ITEM].entries)
    if rows != spec.first_candidate + spec.candidates:
        raise _damaged(folder, f"{rows} lines for {spec.candidates} items in vocabularies/item.txt")
    for one in spec.inputs:
        if one.vocabulary and one.vocabulary != ITEM:
            lines = len(vocabularies[one.vocabulary].entries)
            if lines + 1 != one.rows:
                file = VOCABULARY.format(one.vocabulary)
                raise _damaged(folder, f"{lines} lines for {one.rows} rows in {file}")


def _damaged(folder: Path, why: object) -> ExportError:
    reason = " ".join(str(why).split()).rstrip(".")
    return ExportError(f"The starter {folder} is damaged ({reason}); {_REMEDY}.")


# ---- writing --------------------------------------------------------------------------------


def write(starter: Starter, folder: Path) -> None:
    """Writes or replaces the folder; raises ExportError if it cannot."""
    with write_errors_as(ExportError, folder), whole_folder(folder) as new:
        (new / "vocabularies").mkdir()
        for path, content in files_of(starter).items():
            (new / path).write_bytes(content)


def files_of(starter: Starter) -> dict[str, bytes]:
    """Content of every file by its path in the folder; it depends only on the starter."""
    texts = {CONFIG: config_lib.to_json(starter.config), SPEC: starter.spec.to_json()}
    for name, vocabulary in starter.vocabularies.items():
        texts[VOCABULARY.format(name)] = "".join(f"{entry}\n" for entry in vocabulary.entries)
    files = {WEIGHTS: _npz(starter.weights)} | {path: t.encode() for path, t in texts.items()}
    facts = starter.facts | {"files": {path: sum_of(content) for path, content in files.items()}}
    files[FACTS] = (json.dumps(facts, indent=2) + "\n").encode()
    return files | {CARD: card.render(starter).encode()}


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
