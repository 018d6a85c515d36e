"""Parts of work take about a second, and a quarter of what a signal grants at most."""

import pytest

from flaxrec.training.pace import Pace


def parts(seconds_a_unit, grace, count=8):
    pace, found = Pace(grace, lambda: 0), []
    for _ in range(count):
        found.append(pace.left)
        pace.did(pace.left, pace.left * seconds_a_unit)
    return found


@pytest.mark.parametrize(
    ("seconds", "grace", "expected"),
    [
        (0.0001, 30, [1, 10, 100, 1000, 10000, 10000]),
        (0.1, 30, [1, 10, 10]),
        (0.1, 2, [1, 5, 5]),
        (7, 30, [1, 1, 1]),
    ],
)
def test_parts_grow_to_what_fits(seconds, grace, expected):
    found = parts(seconds, grace)
    assert found[: len(expected)] == pytest.approx(expected, abs=1)


def test_a_slower_step_makes_the_next_part_shorter():
    pace = Pace(30, lambda: 0)
    pace.did(1, 0.01)
    pace.did(10, 20.0)
    assert pace.left == 1


def test_a_part_may_be_done_in_pieces():
    """A scan ends within it; a signal is seen there, too."""
    asked = [0]
    pace = Pace(30, lambda: asked[0])
    pace.did(1, 0.01)
    assert pace.did(4, 0.04) == 0
    assert pace.left == 6
    asked[0] = 15
    assert pace.did(6, 0.06) == 15
    assert pace.left == pytest.approx(100, abs=1)
