"""Fields of a config that say where data and caches lie: they do not make a run another one."""

from collections.abc import Mapping
from typing import Any

PLACES = ("data.path", "data.items_path", "data.users_path", "data.cache_dir")


def without_places(config: Mapping[str, Any]) -> dict[str, Any]:
    """The sections of a config, as a row of results.jsonl holds it, without the places."""
    return {
        name: {field: value for field, value in section.items() if f"{name}.{field}" not in PLACES}
        if isinstance(section, Mapping)
        else section
        for name, section in config.items()
    }
