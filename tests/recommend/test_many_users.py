"""flaxrec recommend EXPORT --users=FILE --output=FILE: histories from a table, lists out."""

import json
import random
import shutil
from pathlib import Path

import polars as pl
import pytest

from flaxrec.config import DataConfig
from flaxrec.data.sources.read import of_histories
from flaxrec.recommend import main
from flaxrec.recommender import Recommender
from flaxrec.tflite.metadata import write_metadata
from tests.fuzz import many_users
from tests.fuzz.attempts import search
from tests.support.exports import exported
from tests.support.places import ROOT

FOLDER = ROOT / "tests/compatibility/version_0_1_0/run/export"


@pytest.fixture(scope="module")
def recommender() -> Recommender:
    pytest.importorskip("ai_edge_litert", reason="running a .tflite needs ai-edge-litert")
    return Recommender.load(FOLDER)


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def with_metadata(**fields) -> Recommender:
    """A copy of the export whose metadata.json says more."""
    folder = shutil.copytree(FOLDER, Path("export"))
    write_metadata(folder, Recommender.load(folder).metadata | fields)
    return Recommender.load(folder)


def events(recommender: Recommender, users: int = 30) -> pl.DataFrame:
    """Events in no order, some of a user at one time."""
    ids, rng = [item["id"] for item in recommender.items.values()], random.Random(0)
    rows = [
        {"user": user, "item": rng.choice(ids), "time": rng.randrange(1, 6), "rating": float(n % 5)}
        for user in range(users, 0, -1)
        for n in range(rng.randint(1, 14))
    ]
    rng.shuffle(rows)
    return pl.DataFrame(rows)


def histories_of(frame: pl.DataFrame) -> dict:
    """Item ids by user, sorted by time, ties in the file's order; users ascending."""
    rows = frame.to_dicts()
    return {
        user: [r["item"] for r in sorted(rows, key=lambda r: r["time"]) if r["user"] == user]
        for user in sorted({r["user"] for r in rows})
    }


def expected(recommender: Recommender, histories: dict, **options) -> list[tuple]:
    return [
        (user, rank, one.item, pytest.approx(one.score, rel=1e-6))
        for user, history in histories.items()
        for rank, one in enumerate(recommender.recommend(history, **options), 1)
    ]


def write(frame: pl.DataFrame, name: str) -> str:
    suffix = name.partition(".")[2]
    if suffix in ("csv", "tsv"):
        frame.write_csv(name, separator="," if suffix == "csv" else "\t")
    elif suffix == "parquet":
        frame.write_parquet(name)
    elif suffix == "jsonl":
        frame.write_ndjson(name)
    else:
        lines = [[u, *h] for u, h in histories_of(frame).items()]
        text = "".join(" ".join(map(str, line)) + "\n" for line in lines)
        Path(name).write_text(text, encoding="utf-8", newline="\n")
    return name


def text_of(name: str) -> str:
    return Path(name).read_text(encoding="utf-8")


def called(capsys, *arguments: object) -> tuple[int, str, str]:
    """Exit status, stdout and stderr."""
    status = main([str(argument) for argument in arguments])
    return status, *capsys.readouterr()


def rows_of(capsys, *arguments: object) -> list[tuple]:
    """The rows that the command writes."""
    status, _, err = called(capsys, *arguments, "--output=lists.parquet")
    assert (status, err) == (0, "")
    return pl.read_parquet("lists.parquet").rows()


# ---- in and out -----------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["csv", "tsv", "parquet", "jsonl", "sequences"])
def test_every_form_of_histories(capsys, recommender, form):
    frame = events(recommender)
    flags = ["--config.data.format=sequences"] if form == "sequences" else []
    found = rows_of(capsys, FOLDER, f"--users={write(frame, f'users.{form}')}", *flags)
    assert found == expected(recommender, histories_of(frame))


@pytest.mark.parametrize("form", ["parquet", "csv", "tsv", "jsonl", "run", "trec"])
def test_every_form_of_lists(capsys, recommender, form):
    frame, output = events(recommender), f"lists.{form}"
    write(frame, "users.csv")
    status, out, err = called(
        capsys, FOLDER, "--users=users.csv", f"--output={output}", "--top_k=4", "--threads=2"
    )
    wanted = expected(recommender, histories_of(frame), top_k=4)
    assert (status, err) == (0, "")
    assert out == f"{output}: lists for 30 users; {len(wanted)} rows\n"
    if form in ("run", "trec"):  # user Q0 item rank score tag
        lines = [line.split(" ") for line in text_of(output).splitlines()]
        assert {(line[1], line[5], len(line)) for line in lines} == {("Q0", "flaxrec", 6)}
        found = [(int(u), int(rank), int(item), float(s)) for u, _, item, rank, s, _ in lines]
        assert found == wanted
        return
    readers = {"parquet": pl.read_parquet, "csv": pl.read_csv, "jsonl": pl.read_ndjson}
    tsv = lambda path: pl.read_csv(path, separator="\t")  # noqa: E731
    frame = readers.get(form, tsv)(output)
    assert frame.columns == ["user", "rank", "item", "score"]
    assert frame.rows() == wanted
    if form == "parquet":
        assert frame.dtypes == [pl.Int64, pl.Int32, pl.Int64, pl.Float32]


