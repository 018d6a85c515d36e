"""What a step minimises: the loss of contexts and their labels.

Shapes: B contexts of a step, n labels of each, M = B * n, S items before a label, C candidates,
N events.
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp

from flaxrec.config import Config
from flaxrec.data import contexts
from flaxrec.data.contexts import DeviceTimelines, Features, Windows
from flaxrec.data.spec import ModelSpec
from flaxrec.errors import ConfigError
from flaxrec.models import item_sums
from flaxrec.models.dual_encoder import DualEncoder, Structure
from flaxrec.scoring.losses import Step, known_losses, sampled_softmax

Reader = Callable[[DeviceTimelines, jax.Array | None, jax.Array, jax.Array], "Examples"]
Encodings = tuple[jax.Array, jax.Array]  # contexts [M, D] and candidates [C, D]
Loss = Callable[
    [DualEncoder, jax.Array, "Examples", jax.Array, jax.Array, Encodings | None, jax.Array | None],
    jax.Array,
]


@dataclasses.dataclass(frozen=True)
class Examples:
    """A step's contexts and labels.

    Attributes:
      features: [B, length] by input name.
      prefixes: the contexts' labelled prefixes; None if n is 1: only the whole contexts.
      labels: int32 [M], candidates.
      weights: float32 [M], 0 where there is no label; the data's weights, if they have some.
      seen: int32 [M, S], candidates of the context's items, padded with C or more; None if they
        are not excluded.
    """

    features: Features
    prefixes: Windows | None
    labels: jax.Array
    weights: jax.Array
    seen: jax.Array | None


def reader(config: Config, spec: ModelSpec, most_values: dict[str, int]) -> Reader:
    """Makes the function that reads a step's examples.

    Returns:
      A function of the timelines, whether each event is a training label (bool [N]), the events of
      the contexts' last labels (int32 [B]), and how many of their n labels count (int32 [B]).
    """
    n, length = config.train.labels_per_context, config.model.context_length
    is_packed, first_events = config.train.packed, config.train.first_events
    gather = contexts.gatherer(config, spec.inputs)

    def whole(
        timelines: DeviceTimelines, positions: jax.Array
    ) -> tuple[Features, Windows | None, jax.Array]:
        return gather(timelines, positions), None, positions

    def windows(
        timelines: DeviceTimelines, positions: jax.Array
    ) -> tuple[Features, Windows | None, jax.Array]:
        features, prefixes = contexts.gather_windows(
            timelines,
            positions,
            spec.inputs,
            context_length=length,
            labels=n,
            most_values=most_values,
            first_events=first_events,
        )
        return features, prefixes, prefixes.positions.reshape(-1)

    def packed(
        timelines: DeviceTimelines, positions: jax.Array
    ) -> tuple[Features, Windows | None, jax.Array]:
        features, prefixes = contexts.gather_packed(
            timelines, positions, spec.inputs, first_events=first_events
        )
        return features, prefixes, positions.reshape(-1)

    gather_examples = packed if is_packed else whole if n == 1 else windows

    def read(
        timelines: DeviceTimelines,
        trained: jax.Array | None,
        positions: jax.Array,
        counts: jax.Array,
    ) -> Examples:
        features, prefixes, events = gather_examples(timelines, positions)
        if prefixes is None or is_packed:
            weights = jnp.ones(events.shape)
        else:
            own = jnp.arange(n) >= n - counts[:, None]
            counted = (prefixes.inside & own).reshape(-1) & trained[events]  # type: ignore[index]
            weights = counted.astype(jnp.float32)
        if timelines.weight is not None:
            weights = weights * timelines.weight[events]
        labels = timelines.item[events] - spec.first_candidate
        seen = before(timelines, events) if config.loss.exclude_seen else None
        return Examples(features, prefixes, labels, weights, seen)

    def before(timelines: DeviceTimelines, events: jax.Array) -> jax.Array:
        earlier = events[:, None] - 1 - jnp.arange(length)
        there = earlier >= timelines.offsets[timelines.user[events]][:, None]
        rows = timelines.item[jnp.maximum(earlier, 0)]
        return jnp.where(there, rows - spec.first_candidate, spec.candidates)

    return read


def needed(
    config: Config,
    structure: Structure,
    spec: ModelSpec,
    examples: Examples,
    draw_ends: jax.Array | None,
    key: jax.Array,
) -> jax.Array | None:
    """The items of a step whose vectors are read, as `only` of `item_sums.summed`; None: all.

    With config.loss.name=sampled_softmax: labels, drawn candidates, and what contexts read.
    """
    if config.loss.name != "sampled_softmax" or not config.model.label_features:
        return None
    drawn, _ = sampled_softmax.draw(config.loss, draw_ends, key)
    ids = [examples.labels, drawn]
    name, first = item_sums.label_table(structure, spec)
    if of_input := name.rpartition("/tables/")[2] if "/tables/" in name else "":
        ids.append(examples.features[of_input] - first)
    return item_sums.some(spec.candidates, *ids)


def loss(config: Config) -> Loss:
    """Makes the loss function of a step.

    Returns:
      A function of the model, context encodings [M, D], the examples, the log of each candidate's
      share of the training labels (float32 [C]; those after its end take no part), a key, a
      teacher's encodings (see `Teacher.encode`) or None, and what negatives are drawn by (see
      `Step`); it returns the mean loss, float32 [].
    """
    loss_of = known_losses(config)[config.loss.name]

    def of_step(
        model: DualEncoder,
        contexts: jax.Array,
        examples: Examples,
        log_q: jax.Array,
        key: jax.Array,
        teacher: Encodings | None = None,
        draw_ends: jax.Array | None = None,
    ) -> jax.Array:
        if teacher is not None:
            teacher = teacher[0], teacher[1][: len(log_q)]
        step = Step(
            options=config.loss,
            contexts=contexts,
            labels=examples.labels,
            weights=examples.weights,
            every_row_is_a_label=(config.train.packed or config.train.labels_per_context == 1)
            and not config.data.columns.weight,
            seen=examples.seen,
            log_q=log_q,
            key=key,
            all_items=lambda: model.label_encoder.all()[: len(log_q)],
            some_items=model.label_encoder.some,
            score=model.score,
            dtype=model.dtype,
            quirks=config.quirks,
            teacher=teacher,
            teacher_share=config.train.teacher_share,
            draw_ends=draw_ends,
        )
        mean = loss_of(step)
        if jnp.shape(mean):
            raise ConfigError(
                f"The loss {config.loss.name} returns an array of shape {jnp.shape(mean)}; return "
                "one number, such as step.mean(loss)."
            )
        return mean

    return of_step
