"""Training: it learns, what it minimises, one result for one seed, when it stops and with what.

The data are walks: who watched item i goes on to item i + 1 in four of five cases, and jumps
anywhere otherwise. Models that look at the last items can know the next one; popularity cannot.
"""

import dataclasses
import itertools
import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flaxrec.config import (
    Config,
    DataConfig,
    FeatureConfig,
    GroupConfig,
    LossConfig,
    ModelConfig,
    OptimizerConfig,
    TrainConfig,
)
from flaxrec.data.dataset import prepare
from flaxrec.devices import Mesh
from flaxrec.errors import TrainingError
from flaxrec.evaluation import baselines
from flaxrec.evaluation.evaluator import Evaluator, PerLabel
from flaxrec.models import dual_encoder
from flaxrec.training import optimizers
from flaxrec.training import run as training
from flaxrec.training.checkpoints import Checkpoints
from flaxrec.training.run import Run, train
from flaxrec.training.validation import validate
from flaxrec.training.workdir import Workdir
from tests.support.shared_programs import shared_programs

USERS, ITEMS, EVENTS, LENGTH = 100, 50, 14, 4
LABELS = USERS * (EVENTS - 3)  # without each user's first, validation and test event
BATCH, SCAN, STEPS = 32, 17, 34  # 1100 labels: 34 steps in two scans of 17; 12 labels are left out
GLOBAL, BATCH_LOGQ = LossConfig("global_softmax"), LossConfig("batch_softmax", True)
BATCH_PLAIN = LossConfig("batch_softmax", False)
RUNS = {
    "bow": ("bow", GLOBAL, OptimizerConfig("adam", 0.03)),
    "cnn": ("cnn", GLOBAL, OptimizerConfig("adagrad", 0.3)),
    "lstm": ("lstm", GLOBAL, OptimizerConfig("adamw", 0.03)),
    "batch": ("bow", BATCH_LOGQ, OptimizerConfig("adagrad", 0.3)),
    "batch without logq": ("bow", BATCH_PLAIN, OptimizerConfig("adamw", 0.03)),
}


@pytest.fixture(scope="module", autouse=True)
def traced_once():
    """Equal functions are traced once in all these runs."""
    with shared_programs():
        yield


@pytest.fixture(scope="module")
def walks(tmp_path_factory):
    """A file with the walks of all users."""
    random = np.random.default_rng(0)
    popularity = np.arange(1, ITEMS + 1) ** -0.5
    popularity /= popularity.sum()
    rows = ["user,item,time"]
    for user in range(USERS):
        item = random.choice(ITEMS, p=popularity)
        for time in range(EVENTS):
            rows.append(f"{user},{item},{time}")
            jump = random.random() > 0.8
            item = random.choice(ITEMS, p=popularity) if jump else (item + 1) % ITEMS
    path = tmp_path_factory.mktemp("data") / "walks.csv"
    path.write_text("\n".join(rows) + "\n")
    return path


def make_config(path, name="bow", *, epochs=6, **fields) -> Config:
    """One of RUNS, with the given fields of TrainConfig."""
    encoder, loss, optimizer = RUNS[name]
    group = GroupConfig([FeatureConfig("context_item_id")], encoder)
    group.conv_kernel_size, group.conv_filter_ratios = 2, (2,)
    config = Config(
        data=DataConfig("table", str(path)),
        model=ModelConfig(context_length=LENGTH, activity_groups=[group]),
        loss=loss,
        optimizer=optimizer,
        train=TrainConfig(BATCH, epochs, log_every=SCAN, checkpoint_every=STEPS, patience=0),
    )
    config.evaluation.ks, config.export.top_k = (1, 10), 10
    config.train = dataclasses.replace(config.train, **fields)
    return validate(config)


@dataclasses.dataclass
class Trained:
    """A run, what it returned, and what went in and out of its steps."""

    config: Config
    workdir: Workdir
    result: training.Result | None
    positions: np.ndarray  # [steps, B] labels of every step
    losses: np.ndarray  # [steps]
    said: list[str] = dataclasses.field(default_factory=list)

    def rows(self, split: str) -> list[dict]:
        return [row for row in self.workdir.read_metrics() if row["split"] == split]

    def losses_of(self, split: str) -> list[float]:
        return [row["metrics"]["loss"] for row in self.rows(split)]


