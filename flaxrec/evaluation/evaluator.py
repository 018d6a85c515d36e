"""Evaluation: ranks every candidate for every label, without sampling.

'Seen' items are the items of all earlier events of the label's user; filtered ranks leave them out
of the candidates, except the label itself.
Shapes: B labels at a time, C candidates.
"""

import dataclasses
import functools
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec

from flaxrec.config import Config
from flaxrec.data import contexts
from flaxrec.data.contexts import DeviceTimelines
from flaxrec.data.spec import ModelSpec
from flaxrec.data.splits import Split
from flaxrec.data.timelines import Timelines
from flaxrec.devices import BATCH, MODEL, Mesh
from flaxrec.evaluation import blocks
from flaxrec.models.dual_encoder import Params, Structure
from flaxrec.models.split_tables import SplitTables
from flaxrec.models.transitions_head import TransitionsHead
from flaxrec.scoring import losses, metrics
from flaxrec.terminal.progress import progress

_SEEN_CHUNK = 128
_COPIES = 4  # arrays of all logits that live at once
_OF_BATCHES = ("batch_rank", "all_pairs_rank")  # depend on the batch's other labels


@dataclasses.dataclass(frozen=True)
class PerLabel:
    """Measurements of each label.

    Attributes:
      positions: int32 [n], the labels' events.
      rank: float32 [n], 0-based.
      filtered_rank: float32 [n], with seen items left out of the candidates; None if the data do
        not contain the seen items.
      loss: float32 [n], cross-entropy over all candidates; None for models without probabilities.
      batch_rank: int32 [n] in reference mode (without the last batch if partial), else None.
      all_pairs_rank: float32 [n], likewise; see `metrics.all_pairs_rank`.
      top: int32 [n, k], the k best candidates, best first, seen items left out (if fewer are left,
        seen ones fill the end of the list); None without lists.
    """

    positions: np.ndarray
    rank: np.ndarray
    filtered_rank: np.ndarray | None
    loss: np.ndarray | None
    batch_rank: np.ndarray | None = None
    all_pairs_rank: np.ndarray | None = None
    top: np.ndarray | None = None

    def means(self, ks: tuple[int, ...], weights: np.ndarray | None = None) -> dict[str, float]:
        """Metrics by name, as in metrics.jsonl; weighted where `weights`, float [n], are given."""
        means = {}
        if self.loss is not None:
            means["loss"] = float(np.average(self.loss, weights=weights))
        means |= metrics.from_ranks(self.rank, ks, weights=weights)
        if self.filtered_rank is not None:
            means |= metrics.from_ranks(self.filtered_rank, ks, "filtered/", weights)
        if self.batch_rank is not None and len(self.batch_rank):
            means |= {f"batch_recall@{k}": float((self.batch_rank < k).mean()) for k in ks}
            means["batch_mean_rank"] = float(self.batch_rank.mean())
        if self.all_pairs_rank is not None and len(self.all_pairs_rank):
            means["all_pairs_mean_rank"] = float(self.all_pairs_rank.mean(dtype=np.float64))
        return means


class Evaluator:
    """Ranks labels with one compiled step; `earlier_events` is from the function of that name.

    Attributes:
      head: added to the logits; its weight may change between calls.
      after_batch: called with 1 and the seconds of a batch; what it raises ends the ranking.
    """

    def __init__(
        self,
        structure: Structure,
        spec: ModelSpec,
        config: Config,
        timelines: DeviceTimelines,
        earlier_events: np.ndarray | None,
        mesh: Mesh,
        head: TransitionsHead | None = None,
        tables: SplitTables | None = None,
    ):
        self.head = mesh.replicate(head)
        self.after_batch: Callable[[int, float], None] | None = None
        self._timelines = timelines
        self._earlier_events = earlier_events
        self._mesh = mesh
        self._batch_size = mesh.round_up(_labels_at_once(config, spec, head, mesh, tables))
        self._quirks = config.quirks
        blocked = head is None and mesh.size == 1
        step = _make_step(
            structure,
            spec,
            config,
            knows_seen=earlier_events is not None,
            tables=tables,
            rows=_rows_of_block(config, spec, self._batch_size) if blocked else 0,
            mesh=None if mesh.size == 1 else mesh,
        )
        # Every process has all of the results.
        self._step = jax.jit(step, static_argnums=4, out_shardings=mesh.replicated)

    def __call__(
        self, params: Params, positions: np.ndarray, what: str = "evaluation", top: int = 0
    ) -> PerLabel:
        """Ranks the labels at `positions`, int32 [n]; lists the `top` best candidates for each.

        Split tables are taken as they lie on the devices, or whole.
        """
        order = np.arange(len(positions))
        if self._earlier_events is not None and not self._quirks.batch_metrics:
            # Batches of labels with similarly many earlier events need fewer chunks of seen items.
            order = np.argsort(self._earlier_events[positions], kind="stable")
        ordered = positions[order]
        results: list[dict[str, np.ndarray]] = []
        with progress(what, len(positions), "labels") as advance:
            for begin in range(0, len(positions), self._batch_size):
                batch, start = ordered[begin : begin + self._batch_size], time.perf_counter()
                padded = np.resize(batch, self._batch_size)
                labels = self._mesh.shard(padded)
                out = self._step(params, self.head, self._timelines, labels, top)
                host = jax.device_get(out)
                if len(batch) < self._batch_size:
                    host = {k: v[: len(batch)] for k, v in host.items() if k not in _OF_BATCHES}
                results.append(host)
                advance(len(batch))
                if self.after_batch is not None:
                    self.after_batch(1, time.perf_counter() - start)
        back = np.argsort(order)

        def joined(key: str) -> np.ndarray:
            return np.concatenate([r[key] for r in results if key in r] or [np.zeros(0)])

        of_batches = _OF_BATCHES if self._quirks.batch_metrics else ()
        return PerLabel(
            positions,
            joined("rank")[back],
            None if self._earlier_events is None else joined("filtered_rank")[back],
            joined("loss")[back],
            **{key: joined(key) for key in of_batches},
            top=joined("top")[back] if top else None,
        )


