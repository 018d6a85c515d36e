"""A recurrence whose gates read the activities and never the state.

After QRNN (Bradbury et al. 2017, 'Quasi-recurrent neural networks') and SRU (Lei et al. 2018,
'Simple recurrent units for highly parallelizable recurrence'): one product for all activities
takes the place of one product after the other, and the state goes through no matrix.
Shapes: B batch, L context length, C channels, U width of the state, k latest activities, R rows
that are served.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array

from flaxrec.models.encoders.encoder import Encoder, Serving, Setting
from flaxrec.models.encoders.lstm import SATURATING
from flaxrec.models.encoders.residual import LatestServing, glorot, latest

_LONGEST = 4.0  # the forget gates' biases go from 0 to it: half-lives of 1 to 38 activities


class LinearRnnEncoder(Encoder):
    """The state after the latest activity, beside the vectors of the latest `conv_kernel_size`.

    Gates read an activity's vector plus a learned share of the one before. Padding leaves the
    state as it is; without any activity the encoding is zero. A hidden layer after it
    (config.model.hidden_dims) costs one product a context, and learns what order means.
    """

    title = "linear recurrence"
    encodes_prefixes = True
    encodes_packed = True

    def __init__(self, setting: Setting, *, rngs: nnx.Rngs) -> None:
        units, self.dtype = setting.width, setting.dtype
        self.latest = setting.group.conv_kernel_size
        self.output_dim = units + self.latest * setting.channels
        self.before = nnx.Param(jnp.full(setting.channels, 0.3))
        self.kernel = nnx.Param(glorot(rngs.params(), (setting.channels, 4 * units)))
        forget = jnp.linspace(0.0, _LONGEST, units)
        self.bias = nnx.Param(jnp.zeros(4 * units).at[units : 2 * units].set(forget))

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
        before, kernel, bias = (
            weight.get_value().astype(self.dtype)
            for weight in (self.before, self.kernel, self.bias)
        )
        shifted = [_shifted(x, users, by) for by in range(max(self.latest, 2))]
        i, f, c, o = jnp.split((x + before * shifted[1]) @ kernel + bias, 4, axis=-1)
        present = mask[..., None] > 0
        kept = jnp.where(present, nnx.sigmoid(f), 1.0)
        if users is not None:
            kept = jnp.where(jnp.diff(users, axis=1, prepend=-1)[..., None] == 0, kept, 0.0)
        new = jnp.where(present, nnx.sigmoid(i) * jnp.tanh(c), 0.0)
        _, state = jax.lax.associative_scan(_one_after_another, (kept, new), axis=1)
        told = nnx.sigmoid(o) * jnp.tanh(state)
        encoded = jnp.concatenate([*shifted[self.latest - 1 :: -1], told], axis=-1)
        return encoded if every_position else latest(encoded, mask)

    def serving(self, length: int) -> Serving:
        """See `Encoder`."""
        kernel, bias = self.kernel.get_value(), self.bias.get_value()
        output = 3 * len(bias) // 4
        block = _Block(
            self.before.get_value(),
            (kernel[:, :output], bias[:output]),
            (kernel[:, output:], bias[output:]),
            self.latest,
        )
        return _Serving(None, (block,), max(length, self.latest), 0.0)


def _shifted(x: Array, users: Array | None, by: int) -> Array:
    """Each position's activity `by` places before, of x [B, L, C]; zero where there is none."""
    if not by:
        return x
    earlier = jnp.pad(x, ((0, 0), (by, 0), (0, 0)))[:, : x.shape[1]]
    if users is None:
        return earlier
    of = jnp.pad(users, ((0, 0), (by, 0)), constant_values=-1)[:, : x.shape[1]]
    return jnp.where((of == users)[..., None], earlier, 0.0)


def _one_after_another(
    first: tuple[Array, Array], second: tuple[Array, Array]
) -> tuple[Array, Array]:
    """What two stretches of activities do to a state h: kept * h + new."""
    return first[0] * second[0], first[1] * second[0] + second[1]


# ---- serving form -----------------------------------------------------------------------------


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class _Block:
    """Constants.

    Attributes:
      before: [C], the share of the activity before.
      state: kernel [C, 3 * U] and bias of input gate, forget gate and new value.
      output: kernel [C, U] and bias of the output gate.
      latest: k.
    """

    before: Array
    state: tuple[Array, Array]
    output: tuple[Array, Array]
    latest: int = dataclasses.field(metadata={"static": True})


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class _Serving(LatestServing):
    """Padding closes the input gate and opens the forget gate, as in the LSTM."""

    def __call__(self, x: Array, present: Array) -> Array:
        """See `Serving`."""
        (block,) = self.blocks
        rows, units = len(x), len(block.output[1])
        read = x + block.before * jnp.concatenate([jnp.zeros_like(x[:1]), x[:-1]])
        gates = np.array([-SATURATING, SATURATING, 0.0], np.float32)
        z = read @ block.state[0] + block.state[1]
        z = z + (1.0 - present[:, None]) * np.repeat(gates, units)
        opened = nnx.sigmoid(z[:, : 2 * units])
        kept, new = opened[:, units:], opened[:, :units] * jnp.tanh(z[:, 2 * units :])
        while rows > 1 and rows % 2 == 0:  # neighbours at once: few operators
            rows //= 2
            pairs = [part.reshape(rows, 2 * units) for part in (kept, new)]
            first, second = ([part[:, s] for part in pairs] for s in _halves(units))
            kept, new = _one_after_another((first[0], first[1]), (second[0], second[1]))
        state = new[:1]
        for t in range(1, rows):
            state = kept[t : t + 1] * state + new[t : t + 1]
        output = nnx.sigmoid(read[-1:] @ block.output[0] + block.output[1])
        latest = x[-block.latest :].reshape(1, -1)
        return jnp.concatenate([latest, output * jnp.tanh(state)], axis=-1)


def _halves(units: int) -> tuple[slice, slice]:
    return slice(units), slice(units, 2 * units)
