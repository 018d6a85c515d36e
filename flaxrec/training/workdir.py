"""The run folder: config, metrics and TensorBoard.

config.json  data.json  dropped_rows.csv  metrics.jsonl  checkpoints/  tensorboard/  assets/
per_label/  export/
"""

import contextlib
import functools
import hashlib
import json
import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NotRequired, TypedDict

from flaxrec import config as config_lib
from flaxrec import files
from flaxrec.config import Config
from flaxrec.data.dataset import Dataset
from flaxrec.errors import ConfigError, DiskError, TrainingError, write_errors_as
from flaxrec.files.reading import read_bytes
from flaxrec.files.schemas import Count, Reader
from flaxrec.training.loggers import Logger
from flaxrec.training.run_assets import RunAssets
from flaxrec.training.tensorboard import TensorBoard

# A row of metrics.jsonl with one of these is of counts, or of the model as it was tested.
BESIDE = {"baseline", "transitions_weight"}

# Sections of a config that say what the parameters are of; the data have their own checksum.
# What was set by hand has been decided, and other flags may name the same run; loggers only listen,
# how soon a run ends after a signal changes nothing that it computes, and checkpoints hold whole
# tables.
_MAY_DIFFER = ("set_by_hand", "train.loggers", "train.grace_seconds", "train.model_shards")

_OF_THE_MODEL = ("reference_mode", "split", "model")


class MetricsRow(TypedDict):
    """A row of metrics.jsonl."""

    step: Count
    epoch: Count
    split: Literal["train", "validation", "test", "cold"]
    protocol: str
    metrics: dict[str, float]
    labels: NotRequired[dict[str, float | None]]
    asked: NotRequired[str | None]
    sampled_from: NotRequired[int]
    baseline: NotRequired[str]
    transitions_weight: NotRequired[float]


class Workdir:
    """Paths of a run folder, and its config."""

    def __init__(self, path: str | os.PathLike):
        self.path = Path(path)
        self.config_file = self.path / "config.json"
        self.account_file = self.path / "data.json"
        self.dropped_rows_file = self.path / "dropped_rows.csv"
        self.metrics_file = self.path / "metrics.jsonl"
        self.checkpoints = self.path / "checkpoints"
        self.tensorboard = self.path / "tensorboard"
        self.assets = self.path / "assets"
        self.judged = self.assets / "judged"
        self.per_label = self.path / "per_label"
        self.export = self.path / "export"
        for folder in (self.assets, self.per_label, self.export):
            files.recover(folder)

    @property
    def has_checkpoint(self) -> bool:
        """Whether there is a state to resume from, perhaps a damaged one."""
        return any(path.name.isdecimal() for path in (self.checkpoints / "latest").glob("*"))

    def check(self, config: Config) -> None:
        """Checks that the folder is this config's run or is free; changes nothing.

        Raises:
          TrainingError: the folder holds a run of another config, or something else.
        """
        if self.config_file.exists():
            different = config_lib.differences(self.read_config(), config)
            if different := [path for path in different if path not in _MAY_DIFFER]:
                raise TrainingError(
                    f"{self.path} holds a run with another config (config."
                    f"{', config.'.join(different)}); use another --workdir or remove the folder."
                )
            return
        # A run killed while it wrote its config leaves a partial .config.json.PID.
        if self.path.exists() and not (
            self.path.is_dir()
            and all(p.name.startswith(".config.json.") for p in self.path.iterdir())
        ):
            raise TrainingError(
                f"{self.path} exists and is not a run of flaxrec; use another --workdir."
            )

    def claim(self, config: Config) -> None:
        """Makes the folder this config's run, if necessary; raises TrainingError like `check`."""
        self.check(config)
        if self.config_file.exists():
            return
        with write_errors_as(DiskError, self.path, "use another --workdir"):
            self.path.mkdir(parents=True, exist_ok=True)
            files.write_text(self.config_file, config_lib.to_json(config))

    def check_claimed(self, config: Config) -> None:
        """Checks that this process sees what the first one of the run claimed; raises likewise."""
        if not self.config_file.exists():
            raise TrainingError(
                f"A process of this run does not see {self.config_file}, which the first one wrote;"
                " give a --workdir that all of them share."
            )
        self.check(config)

    def write_account(self, dataset: Dataset) -> None:
        """Keeps the account of the data, if there is one, and rows that the reader left out."""
        account, bad_rows = dataset.timelines.account, dataset.bad_rows
        if account:
            content = {"source": dataset.timelines.report["source"], **account.to_json()}
            content["warnings"] = account.warnings()
            files.write_text(self.account_file, json.dumps(content, indent=2) + "\n")
        if bad_rows is not None and len(bad_rows):
            files.write_text(self.dropped_rows_file, bad_rows.write_csv())

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Allows only one training process in the folder; the lock is freed when it ends or dies.

        Warns once where nothing can be locked, and goes on.

        Raises:
          TrainingError: another process trains in it.
        """
        writable = os.access(self.config_file, os.W_OK)  # NFS locks what is open for writing
        with open(self.config_file, "r+b" if writable else "rb") as file:
            try:
                locked = files.lock(file)
            except BlockingIOError as error:
                raise occupied(self.path) from error
            if not locked:
                _warn_of_no_locks()
            yield

    def read_config(self) -> Config:
        """The config of the run; raises TrainingError if there is none."""
        if not self.config_file.exists():
            above = self.path.absolute().parent
            is_inside = (above / self.config_file.name).exists()
            hint = f"give the folder above, {above}" if is_inside else "give the folder of a run"
            raise TrainingError(
                f"{self.path} is not a run of flaxrec: it has no config.json; {hint}."
            )
        remedy = "restore the file, or use another --workdir"
        content = read_bytes(self.config_file, ConfigError, remedy)
        try:
            return config_lib.from_json(content.decode())
        except (ConfigError, UnicodeDecodeError) as error:
            why = str(error).rstrip(".")
            raise ConfigError(f"{self.config_file} cannot be read: {why}; {remedy}.") from error

    def identity(self, fingerprint: str) -> str:
        """What parts of this run have in common: a SHA-256 of model, split and data.

        Args:
          fingerprint: of the data, `Timelines.fingerprint`.
        """
        kept = json.loads(config_lib.to_json(self.read_config()))
        sections = [kept[name] for name in _OF_THE_MODEL] + [kept.get("code", {}).get("sha256")]
        text = json.dumps([*sections, fingerprint], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def check_parts(self, run: str, fingerprint: str) -> None:
        """Checks that config and assets are of the run that a checkpoint is of.

        Args:
          run: from the checkpoint's notes; '': it is of an earlier version and does not say it.
          fingerprint: likewise.

        Raises:
          TrainingError: the config is of another model, or other data or labels.
          ExportError: the assets are.
        """
        if not run:
            return
        if run != self.identity(fingerprint):
            raise TrainingError(
                f"{self.config_file} is not what {self.checkpoints} were trained with; restore the "
                "file, or train in a new workdir."
            )
        RunAssets(self.assets).check_run(run)

    def check_metrics(self, kept_bytes: int) -> None:
        """Checks metrics.jsonl before rows are appended; warns if rows are gone.

        Args:
          kept_bytes: its length when the run was saved.

        Raises:
          TrainingError: a row cannot be used.
        """
        size = self.metrics_file.stat().st_size if self.metrics_file.is_file() else 0
        if size < kept_bytes:
            logging.warning("%s was cut off: rows of earlier epochs are lost.", self.metrics_file)
        elif kept_bytes:
            self._reader.rows(self.metrics_file, MetricsRow, of_log=True, most_bytes=kept_bytes)

    def read_metrics(self) -> list[dict[str, Any]]:
        """The model's rows of metrics.jsonl; raises TrainingError if it cannot be used."""
        return [row for row in self._rows() if "baseline" not in row]

    def read_baselines(self) -> list[dict[str, Any]]:
        """The rows of counting baselines, which name theirs as `baseline`; raises likewise."""
        return [row for row in self._rows() if "baseline" in row]

    def _rows(self) -> list[dict[str, Any]]:
        return self._reader.rows(self.metrics_file, MetricsRow, of_log=True)

    @property
    def _reader(self) -> Reader:
        again = f"restore it, or remove it and run train_main.py on {self.path} again"
        return Reader(TrainingError, again)

    def read_histories(self) -> list[dict[str, Any]]:
        """Sample contexts in the data's own ids with their labels, see `RunAssets.write`."""
        return RunAssets(self.assets).histories()


