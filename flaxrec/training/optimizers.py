"""The optax optimiser of a config."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from flaxrec.config import OptimizerConfig


def learning_rate(config: OptimizerConfig, steps: int) -> optax.Schedule:
    """Learning rate by step: warm-up from 0, then constant or decay to 0 at `steps`."""
    warmup = min(config.warmup_steps, steps)
    rest = max(1, steps - warmup)
    if config.schedule == "cosine":
        main = optax.cosine_decay_schedule(config.learning_rate, rest)
    elif config.schedule == "linear":
        main = optax.linear_schedule(config.learning_rate, 0.0, rest)
    else:
        main = optax.constant_schedule(config.learning_rate)
    if not warmup:
        return main
    rise = optax.linear_schedule(0.0, config.learning_rate, warmup)
    return optax.join_schedules([rise, main], [warmup])


def make_optimizer(config: OptimizerConfig, steps: int) -> optax.GradientTransformationExtraArgs:
    """The optimiser for a run of `steps` steps.

    Its `update` takes `row_norms`, see `clip_by_parameter_norm`.
    """
    rate = learning_rate(config, steps)
    if config.name == "adagrad":
        main = optax.adagrad(rate, config.initial_accumulator, config.epsilon)
    elif config.name == "adam":
        main = optax.adam(rate, b2=config.beta2, eps=config.epsilon)
    else:
        main = optax.adamw(
            rate,
            b2=config.beta2,
            eps=config.epsilon,
            weight_decay=config.weight_decay,
            mask=lambda params: jax.tree.map(lambda p: p.ndim > 1, params),
        )
    if config.clip_norm:
        clips = {"global": optax.clip_by_global_norm, "per_parameter": clip_by_parameter_norm}
        main = optax.chain(clips[config.clip](config.clip_norm), main)
    return optax.with_extra_args_support(main)


def clip_by_parameter_norm(max_norm: float) -> optax.GradientTransformationExtraArgs:
    """Scales each parameter's gradient to at most `max_norm`, as Keras' `clipnorm` does.

    The transformation's `update` takes `row_norms`, float32 [] by parameter name, used instead of
    the gradients' own norms (TensorFlow takes a looked-up table's norm over the rows' gradients
    before it sums those of repeated rows).
    """

    def update(
        updates: Mapping[str, jax.Array],
        state: optax.EmptyState,
        params: optax.Params | None = None,
        *,
        row_norms: Mapping[str, jax.Array] | None = None,
        **further: Any,
    ) -> tuple[dict[str, jax.Array], optax.EmptyState]:
        del params, further
        norms = {name: jnp.linalg.norm(gradient) for name, gradient in updates.items()}
        norms |= row_norms or {}
        clipped = {
            name: gradient * (max_norm / jnp.maximum(norms[name], max_norm))
            for name, gradient in updates.items()
        }
        return clipped, state

    return optax.GradientTransformationExtraArgs(lambda params: optax.EmptyState(), update)
