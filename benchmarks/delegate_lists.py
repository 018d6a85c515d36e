"""Compares a file's lists with and without XNNPACK, by 1 and by 4 threads.

    python benchmarks/delegate_lists.py FILE [FILE ...] --contexts=FILE.npz [--count=200]

The contexts are those of a run, such as assets/contexts.npz. Every way is compared with XNNPACK on
one thread: lists with the same ids in the same order, lists with the same ids in any order, and the
largest difference of the scores at a place.
"""

import argparse

import numpy as np

from flaxrec.terminal import text_tables
from flaxrec.tflite import runtime
from flaxrec.tflite.metadata import IDS, SCORES

_WAYS = ((True, 1), (True, 4), (False, 1), (False, 4))  # XNNPACK, threads


def lists(
    file: str, contexts: dict[str, np.ndarray], *, delegate: bool, threads: int
) -> tuple[np.ndarray, np.ndarray]:
    """Ids and scores [n, K] for contexts [n, length] by input name."""
    run = runtime.interpreter(file, threads, delegate=delegate).get_signature_runner()
    count = len(next(iter(contexts.values())))
    outs = [run(**{n: v[i] for n, v in contexts.items()}) for i in range(count)]
    return np.stack([out[IDS] for out in outs]), np.stack([out[SCORES] for out in outs])


def main() -> None:
    """Prints a line for each file and way."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="+")
    parser.add_argument("--contexts", required=True, help="an .npz of inputs by name")
    parser.add_argument("--count", type=int, default=200, help="contexts to run")
    given = parser.parse_args()
    with np.load(given.contexts) as stored:
        contexts = {name: stored[name][: given.count] for name in stored.files}
    rows = [["file", "XNNPACK", "threads", "same lists", "same items", "scores differ by"]]
    for file in given.files:
        first = None
        for delegate, threads in _WAYS:
            ids, scores = lists(file, contexts, delegate=delegate, threads=threads)
            first = first or (ids, scores)
            same = (ids == first[0]).all(axis=1).sum()
            items = (np.sort(ids) == np.sort(first[0])).all(axis=1).sum()
            most = np.abs(scores - first[1]).max()
            way = ["on" if delegate else "off", str(threads)]
            rows.append([file, *way, f"{same}", f"{items} of {len(ids)}", f"{most:.1e}"])
    print("\n".join(text_tables.aligned(rows, left=2)))


if __name__ == "__main__":
    main()
