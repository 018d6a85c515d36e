"""A run that begins with an older one's parameters: what is carried over, by id, and what not."""

import contextlib
import hashlib
import shutil
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flaxrec.config import (
    Config,
    DataConfig,
    FeatureConfig,
    GroupConfig,
    ModelConfig,
    OptimizerConfig,
    TrainConfig,
)
from flaxrec.data.dataset import Dataset, prepare
from flaxrec.data.vocabulary import Vocabulary
from flaxrec.errors import ConfigError, DataError, FlaxrecError, TrainingError
from flaxrec.exporting import serving
from flaxrec.models import item_sums, smoothing
from flaxrec.models.dual_encoder import structure_of
from flaxrec.research import plan, side_by_side
from flaxrec.training import steps, warm_start
from flaxrec.training.checkpoints import Checkpoints
from flaxrec.training.notes import Notes
from flaxrec.training.run import train
from flaxrec.training.validation import checked, validate
from flaxrec.training.workdir import Workdir
from tests.support import faults
from tests.support.places import ROOT
from tests.support.shared_programs import shared_programs

OLD_VERSION = ROOT / "tests" / "compatibility" / "version_0_1_0" / "run"
BRANDS, KINDS, COUNTRIES = "abcd", ("view", "buy", "wish"), ("de", "fr", "it")
WIDTH, ITEMS = 6, 24


