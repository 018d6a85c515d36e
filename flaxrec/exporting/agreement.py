"""Compares the finished files with JAX and with the file of an imported model."""

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from flaxrec.config import ExportConfig
from flaxrec.errors import ExportError
from flaxrec.exporting import converter, exclusion, judge, masking, ranked_lists
from flaxrec.exporting.assets import Assets
from flaxrec.exporting.ranked_lists import RankedList, Runner
from flaxrec.exporting.serving import ServingModel
from flaxrec.files import plain_path
from flaxrec.tflite.metadata import CANDIDATE_MASK, IDS, SCORES
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
      saved_model: the folder; both of its signatures are run. With options.converter 'litert'
        there is none.
      runtime: the .tflite.

    With options.candidate_mask, each context has one of the masks of `masking.draw`.

    Returns:
      The worst of the comparisons.

    Raises:
      ExportError: one of them disagrees with JAX.
    """
    contexts, top_k = assets.contexts, options.top_k
    logits = expected = model.batch_logits(contexts)
    if options.exclude_context:
        expected = exclusion.without_context(logits, contexts, model.spec)
    parts = [_Part(contexts)]
    if options.candidate_mask:
        masks = masking.draw(model, top_k)
        parts, expected = _masked(model, contexts, expected, masks)
    file = judge.model_lists(runtime)

    def of_all(lists: Callable[..., Iterator[RankedList]], run: Runner) -> Iterator[RankedList]:
        for part in parts:
            yield from lists(part.with_mask(run), part.contexts)

    made: list[tuple[str, Iterable[RankedList], np.ndarray, int]] = []
    if options.converter == "jax2tf":
        one, batched = _signatures(saved_model)
        made += [
            ("finished SavedModel", of_all(ranked_lists.one_by_one, one), expected, top_k),
            ("finished SavedModel, in batches,", of_all(_in_batches, batched), expected, top_k),
        ]
    made.append(("finished .tflite", of_all(ranked_lists.one_by_one, file), expected, top_k))
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


@dataclasses.dataclass(frozen=True)
class _Part:
    """Contexts, [n, length] by input name, that share a mask [R]; None: the graph takes none."""

    contexts: dict[str, np.ndarray]
    mask: np.ndarray | None = None

    def with_mask(self, run: Runner) -> Runner:
        """`run`, which is given the mask too."""
        added = {} if self.mask is None else {CANDIDATE_MASK: self.mask}
        return lambda inputs: run({**inputs, **added})


def _masked(
    model: ServingModel,
    contexts: dict[str, np.ndarray],
    logits: np.ndarray,
    masks: np.ndarray,
) -> tuple[list[_Part], np.ndarray]:
    """Deals the contexts out to the masks [M, R]; the logits [n, C] in the parts' order."""
    parts, own = [], []
    for m, mask in enumerate(masks):
        if len(logits[m :: len(masks)]):
            parts.append(_Part({n: v[m :: len(masks)] for n, v in contexts.items()}, mask))
            own.append(masking.masked(logits[m :: len(masks)], mask, model))
    return parts, np.concatenate(own)


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


def _signatures(saved_model: Path) -> tuple[Runner, Runner]:
    """The SavedModel's two signatures: one context, a batch of contexts."""
    tf = converter.import_tensorflow()
    with plain_path(saved_model) as folder:
        loaded = tf.saved_model.load(str(folder))

    def runner(signature: Any) -> Runner:
        def run(inputs: dict[str, np.ndarray]) -> RankedList:
            out = signature(**{name: tf.constant(value) for name, value in inputs.items()})
            return out[IDS].numpy(), out[SCORES].numpy()

        return run

    return runner(loaded.signatures["serving_default"]), runner(loaded.signatures["serve_batch"])


def _in_batches(run: Runner, contexts: dict[str, np.ndarray]) -> Iterator[RankedList]:
    """The lists of the batched signature; the last batch may be smaller."""
    count = len(next(iter(contexts.values())))
    for begin in range(0, count, _BATCH):
        batch = {name: values[begin : begin + _BATCH] for name, values in contexts.items()}
        yield from zip(*run(batch), strict=True)
