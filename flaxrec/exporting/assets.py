"""What an export needs besides the model."""

import dataclasses
from typing import Any

import numpy as np

from flaxrec.data.vocabulary import Vocabulary
from flaxrec.exporting.ranked_lists import Runner
from flaxrec.training.run_assets import Judged


@dataclasses.dataclass(frozen=True)
class Original:
    """The file that a model was imported from, to compare the new one with, and its K."""

    run: Runner
    top_k: int


@dataclasses.dataclass(frozen=True)
class Assets:
    """What goes into the export folder or is needed to verify it.

    Attributes:
      vocabularies: by name, those of the items and of the inputs.
      items: rows of items.jsonl, the most frequent item first.
      contexts: inputs to verify the finished file with, [n, length] by name, n at least 1.
      tests: rows of metrics.jsonl with the model's test metrics.
      original: an imported model's file.
      judged: labels to judge a quantised file by, by split ('validation', 'test').
      baselines: rows of metrics.jsonl with the test metrics of counting baselines.
      cold: those of labels of cold items, of the model and of baselines.
      catalogue: where the items are not those of the training: what came and went.
    """

    vocabularies: dict[str, Vocabulary]
    items: list[dict[str, Any]]
    contexts: dict[str, np.ndarray]
    tests: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    original: Original | None = None
    judged: dict[str, Judged] = dataclasses.field(default_factory=dict)
    baselines: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    cold: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    catalogue: dict[str, Any] | None = None