def write(folder: Path, *, later: bool = False, letter: str = "i") -> Path:
    """Events, items, users and vectors; later there are more of all, one item less, other counts.

    Of two items that begin and two that end the row, brand, kind and country are new then.
    """
    folder.mkdir()
    random = np.random.default_rng(int(later))
    share = np.arange(1, ITEMS + 1.0)
    share = share if later else share[::-1]
    rows, people = ["user,item,time,kind"], ["user,country"]
    for user in range(40 + 12 * later):
        people.append(f"{user},{COUNTRIES[user % (2 + later)]}")
        time = 0
        for _ in range(9):
            item = random.choice(ITEMS, p=share / share.sum())
            if item not in ((0,) if later else (ITEMS - 1, ITEMS - 2)):
                rows.append(f"{user},{letter}{item},{time},{KINDS[random.integers(2 + later)]}")
            time += int(2 ** random.integers(1, 9 + 2 * later))
    items = [f"{letter}{i},{BRANDS[i % (3 + later)]},{i + 10 * later}" for i in range(ITEMS)]
    tables = {"events": rows, "users": people, "items": ["item,brand,price", *items]}
    for name, lines in tables.items():
        (folder / f"{name}.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    vectors = np.random.default_rng(7).normal(size=(ITEMS, 5))
    np.savez(folder / "text.npz", ids=[f"{letter}{i}" for i in range(ITEMS)], vectors=vectors)
    return folder


def config_of(data: Path, *, epochs: int = 2, **of_train) -> Config:
    """Inputs and label features of all kinds."""
    source = DataConfig(
        "table",
        str(data / "events.csv"),
        items_path=str(data / "items.csv"),
        users_path=str(data / "users.csv"),
    )
    source.columns.event_features, source.columns.user_features = ("kind",), ("country",)
    source.columns.item_features = ("brand", "price")
    inputs = [
        FeatureConfig("item_id", embedding_dim=WIDTH),
        FeatureConfig("kind", "event.kind", "STRING", 3),
        FeatureConfig("after", "event.gap_after", "INT", 3),
    ]
    tower = [
        FeatureConfig("brand", "item.brand", "STRING"),
        FeatureConfig("price", "item.price", "FLOAT"),
        FeatureConfig("text", type="VECTOR", file=str(data / "text.npz")),
    ]
    config = Config(
        data=source,
        model=ModelConfig(
            context_length=4,
            embedding_dim=WIDTH,
            global_groups=[GroupConfig([FeatureConfig("country", "user.country", "STRING", 3)])],
            activity_groups=[GroupConfig(inputs)],
            hidden_dims=(8,),
            tied_tables=True,
            item_bias=True,
            label_features=tower,
            dropout=0.1,
        ),
        optimizer=OptimizerConfig(learning_rate=0.03),
        train=TrainConfig(batch_size=32, log_every=4, epochs=epochs, **of_train),
    )
    config.evaluation.ks, config.export.top_k = (1, 10), 5
    config.evaluation.baselines = config.export.enabled = False
    return checked(config)


def silent(line: str) -> None:
    del line


def digest(folder: Path) -> dict[str, str]:
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    return {str(file): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Folders `old` and `later` of data, and `run`, the older run."""
    folder = tmp_path_factory.mktemp("warm")
    old, _ = write(folder / "old"), write(folder / "later", later=True)
    with shared_programs():
        train(config_of(old, epochs=1), Workdir(folder / "run"), silent)
        yield folder


def begun(config: Config, dataset: Dataset):
    """What a run begins with: structure, targets, parameters; its origin, and what it says."""
    targets = steps.targets_of(dataset, config)
    job = SimpleNamespace(structure=structure_of(config, dataset.spec), targets=targets)
    said: list[str] = []
    first = steps.initial_params(config, dataset)
    params, origin = warm_start.begin(config, dataset, job, first, said.append)
    assert {n: v.shape for n, v in params.items()} == {n: v.shape for n, v in first.items()}
    return job, params, origin, said


def test_known_items_are_read_and_ranked_as_they_were(place):
    """For contexts and candidates that both know, by id; whatever the order of the rows."""
    before = digest(place / "run")
    config = config_of(place / "later", warm_start=str(place / "run"))
    data = prepare(config)
    job, params, _, said = begun(config, data)
    assert digest(place / "run") == before
    old = serving.load(Workdir(place / "run"))
    whole = steps.whole(config, job.structure, data.spec, params, job.targets)
    vocabularies = warm_start.RunAssets(place / "run" / "assets").vocabularies()
    was, now = vocabularies["item"].entries, data.timelines.vocabularies["item"].entries
    assert now != was
    assert set(was) - set(now) == {"i0"}
    assert set(now) - set(was) == {"i22", "i23"}
    random = np.random.default_rng(3)
    contexts = {}, {}
    for spec in old.spec.inputs:
        shared = sorted(set(vocabularies[spec.vocabulary].entries[1:]) & set(
            data.timelines.vocabularies[spec.vocabulary].entries[1:]
        ))  # fmt: skip
        values = random.choice([*shared, "unknown"], (60, spec.length))
        for into, of in zip(contexts, (vocabularies, data.timelines.vocabularies), strict=True):
            into[spec.name] = of[spec.vocabulary].lookup(values.ravel()).reshape(values.shape)
    logits_of = jax.jit(lambda params: job.structure.merge(params).logits(contexts[1]))
    expected, logits = old.batch_logits(contexts[0]), np.asarray(logits_of(whole))
    both = [item for item in now[1:] if item in was]
    of_old, of_new = (np.array([of.index(item) - 1 for item in both]) for of in (was, now))
    scale = np.abs(expected).max()
    np.testing.assert_allclose(logits[:, of_new], expected[:, of_old], atol=0.01 * scale)
    # Without tables of time, which are taken apart as near as it is sure, to rounding.
    name = "context_encoder/groups/1/features/tables/after"
    apart = dict(whole)
    of_times = warm_start.Rows.between(vocabularies["after"], data.timelines.vocabularies["after"])
    apart[name] = jnp.asarray(of_times.carried(np.asarray(old.params[name])))
    logits = np.asarray(logits_of(apart))
    np.testing.assert_allclose(logits[:, of_new], expected[:, of_old], atol=1e-4 * scale)
    # New items have no vector of their own, and the mean bias.
    table, first = item_sums.label_table(job.structure, data.spec)
    rows = np.array([first + now.index(item) - 1 for item in ("i22", "i23")])
    np.testing.assert_array_equal(params[table][rows], 0)
    own = np.asarray(whole[table])[rows]
    vectors = item_sums.of_features(
        params, {n: v.values for n, v in data.timelines.item_values.items()}
    )
    np.testing.assert_allclose(own, vectors[rows - first], atol=1e-6)
    bias = params["label_encoder/bias"]
    np.testing.assert_allclose(bias[rows - 1], bias[of_new].mean(), atol=1e-6)
    # 'i3', of the brand d, which is new, and of no other change, is what it was.
    assert "  item: 21, 2, 1" in said
    assert "  kind: 2, 1, 0" in said
    assert "  country: 2, 1, 0" in said
    assert "  brand: 3, 1, 0" in said
    assert any("the optimiser and its schedule begin anew" in line for line in said)


def test_new_rows_are_the_mean_of_those_carried_over():
    old, now = (
        Vocabulary(("<pad>", "a", "b", "c")),
        Vocabulary(("<pad>", "d", "c", "a", "2024-01-01")),
    )
    rows = warm_start.Rows.between(old, now)
    table = np.array([[0.0], [1], [10], [5], [7]])
    np.testing.assert_array_equal(rows.carried(table)[:, 0], [0, 3, 5, 1, 3, 7])
    assert (rows.kept, rows.gone, rows.is_new.sum()) == (2, 1, 2)


def test_smoothed_tables_are_taken_apart():
    counts = np.array([0, 500, 3, 0, 40, 2000, 1])
    kernel = {"after": smoothing._kernel(counts, cyclic=False)}
    trained = {"a/tables/after": np.random.default_rng(0).normal(size=(9, 4)), "b": np.ones(2)}
    wanted = smoothing.smoothed(trained, kernel)
    again = smoothing.smoothed(smoothing.unsmoothed(wanted, kernel), kernel)
    np.testing.assert_allclose(again["a/tables/after"], wanted["a/tables/after"], atol=0.02)
    np.testing.assert_array_equal(again["b"], trained["b"])


class Stopped(Exception):
    pass


def test_an_interrupted_run_goes_on_to_the_bit_without_the_older_one(place, tmp_path):
    """It keeps what it began with, in both checkpoints."""
    config = config_of(place / "later", warm_start=str(place / "run"))
    whole, stopped = Workdir(tmp_path / "whole"), Workdir(tmp_path / "stopped")

    def stop(line: str) -> None:
        if line.startswith("epoch 1/"):
            raise Stopped

    train(config, whole, silent)
    with pytest.raises(Stopped):
        train(config, stopped, stop)
    (place / "run").rename(place / "moved")
    try:
        train(config, stopped, silent)
        with pytest.raises(TrainingError, match="run is not a run of flaxrec"):
            train(config, Workdir(tmp_path / "another"), silent)
    finally:
        (place / "moved").rename(place / "run")
    assert whole.metrics_file.read_bytes() == stopped.metrics_file.read_bytes()
    of_whole, of_stopped = serving.load(whole), serving.load(stopped)
    for name, value in of_whole.params.items():
        np.testing.assert_array_equal(value, of_stopped.params[name])
    began = of_whole.origin
    assert began == of_stopped.origin
    with contextlib.closing(Checkpoints(place / "run" / "checkpoints")) as checkpoints:
        assert began["run"] == checkpoints.latest_notes(Notes).run != ""
    with contextlib.closing(Checkpoints(stopped.checkpoints, create=False)) as checkpoints:
        assert checkpoints.latest_notes(Notes).origin == began


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"embedding_dim": 7}, r"config\.model\.embedding_dim is 7, .* has 6; make it the same"),
        ({"hidden_dims": ()}, r"config\.model\.hidden_dims is \(\), .* has \(8,\)"),
        ({"global_groups": []}, r"config\.model\.global_groups.* is nothing there, but the run"),
        ({"context_length": 3}, r"config\.model\.context_length is 3"),
        ({"label_features": []}, r"config\.model\.label_features\[0\]\.name is nothing there"),
    ],
)
def test_a_model_of_another_shape_is_refused_before_data_are_read(place, tmp_path, change, words):
    config = config_of(place / "later", warm_start=str(place / "run"))
    for name, value in change.items():
        setattr(config.model, name, value)
    if "embedding_dim" in change:
        config.model.activity_groups[0].features[0].embedding_dim = 7
    config.data.path = str(tmp_path / "not_there.csv")
    with pytest.raises(ConfigError, match=words):
        train(config, Workdir(tmp_path / "run"), silent)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("field", ["dropout", "id_dropout", "transitions", "item_table"])
def test_how_it_is_trained_may_differ(place, field):
    config = config_of(place / "later", warm_start=str(place / "run"))
    setattr(config.model, field, {"transitions": 3, "item_table": "ppmi"}.get(field, 0.2))
    warm_start.check(config)


def test_folders_and_data_that_do_not_fit_are_told(place, tmp_path):
    config = config_of(place / "later", warm_start=str(place / "run"))

    def told(error: type[FlaxrecError], words: str, check=warm_start.check) -> None:
        with pytest.raises(error, match=words):
            check(config)

    copy = shutil.copytree(place / "run", tmp_path / "copy")
    config.train.warm_start = str(copy)
    (copy / "assets" / "vocabularies" / "item.txt").write_text("<pad>\nx\n", encoding="utf-8")
    told(FlaxrecError, r"item\.txt is damaged")
    config.train.warm_start = str(tmp_path / "nowhere")
    told(TrainingError, "is not a run of flaxrec")
    config.split.protocol = "random"
    told(ConfigError, r"config\.split draws what is held out", validate)
    # Other ids, and vectors of another model.
    config = config_of(write(tmp_path / "other", letter="j"), warm_start=str(place / "run"))
    with pytest.raises(DataError, match=r"None of the \d+ items, such as 'j\d+', is one that"):
        begun(config, prepare(config))
    config = config_of(place / "later", warm_start=str(place / "run"))
    ids = [f"i{i}" for i in range(ITEMS)]
    np.savez(tmp_path / "wide.npz", ids=ids, vectors=np.ones((ITEMS, 9)))
    config.model.label_features[2].file = str(tmp_path / "wide.npz")
    with pytest.raises(TrainingError, match=r"'text' have 9 numbers, but those .* had 5"):
        begun(config, prepare(config))


def test_runs_of_a_sweep_begin_one_by_one(place):
    configs = [config_of(place / "later", warm_start=str(place / "run")) for _ in range(2)]
    for seed, config in enumerate(configs):
        config.seed = seed
    runs = [plan.PlannedRun(f"seed={c.seed}", {}, c, True) for c in configs]
    assert [len(group) for group in plan.side_by_side(runs)] == [1, 1]
    with pytest.raises(ConfigError, match=r"begin with config\.train\.warm_start"):
        side_by_side.train(configs, [Workdir(place / "a"), Workdir(place / "b")], place / "c")


def test_a_run_of_version_0_1_0_is_an_origin():
    """The same data and one epoch more: all is carried over."""
    config = Workdir(OLD_VERSION).read_config()
    config.train.warm_start, config.export.enabled = str(OLD_VERSION), False
    config.evaluation.baselines = False
    _, params, origin, _ = begun(config, prepare(config))
    assert (origin["run"], origin["name"]) == ("", "version_0_1_0")
    for name, value in serving.load(Workdir(OLD_VERSION)).params.items():
        np.testing.assert_array_equal(params[name], value)


def test_the_flag_is_the_field(tmp_path):
    told = faults.answer("train", f"--warm_start={tmp_path}/old", f"--workdir={tmp_path}/new")
    told.refused(["old is not a run of flaxrec"])
