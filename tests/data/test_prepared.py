"""Prepared data: the same to the bit as those read from the files, and no others."""

import dataclasses
import json
import os

import numpy as np
import polars as pl
import pytest

from flaxrec.__main__ import main
from flaxrec.config import ColumnsConfig, FeatureConfig
from flaxrec.data import dataset, in_parts, prepared
from flaxrec.errors import ConfigError, DataError
from tests.support.builders import ITEM_ID, make_config

EVENTS, USERS = 3000, 90
COLOUR, AGE = FeatureConfig("colour", "item.colour", "STRING"), FeatureConfig("age", "user.age")
PRICE = FeatureConfig("price", "event.price", "FLOAT")
ALL = ColumnsConfig(
    item_features=("colour",),
    user_features=("age",),
    event_features=("price",),
    event_type="kind",
    weight="weight",
)


@pytest.fixture
def events():
    """Several events of one time; ids that are text, in another order than the numbers'."""
    random = np.random.default_rng(0)
    user, item = random.integers(0, USERS, EVENTS), random.integers(0, 40, EVENTS)
    return pl.DataFrame(
        {
            "user": [f"é{n * 7 % USERS}" for n in user],
            "item": item * 10**12,
            "time": pl.Series(random.integers(0, 400, EVENTS) * 86400).cast(pl.Int64),
            "kind": random.choice(["view", "buy"], EVENTS),
            "weight": random.random(EVENTS).round(2),
            "price": random.random(EVENTS).round(2),
            "colour": [None if n % 3 == 0 else f"c{n % 5}" for n in item],
            "age": user % 7,
        }
    )


def write(frame, path):
    getattr(frame, f"write_{path.suffix[1:]}")(path)
    return path


def config_of(path, tmp_path, *features, **data):
    made = {"source": "table", "path": str(path), "cache_dir": str(tmp_path / "cache")}
    config = make_config(ITEM_ID, *features, **{**made, "columns": ColumnsConfig(), **data})
    config.export.top_k, config.evaluation.ks = 5, (5,)
    return config


def told(config):
    """All that a run is told of its data."""
    data = dataset.prepare(config)
    built = data.timelines
    return (
        built.fingerprint(), built.account.to_json(), built.report, built.clock,
        built.items.to_dicts(), built.users.to_dicts(), built.activities.to_dicts(),
        built.first_occurrence.tolist(), data.split.train.tolist(),
        None if data.bad_rows is None else data.bad_rows.to_dicts(),
    )  # fmt: skip


def command(config, *flags, name="own_table"):
    argv = ["prepare", f"--config={name}", f"--config.data.cache_dir={config.data.cache_dir}"]
    return main([*argv, f"--config.data.path={config.data.path}", *flags])


def of_parts(monkeypatch):
    """Small parts, blocks and shards, whatever the bound."""
    monkeypatch.setattr(in_parts, "fits", lambda *_: False)
    monkeypatch.setattr(in_parts, "_allowed", lambda _: 90_000.0)
    monkeypatch.setattr(in_parts, "_LEAST", 500)
    monkeypatch.setattr(in_parts, "_ROWS", 700)


@pytest.mark.parametrize("form", ["csv", "parquet"])
@pytest.mark.parametrize("times", ["numbers", "dates", "date-times"])
def test_prepared_data_are_the_same(tmp_path, events, form, times):
    if times != "numbers":
        events = events.with_columns(pl.from_epoch("time") + pl.duration(milliseconds=1))
    if times == "dates":
        events = events.with_columns(pl.col("time").cast(pl.Date))
    bad = events[:3].with_columns(
        user=pl.lit(None, pl.String), time=pl.lit(None, events["time"].dtype)
    )
    file = write(pl.concat([events, bad]), tmp_path / f"events.{form}")
    config = config_of(file, tmp_path, COLOUR, AGE, PRICE, columns=ALL, bad_rows="drop")
    expected = told(config)
    types = {"item.colour": "STRING", "user.age": "INT", "event.price": "FLOAT"}
    prepared.prepare(config.data, types, tmp_path / "out")
    folder = dataclasses.replace(config.data, path=str(tmp_path / "out"))
    assert told(dataclasses.replace(config, data=folder)) == expected


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"session_gap": 86400 * 20.0},
        {"event_types": ("buy",), "min_item_count": 30},
        {"columns": dataclasses.replace(ALL, session="kind", event_type="", event_features=())},
    ],
)
def test_data_of_many_files_in_bounded_memory_are_the_same(tmp_path, events, monkeypatch, data):
    """Users' events lie in all files, and so do those of equal times."""
    (tmp_path / "events").mkdir()
    for part in range(3):
        write(events[part * 1000 : part * 1000 + 1000], tmp_path / f"events/{part}.parquet")
    config = config_of(tmp_path / "events", tmp_path, COLOUR, AGE, **{"columns": ALL, **data})
    expected = told(config)
    of_parts(monkeypatch)
    config.data.max_memory_gb = 1.0
    assert told(config) == expected
    (folder,) = (tmp_path / "cache/prepared").iterdir()
    files = sorted(folder.glob("timelines-*.parquet"))
    assert len(files) > 4
    assert not list(folder.glob("_pieces*"))
    shards = [pl.read_parquet(file)["user"] for file in files]
    assert sum(shard.n_unique() for shard in shards) == USERS
    assert max(map(len, shards)) < 800


