"""What a finished run says of itself: whether to train longer, and whether counting is better."""

import math
from collections.abc import Mapping

from flaxrec.config import Config


def lower_is_better(metric: str) -> bool:
    """Whether smaller values of a metric, such as filtered/mean_rank, are better."""
    return metric.split("/")[-1] in ("mean_rank", "loss")


def is_better(value: float, than: float, metric: str) -> bool:
    """Whether a metric's value is better than another."""
    return value < than if lower_is_better(metric) else value > than


def last_is_best(config: Config, best_epoch: int) -> str:
    """Says that the last epoch was the best, where more of them would go on in the same way.

    Of a single epoch, or one at the end of a falling learning rate, that says nothing.
    """
    epochs = config.train.epochs
    if config.optimizer.schedule != "constant" or not 1 < epochs <= best_epoch:
        return ""
    return f"The best epoch was the last: train longer, with config.train.epochs above {epochs}."


def counting_is_better(
    counted: Mapping[str, Mapping[str, float]], own: float, config: Config
) -> str:
    """Says which baseline is at least as good as the model on validation, and what to try.

    Args:
      counted: the baselines' metrics on the validation labels.
      own: the model's config.train.select_metric.
      config: of the model.
    """
    metric, name, best = config.train.select_metric, "", own
    for other, metrics in counted.items():
        value = metrics.get(metric, math.nan)
        if is_better(value, best, metric) or (not name and value == best):
            name, best = other, value
    if not name:
        return ""
    to_try = ["more epochs", "another config.optimizer.learning_rate"]
    if config.data.source == "table" and not config.model.transitions:
        to_try.insert(0, "config.recipe=by_data")
    if not config.model.transitions and config.data.source != "tfrecord":
        to_try.insert(0, "config.model.transitions=32, which adds counts to the model")
    return (
        f"The model is no better than counting: on validation {metric} is {own:.4f}, that of "
        f"{name} {best:.4f}; try {'; '.join(to_try)}; docs/baselines.md has more."
    )
