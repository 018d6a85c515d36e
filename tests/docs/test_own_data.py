"""The guide to own data: its code runs, its commands read, its messages are what one sees."""

import contextlib
import io
import re
import shlex

import numpy as np
import polars as pl
import pytest

from configs.own_table import get_config
from flaxrec.config import ColumnsConfig, Config, DataConfig, FeatureConfig
from flaxrec.data.dataset import prepare
from flaxrec.data.sources.own_tables import read_table
from flaxrec.errors import FlaxrecError
from tests.support.doc_pages import blocks, commands
from tests.support.places import ROOT

PAGE = ROOT / "docs" / "own_data.md"
TEXT = PAGE.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """The page's Python, run from top to bottom: folder, names and what was printed."""
    folder = tmp_path_factory.mktemp("own_data")
    names, printed = {}, io.StringIO()
    with contextlib.chdir(folder), contextlib.redirect_stdout(printed):
        for code in blocks(PAGE, "python"):
            exec(compile(code, str(PAGE), "exec"), names)
    return folder, names, printed.getvalue()


def test_the_code_runs(ran):
    _, names, printed = ran
    data = names["data"]
    assert "of 300 users with" in printed.splitlines()[0]
    # Ids, titles, genres and numbers come in as they stand in the files.
    rows = {row["item"]: row for row in data.timelines.items.to_dicts()}
    for film in names["films"].to_dicts():
        if (row := rows.get(film["film"])) is not None:
            assert row["title"] == film["name"]
            assert row["genres"] == film["genres"].split("|")
            assert row["price"] == pytest.approx(film["price"])
    assert len(rows) > 60
    assert set(data.timelines.vocabularies) == {"item", "stars", "genres", "age_group"}
    assert data.timelines.vocabularies["stars"].entries[1] in "12345"
    # The most frequent first.
    first = names["rentals"]["film"].value_counts(sort=True)["count"][0]
    assert data.timelines.items["count"][0] == first


def test_the_account_is_the_one_that_stands_there(ran):
    (block,) = blocks(PAGE, "text")
    assert block.strip() in ran[2]


def test_the_cleaned_table_reads(ran):
    folder, _, _ = ran
    columns = ColumnsConfig(
        user="customer", item="film", time="rented_at", event_features=("stars",)
    )
    read = read_table(DataConfig(path=str(folder / "cleaned.parquet"), columns=columns))
    assert read.events.select("user", "item", "stars").rows() == [
        ("ada", "F1", 4.5),
        ("ada", "F2", None),
    ]
    assert read.events["time"].diff()[1] == (2 * 24 + 2) * 3600 + 35 * 60


def test_the_commands_read_the_files(ran):
    folder, names, _ = ran
    found = [shlex.split(line)[3:] for line in commands(PAGE) if "own_table" in line]
    assert len(found) == 2
    for overrides in found:
        config = get_config()
        for override in overrides:
            path, _, value = override.removeprefix("--config.").partition("=")
            *sections, field = path.split(".")
            section = config
            for name in sections:
                section = getattr(section, name)
            setattr(section, field, value)
        with contextlib.chdir(folder):
            data = prepare(config)
        assert len(data.timelines.item) == len(names["rentals"])
    assert data.timelines.items["title"].null_count() == 0


def test_the_expressions_of_the_table_do_what_they_say():
    cells = pl.DataFrame({"genres": ["['War', 'Love']", "['War']"], "price": ["$3.99", "$5"]})
    (genres,) = re.findall(r"^\| genres .*? \| `(pl\.col.*?)` \|$", TEXT, re.MULTILINE)
    assert cells.select(eval(genres.replace("\\|", "|")))["genres"].to_list() == ["War|Love", "War"]
    expressions = re.findall(r"^\| prices .*? \| `(pl\.col.*?)`", TEXT, re.MULTILINE)
    dollars, logarithm = expressions
    assert cells.select(eval(dollars))["price"].to_list() == [3.99, 5.0]
    logged = pl.DataFrame({"price": [0.0, 49_999.0]}).select(eval(logarithm))["price"]
    np.testing.assert_allclose(logged, [0, np.log(50_000)])


@pytest.mark.parametrize(
    ("cell", "moment"),
    [
        ("1717180200", 1717180200),
        ("1717180200.5", 1717180200.5),
        ("20240531", 20240531),
        ("2024-05-31", 1717113600),
        ("2024-05-31 18:30", 1717180200),
        ("2024-05-31T18:30:00.25", 1717180200.25),
        ("2024-05-31T18:30:00Z", 1717180200),
        ("2024-05-31 18:30:00+02:00", 1717173000),
        ("2024-05-31 18:30:00 UTC", 1717180200),
    ],
)
def test_times(tmp_path, cell, moment):
    assert f"`{cell}`" in TEXT
    file = tmp_path / "events.csv"
    file.write_text(f"user,item,time\n1,2,{cell}\n")
    assert read_table(DataConfig(path=str(file))).events["time"].to_list() == [moment]


