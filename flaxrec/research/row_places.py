"""Fields of a config that say where data and caches lie: they do not make a run another one."""

from collections.abc import Mapping
from typing import Any

PLACES = ("data.path", "data.items_path", "data.users_path", "data.cache_dir")


def without_places(config: Mapping[str, Any]) -> dict[str, Any]:
    """The sections of a config, as a row of results.jsonl holds it, without the places."""
    kept = dict(config)
    for place in PLACES:
        name, _, field = place.partition(".")
        if isinstance(kept.get(name), Mapping):
            kept[name] = {key: value for key, value in kept[name].items() if key != field}
    return kept
