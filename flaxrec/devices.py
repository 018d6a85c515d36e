"""Devices: a one-axis mesh; parameters and data are replicated, batches are split."""

import contextlib
import ctypes
import os
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from flaxrec.errors import ConfigError, TrainingError, reason

_AXIS = "batch"
_EXHAUSTED = "RESOURCE_EXHAUSTED"  # XLA's word for memory that is not there
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # options of mallopt, malloc.h


class Mesh:
    """The devices of a run.

    Args:
      devices: number of devices; 0: the most that divide the batch evenly.
      batch_size: contexts per step.

    Raises:
      ConfigError: there are fewer devices, or they do not divide the batch.
    """

    def __init__(self, devices: int, batch_size: int):
        there = jax.devices()
        if devices > len(there):
            raise ConfigError(
                f"config.train.devices is {devices}, but there are {len(there)}; use at most that."
            )
        if devices and batch_size % devices:
            raise ConfigError(
                f"config.train.batch_size is {batch_size}, not a multiple of config.train.devices="
                f"{devices}; change one of them."
            )
        if not devices:
            devices = next(n for n in range(len(there), 0, -1) if batch_size % n == 0)
        self.size = devices
        self._mesh = jax.sharding.Mesh(np.asarray(there[:devices]), (_AXIS,))
        self.replicated = NamedSharding(self._mesh, PartitionSpec())

    def replicate(self, tree: Any) -> Any:
        """Copies every array to every device."""
        return jax.device_put(tree, self.replicated)

    def shard(self, array: np.ndarray | jax.Array, axis: int = 0) -> jax.Array:
        """Splits an array along an axis over the devices."""
        spec = PartitionSpec(*[None] * axis, _AXIS)
        return jax.device_put(array, NamedSharding(self._mesh, spec))

    def round_up(self, n: int) -> int:
        """Rounds up to a multiple of the number of devices."""
        return -(-n // self.size) * self.size


def host_memory() -> int:
    """Bytes of memory of this machine; 0 where nobody tells."""
    with contextlib.suppress(AttributeError, ValueError, OSError):  # not on Windows
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return 0


def device_memory() -> int:
    """Bytes of memory of the first device, of a CPU the machine's; 0 where nobody tells."""
    told = jax.local_devices()[0].memory_stats() or {}
    return told.get("bytes_limit") or host_memory()


def check_memory(what: str, needed: int, there: int, remedy: str) -> None:
    """Raises ConfigError if so many bytes cannot be held; called before they are asked for."""
    if 0 < there < needed:
        raise ConfigError(
            f"{what} would take {needed:,} bytes or more, but there are {there:,}; {remedy}."
        )


@contextlib.contextmanager
def allocations_told(remedy: str) -> Iterator[None]:
    """Turns an allocation that fails, of NumPy or on a device, into a TrainingError."""
    try:
        yield
    except (MemoryError, jax.errors.JaxRuntimeError) as error:
        if isinstance(error, jax.errors.JaxRuntimeError) and _EXHAUSTED not in str(error):
            raise
        raise TrainingError(f"The memory is not enough ({reason(error)}); {remedy}.") from error


def keep_freed_memory() -> None:
    """Lets the C library keep freed memory for the next step, where it can be told (glibc).

    Otherwise every step's large arrays are returned to the system and fetched again, page by page:
    on two cores of a virtual machine that took a quarter of the CPU time. It is for a process that
    trains once: over many runs what is kept adds up.
    """
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL("libc.so.6").mallopt
        mallopt(_MMAP_MAX, 0)
        mallopt(_TRIM_THRESHOLD, 2**31 - 1)
