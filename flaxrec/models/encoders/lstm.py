"""LSTM over a context.

Shapes: B batch, L context length, C channels, U units; gates in the order input, forget, cell,
output.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array

from flaxrec.models.encoders.encoder import Encoder, Serving, Setting
from flaxrec.models.encoders.residual import glorot

orthogonal = nnx.initializers.orthogonal()
# Beyond it a sigmoid is 0 or 1 to the bit.
SATURATING = 1e4


class LstmEncoder(Encoder):
    """The state after the last activity.

    Padding leaves the state as it is, unless `sees_padding` runs it as zero vectors.
    """

    title = "LSTM"
    encodes_prefixes = True
    encodes_packed = True

    def __init__(self, setting: Setting, *, rngs: nnx.Rngs) -> None:
        self.output_dim = units = setting.group.lstm_units
        self.sees_padding = setting.quirks.encoders_see_padding
        self.dtype = setting.dtype
        self.kernel = nnx.Param(glorot(rngs.params(), (setting.channels, 4 * units)))
        self.recurrent_kernel = nnx.Param(orthogonal(rngs.params(), (units, 4 * units)))
        # The forget gate starts open.
        self.bias = nnx.Param(jnp.zeros(4 * units).at[units : 2 * units].set(1.0))

    def __call__(
        self,
        x: Array,
        mask: Array,
        *,
        every_position: bool = False,
        users: Array | None = None,
        key: Array | None = None,
    ) -> Array:
        """See `Encoder`."""
        del key
        kernel, recurrent, bias = (
            weight.get_value().astype(self.dtype)
            for weight in (self.kernel, self.recurrent_kernel, self.bias)
        )
        inputs = x @ kernel + bias
        zero = jnp.zeros((x.shape[0], self.output_dim), x.dtype)

        def step(
            state: tuple[Array, Array], now: tuple[Array, Array, Array | None]
        ) -> tuple[tuple[Array, Array], Array]:
            hidden, cell = state
            z, present, goes_on = now
            if goes_on is not None:
                hidden, cell = hidden * goes_on, cell * goes_on
            i, f, g, o = jnp.split(z + hidden @ recurrent, 4, axis=-1)
            new_cell = nnx.sigmoid(f) * cell + nnx.sigmoid(i) * jnp.tanh(g)
            new_hidden = nnx.sigmoid(o) * jnp.tanh(new_cell)
            if not self.sees_padding:
                new_cell = jnp.where(present[:, None] > 0, new_cell, cell)
                new_hidden = jnp.where(present[:, None] > 0, new_hidden, hidden)
            return (new_hidden, new_cell), new_hidden

        goes_on = None
        if users is not None:
            goes_on = (jnp.diff(users, axis=1, prepend=-1) == 0).astype(x.dtype).T[..., None]
        time_major = (jnp.swapaxes(inputs, 0, 1), jnp.swapaxes(mask, 0, 1), goes_on)
        (hidden, _), states = jax.lax.scan(step, (zero, zero), time_major, unroll=2)
        return jnp.swapaxes(states, 0, 1) if every_position else hidden

    def serving(self, length: int) -> Serving:
        """See `Encoder`."""
        return _Serving(
            self.kernel.get_value(),
            self.recurrent_kernel.get_value(),
            self.bias.get_value(),
            self.sees_padding,
        )


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class _Serving(Serving):
    """The LSTM unrolled: no state outlives the call, and no WHILE is left in the graph.

    Padding closes the input and output gates and opens the forget gate. So the cell stays as it is
    and the new state is zero, and the old one is put in its place.
    """

    kernel: Array
    recurrent: Array
    bias: Array
    sees_padding: bool = dataclasses.field(metadata={"static": True})

    def __call__(self, x: Array, present: Array) -> Array:
        units = len(self.recurrent)
        z_lg = x @ self.kernel + self.bias
        absent = None
        if not self.sees_padding:
            absent = 1.0 - present[:, None]
            gates = np.array([-SATURATING, SATURATING, 0.0, -SATURATING], np.float32)
            z_lg = z_lg + absent * np.repeat(gates, units)
        hidden = cell = jnp.zeros(())
        for t in range(len(x)):
            z = z_lg[t : t + 1]
            if t:
                z = z + hidden @ self.recurrent
            opened = nnx.sigmoid(z)
            i, f, o = (opened[:, part * units : (part + 1) * units] for part in (0, 1, 3))
            new = i * jnp.tanh(z[:, 2 * units : 3 * units])
            cell = new + f * cell if t else new
            last, hidden = hidden, o * jnp.tanh(cell)
            if t and absent is not None:
                hidden = hidden + absent[t : t + 1] * last
        return hidden
