"""Ranks of labels among many candidates, a block of them at a time.

No scores of all candidates are held. A label is compared with scores of the very products that it
has one in: products of a block's rows with all contexts, all of one form. Its own score, needed
before, is that of a product of this form as well; where the block gives another one, to the bit,
the comparison is done again with the block's.
Shapes: B labels, C candidates, R candidates of a block, S earlier events of one pass.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from flaxrec.data.contexts import DeviceTimelines
from flaxrec.models.dual_encoder import DualEncoder

_MOST = 4096  # candidates of a block: more do not stay in the caches
_COPIES = 4  # arrays of a block's scores that live at once, and its rows
_UNIT = 8  # R is a multiple, so that the products' inner loops treat all rows alike


def rows_of_block(labels: int, candidates: int, dimension: int, megabytes: int) -> int:
    """R, so that blocks take at most so many MiB; 0: not even one of so many labels does."""
    most = (megabytes << 20) // (4 * (_COPIES * labels + 2 * dimension))
    rows = min(most, _MOST, candidates + _UNIT) // _UNIT * _UNIT
    return rows if rows >= min(labels, _MOST) // _UNIT * _UNIT and rows else 0


@dataclasses.dataclass(frozen=True)
class Blocks:
    """What the functions below share.

    Attributes:
      model: the model.
      context: [B, D], encodings of the labels' contexts.
      labels: int32 [B], candidates.
      candidates: C.
      rows: R.
    """

    model: DualEncoder
    context: jax.Array
    labels: jax.Array
    candidates: int
    rows: int

    def scores(self, some: jax.Array) -> jax.Array:
        """float32 [R, B]: of int32 [R] candidates, cut to those that exist, with all contexts."""
        inside = jnp.clip(some, 0, self.candidates - 1)
        return self.model.score(self.model.label_encoder.some(inside), self.context)

    def of_each(self, some: jax.Array) -> jax.Array:
        """float32 [n, B]: of int32 [n, B] candidates, each with the context of its column."""
        n, labels = some.shape
        flat = some.reshape(-1)
        passes = -(-len(flat) // self.rows)
        flat = jnp.pad(flat, (0, passes * self.rows - len(flat))).reshape(passes, self.rows)
        place = jnp.arange(passes * self.rows).reshape(passes, self.rows) % labels

        def one(given: tuple[jax.Array, jax.Array]) -> jax.Array:
            return jnp.take_along_axis(self.scores(given[0]), given[1][:, None], axis=1)[:, 0]

        return jax.lax.map(one, (flat, place)).reshape(-1)[: n * labels].reshape(n, labels)

    def over_all(self, add: Callable[[jax.Array, jax.Array, Any], Any], first: Any) -> Any:
        """Adds up over blocks: `add(numbers int32 [R], scores [R, B], sum)`; -inf beyond C."""

        def block(number: jax.Array, total: Any) -> Any:
            some = number * self.rows + jnp.arange(self.rows, dtype=jnp.int32)
            scores = jnp.where((some < self.candidates)[:, None], self.scores(some), -jnp.inf)
            return add(some, scores, total)

        return jax.lax.fori_loop(0, -(-self.candidates // self.rows), block, first)


def ranks(blocks: Blocks) -> tuple[jax.Array, jax.Array, jax.Array]:
    """float32 [B] each: ranks as from `metrics.label_rank`, cross-entropies, and own scores."""
    labels, size = blocks.labels, len(blocks.labels)

    def compared(own: jax.Array) -> tuple[jax.Array, ...]:
        def add(some: jax.Array, scores: jax.Array, total: tuple[jax.Array, ...]) -> Any:
            better, equal, largest, sums, found = total
            largest_now = jnp.maximum(largest, jnp.max(scores, axis=0))
            sums *= jnp.exp(largest - largest_now)
            sums += jnp.sum(jnp.exp(scores - largest_now), axis=0)
            better += jnp.sum(scores > own, axis=0, dtype=jnp.int32)
            equal += jnp.sum(scores == own, axis=0, dtype=jnp.int32)
            place = jnp.clip(labels - some[0], 0, blocks.rows - 1)
            here = (labels >= some[0]) & (labels < some[0] + blocks.rows)
            mine = jnp.take_along_axis(scores, place[None], axis=0)[0]
            return better, equal, largest_now, sums, jnp.where(here, mine, found)

        counts = jnp.zeros(size, jnp.int32)
        lowest = jnp.full(size, jnp.finfo(jnp.float32).min)
        return blocks.over_all(add, (counts, counts, lowest, jnp.zeros(size), jnp.zeros(size)))

    own = blocks.of_each(labels[None])[0]
    found = compared(own)
    same = jnp.all((found[4] == own) | (jnp.isnan(found[4]) & jnp.isnan(own)))
    found = jax.lax.cond(same, lambda: found, lambda: compared(found[4]))
    better, equal, largest, sums, own = found
    rank = better + 0.5 * (equal - 1)
    rank = jnp.where(jnp.isnan(own), float(blocks.candidates), rank)
    return rank, largest + jnp.log(sums) - own, own


def best(
    blocks: Blocks,
    of_block: Callable[[jax.Array, jax.Array, int], tuple[jax.Array, jax.Array]],
    top: int,
) -> jax.Array:
    """int32 [B, top]: the best candidates.

    Args:
      blocks: labels and candidates.
      of_block: the logits and numbers of the best candidates, [B, k], given all of a block, [B, R],
        its first candidate, and k; the numbers count from there.
      top: how many.
    """
    size, k = len(blocks.labels), min(top, blocks.rows)

    def add(some: jax.Array, scores: jax.Array, total: tuple[jax.Array, jax.Array]) -> Any:
        own, numbers = of_block(scores.T, some[0], k)
        # Of equal candidates the first is taken: those of earlier blocks stand first.
        own = jnp.concatenate([total[0], own], axis=1)
        numbers = jnp.concatenate([total[1], numbers + some[0]], axis=1)
        own, place = jax.lax.top_k(own, top)
        return own, jnp.take_along_axis(numbers, place, axis=1)

    none = jnp.full((size, top), -jnp.inf), jnp.zeros((size, top), jnp.int32)
    return blocks.over_all(add, none)[1]


def places_of_seen(
    blocks: Blocks,
    own: jax.Array,
    timelines: DeviceTimelines,
    positions: jax.Array,
    first_candidate: int,
) -> jax.Array:
    """float32 [B]: the part of each label's rank that is due to items of earlier events.

    Args:
      blocks: labels and candidates.
      own: float32 [B], the labels' scores, from `ranks`.
      timelines: the data.
      positions: int32 [B], the labels' events.
      first_candidate: the vocabulary row of candidate 0.
    """
    start = timelines.offsets[timelines.user[positions]]
    events = max(1, blocks.rows // len(positions))  # S, so that a pass is one product

    def add(chunk: jax.Array, total: jax.Array) -> jax.Array:
        index = start + chunk * events + jnp.arange(events, dtype=jnp.int32)[:, None]
        candidate = timelines.item.at[index].get(mode="clip") - first_candidate
        # An item seen twice takes one place: only its first occurrence counts.
        counts = (index < positions) & timelines.first_occurrence.at[index].get(mode="clip")
        counts &= candidate != blocks.labels
        scores = blocks.of_each(candidate)
        places = jnp.where(scores > own, 1.0, jnp.where(scores == own, 0.5, 0.0))
        return total + jnp.sum(jnp.where(counts, places, 0.0), axis=0)

    chunks = (jnp.max(positions - start) + events - 1) // events
    return jax.lax.fori_loop(0, chunks, add, jnp.zeros(len(positions), jnp.float32))
