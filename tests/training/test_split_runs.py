"""Every loss and encoder with tables split over devices gives what one device gives.

This file is also the program that does so with eight devices: `python test_split_runs.py CASES`,
names of `CASES`; it prints a line for each, see `split_runs.compare`.
"""

import json
import os
import subprocess
import sys

import pytest

from flaxrec.config import FeatureConfig
from flaxrec.models.encoders import ENCODERS
from flaxrec.scoring.losses import LOSSES
from tests.support import split_runs
from tests.support.places import ROOT

pytestmark = pytest.mark.long

MESHES = ((8, 1), (8, 4))  # devices, of which so many share the tables
TIED = {"model__tied_tables": True, "model__projection": False}
TOWER = {"model__label_features": ["genres"], "model__id_dropout": 0.2}
RECIPE = {"optimizer__learning_rate": 5e-3, "optimizer__schedule": "cosine"}
OPTIONS = {
    "seen items left out": {"loss__exclude_seen": True, "loss__label_smoothing": 0.1},
    "drawn, without seen ones": {
        "loss__name": "sampled_softmax",
        "loss__exclude_seen": True,
        "loss__label_smoothing": 0.1,
    },
    "tied": {**TIED, "loss__exclude_seen": True},
    "tied, drawn": {**TIED, "loss__name": "sampled_softmax"},
    "bias, normalized": {
        "model__item_bias": True,
        "model__normalized": True,
        "model__temperature": 0.1,
    },
    "all prefixes": {"train__labels_per_context": 4, "model__hidden_dims": (32,)},
    "packed": {"train__packed": True, "train__batch_size": 16},
    "label tower": TOWER,
    "label tower, tied": TOWER | TIED,
    "label tower, few drawn": {  # so few that only their vectors are made
        **TOWER,
        **TIED,
        "loss__name": "sampled_softmax",
        "loss__negatives": 8,
        "train__batch_size": 16,
    },
    "rounded": {"train__quantization": "int8"},
    "adagrad, clipped": {
        "optimizer__name": "adagrad",
        "optimizer__clip_norm": 0.1,
    },
    "adamw, each clipped": {
        "optimizer__name": "adamw",
        "optimizer__weight_decay": 0.01,
        "optimizer__clip_norm": 0.1,
        "optimizer__clip": "per_parameter",
    },
    "the recipe's rate": RECIPE,
    "the recipe's rate, drawn": {**RECIPE, "loss__name": "sampled_softmax"},
    "the recipe's rate, of the batch": {**RECIPE, "loss__name": "batch_softmax"},
}
CASES = OPTIONS | {
    f"{loss}, {encoder}": {"loss__name": loss, "encoder": encoder}
    for loss in LOSSES
    for encoder in ENCODERS
}


def config_of(case: dict):
    """The config of a case, in which features are names."""
    case = dict(case)
    encoder = case.pop("encoder", "bow")
    if features := case.get("model__label_features"):
        case["model__label_features"] = [
            FeatureConfig(name, f"item.{name}", "STRING") for name in features
        ]
    config = split_runs.make_config(**case)
    config.model.activity_groups[0].encoder = encoder
    return config


def found(case: dict) -> dict[str, dict]:
    """By mesh, how far it is from one device; ranks by one device's parameters."""
    config = config_of(case)
    one = split_runs.trained(config, 1, 1)
    return {
        f"{devices} devices, {shards} shards": split_runs.compare(
            one, split_runs.trained(config, devices, shards, one.params)
        )
        for devices, shards in MESHES
    }


@pytest.fixture(scope="module")
def apart(request) -> dict[str, dict[str, dict]]:
    """What the program finds, by case and mesh, of the cases that are asked for."""
    here = [item for item in request.session.items if str(item.path) == __file__]
    asked = dict.fromkeys(item.callspec.params["case"] for item in here)
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=8"
    environment = {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)}
    child = subprocess.run(
        [sys.executable, __file__, *asked],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert child.returncode == 0, child.stderr
    return dict(json.loads(line) for line in child.stdout.splitlines() if line.startswith("["))


@pytest.mark.parametrize("case", CASES)
def test_as_on_one_device(apart, case):
    for mesh, of in apart[case].items():
        assert of["losses"] < (1e-4 if "recipe" in case else 1e-5), mesh
        assert of["metrics"] < 1e-4, mesh
        assert of["ranks"] == of["lists"] == 0, mesh  # no two scores are within rounding
        assert of["shapes"], mesh
        assert of["steps"] == split_runs.STEPS, mesh


@pytest.mark.parametrize("case", CASES)
def test_no_device_gathers_a_table(apart, case):
    split = apart[case]["8 devices, 4 shards"]
    assert split["tables"] > 4000
    assert split["exchange of a step"] < split["tables"] / 2
    for of in apart[case].values():
        assert of["exchange of evaluation"] < split["tables"] / 2


if __name__ == "__main__":
    for name in sys.argv[1:]:
        print(json.dumps([name, found(CASES[name])]), flush=True)
