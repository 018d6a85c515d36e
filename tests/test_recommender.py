"""The exported model as a person uses it: what it encodes, what it recommends, what it refuses."""

import datetime
import json
import logging
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

import flaxrec
from flaxrec import recommender as recommender_lib
from flaxrec.data import contexts as contexts_lib
from flaxrec.data.dataset import prepare
from flaxrec.errors import ExportError
from flaxrec.exporting import serving
from flaxrec.files import read_jsonl
from flaxrec.recommender import Recommender
from flaxrec.tflite.metadata import write_metadata
from flaxrec.training.workdir import Workdir
from tests.support import app_values
from tests.support.exports import EVERY_CANDIDATE, NAMES, exported, tiny_config
from tests.support.odd_columns import odd_timelines, write_export
from tests.support.places import ROOT


@pytest.fixture(scope="module", params=NAMES)
def run(request, tmp_path_factory) -> Workdir:
    return exported(tmp_path_factory, request.param)


@pytest.fixture(scope="module")
def recommender(run) -> Recommender:
    return Recommender.load(run.export)


def loaded(name: str):
    @pytest.fixture(scope="module")
    def fixture(tmp_path_factory) -> Recommender:
        return Recommender.load(exported(tmp_path_factory, name).export)

    return fixture


bow, combined, of_users, reference = map(
    loaded, ("bow_id", "cnn_combined", "bow_user", "reference")
)


def some_ids(recommender: Recommender, count: int) -> list[int]:
    """Ids from the middle of the catalogue."""
    return [item["id"] for item in list(recommender.items.values())[20 : 20 + count]]


def rows_of(recommender: Recommender, ids: list) -> list[int]:
    """Line numbers in the vocabulary file, the number of lines for ids that are not in it."""
    path = recommender.folder / recommender.metadata["label_vocabulary"]
    lines = path.read_text(encoding="utf-8").splitlines()
    return [lines.index(str(i)) if str(i) in lines else len(lines) for i in ids]


