"""What an export needs besides the model, wherever the model comes from."""

import dataclasses
from typing import Any

import numpy as np

from flaxrec.data.vocabulary import Vocabulary
from flaxrec.exporting.ranked_lists import Runner
from flaxrec.training.run_assets import Judged


@dataclasses.dataclass(frozen=True)
class Original:
    """The file that a model was imported from, to be run beside the new one.

    Attributes:
      run: [length] by input name -> ids int32 [K], scores float32 [K].
      top_k: its K.
    """

    run: Runner
    top_k: int


@dataclasses.dataclass(frozen=True)
class Assets:
    """What goes into the export folder or is needed to verify it.

    Attributes:
      vocabularies: by name: the items' and those of the inputs.
      items: what is known of the items, the most frequent first; rows of items.jsonl.
      contexts: inputs to verify the finished file with, [n, length] by name, n at least 1.
      tests: rows of metrics.jsonl that tell how good the model is.
      original: an imported model's file.
      judged: labels to judge a quantised file by, by split ('validation', 'test').
    """

    vocabularies: dict[str, Vocabulary]
    items: list[dict[str, Any]]
    contexts: dict[str, np.ndarray]
    tests: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    original: Original | None = None
    judged: dict[str, Judged] = dataclasses.field(default_factory=dict)
