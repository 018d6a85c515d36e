"""What a run says of its data and its model before the first step."""

from collections.abc import Iterator

import jax
import numpy as np

from flaxrec.config import Config
from flaxrec.data import buckets, recipe
from flaxrec.data.dataset import Dataset
from flaxrec.training.steps import Job


def lines(config: Config, dataset: Dataset, job: Job) -> Iterator[str]:
    """The lines, in order."""
    split = dataset.split
    parameters = sum(int(np.prod(s.shape)) for s in job.structure.shapes.values())
    yield dataset.timelines.description
    if account := dataset.timelines.account:
        yield from account.lines()[1:]
        yield from account.warnings()
        if chosen := recipe.lines(list(dataset.choices)):
            yield from chosen
            if unread := recipe.unread(config):
                yield unread
    validation, test = (
        f"{len(getattr(split, part)):,}"
        + (f" of {there:,}" if (there := split.sampled_from.get(part)) else "")
        for part in ("validation", "test")
    )
    yield (
        f"labels ({split.protocol}): {len(split.train):,} training, "
        f"{validation} validation, {test} test; "
        f"{parameters:,} parameters; {job.mesh.size} x {jax.devices()[0].device_kind}"
    )
    if len(job.buckets) > 1:
        yield buckets.line(job.buckets)
    if split.cold_items:
        alone = ""
        if not config.model.label_features:
            alone = "; without config.model.label_features their vectors stay untrained"
        yield (
            f"cold items: {split.cold_items:,} of {dataset.spec.candidates:,} are in no "
            f"training; {len(split.cold):,} labels of theirs{alone}"
        )
