"""Contexts: the last L activities before a label, gathered on the device.

The timelines are copied to the device once. A batch holds only the labels' positions; the compiled
step gathers the contexts.
Shapes: B labels, L context length, N events, U users.
"""

import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from flaxrec.config import Config
from flaxrec.data import moments
from flaxrec.data.spec import InputSpec
from flaxrec.data.timelines import Timelines


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Windows:
    """n labels per context: those of its prefixes, then the whole context's own.

    Attributes:
      positions: int32 [B, n], the labels' events.
      inside: bool [B, n], whether the label exists: the context's first event is no label.
      take: int32 [B, n], index in the context of the last activity before each label.
      ranges: (first value, end), int32 [B, n], by name, of the values in a label's context; only
        for multi-valued inputs and inputs shorter than L. Of others it holds all values before it.
      users: int32 [B, L], the activities' users in packed contexts, whose n labels are L; None: a
        context is one user's.
      empty: bool [B, n], whether no activity is before the label; None: of no label.
    """

    positions: jax.Array
    inside: jax.Array
    take: jax.Array
    ranges: dict[str, tuple[jax.Array, jax.Array]]
    users: jax.Array | None = None
    empty: jax.Array | None = None


Features = dict[str, jax.Array]  # input name -> [B, length] int32 or float32; [B, n] of labels


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class DeviceTimelines:
    """The arrays of `Timelines` that contexts are gathered from, on the device.

    Attributes:
      offsets: int32 [U + 1].
      user: int32 [N].
      item: int32 [N], vocabulary rows.
      first_occurrence: bool [N], whether the event is its user's first with that item.
      columns: (values, offsets or None) by input name.
      weight: float32 [N], of the events in the loss; None: all count alike.
    """

    offsets: jax.Array
    user: jax.Array
    item: jax.Array
    first_occurrence: jax.Array
    columns: dict[str, tuple[jax.Array, jax.Array | None]]
    weight: jax.Array | None = None


def to_device(timelines: Timelines, sharding: jax.sharding.Sharding) -> DeviceTimelines:
    """Copies the timelines to the device or devices of `sharding`."""
    host = DeviceTimelines(
        timelines.offsets,  # type: ignore[arg-type]
        timelines.user,  # type: ignore[arg-type]
        timelines.item,  # type: ignore[arg-type]
        timelines.first_occurrence,  # type: ignore[arg-type]
        {name: (c.values, c.offsets) for name, c in timelines.columns.items()},  # type: ignore[misc]
        timelines.weight,  # type: ignore[arg-type]
    )
    return jax.device_put(host, sharding)


def gather_windows(
    timelines: DeviceTimelines,
    positions: jax.Array,
    inputs: tuple[InputSpec, ...],
    *,
    context_length: int,
    labels: int,
    most_values: dict[str, int],
    first_events: bool = False,
) -> tuple[Features, Windows]:
    """Gathers contexts with the last `labels` labels of each.

    Args:
      timelines: the data on the device.
      positions: int32 [B], the events of the whole contexts' labels.
      inputs: the model's inputs; those with one value per activity are at most L long.
      context_length: L.
      labels: n, 1 to L.
      most_values: see the function `most_values`.
      first_events: a user's first event is a label as well, with an empty context.

    Returns:
      The contexts as from `gather`, but each input long enough for all values of L activities; and
      their labels.
    """
    by_activity = [spec for spec in inputs if spec.of_activity]
    lengths = {spec.name: most_values.get(spec.name, context_length) for spec in by_activity}
    whole = tuple(
        dataclasses.replace(spec, length=lengths.get(spec.name, spec.length)) for spec in inputs
    )
    features = gather(timelines, positions, whole, context_length=context_length)
    start = timelines.offsets[timelines.user[positions]]
    begin = jnp.maximum(start, positions - context_length)[:, None]
    of_labels = positions[:, None] + jnp.arange(1 - labels, 1, dtype=jnp.int32)
    first = begin + 1
    if first_events:
        first = jnp.where(begin == start[:, None], begin, first)
    inside = of_labels >= first
    of_labels = jnp.maximum(of_labels, first)
    take = of_labels - begin - 1
    features |= _of_moment(timelines, of_labels, inputs)
    ranges = {}
    for spec in by_activity:
        _, offsets = timelines.columns[spec.name]
        if offsets is not None:
            high = offsets[of_labels] - offsets[begin]
        elif spec.length < context_length:
            high = of_labels - begin
        else:
            continue
        ranges[spec.name] = jnp.maximum(high - spec.length, 0), high
    if not first_events:
        return features, Windows(of_labels, inside, take, ranges)
    return features, Windows(of_labels, inside, jnp.maximum(take, 0), ranges, empty=take < 0)


