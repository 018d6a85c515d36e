"""Checkpoints: the latest state to resume from and, separately, the best parameters to use.

The latest is written before the best. If a run is killed in between, the latest checkpoint's notes
say that its parameters are the best, and resuming writes them again.
"""

import contextlib
import functools
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp

from flaxrec.errors import DiskError, TrainingError, write_errors_as
from flaxrec.files import plain_path
from flaxrec.models.dual_encoder import Params

_REMEDY = "allow it, or use another --workdir"


class Checkpoints:
    """WORKDIR/checkpoints: one Orbax manager for the latest state, one for the best parameters.

    What cannot be written is a DiskError; checkpoints from before stay.
    """

    def __init__(self, folder: str | os.PathLike, *, create: bool = True):
        self._folder = Path(folder).absolute()
        if not create and not self._folder.is_dir():
            raise TrainingError(f"There are no checkpoints in {self._folder.parent}; train first.")
        options = ocp.CheckpointManagerOptions(
            max_to_keep=1, create=create, enable_async_checkpointing=False
        )
        with contextlib.ExitStack() as opening:
            if create:
                with write_errors_as(DiskError, self._folder, _REMEDY):
                    self._folder.mkdir(parents=True, exist_ok=True)
            self._link = opening.enter_context(plain_path(self._folder))
            with self._told():
                self._latest = ocp.CheckpointManager(self._link / "latest", options=options)
                self._best = ocp.CheckpointManager(self._link / "best", options=options)
            self._open = opening.pop_all()

    @property
    def latest_step(self) -> int | None:
        """Step of the latest checkpoint; None if there is none."""
        return self._latest.latest_step()

    @property
    def best_step(self) -> int | None:
        """Step of the best checkpoint; None if there is none."""
        return self._best.latest_step()

    def save_latest(self, step: int, state: Any, notes: dict[str, Any]) -> None:
        """Saves a pytree of arrays, and notes for JSON."""
        args = ocp.args.Composite(
            state=ocp.args.StandardSave(state), notes=ocp.args.JsonSave(notes)
        )
        self._save(self._latest, step, args)

    def latest_notes(self) -> dict[str, Any]:
        """The latest checkpoint's notes, without its state."""
        args = ocp.args.Composite(notes=ocp.args.JsonRestore())
        return self._restore(self._latest, args)["notes"]

    def restore_latest(self, template: Any) -> tuple[Any, dict[str, Any]]:
        """The state, in the shapes and shardings of `template`, and the notes."""
        args = ocp.args.Composite(
            state=ocp.args.StandardRestore(template), notes=ocp.args.JsonRestore()
        )
        restored = self._restore(self._latest, args)
        return restored["state"], restored["notes"]

    def save_best(self, step: int, params: Params, notes: dict[str, Any]) -> None:
        """Saves parameters; does nothing if this step is the best already."""
        if step != self.best_step:
            args = ocp.args.Composite(
                params=ocp.args.StandardSave(params), notes=ocp.args.JsonSave(notes)
            )
            self._save(self._best, step, args)

    def restore_best(
        self, shapes: dict[str, jax.ShapeDtypeStruct], sharding: jax.sharding.Sharding
    ) -> tuple[Params, dict[str, Any]]:
        """The best parameters, placed by `sharding`, and their notes.

        Raises:
          TrainingError: there are none, they cannot be read, or they do not fit `shapes`.
        """
        template = {
            name: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=sharding)
            for name, s in shapes.items()
        }
        args = ocp.args.Composite(
            params=ocp.args.StandardRestore(template), notes=ocp.args.JsonRestore()
        )
        restored = self._restore(self._best, args)
        return restored["params"], restored["notes"]

    def close(self) -> None:
        """Closes the checkpoint managers."""
        self._latest.close()
        self._best.close()
        self._open.close()

    def _save(self, manager: ocp.CheckpointManager, step: int, args: ocp.args.Composite) -> None:
        with self._told():
            manager.save(step, args=args, force=True)

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """What the disk refuses is a DiskError; Orbax does not print its threads' tracebacks."""
        log = logging.getLogger("absl")
        level = log.level
        log.setLevel(logging.CRITICAL)
        try:
            with write_errors_as(DiskError, self._folder, _REMEDY, self._link):
                yield
        except DiskError:
            _leave_out_late_writes()
            raise
        finally:
            log.setLevel(level)

    def _restore(self, manager: ocp.CheckpointManager, args: ocp.args.Composite) -> Any:
        step, where = manager.latest_step(), self._folder / Path(manager.directory).name
        if step is None:
            raise TrainingError(f"There is no checkpoint in {where}; train first.")
        try:
            return manager.restore(step, args=args)
        except Exception as error:
            reason = str(error).strip().splitlines()[0][:300] if str(error).strip() else repr(error)
            raise TrainingError(
                f"The checkpoint {where}/{step} cannot be read or does not fit the config "
                f"({reason}); restore the folder, or train in a new workdir."
            ) from error


@functools.cache  # once a process
def _leave_out_late_writes() -> None:
    """After a failed write, TensorStore's threads print that nobody waits for the others any more.

    They do so by `sys.excepthook`.
    """
    shown = sys.excepthook

    def show(kind: type[BaseException], error: BaseException, trace: Any) -> None:
        if not (kind is RuntimeError and str(error) == "Event loop is closed"):
            shown(kind, error, trace)

    sys.excepthook = show
