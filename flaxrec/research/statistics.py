"""Statistics of per-user metrics: intervals, paired comparisons, corrections, least differences.

Arrays are float [seeds, users]: one point's metric for each training seed and user, users in one
order. Undefined values (a deviation of one seed, an interval of one user) are None, never NaN.
Results depend on the `seed` argument and not on the order of users.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import scipy.stats

from flaxrec.errors import ConfigError, DataError

_CELLS = 1 << 21  # counts held at once while resampling: 16 MB


class Interval(NamedTuple):
    """A closed interval."""

    low: float
    high: float


@dataclasses.dataclass(frozen=True)
class OverSeeds:
    """One number over several runs."""

    mean: float
    deviation: float | None  # standard deviation between seeds (n - 1); None with one seed
    seeds: int  # how many


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Point a against point b on the same users; the optional values are None with one user."""

    difference: float  # mean of a minus mean of b, each over its seeds and the users
    interval: Interval | None  # of the difference, by paired bootstrap
    p_value: float | None  # two-sided, of the paired t-test over users
    deviation: float | None  # standard deviation over users of seed-averaged differences (n - 1)
    users: int  # how many
    seeds: tuple[int, int]  # how many of a and of b


def over_seeds(figures: Sequence[float] | np.ndarray) -> OverSeeds:
    """Mean and standard deviation over seeds of [seeds]; [seeds, users] is averaged first.

    >>> over_seeds([1.0, 2.0, 3.0])
    OverSeeds(mean=2.0, deviation=1.0, seeds=3)
    """
    values = np.asarray(figures, np.float64)
    per_seed = values if values.ndim == 1 else _checked(values).mean(axis=1)
    _checked(per_seed[None])
    deviation = float(per_seed.std(ddof=1)) if len(per_seed) > 1 else None
    return OverSeeds(float(per_seed.mean()), deviation, len(per_seed))


def next_run(values: Sequence[float] | np.ndarray, level: float = 0.95) -> Interval:
    """Student's prediction interval for one more run with another seed.

    mean -+ t * s * sqrt(1 + 1/n), with t of n - 1 degrees of freedom and s the standard deviation
    between the n values, at least two.

    >>> [round(end, 3) for end in next_run([1.0, 2.0, 3.0])]  # 2 -+ 4.303 * 1 * 1.155
    [-2.968, 6.968]
    """
    found = over_seeds(values)
    assert found.deviation is not None
    t = scipy.stats.t.ppf((1 + level) / 2, found.seeds - 1)
    width = float(t * found.deviation * np.sqrt(1 + 1 / found.seeds))
    return Interval(found.mean - width, found.mean + width)


def bootstrap_interval(
    values: np.ndarray, level: float = 0.95, draws: int = 2000, seed: int = 0
) -> Interval | None:
    """Percentile bootstrap interval of the mean over users of the seed-averaged metric.

    Users are drawn with replacement, `draws` times; None with one user. The interval covers the
    choice of users and training's noise on single users. It excludes shifts that a seed causes for
    all users together (see `over_seeds`). Memory is bounded for any number of users.

    Raises:
      DataError: the array is empty, not [seeds, users] or not finite.
    """
    columns = _checked(values).mean(axis=0)[:, None]
    if len(columns) < 2:
        return None
    means = _resampled_means(columns, draws, np.random.default_rng(seed))
    return _percentiles(means[:, 0], level)


def compare(
    a: np.ndarray, b: np.ndarray, level: float = 0.95, draws: int = 2000, seed: int = 0
) -> Comparison:
    """The difference a - b of two points on the same users in the same order.

    - The interval resamples users, the same for both points, so that effects of a user on both
      points cancel. It also resamples the seeds of each point that has several, independently of
      the other point (the pigeonhole bootstrap of Owen, 2007). Deviations of resampled seeds are
      scaled by sqrt(S / (S - 1)) (Rao and Wu, 1988), because plain resampling of S seeds shrinks
      their variance to (S - 1) / S. It is an approximation. Where seeds differ more than users and
      there are only two or three seeds, the 95% interval covers the truth some 80 to 90% of the
      time. Where training mostly moves single users, that noise counts up to three times and the
      interval is too wide. With one seed in both points it covers users only.
    - The p-value (`scipy.stats.ttest_rel` on seed-averaged values) and `deviation` cover users
      only: they tell whether these models differ for other users, not for other seeds.

    If all n users have the same difference, there is no variance to test with: the p-value is 1 if
    the difference is 0, else that of the exact sign-flip test, 2^(1 - n).

    Raises:
      DataError: an array is empty, not [seeds, users] or not finite, or the user counts differ.
    """
    a, b = _checked(a), _checked(b)
    if a.shape[1] != b.shape[1]:
        raise DataError(
            f"A comparison is of the same users, not of {a.shape[1]} and {b.shape[1]}; "
            "keep those that both points share."
        )
    mean_a, mean_b = a.mean(axis=0), b.mean(axis=0)
    difference = mean_a - mean_b
    # Ignore differences that come from rounding the averages over seeds.
    rounding = 1e-12 * max(np.abs(mean_a).max(), np.abs(mean_b).max())
    difference[np.abs(difference) <= rounding] = 0
    mean, users, seeds = float(difference.mean()), len(difference), (len(a), len(b))
    if users < 2:
        return Comparison(mean, None, None, None, users, seeds)
    if np.ptp(difference) > rounding:
        deviation = float(difference.std(ddof=1))
        p_value = float(scipy.stats.ttest_rel(mean_a, mean_b).pvalue)
    else:
        deviation, p_value = 0.0, 2.0 ** (1 - users) if difference.any() else 1.0
    interval = _paired_interval(a, b, level, draws, np.random.default_rng(seed))
    return Comparison(mean, interval, p_value, deviation, users, seeds)


