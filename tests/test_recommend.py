"""The command: python -m flaxrec.recommend EXPORT_DIR ITEM[@TIME] ..."""

import itertools
import os
import shlex
import shutil
import subprocess
import sys
from typing import ClassVar

import pytest

from flaxrec import recommender as recommender_lib
from flaxrec.data import moments
from flaxrec.errors import ExportError
from flaxrec.recommend import find_item, main, show_example, table
from flaxrec.recommender import Recommendation, Recommender
from flaxrec.tflite.metadata import write_metadata
from tests.support import app_values
from tests.support.exports import exported
from tests.support.moment_inputs import Asking
from tests.support.places import ROOT


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return exported(tmp_path_factory, "bow_id")


@pytest.fixture(scope="module")
def recommender(run) -> Recommender:
    return Recommender(run.export)


def nth(recommender: Recommender, place: int) -> dict:
    """The item of that place by count."""
    return list(recommender.items.values())[place]


def called(capsys, *arguments: object) -> tuple[int, str, str]:
    """Exit status, stdout and stderr."""
    status = main([str(argument) for argument in arguments])
    return status, *capsys.readouterr()


def listed(out: str) -> list[tuple[int, str]]:
    """(id, title) of the recommended items."""
    lines = [line for line in out.splitlines() if not line.startswith("history")]
    assert [int(line.split()[0]) for line in lines] == list(range(1, len(lines) + 1))
    return [(int(line.split()[2]), line.split(maxsplit=3)[3]) for line in lines]


# ---- lists ----------------------------------------------------------------------------------


def test_no_items_are_a_new_user_where_that_was_trained(capsys, run, tmp_path):
    status, out, err = called(capsys, run.export)
    assert (status, out) == (2, "")
    assert err.startswith("flaxrec: After which items? This model has not learned what new users")
    assert err.count("\n") == 1
    folder = shutil.copytree(run.export, tmp_path / "export")
    trained = Recommender(folder).metadata | {"first_events": True}
    write_metadata(folder, trained)
    status, out, err = called(capsys, folder)
    assert (status, err) == (0, "")
    assert [item for item, _ in listed(out)] == [r.item for r in Recommender(folder).recommend([])]


def test_ids(capsys, run, recommender):
    items = [nth(recommender, place) for place in (7, 3, 50)]
    status, out, err = called(capsys, run.export, *(item["id"] for item in items))
    assert (status, err) == (0, "")
    history = [line.split(maxsplit=2)[1:] for line in out.splitlines()[:3]]
    assert history == [[str(item["id"]), item["title"]] for item in items]
    expected = recommender.recommend([item["id"] for item in items])
    assert listed(out) == [(r.item, r.title) for r in expected]
    for line, one in zip(out.splitlines()[3:], expected, strict=False):
        assert line.split()[1] == f"{one.relative:.4f}"
    assert len({one.relative for one in expected}) > 5


def test_titles_and_ids_may_be_mixed(capsys, run, recommender):
    first, second = nth(recommender, 7), nth(recommender, 3)
    _, by_id, _ = called(capsys, run.export, first["id"], second["id"])
    assert called(capsys, run.export, first["title"], second["title"]) == (0, by_id, "")
    assert called(capsys, run.export, first["title"].upper(), second["id"]) == (0, by_id, "")


def test_the_order_is_oldest_first(capsys, run, recommender):
    ids = [nth(recommender, place)["id"] for place in range(12)]
    _, out, _ = called(capsys, run.export, *ids)
    expected = recommender.recommend(ids)  # the last ten count
    assert listed(out) == [(r.item, r.title) for r in expected]


def test_top_k(capsys, run, recommender):
    item = nth(recommender, 7)["id"]
    _, out, _ = called(capsys, run.export, item, "--top_k=3")
    assert len(listed(out)) == 3
    _, out, _ = called(capsys, run.export, "--top_k", 120, item)
    assert len(listed(out)) == 119


def test_an_export_of_few_items_shows_all_it_has(capsys, run, recommender, tmp_path):
    folder = shutil.copytree(run.export, tmp_path / "export")
    write_metadata(folder, {**recommender.metadata, "top_k": 4})
    status, _, err = called(capsys, folder, nth(recommender, 7)["id"])
    assert (status, err) == (0, "")