def message_of(function, *arguments, **options) -> str:
    """The one sentence of the error that the call raises."""
    with pytest.raises(ExportError) as error:
        function(*arguments, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


# ---- encoding, as in training ---------------------------------------------------------------


def test_saved_histories_are_encoded_bit_for_bit_as_in_training(run, recommender):
    histories = run.read_histories()
    with np.load(run.assets / "contexts.npz") as file:
        saved = dict(file)
    assert len(histories) == 200
    assert saved.keys() == {spec["name"] for spec in recommender.inputs}
    for row, history in enumerate(histories):
        encoded = recommender.encode(history["activities"], history["user"])
        assert encoded.keys() == saved.keys()
        for name, values in encoded.items():
            assert values.dtype == saved[name].dtype
            assert values.tobytes() == saved[name][row].tobytes()


def test_the_saved_histories_put_encoding_to_the_test(run, recommender):
    with np.load(run.assets / "contexts.npz") as file:
        saved = dict(file)
    for spec in recommender.inputs:
        assert len(np.unique(saved[spec["name"]])) > 3
    if "context_genres" in saved:  # some are cut, some are padded
        full = (saved["context_genres"] != 0).all(axis=1)
        assert 0 < full.sum() < 200
    if run.path.name == "bow_id":
        assert (saved["context_item_id"] == 0).any()


@pytest.mark.parametrize("reference_mode", [False, True])
def test_every_kind_of_column_is_encoded_as_in_training(tmp_path, monkeypatch, reference_mode):
    timelines, config = odd_timelines(reference_mode)
    labels = np.arange(len(timelines.item), dtype=np.int32)
    expected = contexts_lib.gather(
        contexts_lib.to_device(timelines, jax.sharding.SingleDeviceSharding(jax.devices()[0])),
        labels,
        timelines.inputs,
        context_length=config.model.context_length,
        keep_oldest=reference_mode,
    )
    write_export(tmp_path / "export", timelines, config)
    monkeypatch.setattr(recommender_lib, "_model", lambda export: None)
    recommender = Recommender(tmp_path / "export")
    histories = read_jsonl(tmp_path / "export" / "histories.jsonl")
    different = set()
    for row, history in enumerate(histories):
        encoded = recommender.encode(history["activities"], history["user"])
        for name, values in encoded.items():
            if values.tobytes() != np.asarray(expected[name][row]).tobytes():
                different.add((name, row))
    assert not different


def test_numbers_of_the_items_are_such_that_every_json_reader_takes_them(tmp_path):
    timelines, config = odd_timelines(reference_mode=False)
    write_export(tmp_path, timelines, config)
    text = (tmp_path / "items.jsonl").read_text(encoding="utf-8")
    items = {row["id"]: row for row in map(json.loads, text.splitlines())}
    prices = timelines.items["price"].to_list()
    assert np.isinf(np.array(prices, float)).sum() == 1
    assert [row["price"] for row in items.values()] == [
        None if price == float("inf") else price for price in prices
    ]
    assert "Infinity" not in text
    assert {row["grade"] for row in items.values()} <= {4.2, 0.1, 2.0, 1e-3, 3.7, None}


# ---- recommending, as in the evaluation -----------------------------------------------------


def ranks(run: Workdir, recommender: Recommender, histories, exclude_history: bool) -> np.ndarray:
    """Place of each label among the first 10, inf beyond."""
    with_ratings = run.path.name in ("cnn_combined", "reference")
    places = []
    for history in histories:
        activities = history["activities"]
        if not with_ratings:
            activities = [activity["item"] for activity in activities]
        recommended = recommender.recommend(
            activities, user=history["user"], exclude_history=exclude_history
        )
        items = [r.item for r in recommended]
        places.append(items.index(history["label"]) if history["label"] in items else np.inf)
    return np.array(places)


def test_metrics_are_those_of_the_evaluation(run, recommender):
    (tested,) = [row["metrics"] for row in run.read_metrics() if row["split"] == "test"]
    places = ranks(run, recommender, run.read_histories(), exclude_history=False)
    assert len(places) == 200
    if run.path.name == "reference":  # the padding row takes a place in the evaluation
        assert tested["recall@10"] - 1e-9 <= (places < 10).mean() <= tested["recall@10"] + 0.03
        return
    # One label of 200 may stand the other way round a tie.
    for k in (1, 5, 10):
        assert abs((places < k).sum() - 200 * tested[f"recall@{k}"]) <= 1.001
    gains = np.where(places < 10, 1 / np.log2(places + 2), 0)
    assert gains.mean() == pytest.approx(tested["ndcg@10"], abs=2e-3)
    assert (places < 10).sum() > 15  # more than chance: 200 * 10 / 120 is 17


def whole_histories(name: str) -> list[dict]:
    """All that each user did before the test label, in raw ids."""
    dataset = prepare(tiny_config(name))
    timelines, made = dataset.timelines, []
    for label in dataset.split.test.tolist():
        user = int(timelines.user[label])
        activities = timelines.activities[int(timelines.offsets[user]) : label].to_dicts()
        described = timelines.users.row(user, named=True)
        item = timelines.activities["item"][label]
        made.append({"user": described, "activities": activities, "label": item})
    return made


@pytest.mark.parametrize("name", ["bow_id", "bow_user"])
def test_leaving_out_the_history_gives_the_filtered_metrics(tmp_path_factory, name):
    run = exported(tmp_path_factory, name)
    recommender = Recommender(run.export)
    histories = whole_histories(name)
    assert max(len(history["activities"]) for history in histories) > 40  # far beyond L
    (tested,) = [row["metrics"] for row in run.read_metrics() if row["split"] == "test"]
    places = ranks(run, recommender, histories, exclude_history=True)
    for k in (1, 5, 10):
        assert abs((places < k).sum() - 200 * tested[f"filtered/recall@{k}"]) <= 1.001
    assert abs(tested["filtered/recall@10"] - tested["recall@10"]) > 0.02  # not the same thing


def test_recommendations_are_items_of_the_data_best_first(recommender):
    k = recommender.top_k
    recommended = recommender.recommend(some_ids(recommender, 4), k, exclude_history=False)
    ids = [r.item for r in recommended]
    assert len(set(ids)) == len(ids)
    assert all(type(item) is int for item in ids)
    assert {str(item) for item in ids} <= set(recommender.items)
    assert all(r.title == recommender.items[str(r.item)]["title"] for r in recommended)
    scores = [r.score for r in recommended]
    assert scores == sorted(scores, reverse=True)
    assert all(type(score) is float and 0 < score < 1 for score in scores)
    expected = len(recommender.items) if recommender.metadata["name"] in EVERY_CANDIDATE else 20
    assert len(ids) == expected


# ---- histories ------------------------------------------------------------------------------


def test_the_history_is_left_out_unless_asked_for(bow):
    history = some_ids(bow, 15)  # five of them are beyond the context
    every = [r.item for r in bow.recommend(history, 120, exclude_history=False)]
    without = [r.item for r in bow.recommend(history, 120)]
    assert len(every) == 120
    assert without == [item for item in every if item not in history]
    assert bow.recommend(history, 5) == bow.recommend(history, 120)[:5]


def test_a_model_for_users_who_come_back_recommends_what_they_know(bow, monkeypatch):
    history = some_ids(bow, 15)
    every = bow.recommend(history, 120, exclude_history=False)
    assert not bow.metadata["recommends_seen"]
    monkeypatch.setitem(bow.metadata, "recommends_seen", True)
    assert bow.recommend(history, 120) == every
    monkeypatch.delitem(bow.metadata, "recommends_seen")  # an export of version 0.1.0
    assert len(bow.recommend(history, 120)) < 120


def test_fewer_than_asked_for_may_remain(combined):
    every = [r.item for r in combined.recommend([], 20)]
    for _ in range(3):
        remaining = [r.item for r in combined.recommend(every, 20)]
        assert not set(remaining) & set(every)
        assert len(remaining) <= 20


def test_the_last_activities_of_a_long_history_count(recommender):
    ids = some_ids(recommender, 40)
    length = recommender.metadata["context_length"]
    recent = recommender.encode([{"item": item} for item in ids[-length:]])
    for name, values in recommender.encode([{"item": item} for item in ids]).items():
        np.testing.assert_array_equal(values, recent[name])
    if "age_group" not in recent and recommender.metadata["flatten_keeps_oldest"] is False:
        long = recommender.recommend(ids, exclude_history=False)
        assert long == recommender.recommend(ids[-length:], exclude_history=False)
        assert long != recommender.recommend(ids[:length], exclude_history=False)


def test_a_short_history_is_padded_at_the_end(bow):
    ids = some_ids(bow, 3)
    encoded = bow.encode([{"item": item} for item in ids])["context_item_id"]
    assert encoded.tolist() == rows_of(bow, ids) + [0] * 7


@pytest.mark.parametrize("name", ["bow_user", "attention_id"])
def test_the_answer_to_an_empty_history_is_the_models(name, tmp_path_factory):
    """Also for a user of whom something is known: it is the list for a new user."""
    run = exported(tmp_path_factory, name)
    recommender, model = Recommender.load(run.export), serving.load(run)
    user = {"age_group": "25-34"}
    encoded = recommender.encode([], user)
    assert not encoded["context_item_id"].any()
    (logits,) = model.batch_logits({key: values[None] for key, values in encoded.items()})
    expected = np.sort(1 / (1 + np.exp(-logits)))[::-1][:10]
    recommended = recommender.recommend([], user=user)
    np.testing.assert_allclose([r.score for r in recommended], expected, atol=1e-5)
    rows = rows_of(recommender, [r.item for r in recommended])
    np.testing.assert_allclose(
        1 / (1 + np.exp(-logits[np.array(rows) - model.spec.first_candidate])), expected, atol=1e-5
    )


def test_an_empty_history_is_answered(recommender):
    encoded = recommender.encode([])
    assert not any(v.any() for name, v in encoded.items() if name != "age_group")
    assert len(recommender.recommend([])) == 10
    assert recommender.recommend([]) == recommender.recommend((), exclude_history=False)


@pytest.mark.parametrize("kind", [str, float, np.int64, np.int32, np.float64])
def test_an_id_may_be_text_or_any_number(bow, kind):
    history = some_ids(bow, 5)
    expected = bow.recommend(history)
    assert bow.recommend([kind(item) for item in history]) == expected
    assert bow.recommend([{"item": kind(item)} for item in history]) == expected


@pytest.mark.parametrize("item", ["no such item", -5, 10**12, 1.5, None, "", "<pad>"], ids=repr)
def test_an_unknown_item_is_warned_of_and_goes_to_the_unknown_row(bow, caplog, item):
    known = some_ids(bow, 2)
    with caplog.at_level(logging.WARNING):
        encoded = bow.encode([{"item": known[0]}, {"item": item}, {"item": known[1]}])
    row = bow.metadata["candidates"] + 1
    first, second = rows_of(bow, known)
    assert encoded["context_item_id"][:4].tolist() == [first, row, second, 0]
    (record,) = caplog.records
    assert repr(item) in record.getMessage()
    assert not [known_id for known_id in known if str(known_id) in record.getMessage()]
    assert len(bow.recommend([item])) == 10


def test_an_unknown_item_has_unknown_features(combined):
    known = some_ids(combined, 1)[0]
    encoded = combined.encode([{"item": "?", "rating": 2.0}, {"item": known, "rating": 3.0}])
    years = (combined.folder / "vocabularies/context_year.txt").read_text().splitlines()
    genres = (combined.folder / "vocabularies/context_genres.txt").read_text().splitlines()
    described = combined.items[str(known)]
    assert encoded["context_year"][0] == len(years)
    assert years[encoded["context_year"][1]] == str(described["year"])
    count = len(described["genres"])
    assert [genres[row] for row in encoded["context_genres"][:count]] == described["genres"]
    assert not encoded["context_genres"][count:].any()
    assert encoded["context_rating"][:3].tolist() == [2.0, 3.0, 0.0]


def test_known_items_are_not_warned_of(recommender, caplog):
    recommender.recommend(some_ids(recommender, 12))
    assert not caplog.records


# ---- event and user features ----------------------------------------------------------------


@pytest.mark.parametrize("activity", [{}, {"rating": None}, {"rating": float("nan")}], ids=str)
def test_a_missing_rating_is_the_mean(combined, activity):
    first, second = some_ids(combined, 2)
    (spec,) = [spec for spec in combined.inputs if spec["name"] == "context_rating"]
    assert 2 < spec["default"] < 5
    encoded = combined.encode([{"item": first, **activity}, {"item": second, "rating": 1}])
    expected = [np.float32(spec["default"]), 1, 0, 0]
    assert encoded["context_rating"][:4].tolist() == expected


def test_plain_ids_and_mappings_may_be_mixed(combined):
    first, second = some_ids(combined, 2)
    assert combined.recommend([first, {"item": second, "rating": 5.0}]) == combined.recommend(
        [{"item": first}, {"item": second, "rating": 5}]
    )


def test_ratings_matter(combined):
    ids = some_ids(combined, 6)
    liked, disliked = (
        combined.recommend([{"item": item, "rating": rating} for item in ids]) for rating in (5, 1)
    )
    assert [r.score for r in liked] != [r.score for r in disliked]


def test_user_features(of_users):
    lines = (of_users.folder / "vocabularies/age_group.txt").read_text().splitlines()
    for row, age in enumerate(lines[1:], start=1):
        encoded = of_users.encode([], {"age_group": age, "something": "else"})
        assert encoded["age_group"].tolist() == [row]
    for user in (None, {}, {"age_group": None}, {"age_group": "ageless"}, {"age_group": 7}):
        assert of_users.encode([], user)["age_group"].tolist() == [len(lines)]


def test_user_features_matter(of_users):
    history = some_ids(of_users, 3)
    answers = {
        tuple(of_users.recommend(history, user=user))
        for user in (None, {"age_group": "18-24"}, {"age_group": "56+"})
    }
    assert len(answers) == 3


# ---- values as apps have them ---------------------------------------------------------------


@pytest.fixture
def of_values(tmp_path, monkeypatch) -> Recommender:
    app_values.write_export(tmp_path / "export")
    return app_values.load(tmp_path / "export", monkeypatch)


def test_a_value_has_one_row_in_whatever_form_an_app_has_it(of_values):
    made = [of_values.encode([activity]) for activity in app_values.activities()]
    names = [name for name, _, _ in app_values.CASES]
    assert not app_values.wrong([of[name].item() for of, name in zip(made, names, strict=True)])


HALF_PAST = datetime.datetime(2024, 5, 31, 18, 30)


@pytest.mark.parametrize(
    ("name", "value", "row"),
    [
        ("liked", np.True_, 1),
        ("liked", np.bool_(False), 2),
        ("since", HALF_PAST, 1),
        ("since", HALF_PAST.replace(microsecond=250_000), 2),
        ("since", HALF_PAST.replace(microsecond=1), 4),
        ("since", datetime.datetime(2024, 6, 1), 3),
        ("since", datetime.date(2024, 6, 1), 3),
        ("since", HALF_PAST.replace(tzinfo=datetime.UTC), 1),
        ("since", datetime.datetime.fromisoformat("2024-05-31T20:30:00+02:00"), 1),
        ("since", "2024-05-31T20:30:00+02:00", 1),
        ("since", "0001-01-01T00:00:00+02:00", 4),
        ("since", "2024-02-31T00:00:00", 4),
        ("since", np.datetime64("2024-05-31T18:30:00.250"), 2),
        ("since", np.datetime64("2024-05-31T18:30:00", "ns"), 1),
        ("since", np.datetime64("NaT", "s"), 4),
        ("day", datetime.date(2024, 5, 31), 1),
        ("day", datetime.datetime(2024, 5, 31), 1),
        ("day", np.datetime64("2024-05-31"), 1),
        ("day", HALF_PAST, 3),
        ("spaced", HALF_PAST, 1),
        ("spaced", datetime.date(2024, 6, 1), 3),
        ("zoned", HALF_PAST.replace(microsecond=250_000), 2),
    ],
    ids=repr,
)
def test_dates_and_booleans_find_their_texts(of_values, name, value, row):
    activity = {"item": app_values.BIG, name: value}
    assert of_values.encode([activity])[name].tolist() == [row]


def test_ids_beyond_2_53_stay_apart(of_values):
    ids = [item["id"] for item in app_values.ITEMS]
    assert [r.item for r in of_values.recommend([])] == ids
    for given in (int, str):
        kept = [r.item for r in of_values.recommend([given(ids[1])])]
        assert kept == [ids[0], *ids[2:]]
        encoded = [of_values.encode([{"item": given(item)}]) for item in ids]
        assert [of["item"].item() for of in encoded] == [1, 2, 3, 4]
        assert [of["brand"].item() for of in encoded] == [1, 2, 4, 3]


def test_items_without_a_title_have_an_empty_one(of_values):
    titles = [r.title for r in of_values.recommend([])]
    assert titles == ["One", "", app_values.ITEMS[2]["title"], ""]


# ---- errors ---------------------------------------------------------------------------------


@pytest.mark.parametrize("top_k", [21, 1000])
def test_a_top_k_beyond_the_models(combined, top_k):
    message = message_of(combined.recommend, [], top_k)
    assert f"top_k is {top_k}" in message
    assert "returns 20 items" in message
    assert "--top_k" in message


@pytest.mark.parametrize("top_k", [0, -1])
def test_a_top_k_below_one(combined, top_k):
    message = message_of(combined.recommend, [], top_k)
    assert f"top_k is {top_k}" in message
    assert "larger --top_k" not in message  # exporting again would not help


def test_without_top_k_a_small_export_gives_all_it_has(combined, tmp_path):
    folder = shutil.copytree(combined.folder, tmp_path / "export")
    metadata = {**combined.metadata, "top_k": 4}
    write_metadata(folder, metadata)
    assert Recommender(folder).recommend([])[:4] == combined.recommend([], 4)


def test_an_activity_without_an_item(combined):
    message = message_of(combined.recommend, [{"item": 1}, {"id": 3, "rating": 4.0}])
    assert "'item'" in message


def test_a_rating_that_is_no_number(combined):
    item = some_ids(combined, 1)[0]
    message = message_of(combined.recommend, [{"item": item, "rating": "good"}])
    assert "rating" in message
    assert "'good'" in message


def test_a_folder_that_is_no_export(tmp_path):
    for folder in (tmp_path, tmp_path / "missing"):
        message = message_of(Recommender.load, folder)
        told = "it has no metadata.json; give the folder of an export, as RUN/export."
        assert message == f"{folder} is not an export of flaxrec: {told}"


def test_a_run_folder_leads_to_its_export(tmp_path):
    (tmp_path / "export").mkdir()
    (tmp_path / "export" / "metadata.json").write_text("{}")
    message = message_of(Recommender.load, tmp_path)
    assert message.endswith(f"it has no metadata.json; give {tmp_path / 'export'}.")


@pytest.mark.parametrize("missing", ["model.tflite", "items.jsonl", "vocabularies/item.txt"])
def test_an_export_that_was_copied_in_part(bow, tmp_path, missing):
    folder = shutil.copytree(bow.folder, tmp_path / "export")
    (folder / missing).unlink()
    assert Path(missing).name in message_of(Recommender, folder)


@pytest.mark.parametrize("text", ["", "{", '{"title": "holiday"}', "[]"])
def test_metadata_that_is_not_ours(bow, tmp_path, text):
    folder = shutil.copytree(bow.folder, tmp_path / "export")
    (folder / "metadata.json").write_text(text)
    assert "metadata.json" in message_of(Recommender, folder)


# ---- where it runs --------------------------------------------------------------------------

WITHOUT_FRAMEWORKS = """
import sys
blocked = "jax jaxlib flax optax orbax tensorflow polars absl ml_collections rich google.protobuf"
for name in blocked.split():
    sys.modules[name] = None
import flaxrec
recommender = flaxrec.Recommender(sys.argv[1])
history = [{"item": item} for item in sys.argv[2:]]
for r in recommender.recommend(history, user={"age_group": "18-24"}):
    print(r.item, repr(r.score), r.title)
from flaxrec.recommend import main
sys.exit(main([sys.argv[1], sys.argv[2]]))
"""


def test_neither_jax_nor_tensorflow_is_needed(of_users):
    ids = [str(item) for item in some_ids(of_users, 3)]
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_FRAMEWORKS, str(of_users.folder), *ids],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    expected = of_users.recommend(ids, user={"age_group": "18-24"})
    lines = [f"{r.item} {r.score!r} {r.title}" for r in expected]
    assert done.stdout.splitlines()[:10] == lines


