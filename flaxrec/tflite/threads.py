"""Work in threads, whose results come in order."""

import itertools
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

_In = TypeVar("_In")
_Out = TypeVar("_Out")
_AHEAD = 2  # blocks a thread that are computed or wait


def blocks(things: Iterable[_In], size: int) -> Iterator[list[_In]]:
    """The things in lists of `size`; the last may be shorter."""
    given = iter(things)
    return iter(lambda: list(itertools.islice(given, size)), [])


def in_order(
    function: Callable[[_In], _Out], things: Iterable[_In], threads: int
) -> Generator[_Out, None, None]:
    """The results for all things, in their order; one thread needs no pool.

    The things are taken in the caller's thread, a few ahead of the results: neither stand in memory
    all at once.
    """
    if threads == 1:
        yield from map(function, things)
        return
    pool, waiting = ThreadPoolExecutor(threads), deque[Future[_Out]]()
    try:
        for thing in things:
            waiting.append(pool.submit(function, thing))
            if len(waiting) >= _AHEAD * threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
