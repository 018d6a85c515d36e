"""Config fields that say where data and caches are; runs that differ only there are the same."""

from collections.abc import Mapping
from typing import Any

PLACES = (
    *("data.path", "data.items_path", "data.users_path"),
    *("data.cache_dir", "data.max_memory_gb"),
)


def without_places(config: Mapping[str, Any]) -> dict[str, Any]:
    """A config's sections, as in a row of results.jsonl, without the places."""
    kept = dict(config)
    for place in PLACES:
        name, _, field = place.partition(".")
        if isinstance(kept.get(name), Mapping):
            kept[name] = {key: value for key, value in kept[name].items() if key != field}
    return kept
