"""The run folder: config, metrics, TensorBoard, and the assets that an export needs.

config.json  metrics.jsonl  checkpoints/  tensorboard/  assets/  per_label/  export/
"""

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
import polars as pl

from flaxrec import config as config_lib
from flaxrec.config import Config
from flaxrec.data.spec import ModelSpec
from flaxrec.data.vocabulary import Vocabulary
from flaxrec.errors import ConfigError, TrainingError
from flaxrec.files import read_jsonl, write_jsonl

try:
    import fcntl
except ImportError:  # not on Windows: there the folder is not locked
    fcntl = None  # type: ignore[assignment]


class Workdir:
    """Paths of a run folder, and its config."""

    def __init__(self, path: str | os.PathLike):
        self.path = Path(path)
        self.config_file = self.path / "config.json"
        self.metrics_file = self.path / "metrics.jsonl"
        self.checkpoints = self.path / "checkpoints"
        self.tensorboard = self.path / "tensorboard"
        self.assets = self.path / "assets"
        self.judged = self.assets / "judged"
        self.per_label = self.path / "per_label"
        self.export = self.path / "export"

    def check(self, config: Config) -> None:
        """Checks that the folder is this config's run, or free for it; changes nothing.

        Raises:
          TrainingError: the folder holds a run of another config, or something else.
        """
        if self.config_file.exists():
            different = config_lib.differences(self.read_config(), config)
            if different:
                raise TrainingError(
                    f"{self.path} holds a run with another config (config."
                    f"{', config.'.join(different)}); use another --workdir or remove the folder."
                )
            return
        if self.path.exists() and (not self.path.is_dir() or self._foreign_files()):
            raise TrainingError(
                f"{self.path} exists and is not a run of flaxrec; use another --workdir."
            )

    def claim(self, config: Config) -> None:
        """Makes the folder this config's run, if it is not yet; raises TrainingError as `check`."""
        self.check(config)
        if self.config_file.exists():
            return
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            write_atomically(self.config_file, config_lib.to_json(config))
        except OSError as error:
            raise TrainingError(
                f"The workdir {self.path} cannot be written ({error.strerror}); use another."
            ) from error

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Keeps the folder to one training process; the system frees it when that ends or dies.

        Raises:
          TrainingError: another process trains in it.
        """
        with open(self.config_file, "rb") as file:
            lock(file, self.path)
            yield

    def _foreign_files(self) -> bool:
        # A run killed while it wrote its config leaves that file's beginning aside.
        return any(not p.name.startswith(".config.json.") for p in self.path.iterdir())

    def read_config(self) -> Config:
        """The config of the run; raises TrainingError if there is none."""
        if not self.config_file.exists():
            above = self.path.absolute().parent
            is_inside = (above / self.config_file.name).exists()
            hint = f"give the folder above, {above}" if is_inside else "give the folder of a run"
            raise TrainingError(
                f"{self.path} is not a run of flaxrec: it has no config.json; {hint}."
            )
        try:
            return config_lib.from_json(self.config_file.read_text(encoding="utf-8"))
        except ConfigError as error:
            raise ConfigError(
                f"{self.config_file} cannot be read: {error} Restore the file, or use another "
                "--workdir."
            ) from error

    def read_metrics(self) -> list[dict[str, Any]]:
        """The rows of metrics.jsonl; raises TrainingError if there are none or one is torn."""
        try:
            return read_jsonl(self.metrics_file)
        except (FileNotFoundError, json.JSONDecodeError) as error:
            raise TrainingError(
                f"{self.metrics_file} is missing or was cut off ({error}); run train_main.py on "
                f"{self.path} again."
            ) from error

    def read_histories(self) -> list[dict[str, Any]]:
        """Sample histories with the labels that followed, see `write_assets`."""
        return read_jsonl(self.assets / "histories.jsonl")


def lock(file: IO, folder: Path) -> None:
    """Locks an open file of a folder, until it is closed or the process dies.

    Raises:
      TrainingError: another process has locked it.
    """
    if fcntl is None:
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise TrainingError(
            f"Another process trains in {folder}; wait for it, or use another --workdir."
        ) from error


@contextlib.contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """A folder to fill, which replaces `folder` when the block ends well: whole or not at all."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    for left_behind in folder.parent.glob(f".{folder.name}.*"):  # by a run that was killed here
        shutil.rmtree(left_behind, ignore_errors=True)
    aside = folder.with_name(f".{folder.name}.{os.getpid()}")
    aside.mkdir()
    yield aside
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(aside, folder)


