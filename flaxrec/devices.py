"""Devices: a mesh over which batches are split, and tables if they are told to be."""

import contextlib
import ctypes
import os
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from flaxrec.errors import ConfigError, TrainingError, reason

BATCH, MODEL = "batch", "model"  # axes of the mesh: by which batches and tables are split
_EXHAUSTED = "RESOURCE_EXHAUSTED"  # XLA's word for memory that is not there
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # options of mallopt, malloc.h


class Mesh:
    """The devices of a run, those of all its processes, as 'batch' x 'model'.

    Batches are split over the first axis, tables over the second; a process' own devices stand
    side by side. Arrays that are the same in every process go in, global arrays come out.

    Args:
      devices: number of devices; 0: the most that suit shards and batch.
      batch_size: contexts per step.
      model_shards: devices that share the tables.

    Attributes:
      size: number of devices.
      shards: of the tables.
      rows: of the mesh, which is what batches are split by.
      replicated: the sharding of an array that every device has whole.

    Raises:
      ConfigError: there are fewer devices, or they suit neither shards nor batch.
    """

    def __init__(self, devices: int, batch_size: int, model_shards: int = 1):
        there = jax.devices()
        if devices > len(there):
            raise ConfigError(
                f"config.train.devices is {devices}, but there are {len(there)}; use at most that."
            )
        most = devices or len(there)
        if most < model_shards or (devices and devices % model_shards):
            raise ConfigError(
                f"config.train.model_shards is {model_shards}, but {most} devices are no multiple "
                "of it; change one of them."
            )
        if devices and batch_size % (devices // model_shards):
            over = f" / model_shards={model_shards}" if model_shards > 1 else ""
            raise ConfigError(
                f"config.train.batch_size is {batch_size}, not a multiple of config.train.devices="
                f"{devices}{over}; change one of them."
            )
        most //= model_shards
        self.rows = next(n for n in range(most, 0, -1) if batch_size % n == 0)
        self.shards, self.size = model_shards, self.rows * model_shards
        if self.size < len(there) and jax.process_count() > 1:
            raise ConfigError(
                f"config.train.batch_size is {batch_size}, for {self.size} of the {len(there)} "
                f"devices that the {jax.process_count()} processes have; use a multiple of "
                f"{len(there) // model_shards}, and 0 or all for config.train.devices."
            )
        grid = np.asarray(there[: self.size]).reshape(self.rows, model_shards)
        self._mesh = jax.sharding.Mesh(grid, (BATCH, MODEL))
        self.replicated = self.sharding(PartitionSpec())

    def sharding(self, spec: PartitionSpec) -> NamedSharding:
        """How an array lies on the devices, by the names of the axes."""
        return NamedSharding(self._mesh, spec)

    def replicate(self, tree: Any) -> Any:
        """Copies every array to every device."""
        return self.put(tree, self.replicated)

    def shard(self, array: np.ndarray | jax.Array, axis: int = 0) -> jax.Array:
        """Splits an array along an axis over the rows of the mesh."""
        return self.put(array, self._of_batches(axis))

    def join(self, part: np.ndarray, axis: int = 0) -> jax.Array:
        """As `shard`, of an array of which every process has only the part of its own devices."""
        return jax.make_array_from_process_local_data(self._of_batches(axis), part)

    def put(self, tree: Any, sharding: NamedSharding) -> Any:
        """Moves arrays to devices, those of other processes included."""
        if sharding.is_fully_addressable:
            return jax.device_put(tree, sharding)

        def put(array: Any) -> jax.Array:
            if isinstance(array, jax.Array) and not array.is_fully_addressable:
                return jax.device_put(array, sharding)
            host = np.asarray(array)
            return jax.make_array_from_callback(host.shape, sharding, lambda at: host[at])

        with jax.transfer_guard("allow"):  # JAX takes this for a transfer that nobody asked for
            return jax.tree.map(put, tree)

    def by_part(self, function: Callable, ins: Any, outs: Any) -> Callable:
        """A function of each device's part of its arguments, see `jax.shard_map`."""
        return jax.shard_map(function, mesh=self._mesh, in_specs=ins, out_specs=outs)

    def round_up(self, n: int) -> int:
        """Rounds up to a multiple of the rows of the mesh."""
        return -(-n // self.rows) * self.rows

    def _of_batches(self, axis: int) -> NamedSharding:
        return self.sharding(PartitionSpec(*[None] * axis, BATCH))


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
