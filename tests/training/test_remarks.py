"""What a run says of itself at its end."""

import pytest

from flaxrec.config import Config, DataConfig
from flaxrec.training import remarks


def make_config(**of_train):
    config = Config(data=DataConfig(source="table"))
    for name, value in of_train.items():
        setattr(config.train, name, value)
    return config


@pytest.mark.parametrize(
    ("metric", "own", "found"),
    [
        ("filtered/ndcg@10", 0.31, ""),
        ("filtered/ndcg@10", 0.3, "is 0.3000, that of transitions 0.3000; try"),
        ("filtered/ndcg@10", 0.1, "is 0.1000, that of transitions 0.3000; try"),
        ("mean_rank", 30.0, "is 30.0000, that of popularity 20.0000; try"),
        ("mean_rank", 10.0, ""),
        ("loss", 3.0, ""),  # counts have none
    ],
)
def test_counting_that_is_better_is_said(metric, own, found):
    counted = {
        "popularity": {"filtered/ndcg@10": 0.2, "mean_rank": 20.0},
        "transitions": {"filtered/ndcg@10": 0.3, "mean_rank": 25.0},
    }
    config = make_config(select_metric=metric)
    said = remarks.counting_is_better(counted, own, config)
    assert found in said
    assert bool(found) == bool(said)
    assert ("config.model.transitions=32" in said) == bool(found)
    config.model.transitions, config.recipe = 32, "by_data"  # what there is, is not advised
    assert "config." not in remarks.counting_is_better(counted, own, config).replace(
        "config.optimizer", ""
    )


def test_a_best_epoch_that_was_the_last_is_said():
    config = make_config(epochs=4)
    assert remarks.last_is_best(config, 3) == ""
    assert "train longer, with config.train.epochs above 4" in remarks.last_is_best(config, 4)
    assert remarks.last_is_best(make_config(epochs=1), 1) == ""
    config.optimizer.schedule = "linear"  # at its end the last is the best in any case
    assert remarks.last_is_best(config, 4) == ""
