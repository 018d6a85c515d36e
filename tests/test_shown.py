"""What may be shown: only these items, without those, with a mask in the file and with none."""

import logging
import pickle
import shutil

import numpy as np
import pytest

from flaxrec.data.dataset import prepare
from flaxrec.errors import ExportError
from flaxrec.exporting import bundle, file_ranks
from flaxrec.files import read_jsonl
from flaxrec.measuring.comparison import Options, compare
from flaxrec.recommend import main
from flaxrec.recommender import Recommender
from flaxrec.tflite.inspection import inspect
from flaxrec.tflite.metadata import CANDIDATE_MASK
from flaxrec.training.workdir import Workdir
from tests.fuzz import calls
from tests.support.exports import exported, tiny_config

K = 20


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Workdir:
    return exported(tmp_path_factory, "bow_id")


@pytest.fixture(scope="module")
def said() -> list[str]:
    return []


@pytest.fixture(scope="module")
def folder(run, said, tmp_path_factory):
    """The run with a mask in its file, and a list of twenty."""
    output = tmp_path_factory.mktemp("masked") / "export"
    bundle.export(run, output, said.append, top_k=K, candidate_mask=True)
    return output


@pytest.fixture(scope="module")
def masked(folder) -> Recommender:
    return Recommender(folder)


@pytest.fixture(scope="module")
def whole(run) -> Recommender:
    """The same model, whose file lists the whole catalogue."""
    return Recommender(run.export)


class Short(calls.EveryKind):
    """The graph lists the first four of nine items."""

    def __init__(self) -> None:
        super().__init__()
        self.metadata["top_k"] = 4

    def _model(self, inputs):
        return {name: values[:4] for name, values in super()._model(inputs).items()}


def is_old(item) -> bool:
    return item["year"] < 1970


def is_rare(item) -> bool:
    return item["year"] == 1986 and "Drama" in item["genres"]


# ---- with a mask in the file ----------------------------------------------------------------


def test_lists_are_those_of_the_whole_catalogue_without_the_rest(run, masked, whole):
    ids = [item["id"] for item in whole.items.values()]
    assert 0 < sum(map(is_rare, whole.items.values())) < 5
    choices = (
        {},
        {"only": is_old},
        {"without": is_old},
        {"only": ids[:40], "without": is_old},
        {"without": ids[:100]},
        {"only": is_rare},
        {"only": ids[7:8]},
    )
    for number, history in enumerate(run.read_histories()[:28]):
        given = [activity["item"] for activity in history["activities"]]
        chosen = choices[number % len(choices)]
        for exclude in (True, False):
            found = masked.recommend(given, K, **chosen, exclude_history=exclude)
            every = whole.recommend(given, 120, **chosen, exclude_history=exclude)
            assert [one.item for one in found] == [one.item for one in every[:K]]
            scores = [one.score for one in every[:K]]
            np.testing.assert_allclose([one.score for one in found], scores, atol=1e-6)


def test_a_long_history_leaves_a_full_list(masked):
    history = [item["id"] for item in masked.items.values()][:95]
    found = masked.recommend(history, K)
    assert len(found) == K
    assert not {one.item for one in found} & set(history)


def test_the_folder_says_what_must_be_filled(folder, masked, said):
    (spec,) = [spec for spec in masked.inputs if spec["source"] == CANDIDATE_MASK]
    assert spec == {
        "name": CANDIDATE_MASK,
        "dtype": "float32",
        "shape": [len(masked.items) + 2],
        "vocabulary": None,
        "source": CANDIDATE_MASK,
        "multi_valued": False,
        "default": 0.0,
    }
    why = "that app cannot fill the input candidate_mask"
    assert masked.metadata["android"] == {"supported": False, "reason": why}
    assert not (folder / "android").exists()
    assert said[-1] == (
        "every call fills the input candidate_mask, zeros where everything may be shown; there is "
        f"no android/: {why}"
    )


def test_copies_take_what_was_selected(masked):
    selected = pickle.loads(pickle.dumps(masked.select(is_old)))
    copy = pickle.loads(pickle.dumps(masked))
    assert copy.recommend([2], 5, only=selected) == masked.recommend([2], 5, only=is_old)


def test_every_command_fills_it(run, folder, capsys):
    files = [inspect(run.export), inspect(folder)]
    rows = compare(files, Options(calls=20)).rows
    assert [row.remark for row in rows] == ["", ""]
    assert rows[1].top_k == K


