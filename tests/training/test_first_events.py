"""Users' first events as training labels: the list without any activity, for new users.

Users of the country a begin with item 1, those of b with item 2 and so on up to f; all go on to the
items 10 to 29, which are the most popular.
"""

import contextlib

import numpy as np
import pytest

from flaxrec.config import (
    Config,
    DataConfig,
    FeatureConfig,
    GroupConfig,
    ModelConfig,
    OptimizerConfig,
    SplitConfig,
    TrainConfig,
)
from flaxrec.data.dataset import prepare
from flaxrec.errors import ConfigError
from flaxrec.evaluation import baselines
from flaxrec.training.checkpoints import Checkpoints
from flaxrec.training.run import Run, train
from flaxrec.training.validation import validate
from flaxrec.training.workdir import Workdir

ID = FeatureConfig("context", "item.id", embedding_dim=8)
COUNTRY = FeatureConfig("country", "user.country", "STRING", 4)
USERS, HELD_OUT, EVENTS = 60, 20, 8


def write(folder):
    """Events and users; those held out begin after all others have ended."""
    random = np.random.default_rng(0)
    rows, people = ["user,item,time"], ["user,country"]
    for user in range(USERS + HELD_OUT):
        people.append(f"{user},{'abcdef'[user % 6]}")
        begin = 1000 * (user >= USERS) + user
        items = [1 + user % 6, *random.integers(10, 30, EVENTS - 1)]
        rows += [f"{user},{item},{begin + t}" for t, item in enumerate(items)]
    (folder / "events.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    (folder / "users.csv").write_text("\n".join(people) + "\n", encoding="utf-8")


def config_of(folder, encoder="bow", **options) -> Config:
    write(folder)
    data = DataConfig(
        source="table", path=str(folder / "events.csv"), users_path=str(folder / "users.csv")
    )
    data.columns.user_features = ("country",)
    group = GroupConfig([ID], encoder, conv_kernel_size=2, lstm_units=8, width=8)
    config = Config(
        data=data,
        split=SplitConfig("global_time", 0.0, HELD_OUT / (USERS + HELD_OUT)),
        model=ModelConfig(
            context_length=4,
            embedding_dim=8,
            activity_groups=[group],
            global_groups=[GroupConfig([COUNTRY])],
            tied_tables=True,
        ),
        optimizer=OptimizerConfig(learning_rate=0.03),
        train=TrainConfig(batch_size=16, epochs=15, first_events=True, log_every=1),
    )
    config.evaluation.ks, config.export.top_k = (1, 2, 10), 5
    config.evaluation.baselines = False
    for path, value in options.items():
        setattr(config.train, path, value)
    return validate(config)


def of_held_out(config, workdir):
    """Metrics of held-out users' first events, by the model and by popularity."""
    dataset = prepare(config)
    run = Run(config, dataset, workdir, lambda line: None)
    with contextlib.closing(Checkpoints(workdir.checkpoints, create=False)) as checkpoints:
        params, _ = checkpoints.restore_best(run.structure.shapes, run.mesh.replicated)
    labels = dataset.timelines.offsets[:-1][-HELD_OUT:]
    assert not np.isin(labels, dataset.split.train).any()
    counted = baselines.rank("popularity", dataset, labels)
    return [ranks.means((1, 2, 10)) for ranks in (run.job.evaluator(params, labels), counted)]


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({}, marks=pytest.mark.long),
        *[
            pytest.param({"labels_per_context": 4, "encoder": encoder}, marks=pytest.mark.long)
            for encoder in ("bow", "recency_bow", "lstm", "linear_rnn", "attention", "causal_cnn")
        ],
        pytest.param({"encoder": "cnn"}, marks=pytest.mark.long),
    ],
)
def test_new_users_get_what_users_begin_with(tmp_path, options):
    """Each what their own country begins with; popularity has neither item among its first ten."""
    config, workdir = config_of(tmp_path, **options), Workdir(tmp_path / "run")
    train(config, workdir, say=lambda line: None)
    model, counted = of_held_out(config, workdir)
    assert counted["recall@10"] == 0
    assert model["recall@1"] == 1


def no_layers(config):
    config.model.global_groups, config.model.hidden_dims = [], ()
    config.model.projection = False


def records(config):
    config.data.source, config.train.select_metric = "tfrecord", "ndcg@10"
    config.data.records.test = "x"


def reference(config):
    config.reference_mode, config.model.tied_tables = True, False


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (no_layers, "this model's scores are all 0.*item_bias or config.model.projection"),
        (records, "reference mode and TFRecords"),
        (reference, "reference mode and TFRecords"),
    ],
)
def test_where_nothing_can_be_learned_it_is_refused(tmp_path, change, message):
    config = config_of(tmp_path)
    change(config)
    with pytest.raises(ConfigError, match=message):
        validate(config)


def test_a_bias_of_the_items_is_enough(tmp_path):
    config = config_of(tmp_path)
    no_layers(config)
    config.model.item_bias = True
    validate(config)
