"""The starter models in models/, three seeds each. MovieLens-1M, leave-one-out.

python -m flaxrec.sweep --sweep=configs/sweeps/starter_models.py --workdir=DIR --export=all
    --exported_accuracy [--config.data.path=ML-1M]
"""

import importlib.util
from collections.abc import Callable
from pathlib import Path


def sweep(add: Callable[..., None]) -> None:
    """5 models, 3 seeds; the quickest first."""
    file = Path(__file__).parent.parent / "starters.py"
    spec = importlib.util.spec_from_file_location("starters_config", file)
    assert spec
    assert spec.loader
    starters = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(starters)
    for name in reversed(starters.NAMES):
        add(starters.get_config(name), seeds=3, starter=name)
