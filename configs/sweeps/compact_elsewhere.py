"""The unchanged recipe of docs/half_a_megabyte.md on data that it was not chosen on.

python -m flaxrec.sweep --sweep=configs/sweeps/compact_elsewhere.py --workdir=DIR
    --config.data.path=ML-100K, or --config.data.source=synthetic for the embedded generator

The example networks run on the same labels for comparison.
"""

from collections.abc import Callable

from flaxrec.config.presets import compact, example_network


def sweep(add: Callable[..., None]) -> None:
    """4 models of ids, 3 seeds."""
    add(example_network("bow", "id"), seeds=3, recipe="example network, BOW")
    add(example_network("lstm", "id"), seeds=3, recipe="example network, LSTM")
    add(compact("lstm", context_length=20), seeds=3, recipe="compact, LSTM, L=20")
    add(compact("attention"), seeds=3, recipe="compact, attention, L=50")
