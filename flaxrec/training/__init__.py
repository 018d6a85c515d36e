"""From a config to a run folder with checkpoints and metrics.

`run` leads; `steps` are compiled, `objective` says what they minimise, `optimizers` how;
`checkpoints` and `workdir` keep what comes of it.
"""

from typing import Any

__all__ = ["Result", "Run", "train"]


def __getattr__(name: str) -> Any:
    # On first use: commands that only read a run folder do without JAX.
    if name in __all__:
        from flaxrec.training import run

        return getattr(run, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
