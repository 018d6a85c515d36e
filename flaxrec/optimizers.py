"""The optax optimiser that a config describes."""

import optax

from flaxrec.config import OptimizerConfig


def learning_rate(config: OptimizerConfig, steps: int) -> optax.Schedule:
    """Learning rate by step: warm-up from 0, then constant or falling to 0 at `steps`."""
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

    Extra keyword arguments of `update` reach every transformation. That is the place for what
    transformations of gathered rows need (the reference clips each embedding by the norm of its
    un-deduplicated gathered rows).
    """
    rate = learning_rate(config, steps)
    if config.name == "adagrad":
        main = optax.adagrad(rate, config.initial_accumulator, config.epsilon)
    elif config.name == "adam":
        main = optax.adam(rate, eps=config.epsilon)
    else:
        main = optax.adamw(rate, eps=config.epsilon, weight_decay=config.weight_decay)
    if config.clip_norm:
        main = optax.chain(optax.clip_by_global_norm(config.clip_norm), main)
    return optax.with_extra_args_support(main)
