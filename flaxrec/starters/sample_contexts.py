"""Random contexts to verify a starter's export, because real ones may not be shipped.

Items are drawn with probability proportional to 1 / rank in the vocabulary, which is sorted by
count. Half of the contexts have 1 to L events, the others more. Values of time are drawn as well,
every known one and 'unknown' alike. Other features are joined as usual.
"""

import jax
import numpy as np

from flaxrec.config import Config
from flaxrec.data import contexts, moments
from flaxrec.data.contexts import DeviceTimelines
from flaxrec.data.spec import InputSpec, ModelSpec
from flaxrec.data.timelines import Timelines
from flaxrec.exporting import serving

_LONGEST = 17  # steps of a drawn time: a day


def draw(config: Config, spec: ModelSpec, timelines: Timelines | None) -> dict[str, np.ndarray]:
    """Inputs of n = `config.export.verification_contexts` random contexts, [n, length] by name.

    Every call draws the same items. Features come from `timelines`; None if ids and times are the
    only inputs.
    """
    rng, longest = np.random.default_rng(0), config.model.context_length
    count = config.export.verification_contexts
    lengths = np.full(count, longest + 1, np.int32)
    lengths[: -(-count // 2)] = np.linspace(1, longest, -(-count // 2)).round()
    # Each context is followed by one event in the place of its label, which is never read.
    ends = np.cumsum(lengths + 1, dtype=np.int32)
    weights = 1 / np.arange(1, spec.candidates + 1)
    drawn = rng.choice(spec.candidates, ends[-1], p=weights / weights.sum())
    rows = (spec.first_candidate + drawn).astype(np.int32)
    made = DeviceTimelines(
        offsets=np.r_[0, ends].astype(np.int32),
        user=np.repeat(np.arange(count, dtype=np.int32), lengths + 1),  # type: ignore[arg-type]
        item=rows,
        first_occurrence=np.ones(len(rows), bool),  # type: ignore[arg-type]
        columns={i.name: _column(i, rows, count, timelines) for i in spec.inputs},  # type: ignore[misc]
    )
    with jax.default_device(serving.cpu()):
        gather = jax.jit(contexts.gatherer(config, spec.inputs))
        return jax.device_get(gather(made, ends - 1))


def _column(
    spec: InputSpec, rows: np.ndarray, users: int, timelines: Timelines | None
) -> tuple[np.ndarray, np.ndarray | None]:
    """The input's values over the drawn events, and each event's offset if it is multi-valued."""
    if spec.source == "item.id":
        return np.minimum(rows, spec.rows - 1), None  # 'unknown' beyond a truncated vocabulary
    if spec.source in moments.SOURCES:
        rng = np.random.default_rng(1)
        if spec.source == moments.SECONDS_AGO:  # seconds since some moment, later for later events
            return _ascending(rng, len(rows)), None
        if spec.type == "FLOAT":
            return rng.integers(_LONGEST, size=len(rows)).astype(np.float32), None
        return rng.integers(1, spec.rows, len(rows), np.int32), None
    assert timelines is not None
    column = timelines.columns[spec.name]
    if spec.source.startswith("user."):
        return np.resize(column.values, (users, spec.length)), None
    known, first = np.unique(timelines.item, return_index=True)
    events = first[np.searchsorted(known, rows)]  # one event per item, which has its features
    if column.offsets is None:
        return column.values[events], None
    parts = [column.values[column.offsets[e] : column.offsets[e + 1]] for e in events]
    offsets = np.r_[0, np.cumsum([len(part) for part in parts])].astype(np.int32)
    return np.concatenate(parts), offsets


def _ascending(rng: np.random.Generator, count: int) -> np.ndarray:
    """int32; beyond its range they wrap around, and differences stay right."""
    apart = 2 ** rng.uniform(0, _LONGEST, count)
    return apart.astype(np.int64).cumsum().astype(np.int32)
