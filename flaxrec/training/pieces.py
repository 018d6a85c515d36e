"""Pieces of a scan: one compiled program runs as many of its steps as there is time for."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from flaxrec.data.contexts import DeviceTimelines
from flaxrec.devices import check_memory, device_memory
from flaxrec.training import processes
from flaxrec.training.steps import Batches, Steps, Targets, TrainState

# State, timelines, targets, batches; the scan's first step and the one to stop before, int32 [].
Piece = Callable[
    [TrainState, DeviceTimelines, Targets, Batches, jax.Array, jax.Array],
    tuple[TrainState, jax.Array],
]


def piece(
    steps: Steps,
    state: TrainState,
    timelines: DeviceTimelines,
    targets: Targets,
    batches: Batches,
    first: jax.Array,
    end: jax.Array,
) -> tuple[TrainState, jax.Array]:
    """Some steps of a scan: one program for pieces of any length, which add up to the bit.

    `steps` are from `make_steps`. The losses are float32 [S], 0 outside the piece.
    """

    def step(i: jax.Array, carry: tuple[TrainState, jax.Array]) -> tuple[TrainState, jax.Array]:
        state, losses = carry
        batch = jax.tree.map(lambda x: jax.lax.dynamic_slice_in_dim(x, i, 1), batches)
        state, loss = steps(state, timelines, targets, batch)
        return state, jax.lax.dynamic_update_slice(losses, loss, (i,))

    losses = jnp.zeros(len(batches.keys), jnp.float32)
    return jax.lax.fori_loop(first, end, step, (state, losses))


def compiled(steps: Steps, given: tuple[Any, ...], remedy: str) -> Piece:
    """The compiled piece for arguments like these, in all processes.

    Raises:
      ConfigError: it needs more memory than the device has; with the remedy.
    """
    jitted = jax.jit(piece, static_argnums=0, donate_argnums=1)
    made = jitted.lower(steps, *given).compile()
    if needed := made.memory_analysis():
        check_memory(
            "A step of training",
            needed.argument_size_in_bytes + needed.temp_size_in_bytes,
            device_memory(),
            remedy,
        )
    processes.wait()
    return made