def test_table():
    lines = table(
        [Recommendation(7, 0.98765, "Seven (1995)"), Recommendation("b-12", 0.5, "", 0.012345)]
    ).splitlines()
    assert lines[0].split() == ["1", "1.0000", "7", "Seven", "(1995)"]
    assert lines[1].split() == ["2", "0.0123", "b-12"]


def test_a_table_of_nothing_says_why():
    assert table([]) == "  (nothing: all items that the model returns are in the history)"


def test_example_of_a_run(capsys, run, recommender):
    history = run.read_histories()[5]
    show_example(run.export, history)
    lines = capsys.readouterr().out.splitlines()
    title = {item["id"]: item["title"] for item in recommender.items.values()}
    assert f"user {history['user']['user']}," in lines[0]
    assert lines[0].endswith(f"{title[history['activities'][-1]['item']]}:")
    assert ("after ... | " in lines[0]) == (len(history["activities"]) > 3)
    expected = recommender.recommend([a["item"] for a in history["activities"]], 5)
    assert [line.split(maxsplit=3)[3] for line in lines[1:-2]] == [r.title for r in expected]
    assert lines[-2].endswith(f": {title[history['label']]}")
    *command, folder, one, other = shlex.split(lines[-1].removeprefix("try others: "))
    assert command == ["python", "-m", "flaxrec.recommend"]
    assert main([folder, one, other]) == 0


# ---- ids that look like flags ---------------------------------------------------------------

ODD_IDS = [
    "-ogRTCEBL0p",
    "--x",
    "-5",
    "-h",
    "--top_k=2",
    "--no",
    "a  b",
    "$HOME",
    "it's",
    '"q"',
    "-",
]


@pytest.fixture
def odd(tmp_path, monkeypatch):
    """An export whose ids no shell and no parser of flags should change."""
    folder = tmp_path / "odd ones"
    app_values.write_export(folder, [{"id": name, "title": None} for name in ODD_IDS])
    app_values.load(folder, monkeypatch)
    return folder


def histories_of(out: str) -> list[str]:
    lines = [line for line in out.splitlines() if line.startswith("history ")]
    return [line.removeprefix("history ").strip() for line in lines]


