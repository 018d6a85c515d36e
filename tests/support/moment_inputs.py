"""A Recommender without a folder that reads sources of time."""

from collections.abc import Mapping, Sequence
from typing import Any

from flaxrec.data import moments
from flaxrec.data.vocabulary import Vocabulary
from flaxrec.recommender import Recommender


class Asking(Recommender):
    """Encodes histories of the item 1.

    Args:
      vocabularies: entries by source; `event.seconds_ago` needs none.
      sources: of the inputs.
      length: of the inputs of activities.
      time: as in metadata.json.
    """

    def __init__(
        self,
        vocabularies: Mapping[str, Sequence[str]],
        sources: Sequence[str],
        length: int,
        time: Mapping[str, Any] | None,
    ):
        inputs = [
            {
                "name": source,
                "source": source,
                "dtype": "int32",
                "shape": [1 if source.startswith("ask.") else length],
                "vocabulary": None if source == moments.SECONDS_AGO else source,
                "multi_valued": False,
                "default": None,
            }
            for source in sources
        ]
        self.metadata = {
            "context_length": length,
            "flatten_keeps_oldest": False,
            "inputs": inputs,
            "label_vocabulary": "item",
            "time": time,
        }
        self.items = {"1": {}}
        self._vocabularies = {name: Vocabulary(tuple(of)) for name, of in vocabularies.items()}
        self._vocabularies["item"] = Vocabulary(("<pad>", "1"))