def gather_packed(
    timelines: DeviceTimelines,
    positions: jax.Array,
    inputs: tuple[InputSpec, ...],
    *,
    first_events: bool = False,
) -> tuple[Features, Windows]:
    """Gathers the activities right before labels of several users.

    Args:
      timelines: the data on the device.
      positions: int32 [B, L], the labels' events; each user's stand together, in order.
      inputs: the model's inputs, each with one value for an activity or a label.
      first_events: some labels may be their user's first event; there padding stands before them.

    Returns:
      [B, L] for each input, and the labels.
    """
    users = timelines.user[positions]
    before = positions - 1
    of_activity = [spec for spec in inputs if spec.of_activity]
    features = {spec.name: timelines.columns[spec.name][0][before] for spec in of_activity}
    empty = None
    if first_events:
        empty = positions == timelines.offsets[users]
        features = {
            name: jnp.where(empty, jnp.zeros((), values.dtype), values)
            for name, values in features.items()
        }
    features |= _of_moment(timelines, positions, inputs)
    take = jnp.broadcast_to(jnp.arange(positions.shape[1]), positions.shape)
    inside = jnp.ones(positions.shape, bool)
    return features, Windows(positions, inside, take, {}, users, empty)


def most_values(
    timelines: Timelines, inputs: tuple[InputSpec, ...], context_length: int
) -> dict[str, int]:
    """By multi-valued input, the largest number of values (at least 1) in any L activities."""
    position = np.arange(len(timelines.item))
    begin = np.maximum(timelines.offsets[timelines.user], position - context_length)
    found = {}
    for spec in inputs:
        offsets = timelines.columns[spec.name].offsets
        if offsets is not None and spec.of_activity:
            found[spec.name] = int(max(1, (offsets[position] - offsets[begin]).max(initial=0)))
    return found


def gatherer(
    config: Config, inputs: tuple[InputSpec, ...]
) -> Callable[[DeviceTimelines, jax.Array], Features]:
    """`gather` with the config's options: a function of timelines and label positions."""
    return functools.partial(
        gather,
        inputs=inputs,
        context_length=config.model.context_length,
        keep_oldest=keeps_oldest(config),
    )


def keeps_oldest(config: Config) -> bool:
    """Whether a flattened feature keeps its oldest values, as in reference mode and TFRecords."""
    quirk = config.quirks.flatten_keeps_oldest
    return quirk or config.data.source == "tfrecord"


def gather(
    timelines: DeviceTimelines,
    positions: jax.Array,
    inputs: tuple[InputSpec, ...],
    *,
    context_length: int,
    keep_oldest: bool = False,
) -> Features:
    """Gathers the contexts before labels.

    Args:
      timelines: the data on the device.
      positions: int32 [B], the labels' events.
      inputs: the model's inputs.
      context_length: L; multi-valued features are flattened over the last L activities.
      keep_oldest: a flattened feature that exceeds its length keeps the oldest values, as the
        reference does, instead of the latest.

    Returns:
      [B, length] for each input, oldest value first, padded with 0 at the end. Inputs of the label
      have its one value, those of windows and packed rows one for each label: [B, n].
    """
    user = timelines.user[positions]
    start = timelines.offsets[user]
    features = {}
    for spec in inputs:
        values, offsets = timelines.columns[spec.name]
        if not len(values):  # a multi-valued feature without any value
            features[spec.name] = jnp.zeros((len(positions), spec.length), values.dtype)
            continue
        if spec.source.startswith("user."):
            features[spec.name] = values[user]
            continue
        if spec.of_label:
            continue
        if values.ndim == 2:  # stored contexts
            features[spec.name] = values[positions]
            continue
        if offsets is None:
            begin, end = jnp.maximum(start, positions - spec.length), positions
        else:
            begin = offsets[jnp.maximum(start, positions - context_length)]
            end = offsets[positions]
            if keep_oldest:
                end = jnp.minimum(end, begin + spec.length)
            else:
                begin = jnp.maximum(begin, end - spec.length)
        index = begin[:, None] + jnp.arange(spec.length, dtype=jnp.int32)
        inside = index < end[:, None]
        gathered = values.at[index].get(mode="clip")
        if spec.source == moments.SECONDS_AGO:  # from the activity to the label
            gathered = values[positions][:, None] - gathered
        features[spec.name] = jnp.where(inside, gathered, jnp.zeros((), values.dtype))
    return features | _of_moment(timelines, positions[:, None], inputs)


def _of_moment(
    timelines: DeviceTimelines, labels: jax.Array, inputs: tuple[InputSpec, ...]
) -> Features:
    """What is known of the moment of asking, by labels' events int32 [B, n]: [B, n] by input."""
    return {s.name: timelines.columns[s.name][0][labels] for s in inputs if s.of_label}