def write_atomically(path: Path, text: str) -> None:
    """Writes aside, then renames: a reader sees the old file or the whole new one."""
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    aside.write_text(text, encoding="utf-8")
    os.replace(aside, path)


# ---- metrics --------------------------------------------------------------------------------


class MetricsLog:
    """metrics.jsonl and TensorBoard.

    Args:
      workdir: the run.
      keep_bytes: cut metrics.jsonl back to this length, that of the checkpoint resumed from.
      step: hide what TensorBoard shows of later steps.
    """

    def __init__(self, workdir: Workdir, keep_bytes: int, step: int):
        self._file = open(workdir.metrics_file, "ab")  # noqa: SIM115
        self._file.truncate(min(keep_bytes, workdir.metrics_file.stat().st_size))
        self._file.seek(0, os.SEEK_END)
        self._writer = None
        try:
            from tensorboardX import SummaryWriter  # slow to import, and optional
        except ImportError:
            return
        self._writer = SummaryWriter(str(workdir.tensorboard), purge_step=step + 1)

    def write(self, row: dict[str, Any]) -> None:
        """Appends one row, to disk before it returns."""
        self._file.write((json.dumps(row) + "\n").encode())
        self._file.flush()
        os.fsync(self._file.fileno())
        if self._writer is not None:
            for name, value in row["metrics"].items():
                tag = name.replace("@", "_at_")
                self._writer.add_scalar(f"{row['split']}/{tag}", value, row["step"])

    @property
    def bytes(self) -> int:
        """Length of metrics.jsonl."""
        return self._file.tell()

    def close(self) -> None:
        """Closes both files."""
        self._file.close()
        if self._writer is not None:
            self._writer.close()


# ---- assets: what an export needs of the data -------------------------------------------------


def write_assets(
    folder: Path,
    spec: ModelSpec,
    vocabularies: dict[str, Vocabulary],
    items: pl.DataFrame,
    contexts: dict[str, np.ndarray],
    histories: list[dict[str, Any]],
    judged: dict[str, dict[str, np.ndarray]],
) -> None:
    """Writes what an export needs, whole or not at all.

    Args:
      folder: made by this function.
      spec: goes into spec.json.
      vocabularies: by name, into vocabularies/NAME.txt.
      items: one row an item, into items.jsonl.
      contexts: sample inputs of the graph, [n, length] by name, into contexts.npz.
      histories: the same contexts in the user's own ids, into histories.jsonl: `user` (id and
        features), `activities` (oldest first) and `label`.
      judged: by split, inputs of the graph [n, length] by name and `label`, int32 [n], the rows of
        the items that followed; into judged/SPLIT.npz.
    """
    with whole_folder(folder) as aside:
        (aside / "vocabularies").mkdir()
        (aside / "spec.json").write_text(spec.to_json(), encoding="utf-8")
        for name, vocabulary in vocabularies.items():
            vocabulary.write(aside / "vocabularies" / f"{name}.txt")
        table = items.rename({"item": "id"}).drop("row")
        write_jsonl(aside / "items.jsonl", table.iter_rows(named=True))
        write_jsonl(aside / "histories.jsonl", histories)
        np.savez_compressed(aside / "contexts.npz", **contexts)  # type: ignore[arg-type]
        (aside / "judged").mkdir()
        for split, arrays in judged.items():
            file = aside / "judged" / f"{split}.npz"
            np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