def test_a_run_finds_what_was_prepared_of_its_files_and_settings(tmp_path, events, monkeypatch):
    file = write(events, tmp_path / "events.csv")
    config = config_of(file, tmp_path)
    expected = told(config)
    assert command(config) == 0
    monkeypatch.setattr("flaxrec.data.sources.read.read", None)  # whoever reads the file fails
    assert told(config) == expected
    config.data.min_item_count = 70  # a filter, which comes later
    assert dataset.prepare(config).timelines.account.items < 40
    for changed in (
        {"columns": dataclasses.replace(config.data.columns, event_features=("price",))},
        {"bad_rows": "drop"},
        {"cache_dir": str(tmp_path / "other")},
    ):
        with pytest.raises(TypeError):
            told(dataclasses.replace(config, data=dataclasses.replace(config.data, **changed)))


def test_what_was_prepared_of_other_content_is_not_used(tmp_path, events):
    """Of the same size, and with the time of change set back."""
    file = write(events, tmp_path / "events.csv")
    config = config_of(file, tmp_path)
    assert command(config) == 0
    before, is_now = told(config), os.stat(file)
    text = file.read_bytes()
    file.write_bytes(text.replace(b"00000000000", b"00000000001"))
    os.utime(file, ns=(is_now.st_atime_ns, is_now.st_mtime_ns))
    assert os.stat(file).st_size == is_now.st_size
    other = config_of(write(pl.read_csv(file), tmp_path / "else.csv"), tmp_path / "elsewhere")
    changed, plain = told(config), told(other)
    assert changed[0] == plain[0] != before[0]


@pytest.mark.parametrize("in_bounds", [False, True])
def test_what_is_stopped_leaves_nothing(tmp_path, events, monkeypatch, in_bounds):
    """At every file that is written; the next run prepares all."""
    config = config_of(write(events, tmp_path / "events.parquet"), tmp_path)
    expected = told(config)
    if in_bounds:
        of_parts(monkeypatch)
        config.data.max_memory_gb = 1.0
    whole, calls = pl.DataFrame.write_parquet, 0

    def stopped(frame, path, **options):
        nonlocal calls
        calls += 1
        if calls == least:
            raise KeyboardInterrupt
        return whole(frame, path, **options)

    monkeypatch.setattr(pl.DataFrame, "write_parquet", stopped)
    for stop in (1, 2, 9) if in_bounds else (1,):
        calls, least = 0, stop
        with pytest.raises(KeyboardInterrupt):
            prepared.prepare(config.data, {}, prepared.cached(config.data, {}))
        assert not (tmp_path / "cache").exists()
    least = 0
    prepared.prepare(config.data, {}, prepared.cached(config.data, {}))
    assert told(config) == expected


# ---- shards of other engines ----------------------------------------------------------------


def shards_of(events, folder, files=3):
    """Whole users by file, in any order of the files."""
    folder.mkdir()
    block = events["user"].hash() % files
    for number in range(files):
        own = events.filter(block == number).sort("user", "time", maintain_order=True)
        own.write_parquet(folder / f"part-{number}.parquet")
    return folder


def test_shards_of_any_engine(tmp_path, events):
    folder = shards_of(events, tmp_path / "shards")
    items = events.group_by("item", maintain_order=True).agg(pl.col("colour").first())
    write(items, tmp_path / "items.csv")
    data = {"columns": ColumnsConfig(item_features=("colour",))}
    data["items_path"] = str(tmp_path / "items.csv")
    plain = told(config_of(write(events, tmp_path / "e.parquet"), tmp_path, COLOUR, **data))
    found = told(config_of(folder, tmp_path, COLOUR, **data, format="timelines"))
    named = plain[2] | {"source": "shards"}
    assert found == (*plain[:2], named, *plain[3:])


