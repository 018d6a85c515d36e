"""The command that recommends from an export: python -m flaxrec.recommend.

After the items on the command line, or to many users whose histories stand in a table (`many`):
table -> histories (`histories`) -> lists -> one file (`lists`).
"""

import importlib
from typing import Any

_OF_COMMAND = ("find_activity", "find_item", "main", "show_example", "table")


def __getattr__(name: str) -> Any:
    """What the command is made of, imported with its first use."""
    if name not in _OF_COMMAND:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.__main__"), name)
