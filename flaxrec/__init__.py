"""flaxrec: on-device sequential recommendation in JAX/Flax.

    config = flaxrec.load_config("quickstart")     # a shipped name, or FILE.py[:VARIANT]
    result = flaxrec.train(config, "runs/mine")    # result.metrics, result.workdir
    folder = flaxrec.export(result.workdir)
    flaxrec.Recommender.load(folder).recommend([1, 364], top_k=5)

What these names need is imported on first use; `Recommender` needs numpy and ai-edge-litert alone.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flaxrec.config import Config
    from flaxrec.config.loading import load_config
    from flaxrec.export_tflite import export
    from flaxrec.recommender import Recommendation, Recommender
    from flaxrec.train_main import train
    from flaxrec.training.run import Result

__version__ = "0.2.0"
__all__ = [
    "Config",
    "Recommendation",
    "Recommender",
    "Result",
    "__version__",
    "export",
    "load_config",
    "train",
]
_MODULES = {
    "Config": "flaxrec.config",
    "Recommendation": "flaxrec.recommender",
    "Recommender": "flaxrec.recommender",
    "Result": "flaxrec.training.run",
    "export": "flaxrec.export_tflite",
    "load_config": "flaxrec.config.loading",
    "train": "flaxrec.train_main",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'flaxrec' has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES})