HEADER = "customer,film,rented_at,stars,name,genres\n"
GOOD = "ada,F1,2024-05-31,4,It,War|Love\n"
MESSAGES = {
    "has no column 'user', it has 'customer', 'film', 'rented_at'": HEADER + GOOD,
    "line 3: column 'film' is empty, expected an id": HEADER + GOOD + "ada,,2024-05-31,4,It,War\n",
    "line 3: column 'rented_at' is '31.05.2024', expected a number, or a date such as 2024-05-31": (
        HEADER + GOOD + "ada,F2,31.05.2024,4,It,War\n"
    ),
    "line 3: column 'stars' is '4,5', expected a finite number such as 3.5": (
        HEADER + GOOD + 'ada,F2,2024-06-01,"4,5",It,War\n'
    ),
    "line 3: column 'stars' is empty, but a rating is needed in every row": (
        HEADER + GOOD + "ada,F2,2024-06-01,,It,War\n"
    ),
    "line 3: 4 fields, but the header has 3": (
        "customer,film,rented_at\nada,F1,2024-05-31\nada,F2,2024-06-01,x\n"
    ),
    "line 3: column 'name' begins with a \" that does not end": (
        HEADER + GOOD + 'ada,F2,2024-06-01,4,"It,War\n'
    ),
    "302 of 20,000 rows cannot be used": HEADER + GOOD * 19_698 + GOOD.replace("ada", "") * 302,
    "a float beyond 2^53, where whole numbers are rounded": (
        HEADER + GOOD.replace("F1", "1.2345678901234568e+18")
    ),
    "line 3: column 'rented_at' is '1e300', expected a number between -2^62 and 2^62": (
        HEADER + "ada,F1,7,4,It,War\n" + "ada,F2,1e300,4,It,War\n"
    ),
    "line 1: not UTF-8; save the file as UTF-8": (HEADER + GOOD).encode("utf-16"),
    "no cell of 'genres' has the separator '|'": HEADER
    + GOOD.replace("|", ", ").replace("War, Love", '"War, Love"'),
    "none of its items occurs in": HEADER + GOOD,
    "item 'F2' stands in line 2 already": HEADER + GOOD.replace("F1", "F2"),
    "no user is left with config.data.min_timeline_length=3": HEADER + GOOD,
    "config.export.top_k is 100, but the catalogue has 3 items": (
        HEADER + GOOD + GOOD.replace("F1", "F2") + GOOD.replace("F1", "F3") * 2
    ),
    "is INT, but its values are not whole numbers": HEADER + GOOD * 3,
}
ITEMS = {
    "none of its items occurs in": "film,label\n42,It\n",
    "item 'F2' stands in line 2 already": "film,label\nF2,It\nF2,That\n",
}


@pytest.mark.parametrize("message", MESSAGES)
def test_messages_are_what_one_sees(message, tmp_path, caplog):
    content = MESSAGES[message]
    file = tmp_path / "rentals.csv"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    config = get_config()
    config.data.path = str(file)
    columns = config.data.columns
    columns.user = "user" if "'user'" in message else "customer"
    columns.item, columns.time = "film", "rented_at"
    if "stars" in message:
        columns.rating = "stars"
    if "separator" in message:
        columns.item_features = columns.multi_valued = ("genres",)
    if "'name'" in message:
        columns.title = "name"
    if "INT" in message:
        columns.item_features = ("name",)
        config.model.activity_groups[0].features.append(FeatureConfig("name", "item.name", "INT"))
    if "top_k" in message:
        config.set_by_hand = ("export.top_k",)
    if message in ITEMS:
        (tmp_path / "films.csv").write_text(ITEMS[message])
        config.data.items_path, columns.title = str(tmp_path / "films.csv"), "label"
    with pytest.raises(FlaxrecError) as caught:
        prepare(config)
    # The last one stops the reading for want of users; its warning came before.
    assert message in str(caught.value) or message in caplog.text


def test_every_message_of_the_table_is_tried():
    section = TEXT.split("\n## Messages\n")[1].split("\n## ")[0]
    told = re.findall(r"^\| `(.+?)`(?: \(a warning\))? \|", section, re.MULTILINE)
    assert sorted(message.replace("\\|", "|") for message in told) == sorted(MESSAGES)


def test_sizes_of_the_tables():
    rows = re.findall(r"^\| ([\d,]+) \| ([\d.]+) MB \| ([\d.]+) MB \|", TEXT, re.MULTILINE)
    assert len(rows) == 4
    for items, two_float, one_int8 in rows:
        count = int(items.replace(",", ""))
        assert float(two_float) == pytest.approx(count * 16 * 4 * 2 / 1e6, rel=0.03)
        assert float(one_int8) == pytest.approx(count * 64 / 1e6)


def test_defaults_are_as_told():
    assert Config().data.min_timeline_length == 3
    assert Config().data.min_rating == 0
    assert not Config().data.drop_duplicates
    assert not Config().loss.exclude_seen
