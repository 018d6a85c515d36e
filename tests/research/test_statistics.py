"""Statistics by hand, against scipy, and against simulated data whose truth is known."""

import math
import time
import tracemalloc
import warnings

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from flaxrec.errors import ConfigError, DataError
from flaxrec.research import statistics
from flaxrec.research.statistics import OverSeeds

p_values = st.lists(st.floats(0, 1), min_size=1, max_size=8)


@pytest.fixture(autouse=True)
def _no_warning():
    """Degenerate data are answered, not computed to NaN with a warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


# ---- over seeds -----------------------------------------------------------------------------


def test_over_seeds_by_hand():
    found = statistics.over_seeds([0.2, 0.4, 0.9])  # mean 0.5; squares 0.09 + 0.01 + 0.16
    assert found.mean == pytest.approx(0.5)
    assert found.deviation == pytest.approx(math.sqrt(0.26 / 2))
    assert found.seeds == 3


def test_over_seeds_averages_users_first():
    """Between seeds means 1 and 3 differ; how users differ within a seed does not count."""
    found = statistics.over_seeds(np.array([[0.0, 2.0], [-5.0, 11.0]]))
    assert found == OverSeeds(2.0, pytest.approx(math.sqrt(2)), 2)


def test_one_seed_has_no_deviation():
    assert statistics.over_seeds([0.3]) == OverSeeds(0.3, None, 1)


def test_a_further_run_lands_in_the_interval_95_times_of_100():
    rng = np.random.default_rng(0)
    runs = rng.normal(0.3, 0.002, (4000, 4))
    inside = [low <= row[3] <= high for row in runs for low, high in [statistics.next_run(row[:3])]]
    assert np.mean(inside) == pytest.approx(0.95, abs=0.012)  # 3.5 deviations of 4,000 draws


def test_the_interval_is_the_textbook_s():
    low, high = statistics.next_run([1.0, 2.0, 3.0])
    assert (low + high) / 2 == pytest.approx(2)
    assert high - 2 == pytest.approx(scipy.stats.t.ppf(0.975, 2) * math.sqrt(1 + 1 / 3))
    assert statistics.over_seeds([1.0, 2.0, 3.0]).deviation == pytest.approx(1)


# ---- bootstrap ------------------------------------------------------------------------------


def test_the_interval_holds_the_truth_as_often_as_it_says():
    """600 samples of 200 normal users, mean 3: 95% and 80% intervals (binomial sd 0.9%, 1.6%)."""
    rng = np.random.default_rng(0)
    held = {0.95: 0, 0.8: 0}
    for sample in range(600):
        values = rng.normal(3.0, 2.0, (1, 200))
        for level in held:
            low, high = statistics.bootstrap_interval(values, level, draws=400, seed=sample)
            held[level] += low <= 3.0 <= high
    assert held[0.95] / 600 == pytest.approx(0.95, abs=0.03)
    assert held[0.8] / 600 == pytest.approx(0.8, abs=0.05)


@pytest.mark.parametrize("few_values", [True, False])
def test_the_interval_of_many_users_is_that_of_the_normal_distribution(few_values):
    """Both ways of drawing: by cells of equal users, and by users, some of them equal."""
    values = np.random.default_rng(1).random((1, 4000)) ** 4
    values = np.round(values, 1 if few_values else 3)
    low, high = statistics.bootstrap_interval(values, draws=4000)
    half = 1.96 * values.std() / math.sqrt(4000)
    assert low == pytest.approx(values.mean() - half, abs=0.05 * half)
    assert high == pytest.approx(values.mean() + half, abs=0.05 * half)


def test_seeds_are_averaged_before_users_are_drawn():
    values = np.random.default_rng(2).random((3, 50))
    averaged = values.mean(axis=0, keepdims=True)
    assert statistics.bootstrap_interval(values) == statistics.bootstrap_interval(averaged)
    # What cancels between the seeds of a user leaves nothing to resample.
    assert statistics.bootstrap_interval(np.array([[0.0, 1.0], [1.0, 0.0]])) == (0.5, 0.5)


@given(st.permutations(range(12)))
def test_the_order_of_users_changes_nothing(order):
    values = np.random.default_rng(3).random((2, 12))
    a, b = values, values[::-1] ** 2
    assert statistics.bootstrap_interval(a[:, order]) == pytest.approx(
        statistics.bootstrap_interval(a), abs=1e-12
    )
    moved, found = statistics.compare(a[:, order], b[:, order]), statistics.compare(a, b)
    assert moved.interval == pytest.approx(found.interval, abs=1e-12)
    assert moved.p_value == pytest.approx(found.p_value)


def test_the_same_seed_draws_the_same_interval_another_seed_another():
    values = np.random.default_rng(4).random((1, 40))
    assert statistics.bootstrap_interval(values) == statistics.bootstrap_interval(values)
    assert statistics.bootstrap_interval(values) != statistics.bootstrap_interval(values, seed=1)


def test_movielens_takes_little_time_and_a_million_users_little_memory():
    values = np.random.default_rng(5).random((1, 6040))
    begin = time.process_time()
    statistics.bootstrap_interval(values)
    assert time.process_time() - begin < 2  # 0.2 s on a quiet core
    values = np.random.default_rng(6).random((1, 10**6))
    tracemalloc.start()
    statistics.bootstrap_interval(values, draws=8)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 120e6  # about 2 draws of 8 MB at a time, in a few arrays; 8 at once take 220 MB


# ---- paired comparison ----------------------------------------------------------------------


def test_the_t_test_by_hand_and_by_scipy():
    """Differences 1, 2, 3: mean 2, deviation 1, t = 2 / (1 / sqrt(3)) with 2 degrees of freedom."""
    a, b = np.array([[2.0, 4.0, 6.0]]), np.array([[1.0, 2.0, 3.0]])
    found = statistics.compare(a, b)
    t = 2 * math.sqrt(3)
    assert (found.difference, found.deviation, found.users, found.seeds) == (2.0, 1.0, 3, (1, 1))
    # With 2 degrees of freedom the two-sided p-value is 1 - t / sqrt(t^2 + 2).
    assert found.p_value == pytest.approx(1 - t / math.sqrt(t**2 + 2))
    assert found.p_value == pytest.approx(scipy.stats.ttest_rel(a[0], b[0]).pvalue)


def test_seeds_are_averaged_before_the_t_test():
    rng = np.random.default_rng(7)
    a, b = rng.random((3, 30)), rng.random((2, 30))
    found = statistics.compare(a, b)
    expected = scipy.stats.ttest_rel(a.mean(axis=0), b.mean(axis=0)).pvalue
    assert found.p_value == pytest.approx(expected)
    assert found.seeds == (3, 2)
    assert found.difference == pytest.approx(a.mean() - b.mean())


def test_exchanging_the_points_turns_the_sign():
    rng = np.random.default_rng(8)
    a, b = rng.random((1, 200)), rng.random((1, 200))
    there, back = statistics.compare(a, b), statistics.compare(b, a)
    assert back.difference == -there.difference
    assert back.p_value == pytest.approx(there.p_value)
    assert back.interval == pytest.approx([-there.interval.high, -there.interval.low], abs=0.01)


def test_pairing_narrows_the_interval_of_points_that_agree_on_users():
    """Noise 0.1 on users of deviation 1: the paired interval is sqrt(2) * 0.1 wide, in units of
    1.96 / sqrt(n); of two separate samples of users it would be sqrt(2 * (1 + 0.01)).
    """
    rng = np.random.default_rng(9)
    users = rng.normal(0, 1, (1, 500))
    a, b = (users + rng.normal(0, 0.1, (1, 500)) for _ in range(2))
    low, high = statistics.compare(a, b).interval
    unpaired = math.hypot(*(np.diff(statistics.bootstrap_interval(x))[0] for x in (a, b)))
    assert (high - low) / unpaired == pytest.approx(0.1, abs=0.015)
    assert high - low == pytest.approx(2 * 1.96 * math.sqrt(2) * 0.1 / math.sqrt(500), rel=0.1)


def test_the_interval_covers_what_seeds_shift_for_all_users():
    """Users all alike: what is left is the deviation of the mean of S seeds, in both points."""
    shifts = np.array([0.0, 1.0, 2.0, 3.0, 4.0])  # sd sqrt(2.5)
    a = np.repeat(shifts[:, None], 4, axis=1)
    found = statistics.compare(a, np.zeros((1, 4)), draws=20000)
    half = 1.96 * math.sqrt(2.5) / math.sqrt(5)
    assert found.interval.low == pytest.approx(2 - half, rel=0, abs=0.1 * half)
    assert found.interval.high == pytest.approx(2 + half, rel=0, abs=0.1 * half)
    # Independently in each point: the variances add.
    both = statistics.compare(a, a, draws=20000).interval
    assert both.high == pytest.approx(half * math.sqrt(2), abs=0.1 * half)
    assert both.low == pytest.approx(-half * math.sqrt(2), abs=0.1 * half)


@pytest.mark.parametrize(
    ("seeds", "shift", "noise", "at_least"),
    [
        (1, 0.0, 0.5, 0.93),
        (3, 0.0, 0.5, 0.93),
        (3, 0.1, 0.1, 0.8),
        pytest.param(5, 0.1, 0.1, 0.87, marks=pytest.mark.long),
    ],
)
def test_how_often_the_paired_interval_holds_the_truth(seeds, shift, noise, at_least):
    """The truth is no difference. Where seeds shift all users, few seeds cover less (docstring)."""
    rng = np.random.default_rng(10)

    def point(users):
        own = users + noise * rng.normal(size=users.shape)
        shifts = shift * rng.normal(size=(seeds, 1))
        return own + shifts + noise * rng.normal(size=(seeds, users.size))

    held = 0
    for sample in range(300):
        users = rng.normal(size=200)
        found = statistics.compare(point(users), point(users), draws=300, seed=sample)
        held += found.interval.low <= 0 <= found.interval.high
    assert held / 300 >= at_least


def test_identical_points_do_not_differ():
    values = np.random.default_rng(11).random((1, 30))
    found = statistics.compare(values, values.copy())
    assert (found.difference, found.interval, found.p_value, found.deviation) == (0, (0, 0), 1, 0)


def test_averages_over_seeds_that_differ_by_rounding_are_identical():
    a = np.random.default_rng(12).random((3, 40))
    reordered = a[[1, 2, 0]]
    assert (a.mean(axis=0) != reordered.mean(axis=0)).any()
    found = statistics.compare(a, reordered)
    assert (found.difference, found.p_value, found.deviation) == (0, 1, 0)


def test_one_difference_for_all_users_is_tested_by_its_sign():
    """Of 2^5 equally likely patterns of signs two are as extreme: all plus, all minus."""
    found = statistics.compare(np.full((1, 5), 0.75), np.full((1, 5), 0.25))
    assert (found.difference, found.interval, found.deviation) == (0.5, (0.5, 0.5), 0.0)
    assert found.p_value == 2 / 2**5


def test_one_user_shows_a_difference_and_nothing_of_its_reach():
    found = statistics.compare(np.array([[1.0], [0.0]]), np.array([[0.25]]))
    assert found == statistics.Comparison(0.25, None, None, None, 1, (2, 1))
    assert statistics.bootstrap_interval(np.array([[1.0]])) is None


# ---- many comparisons -----------------------------------------------------------------------


def test_holm_by_hand():
    """Sorted 0.005, 0.01, 0.03, 0.04: times 4, 3, 2, 1 is 0.02, 0.03, 0.06, 0.04 -> 0.06."""
    found = statistics.adjust([0.01, 0.04, 0.03, 0.005], "holm")
    assert found == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_benjamini_hochberg_by_hand():
    """Sorted, times 4 / rank: 0.02, 0.02, 0.04, 0.04, and never above the one after."""
    found = statistics.adjust([0.01, 0.04, 0.03, 0.005], "benjamini_hochberg")
    assert found == pytest.approx([0.02, 0.04, 0.04, 0.02])


@given(p_values)
def test_holm_rejects_as_its_step_down_rule_says(ps):
    adjusted = statistics.holm(ps)
    for alpha in (0.01, 0.05, 0.2):
        rejected = set()
        for step, i in enumerate(sorted(range(len(ps)), key=ps.__getitem__)):
            if ps[i] * (len(ps) - step) > alpha:
                break
            rejected.add(i)
        assert {i for i, p in enumerate(adjusted) if p <= alpha} == rejected


@given(p_values)
def test_corrections_never_lower_a_p_value_and_holm_is_the_stricter(ps):
    holm, bh = statistics.adjust(ps), statistics.adjust(ps, "benjamini_hochberg")
    for p, strict, lenient in zip(ps, holm, bh, strict=True):
        assert p <= lenient + 1e-12
        assert lenient <= strict + 1e-12
        assert strict <= 1


def test_comparisons_without_a_test_do_not_count():
    assert statistics.adjust([None, 0.02, None, 0.04]) == [None, 0.04, None, 0.04]
    assert statistics.adjust([None]) == [None]
    assert statistics.adjust([]) == []


def test_an_unknown_correction_is_named():
    with pytest.raises(ConfigError, match=r"'bonferoni'.*'holm', 'benjamini_hochberg'"):
        statistics.adjust([0.1], "bonferoni")


# ---- the smallest difference ----------------------------------------------------------------


@pytest.mark.parametrize("comparisons", [1, 10])
def test_the_minimal_difference_is_found_four_times_of_five(comparisons):
    """3000 samples of 400 users whose paired differences have that mean (binomial sd 0.7%)."""
    least = statistics.minimal_detectable_difference(2.0, 400, comparisons)
    samples = np.random.default_rng(12).normal(least, 2.0, (3000, 400))
    p = scipy.stats.ttest_1samp(samples, 0, axis=1).pvalue
    assert (p <= 0.05 / comparisons).mean() == pytest.approx(0.8, abs=0.03)


def test_the_minimal_difference_by_the_tables_of_the_normal_distribution():
    of = statistics.minimal_detectable_difference
    assert of(0.5, 2500) == pytest.approx((1.959964 + 0.841621) * 0.5 / 50, rel=1e-6)
    assert of(0.5, 2500, power=0.9, alpha=0.01) == pytest.approx((2.575829 + 1.281552) / 100)
    assert of(0.5, 2500, comparisons=5) == pytest.approx((2.575829 + 0.841621) / 100)
    assert of(0.0, 7) == 0
    assert of(None, 1) is None


# ---- what cannot be used --------------------------------------------------------------------


@pytest.mark.parametrize("values", [np.zeros(3), np.zeros((0, 3)), np.zeros((2, 0))])
def test_other_shapes_are_refused(values):
    with pytest.raises(DataError, match=r"give \[seeds, users\]"):
        statistics.bootstrap_interval(values)


def test_no_runs_are_refused():
    with pytest.raises(DataError, match="at least one of each"):
        statistics.over_seeds([])


def test_figures_that_are_no_numbers_are_counted():
    with pytest.raises(DataError, match="2 of 4 figures are not finite"):
        statistics.compare(np.array([[1.0, math.nan], [math.inf, 0.0]]), np.zeros((1, 2)))


def test_other_users_are_refused():
    with pytest.raises(DataError, match="not of 3 and 2"):
        statistics.compare(np.zeros((1, 3)), np.zeros((1, 2)))
