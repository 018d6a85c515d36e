"""How much a run does between two looks at whether it was asked to stop."""

from collections.abc import Callable

from flaxrec.training import processes

_SECONDS = 1.0  # between two looks, if nothing asks for less
_SHARE = 0.25  # of the seconds that a signal grants
_GROWTH = 10  # of a part, at most: the first may have compiled or connected


class Pace:
    """Parts of work, of as many steps or batches as take about a second.

    Several processes look at the ends of parts only, and find the same.

    Args:
      grace_seconds: that a signal grants; a part takes a quarter of it at most.
      is_asked: the number of the signal that came; 0: none.

    Attributes:
      left: units until the next look.
    """

    def __init__(self, grace_seconds: float, is_asked: Callable[[], int]):
        self._most = min(_SECONDS, _SHARE * grace_seconds)
        self._is_asked = is_asked
        self.left = self._part = 1
        self._seconds = 0.0

    def did(self, units: int, seconds: float) -> int:
        """Takes note of at most `left` units of work; returns the signal's number, or 0."""
        self.left -= units
        self._seconds += seconds
        if self.left:
            return self._is_asked() if processes.alone() else 0
        number, seconds = processes.most(self._is_asked(), self._seconds)
        fitting = self._most * self._part / max(seconds, 1e-9)
        self.left = self._part = max(1, int(min(fitting, _GROWTH * self._part)))
        self._seconds = 0.0
        return number