def test_duckdb_writes_such_shards(tmp_path, events):
    """The text of docs/scale.md."""
    duckdb = pytest.importorskip("duckdb")
    from tests.support.places import ROOT

    text = (ROOT / "docs" / "scale.md").read_text(encoding="utf-8")
    sql = text.partition("```sql\n")[2].partition("```")[0]
    write(events, tmp_path / "events.parquet")
    with duckdb.connect() as connection:
        connection.execute(f"SET file_search_path = '{tmp_path}'")
        for statement in sql.replace("'shards/", f"'{tmp_path}/shards/").split(";\n"):
            if statement.strip():
                (tmp_path / "shards").mkdir(exist_ok=True)
                connection.execute(statement)
    plain = told(config_of(tmp_path / "events.parquet", tmp_path))
    found = told(config_of(tmp_path / "shards", tmp_path, format="timelines"))
    assert found[0] == plain[0]
    assert len(list((tmp_path / "shards").iterdir())) > 1


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda one, two: (one.reverse(), two), "is not in the order of user and time; write them"),
        (
            lambda one, two: (one, pl.concat([two, one[:1]]).sort("user", "time")),
            r"User 'é\d+' stands in .*part-0.parquet and in .*part-1.parquet, but a user's events "
            "belong into one file; write them so, or set --config.data.format=parquet",
        ),
        (
            lambda one, two: (one, two.with_columns(pl.col("item").cast(pl.String))),
            "part-1.parquet: the item ids are String, in the rows before Int64; write all of them",
        ),
        (
            lambda one, two: (one, two.with_columns(pl.from_epoch("time"))),
            "part-1.parquet: the times are date-times, in the rows before numbers; write them in",
        ),
    ],
)
def test_files_that_are_no_shards(tmp_path, events, change, says):
    folder = shards_of(events, tmp_path / "shards", 2)
    files = sorted(folder.iterdir())
    for file, frame in zip(files, change(*map(pl.read_parquet, files)), strict=True):
        frame.write_parquet(file)
    with pytest.raises(DataError, match=says):
        told(config_of(folder, tmp_path, format="timelines"))


# ---- messages -------------------------------------------------------------------------------


def test_the_command_says_what_it_wrote(tmp_path, events, capsys):
    config = config_of(write(events, tmp_path / "events.csv"), tmp_path)
    assert command(config) == 0
    assert "3,000 events in 1 file," in capsys.readouterr().out
    assert command(config) == 0
    assert "is there already" in capsys.readouterr().out
    output = f"--output={tmp_path / 'out'}"
    assert command(config, output) == 0
    assert f"--config.data.path={tmp_path / 'out'}" in capsys.readouterr().out
    assert command(config, output) == 0  # replaced
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/notes.txt").write_text("")
    assert command(config, f"--output={tmp_path / 'mine'}") == 2
    assert "mine is there and was not prepared" in capsys.readouterr().err
    assert command(config, f"--config.data.path={tmp_path / 'none.csv'}") == 2
    assert "none.csv is missing" in capsys.readouterr().err
    assert command(config, "--config.data.source=synthetic") == 2
    assert "needs no preparation" in capsys.readouterr().err


def test_a_folder_of_other_settings_or_files_is_refused(tmp_path, events):
    config = config_of(write(events, tmp_path / "events.csv"), tmp_path, columns=ALL)
    folder = tmp_path / "out"
    prepared.prepare(config.data, {"item.colour": "STRING"}, folder)
    config.data.path = str(folder)
    config.data.columns = dataclasses.replace(ALL, weight="")
    with pytest.raises(ConfigError, match=r"columns\.weight='weight', and it is '' now; set it so"):
        dataset.prepare(config)
    config.data.columns = ALL
    with pytest.raises(ConfigError, match=r"for item\.colour as STRING, and it is INT"):
        prepared.interactions(config.data, {"item.colour": "INT"})
    (shard,) = folder.glob("timelines-*.parquet")
    shard.write_bytes(shard.read_bytes() + b"x")
    with pytest.raises(DataError, match=r"timelines-00000.parquet has .* bytes instead of .*again"):
        dataset.prepare(config)
    shard.unlink()
    with pytest.raises(DataError, match=r"timelines-00000.parquet is missing; prepare it again"):
        dataset.prepare(config)
    note = folder / prepared.NOTE
    note.write_text(json.dumps(json.loads(note.read_text()) | {"events": "many"}))
    with pytest.raises(DataError, match=r"_prepared.json does not fit"):
        dataset.prepare(config)


@pytest.mark.parametrize(
    ("form", "change", "says"),
    [
        ("csv", {}, "only Parquet can be read in parts; write the data as Parquet"),
        ("parquet", {"user": pl.col("item").cast(pl.Float64)}, "needs ids that are whole numbers"),
        ("parquet", {"time": pl.col("time").cast(pl.Datetime("ns"))}, "needs times that are"),
    ],
)
def test_a_bound_that_cannot_be_kept(tmp_path, events, monkeypatch, form, change, says):
    monkeypatch.setattr(in_parts, "_allowed", lambda _: 1.0)
    file = write(events.with_columns(**change), tmp_path / f"events.{form}")
    with pytest.raises(ConfigError, match=says):
        dataset.prepare(config_of(file, tmp_path, max_memory_gb=1.0))
    monkeypatch.undo()
    with pytest.raises(ConfigError, match="bytes are taken before anything is read"):
        dataset.prepare(config_of(file, tmp_path, max_memory_gb=0.001))
