"""A label's context in the data's own ids and values, as the Recommender takes it."""

from typing import Any

import numpy as np

from flaxrec.data import moments
from flaxrec.data.spec import InputSpec
from flaxrec.data.timelines import ITEM, Timelines


def history(timelines: Timelines, label: int, context_length: int) -> dict[str, Any]:
    """The history before position `label`: `context_length` activities, or those of a longer input.

    Returns:
      `user` (the user's id and features), `activities` (oldest first, each with its `item` and
      event features), `label` (the item that followed) and, where the model knows the moment of
      asking, `now` (the label's time).
    """
    if timelines.contexts_are_stored:
        return _of_stored_context(timelines, label)
    user = int(timelines.user[label])
    reach = max([context_length, *(spec.length for spec in timelines.inputs)])
    start = max(int(timelines.offsets[user]), label - reach)
    found = {
        "user": timelines.users.row(user, named=True),
        "activities": timelines.activities_of(slice(start, label)).to_dicts(),
        "label": timelines.activities_of(slice(label, label + 1))["item"][0],
    }
    if any(spec.source in moments.OF_NOW for spec in timelines.inputs):
        found["now"] = timelines.time[label].item()
    return found


def _of_stored_context(timelines: Timelines, label: int) -> dict[str, Any]:
    """Rebuilds the history; the longest input of item ids gives the number of activities."""
    stored = {spec.name: timelines.columns[spec.name].values[label] for spec in timelines.inputs}
    ids = [spec for spec in timelines.inputs if spec.source == "item.id"]
    activities: list[dict[str, Any]] = []
    if ids:
        longest = max(ids, key=lambda spec: spec.length)
        rows = np.trim_zeros(stored[longest.name], "b")  # the rest is padding
        activities = [{"item": item} for item in _own_values(timelines, longest, rows)]
    user = timelines.users.row(int(timelines.user[label]), named=True)
    for spec in timelines.inputs:
        table, _, name = spec.source.partition(".")
        values = _own_values(timelines, spec, stored[spec.name])
        if table == "user":
            user[name] = values if spec.multi_valued else values[0]
        elif table == "event":
            # A shorter input holds the latest activities.
            for activity, value in zip(activities[-len(values) :], values, strict=False):
                activity[name] = value
    (item,) = _own_values(timelines, None, timelines.item[[label]])
    return {"user": user, "activities": activities, "label": item}


def _own_values(timelines: Timelines, spec: InputSpec | None, values: np.ndarray) -> list:
    """The rows' vocabulary entries, None for 'unknown'; a FLOAT input's numbers unchanged."""
    if spec is not None and not spec.vocabulary:
        return values.tolist()
    entries = timelines.vocabularies[spec.vocabulary if spec else ITEM].entries
    own = [entries[row] if row < len(entries) else None for row in values.tolist()]
    if spec is not None and spec.type == "STRING":
        return own
    return [value if value is None else int(value) for value in own]
