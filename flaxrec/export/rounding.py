"""Weights as integers of 8 or 4 bits times a scale: which scale, and the bytes.

A weight w becomes the integer nearest to w / scale, from -limit to limit (127 or 7); what lies
beyond is cut off. Zero stays zero.
"""

import dataclasses

import numpy as np

# Scales tried, as shares of the one that cuts nothing off. For a whole tensor sixteen for each
# halving; for a row of a few weights, where scales that suit them by luck lie close together.
_SHARES = 2.0 ** (-np.arange(96) / 16)
_ROW_SHARES = {8: np.linspace(1.0, 0.9, 32), 4: np.linspace(1.0, 0.4, 32)}
_SAMPLED = 2**20  # weights that the search for one scale looks at


@dataclasses.dataclass(frozen=True)
class Rounded:
    """Weights [R, ...] as integers.

    Attributes:
      values: int8 [R, ...].
      scales: float32 [R], one for each row, or [1].
      bits: 8 or 4.
    """

    values: np.ndarray
    scales: np.ndarray
    bits: int

    def packed(self) -> np.ndarray:
        """uint8, in the order of the values; at 4 bits two to a byte, the first one low."""
        if self.bits == 8:
            return self.values.reshape(-1).view(np.uint8)
        nibbles = self.values.reshape(-1).view(np.uint8) & 15
        nibbles = np.append(nibbles, np.zeros(len(nibbles) % 2, np.uint8))
        return nibbles[::2] | nibbles[1::2] << 4


def by_row(weights: np.ndarray, bits: int) -> Rounded:
    """A scale for each row: the one of the least squared error.

    Args:
      weights: float32 [R, ...], finite.
      bits: 8 or 4.
    """
    rows = weights.reshape(len(weights), -1)
    widest = _widest(np.abs(rows).max(axis=1), bits)
    best, least = widest, np.full(len(rows), np.inf, np.float32)
    for share in _ROW_SHARES[bits].astype(np.float32):
        scales = widest * share
        error = np.square(_round(rows, scales[:, None], bits) * scales[:, None] - rows).sum(axis=1)
        best, least = np.where(error < least, scales, best), np.minimum(error, least)
    return Rounded(_round(rows, best[:, None], bits).reshape(weights.shape), best, bits)


def by_tensor(weights: np.ndarray, bits: int, power: float = 2.0) -> Rounded:
    """One scale: that of the least sum, over rows, of the size of a row's error to some power.

    A power of 2 is the squared error. A low power counts the rows rather than the errors: a few
    rows of large weights are cut off where that serves all others.

    Args:
      weights: float32 [R, ...], finite.
      bits: 8 or 4.
      power: above 0.
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


def _widest(largest: np.ndarray, bits: int) -> np.ndarray:
    """The scales, float32, that cut nothing off; 1 where all weights are zero."""
    scales = np.maximum(largest / np.float32(_limit(bits)), np.finfo(np.float32).tiny)
    return np.where(largest > 0, scales, np.float32(1))


def _round(weights: np.ndarray, scales: np.ndarray, bits: int) -> np.ndarray:
    limit = _limit(bits)
    return np.rint(weights / scales).clip(-limit, limit).astype(np.int8)


def _limit(bits: int) -> int:
    return 2 ** (bits - 1) - 1
