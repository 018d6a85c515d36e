"""A starter's folder, whole or not at all; its bytes depend on nothing but the starter."""

import io
import json
import zipfile
from pathlib import Path

import numpy as np

from flaxrec import config as config_lib
from flaxrec.errors import ExportError, write_errors_as
from flaxrec.files import whole_folder
from flaxrec.starters import card
from flaxrec.starters.folder import CARD, CONFIG, FIGURES, SPEC, WEIGHTS, Starter

_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time that a zip archive can hold
_UNIX = 3


def write(starter: Starter, folder: Path) -> None:
    """Writes the folder, in the place of one that is there; raises ExportError if it cannot."""
    with write_errors_as(ExportError, folder), whole_folder(folder) as aside:
        (aside / "vocabularies").mkdir()
        for path, content in files_of(starter).items():
            (aside / path).write_bytes(content)


def files_of(starter: Starter) -> dict[str, bytes]:
    """Content of every file by its path in the folder."""
    files = {
        WEIGHTS: _npz(starter.weights),
        CONFIG: config_lib.to_json(starter.config).encode(),
        SPEC: starter.spec.to_json().encode(),
        FIGURES: (json.dumps(starter.figures, indent=2) + "\n").encode(),
        CARD: card.render(starter).encode(),
    }
    for name, vocabulary in starter.vocabularies.items():
        text = "".join(f"{entry}\n" for entry in vocabulary.entries)
        files[f"vocabularies/{name}.txt"] = text.encode()
    return files


def _npz(arrays: dict[str, np.ndarray]) -> bytes:
    """As `np.savez`, which would write the time into it; not compressed: noise hardly shrinks."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name in sorted(arrays):
            array = io.BytesIO()
            np.lib.format.write_array(array, np.ascontiguousarray(arrays[name]))
            member = zipfile.ZipInfo(f"{name}.npy", _EPOCH)
            member.create_system = _UNIX
            archive.writestr(member, array.getvalue())
    return out.getvalue()
