"""Searches for inputs that end a command in a traceback, or in a wrong result without a word.

python -m tests.fuzz [TARGET ...] [--inputs=N] [--seconds=S] [--seed=N] [--processes=N]

Targets are the modules of this folder with a function `attempts(random, folder)`.
"""

import argparse
import importlib
import random
import sys
import tempfile
from pathlib import Path

from tests.fuzz.attempts import search

HERE = Path(__file__).parent


def targets() -> list[str]:
    """Names of the modules with attempts."""
    files = sorted(HERE.glob("*.py"))
    return [f.stem for f in files if "\ndef attempts(" in f.read_text(encoding="utf-8")]


def main() -> int:
    """Runs the search; returns the number of faults."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("targets", nargs="*", default=targets(), help=", ".join(targets()))
    parser.add_argument("--inputs", type=int, default=2_000, help="for each target")
    parser.add_argument("--seconds", type=float, default=1e9, help="at most, for each target")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=0, help="of them as real processes")
    given = parser.parse_args()
    faults = 0
    for name in given.targets:
        attempts = importlib.import_module(f"tests.fuzz.{name}").attempts
        for count, in_process in ((given.inputs, True), (given.processes, False)):
            with tempfile.TemporaryDirectory() as folder:
                drawn = attempts(random.Random(given.seed), Path(folder))
                found = search(drawn, count, given.seconds, in_process)
            how = "in one process" if in_process else "as processes"
            bad = sum(map(len, found.faults.values()))
            print(f"{name}, {how}: {found.tried} inputs, {found.refused} refused, {bad} faults")
            for fault, inputs in found.faults.items():
                print(f"  {len(inputs)} x {fault}")
                print("".join(f"      {what}\n" for what in inputs[:3]), end="", flush=True)
            faults += bad
    return min(faults, 125)


if __name__ == "__main__":
    sys.exit(main())