def watched_run(config: Config, folder) -> Trained:
    """Trains, writing down the labels and the loss of every step."""
    positions, losses, said, shard, check = [], [], [], Mesh.shard, Run._check_finite

    def watched_shard(self, array, axis=0):
        if axis == 1 and not (array == 1).all():  # the labels' positions, not how many they are
            positions.extend(array)
        return shard(self, array, axis)

    def watched_check(self, step_losses):
        losses.extend(step_losses)
        return check(self, step_losses)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Mesh, "shard", watched_shard)
        patch.setattr(Run, "_check_finite", watched_check)
        result = train(config, Workdir(folder), said.append)
    return Trained(config, Workdir(folder), result, np.stack(positions), np.stack(losses), said)


@pytest.fixture(scope="module")
def trained(walks, tmp_path_factory):
    """A function from a name of RUNS to its finished run; each is made once."""
    made = {}

    def get(name: str) -> Trained:
        if name not in made:
            made[name] = watched_run(make_config(walks, name), tmp_path_factory.mktemp("run"))
        return made[name]

    return get


def restore(run: Trained, which: str) -> dict[str, np.ndarray]:
    """Parameters of the best or the latest checkpoint."""
    structure, params = dual_encoder.create(run.config, prepare(run.config).spec)
    checkpoints = Checkpoints(run.workdir.checkpoints, create=False)
    sharding = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    if which == "best":
        params, _ = checkpoints.restore_best(structure.shapes, sharding)
    else:
        optimizer = optimizers.make_optimizer(run.config.optimizer, 1)
        template = training.TrainState(params, optimizer.init(params))
        state, _ = checkpoints.restore_latest(jax.tree.map(jnp.asarray, template))
        params = state.params
    checkpoints.close()
    return jax.device_get(params)


def assert_same_bits(a: dict, b: dict) -> None:
    assert a.keys() == b.keys()
    for name in a:
        assert a[name].dtype == b[name].dtype
        assert a[name].tobytes() == b[name].tobytes(), name


# ---- it learns --------------------------------------------------------------------------------


def popularity_recall(config: Config, k: int) -> float:
    """Share of the test labels among the k items most frequent in training."""
    data = prepare(config)
    item, split = data.timelines.item, data.split
    most = np.argsort(-np.bincount(item[split.train]), kind="stable")[:k]
    return float(np.isin(item[split.test], most).mean())


@pytest.mark.parametrize("name", RUNS)
def test_it_learns(trained, name):
    run = trained(name)
    candidates = ITEMS if run.config.loss.name == "global_softmax" else BATCH
    losses = run.losses_of("train")
    assert losses[0] > losses[-1]
    assert losses[-1] < 0.75 * math.log(candidates)  # uniform scores have the loss log(candidates)
    assert run.result.metrics["loss"] < 0.9 * math.log(ITEMS)  # on test labels, over all items
    assert run.result.metrics["recall@10"] > popularity_recall(run.config, 10) + 0.25


def test_bfloat16_learns_with_float32_parameters(walks, tmp_path):
    config = make_config(walks)
    config.model.compute_dtype = "bfloat16"
    run = watched_run(config, tmp_path / "run")
    assert run.losses_of("train")[-1] < 0.75 * math.log(ITEMS)
    assert run.result.metrics["recall@10"] > popularity_recall(config, 10) + 0.25
    assert {value.dtype for value in restore(run, "latest").values()} == {np.dtype(np.float32)}


# ---- what is minimised, by a second implementation ------------------------------------------


def windows(data, positions) -> np.ndarray:
    """The items before each label, int32 [n, LENGTH], oldest first, padded at the end with 0."""
    rows = np.zeros((len(positions), LENGTH), np.int32)
    for row, label in zip(rows, positions, strict=True):
        start = data.timelines.offsets[data.timelines.user[label]]
        before = data.timelines.item[max(start, label - LENGTH) : label]
        row[: len(before)] = before
    return rows


def scores(structure, params, data, positions) -> np.ndarray:
    """Logits of all items for each label's context, float64 [n, C]."""
    logits = jax.jit(lambda params, x: structure.merge(params).logits(x))
    features = {"context_item_id": windows(data, positions)}
    return np.asarray(logits(params, features), np.float64)


