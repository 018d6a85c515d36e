"""The context encoder: feature groups, hidden layers, projection."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from flaxrec import config as config_lib
from flaxrec.config import GroupConfig, ModelConfig
from flaxrec.config.quirks import Quirks
from flaxrec.data.contexts import Windows
from flaxrec.data.spec import InputSpec
from flaxrec.errors import ConfigError
from flaxrec.models.encoders import Encoder, Setting
from flaxrec.models.features import GroupFeatures, dropout, unit


def modulated(x: jax.Array, by: jax.Array) -> jax.Array:
    """Multiplies x [..., W] by 1 + the first half of `by` [..., 2 W] and adds the second half."""
    scale, shift = jnp.split(by, 2, axis=-1)
    return x + x * scale + shift


class FeatureGroupEncoder(nnx.Module):
    """One feature group: embed, concatenate, encode."""

    def __init__(
        self,
        config: GroupConfig,
        specs: dict[str, InputSpec],
        *,
        model: ModelConfig,
        encoders: Mapping[str, type[Encoder]],
        quirks: Quirks,
        dtype: jnp.dtype,
        rngs: nnx.Rngs,
    ):
        self.features = GroupFeatures(
            config,
            specs,
            unit_items=model.normalized and model.tied_tables,
            rate=model.dropout,
            deviation=model.table_deviation,
            quirks=quirks,
            dtype=dtype,
            rngs=rngs,
        )
        first = specs[config.features[0].name]
        self.name = first.name
        self.of_user = first.source.startswith("user.")
        self.of_label = first.of_label
        setting = Setting(
            group=config,
            channels=self.features.channels,
            length=first.length,
            embedding_dim=model.embedding_dim,
            dropout=model.dropout,
            has_times=self.features.ago is not None,
            numbers_only=not self.features.embedded,
            quirks=quirks,
            dtype=dtype,
        )
        self.encoder: Any = encoders[config.encoder](setting, rngs=rngs)
        if not hasattr(self.encoder, "output_dim"):
            raise ConfigError(
                f"The encoder {config.encoder} sets no output_dim; set it to the width of its "
                "encoding in __init__."
            )

    def __call__(
        self,
        features: dict[str, jax.Array],
        windows: Windows | None = None,
        key: jax.Array | None = None,
    ) -> jax.Array:
        """[B, length] by input name -> [B, F]; see `ContextEncoder` for the other arguments."""
        keys = (None, None) if key is None else jax.random.split(key)
        x, mask = self.features(features, keys[0])
        times = self.times(features)
        if windows is None:
            return self.encoder(x, mask, key=keys[1], **times)
        count = windows.take.shape[1]
        if self.of_label:  # each value is a sequence of its own
            flat, present = x.reshape(-1, 1, x.shape[-1]), mask.reshape(-1, 1)
            return self.encoder(flat, present, key=keys[1]).reshape(len(x), count, -1)
        if self.of_user:
            of_user = self.encoder(x, mask, key=keys[1])
            return jnp.broadcast_to(
                of_user[:, None], (len(of_user), count, self.encoder.output_dim)
            )
        encoded = self._prefixes(x, mask, windows, keys[1], times)
        if windows.empty is None:
            return encoded
        empty = self.encoder(
            jnp.zeros_like(x[:1]),
            jnp.zeros_like(mask[:1]),
            **{name: jnp.zeros_like(of[:1]) for name, of in times.items()},
        )
        return jnp.where(windows.empty[..., None], empty[:, None], encoded)

    def _prefixes(
        self,
        x: jax.Array,
        mask: jax.Array,
        windows: Windows,
        key: jax.Array | None,
        times: dict[str, jax.Array],
    ) -> jax.Array:
        """Encodings [B, n, F] of the activities before each label, if there are any."""
        if windows.users is not None:
            return self.encoder(x, mask, every_position=True, users=windows.users, key=key)
        if self.name in windows.ranges:
            return self.encoder.ranges(x, mask, *windows.ranges[self.name])
        every = self.encoder(x, mask, every_position=True, key=key, **times)
        return jnp.take_along_axis(every, windows.take[..., None], axis=1)

    def times(self, features: dict[str, jax.Array]) -> dict[str, jax.Array]:
        """What an encoder with `reads_times` takes besides, of [..., L] by input name."""
        ago = self.features.ago
        return {} if ago is None else {"ago": features[ago.name]}


class ContextEncoder(nnx.Module):
    """All groups' encodings, concatenated, through ReLU layers and a projection to D."""

    def __init__(
        self,
        config: ModelConfig,
        specs: dict[str, InputSpec],
        *,
        encoders: Mapping[str, type[Encoder]],
        quirks: Quirks,
        dtype: jnp.dtype,
        rngs: nnx.Rngs,
    ):
        self.groups = nnx.List(
            [
                FeatureGroupEncoder(
                    group,
                    specs,
                    model=config,
                    encoders=encoders,
                    quirks=quirks,
                    dtype=dtype,
                    rngs=rngs,
                )
                for _, group in config_lib.groups(config)
            ]
        )
        self.rate = config.dropout
        self.scale = 1 / config.temperature
        self.normalized = config.normalized
        self.relu_projection = quirks.relu_projection
        self.modulates = tuple(group.modulates for _, group in config_lib.groups(config))
        if all(self.modulates):
            raise ConfigError(
                "All groups of config.model have modulates=True, so that nothing is left to be "
                "scaled; set it to False for one."
            )
        outputs = zip(self.groups, self.modulates, strict=True)
        width = sum(group.encoder.output_dim for group, apart in outputs if not apart)
        # Zero at first: a modulation begins as none.
        zeros = nnx.initializers.zeros
        self.modulations: nnx.List[nnx.Linear] = nnx.List(
            [
                nnx.Linear(
                    group.encoder.output_dim, 2 * width, kernel_init=zeros, dtype=dtype, rngs=rngs
                )
                for group, apart in zip(self.groups, self.modulates, strict=True)
                if apart
            ]
        )
        self.hidden: nnx.List[nnx.Linear] = nnx.List([])
        for dim in config.hidden_dims:
            self.hidden.append(self._dense(width, dim, dtype, rngs))
            width = dim
        self.projection = (
            self._dense(width, config.embedding_dim, dtype, rngs) if config.projection else None
        )
        if not config.projection and width != config.embedding_dim:
            raise ConfigError(
                f"config.model.projection is False, but the layers before it are {width} wide and "
                f"config.model.embedding_dim is {config.embedding_dim}; make them equal, or use "
                "True."
            )

    @staticmethod
    def _dense(width: int, dim: int, dtype: jnp.dtype, rngs: nnx.Rngs) -> nnx.Linear:
        init = nnx.initializers.glorot_uniform()
        return nnx.Linear(width, dim, kernel_init=init, dtype=dtype, rngs=rngs)

    def __call__(
        self,
        features: dict[str, jax.Array],
        windows: Windows | None = None,
        key: jax.Array | None = None,
    ) -> jax.Array:
        """Encodes contexts.

        Args:
          features: [B, length] by input name.
          windows: encode n prefixes of each context instead of the whole.
          key: of dropout; None outside training.

        Returns:
          [B, D], or [B, n, D].
        """
        keys: list[jax.Array | None] = [None] * (len(self.groups) + 1)
        if key is not None:
            keys = list(jax.random.split(key, len(keys)))
        encodings = [
            group(features, windows, k) for group, k in zip(self.groups, keys[1:], strict=True)
        ]
        return self.combine(encodings, keys[0])

    def item_table(self) -> nnx.Param:
        """The table of item.id, [rows, E], in a model that has one (config.model.tied_tables)."""
        (table,) = (
            group.features.tables[spec.name]
            for group in self.groups
            for spec in group.features.embedded
            if spec.source == "item.id"
        )
        return table

    def joined(self, encodings: Sequence[jax.Array]) -> jax.Array:
        """Those of the groups' encodings [..., F] that stand beside each other, concatenated."""
        beside = [x for x, apart in zip(encodings, self.modulates, strict=True) if not apart]
        return beside[0] if len(beside) == 1 else jnp.concatenate(beside, axis=-1)

    def modulating(self, encodings: Sequence[Any]) -> list[Any]:
        """Those of the groups' encodings that scale and shift the others."""
        return [x for x, apart in zip(encodings, self.modulates, strict=True) if apart]

    def combine(self, encodings: Sequence[jax.Array], key: jax.Array | None = None) -> jax.Array:
        """The groups' encodings [..., F], in their order -> [..., D]."""
        x = self.joined(encodings)
        for layer, encoding in zip(self.modulations, self.modulating(encodings), strict=True):
            x = modulated(x, layer(encoding))
        for i, layer in enumerate(self.hidden):
            x = nnx.relu(layer(x))
            x = dropout(x, self.rate, None if key is None else jax.random.fold_in(key, i))
        if self.projection is not None:
            x = self.projection(x)
            x = nnx.relu(x) if self.relu_projection else x
        if self.normalized:
            x = unit(x)
        return x if self.scale == 1 else x * jnp.asarray(self.scale, x.dtype)
