"""Golden numbers of the reference: files NAME.npz and NAME.json, one pair a configuration."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np

from flaxrec.config import Config
from flaxrec.errors import DataError
from flaxrec.features import ModelSpec
from flaxrec.reference.input_config import to_config, to_spec


@dataclasses.dataclass(frozen=True)
class Golden:
    """One configuration with the numbers that the reference computed for it.

    Attributes:
      name: of the files.
      config: ours for the same model, in reference mode.
      spec: its inputs and candidates.
      arrays: what the .npz holds, by key.
      notes: what the .json holds.
    """

    name: str
    config: Config
    spec: ModelSpec
    arrays: dict[str, np.ndarray]
    notes: dict[str, Any]

    def under(self, prefix: str) -> dict[str, np.ndarray]:
        """Arrays whose key starts with 'prefix/', by the rest of the key: weights under 'w'."""
        start = prefix + "/"
        return {k.removeprefix(start): v for k, v in self.arrays.items() if k.startswith(start)}

    @property
    def features(self) -> dict[str, np.ndarray]:
        """The model's inputs, [B, length] by name."""
        return {spec.name: self.arrays[f"in/{spec.name}"] for spec in self.spec.inputs}

    @property
    def labels(self) -> np.ndarray:
        """int32 [B]."""
        return self.arrays["labels"][:, 0]


def names(folder: Path) -> list[str]:
    """Names of the configurations in a folder; raises DataError if there is none."""
    found = sorted(p.stem for p in folder.glob("*.tfrecord") if p.with_suffix(".npz").exists())
    if not found:
        raise DataError(f"{folder} holds no golden (NAME.npz, NAME.json and NAME.tfrecord).")
    return found


def load(folder: Path, name: str) -> Golden:
    """The golden NAME of a folder."""
    notes = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
    with np.load(folder / f"{name}.npz") as archive:
        arrays = dict(archive)
    config = to_config(notes["input_config"], notes["model_config"], notes.get("optimizer"))
    config.name = name
    return Golden(name, config, to_spec(notes["input_config"]), arrays, notes)