def cross_entropy(scores: np.ndarray, label: np.ndarray) -> float:
    own = np.take_along_axis(scores, label[:, None], axis=1)[:, 0]
    return float(np.mean(np.log(np.exp(scores).sum(axis=1)) - own))


@pytest.mark.parametrize("name", RUNS)
def test_the_loss_of_the_first_step(trained, name):
    run = trained(name)
    data = prepare(run.config)
    structure, params = dual_encoder.create(run.config, data.spec)
    batch = run.positions[0]
    labels = data.timelines.item[batch] - 1
    logits = scores(structure, params, data, batch)
    if run.config.loss.name == "global_softmax":
        expected = cross_entropy(logits, labels)
    else:
        count = np.bincount(data.timelines.item[data.split.train] - 1, minlength=ITEMS)
        correction = np.log(count / LABELS) if run.config.loss.logq_correction else np.zeros(ITEMS)
        among = (logits - correction)[:, labels]
        equal = labels[:, None] == labels[None, :]
        among[equal & ~np.eye(BATCH, dtype=bool)] = -np.inf
        expected = cross_entropy(among, np.arange(BATCH))
    assert run.losses[0] == pytest.approx(expected, rel=1e-5)


def test_an_epoch_sees_training_labels_once_in_an_order_of_its_own(trained):
    run = trained("bow")
    train_labels = set(prepare(run.config).split.train.tolist())
    epochs = run.positions.reshape(run.config.train.epochs, STEPS * BATCH)
    for epoch in epochs:
        assert len(set(epoch.tolist())) == STEPS * BATCH
        assert set(epoch.tolist()) <= train_labels
    assert all((a != b).mean() > 0.9 for a, b in itertools.combinations(epochs, 2))


def test_the_loss_in_a_row_is_the_mean_of_its_scan(trained):
    run = trained("bow")
    means = run.losses.reshape(-1, SCAN).mean(axis=1)
    np.testing.assert_allclose(run.losses_of("train"), means, rtol=1e-6)


def test_few_labels_are_left_out_however_short_a_scan(walks, tmp_path):
    """1100 labels in batches of 300: three steps, also if every second step were to be logged."""
    config = make_config(walks, epochs=1, batch_size=300, log_every=2)
    run = watched_run(config, tmp_path / "run")
    assert len(run.positions) == 3


# ---- one seed, one result -------------------------------------------------------------------


def test_the_same_seed_gives_the_same_run_to_the_bit(trained, walks, tmp_path):
    first, again = trained("bow"), watched_run(make_config(walks), tmp_path / "again")
    assert again.workdir.metrics_file.read_bytes() == first.workdir.metrics_file.read_bytes()
    for which in ("best", "latest"):
        assert_same_bits(restore(again, which), restore(first, which))
    assert again.result.metrics == first.result.metrics


def test_another_seed_gives_another_start_and_order(trained, walks, tmp_path):
    config = dataclasses.replace(make_config(walks, epochs=1), seed=1)
    first, other = trained("bow"), watched_run(config, tmp_path / "other")
    assert (other.positions[:STEPS] != first.positions[:STEPS]).mean() > 0.9
    a, b = (dual_encoder.create(run.config, prepare(config).spec)[1] for run in (first, other))
    assert not np.array_equal(a["label_encoder/table"], b["label_encoder/table"])
    assert other.losses_of("train")[0] != first.losses_of("train")[0]


# ---- what is written --------------------------------------------------------------------------


def names_of_metrics() -> set[str]:
    ranked = {f"{name}@{k}" for name in ("recall", "ndcg", "mrr") for k in (1, 10)} | {"mean_rank"}
    return {"loss"} | ranked | {f"filtered/{name}" for name in ranked}