def test_the_folder_may_be_moved_and_named_in_any_way(bow, tmp_path, monkeypatch):
    shutil.copytree(bow.folder, tmp_path / "mein Modell é")
    expected = bow.recommend(some_ids(bow, 3))
    monkeypatch.chdir(tmp_path)
    for folder in ("mein Modell é", str(tmp_path / "mein Modell é"), Path("mein Modell é")):
        assert Recommender(folder).recommend(some_ids(bow, 3)) == expected


def test_the_public_name():
    assert flaxrec.Recommender is Recommender
    assert "Recommender" in flaxrec.__all__
    with pytest.raises(AttributeError, match="no attribute 'Recommend'"):
        _ = flaxrec.Recommend


# ---- reference mode -------------------------------------------------------------------------


def test_reference_mode_recommends_items_only(reference):
    # The graph ranks row 0, the padding, as the reference does; nobody has an item 0.
    ids = reference._model(reference.encode([]))["top_prediction_ids"]
    assert 0 in ids
    assert len(ids) == len(reference.items) + 1
    assert {r.item for r in reference.recommend([], 120)} == {
        item["id"] for item in reference.items.values()
    }


def test_reference_mode_keeps_the_oldest_genres(reference):
    items = [item for item in reference.items.values() if len(item["genres"]) == 3][:5]
    encoded = reference.encode([{"item": item["id"]} for item in items])
    assert encoded["context_item_id"][:6].tolist() == [*(item["id"] for item in items), 0]
    lines = (reference.folder / "vocabularies/context_genres.txt").read_text().splitlines()
    expected = [genre for item in items[:4] for genre in item["genres"]]
    assert [lines[row] for row in encoded["context_genres"]] == expected
    assert lines[0] == "UNK"
