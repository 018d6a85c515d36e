"""Checkpoints: the latest state to resume from and, separately, the best parameters to use.

The latest is written before the best. If a run is killed in between, the latest checkpoint's notes
say that its parameters are the best, and resuming writes them again.
"""

import contextlib
import dataclasses
import functools
import json
import logging
import os
import sys
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypedDict, TypeVar

import jax
import numpy as np
import orbax.checkpoint as ocp

from flaxrec import files
from flaxrec.errors import DiskError, TrainingError, system_error, write_errors_as
from flaxrec.files import plain_path
from flaxrec.files.json_lines import CHECKSUM, checksum_of
from flaxrec.files.schemas import Count, Reader
from flaxrec.models.dual_encoder import Params
from flaxrec.training import processes

_REMEDY = "use another --workdir"
_ARRAYS = "arrays"  # in notes: CRC-32 of the arrays that were saved with them
_TOWER = "tower"  # in notes: that of the label tower's
_T = TypeVar("_T")


class Origin(TypedDict):
    """The run that another began with, config.train.warm_start, as its best checkpoint was then."""

    name: str  # config.name
    run: str  # `Workdir.identity`; '' of an earlier version
    step: Count
    config_sha256: str


@dataclasses.dataclass(frozen=True)
class BestNotes:
    """Notes of the best parameters.

    Attributes:
      step: of the checkpoint.
      epoch: that it ended.
      metric: config.train.select_metric; 0 without validation labels.
      fingerprint, run: as in `notes.Notes`; '' of an earlier version.
      origin: likewise.
    """

    step: Count
    epoch: Count = 0
    metric: float = 0.0
    fingerprint: str = ""
    run: str = ""
    origin: Origin | None = None


class _Manager(ocp.CheckpointManager):
    """Orbax's, without a look at JAX's listener for signals, which `processes` turns off."""

    def reached_preemption(self, step: int) -> bool:
        """Never: the run looks for signals itself."""
        del step
        return False


