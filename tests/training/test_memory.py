"""What would not fit into memory is told with its bytes, before it is asked for."""

import re

import jax
import numpy as np
import pytest

from flaxrec import devices
from flaxrec.config import Config, FeatureConfig, GroupConfig, SyntheticConfig
from flaxrec.errors import ConfigError, TrainingError
from flaxrec.training import pieces, run
from flaxrec.training.validation import checked
from flaxrec.training.workdir import Workdir


def config(**changed) -> Config:
    """A small run with these fields of `train`, `evaluation` (eval_...) or `model`."""
    made = Config()
    made.data.synthetic = SyntheticConfig(30, 20, 10)
    made.model.activity_groups = [GroupConfig([FeatureConfig("context_item_id")])]
    made.evaluation.ks, made.train.select_metric = (1,), "loss"
    made.train.batch_size, made.export.top_k = 8, 1
    for name, value in changed.items():
        section, _, field = name.partition("_")
        setattr(getattr(made, section), field, value)
    return checked(made)


def refusal(tmp_path, made: Config) -> str:
    with pytest.raises(ConfigError) as error:
        run.train(made, Workdir(tmp_path / "run"))
    assert not (tmp_path / "run").exists()
    return str(error.value)


@pytest.mark.parametrize(
    ("changed", "there", "says"),
    [
        (
            {"model_embedding_dim": 8192},
            1_000_000,
            r"Training [\d,]+ parameters with config.optimizer.name=adam would take [\d,]+ bytes "
            r"or more, but there are 1,000,000; lower config.model.embedding_dim, ",
        ),
        (
            {"model_context_length": 10_000},
            100_000,
            "A step of 8 contexts of 10,000 values would take 320,000 bytes or more, but there are "
            "100,000; lower config.train.batch_size or config.model.context_length",
        ),
        (
            {"evaluation_batch_size": 10_000_000},
            1_000_000,
            r"The scores of 10,000,000 labels and \d+ items would take [\d,]+ bytes or more, .*; "
            "lower config.evaluation.batch_size",
        ),
    ],
)
def test_what_a_step_would_take(tmp_path, monkeypatch, changed, there, says):
    monkeypatch.setattr(devices, "host_memory", lambda: there)
    assert re.match(says, refusal(tmp_path, config(**changed)))


def test_what_generated_data_would_take(tmp_path):
    made = config(data_synthetic=SyntheticConfig(10_000_000, 10_000_000, 1_000_000))
    assert re.match(
        r"Synthetic data of 10,000,000 users, .* would take [\d,]{18,} bytes or more, but there "
        r"are [\d,]+; lower users, items or mean_events of config.data.synthetic\.",
        refusal(tmp_path, made),
    )


def test_what_the_compiler_says_a_step_takes(tmp_path, monkeypatch):
    """Known only once the step is compiled: nothing is trained."""
    monkeypatch.setattr(pieces, "device_memory", lambda: 10_000)
    with pytest.raises(ConfigError, match=r"^A step of training would take [\d,]+ bytes or more"):
        run.train(config(), Workdir(tmp_path / "run"))


@pytest.mark.parametrize(
    "error",
    [
        jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes."),
        MemoryError("Unable to allocate 9 bytes"),
    ],
)
def test_an_allocation_that_fails_is_told(error):
    with (
        pytest.raises(TrainingError, match=r"not enough \(.* 9 bytes.*\); lower it\.$"),
        devices.allocations_told("lower it"),
    ):
        raise error


def test_an_array_that_cannot_be_is_told():
    with pytest.raises(TrainingError), devices.allocations_told("lower it"):
        np.zeros(2**60, np.uint8)


def test_other_errors_of_a_device_stay_what_they_are():
    error = jax.errors.JaxRuntimeError("INTERNAL: something else")
    with pytest.raises(jax.errors.JaxRuntimeError), devices.allocations_told("lower it"):
        raise error