def test_rows_are_the_contracts(trained):
    run = trained("bow")
    rows = run.workdir.read_metrics()
    epoch = [("train", SCAN), ("train", 2 * SCAN), ("validation", 2 * SCAN)]
    expected = [(split, e * STEPS + step) for e in range(6) for split, step in epoch]
    assert [(row["split"], row["step"]) for row in rows[:-1]] == expected
    assert [row["epoch"] for row in rows[:6]] == [0, 0, 1, 1, 1, 2]
    for row in rows:
        further = ["labels"] if row["split"] == "test" else []
        assert list(row) == ["step", "epoch", "split", "protocol", "metrics", *further]
        assert row["protocol"] == "leave_one_out"
        names = {"loss"} if row["split"] == "train" else names_of_metrics()
        assert set(row["metrics"]) == names
        assert all(math.isfinite(value) for value in row["metrics"].values())


def test_the_test_row_is_the_result(trained):
    run = trained("bow")
    (row,) = run.rows("test")
    assert row["metrics"] == run.result.metrics
    assert row["labels"] == run.result.labels
    assert row["step"] == run.result.best_step == STEPS * row["epoch"]
    assert run.result.protocol == "leave_one_out"
    assert run.result.examples_per_second > 0


def test_baselines_stand_beside_the_model(trained):
    """The same labels, the same protocol; resumed runs repeat no row, see the bytes above."""
    run, dataset = trained("bow"), prepare(trained("bow").config)
    rows = {(row["baseline"], row["split"]): row for row in run.workdir.read_baselines()}
    names = ["popularity", "last_item", "last_ten", "transitions"]
    assert list(rows) == [(name, split) for name in names for split in ("validation", "test")]
    for (name, split), row in rows.items():
        assert list(row) == ["step", "epoch", "split", "protocol", "metrics", "labels", "baseline"]
        assert (row["step"], row["protocol"]) == (run.result.best_step, "leave_one_out")
        assert row["metrics"] == run.result.baselines[name][split]
        assert set(row["metrics"]) == names_of_metrics() - {"loss"}
        assert row["labels"] == {"labels": USERS}
        expected = baselines.rank(name, dataset, getattr(dataset.split, split), top=0)
        assert row["metrics"] == expected.means((1, 10))
    # Four of five walk on to the next item, which a table of last items knows exactly.
    assert rows["last_item", "test"]["metrics"]["recall@1"] > 0.6


def test_baselines_can_be_left_out(walks, tmp_path):
    config = make_config(walks, epochs=1)
    config.evaluation.baselines = False
    result = train(config, Workdir(tmp_path / "run"), lambda line: None)
    assert Workdir(tmp_path / "run").read_baselines() == []
    assert (result.baselines, result.remarks) == ({}, ())


def test_fewer_evaluations_of_fewer_labels(walks, tmp_path):
    """Every third epoch and the last; the same labels for the model and for counts, and said so."""
    config = make_config(walks, epochs=4)
    config.evaluation.every, config.evaluation.max_labels = 3, 30
    workdir, said = Workdir(tmp_path / "run"), []
    result = train(config, workdir, said.append)
    ranked = [row for row in workdir.read_metrics() if row["split"] == "validation"]
    assert [row["epoch"] for row in ranked] == [3, 4]
    assert result.best_step in [row["step"] for row in ranked]
    rows = ranked + workdir.read_baselines()
    rows += [row for row in workdir.read_metrics() if row["split"] == "test"]
    assert {row["sampled_from"] for row in rows} == {USERS}
    assert {row["labels"]["labels"] for row in rows if "labels" in row} == {30}
    assert any("30 of 100 validation, 30 of 100 test" in line for line in said)


def test_the_account_of_the_data_is_said_and_kept(trained):
    run = trained("bow")
    counts = f"{USERS * EVENTS:,} events of {USERS} users with {ITEMS} items"
    assert run.said[0] == f"walks.csv: {counts} ({USERS * EVENTS:,} rows read)"
    kept = json.loads(run.workdir.account_file.read_text(encoding="utf-8"))
    assert kept["source"] == "walks.csv"
    assert (kept["median_length"], kept["span"], kept["warnings"]) == (EVENTS, EVENTS - 1, [])
    assert not run.workdir.dropped_rows_file.exists()


def test_labels_are_described(trained):
    run = trained("bow")
    data = prepare(run.config)
    users = np.split(data.timelines.item, data.timelines.offsets[1:-1])
    trained_items = {item for user in users for item in user[1:-2].tolist()}
    assert run.result.labels == {
        "labels": USERS,
        "repeated_share": pytest.approx(np.mean([user[-1] in user[:-1] for user in users])),
        "without_training_event": sum(user[-1] not in trained_items for user in users),
    }


