"""What every encoder is: how it is built, called in training, and exported."""

import dataclasses
import functools
from collections.abc import Sequence

import jax.numpy as jnp
from flax import nnx
from jax import Array

from flaxrec.config import GroupConfig
from flaxrec.config.quirks import Quirks


@dataclasses.dataclass(frozen=True)
class Setting:
    """What an encoder is built from.

    Attributes:
      group: the feature group's part of the config, with the encoder's options.
      channels: C, width of an activity's vector.
      length: L, activities of a context.
      embedding_dim: D, config.model.embedding_dim.
      dropout: share of values left out in training.
      has_times: the group has a feature of the source event.seconds_ago.
      numbers_only: no feature of the group is embedded.
      quirks: of the reference.
      dtype: of the computation; parameters are float32.
    """

    group: GroupConfig
    channels: int
    length: int
    embedding_dim: int
    dropout: float = 0.0
    has_times: bool = False
    numbers_only: bool = False
    quirks: Quirks = dataclasses.field(default_factory=Quirks)
    dtype: jnp.dtype = dataclasses.field(default_factory=lambda: jnp.dtype("float32"))

    @property
    def width(self) -> int:
        """Width of the vectors inside: the group's, or that of the features."""
        return self.group.width or self.channels


def smallest(values: dict[str, Array], ids: Sequence[str]) -> Array | None:
    """The smallest id at each place, [L], 0 if one is padding; None without ids."""
    return functools.reduce(jnp.minimum, [values[name] for name in ids]) if ids else None


def visible(mask: Array, users: Array | None = None) -> Array:
    """Which activities (last axis) a position sees: bool [B, L, L].

    Those at or before it that mask [B, L] does not hide; of int [B, L] `users` only its own user's.
    """
    length = mask.shape[1]
    seen = jnp.tril(jnp.ones((length, length), bool)) & (mask[:, None, :] > 0)
    return seen if users is None else seen & (users[:, :, None] == users[:, None, :])


def elapsed(ago: Array, mask: Array) -> Array:
    """The time from each activity (last axis) to each position's moment of asking.

    A position asks when the next activity happens, the last at the label. Of a context with times
    relative to its last label this is right for the labels of all its prefixes.

    Args:
      ago: int32 [..., L], the time from each activity to the context's label; below 0: not known.
      mask: [..., L], 0 at padding.

    Returns:
      int32 [..., L, L], 0 or above; -1 where one of the two times is not known. It means nothing
      where the activity is later than the position.
    """
    after = jnp.where(mask[..., 1:] > 0, ago[..., 1:], 0)
    after = jnp.concatenate([after, jnp.zeros_like(ago[..., :1])], axis=-1)[..., None]
    known = (ago[..., None, :] >= 0) & (after >= 0)
    return jnp.where(known, jnp.maximum(ago[..., None, :] - after, 0), -1)


class Serving:
    """An encoder for one context, written for conversion to few TFLite operators.

    Subclasses are dataclasses of constants, registered as pytrees
    (`jax.tree_util.register_dataclass`): what depends on no input is computed once, beforehand.

    Attributes:
      gain: [F], a factor of the encoding that is left to the layer that reads it; None: 1.
    """

    gain: Array | None = None

    def arrange(self, values: dict[str, Array], ids: Sequence[str]) -> dict[str, Array]:
        """Lays out the group's ids and numbers before they are looked up.

        Args:
          values: [L] by input name, 0 is padding.
          ids: the names of those that are ids.

        Returns:
          [R] by input name.
        """
        del ids
        return values

    def __call__(self, x: Array, present: Array) -> Array:
        """Vectors [R, C], zero at padding, and mask [R] -> the encoding [1, F] but for its gain.

        Of an encoder with `reads_times` it also takes `ago`, int32 [R], where there is one.
        """
        raise NotImplementedError


class Encoder(nnx.Module):
    """A sequence encoder; subclasses set `output_dim` when they are built.

    Attributes:
      title: its name for people.
      encodes_prefixes: takes `every_position=True`, which config.train.labels_per_context above 1
        needs.
      encodes_packed: takes `users` with `every_position`, which config.train.packed needs.
      reads_times: takes `ago`, which a feature of the source event.seconds_ago needs.
      encodes_ranges: has a method `ranges` (see `bow`), which that needs for flattened features.
      output_dim: F, width of the encoding.
    """

    title = ""
    encodes_prefixes = False
    encodes_packed = False
    reads_times = False
    encodes_ranges = False
    output_dim: int

    def __init__(self, setting: Setting, *, rngs: nnx.Rngs) -> None:
        """Makes the parameters; random numbers come from `rngs.params()`."""
        raise NotImplementedError

    @staticmethod
    def check(path: str, group: GroupConfig) -> None:
        """Raises ConfigError where the encoder cannot use an option of config.PATH."""

    def __call__(
        self, x: Array, mask: Array, *, every_position: bool = False, key: Array | None = None
    ) -> Array:
        """Encodes contexts.

        Args:
          x: [B, L, C], zero where the mask is.
          mask: [B, L], 1 for an activity, 0 for padding.
          every_position: encode every prefix; position l has seen activities 0 to l, and means
            nothing where l is padding.
          key: of dropout; None outside training.

        With `encodes_packed` it also takes `users`, int32 [B, L]: the activities are those of
        several users one after another, and a position has seen those of its own user alone.
        With `reads_times` it also takes `ago`, int32 [B, L], if the group has such a feature: the
        time from each activity to the context's label (see `elapsed`).

        Returns:
          [B, F], or [B, L, F] with `every_position`.
        """
        raise NotImplementedError

    def serving(self, length: int) -> Serving | None:
        """The form for export, for contexts of L activities.

        None (the default): the export uses the training form with a batch of one, which is slower
        and just as exact.
        """
        del length
        return None
