"""Reads or draws contexts to measure latencies, and deals them so that calls get new ones.

A model that gets the same input again and again appears too fast: the processor's branch predictor
learns that input's path through the top-K.
"""

import os
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from flaxrec.errors import ExportError, reason
from flaxrec.files import DamagedError
from flaxrec.files.npz import read_npz
from flaxrec.tflite.inspection import Input, ModelFile
from flaxrec.tflite.metadata import CANDIDATE_MASK

# The contexts of one model: an array for each input, [n, *shape], in the file's order.
Contexts = list[np.ndarray]

# With fewer the branch predictor learns them all: the median of a model of 3,953 items was 14.5 us
# with 5 contexts, 33 with 20, 37 with 50, and stayed at 37.3 to 37.9 from 100 to 8,000.
ENOUGH = 100
_DRAWN_AT_MOST = 50_000
_RATINGS = (0.5, 5.0)  # range of drawn numbers
_LABEL = "label"  # in files of judged contexts: the label, which is no input


def draw(models: Sequence[ModelFile], count: int, seed: int) -> list[Contexts]:
    """Draws contexts of 1 to L activities with ids of the whole table, padded at the end.

    Inputs of one length have the same number of activities. Models with the same inputs get the
    same contexts, even if the inputs have other names. A mask of the candidates leaves out nothing.

    Args:
      models: the models.
      count: contexts wanted.
      seed: of the draw.

    Returns:
      For each model n contexts without repeats; n is below `count` if some were equal or `count` is
      above 50,000.

    Raises:
      ExportError: the rows of an input's table are not known, or there are too few contexts.
    """
    rng = np.random.default_rng(seed)
    count = min(count, _DRAWN_AT_MOST)
    lengths: dict[int, np.ndarray] = {}
    made: dict[tuple, np.ndarray] = {}
    drawn = []
    for model in models:
        places: Counter[tuple] = Counter()
        contexts = []
        for spec in model.inputs:
            if spec.name == CANDIDATE_MASK and spec.dtype == "float32":
                contexts.append(_no_mask(spec, count))
                continue
            kind = (spec.dtype, spec.shape, spec.rows)
            key = (*kind, places[kind])
            places[kind] += 1
            if spec.rows is None and not spec.dtype.startswith("float"):
                raise ExportError(
                    f"{model.path} does not tell which ids its input {spec.name} ({spec.dtype}) "
                    "takes; give contexts with --contexts=FILE.npz."
                )
            if key not in made:
                made[key] = draw_input(spec, count, lengths, rng)
            contexts.append(made[key])
        drawn.append(contexts)
    return _different(drawn)


def draw_input(
    spec: Input, count: int, lengths: dict[int, np.ndarray], rng: np.random.Generator
) -> np.ndarray:
    """Draws values of one input in 1 to L places, then padding; [count, *shape].

    Args:
      spec: the input; an int input has `rows`.
      count: number of contexts.
      lengths: number of activities of each context, [count], by L; draws and adds missing ones.
      rng: random generator.
    """
    shape = (count, *(spec.shape or (1,)))
    if spec.rows is None or spec.dtype.startswith("float"):
        values: np.ndarray = rng.uniform(*_RATINGS, shape)
    else:
        values = rng.integers(min(1, spec.rows - 1), spec.rows, shape)
    length = shape[-1]
    if length not in lengths:
        lengths[length] = rng.integers(1, length, count, endpoint=True)
    kept = np.arange(length) < lengths[length].reshape(count, *[1] * (len(shape) - 1))
    return np.where(kept, values, 0).astype(spec.dtype).reshape(count, *spec.shape)


