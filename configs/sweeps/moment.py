"""The targets of docs/moment.md, three seeds each. MovieLens-1M, leave-one-out.

python -m flaxrec.sweep --sweep=configs/sweeps/moment.py --workdir=DIR --export=all
    --exported_accuracy [--config.data.path=ML-1M]
"""

from collections.abc import Callable

from flaxrec.config.presets import moment


def sweep(add: Callable[..., None]) -> None:
    """Ids and the moment of asking at three sizes."""
    add(moment(), seeds=3, target="0.52 MB")
    add(moment("short"), seeds=3, target="0.52 MB, L=10")
    add(moment("small"), seeds=3, target="0.15 MB")
