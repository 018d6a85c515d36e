"""A run of recipe=by_data, from a file of events to the exported file: packed rows, the transitions
head, features of items.
"""

import contextlib
import csv
import dataclasses
import json
import shutil
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest

from flaxrec import export_tflite
from flaxrec.config import loading
from flaxrec.data.dataset import prepare
from flaxrec.errors import ExportError
from flaxrec.exporting import bundle, catalogue, file_ranks, serving, transitions
from flaxrec.exporting.bundle import export
from flaxrec.files.sums import sums_of
from flaxrec.models import smoothing, transitions_head
from flaxrec.recommender import Recommender
from flaxrec.research import side_by_side
from flaxrec.tflite import flatbuffer
from flaxrec.tflite.metadata import IDS, SCORES
from flaxrec.training import transitions as chosen
from flaxrec.training.checkpoints import Checkpoints
from flaxrec.training.run import train
from flaxrec.training.run_assets import RunAssets
from flaxrec.training.validation import checked
from flaxrec.training.workdir import Workdir
from tests.support import browsers, demo_pages, faults
from tests.support.exports import require_export
from tests.support.shared_programs import shared_programs

BRANDS, TAGS = ["A", "B", "", "C"], ["x|y", "z", "", "x"]


def write_events(file: Path) -> None:
    """60 users walk through 40 items, each in steps of its own length."""
    random = np.random.default_rng(0)
    with file.open("w", encoding="utf-8", newline="") as opened:
        rows = csv.writer(opened)
        rows.writerow(["user", "item", "time", "name", "brand", "tags"])
        for user in range(60):
            first, stride = random.integers(0, 40), random.integers(1, 3)
            for t in range(random.integers(6, 12)):
                i = (first + t * stride) % 40
                rows.writerow(
                    [f"u{user}", f"i{i:02}", t, f"Item {i}", BRANDS[i % 4], TAGS[i // 10]]
                )


def make_config(file: Path):
    """Few and short steps; all else is chosen."""
    overrides = {
        "data.path": str(file),
        "data.columns.title": "name",
        "data.columns.item_features": "('brand', 'tags')",
        "data.columns.multi_valued": "('tags',)",
        "train.epochs": "2",
        "train.checkpoint_every": "4",
        "train.log_every": "4",
        "model.context_length": "12",
        "model.embedding_dim": "8",
        "model.id_dropout": "0.2",
        "export.verification_contexts": "30",
    }
    return checked(loading.load_config("own_table", overrides))


class Stopped(Exception):
    pass


@dataclasses.dataclass(frozen=True)
class Runs:
    config: object
    whole: Workdir
    stopped: Workdir
    first: Workdir  # after its first epoch


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The run, and the same one stopped after its first epoch and started again."""
    folder = tmp_path_factory.mktemp("any")
    write_events(folder / "events.csv")
    config = make_config(folder / "events.csv")
    whole, stopped, first = (Workdir(folder / name) for name in ("whole", "stopped", "first"))

    def stop(line: str) -> None:
        if line.startswith("epoch 1/"):
            raise Stopped

    with shared_programs():
        train(config, whole, lambda line: None)
        with contextlib.suppress(Stopped):
            train(config, stopped, stop)
        shutil.copytree(stopped.path, first.path)
        train(config, stopped, lambda line: None)
    return Runs(config, whole, stopped, first)


@pytest.fixture(scope="module")
def exported(runs):
    require_export()
    return export(runs.whole, say=lambda line: None)


def best_of(workdir: Workdir):
    model = serving.load(workdir)
    return model, {name: np.asarray(value) for name, value in model.params.items()}


def test_the_folder_holds_what_was_chosen(runs):
    kept = runs.whole.read_config()
    assert kept.recipe == "as_set"
    assert kept.train.packed
    assert kept.model.activity_groups[0].encoder == "recency_bow"
    assert [f.source for f in kept.model.label_features] == ["item.brand", "item.tags"]
    assert (kept.train.epochs, kept.model.context_length, kept.model.embedding_dim) == (2, 12, 8)
    assert kept == prepare(runs.config).config == prepare(kept).config


def test_a_stopped_run_is_the_whole_one_to_the_bit(runs):
    assert runs.whole.metrics_file.read_bytes() == runs.stopped.metrics_file.read_bytes()
    assert runs.whole.config_file.read_bytes() == runs.stopped.config_file.read_bytes()
    (a, of_a), (b, of_b) = best_of(runs.whole), best_of(runs.stopped)
    for name, value in of_a.items():
        np.testing.assert_array_equal(value, of_b[name])
    assert a.step == b.step
    np.testing.assert_array_equal(a.head.followers, b.head.followers)
    assert a.head.weight == b.head.weight


def test_the_best_checkpoint_holds_the_sums_of_the_tables(runs):
    """Each item's own vector and those of its brand and tags; the latest state keeps them apart."""
    data = prepare(runs.first.read_config())
    structure = serving.structure_of(data.config, data.spec)
    folder, place = runs.first.checkpoints, jax.sharding.SingleDeviceSharding(serving.cpu())
    with contextlib.closing(Checkpoints(folder, create=False)) as checkpoints:
        best, notes = checkpoints.restore_best(structure.shapes, place)
        assert checkpoints.latest_step == notes["step"]
    with ocp.PyTreeCheckpointer() as checkpointer:
        state = checkpointer.restore(folder / "latest" / str(notes["step"]) / "state")
    latest = {name: np.asarray(value) for name, value in state["params"].items()}
    features = {"label_feature_1": "brand", "label_feature_2": "tags"}
    parts = {name: latest.pop(f"item_features/{name}") for name in features}
    assert set(best) == set(latest)
    (table,) = structure.item_tables(data.spec)
    expected = latest[table].copy()
    for item in data.timelines.items.to_dicts():
        for name, rows in data.timelines.item_values.items():
            own = rows.values[item["row"] - 1]
            if name == "label_feature_2":
                assert (own > 0).sum() == len([tag for tag in item["tags"] or [] if tag])
            else:  # a brand that is missing is 'unknown'
                assert (own == rows.rows - 1) == (not item["brand"])
            expected[item["row"]] += parts[name][own[own > 0]].sum(axis=0)
    np.testing.assert_allclose(best[table], expected, atol=1e-6)
    assert np.abs(expected - latest[table]).max() > 0.01
    # Tables of time are smoothed.
    times = smoothing.weights(data.timelines, data.split.train)
    assert list(times) == ["ask_since"]
    for name in set(best) - {table}:
        of_input = name.rpartition("/tables/")[2]
        exact = times[of_input] @ latest[name] if of_input in times else latest[name]
        np.testing.assert_allclose(best[name], exact, atol=1e-6 * (of_input in times))


def test_the_file_agrees_and_its_ranks_are_the_evaluators(runs, exported):
    data = prepare(runs.whole.read_config())
    (file,) = file_ranks.of_run(runs.whole, data)
    assert file.recipe == "float16"
    (tested,) = [r for r in runs.whole.read_metrics() if r["split"] == "test"]
    for name in ("ndcg@10", "filtered/ndcg@10", "mean_rank"):
        assert file.metrics["test"][name] == pytest.approx(tested["metrics"][name], rel=0.02)
    operators = flatbuffer.operators((exported.folder / "model.tflite").read_bytes())
    assert operators.count("SCATTER_ND") == 1
    assert "STABLEHLO_SCATTER" not in operators


def test_it_recommends_with_titles(exported):
    found = Recommender.load(exported.folder).recommend(["i03", "i04", "i05"], 5)
    assert len(found) == 5
    assert found[0].title.startswith("Item ")


def test_a_head_whose_best_weight_is_0_takes_no_bytes(runs, tmp_path, monkeypatch):
    """Evaluated again, with other validation labels as it were."""
    workdir = Workdir(tmp_path / "run")
    shutil.copytree(runs.whole.path, workdir.path, ignore=shutil.ignore_patterns("export"))
    assert RunAssets(workdir.assets).head().weight > 0
    assert serving.load(workdir).head is not None
    monkeypatch.setattr(chosen, "best_weight", lambda *_, **__: 0.0)
    train(runs.config, workdir, lambda line: None, baselines=False)
    assert RunAssets(workdir.assets).head().weight == 0
    assert serving.load(workdir).head is None
    before, after = (w.read_metrics()[-1]["metrics"]["loss"] for w in (runs.whole, workdir))
    assert before != after
    of_epochs, as_tested = workdir.read_metrics()[-3:-1]
    assert as_tested["transitions_weight"] == 0
    assert "transitions_weight" not in of_epochs
    judged = RunAssets(workdir.assets).judged()["validation"]
    logits = serving.load(workdir).batch_logits(judged.contexts)
    own = np.take_along_axis(logits, judged.labels[:, None] - 1, axis=1)
    ranks = (logits > own).sum(1) + ((logits == own).sum(1) - 1) / 2
    assert as_tested["metrics"]["mean_rank"] == pytest.approx(ranks.mean(), abs=1e-6)
    assert of_epochs["metrics"] != as_tested["metrics"]  # of the weight in the epochs


@pytest.mark.long
@pytest.mark.parametrize(
    "options",
    [
        {"quantization": "none", "exclude_context": True},
        {"quantization": "int8", "trust_ids": True, "top_k": 40},
        {"quantization": "int4_tensor", "exclude_context": True, "top_k": 28},
        {"quantization": "int4"},
    ],
    ids=lambda options: "-".join(map(str, options.values())),
)
def test_every_form_of_the_file_and_its_page(runs, tmp_path, options):
    """The exporter compares one context at a time; here many, and a browser's answers."""
    require_export()
    import tensorflow as tf

    folder = export(runs.whole, tmp_path / "export", lambda line: None, **options).folder
    contexts = RunAssets(runs.whole.assets).contexts()
    model = serving.load(runs.whole)
    loaded = tf.saved_model.load(str(folder / "saved_model"))
    out = loaded.signatures["serve_batch"](**as_tf(contexts))
    places, scores = out[IDS].numpy() - 1, out[SCORES].numpy()
    logits = np.take_along_axis(model.batch_logits(contexts), places, axis=1)
    np.testing.assert_allclose(scores, 1 / (1 + np.exp(-logits)), atol=1e-5)
    if options.get("exclude_context"):
        for row, context in zip(places, contexts["context_item_id"], strict=True):
            assert not set(row + 1) & set(context)
    page, recommender = tmp_path / "page.html", Recommender.load(folder)
    address = demo_pages.write(page, [folder], browsers.litert())
    drawn, random = [], np.random.default_rng(0)
    for _ in range(10):
        own = random.choice(list(recommender.items), random.integers(1, 15), replace=False)
        drawn.append([{"item": str(item), "values": {}} for item in own])
    with browsers.chromium() as driver:
        browsers.visit(driver, address)
        every = demo_pages.ALL_CARDS.replace("given", "given[0]", 1)
        for shown, own in zip(browsers.do(driver, every, drawn), drawn, strict=True):
            demo_pages.assert_cards(shown, demo_pages.expected(recommender, own))
        assert browsers.errors(driver) == []


@pytest.mark.long
def test_side_by_side_it_is_the_run_alone(runs, tmp_path):
    """Also started again, with the config as it was given."""
    other = dataclasses.replace(runs.config, seed=1)
    folders = [Workdir(tmp_path / name) for name in ("a", "b")]
    for _ in range(2):
        with shared_programs():
            side_by_side.train([runs.config, other], folders, tmp_path / "c", lambda line: None)
    alone, member = (best_of(workdir) for workdir in (runs.whole, folders[0]))
    for name, value in alone[1].items():
        np.testing.assert_allclose(member[1][name], value, atol=1e-5)
    assert member[0].head.weight == alone[0].head.weight
    (_, tower), (_, of_member) = tower_of(runs.whole), tower_of(folders[0])
    assert tower.keys() == of_member.keys()
    for name, value in tower.items():
        np.testing.assert_allclose(of_member[name], value, atol=1e-5)
    assert folders[0].config_file.read_bytes() == runs.whole.config_file.read_bytes()
    assert folders[1].read_config().seed == 1


# ---- another catalogue ----------------------------------------------------------------------

GONE = ("i03", "i12")
NEW = [("n1", "Brand new", "A", "x|y"), ("n2", "Of no known brand", "Z", "")]


def write_today(file: Path, news=NEW, header=("item", "name", "brand", "tags")) -> Path:
    """The items without two of them, and two new ones."""
    known = [(f"i{i:02}", f"Item {i}", BRANDS[i % 4], TAGS[i // 10]) for i in range(40)]
    with file.open("w", encoding="utf-8", newline="") as opened:
        rows = csv.writer(opened)
        rows.writerows([header, *(row for row in [*news, *known] if row[0] not in GONE)])
    return file


def renewed(workdir: Workdir, file: Path, **options):
    model, assets = serving.load(workdir), bundle.assets_of(workdir)
    made = catalogue.renewed(workdir, model, assets, str(file), say=lambda line: None, **options)
    return (model, assets), made


def rows_by_id(assets) -> dict[str, int]:
    return {entry: row for row, entry in enumerate(assets.vocabularies["item"].entries)}


@pytest.mark.parametrize("keep_gone", [None, 1])
def test_known_items_keep_their_logits_and_new_ones_have_their_features(runs, tmp_path, keep_gone):
    """With the head, biases, and contexts of items that are gone; those not kept are 'unknown'."""
    file = write_today(tmp_path / "today.csv")
    (before, old), (after, now) = renewed(runs.whole, file, keep_gone=keep_gone)
    place, rows = rows_by_id(old), rows_by_id(now)
    unknown_before, unknown_now = len(place), len(rows)
    gone = sorted(GONE, key=place.get)[:keep_gone]
    known = [item for item in place if item.startswith("i") and item not in GONE]
    assert list(rows) == ["<pad>", *known, "n1", "n2", *gone]
    assert after.spec.candidates == 40
    expected = before.batch_logits(
        {
            name: np.where(
                np.isin(values, [place[i] for i in GONE if i not in gone]), unknown_before, values
            )
            if name == "context_item_id"
            else values
            for name, values in old.contexts.items()
        }
    )
    logits = after.batch_logits(now.contexts)
    of_known = expected[:, [place[i] - 1 for i in known]]
    assert np.isin(old.contexts["context_item_id"], [place[i] for i in GONE]).any()
    np.testing.assert_allclose(logits[:, :38], of_known, atol=1e-5)
    (table,) = before.structure.item_tables(before.spec)
    known_of, tower = tower_of(runs.whole)
    brand, tags = (known_of[f"label_feature_{n}"].vocabulary.entries.index for n in (1, 2))
    brands, of_tags = (tower[f"item_features/label_feature_{n}"] for n in (1, 2))
    of_n1 = brands[brand("A")] + of_tags[tags("x")] + of_tags[tags("y")]
    nobody = before.params[table][-1]  # 'unknown' stands for the vectors of their own
    assert np.abs(nobody).max() > 1e-3
    np.testing.assert_allclose(after.params[table][rows["n1"]], of_n1 + nobody, atol=1e-6)
    np.testing.assert_allclose(after.params[table][rows["n2"]], brands[-1] + nobody, atol=1e-6)
    bias = after.params["label_encoder/bias"]
    np.testing.assert_allclose(bias[38:], before.new_bias, atol=1e-6)
    assert abs(before.new_bias - before.params["label_encoder/bias"].mean()) > 1e-3
    np.testing.assert_array_equal(after.params[table][unknown_now], before.params[table][-1])
    for split, labels in old.judged.items():
        left = np.isin(labels.labels, [place[i] for i in GONE])
        assert now.catalogue["judged_labels_left_out"][split] == left.sum()
        entries = [old.vocabularies["item"].entries[row] for row in labels.labels[~left]]
        assert now.judged[split].labels.tolist() == [rows[entry] for entry in entries]
        assert all(len(v) == (~left).sum() for v in now.judged[split].contexts.values())


def tower_of(workdir: Workdir):
    known = RunAssets(workdir.assets).label_features()
    with contextlib.closing(Checkpoints(workdir.checkpoints, create=False)) as checkpoints:
        step = checkpoints.best_step
    with ocp.PyTreeCheckpointer() as checkpointer:
        tower = checkpointer.restore(workdir.checkpoints / "best" / str(step) / "tower")
    return known, {name: np.asarray(value) for name, value in tower.items()}


def test_an_apps_week(runs, exported, tmp_path):
    """Trained on Monday; on Tuesday items come and go, and users' histories are old and new."""
    run = Workdir(tmp_path / "run")
    shutil.copytree(runs.whole.path, run.path)
    monday = Path(shutil.copytree(run.export, tmp_path / "monday"))
    before = Recommender.load(monday)
    today = write_today(tmp_path / "today.csv")
    assert export_tflite.main([f"--workdir={run.path}", f"--items={today}"]) == 0
    after = Recommender.load(run.export)
    assert after.metadata["catalogue"] == {
        "file": "today.csv",
        "new": 2,
        "gone": 2,
        "gone_in_contexts": 2,
        "new_in_contexts": "by features",
        "judged_labels_left_out": after.metadata["catalogue"]["judged_labels_left_out"],
        "lists": after.metadata["catalogue"]["lists"],
        "metrics": "of the items that the run was trained on",
    }
    lists = after.metadata["catalogue"]["lists"]
    assert lists.keys() == {"contexts", "length", "kept", "gone", "new"}
    assert (lists["contexts"], lists["length"]) == (30, 10)
    assert 0 < lists["kept"] <= 1 - lists["gone"] < 1
    assert after.metadata["quantization"]["recipe"] == "float16"
    equality = after.metadata["equality"]
    assert equality["agree"] == equality["contexts"] == 30
    items = list(after.items.values())
    assert [i["id"] for i in items if i.get("candidate") is False] == [i["id"] for i in items[-2:]]
    assert after.items["n1"] == {
        "id": "n1", "count": 0, "title": "Brand new", "brand": "A", "tags": ["x", "y"]
    }  # fmt: skip
    history = ["i02", "i03", "i04"]  # one of them is sold out
    lists = [
        [r.item for r in one.recommend(history, one.top_k, exclude_history=False)]
        for one in (before, after)
    ]
    assert "i03" in lists[0]
    assert not {"i03", "i12"} & set(lists[1])
    assert "n1" in lists[1]
    known = [[i for i in one if i[0] == "i" and i not in GONE] for one in lists]
    both = min(map(len, known))
    assert known[0][:both] == known[1][:both]
    # What is gone and what is new is read in a history, and not as any unknown item.
    of_nobody = after.recommend(["i02", "nobody"], 5)
    for item in ("i03", "n1"):
        assert after.recommend(["i02", item], 5) != of_nobody
    with pytest.raises(ExportError, match=r"has the items of 'today\.csv', not those that the run"):
        file_ranks.of_run(run, prepare(run.read_config()))
    # On Wednesday the app goes back to Monday's folder.
    assert [r.item for r in Recommender.load(monday).recommend(history, 22)] == lists_seen(lists[0])
    other = write_today(tmp_path / "wednesday.csv", NEW[:1])
    assert catalogue.options(run, {})["quantization"] == "float16"
    (_, _), (model, _) = renewed(run, other)  # from the run, not from yesterday's catalogue
    assert model.spec.candidates == 39


@pytest.mark.long
def test_the_week_ends_with_a_warm_start(runs, tmp_path):
    """On Sunday the week's interactions, with new items in them, go on from Monday's parameters."""
    file, config = tmp_path / "events.csv", runs.config
    lines = Path(config.data.path).read_text(encoding="utf-8").splitlines()
    for user in range(30):
        own = [("i01", "Item 1", "B", "x|y"), NEW[0], ("i02", "Item 2", "", "x|y"), NEW[1]]
        rows = enumerate(own * 2, 20)
        lines += [",".join([f"u{user}", item, str(t), *rest]) for t, (item, *rest) in rows]
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    data = dataclasses.replace(config.data, path=str(file))
    of_train = dataclasses.replace(config.train, epochs=4, warm_start=str(runs.whole.path))
    sunday, said = Workdir(tmp_path / "sunday"), []
    config = dataclasses.replace(config, data=data, train=of_train)
    train(checked(config), sunday, said.append, baselines=False)
    assert "  item: 40, 2, 0" in said
    model, _ = best_of(sunday)
    assert model.origin["step"] == serving.load(runs.whole).step
    vocabulary = bundle.assets_of(sunday).vocabularies["item"]
    assert vocabulary.lookup(["n1", "n2"]).tolist() != [41, 42]  # the order is that of the counts
    contexts = {name: rows[:1].copy() for name, rows in RunAssets(sunday.assets).contexts().items()}
    contexts["context_item_id"][:] = 0
    contexts["context_item_id"][0, :3] = vocabulary.lookup(["i05", "n1", "i02"])
    (logits,) = model.batch_logits(contexts)
    best = [vocabulary.entries[row + 1] for row in np.argsort(-logits)[:3]]
    assert "n2" in best


def lists_seen(items: list[str]) -> list[str]:
    """Without the history."""
    return [item for item in items if item not in ("i02", "i03", "i04")]


def test_the_recipe_is_the_asked_one_that_of_the_export_or_the_configs(runs, exported, monkeypatch):
    assert catalogue.options(runs.whole, {"quantization": "int8"})["quantization"] == "int8"
    assert catalogue.options(runs.whole, {"quantization": None})["quantization"] == "float16"
    assert catalogue.options(runs.stopped, {}) == {"quantization": "float16"}  # without an export
    last = {"top_k": 7, "trusts_ids": True, "inputs": [{"source": "candidate_mask"}]}
    with monkeypatch.context() as patched:
        patched.setattr(catalogue, "read_metadata", lambda folder: last)
        assert catalogue.options(runs.whole, {"top_k": 5, "trust_ids": None}) == {
            "quantization": "none", "top_k": 5, "exclude_context": False, "trust_ids": True,
            "candidate_mask": True, "item_fields": "full", "converter": "jax2tf",
        }  # fmt: skip
    auto = runs.stopped.read_config()
    auto.export.quantization = "auto"
    monkeypatch.setattr(runs.stopped, "read_config", lambda: auto)
    with pytest.raises(ExportError, match="is auto, and it has no export for which one was"):
        catalogue.options(runs.stopped, {})


def taken_away(workdir: Workdir) -> None:
    (workdir.assets / "label_features.json").unlink()


def as_of_old(workdir: Workdir) -> None:
    taken_away(workdir)
    noted = workdir.assets / "files.json"
    content = json.loads(noted.read_text(encoding="utf-8"))
    del content["files"]["label_features.json"]
    noted.write_text(json.dumps(content), encoding="utf-8", newline="\n")


@pytest.mark.parametrize(
    ("rows", "header", "change", "sentence"),
    [
        (None, None, None, "is missing; give --items a table with one row an item and the columns"),
        (NEW, ("item", "name", "brand", "tag"), None, "has no column 'tags'"),
        (NEW, ("id", "name", "brand", "tags"), None, "has no column 'item'"),
        ([*NEW, NEW[0], NEW[1]], None, None, "item 'n1' stands in line 2 already"),
        ([*NEW, ("", "a", "b", "c")], None, None, "column 'item' is empty, expected an id"),
        ([("n3", "a", "A", "|".join("abc" * 22))], None, None, "has 66 values for one item"),
        (NEW, None, taken_away, "label_features.json is missing; restore"),
        (NEW, None, as_of_old, "cannot read new items: its"),
    ],
)
def test_what_cannot_be_used_is_told_and_nothing_is_replaced(
    runs, exported, tmp_path, rows, header, change, sentence
):
    workdir, file = runs.whole, tmp_path / "today.csv"
    if rows:
        write_today(file, rows, header or ("item", "name", "brand", "tags"))
    if change:
        workdir = Workdir(tmp_path / "run")
        shutil.copytree(runs.whole.path, workdir.path)
        change(workdir)
    before = sums_of(workdir.export)
    faults.answer("export", f"--workdir={workdir.path}", f"--items={file}").refused([sentence])
    assert sums_of(workdir.export) == before


# ---- the head in the graph ------------------------------------------------------------------


@pytest.mark.parametrize(("candidates", "dtype"), [(32_768, "int16"), (32_769, "int32")])
def test_followers_are_stored_in_16_bits_where_they_fit(candidates, dtype):
    require_export()
    head = drawn_head(candidates)
    inputs = {"item": np.zeros((4, 12), np.int32)}
    inputs["item"][1, :12] = np.random.default_rng(1).integers(1, candidates + 2, 12)
    inputs["item"][2, :3] = candidates, candidates + 1, 1  # the last one, 'unknown', the first
    inputs["item"][3, 5] = 1  # after a hole
    expected = np.asarray(jax.jit(lambda head, x: head(x))(head, inputs))
    graph = transitions.Graph(head, 0)
    assert graph._followers.dtype == dtype
    scores = np.random.default_rng(0).normal(size=expected.shape).astype(np.float32)
    together = graph.added_to(tf_constant(scores), as_tf(inputs)) - scores
    np.testing.assert_allclose(together, expected, atol=1e-5)
    for row, (own, score) in enumerate(zip(inputs["item"], scores, strict=True)):
        alone = graph.added_to(tf_constant(score), as_tf({"item": own})) - score
        np.testing.assert_allclose(alone, expected[row], atol=1e-5)
    assert not expected[0].any()
    assert expected[1:].any(axis=1).all()


def drawn_head(candidates: int):
    """The last two candidates are among the followers of every item."""
    random = np.random.default_rng(0)
    followers = random.integers(0, candidates, (candidates, 3)).astype(np.int32)
    followers[:, :2] = candidates - 1, candidates - 2
    weights = random.uniform(0.1, 1, followers.shape).astype(np.float32)
    return transitions_head.make(
        followers, weights, first=1, rows=candidates + 2, name="item", weight=3.0, power=2.0
    )


def tf_constant(values):
    import tensorflow as tf

    return tf.constant(values)


def as_tf(inputs):
    return {name: tf_constant(values) for name, values in inputs.items()}