@functools.cache  # once a process: a sweep has many runs
def _warn_of_no_locks() -> None:
    logging.warning("Run folders cannot be locked here; let no two processes train in one.")


def occupied(folder: Path) -> TrainingError:
    """The error for a folder locked by another process."""
    return TrainingError(
        f"Another process trains in {folder}; wait for it, or use another --workdir."
    )


# ---- metrics --------------------------------------------------------------------------------


class NoLog:
    """In the place of `MetricsLog` where another process of the run writes it."""

    bytes = 0

    def write(self, *rows: dict[str, Any]) -> None:
        """Writes nothing."""


class MetricsLog:
    """metrics.jsonl and TensorBoard.

    Args:
      workdir: the run.
      keep_bytes: cut metrics.jsonl to this length, that of the resumed checkpoint.
      step: hide later steps in TensorBoard.
      loggers: get each row, too; this closes them.

    Raises:
      DiskError: a file cannot be written; here or later.
    """

    def __init__(
        self, workdir: Workdir, keep_bytes: int, step: int, loggers: Sequence[Logger] = ()
    ):
        self._loggers = loggers
        self._log = files.JsonLog(workdir.metrics_file, keep_bytes)
        self._tensorboard = None
        with contextlib.suppress(ImportError):
            self._tensorboard = TensorBoard(workdir.tensorboard, step)

    def write(self, *rows: dict[str, Any]) -> None:
        """Appends rows and syncs them to disk; TensorBoard gets the model's of epochs and test."""
        self._log.write(*rows)
        for logger in self._loggers:
            for row in rows:
                logger.log(row)
        if self._tensorboard is None:
            return
        for row in (row for row in rows if not BESIDE & set(row)):
            values = row["metrics"].items()
            scalars = ((f"{row['split']}/{name.replace('@', '_at_')}", v) for name, v in values)
            self._tensorboard.write(row["step"], scalars)

    @property
    def bytes(self) -> int:
        """Length of metrics.jsonl in bytes."""
        return self._log.bytes

    def close(self) -> None:
        """Closes both files, and the loggers."""
        self._log.close()
        if self._tensorboard is not None:
            self._tensorboard.close()
        for logger in self._loggers:
            logger.close()
