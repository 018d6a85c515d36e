"""Processes that train together: how they find each other, what they agree on, who writes.

All of them compute the same on all devices; the first one writes and speaks. Whatever one of them
cannot do, none goes on with (`together`).
"""

import contextlib
import hashlib
import itertools
from collections.abc import Iterator

import jax
import numpy as np
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils

from flaxrec.errors import TrainingError, reason
from flaxrec.terminal import progress

_HEARTBEAT, _SHUTDOWN = 15, 10  # seconds until a silent process counts as lost, and at the end
_FOREVER = 7 * 86400 * 1000  # milliseconds: others may read data or count for hours
_LOST = ("gloo", "nccl", "coordination", "heartbeat", "barrier")  # in what JAX raises then
_ANOTHER = (
    "Another process of this run ended with an error, which its own output says; correct that, and "
    "start all of them again."
)
_numbers = itertools.count()
_joined = False


def join(
    coordinator: str | None = None, count: int | None = None, number: int | None = None
) -> None:
    """Waits for the other processes of the run; before anything asks JAX for devices.

    Args:
      coordinator: HOST:PORT of the first process; None: JAX finds all three from the cluster.
      count: number of processes.
      number: of this one, from 0.

    Raises:
      TrainingError: there is no cluster, or the others do not come.
    """
    global _joined
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.config.update("jax_enable_preemption_service", False)  # it takes SIGTERM for itself
    given = coordinator is not None
    try:
        jax.distributed.initialize(
            coordinator,
            count,
            number,
            cluster_detection_method="deactivate" if given else None,
            heartbeat_timeout_seconds=_HEARTBEAT,
            shutdown_timeout_seconds=_SHUTDOWN,
        )
    except (ValueError, RuntimeError) as error:
        remedy = "see that all are started, and that the first one can be reached there"
        if not given:
            remedy = (
                "run it under SLURM, Open MPI, Kubernetes or on TPUs, or give "
                "--distributed_coordinator, --distributed_processes and --distributed_process"
            )
        raise TrainingError(
            f"The processes of this run did not find each other ({reason(error)}); {remedy}."
        ) from error
    _joined = True
    if not is_first():
        progress.silence()


def end() -> None:
    """Waits for all processes to come here, and parts from them."""
    global _joined
    if _joined:
        wait()
        jax.distributed.shutdown()
        _joined = False


def alone() -> bool:
    """Whether this process trains by itself."""
    return not _joined


def is_first() -> bool:
    """Whether this process writes and speaks for all."""
    return alone() or jax.process_index() == 0


@contextlib.contextmanager
def together() -> Iterator[None]:
    """A block that all processes run, waiting for each other at its end.

    Raises:
      TrainingError: another process raised an error in it.
    """
    if alone():
        yield
        return
    try:
        yield
    except Exception:
        _gathered(0)
        raise
    if not _gathered(1).all():
        raise TrainingError(_ANOTHER)


def check_same(what: str) -> None:
    """Raises TrainingError in all processes if the text is not the same in all of them."""
    if alone():
        return
    told = _gathered(*np.frombuffer(hashlib.sha256(what.encode()).digest()[:12], np.int32))
    if different := np.flatnonzero((told != told[0]).any(axis=1)).tolist():
        raise TrainingError(
            f"Process {different[0]} has another config or other data than process 0; start all "
            "with the same command, on the same data."
        )


def most(number: int, seconds: float) -> tuple[int, float]:
    """The largest of the processes' numbers, and of their seconds."""
    if alone():
        return number, seconds
    told = _gathered(number, int(seconds * 1e6)).max(axis=0)
    return int(told[0]), told[1] / 1e6


@contextlib.contextmanager
def losses_told() -> Iterator[None]:
    """Turns what JAX raises when another process is gone into a TrainingError."""
    try:
        yield
    except (jax.errors.JaxRuntimeError, ValueError) as error:
        if alone() or not any(word in str(error).lower() for word in _LOST):
            raise
        raise TrainingError(
            f"Another process of this run has ended or cannot be reached ({reason(error)}); start "
            "all with the same command again: they go on from the last checkpoint."
        ) from error


def _gathered(*numbers: int) -> np.ndarray:
    """Every process' numbers, int32 [processes, numbers]."""
    wait()
    with jax.transfer_guard("allow"):
        mine = np.array(numbers, np.int32)
        return np.asarray(multihost_utils.process_allgather(mine)).reshape(-1, len(numbers))


def wait() -> None:
    """Waits for all processes, however long: collectives on CPUs do not wait for minutes."""
    if alone():
        return
    meet = ocp.multihost.get_barrier_sync_fn()
    meet(key=f"flaxrec {next(_numbers)}", timeout_ms=_FOREVER)
