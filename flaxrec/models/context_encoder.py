"""The context encoder: feature groups, hidden layers, projection."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from flaxrec import config as config_lib
from flaxrec.config import GroupConfig, ModelConfig
from flaxrec.features import InputSpec
from flaxrec.models.encoders import make_encoder
from flaxrec.models.features import GroupFeatures
from flaxrec.quirks import Quirks


class FeatureGroupEncoder(nnx.Module):
    """One feature group: embed, concatenate, encode."""

    def __init__(
        self,
        config: GroupConfig,
        specs: dict[str, InputSpec],
        *,
        embedding_dim: int,
        quirks: Quirks,
        dtype: jnp.dtype,
        rngs: nnx.Rngs,
    ):
        self.features = GroupFeatures(config, specs, quirks=quirks, dtype=dtype, rngs=rngs)
        self.encoder = make_encoder(
            config.encoder,
            self.features.channels,
            filters=tuple(embedding_dim * ratio for ratio in config.conv_filter_ratios),
            kernel_size=config.conv_kernel_size,
            lstm_units=config.lstm_units,
            numbers_only=not self.features.embedded,
            quirks=quirks,
            dtype=dtype,
            rngs=rngs,
        )

    def __call__(self, features: dict[str, jax.Array]) -> jax.Array:
        """[B, length] by input name -> [B, F]."""
        x, mask = self.features(features)
        return self.encoder(x, mask)


class ContextEncoder(nnx.Module):
    """All groups' encodings, concatenated, through ReLU layers and a projection to D."""

    def __init__(
        self,
        config: ModelConfig,
        specs: dict[str, InputSpec],
        *,
        quirks: Quirks,
        dtype: jnp.dtype,
        rngs: nnx.Rngs,
    ):
        self.groups = nnx.List(
            [
                FeatureGroupEncoder(
                    group,
                    specs,
                    embedding_dim=config.embedding_dim,
                    quirks=quirks,
                    dtype=dtype,
                    rngs=rngs,
                )
                for _, group in config_lib.groups(config)
            ]
        )
        self.relu_projection = quirks.relu_projection
        width = sum(group.encoder.output_dim for group in self.groups)
        self.hidden: nnx.List[nnx.Linear] = nnx.List([])
        for dim in config.hidden_dims:
            self.hidden.append(self._dense(width, dim, dtype, rngs))
            width = dim
        self.projection = self._dense(width, config.embedding_dim, dtype, rngs)

    @staticmethod
    def _dense(width: int, dim: int, dtype: jnp.dtype, rngs: nnx.Rngs) -> nnx.Linear:
        init = nnx.initializers.glorot_uniform()
        return nnx.Linear(width, dim, kernel_init=init, dtype=dtype, rngs=rngs)

    def __call__(self, features: dict[str, jax.Array]) -> jax.Array:
        """[B, length] by input name -> [B, D]."""
        return self.combine([group(features) for group in self.groups])

    def item_table(self) -> nnx.Param:
        """The table of item.id, [rows, E], in a model that has one (config.model.tied_tables)."""
        (table,) = (
            group.features.tables[spec.name]
            for group in self.groups
            for spec in group.features.embedded
            if spec.source == "item.id"
        )
        return table

    def combine(self, encodings: Sequence[jax.Array]) -> jax.Array:
        """The groups' encodings [B, F], in their order -> [B, D]."""
        x = encodings[0] if len(encodings) == 1 else jnp.concatenate(encodings, axis=-1)
        for layer in self.hidden:
            x = nnx.relu(layer(x))
        x = self.projection(x)
        return nnx.relu(x) if self.relu_projection else x