def test_test_metrics_by_a_second_implementation(trained):
    run = trained("bow")
    data = prepare(run.config)
    structure, _ = dual_encoder.create(run.config, data.spec)
    test = data.split.test
    logits = scores(structure, restore(run, "best"), data, test)
    expected = {"loss": cross_entropy(logits, data.timelines.item[test] - 1)}
    for prefix in ("", "filtered/"):
        ranks = []
        for row, label in zip(logits, test, strict=True):
            own = data.timelines.item[label] - 1
            start = data.timelines.offsets[data.timelines.user[label]]
            seen = set((data.timelines.item[start:label] - 1).tolist()) if prefix else set()
            others = [row[c] for c in range(ITEMS) if c != own and c not in seen]
            ranks.append(sum(o > row[own] for o in others) + sum(o == row[own] for o in others) / 2)
        rank = np.array(ranks)
        expected[f"{prefix}mean_rank"] = rank.mean()
        for k in (1, 10):
            expected[f"{prefix}recall@{k}"] = (rank < k).mean()
            expected[f"{prefix}ndcg@{k}"] = np.where(rank < k, 1 / np.log2(rank + 2), 0).mean()
            expected[f"{prefix}mrr@{k}"] = np.where(rank < k, 1 / (rank + 1), 0).mean()
    assert run.result.metrics == pytest.approx(expected, rel=1e-5)


# ---- when it stops, and with what -----------------------------------------------------------


def scripted_run(monkeypatch, config, folder, values) -> tuple[Trained, list]:
    """A run whose validations find these values; also returns (what, parameters) evaluated."""
    evaluated, script = [], iter(values)
    means, evaluate = PerLabel.means, Evaluator.__call__

    def scripted_means(self, ks):
        return means(self, ks) | {config.train.select_metric: next(script, 0.0)}

    def watched_evaluate(self, params, positions, what="evaluation", top=0):
        evaluated.append((what, jax.tree.map(np.array, jax.device_get(params))))
        return evaluate(self, params, positions, what, top)

    with monkeypatch.context() as patch:
        patch.setattr(PerLabel, "means", scripted_means)
        patch.setattr(Evaluator, "__call__", watched_evaluate)
        return watched_run(config, folder), evaluated


@pytest.mark.parametrize(
    ("metric", "patience", "values", "epochs", "best"),
    [
        ("recall@10", 2, [0.1, 0.3, 0.2, 0.3], 4, 2),  # an equal value is not a better one
        ("filtered/mean_rank", 2, [9.0, 5.0, 6.0, 5.0], 4, 2),  # the lower, the better
        ("loss", 2, [3.0, 2.0, 2.5, 1.5, 1.6, 1.7], 6, 4),  # a better one starts the count anew
        ("ndcg@10", 0, [0.3, 0.2, 0.2, 0.2, 0.2], 5, 1),  # no patience: all epochs
    ],
)
def test_early_stopping(monkeypatch, walks, tmp_path, metric, patience, values, epochs, best):
    most = len(values) + (1 if metric == "loss" or patience == 2 else 0)
    config = make_config(walks, epochs=most, select_metric=metric, patience=patience)
    run, evaluated = scripted_run(monkeypatch, config, tmp_path / "run", values)
    assert [what for what, _ in evaluated] == ["validation"] * epochs + ["test"]
    assert run.result.best_step == best * STEPS
    assert [run.rows("test")[0][key] for key in ("step", "epoch")] == [best * STEPS, best]
    # The best parameters are tested and kept, and the last ones to go on from.
    assert_same_bits(evaluated[-1][1], evaluated[best - 1][1])
    assert_same_bits(restore(run, "best"), evaluated[best - 1][1])
    assert_same_bits(restore(run, "latest"), evaluated[epochs - 1][1])


def test_without_validation_labels_the_last_epoch_is_the_best(monkeypatch, walks, tmp_path):
    def without_validation(config):
        data = prepare(config)
        none = np.zeros(0, np.int32)
        return dataclasses.replace(data, split=dataclasses.replace(data.split, validation=none))

    monkeypatch.setattr(training, "prepare", without_validation)
    run = watched_run(make_config(walks, epochs=3, patience=1), tmp_path / "run")
    assert not run.rows("validation")
    assert run.result.best_step == 3 * STEPS
    assert_same_bits(restore(run, "best"), restore(run, "latest"))


