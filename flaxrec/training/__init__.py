"""From a config to a run folder with checkpoints and metrics.

`run` is the entry point. `steps` are compiled, `objective` defines what they minimise, `optimizers`
how; `checkpoints` and `workdir` keep the results.
"""

from typing import Any

__all__ = ["Result", "Run", "train"]


def __getattr__(name: str) -> Any:
    # Imported on first use: commands that only read a run folder do not load JAX.
    if name in __all__:
        from flaxrec.training import run

        return getattr(run, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
