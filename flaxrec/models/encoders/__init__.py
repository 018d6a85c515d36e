"""Sequence encoders: from the vectors of a context to one encoding; one file an encoder.

An encoder's file holds its parameters, its training form, its serving form and its name for
people (see `encoder.Encoder`). To add one, write its file and name it in `ENCODERS`; one of your
own stands in a config file instead (docs/extending.md).
"""

from collections.abc import Mapping

from flaxrec.config import Config, own_code
from flaxrec.models.encoders.attention import AttentionEncoder
from flaxrec.models.encoders.bow import BowEncoder
from flaxrec.models.encoders.causal_cnn import CausalCnnEncoder
from flaxrec.models.encoders.cnn import CnnEncoder
from flaxrec.models.encoders.encoder import Encoder, Serving, Setting
from flaxrec.models.encoders.linear_rnn import LinearRnnEncoder
from flaxrec.models.encoders.lstm import LstmEncoder
from flaxrec.models.encoders.recency_bow import RecencyBowEncoder

__all__ = ["ENCODERS", "Encoder", "Serving", "Setting", "known_encoders"]

ENCODERS: Mapping[str, type[Encoder]] = {
    "bow": BowEncoder,
    "recency_bow": RecencyBowEncoder,
    "cnn": CnnEncoder,
    "lstm": LstmEncoder,
    "linear_rnn": LinearRnnEncoder,
    "causal_cnn": CausalCnnEncoder,
    "attention": AttentionEncoder,
}


def known_encoders(config: Config) -> Mapping[str, type[Encoder]]:
    """The shipped encoders and those of the run's own config file, by name.

    Raises:
      ConfigError: the run's own file has not been named in this process.
    """
    return {**ENCODERS, **own_code.table(config.code, "ENCODERS")}
