"""The model's inputs once the data are known: names, shapes and table sizes.

Kept in the run folder, so that a model can be rebuilt and exported without the data set.
"""

import dataclasses
import json
from pathlib import Path
from typing import Annotated

import msgspec

from flaxrec.data.moments import OF_NOW, SECONDS_AGO, Clock
from flaxrec.files.schemas import Count, Reader, Size

MOST_POSITIONS = 2**31 - 1  # of events and values: positions are int32, here and on the device
ASKED = "at the label's time"  # when a model that knows the moment is asked in evaluation


@dataclasses.dataclass(frozen=True)
class InputSpec:
    """One input of the graph.

    Attributes:
      name: the input's name.
      source: where its values come from: item.id, item.NAME, event.NAME, user.NAME,
        ask.NAME.
      type: INT or STRING (int32 vocabulary rows) or FLOAT (float32).
      length: number of values; the input is [batch, length].
      rows: rows of the embedding table; 0 for FLOAT and event.seconds_ago.
      vocabulary: name of the vocabulary; '' for those.
      multi_valued: an activity has any number of values, flattened over the context.
      default: FLOAT: the mean over the data, used for unknown values.
    """

    name: str
    source: str
    type: Annotated[str, msgspec.Meta(pattern="^(INT|STRING|FLOAT)$")]
    length: Size
    rows: Size = 0
    vocabulary: str = ""
    multi_valued: bool = False
    default: float = 0.0

    @property
    def of_label(self) -> bool:
        """Whether it has one value for each label: it tells of the moment of asking."""
        return self.source.startswith("ask.")

    @property
    def of_activity(self) -> bool:
        """Whether its values are of activities, and neither of the user nor of the label."""
        return not self.source.startswith(("user.", "ask."))

    @property
    def of_duration(self) -> bool:
        """Whether its values are durations, int32, that no table is looked up by."""
        return self.source == SECONDS_AGO

    @property
    def dtype(self) -> str:
        """NumPy name of the input's dtype."""
        return "float32" if self.type == "FLOAT" else "int32"


@dataclasses.dataclass(frozen=True)
class ModelSpec:
    """What a model needs to know of the data.

    Attributes:
      inputs: the inputs, in the config's order.
      candidates: C, number of ranked items.
      first_candidate: vocabulary row of candidate 0; candidate c is row first_candidate + c.
      clock: how the data's times count; None: they have none, or the run is of version 0.1.0.
    """

    inputs: tuple[InputSpec, ...]
    candidates: Count
    first_candidate: Size
    clock: Clock | None = None

    @property
    def asked(self) -> str | None:
        """`ASKED` where an input tells of the moment of asking: figures say so; None elsewhere."""
        return ASKED if any(spec.source in OF_NOW for spec in self.inputs) else None

    def to_json(self) -> str:
        """The inverse of `from_json`."""
        fields = dataclasses.asdict(self)
        if self.clock is None:  # as in version 0.1.0
            del fields["clock"]
        return json.dumps(fields, indent=2) + "\n"

    @classmethod
    def read(cls, file: Path, reader: Reader) -> "ModelSpec":
        """Reads what `to_json` made."""
        return reader.object(file, cls)

    @classmethod
    def from_json(cls, text: str) -> "ModelSpec":
        """The inverse of `to_json`."""
        fields = json.loads(text)
        fields["inputs"] = tuple(InputSpec(**spec) for spec in fields["inputs"])
        clock = fields.pop("clock", None)
        return cls(**fields, clock=Clock.from_json(clock) if clock else None)
