"""flaxrec: on-device sequential recommendation in JAX/Flax.

`Recommender` is the exported model as a person uses it. Everything else is imported from its own
module: `flaxrec.training.run.train`, `flaxrec.exporting.bundle.export`, `flaxrec.config.Config`.
"""

from typing import Any

__version__ = "0.1.0"
__all__ = ["Recommender", "__version__"]


def __getattr__(name: str) -> Any:
    # Imported on first use: readers and configs need neither numpy's nor the runtime's start-up.
    if name == "Recommender":
        from flaxrec.recommender import Recommender

        return Recommender
    raise AttributeError(f"module 'flaxrec' has no attribute {name!r}")