@pytest.mark.long
def test_accuracy_is_that_of_the_file_without_it(run, folder, tmp_path):
    ignore = shutil.ignore_patterns("tensorboard")
    copy = Workdir(shutil.copytree(run.path, tmp_path / "run", ignore=ignore))
    dataset = prepare(tiny_config("bow_id"))
    (before,) = file_ranks.of_run(copy, dataset, splits=("validation",))
    shutil.rmtree(copy.export)
    shutil.copytree(folder, copy.export)
    own, float16 = file_ranks.of_run(copy, dataset, ("auto", "float16"), ("validation",))
    assert own.metrics == before.metrics
    assert float16.metrics["validation"]["recall@10"] > 0
    masked = file_ranks._options(copy, ("auto",), own and Recommender(folder).metadata["step"])[0]
    assert masked.candidate_mask


# ---- without one ----------------------------------------------------------------------------


def test_of_a_fixed_list_what_is_left_and_a_sentence(caplog):
    short = Short()
    with caplog.at_level(logging.WARNING):
        found = short.recommend([], 4, only=[1, 2, 5, 6, 7])
    assert [one.item for one in found] == [1, 2]
    (message,) = caplog.messages
    assert message == (
        "2 of 4 items: no others of the model's own 4 may be shown; for full lists export it "
        "again with flaxrec export ... --candidate_mask."
    )


@pytest.mark.parametrize(
    "arguments",
    [
        {"top_k": 2, "only": [1, 2, 5]},  # as many as asked for
        {"only": [3, 1]},  # all that there are
        {"history": [1], "without": [9], "top_k": 3},
        {"history": [1, 2]},  # nothing was asked of the items
    ],
)
def test_where_nothing_is_missing_nothing_is_said(caplog, arguments):
    history = arguments.pop("history", [])
    with caplog.at_level(logging.WARNING):
        assert Short().recommend(history, **arguments)
    assert not caplog.messages


def test_many_share_what_was_selected_and_one_warning(caplog):
    short, asked = Short(), []

    def rule(item):
        asked.append(item["id"])
        return item["id"] in (1, 2, 5, 6, 7)

    histories = [[], [1], [9]] * 4
    with caplog.at_level(logging.WARNING):
        found = list(short.recommend_many(histories, 4, only=rule, without=[7], threads=2))
    assert [[one.item for one in several] for several in found] == [[1, 2], [2], [1, 2]] * 4
    assert asked == list(range(1, 10))
    (message,) = caplog.messages
    assert message.startswith("12 lists are shorter than asked for, as the model ranks more than")
    caplog.clear()
    assert list(short.recommend_many([[1], []], only=[])) == [[], []]
    assert caplog.messages == ["only and without leave no item that may be shown."]


# ---- ids and rules --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "ids", [[2, 4], {2, 4}, (2.0, "4"), np.array([2, 4]), iter(["2", 4]), {2: 0, 4: 0}.keys()]
)
def test_any_iterable_of_ids(ids):
    assert Short().select(ids).items == 2


def test_a_rule_is_evaluated_once_where_it_is_selected():
    asked = []

    def rule(item):
        asked.append(item["id"])
        return np.bool_(item["id"] % 2)

    every = calls.EveryKind()
    odd = every.select(rule)
    assert repr(odd) == "Selection(items=5)"
    for _ in range(3):
        found = every.recommend([3], without=[1], only=odd)
        assert [one.item for one in found] == [5, 7, 9]
    assert asked == list(range(1, 10))


def test_ids_that_are_not_in_the_catalogue_are_told_once(caplog):
    every = calls.EveryKind()
    with caplog.at_level(logging.WARNING):
        chosen = every.select([5, 99, *range(100, 120)])
        assert [one.item for one in every.recommend([], only=chosen)] == [5]
    assert caplog.messages == [
        "Not in the catalogue, ignored in items: [99, 100, 101, 102, 103, and 16 more]"
    ]


@pytest.mark.parametrize(
    ("only", "without"), [([], None), (lambda item: False, None), ([3], [3]), (None, range(1, 10))]
)
def test_where_nothing_may_be_shown_the_list_is_empty(caplog, only, without):
    with caplog.at_level(logging.WARNING):
        assert calls.EveryKind().recommend([], only=only, without=without) == []
    assert caplog.messages == ["only and without leave no item that may be shown."]


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ("abc", "only is 'abc'; give ids in a list, or a rule"),
        (5, "only is 5; give ids in a list"),
        ({1: True}, "only is {1: True}; give ids"),
        (np.zeros((2, 2)), "only is array"),
        ([[1], [2]], r"only holds \[1\], which is no id; give ids"),
        ([True, False], "only holds True, which is no id"),
        (
            lambda item: item["year"] > 1,
            r"rule given as only fails on the item 1 \(KeyError: 'year'\); correct it: a column "
            "may be missing, or None",
        ),
        (lambda item: None, "rule given as only returns None for the item 1; return True or"),
        (lambda item: item.update(id=2), "fails on the item 1 .AttributeError: 'mappingproxy'"),
    ],
)
def test_what_is_no_choice_of_items(given, sentence):
    with pytest.raises(ExportError, match=sentence) as error:
        calls.EveryKind().recommend([1], only=given)
    assert "\n" not in str(error.value)


