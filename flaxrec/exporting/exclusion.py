"""Leaves the context's items out of the ranking, inside the graph."""

from typing import Any

import numpy as np

from flaxrec.config import ExportConfig
from flaxrec.data.spec import InputSpec, ModelSpec
from flaxrec.data.timelines import ITEM
from flaxrec.errors import ExportError
from flaxrec.exporting.converter import operators_of
from flaxrec.tflite.metadata import LEFT_OUT


def item_inputs(spec: ModelSpec) -> list[InputSpec]:
    """The inputs whose ids are rows of the items' vocabulary."""
    return [i for i in spec.inputs if i.source == "item.id" and i.vocabulary == ITEM]


def rows_of(spec: ModelSpec) -> int:
    """R, rows of the items' vocabulary: padding, candidates and, if it has a row, 'unknown'."""
    return max([spec.first_candidate + spec.candidates, *(i.rows for i in item_inputs(spec))])


def no_candidates(spec: ModelSpec) -> list[int]:
    """The rows that are no items (padding, 'unknown'), never recommended with exclude_context."""
    end = spec.first_candidate + spec.candidates
    return sorted({0, *range(spec.first_candidate), *range(end, rows_of(spec))})


def check(spec: ModelSpec, options: ExportConfig) -> None:
    """Raises ExportError if exclude_context is set and the model cannot do it."""
    if not options.exclude_context:
        return
    inputs = item_inputs(spec)
    if not inputs:
        raise ExportError(
            "exclude_context needs an input of item ids with the items' whole vocabulary, which "
            "this model does not have; export without it."
        )
    left = spec.candidates - sum(i.length for i in inputs) - (spec.first_candidate == 0)
    if options.top_k > left:
        smaller = "a smaller top_k" if left > 0 else "a shorter config.model.context_length"
        raise ExportError(
            f"top_k is {options.top_k}, but with exclude_context as few as {max(left, 0)} items "
            f"remain; use {smaller}."
        )


def without_context(
    logits: np.ndarray, contexts: dict[str, np.ndarray], spec: ModelSpec
) -> np.ndarray:
    """Sets logits of what is left out, float32 [n, C], to minus infinity.

    Contexts are [n, length] by input name.
    """
    rows = np.full((len(logits), rows_of(spec)), -np.inf, np.float32)
    end = spec.first_candidate + spec.candidates
    rows[:, spec.first_candidate : end] = logits
    rows[:, no_candidates(spec)] = -np.inf
    for i in item_inputs(spec):
        ids = np.clip(contexts[i.name], 0, i.rows - 1)
        np.put_along_axis(rows, ids, -np.inf, axis=1)
    return rows[:, spec.first_candidate : end]


def exclude(scores: Any, ids: Any, spec: ModelSpec) -> Any:
    """Adds `LEFT_OUT` to the scores of the context's items and of rows that are no candidates.

    Scores are TensorFlow float32 [R] or [B, R], one for each row of the vocabulary; ids are int32
    [L] or [B, L], rows of the context's items, inside the vocabulary.
    """
    tf = operators_of(scores)
    never = np.array(no_candidates(spec), np.int32)
    if scores.shape.rank == 1:
        places = tf.reshape(tf.concat([ids, never], axis=0), [-1, 1])
    else:
        batch = tf.shape(ids)[0]
        ids = tf.concat([ids, tf.tile(never[None], [batch, 1])], axis=1)
        numbers = tf.broadcast_to(tf.range(batch)[:, None], tf.shape(ids))
        places = tf.stack([numbers, ids], axis=-1)
    # An item that occurs twice in the context gets `LEFT_OUT` twice, which does no harm.
    below = tf.fill(tf.shape(places)[:-1], LEFT_OUT)
    return scores + tf.scatter_nd(places, below, tf.shape(scores))