def earlier_events(timelines: Timelines) -> np.ndarray | None:
    """Number of earlier events of the same user, int32 [N]; None if contexts are stored."""
    if timelines.contexts_are_stored:
        return None
    return np.arange(len(timelines.item), dtype=np.int32) - timelines.offsets[timelines.user]


def label_report(timelines: Timelines, split: Split, positions: np.ndarray) -> dict[str, float]:
    """Counts of labels and of those whose item has no training label; share of repeats.

    Without the share of repeats if contexts are stored: earlier events are unknown.
    """
    trained = np.zeros(int(timelines.item.max()) + 1, bool)
    trained[timelines.item[split.train]] = True
    report: dict[str, float] = {"labels": len(positions)}
    if not timelines.contexts_are_stored:
        repeats = ~timelines.first_occurrence[positions]
        report["repeated_share"] = float(repeats.mean()) if len(positions) else 0.0
    report["without_training_event"] = int((~trained[timelines.item[positions]]).sum())
    return report


def _labels_at_once(
    config: Config, spec: ModelSpec, head: TransitionsHead | None, mesh: Mesh, tables: Any
) -> int:
    """The labels of a batch: fewer than config.evaluation.batch_size if memory is bounded."""
    wanted, megabytes = config.evaluation.batch_size, config.evaluation.max_megabytes
    if not megabytes or config.quirks.batch_metrics:
        return wanted
    if head is None and mesh.size == 1:
        while wanted > 1 and not _rows_of_block(config, spec, wanted):
            wanted //= 2
        return wanted
    each = 4 * _COPIES * spec.candidates // mesh.size
    return max(1, min(wanted, (megabytes << 20) // each))


def _rows_of_block(config: Config, spec: ModelSpec, labels: int) -> int:
    """Candidates at a time; 0: all."""
    megabytes = config.evaluation.max_megabytes
    if not megabytes or config.quirks.batch_metrics:
        return 0
    return blocks.rows_of_block(labels, spec.candidates, config.model.embedding_dim + 1, megabytes)


def _make_step(
    structure: Structure,
    spec: ModelSpec,
    config: Config,
    *,
    knows_seen: bool,
    tables: SplitTables | None = None,
    rows: int = 0,
    mesh: Mesh | None = None,
) -> Callable[..., dict[str, jax.Array]]:
    """A step; with `rows`, so many candidates at a time; with `mesh`, on its devices."""
    gather = contexts.gatherer(config, spec.inputs)

    def step(
        params: Params,
        head: TransitionsHead | None,
        timelines: DeviceTimelines,
        positions: jax.Array,
        top: int,
    ) -> dict[str, jax.Array]:
        features = gather(timelines, positions)
        labels = timelines.item[positions] - spec.first_candidate
        if rows:
            model = structure.merge(params)
            context = model.encode_context(features)
            parts = blocks.Blocks(model, context, labels, spec.candidates, rows)
            rank, loss, own = blocks.ranks(parts)
            out = {"rank": rank, "loss": loss}
            if knows_seen:
                out["filtered_rank"] = rank - blocks.places_of_seen(
                    parts, own, timelines, positions, spec.first_candidate
                )
            if top:

                def of_block(logits: jax.Array, first: jax.Array, k: int) -> Any:
                    return _best(
                        logits, timelines, positions, first, spec=spec, knows_seen=knows_seen, top=k
                    )

                out["top"] = blocks.best(parts, of_block, min(top, spec.candidates))
            return out
        if tables is not None:
            params = tables.trimmed(tables.padded(params))
        logits = structure.merge(params).logits(features)
        logits = logits if head is None else logits + head(features)
        rank = metrics.label_rank(logits, labels)
        out = {"rank": rank, "loss": losses.global_softmax.cross_entropy(logits, labels)}
        if knows_seen:
            places = _seen_before(logits, labels, timelines, positions, spec)
            out["filtered_rank"] = rank - places
        if top:
            best = functools.partial(_best, spec=spec, knows_seen=knows_seen, top=top)
            if mesh is None:
                out["top"] = best(logits, timelines, positions)[1]
            else:
                out["top"] = _best_of_parts(best, mesh, logits, timelines, positions, top)
        if config.quirks.batch_metrics:
            out["batch_rank"] = metrics.batch_rank(logits, labels)
            out["all_pairs_rank"] = metrics.all_pairs_rank(logits, labels)
        return out

    return step


def _best(
    logits: jax.Array,
    timelines: DeviceTimelines,
    positions: jax.Array,
    first: jax.Array | int = 0,
    *,
    spec: ModelSpec,
    knows_seen: bool,
    top: int,
) -> tuple[jax.Array, jax.Array]:
    """The logits and numbers of the best candidates, seen ones last, [B, top] or all there are.

    Logits are those of candidates from `first` on; the numbers count from there.
    """
    if knows_seen:
        logits = _without_seen(logits, timelines, positions, spec, first)
    return jax.lax.top_k(logits, min(top, logits.shape[1]))


def _best_of_parts(
    best: Callable[..., tuple[jax.Array, jax.Array]],
    mesh: Mesh,
    logits: jax.Array,
    timelines: DeviceTimelines,
    positions: jax.Array,
    top: int,
) -> jax.Array:
    """int32 [B, top]: as `_best`, with each device's own best instead of all devices' logits."""
    candidates = logits.shape[1]
    each = -(-candidates // mesh.shards)

    def of_part(
        logits: jax.Array, timelines: DeviceTimelines, positions: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        first = jax.lax.axis_index(MODEL) * each
        scores, numbers = best(logits, timelines, positions, first)
        return scores, numbers + first

    by_both, by_rows = PartitionSpec(BATCH, MODEL), PartitionSpec(BATCH)
    padded = jnp.pad(
        logits, [(0, 0), (0, each * mesh.shards - candidates)], constant_values=-jnp.inf
    )
    scores, numbers = mesh.by_part(
        of_part, (by_both, PartitionSpec(), by_rows), (by_both, by_both)
    )(padded, timelines, positions)
    # Parts stand in their order, so that the first of equal candidates is taken, as of one part.
    among = jax.lax.top_k(scores, min(top, candidates))[1]
    return jnp.take_along_axis(numbers, among, axis=1)


def _without_seen(
    logits: jax.Array,
    timelines: DeviceTimelines,
    positions: jax.Array,
    spec: ModelSpec,
    first: jax.Array | int,
) -> jax.Array:
    """float32 [B, C]: the logits, with those of seen items at the lowest finite value.

    They are those of C candidates from `first` on.
    """
    start = timelines.offsets[timelines.user[positions]]
    rows = jnp.arange(len(positions))[:, None]
    lowest = jnp.finfo(jnp.float32).min

    def hide(chunk: jax.Array, logits: jax.Array) -> jax.Array:
        index = start[:, None] + chunk * _SEEN_CHUNK + jnp.arange(_SEEN_CHUNK)
        candidate = timelines.item.at[index].get(mode="clip") - spec.first_candidate
        # Padding and later events get an index beyond the candidates, which `drop` ignores.
        inside = (index < positions[:, None]) & (candidate >= first)
        candidate = jnp.where(inside, candidate - first, logits.shape[1])
        return logits.at[rows, candidate].set(lowest, mode="drop")

    chunks = (jnp.max(positions - start) + _SEEN_CHUNK - 1) // _SEEN_CHUNK
    return jax.lax.fori_loop(0, chunks, hide, logits)


def _seen_before(
    logits: jax.Array,
    labels: jax.Array,
    timelines: DeviceTimelines,
    positions: jax.Array,
    spec: ModelSpec,
) -> jax.Array:
    """float32 [B]: the part of each label's rank that is due to seen items."""
    start = timelines.offsets[timelines.user[positions]]
    own = jnp.take_along_axis(logits, labels[:, None], axis=1)

    def add(chunk: jax.Array, total: jax.Array) -> jax.Array:
        index = start[:, None] + chunk * _SEEN_CHUNK + jnp.arange(_SEEN_CHUNK)
        candidate = timelines.item.at[index].get(mode="clip") - spec.first_candidate
        # An item seen twice takes one place: only its first occurrence counts.
        counts = (index < positions[:, None]) & timelines.first_occurrence.at[index].get(
            mode="clip"
        )
        counts &= candidate != labels[:, None]
        scores = jnp.take_along_axis(logits, candidate, axis=1)
        places = jnp.where(scores > own, 1.0, jnp.where(scores == own, 0.5, 0.0))
        return total + jnp.sum(jnp.where(counts, places, 0.0), axis=1)

    chunks = (jnp.max(positions - start) + _SEEN_CHUNK - 1) // _SEEN_CHUNK
    return jax.lax.fori_loop(0, chunks, add, jnp.zeros(len(positions), jnp.float32))