@pytest.mark.parametrize("name", ["-ogRTCEBL0p", "--x", "-5", "--no", "-"])
def test_an_id_may_begin_with_a_dash(capsys, odd, name):
    for given in ([odd, name, "it's"], [odd, "--top_k=3", name, "it's"], [odd, "--", name, "it's"]):
        status, out, err = called(capsys, *given)
        assert (status, err) == (0, "")
        assert histories_of(out) == [name, "it's"]  # oldest first
    assert main([str(odd), name, "-top_k", "1"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2


@pytest.mark.parametrize("name", ["-h", "--top_k=2"])
def test_an_id_that_is_also_a_flag_follows_two_dashes(capsys, odd, name):
    status, out, err = called(capsys, odd, "it's", "--", name)
    assert (status, err) == (0, "")
    assert histories_of(out) == ["it's", name]


def test_a_flag_that_is_none_is_told(capsys, odd):
    err = failed(capsys, odd, "--topk=2", "it's")
    assert "'--topk=2'" in err
    assert err.endswith("Flags are in --help.\n")


def test_the_line_to_try_others_may_be_pasted(capsys, odd):
    for one, other in itertools.pairwise(ODD_IDS):
        activities = [{"item": one}, {"item": other}]
        show_example(odd, {"user": {"user": 1}, "activities": activities, "label": one})
        *_, line = capsys.readouterr().out.splitlines()
        command = "try others: python -m flaxrec.recommend "
        assert line.startswith(command)
        printed = subprocess.run(
            ["sh", "-c", f"printf '%s\\n' {line.removeprefix(command)}"],
            capture_output=True,
            text=True,
        )
        given = printed.stdout.splitlines()
        assert main(given) == 0
        assert histories_of(capsys.readouterr().out) == [one, other]


# ---- times ----------------------------------------------------------------------------------

TIMED = [{"id": 1, "title": "Heat"}, {"id": "a@5"}, {"id": "-x", "title": "Q@A"}, {"id": 9}]
NOON = 1_699_963_200  # 14 November 2023, 12:00 in UTC


@pytest.fixture
def timed(tmp_path, monkeypatch):
    """An export that reads how long ago activities were; the list of what its graph was given."""
    folder, calls = tmp_path / "timed", []
    app_values.write_export(folder, TIMED)
    clock = {"unit": "s", "zone": "UTC", "resolution": 1, "dates": False, "moments": False}
    asking = Asking({}, ["event.seconds_ago"], 3, clock)
    metadata = {**asking.metadata, "label_vocabulary": "vocabularies/item.txt", "top_k": 4}
    write_metadata(folder, metadata)
    answer = app_values.load(folder, monkeypatch)._model({})

    def ask(inputs):
        calls.append(inputs["event.seconds_ago"].tolist())
        return answer

    monkeypatch.setattr(recommender_lib, "_model", lambda export: ask)
    return folder, calls


def test_items_may_have_times(capsys, timed):
    folder, calls = timed
    given = ["heat@2023-11-14", "Q@A@2023-11-14T12:59+01:00", f"9@{NOON - 1}"]
    status, out, err = called(capsys, folder, *given, f"--now={NOON}")
    assert (status, err) == (0, "")
    assert calls == [[43200, 60, 1]]
    lines = out.splitlines()
    assert lines[0].split() == ["history", "1", "Heat", "at", "2023-11-14"]
    assert lines[3].split() == ["now", "2023-11-14T12:00:00"]


def test_the_moment_may_be_unknown_or_the_clocks(capsys, timed, monkeypatch):
    folder, calls = timed
    _, out, _ = called(capsys, folder, f"1@{NOON}", "a@5", "--now=unknown")
    assert "now      unknown" in out
    monkeypatch.setattr(moments.time_lib, "time", lambda: NOON + 7.5)
    called(capsys, folder, "a@5", f"1@{NOON}", f"a@5@{NOON + 3}")
    assert calls == [[-1, -1, 0], [-1, 7, 4]]  # 'a@5' is an item as a whole


def test_models_without_the_moment_say_so(capsys, odd):
    status, out, err = called(capsys, odd, "it's@7", "--now=9")
    assert (status, err) == (0, "")
    assert "no input of this model depends on it" in out


@pytest.mark.parametrize(
    ("given", "part"),
    [
        (["1@tomorrow"], "'tomorrow' is no time"),
        (["1@"], "'' is no time"),
        (["Heart@5"], "title 'Heart' in the export; did you mean 'Heat'"),
        (["you@me"], "title 'you@me'"),
        (["1", "--now=soon"], "'soon' is no time"),
        (["1@nan"], "'time' is no number, date or date-time of the data"),
        (["1", "--now=inf"], "now is no number"),
    ],
)
def test_times_that_are_none(capsys, timed, given, part):
    assert part in failed(capsys, timed[0], *given)


def test_the_example_has_its_own_moment(capsys, timed):
    folder, calls = timed
    activities = [{"item": 1, "time": NOON - 9}, {"item": "-x", "time": NOON - 5.0}]
    history = {"user": {"user": 1}, "activities": activities, "label": 9, "now": NOON}
    show_example(folder, history)
    out = capsys.readouterr().out
    assert out.startswith("user 1, after Heat | Q@A, asked at 2023-11-14T12:00:00:\n")
    line = out.splitlines()[-1].removeprefix("try others: python -m flaxrec.recommend ")
    assert main(shlex.split(line)) == 0
    assert calls == [[9, 5, 0], [9, 5, 0]]


# ---- items ----------------------------------------------------------------------------------


class Catalogue:
    """As much of a Recommender as looking up an item takes."""

    metadata: ClassVar[dict] = {}

    def __init__(self, *items: dict):
        self.items = {str(item["id"]): item for item in items}


def test_an_id_comes_before_a_title():
    catalogue = Catalogue({"id": 1, "title": "300"}, {"id": 300, "title": "One"})
    assert find_item(catalogue, "300") == 300
    assert find_item(catalogue, "one") == 300
    assert find_item(catalogue, "1") == 1


def test_the_most_frequent_of_equal_titles_is_meant():
    catalogue = Catalogue({"id": 1, "title": "Twin"}, {"id": 2, "title": "twin"})
    assert find_item(catalogue, "Twin") == 1


def test_an_article_may_stand_first_where_the_title_has_it_last():
    titles = ("Matrix, The (1999)", "Bug's Life, A (1998)", "The Wall", "Wall, The")
    catalogue = Catalogue(*({"id": 1 + i, "title": title} for i, title in enumerate(titles)))
    assert find_item(catalogue, "The Matrix (1999)") == 1
    assert find_item(catalogue, "a bug's life (1998)") == 2
    assert find_item(catalogue, "The Wall") == 3


def test_items_without_titles():
    catalogue = Catalogue({"id": "a"}, {"id": "b", "title": None}, {"id": 3, "title": ""})
    assert find_item(catalogue, "a") == "a"
    for name in ("None", "", "c"):
        with pytest.raises(ExportError, match=r"see items\.jsonl"):
            find_item(catalogue, name)


# ---- errors ---------------------------------------------------------------------------------


def failed(capsys, *arguments: object) -> str:
    """The one line of stderr of a call that fails with status 2 and recommends nothing."""
    status, out, err = called(capsys, *arguments)
    assert status == 2
    assert listed(out) == []
    assert err.startswith("flaxrec: ")
    assert err.count("\n") == 1
    assert err.endswith("\n")
    return err


def test_an_unknown_title_gets_suggestions(capsys, run, recommender):
    title = nth(recommender, 7)["title"]
    typo = title.replace("The ", "Teh ", 1)
    assert typo != title
    err = failed(capsys, run.export, nth(recommender, 3)["id"], typo)
    assert repr(typo) in err
    assert f"did you mean {title!r}" in err


def test_an_unknown_name_without_anything_near(capsys, run):
    err = failed(capsys, run.export, "qqqqqqqq")
    assert "'qqqqqqqq'" in err
    assert "did you mean" not in err


@pytest.mark.parametrize("name", ["123456", "-5", ""])
def test_an_unknown_id(capsys, run, name):
    assert repr(name) in failed(capsys, run.export, name)


def test_a_top_k_beyond_the_models(capsys, run, recommender):
    item = nth(recommender, 7)["id"]
    assert "returns 120 items" in failed(capsys, run.export, item, "--top_k=121")
    assert "top_k is 0" in failed(capsys, run.export, item, "--top_k=0")


def test_a_folder_that_is_no_export(capsys, run, tmp_path):
    assert "is not an export" in failed(capsys, tmp_path, 1)
    assert "is not an export" in failed(capsys, run.path, 1)  # a run, not its export


def test_arguments_that_are_missing_or_wrong(capsys, run):
    for arguments in ([], [str(run.export), "1", "--top_k=many"]):
        with pytest.raises(SystemExit) as error:
            main(arguments)
        assert error.value.code == 2
        message = capsys.readouterr().err
        assert message.startswith("flaxrec: ")
        assert message.endswith("; see --help.\n")
        assert message.count("\n") == 1


# ---- as a process ---------------------------------------------------------------------------


def test_the_command(run, recommender):
    title = nth(recommender, 7)["title"]
    known, unknown = (
        subprocess.run(
            [sys.executable, "-m", "flaxrec.recommend", str(run.export), name],
            cwd=ROOT,
            env={**os.environ, "PYTHONIOENCODING": "utf-8"},
            capture_output=True,
            text=True,
            timeout=120,
        )
        for name in (title, "qqqqqqqq")
    )
    assert known.returncode == 0
    expected = recommender.recommend([nth(recommender, 7)["id"]])
    assert listed(known.stdout) == [(r.item, r.title) for r in expected]
    assert (unknown.returncode, unknown.stdout) == (2, "")
    assert unknown.stderr.startswith("flaxrec: ")
    assert unknown.stderr.count("\n") == 1
