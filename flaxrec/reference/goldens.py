"""Reads golden numbers of the reference: files NAME.npz and NAME.json for each configuration."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from flaxrec.config import Config
from flaxrec.data.spec import ModelSpec
from flaxrec.errors import DataError
from flaxrec.files.schemas import Reader
from flaxrec.reference.distances import Missing, note
from flaxrec.reference.input_config import to_config, to_spec

METRICS_CASES = "metrics_cases"  # the pair of files without a configuration


@dataclasses.dataclass(frozen=True)
class Golden:
    """One configuration with the numbers that the reference computed for it.

    Attributes:
      name: of the files.
      config: ours for the same model, in reference mode.
      spec: its inputs and candidates.
      arrays: of the .npz, by key.
      notes: content of the .json.
    """

    name: str
    config: Config
    spec: ModelSpec
    arrays: dict[str, np.ndarray]
    notes: dict[str, Any]

    def array(self, key: str) -> np.ndarray:
        """An array of the .npz; raises Missing if there is none."""
        if key not in self.arrays:
            raise Missing(key)
        return self.arrays[key]

    def note(self, key: str) -> Any:
        """A value of the .json; raises Missing if there is none."""
        return note(self.notes, key)

    def under(self, prefix: str) -> dict[str, np.ndarray]:
        """Arrays whose key starts with 'prefix/', by the rest of the key; 'w' holds the weights.

        Raises Missing if there are none.
        """
        start = prefix + "/"
        found = {k.removeprefix(start): v for k, v in self.arrays.items() if k.startswith(start)}
        if not found:
            raise Missing(prefix)
        return found

    @property
    def features(self) -> dict[str, np.ndarray]:
        """The model's inputs, [B, length] by name."""
        return {spec.name: self.array(f"in/{spec.name}") for spec in self.spec.inputs}

    @property
    def labels(self) -> np.ndarray:
        """The labels, int32 [B]."""
        return self.array("labels")[:, 0]


def names(folder: Path) -> list[str]:
    """Names of the configurations in a folder; raises DataError if there is none."""
    files = [path for path in folder.iterdir() if path.suffix in (".npz", ".json", ".tfrecord")]
    found = sorted({path.stem for path in files})
    found = [name for name in found if name != METRICS_CASES]
    if not found:
        raise DataError(f"{folder} holds no golden; name a folder with NAME.npz and NAME.json.")
    return found


def load(folder: Path, name: str) -> Golden:
    """Loads the golden NAME of a folder.

    Raises:
      DataError: a file is missing or damaged, or does not describe the model.
      ConfigError: flaxrec has no such model.
    """
    arrays, notes = load_files(folder, name)
    try:
        inputs, model = notes["input_config"], notes["model_config"]
        config = to_config(inputs, model, notes.get("optimizer"))
        spec = to_spec(inputs)
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{folder / name}.json does not describe a model ({error!r}); it needs input_config "
            "and model_config as the reference has them."
        ) from error
    config.name = name
    return Golden(name, config, spec, arrays, notes)


def load_files(folder: Path, name: str) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Arrays of NAME.npz and content of NAME.json; raises DataError if either cannot be read."""
    reader = Reader(DataError, "copy it again")
    return reader.arrays(folder / f"{name}.npz"), reader.object(
        folder / f"{name}.json", dict[str, Any]
    )


def as_record(example: Mapping[str, list]) -> dict[str, list]:
    """Turns an example of a JSON file into that of a TFRecord, where text is bytes."""
    return {
        name: [v.encode() if isinstance(v, str) else v for v in values]
        for name, values in example.items()
    }