def holm(p_values: Sequence[float] | np.ndarray) -> np.ndarray:
    """P-values adjusted for their number by Holm's step-down method (1979), float64 [n].

    Rejecting where the adjusted value is at most alpha keeps the chance of any false rejection at
    or below alpha, for any dependence between the tests.

    >>> holm([0.01, 0.04, 0.03]).tolist()  # 3 * 0.01, 2 * 0.03, and never below the one before
    [0.03, 0.06, 0.06]
    """
    p = np.asarray(p_values, np.float64)
    order = np.argsort(p, kind="stable")
    steps = p[order] * np.arange(len(p), 0, -1)
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return adjusted


CORRECTIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "holm": holm,
    "benjamini_hochberg": scipy.stats.false_discovery_control,
}


def adjust(p_values: Sequence[float | None], method: str = "holm") -> list[float | None]:
    """P-values adjusted for the number of comparisons; None (no test was possible) stays None.

    Args:
      p_values: of one family of comparisons.
      method: 'holm' (bounds the chance of any false finding) or 'benjamini_hochberg' (bounds the
        expected share of false ones among the findings).

    Raises:
      ConfigError: no such method.
    """
    if method not in CORRECTIONS:
        raise ConfigError(
            f"There is no correction {method!r} for many comparisons; use one of "
            f"{', '.join(map(repr, CORRECTIONS))}."
        )
    tested = [p for p in p_values if p is not None]
    adjusted = iter(CORRECTIONS[method](np.array(tested)).tolist() if tested else ())
    return [None if p is None else next(adjusted) for p in p_values]


def minimal_detectable_difference(
    deviation: float | None,
    users: int,
    comparisons: int = 1,
    power: float = 0.8,
    alpha: float = 0.05,
) -> float | None:
    """The smallest true difference that a two-sided paired test finds with the given power.

    (z[1 - a / 2] + z[power]) * deviation / sqrt(users) with a = alpha / comparisons, the threshold
    of the smallest of `comparisons` p-values in Holm's method. The test may miss a smaller
    difference. The value covers users only, not seeds.

    Args:
      deviation: standard deviation over users of the paired differences, `Comparison.deviation`.
      users: how many.
      comparisons: how many are corrected for together.
      power: the chance to find the difference.
      alpha: the chance to find one that is not there, over all comparisons.

    Returns:
      None where the deviation is None.

    >>> round(minimal_detectable_difference(1.0, 100), 4)  # (1.95996 + 0.84162) / 10
    0.2802
    """
    if deviation is None:
        return None
    z = scipy.stats.norm.ppf(1 - alpha / comparisons / 2) + scipy.stats.norm.ppf(power)
    return float(z * deviation / np.sqrt(users))


def _paired_interval(
    a: np.ndarray, b: np.ndarray, level: float, draws: int, rng: np.random.Generator
) -> Interval:
    # Each point's seed weights sum to 1, so subtracting one column from all keeps the difference;
    # points that agree become exact zeros.
    columns = np.concatenate([a, b]) - b[0]
    means = _resampled_means(columns.T, draws, rng)
    of_a = (means[:, : len(a)] * _seed_weights(len(a), draws, rng)).sum(axis=1)
    of_b = (means[:, len(a) :] * _seed_weights(len(b), draws, rng)).sum(axis=1)
    return _percentiles(of_a - of_b, level)


def _seed_weights(seeds: int, draws: int, rng: np.random.Generator) -> np.ndarray:
    """Weights of resampled seeds, scaled (Rao and Wu): float64 [draws, seeds], rows sum to 1."""
    if seeds == 1:
        return np.ones((draws, 1))
    drawn = rng.multinomial(seeds, np.full(seeds, 1 / seeds), size=draws) / seeds
    return 1 / seeds + (drawn - 1 / seeds) * np.sqrt(seeds / (seeds - 1))


def _resampled_means(columns: np.ndarray, draws: int, rng: np.random.Generator) -> np.ndarray:
    """Means of columns, float64 [users, c], over users drawn with replacement: [draws, c].

    Users with equal rows form one cell, because metrics of one label have few values. Sorted cells
    make the result independent of the users' order.
    """
    cells, sizes = np.unique(columns, axis=0, return_counts=True)
    users = len(columns)
    few = len(cells) * 8 < users  # one binomial a cell costs about as much as eight drawn users
    owner = np.repeat(np.arange(len(cells)), sizes)
    step = max(1, _CELLS // (len(cells) if few else users))
    means = []
    for begin in range(0, draws, step):
        n = min(step, draws - begin)
        if few:
            counts = rng.multinomial(users, sizes / users, size=n)
        else:
            drawn = owner[rng.integers(users, size=(n, users), dtype=np.int32)]
            drawn += len(cells) * np.arange(n)[:, None]
            counts = np.bincount(drawn.ravel(), minlength=n * len(cells)).reshape(n, -1)
        means.append(counts @ cells / users)
    return np.concatenate(means)


def _percentiles(draws: np.ndarray, level: float) -> Interval:
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high))


def _checked(values: np.ndarray) -> np.ndarray:
    values = np.asarray(values, np.float64)
    if values.ndim != 2 or not values.size:
        raise DataError(
            f"Per-user figures of shape {values.shape} cannot be used; give [seeds, users] with "
            "at least one of each."
        )
    if not np.isfinite(values).all():
        raise DataError(
            f"{int((~np.isfinite(values)).sum())} of {values.size} figures are not finite; "
            "leave out the runs or users that have none."
        )
    return values
