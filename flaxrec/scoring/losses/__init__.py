"""Losses, one per file: what a training step minimises.

A loss is a function of a `Step`; it returns the mean loss, float32 []. To add one, write its file
and name it in `LOSSES`, or define it in your own config file (docs/extending.md).
"""

from collections.abc import Mapping

from flaxrec.config import Config, own_code
from flaxrec.scoring.losses import batch_softmax, global_softmax, sampled_softmax
from flaxrec.scoring.losses.step import Loss, Step

__all__ = ["LOSSES", "Loss", "Step", "known_losses"]

LOSSES: Mapping[str, Loss] = {
    "global_softmax": global_softmax.mean_loss,
    "sampled_softmax": sampled_softmax.mean_loss,
    "batch_softmax": batch_softmax.mean_loss,
}


def known_losses(config: Config) -> Mapping[str, Loss]:
    """The shipped losses and those of the run's own config file, by name.

    Raises:
      ConfigError: this process has not executed the run's own config file.
    """
    return {**LOSSES, **own_code.table(config.code, "LOSSES")}
