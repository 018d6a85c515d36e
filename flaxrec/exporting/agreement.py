"""Compares the finished files with JAX and with the file of an imported model."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from flaxrec.config import ExportConfig
from flaxrec.errors import ExportError
from flaxrec.exporting import converter, exclusion, judge, ranked_lists
from flaxrec.exporting.assets import Assets
from flaxrec.exporting.serving import ServingModel
from flaxrec.files import plain_path
from flaxrec.tflite.metadata import IDS, SCORES
from flaxrec.tflite.runtime import TfliteModel

_BATCH = 64  # contexts at a time through the SavedModel's batched signature


def with_jax(
    model: ServingModel,
    options: ExportConfig,
    assets: Assets,
    saved_model: Path,
    runtime: TfliteModel,
) -> ranked_lists.Equality:
    """Compares the SavedModel, the .tflite and an imported model's file with JAX.

    Args:
      model: run by JAX in the training form.
      options: top_k, exclude_context.
      assets: contexts to run, and an imported model's file.
      saved_model: the folder; both of its signatures are run.
      runtime: the .tflite.

    Returns:
      The worst of the comparisons.

    Raises:
      ExportError: one of them disagrees with JAX.
    """
    contexts, top_k = assets.contexts, options.top_k
    logits = expected = model.batch_logits(contexts)
    if options.exclude_context:
        expected = exclusion.without_context(logits, contexts, model.spec)
    one, batched = _signatures(saved_model)

    file = judge.model_lists(runtime)
    made: list[tuple[str, Iterable[ranked_lists.RankedList], np.ndarray, int]] = [
        ("finished SavedModel", ranked_lists.one_by_one(one, contexts), expected, top_k),
        ("finished SavedModel, in batches,", _in_batches(batched, contexts), expected, top_k),
        ("finished .tflite", ranked_lists.one_by_one(file, contexts), expected, top_k),
    ]
    if assets.original:  # this file never leaves out the context
        shared = min(top_k, assets.original.top_k)
        original = ranked_lists.one_by_one(assets.original.run, contexts, shared)
        made.append(("original file", original, logits, shared))
    found = []
    for what, lists, theirs, k in made:
        equality = ranked_lists.compare_lists(
            lists,
            theirs,
            first_candidate=model.spec.first_candidate,
            top_k=k,
            tolerance=tolerance(assets),
        )
        if equality.agree < equality.contexts:
            raise ExportError(
                f"The {what} disagrees with the model on {equality.contexts - equality.agree} of "
                f"{equality.contexts} contexts (scores differ by up to "
                f"{equality.max_score_difference:.1e}); nothing was published. Please report the "
                "versions of jax and tensorflow."
            )
        found.append(equality)
    return ranked_lists.worst(found)


def to_the_bit(
    published: TfliteModel, judged: TfliteModel, contexts: dict[str, np.ndarray]
) -> None:
    """Raises ExportError if adding the metadata changed any output."""
    before, after = (judge.run_model(file, contexts) for file in (judged, published))
    same = before.ids.tobytes() == after.ids.tobytes()
    if not same or before.scores.tobytes() != after.scores.tobytes():
        raise ExportError(
            "The finished .tflite answers otherwise with its metadata than without; nothing was "
            "published. Please report the version of ai-edge-litert."
        )


def tolerance(assets: Assets) -> float:
    """The largest difference of two scores that count as equal."""
    return ranked_lists.IMPORT_TOLERANCE if assets.original else ranked_lists.SCORE_TOLERANCE


def _signatures(saved_model: Path) -> tuple[ranked_lists.Runner, ranked_lists.Runner]:
    """The SavedModel's two signatures: one context, a batch of contexts."""
    tf = converter.import_tensorflow()
    with plain_path(saved_model) as folder:
        loaded = tf.saved_model.load(str(folder))

    def runner(signature: Any) -> ranked_lists.Runner:
        def run(inputs: dict[str, np.ndarray]) -> ranked_lists.RankedList:
            out = signature(**{name: tf.constant(value) for name, value in inputs.items()})
            return out[IDS].numpy(), out[SCORES].numpy()

        return run

    return runner(loaded.signatures["serving_default"]), runner(loaded.signatures["serve_batch"])


def _in_batches(
    run: ranked_lists.Runner, contexts: dict[str, np.ndarray]
) -> Iterator[ranked_lists.RankedList]:
    """The lists of the batched signature; the last batch may be smaller."""
    count = len(next(iter(contexts.values())))
    for begin in range(0, count, _BATCH):
        batch = {name: values[begin : begin + _BATCH] for name, values in contexts.items()}
        yield from zip(*run(batch), strict=True)
