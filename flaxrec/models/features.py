"""From ids and numbers to the vectors that a sequence encoder reads."""

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

from flaxrec.config import GroupConfig
from flaxrec.config.quirks import Quirks
from flaxrec.data import moments
from flaxrec.data.contexts import Features
from flaxrec.data.spec import InputSpec


def embedding_init(special_rows: bool, deviation: float = 0.0) -> nnx.Initializer:
    """Truncated normal, cut at two deviations.

    Args:
      special_rows: the first row is padding and the last 'unknown'; both start at zero.
      deviation: of the normal; 0: 1/sqrt(width).
    """

    def init(key: jax.Array, shape: tuple[int, ...], dtype: DTypeLike = jnp.float32) -> jax.Array:
        table = jax.random.truncated_normal(key, -2.0, 2.0, shape, dtype)
        table = table * deviation if deviation else table / jnp.sqrt(shape[1])
        return table.at[jnp.array([0, -1])].set(0.0) if special_rows else table

    return init


def clamp(ids: jax.Array, rows: int) -> jax.Array:
    """The one rule for ids outside a table: below 0 is padding, too large is 'unknown'."""
    return jnp.clip(ids, 0, rows - 1)


def lookup(table: jax.Array, ids: jax.Array) -> jax.Array:
    """Rows of a table [rows, E] by int [...] ids within it -> [..., E]."""
    return table.at[ids].get(mode="promise_in_bounds")


def dropout(x: jax.Array, rate: float, key: jax.Array | None) -> jax.Array:
    """Zeros for a share of the values, the others the larger for it; as it is without a key."""
    if key is None or not rate:
        return x
    kept = jax.random.bernoulli(key, 1 - rate, x.shape)
    return jnp.where(kept, x / (1 - rate), 0).astype(x.dtype)


def unit(rows: jax.Array) -> jax.Array:
    """Vectors [..., E] at length 1; a zero vector stays."""
    return rows * jax.lax.rsqrt(jnp.maximum(jnp.sum(jnp.square(rows), -1, keepdims=True), 1e-12))


def forget(
    features: Features, inputs: tuple[InputSpec, ...], rate: float, key: jax.Array
) -> Features:
    """Takes features as unknown, as config.model.feature_dropout says.

    A feature of a whole context, or one of the label, with the chance `rate`, each by itself; of
    `event.gap_after`, besides, each activity's value with the same chance, so that the latest alone
    may be unknown. Items' ids and padding stay.

    Args:
      features: [B, length] by input name; of labels [B, n].
      inputs: the model's inputs.
      rate: the chance.
      key: of random numbers.

    Returns:
      The features with 'unknown', or a FLOAT's default, where they were dropped.
    """
    kept = dict(features)
    for place, spec in enumerate(inputs):
        if spec.source == "item.id":
            continue
        values, own = features[spec.name], jax.random.fold_in(key, place)
        shape = values.shape if spec.of_label else values.shape[:1] + (1,) * (values.ndim - 1)
        gone = jax.random.bernoulli(own, rate, shape)
        if spec.source == moments.GAP_AFTER:
            gone |= jax.random.bernoulli(jax.random.fold_in(own, 1), rate, values.shape)
        kept[spec.name] = jnp.where(gone, unknown(values, spec), values)
    return kept


def unknown(values: jax.Array, spec: InputSpec) -> jax.Array:
    """An input's values as they are when none of them is known; padding stays where ids tell it."""
    if spec.type == "FLOAT":
        return jnp.full_like(values, spec.default)
    if spec.of_duration:
        return jnp.full_like(values, moments.UNKNOWN)
    return jnp.where(values == 0, 0, spec.rows - 1)


class RowTap(nnx.Variable):
    """A zero that a table's lookups pass: see `tap`."""


@jax.custom_vjp
def tap(rows: jax.Array, zero: jax.Array) -> jax.Array:
    """The rows unchanged; the gradient of `zero`, float32 [], is the sum of squares of theirs.

    So a training step learns the norm of a table's gradient over the rows looked up, before the
    gradients of repeated rows are summed, without keeping them.
    """
    del zero
    return rows


def _tap_forward(rows: jax.Array, zero: jax.Array) -> tuple[jax.Array, None]:
    return tap(rows, zero), None


def _tap_backward(_: None, gradient: jax.Array) -> tuple[jax.Array, jax.Array]:
    return gradient, jnp.sum(jnp.square(gradient.astype(jnp.float32)))


tap.defvjp(_tap_forward, _tap_backward)


class GroupFeatures(nnx.Module):
    """Embeds and concatenates one group's features.

    Embedded features come first, in ascending order of their names, then FLOAT features in the
    config's order, as in the reference. `event.seconds_ago` is set apart, for the encoder itself.
    """

    def __init__(
        self,
        config: GroupConfig,
        specs: dict[str, InputSpec],
        *,
        unit_items: bool,
        rate: float,
        deviation: float = 0.0,
        quirks: Quirks,
        dtype: jnp.dtype,
        rngs: nnx.Rngs,
    ):
        self.dtype = dtype
        self.unit_items = unit_items
        self.rate = rate
        ago = [specs[f.name] for f in config.features if specs[f.name].of_duration]
        self.ago = ago[0] if ago else None
        ids = (f for f in config.features if f.type != "FLOAT" and not specs[f.name].of_duration)
        embedded = sorted(ids, key=lambda f: f.name)
        self.embedded = tuple(specs[f.name] for f in embedded)
        self.numbers = tuple(specs[f.name] for f in config.features if f.type == "FLOAT")
        init = embedding_init(not quirks.random_special_rows, deviation)
        self.tables = nnx.Dict(
            {
                f.name: nnx.Param(init(rngs.params(), (specs[f.name].rows, f.embedding_dim)))
                for f in embedded
            }
        )
        self.taps = nnx.Dict(
            {f.name: RowTap(jnp.zeros(())) for f in embedded if quirks.clip_by_gathered_rows}
        )
        self.channels = sum(f.embedding_dim for f in embedded) + len(self.numbers)

    def __call__(
        self, features: dict[str, jax.Array], key: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array]:
        """Vectors and mask.

        Args:
          features: [B, L] by input name.
          key: of dropout; None outside training.

        Returns:
          x [B, L, C], zero where the mask is; mask [B, L], 1 where every id of the group is not
          padding, and 1 everywhere in a group without ids.
        """
        parts, mask = [], None
        for spec in self.embedded:
            ids = clamp(features[spec.name], spec.rows)
            present = (ids != 0).astype(self.dtype)
            mask = present if mask is None else mask * present
            table = self.tables[spec.name].get_value().astype(self.dtype)
            rows = lookup(table, ids)
            if self.unit_items and spec.source == "item.id":
                rows = unit(rows)
            parts.append(tap(rows, self.taps[spec.name].get_value()) if self.taps else rows)
        for spec in self.numbers:
            parts.append(features[spec.name].astype(self.dtype)[..., None])
        x = parts[0] if len(parts) == 1 else jnp.concatenate(parts, axis=-1)
        x = dropout(x, self.rate, key)
        if mask is None:
            return x, jnp.ones(x.shape[:2], self.dtype)
        return x * mask[..., None], mask