class Checkpoints:
    """WORKDIR/checkpoints: one Orbax manager for the latest state, one for the best parameters.

    What cannot be written is a DiskError; checkpoints from before stay.
    """

    def __init__(self, folder: str | os.PathLike, *, create: bool = True):
        self._folder = Path(folder).absolute()
        if not create and not self._folder.is_dir():
            raise TrainingError(f"There are no checkpoints in {self._folder.parent}; train first.")
        if processes.is_first():
            self._check_files()
        options = ocp.CheckpointManagerOptions(
            max_to_keep=1, create=create, enable_async_checkpointing=False
        )
        with contextlib.ExitStack() as opening:
            if create:
                with write_errors_as(DiskError, self._folder, _REMEDY):
                    self._folder.mkdir(parents=True, exist_ok=True)
            self._link = opening.enter_context(plain_path(self._folder))
            with self._told():
                self._latest = _Manager(self._link / "latest", options=options)
                self._best = _Manager(self._link / "best", options=options)
            self._open = opening.pop_all()

    @property
    def latest_step(self) -> int | None:
        """Step of the latest checkpoint; None if there is none. Raises as `restore_latest`."""
        return self._step(self._latest)

    @property
    def best_step(self) -> int | None:
        """Step of the best checkpoint; None if there is none. Raises as `restore_best`."""
        return self._step(self._best)

    def save_latest(self, step: int, state: Any, notes: dict[str, Any]) -> None:
        """Saves a pytree of arrays, and notes for JSON.

        If this step is the latest already, as that of an epoch whose validation was interrupted,
        the state is the same, and only the notes are new.
        """
        if step == self.latest_step:
            notes_file = self._folder / "latest" / str(step) / "notes" / "metadata"
            with processes.together():
                if processes.is_first():
                    files.write_text(notes_file, json.dumps(_summed(notes, state)))
            return
        args = ocp.args.Composite(
            state=ocp.args.StandardSave(state), notes=ocp.args.JsonSave(_summed(notes, state))
        )
        self._save(self._latest, step, args)

    def latest_notes(self, schema: type[_T] = dict) -> _T:  # type: ignore[assignment]
        """The latest checkpoint's notes, by their schema, without its state."""
        args = ocp.args.Composite(notes=ocp.args.JsonRestore())
        where, restored = self._restore(self._latest, args)
        return _notes(restored["notes"], schema, where)

    def restore_latest(self, template: Any) -> tuple[Any, dict[str, Any]]:
        """The state, in the shapes and shardings of `template`, and the notes."""
        args = ocp.args.Composite(
            state=ocp.args.StandardRestore(template), notes=ocp.args.JsonRestore()
        )
        where, restored = self._restore(self._latest, args)
        state = _checked(restored["state"], restored["notes"], where)
        return state, _notes(restored["notes"], dict, where)

    def save_best(
        self, step: int, params: Params, notes: dict[str, Any], tower: Params | None = None
    ) -> None:
        """Saves parameters; does nothing if this step is the best already.

        `tower` are those of the label tower, whose sums `params` hold.
        """
        if step != self.best_step:
            of_tower = {_TOWER: _sum(tower)} if tower else {}
            parts = {
                "params": ocp.args.StandardSave(params),
                "notes": ocp.args.JsonSave(_summed(notes | of_tower, params)),
            }
            if tower:
                parts["tower"] = ocp.args.StandardSave(tower)
            self._save(self._best, step, ocp.args.Composite(**parts))

    def restore_best(
        self,
        shapes: dict[str, jax.ShapeDtypeStruct],
        sharding: jax.sharding.Sharding,
        schema: type[_T] = dict,  # type: ignore[assignment]
    ) -> tuple[Params, _T]:
        """The best parameters, placed by their shape's sharding or `sharding`, and their notes.

        Raises:
          TrainingError: there are none, they cannot be read, or they do not fit `shapes`.
        """
        template = _template(shapes, sharding)
        args = ocp.args.Composite(
            params=ocp.args.StandardRestore(template), notes=ocp.args.JsonRestore()
        )
        where, restored = self._restore(self._best, args)
        params = _checked(restored["params"], restored["notes"], where)
        return params, _notes(restored["notes"], schema, where)

    def _step(self, manager: ocp.CheckpointManager) -> int | None:
        """The newest step; raises TrainingError where orbax passes it over as not finished."""
        step, folder = manager.latest_step(), Path(manager.directory)
        found = [int(path.name) for path in folder.glob("[0-9]*") if path.name.isdecimal()]
        if found and max(found) != step:
            raise TrainingError(
                f"The checkpoint {self._folder / folder.name / str(max(found))} is not whole; "
                "restore the folder, or train in a new workdir."
            )
        return step

    def restore_tower(
        self, shapes: dict[str, jax.ShapeDtypeStruct], sharding: jax.sharding.Sharding
    ) -> Params:
        """The best parameters of the label tower; raises as `restore_best`."""
        args = ocp.args.Composite(
            tower=ocp.args.StandardRestore(_template(shapes, sharding)),
            notes=ocp.args.JsonRestore(),
        )
        where, restored = self._restore(self._best, args)
        _notes(restored["notes"], dict, where)
        return _checked(restored["tower"], restored["notes"], where, _TOWER)

    def close(self) -> None:
        """Closes the checkpoint managers."""
        self._latest.close()
        self._best.close()
        self._open.close()

    def _save(self, manager: ocp.CheckpointManager, step: int, args: ocp.args.Composite) -> None:
        with self._told():
            manager.save(step, args=args, force=True)

    def _check_files(self) -> None:
        """Raises TrainingError for a pipe: Orbax would wait for its other end."""
        for path in self._folder.rglob("*"):
            with contextlib.suppress(PermissionError):
                if path.is_file() or path.is_dir():
                    continue
                raise TrainingError(
                    f"{path} is no file, but a pipe or a link to nothing; restore the folder, or "
                    "train in a new workdir."
                )

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """What the disk refuses is a DiskError; Orbax does not print its threads' tracebacks."""
        _leave_out_late_writes()
        log = logging.getLogger("absl")
        level = log.level
        log.setLevel(logging.CRITICAL)
        try:
            with write_errors_as(DiskError, self._folder, _REMEDY, self._link):
                yield
        finally:
            log.setLevel(level)

    def _restore(
        self, manager: ocp.CheckpointManager, args: ocp.args.Composite
    ) -> tuple[Path, Any]:
        """The checkpoint's folder and its content."""
        step, where = self._step(manager), self._folder / Path(manager.directory).name
        if step is None:
            raise TrainingError(f"There is no checkpoint in {where}; train first.")
        try:
            return where / str(step), manager.restore(step, args=args)
        except Exception as error:
            reason = str(error).strip().splitlines()[0][:300] if str(error).strip() else repr(error)
            raise TrainingError(
                f"The checkpoint {where}/{step} cannot be read or does not fit the config "
                f"({reason}); restore the folder, or train in a new workdir."
            ) from error