def test_a_selection_of_another_export_is_refused(masked):
    other = calls.EveryKind().select([1])
    with pytest.raises(ExportError, match="without was selected from another export, with other"):
        masked.recommend([2], without=other)


def test_what_is_gone_is_never_selected(caplog):
    every = calls.EveryKind()
    every.items["9"]["candidate"] = False
    assert every.select(lambda item: True).items == 8
    assert every.select([8, 9]).items == 1
    assert not caplog.messages


# ---- the command ----------------------------------------------------------------------------


def called(capsys, *arguments) -> tuple[int, list[int], str]:
    """Exit status, ids of the list, stderr."""
    status = main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    lines = [line for line in out.splitlines() if not line.startswith(("history", "  ("))]
    return status, [int(line.split()[2]) for line in lines], err


def test_flags_name_items(capsys, folder, masked, tmp_path):
    titled = masked.items["62"]["title"]
    (tmp_path / "ids.txt").write_text("2\n\n5 \r\n7\n", encoding="utf-8")

    def expected(**chosen):
        return [one.item for one in masked.recommend([3], 10, **chosen)]

    drama = [item["id"] for item in masked.items.values() if "Drama" in item["genres"]]
    for flags, chosen in (
        (["--only=4,5, 6"], {"only": [4, 5, 6]}),
        (["--without=genres=Drama"], {"without": drama}),
        (["--only=4,genres=Drama", "--only=5", "--without=62"], {"only": [4, 5, *drama]}),
        ([f"--only=@{tmp_path / 'ids.txt'}"], {"only": [2, 5, 7]}),
        ([f"--only={titled}"], {"only": [62]}),
    ):
        if "--without=62" in flags:
            chosen["without"] = [62]
        status, ids, err = called(capsys, folder, 3, *flags)
        assert (status, ids, err) == (0, expected(**chosen), "")
        assert ids


def test_lists_of_a_table_know_the_flags(folder, masked, tmp_path):
    (tmp_path / "events.csv").write_text("user,item,time\n1,3,1\n1,4,2\n2,5,1\n", "utf-8")
    columns = [f"--config.data.columns.{name}={name}" for name in ("user", "item", "time")]
    output = tmp_path / "lists.jsonl"
    flags = ["--only=year=1975,62", "--without=35", "--top_k=4", *columns]
    events = tmp_path / "events.csv"
    assert main([str(folder), f"--users={events}", f"--output={output}", *flags]) == 0
    rows = read_jsonl(output)
    for user, history in ((1, [3, 4]), (2, [5])):
        only = [i["id"] for i in masked.items.values() if i["year"] == 1975 or i["id"] == 62]
        found = masked.recommend(history, 4, only=only, without=[35])
        assert [row["item"] for row in rows if row["user"] == user] == [one.item for one in found]
    assert rows


def test_an_empty_list_is_explained(capsys, folder):
    assert main([str(folder), "3", "--only=3"]) == 0
    assert "(nothing: all items that the model returns are in the history or left out)" in (
        capsys.readouterr().out
    )


def test_nothing_may_be_left_out(capsys, tmp_path, folder):
    empty = tmp_path / "sold_out.txt"
    empty.touch()
    everything = called(capsys, folder, 3)
    assert everything[0] == 0
    assert called(capsys, folder, 3, f"--without=@{empty}") == everything
    assert called(capsys, folder, 3, "--without=") == everything


@pytest.mark.parametrize("flag", ["--only", "--without"])
def test_unknown_ids_of_a_file_are_told_by_the_flag(caplog, capsys, tmp_path, folder, flag):
    file = tmp_path / "ids.txt"
    file.write_text("3\n999\n", encoding="utf-8")
    with caplog.at_level(logging.WARNING):
        assert called(capsys, folder, 5, f"{flag}=@{file}")[0] == 0
    assert f"Not in the catalogue, ignored in {flag}: ['999']" in caplog.messages


@pytest.mark.parametrize(
    ("flag", "sentence"),
    [
        ("--only=", "--only names no item that the export recommends; give ids, COLUMN=VALUE"),
        ("--without=999", "There is no item with the id or title '999' in the export; see"),
        ("--without=yaer=1990", "'yaer' is no column of the items; they have id, count, title"),
        ("--only=year=1066", "No item has '1066' as 'year'; look at a line of items.jsonl"),
        ("--only=@nowhere.txt", "nowhere.txt is missing; give a text file with an id a line"),
    ],
)
def test_flags_that_name_nothing(capsys, folder, flag, sentence):
    status, ids, err = called(capsys, folder, 3, flag)
    assert (status, ids) == (2, [])
    assert sentence in err
    assert err.count("\n") == 1
