"""Product quantisation: rows of a table as short codes of parts, after a learned rotation.

A row, rotated, is cut into M parts; each part is stored as the number of the nearest of 181
centroids. M is even: two numbers a and b make one int16, 181 a + b, in two bytes. Centroids and
rotation are found by turns (OPQ: T. Ge et al., 2013): assign, average, rotate. Centroid 0 of each
part is zero, and a row of zeros, such as padding's, stays zero.

Shapes: R rows, D width, M parts, d = ceil(D / M) numbers a part, some of them always zero.
"""

import dataclasses

import numpy as np

CENTROIDS = 181  # of a part: the largest number whose square fits into int16
_LIMIT = 127
_TURNS = 30
_SAMPLED = 2**15  # rows that the centroids are found by
_AT_ONCE = 2**14  # rows whose distances are computed together
_TINY = np.finfo(np.float32).tiny


@dataclasses.dataclass(frozen=True)
class Codes:
    """A table [R, D] in M bytes a row.

    Attributes:
      codes: int16 [M / 2, R]; row p holds 181 a + b of parts p and M / 2 + p.
      centroids: int8 [M, 181, d], times `scale`.
      scale: float32.
      rotation: int8 [D, M * d], times `turn`: a row is its centroids times the transpose.
      turn: float32.
    """

    codes: np.ndarray
    centroids: np.ndarray
    scale: np.float32
    rotation: np.ndarray
    turn: np.float32

    def decoded(self) -> np.ndarray:
        """The table that the codes stand for, float32 [R, D]."""
        parts = np.concatenate(np.divmod(self.codes, CENTROIDS))
        rows = self.centroids[np.arange(len(parts))[:, None], parts]
        joined = rows.transpose(1, 0, 2).reshape(self.codes.shape[1], -1)
        return (joined * self.scale) @ (self.rotation * self.turn).T.astype(np.float32)


def size(rows: int, width: int, parts: int) -> int:
    """Bytes of the codes, the centroids and the rotation of such a table."""
    padded = parts * -(-width // parts)
    return rows * parts + CENTROIDS * padded + width * padded


def encode(table: np.ndarray, parts: int, seed: int = 0) -> Codes:
    """Finds the codes of a table, float32 [R, D], finite, of M parts: even, at most D."""
    random = np.random.default_rng(seed)
    present = np.abs(table).max(axis=1) > 0
    rows = table[present] if present.any() else table
    sample = rows[np.sort(random.permutation(len(rows))[:_SAMPLED])]
    each, rotation = _begin(table.shape[1], parts)
    used = np.flatnonzero(rotation.any(axis=0))
    centroids = _drawn(_cut(sample @ rotation, parts, each), random)
    for turn in range(_TURNS):
        cut = _cut(sample @ rotation, parts, each)
        numbers = _nearest(cut, centroids)
        centroids = _averaged(cut, numbers, centroids)
        if turn % 2:
            told = _joined(centroids, numbers)[:, used]
            left, _, right = np.linalg.svd(sample.T @ told)
            rotation[:, used] = left @ right
    small, scale = _eight_bits(centroids)
    turned, step = _eight_bits(rotation)
    numbers = np.zeros((parts, len(table)), np.int16)
    centres = small * scale
    for begin in range(0, len(table), _AT_ONCE):
        some = slice(begin, begin + _AT_ONCE)
        numbers[:, some] = _nearest(_cut(table[some] @ (turned * step), parts, each), centres)
    numbers[:, ~present] = 0
    half = parts // 2
    codes = (numbers[:half] * CENTROIDS + numbers[half:]).astype(np.int16)
    return Codes(codes, small, scale, turned, step)


def _begin(width: int, parts: int) -> tuple[int, np.ndarray]:
    """d, and a rotation [D, M * d] that only cuts: parts have D / M columns, or one more."""
    each = -(-width // parts)
    sizes = np.diff(np.arange(parts + 1) * width // parts)
    columns = np.concatenate([part * each + np.arange(n) for part, n in enumerate(sizes)])
    rotation = np.zeros((width, parts * each), np.float32)
    rotation[np.arange(width), columns] = 1
    return each, rotation


def _cut(rows: np.ndarray, parts: int, each: int) -> np.ndarray:
    """[R, M * d] -> [M, R, d]."""
    return np.ascontiguousarray(rows.reshape(len(rows), parts, each).transpose(1, 0, 2))


def _joined(centroids: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """The rows [R, M * d] of numbers [M, R]."""
    rows = centroids[np.arange(len(numbers))[:, None], numbers]
    return rows.transpose(1, 0, 2).reshape(numbers.shape[1], -1)


def _drawn(cut: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """The first centroids [M, 181, d]: zero, and rows."""
    chosen = random.choice(cut.shape[1], CENTROIDS, replace=cut.shape[1] < CENTROIDS)
    centroids = cut[:, chosen].copy()
    centroids[:, 0] = 0
    return centroids


def _nearest(cut: np.ndarray, centroids: np.ndarray) -> np.ndarray:
    """The number of the nearest centroid, [M, R]."""
    sizes = np.square(centroids).sum(axis=2)
    return np.stack(
        [
            (own - 2 * part @ centres.T).argmin(axis=1)
            for part, centres, own in zip(cut, centroids, sizes, strict=True)
        ]
    )


def _averaged(cut: np.ndarray, numbers: np.ndarray, centroids: np.ndarray) -> np.ndarray:
    """The means of the rows of each centroid; those without rows, and zero, stay."""
    parts, _, each = cut.shape
    places = (numbers + CENTROIDS * np.arange(parts)[:, None]).reshape(-1)
    counts = np.bincount(places, minlength=parts * CENTROIDS)
    sums = [np.bincount(places, cut[..., n].reshape(-1), len(counts)) for n in range(each)]
    means = np.stack(sums, axis=1) / np.maximum(counts, 1)[:, None]
    means = np.where(counts[:, None] > 0, means, centroids.reshape(-1, each))
    made = means.reshape(parts, CENTROIDS, each).astype(np.float32)
    made[:, 0] = 0
    return made


def _eight_bits(values: np.ndarray) -> tuple[np.ndarray, np.float32]:
    scale = np.float32(max(np.abs(values).max() / _LIMIT, _TINY))
    return np.rint(values / scale).astype(np.int8), scale