# ---- numbers that are not finite --------------------------------------------------------------


def strict_rows(workdir: Workdir) -> list[dict]:
    """The rows of metrics.jsonl; NaN and Infinity are no JSON."""

    def refuse(constant):
        raise AssertionError(f"{constant} in metrics.jsonl")

    lines = workdir.metrics_file.read_text().splitlines()
    return [json.loads(line, parse_constant=refuse) for line in lines]


def stop_of(config: Config, workdir: Workdir) -> str:
    with pytest.raises(TrainingError) as error:
        train(config, workdir, lambda line: None)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_huge_learning_rate_stops_with_the_step(walks, tmp_path):
    workdir, config = Workdir(tmp_path / "run"), make_config(walks)
    config.optimizer = OptimizerConfig("adam", 1e38)
    message = stop_of(config, workdir)
    assert message.startswith("Training stopped: the loss of step 2 is not a finite number; ")
    assert "there is no checkpoint yet" in message
    assert "lower config.optimizer.learning_rate" in message
    assert strict_rows(workdir) == []


def test_a_loss_that_is_lost_later_keeps_the_last_good_checkpoint(monkeypatch, walks, tmp_path):
    """The update of step 60 makes the parameters NaN: the loss of step 61 shows it."""
    monkeypatch.setattr(
        optimizers,
        "learning_rate",
        lambda config, steps: lambda count: jnp.where(count < 59, 0.03, jnp.nan),
    )
    workdir, config = Workdir(tmp_path / "run"), make_config(walks, checkpoint_every=SCAN)
    message = stop_of(config, workdir)
    assert "the loss of step 61 is not a finite number" in message
    assert f"the checkpoint of step {STEPS + SCAN} is kept" in message
    assert [row["step"] for row in strict_rows(workdir)] == [SCAN, STEPS, STEPS, STEPS + SCAN]
    run = Trained(config, workdir, None, np.zeros(0), np.zeros(0))
    for which in ("best", "latest"):
        assert all(np.isfinite(value).all() for value in restore(run, which).values())
    assert stop_of(config, workdir) == message  # the same command again fails alike


def test_parameters_that_are_lost_in_an_epochs_last_step_are_not_kept(monkeypatch, walks, tmp_path):
    end_epoch = Run._end_epoch

    def lose_parameters(self, loss):
        if self.notes.epoch == 1:
            lost = {k: np.full(v.shape, np.nan, v.dtype) for k, v in self.state.params.items()}
            self.state = dataclasses.replace(self.state, params=self.mesh.replicate(lost))
        end_epoch(self, loss)

    with monkeypatch.context() as patch:
        patch.setattr(Run, "_end_epoch", lose_parameters)
        workdir, config = Workdir(tmp_path / "run"), make_config(walks, checkpoint_every=SCAN)
        message = stop_of(config, workdir)
    assert f"a parameter after step {2 * STEPS} is not a finite number" in message
    assert f"the checkpoint of step {STEPS + SCAN} is kept" in message
    run = Trained(config, workdir, None, np.zeros(0), np.zeros(0))
    for which in ("best", "latest"):
        assert all(np.isfinite(value).all() for value in restore(run, which).values())
    assert strict_rows(workdir)[-1]["split"] == "train"  # nothing of the lost parameters is logged


# ---- transfers --------------------------------------------------------------------------------


@pytest.mark.parametrize("axis", [1, 0], ids=["training", "evaluation"])
def test_an_implicit_transfer_in_the_loop_is_an_error(monkeypatch, walks, tmp_path, axis):
    shard = Mesh.shard

    def forgetful_shard(self, array, to_axis=0, **axes):
        to_axis = axes.get("axis", to_axis)
        return array if to_axis == axis else shard(self, array, to_axis)

    monkeypatch.setattr(Mesh, "shard", forgetful_shard)
    with pytest.raises(Exception, match="Disallowed host-to-device transfer"):
        train(make_config(walks, epochs=1), Workdir(tmp_path / "run"), lambda line: None)
