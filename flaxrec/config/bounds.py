"""What a config field accepts: stated beside the field in `tree`, checked in `paths.fit`.

A bound is the metadata of an `Annotated` type: `Annotated[int, Range(1, 100)]`, or a tuple of
choices: `Annotated[str, ("a", "b")]`. It is large enough for any real use, and small enough that no
size within it overflows.
"""

import dataclasses
import typing
from typing import Any


@dataclasses.dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`; with `above` without `low` itself, with `below` without `high`.

    >>> str(Range(1, 10_000))
    '1 to 10000'
    """

    low: float
    high: float
    above: bool = False
    below: bool = False

    def takes(self, value: Any) -> bool:
        """Whether the number lies in the range; NaN lies in none."""
        reaches = self.low < value if self.above else self.low <= value
        return reaches and (value < self.high if self.below else value <= self.high)

    def __str__(self) -> str:
        low, high = (f"{n:g}" if isinstance(n, float) else str(n) for n in (self.low, self.high))
        if self.above:
            return f"a number above {low}, {'below' if self.below else 'at most'} {high}"
        return f"{low} or more, below {high}" if self.below else f"{low} to {high}"


@dataclasses.dataclass(frozen=True)
class Choices:
    """One of these texts."""

    texts: tuple[str, ...]

    def takes(self, value: Any) -> bool:
        """Whether the text is one of them."""
        return value in self.texts

    def __str__(self) -> str:
        return f"one of {', '.join(self.texts)}"


@dataclasses.dataclass(frozen=True)
class Text:
    """A text of at most so many bytes of UTF-8, without NUL; with `printable` of such characters.

    Half of a pair of surrogates, as in a file name that is not UTF-8, is no UTF-8.
    """

    most: int
    printable: bool = False

    def takes(self, value: Any) -> bool:
        """Whether the text is such a text."""
        if len(value) > self.most or "\0" in value or (self.printable and not value.isprintable()):
            return False
        try:
            return len(value.encode()) <= self.most
        except UnicodeEncodeError:
            return False

    def __str__(self) -> str:
        what = "printable characters" if self.printable else "UTF-8 without NUL"
        return f"at most {self.most} bytes of {what}"


@dataclasses.dataclass(frozen=True)
class Entries:
    """A list of at most so many entries."""

    most: int

    def takes(self, value: Any) -> bool:
        """Whether the list is not longer."""
        return len(value) <= self.most

    def __str__(self) -> str:
        return f"at most {self.most} entries"


Bound = Range | Choices | Text | Entries
_DEFAULTS: dict[type, Bound] = {str: Text(4096), list: Entries(1000), tuple: Entries(1000)}


def of(hint: Any) -> tuple[Any, Bound | None]:
    """A field's type without its bound, and the bound; texts and lists have one by default."""
    if typing.get_origin(hint) is typing.Annotated:
        (bound,) = hint.__metadata__
        return hint.__origin__, Choices(bound) if isinstance(bound, tuple) else bound
    return hint, _DEFAULTS.get(typing.get_origin(hint) or hint)