def test_ids_that_are_text_stay_text(capsys):
    folder = shutil.copytree(FOLDER, Path("export"))
    metadata = Recommender.load(folder).metadata
    assert "files" not in metadata  # so that the items may be changed here
    lines = (folder / "items.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    text = "".join(json.dumps(row | {"id": str(row["id"])}) + "\n" for row in rows)
    (folder / "items.jsonl").write_text(text, encoding="utf-8")
    pl.DataFrame({"user": ["a b", "007"], "item": [rows[0]["id"]] * 2, "time": [1, 1]}).write_csv(
        "users.csv"
    )
    called(capsys, folder, "--users=users.csv", "--output=lists.parquet")
    found = pl.read_parquet("lists.parquet")
    assert found.dtypes == [pl.String, pl.Int32, pl.String, pl.Float32]
    assert found["user"].unique(maintain_order=True).to_list() == ["007", "a b"]


def test_many_blocks_are_one_file(capsys, recommender, monkeypatch):
    monkeypatch.setattr("flaxrec.recommend.many._BLOCK", 7)
    frame = events(recommender)
    assert rows_of(capsys, FOLDER, f"--users={write(frame, 'users.csv')}") == expected(
        recommender, histories_of(frame)
    )


def test_equal_scores_keep_their_order_in_a_run_file(capsys, monkeypatch, recommender):
    from flaxrec.recommender import Recommendation

    scores = [1.0, 1.0, 1.0, 0.5, 0.5, 0.0, 0.0]
    one_list = [Recommendation(item, score) for item, score in enumerate(scores)]
    monkeypatch.setattr(Recommender, "recommend", lambda *_, **__: one_list)
    write(events(recommender, 2), "users.csv")
    for name in ("lists.run", "lists.csv"):
        assert called(capsys, FOLDER, "--users=users.csv", f"--output={name}")[0] == 0
    lines = [line.split() for line in text_of("lists.run").splitlines()]
    for user in "12":
        own = [(float(line[4]), int(line[2])) for line in lines if line[0] == user]
        assert [item for _, item in sorted(own, reverse=True)] == list(range(7))
        assert len({score for score, _ in own}) == 7
        assert [score for score, _ in own] == pytest.approx(scores, abs=1e-6)
    assert pl.read_csv("lists.csv")["score"].to_list() == scores * 2


# ---- how the table is read ------------------------------------------------------------------


def test_columns_and_filters_are_those_of_the_training(capsys):
    noted = {"columns.user": "uid", "columns.item": "sku", "columns.rating": "stars"}
    recommender = with_metadata(histories=noted | {"min_rating": 2.0})
    frame = events(recommender)
    frame.rename({"user": "uid", "item": "sku", "rating": "stars"}).write_parquet("u.parquet")
    kept = histories_of(frame.filter(frame["rating"] >= 2))
    for user in sorted(set(frame["user"]) - set(kept)):  # the filter leaves them nothing
        kept[user] = []
    recommender.metadata["first_events"] = True
    write_metadata(recommender.folder, recommender.metadata)
    found = rows_of(capsys, "export", "--users=u.parquet")
    assert sorted(found) == sorted(
        (user, rank, item, score) for user, rank, item, score in expected(recommender, kept)
    )
    flags = ["--config.data.min_rating=0"]
    found = rows_of(capsys, "export", "--users=u.parquet", *flags)
    assert found == expected(recommender, histories_of(frame))


def test_an_export_notes_how_histories_came_about():
    config = DataConfig(source="table", event_types=("buy",), session_gap=1800.0)
    config.columns.time = "at"
    noted = {"columns.time": "at", "event_types": ("buy",), "session_gap": 1800.0}
    assert of_histories(config) == noted
    assert of_histories(DataConfig()) == {}


def test_what_the_model_reads_is_read(capsys, tmp_path_factory):
    folder = exported(tmp_path_factory, "bow_time").export
    recommender = Recommender.load(folder)
    frame = events(recommender).with_columns(asked=pl.col("user") * 10)
    write(frame, "users.csv")

    def of(moment) -> list[tuple]:
        found = []
        for user in sorted(set(frame["user"])):
            own = frame.filter(frame["user"] == user).sort("time", maintain_order=True)
            history = own.select("item", "time", "rating").to_dicts()
            found += expected(recommender, {user: history}, now=moment(user))
        return found

    assert rows_of(capsys, folder, "--users=users.csv", "--now=100") == of(lambda user: 100)
    found = rows_of(capsys, folder, "--users=users.csv", "--now_column=asked")
    assert found == of(lambda user: 10 * user) != of(lambda user: 100)


def test_users_of_a_table_of_users_alone_are_new_ones(capsys, tmp_path_factory, caplog):
    folder = exported(tmp_path_factory, "bow_user").export
    recommender = Recommender.load(folder)
    groups = recommender.entries("vocabularies/age_group.txt")[1:]
    frame = events(recommender, 3)
    write(frame, "users.csv")
    table = {"user": [1, 2, 3, 9, 8], "age_group": [groups[n % len(groups)] for n in range(5)]}
    pl.DataFrame(table).write_csv("people.csv")
    found = rows_of(capsys, folder, "--users=users.csv", "--config.data.users_path=people.csv")
    assert "2 users have no activity" in caplog.text
    histories = histories_of(frame) | {9: [], 8: []}
    features = dict(zip(table["user"], table["age_group"], strict=True))
    wanted = [
        row
        for user, history in histories.items()
        for row in expected(recommender, {user: history}, user={"age_group": features[user]})
    ]
    assert found == wanted


def test_unknown_items_are_one_warning(capsys, recommender, caplog):
    frame = events(recommender)
    odd = pl.DataFrame({"user": [1, 2], "item": [-5, -6], "time": [9, 9], "rating": [0.0, 0.0]})
    write(pl.concat([frame, odd]), "users.csv")
    called(capsys, FOLDER, "--users=users.csv", "--output=lists.csv")
    told = [r.message for r in caplog.records if "catalogue" in r.message]
    assert told == ["Not in the catalogue, taken as 'unknown': 2 activities of 2 items [-5, -6]"]


# ---- refusals -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["7", "--users=users.csv", "--output=l.csv"], "Items and --users are given"),
        (["--users=users.csv"], "--output is missing"),
        (["--output=l.csv"], "--output is of many users; give --users=FILE too."),
        (["--config.data.format=csv", "7"], "--config.FIELD is of many users"),
        (["--users=users.csv", "--output=l.txt"], "--output is 'l.txt'; end it with one of .parq"),
        (["--users=users.csv", "--output=users.csv"], "users.csv is read, or in such a folder"),
        (["--users=.", "--output=new.csv"], "new.csv is read, or in such a folder"),
        (["--users=users.csv", "--output=other.csv"], "other.csv exists and holds no lists"),
        (["--users=no.csv", "--output=l.csv"], "no.csv is missing; set --users to a file"),
        (
            ["--users=https://h/x.csv", "--output=l.csv"],
            "https is missing, one of the files that 'https://h/x.csv' lists; set --users to a",
        ),
        (["--users=other.csv", "--output=l.csv"], "{here}other.csv has no column 'user'"),
        (["--users=empty.csv", "--output=l.csv"], "empty.csv is empty"),
        (["--users=users.csv", "--output=l.csv", "--now=1", "--now_column=x"], "--now and --now_c"),
        (
            ["--users=users.csv", "--output=l.csv", "--now_column=x"],
            "users.csv has no column 'x', it has 'user', 'item', 'time', 'rating'; correct --now_c",
        ),
        (
            ["--users=users.csv", "--output=l.csv", "--config.model.output_dim=3"],
            "--config.model.output_dim has no meaning for --users; use config.data.FIELD",
        ),
        (["--users=spaced.csv", "--output=l.run"], "2 user ids have white space, such as 'a b'"),
    ],
)
def test_refusals(capsys, recommender, arguments, sentence):
    write(events(recommender), "users.csv")
    for name, text in {"other.csv": "a,b\n1,2\n", "empty.csv": ""}.items():
        Path(name).write_text(text, encoding="utf-8", newline="\n")
    item = next(iter(recommender.items.values()))["id"]
    spaced = {"user": ["a b", "c\td", "e"], "item": [item] * 3, "time": [1] * 3}
    pl.DataFrame(spaced).write_csv("spaced.csv")
    status, out, err = called(capsys, FOLDER, *arguments)
    assert (status, out) == (2, "")
    assert err.count("\n") == 1
    assert err.removeprefix("flaxrec: ").startswith(sentence.replace("{here}", ""))


def test_the_export_itself_is_no_output(capsys):
    recommender = with_metadata()
    write(events(recommender), "users.csv")
    for name in ("items.jsonl", "lists.parquet"):
        status, _, err = called(capsys, "export", "--users=users.csv", f"--output=export/{name}")
        assert status == 2
        assert "is inside the export; use another --output." in err


@pytest.mark.parametrize("form", ["parquet", "csv", "tsv", "jsonl", "run"])
def test_earlier_lists_are_replaced_and_nothing_else(capsys, recommender, form):
    write(events(recommender), "users.csv")
    output = f"lists.{form}"
    for _ in range(2):
        assert called(capsys, FOLDER, "--users=users.csv", f"--output={output}")[0] == 0
    Path(output).write_bytes(b'{"user": 1, "item": 2}\n')
    status, _, err = called(capsys, FOLDER, "--users=users.csv", f"--output={output}")
    assert status == 2
    assert f"{output} exists and holds no lists" in err


def test_searched_tables_give_lists_or_a_sentence(tmp_path):
    found = search(many_users.attempts(random.Random(3), tmp_path), 40)
    assert not found.faults
    assert 10 < found.refused < 35
