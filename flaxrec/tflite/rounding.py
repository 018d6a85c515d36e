"""Rounds weights to float16, or to integers of 8 or 4 bits times a scale.

A weight w is stored as the integer nearest to w / scale, clipped to -limit to limit (127 or 7).
Zero stays zero. Weights are float32 [R, ...], finite; `bits` is 8 or 4.
"""

import dataclasses
import itertools
from collections.abc import Iterator

import numpy as np

# Scales to try, as shares of the one that clips nothing: for a whole tensor sixteen for each
# halving; for a row, which has few weights, closer together.
_SHARES = 2.0 ** (-np.arange(96) / 16)
_ROW_SHARES = {8: np.linspace(1.0, 0.9, 32), 4: np.linspace(1.0, 0.4, 32)}
_SAMPLED = 2**20  # weights that the search for one scale reads
_FACTORS = 127  # the largest factor
_TINY = np.finfo(np.float32).tiny


@dataclasses.dataclass(frozen=True)
class Rounded:
    """Weights [R, ...] in fewer bits.

    Attributes:
      values: int8 [R, ...], or float16.
      scales: float32 [R], one for each row, or [1]; [0] for float16.
      bits: 16 (float16), 8 or 4.
      factors: int8 [R], 1 to 127: a row's scale is the only scale times its factor; or None.
    """

    values: np.ndarray
    scales: np.ndarray
    bits: int
    factors: np.ndarray | None = None

    def packed(self) -> np.ndarray:
        """The values as uint8, in their order; at 4 bits two a byte, the first in the low half."""
        octets = self.values.reshape(-1).view(np.uint8)
        if self.bits > 4:
            return octets
        nibbles = octets & 15
        nibbles = np.append(nibbles, np.zeros(len(nibbles) % 2, np.uint8))
        return nibbles[::2] | nibbles[1::2] << 4


def as_float16(weights: np.ndarray) -> Rounded | None:
    """Rounds to float16; None if a weight is beyond its range."""
    if np.abs(weights).max() > np.finfo(np.float16).max:
        return None
    return Rounded(weights.astype("<f2"), np.zeros(0, np.float32), 16)


def by_row(weights: np.ndarray, bits: int) -> Rounded:
    """Rounds with a scale for each row, that of the least squared error."""
    rows = weights.reshape(len(weights), -1)
    widest = _widest(np.abs(rows).max(axis=1), bits)
    shares = _ROW_SHARES[bits].astype(np.float32)
    scales = _best(rows, bits, (widest * share for share in shares))
    return Rounded(_round(rows, scales[:, None], bits).reshape(weights.shape), scales, bits)


def by_factor(weights: np.ndarray, bits: int) -> Rounded:
    """Rounds with one scale and a factor for each row, near the least squared error of each row.

    A row's scale is a multiple of a 127th of the largest row's. The factor takes a byte a row.
    """
    rows = weights.reshape(len(weights), -1)
    largest = np.abs(rows).max(axis=1)
    unit = np.maximum(_widest(largest.max(keepdims=True), bits) / np.float32(_FACTORS), _TINY)
    widest = largest / np.float32(_limit(bits)) / unit
    shares = _ROW_SHARES[bits].astype(np.float32)
    # Rounded up, factors clip no more than the exact share does.
    tried = (np.ceil(widest * share).clip(1, _FACTORS) for share in shares)
    scales = _best(rows, bits, (factors * unit for factors in tried))
    values = _round(rows, scales[:, None], bits).reshape(weights.shape)
    return Rounded(values, unit, bits, np.rint(scales / unit).astype(np.int8))


def by_tensor(weights: np.ndarray, bits: int, power: float = 2.0) -> Rounded:
    """Rounds with one scale, that of the least sum over rows of |a row's error| to a power.

    A power of 2 gives the squared error. A low power, above 0, counts rows rather than errors: it
    clips a few rows of large weights if that helps all others.
    """
    rows = weights.reshape(len(weights), -1)
    widest = _widest(np.abs(rows).max(keepdims=True).reshape(1), bits)
    sample = rows[:: -(-rows.size // _SAMPLED)]
    best, least = widest, np.inf
    for scale in widest * _SHARES[:, None].astype(np.float32):
        error = np.square(_round(sample, scale, bits) * scale - sample).sum(axis=1)
        total = float((error.astype(np.float64) ** (power / 2)).sum())
        if total < least:
            best, least = scale, total
    return Rounded(_round(rows, best, bits).reshape(weights.shape), best, bits)


def _best(rows: np.ndarray, bits: int, tried: Iterator[np.ndarray]) -> np.ndarray:
    """For each row, the scale of the least squared error among those tried, [R] each."""
    best, least = next(tried), np.full(len(rows), np.inf, np.float32)
    for scales in itertools.chain([best], tried):
        error = np.square(_round(rows, scales[:, None], bits) * scales[:, None] - rows).sum(axis=1)
        best, least = np.where(error < least, scales, best), np.minimum(error, least)
    return best


def _widest(largest: np.ndarray, bits: int) -> np.ndarray:
    """The smallest scales, float32, that clip nothing; 1 where all weights are zero."""
    scales = np.maximum(largest / np.float32(_limit(bits)), _TINY)
    return np.where(largest > 0, scales, np.float32(1))


def _round(weights: np.ndarray, scales: np.ndarray, bits: int) -> np.ndarray:
    limit = _limit(bits)
    return np.rint(weights / scales).clip(-limit, limit).astype(np.int8)


def _limit(bits: int) -> int:
    return 2 ** (bits - 1) - 1