def read(file: str | os.PathLike, models: Sequence[ModelFile]) -> list[Contexts]:
    """Reads saved contexts, [n, length] by input name in an .npz; ignores its `label`.

    An input whose name is not in the file takes the only remaining array of its length and kind:
    other people's models use other names. A mask of the candidates that is not in the file leaves
    out nothing.

    Returns:
      For each model its contexts, without repeats.

    Raises:
      ExportError: the file cannot be read, lacks an input, has ids beyond a table or too few rows.
    """
    arrays = _load(file)
    found = []
    for model in models:
        named = {s.name: s.name for s in model.inputs if s.name in arrays}
        contexts = []
        for spec in model.inputs:
            if spec.name == CANDIDATE_MASK and spec.name not in arrays:
                contexts.append(_no_mask(spec, len(next(iter(arrays.values()), ()))))
                continue
            name = named.get(spec.name) or _only_one_like(spec, arrays, set(named.values()))
            named[spec.name] = name or ""
            if not name or not _fits(arrays[name], spec):
                raise ExportError(
                    f"{file} has no array for the input {spec.name} of {model.path} ({spec.dtype} "
                    f"[n, {', '.join(map(str, spec.shape))}]); save one, or leave --contexts out."
                )
            _check_ids(file, arrays[name], spec, model)
            contexts.append(arrays[name].astype(spec.dtype))
        found.append(contexts)
    return _different(found)


def _no_mask(spec: Input, count: int) -> np.ndarray:
    """The same zeros for every context, once in memory, [count, *shape]."""
    return np.broadcast_to(np.zeros(spec.shape, spec.dtype), (count, *spec.shape))


def _load(file: str | os.PathLike) -> dict[str, np.ndarray]:
    try:
        arrays = {name: array for name, array in read_npz(file).items() if name != _LABEL}
    except FileNotFoundError as error:
        raise ExportError(f"There is no file of contexts {file}.") from error
    except (OSError, DamagedError) as error:
        raise ExportError(
            f"{file} is no .npz of contexts ({reason(error)}); a run's are in assets/contexts.npz."
        ) from error
    lengths = {name: len(array) if array.ndim else 0 for name, array in arrays.items()}
    if len(set(lengths.values())) > 1:
        raise ExportError(
            f"The arrays of {file} have different numbers of rows "
            f"({', '.join(f'{name} {n}' for name, n in lengths.items())}); save one row a context."
        )
    return arrays


def _fits(array: np.ndarray, spec: Input) -> bool:
    kinds = "iu" if spec.dtype.startswith("int") else "f"
    return array.shape[1:] == spec.shape and array.dtype.kind in kinds


def _only_one_like(spec: Input, arrays: dict[str, np.ndarray], taken: set[str]) -> str | None:
    alike = [name for name, array in arrays.items() if name not in taken and _fits(array, spec)]
    return alike[0] if len(alike) == 1 else None


def _check_ids(file: str | os.PathLike, array: np.ndarray, spec: Input, model: ModelFile) -> None:
    if not spec.dtype.startswith("int") or spec.rows is None or not array.size:
        return
    low, high = int(array.min()), int(array.max())
    if low < 0 or high >= spec.rows:
        raise ExportError(
            f"{file} has the id {low if low < 0 else high} for the input {spec.name}, but its "
            f"table in {model.path} has the rows 0 to {spec.rows - 1}; use contexts of the "
            "model's own vocabulary."
        )


def _different(contexts: list[Contexts]) -> list[Contexts]:
    """The rows whose context repeats no earlier row of any model."""
    count = len(contexts[0][0])
    kept = np.ones(count, bool)
    for arrays in contexts if count else ():
        own = [a for a in arrays if a.strides[0]]  # not a mask, which is the same for all
        flat = [np.ascontiguousarray(a).reshape(count, -1).view(np.uint8) for a in own]
        _, first = np.unique(np.concatenate(flat, axis=1), axis=0, return_index=True)
        kept &= np.isin(np.arange(count), first)
    least = 4 * len(contexts)
    if kept.sum() < least:
        raise ExportError(
            f"There are {kept.sum()} different contexts for {len(contexts)} models, of at least "
            f"{least} needed to give each call a new one; save more, or leave --contexts out."
        )
    return [[a[kept] if a.strides[0] else a[: kept.sum()] for a in arrays] for arrays in contexts]


def deal(count: int, rng: np.random.Generator) -> Iterator[int]:
    """Yields numbers below `count` without end, at least count // 2 others before one repeats.

    Each pass yields every number once, in random order. The halves of a pass are shuffled
    separately, so that the last number of a pass is not the first of the next.
    """
    order = rng.permutation(count)
    while True:
        yield from order.tolist()
        half = count // 2
        order = np.concatenate([rng.permutation(order[:half]), rng.permutation(order[half:])])
