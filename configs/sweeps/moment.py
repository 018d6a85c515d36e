"""The targets of docs/moment.md, three seeds each. MovieLens-1M, leave-one-out.

python train_main.py --config=configs/moment.py:teacher [--config.data.path=ML-1M]
python -m flaxrec.sweep --sweep=configs/sweeps/moment.py --workdir=DIR --export=all
    --exported_accuracy [--config.data.path=ML-1M]

The first command trains the teacher, runs/moment-teacher; the linear recurrence has two more, the
variants taught and attention,taught. A sweep that is stopped goes on with the
same command.
"""

from collections.abc import Callable

from flaxrec.config.presets import moment

TEACHERS = ("runs/moment-teacher", "runs/moment-taught", "runs/moment-attention-taught")
TEACHER = TEACHERS[0]


def sweep(add: Callable[..., None]) -> None:
    """Ids and the moment of asking, by LSTMs of three sizes, attention and a linear recurrence."""
    add(moment("full", TEACHER), seeds=3, target="0.52 MB")
    add(moment("short", TEACHER), seeds=3, target="0.52 MB, L=10")
    add(moment("small", TEACHER), seeds=3, target="0.15 MB")
    add(moment("attention", TEACHER), seeds=3, target="0.52 MB, attention")
    add(moment("linear", *TEACHERS), seeds=3, target="0.52 MB, a third of the time")
