"""RecBole's atomic files, written out here."""

import gzip

import pytest

from flaxrec.config import ColumnsConfig, DataConfig
from flaxrec.data.sources.read import read
from flaxrec.errors import DataError

INTER = "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
EVENTS = INTER + "1\t7\t4\t30.5\n2\t8\t3.5\t10\n1\t8\t5\t20\n"
ITEMS = (
    "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\tsize:float_seq\n"
    '7\tThe "Last" Film\t1999\tDrama, War\t1 2.5\n8\t7" single\t\t\t\n'
)
USERS = "user_id:token\tage:float\n2\t31.5\n1\t40\n"


@pytest.fixture
def files(tmp_path):
    """Writes files called set.SUFFIX; returns the config that reads them."""

    def write(inter=EVENTS, packed=False, columns=None, **others):
        for suffix, text in {"inter": inter, **others}.items():
            name, content = f"set.{suffix}", text.encode()
            if packed:
                name, content = f"{name}.gz", gzip.compress(content)
            (tmp_path / name).write_bytes(content)
        return DataConfig(source="table", path=str(tmp_path), columns=columns or ColumnsConfig())

    return write


def test_interactions_by_their_usual_names(files):
    found = read(files())
    assert found.events.rows() == [(1, 7, 30.5), (2, 8, 10.0), (1, 8, 20.0)]
    assert (found.items, found.users, found.has_time, found.rows_read) == (None, None, True, 3)


@pytest.mark.parametrize("packed", [False, True])
def test_items_and_users_beside_them(files, packed):
    found = read(files(item=ITEMS, user=USERS, packed=packed))
    assert found.items.to_dict(as_series=False) == {
        "item": [7, 8],
        "title": ['The "Last" Film', '7" single'],
        "release_year": [1999, None],
        "class": [["Drama", "War"], []],
        "size": [[1.0, 2.5], []],
    }
    assert found.users.rows() == [(2, 31.5), (1, 40.0)]


def test_columns_that_are_named(files):
    """Steam's files call an item product_id in one file and id in the other."""
    inter = "user_id:token\tproduct_id:token\tkind:token\tstars:float\n1\ta\tbuy\t4\n1\tb\t\t5\n"
    item = "id:token\tapp_name:token\tgenres:token_seq\tprice:float\nb\tB\tIndie\t5\na\tA\t\t\n"
    columns = ColumnsConfig(item="product_id", rating="stars", event_type="kind")
    columns.item_features = ("genres",)
    found = read(files(inter, item=item, columns=columns))
    assert found.events.rows() == [(1, "a", 0, 4.0, "buy"), (1, "b", 1, 5.0, None)]
    assert not found.has_time
    assert found.items.rows() == [("b", "B", ["Indie"]), ("a", "A", [])]


def test_sessions_are_users(files):
    found = read(files("session_id:token\titem_id:token\ttimestamp:float\nx\t1\t5\n"))
    assert found.events.rows() == [("x", 1, 5)]


def test_a_path_to_the_file(files):
    config = files(item=ITEMS)
    config.path = f"{config.path}/set.inter"
    assert len(read(config).items) == 2


def test_rows_that_cannot_be_used(files):
    config = files(f"{EVENTS}3\t\t1\t2\n3\t9\t1\tsoon\n")
    with pytest.raises(DataError, match=r"2 of 5 rows cannot be used: line 5: column 'item_id' is"):
        read(config)
    config.bad_rows = "drop"
    found = read(config)
    assert (len(found.events), found.bad_rows["line"].to_list()) == (3, [5, 6])


@pytest.mark.parametrize(
    ("inter", "columns", "words"),
    [
        ("user_id\titem_id\n1\t2\n", {}, r"line 1: 'user_id' is no 'name:type'"),
        ("user_id:token\tposter:token\n1\t2\n", {}, r"has no column 'item', it has 'user_id', 'po"),
        (
            EVENTS,
            {"rating": "stars"},
            r"has no column 'stars', .*correct --config\.data\.columns\.r",
        ),
    ],
)
def test_files_that_cannot_be_read(files, inter, columns, words):
    with pytest.raises(DataError, match=words):
        read(files(inter, columns=ColumnsConfig(**columns)))


def test_several_files_in_a_folder(files, tmp_path):
    config = files()
    (tmp_path / "other.inter").write_text(EVENTS)
    with pytest.raises(DataError, match=r"holds 2 \.inter files \('other\.inter', 'set\.inter'\)"):
        read(config)