@functools.cache  # once a process
def _leave_out_late_writes() -> None:
    """When a write fails, those that still run have nobody to tell, and would print tracebacks."""
    shown = sys.unraisablehook

    def show(what: Any) -> None:  # of TensorStore's threads
        if not (what.exc_type is RuntimeError and str(what.exc_value) == "Event loop is closed"):
            shown(what)

    def is_news(record: logging.LogRecord) -> bool:  # of Orbax's tasks and threads
        error = record.exc_info and record.exc_info[1]
        return not (isinstance(error, Exception) and system_error(error))

    sys.unraisablehook = show
    for name in ("asyncio", "absl"):
        logging.getLogger(name).addFilter(is_news)


def _summed(notes: dict[str, Any], arrays: Any) -> dict[str, Any]:
    """Notes with checksums of the arrays and of themselves."""
    notes = notes | {_ARRAYS: _sum(arrays)}
    return notes | {CHECKSUM: checksum_of(notes)}


def _sum(arrays: Any) -> str:
    """CRC-32 of a tree of arrays, hexadecimal; orbax compares parts of what it reads only."""
    total = 0
    for array in jax.tree.leaves(jax.device_get(arrays)):
        total = zlib.crc32(np.ascontiguousarray(array).reshape(-1).view(np.uint8), total)
    return f"{total:08x}"


def _checked(arrays: Any, notes: Mapping[str, Any], where: Path, name: str = _ARRAYS) -> Any:
    """The arrays, if they are those that were saved with the notes."""
    if isinstance(notes, Mapping) and notes.get(name) not in (None, _sum(arrays)):
        raise TrainingError(
            f"The checkpoint {where} is damaged: its arrays are not those that were saved; "
            "restore the folder, or train in a new workdir."
        )
    return arrays


def _notes(notes: Any, schema: type[_T], where: Path) -> _T:
    """Notes without their checksums, by their schema."""
    reader = Reader(TrainingError, "restore the folder, or train in a new workdir")
    if isinstance(notes, Mapping):
        notes = dict(notes)
        if notes.pop(CHECKSUM, None) not in (None, checksum_of(notes)):
            raise reader.wrong(f"{where / 'notes'} are not as they were saved; {reader.remedy}.")
        for name in (_ARRAYS, _TOWER):
            notes.pop(name, None)
    return reader.fitted(notes, schema, f"{where / 'notes'}")


def _template(
    shapes: dict[str, jax.ShapeDtypeStruct], sharding: jax.sharding.Sharding
) -> dict[str, jax.ShapeDtypeStruct]:
    return {
        name: jax.ShapeDtypeStruct(shape.shape, shape.dtype, sharding=shape.sharding or sharding)
        for name, shape in shapes.items()
    }
