"""The three MovieLens formats: values, counts of the real releases, and every error's message."""

import polars as pl
import pytest

from flaxrec.config import DataConfig
from flaxrec.data.sources.movielens import read_movielens
from flaxrec.data.sources.read import read
from flaxrec.errors import ConfigError, DataError
from tests.support.places import SHARED

DATA = SHARED / "data"

RATINGS = "7::40::5::1000\n7::41::3::1000\n9::40::1::900\n7::40::5::1000\n9::77::2::901\n"
MOVIES = "40::Caf\xe9 Nord (1971)::Comedy|Drama\n41::Two: Dots :: Twice (1980) (2003)::War\n"
PEOPLE = "7::F::25::3::01234\n9::M::56::0::98107-1234\n"


def write(folder, **files):
    """Files by name, dots written as '__'; str is written as Latin-1."""
    folder.mkdir(exist_ok=True)
    for name, content in files.items():
        raw = content.encode("latin-1") if isinstance(content, str) else content
        (folder / name.replace("__", ".")).write_bytes(raw)
    return folder


@pytest.fixture
def dat(tmp_path):
    return write(tmp_path / "ml", ratings__dat=RATINGS, movies__dat=MOVIES, users__dat=PEOPLE)


@pytest.fixture
def csv(tmp_path):
    ratings = "userId,movieId,rating,timestamp\n3,12,4.5,50\n3,13,0.5,51\n"
    movies = (
        "movieId,title,genres\n"
        '12,"Lake, The ""Old"" (1990)",Drama|Crime\n'
        "13,Caf\xe9 S\xfcd,(no genres listed)\n"
    )
    return write(tmp_path / "csv", ratings__csv=ratings, movies__csv=movies.encode())


@pytest.fixture
def u100k(tmp_path):
    genres = "unknown|0\nDrama|2\nComedy|1\n\n"  # the flags stand in the order of the numbers
    movies = "5|Sm\xe5land (1988)|01-Jan-1988||http://x/|0|1|0\n6|unknown||||1|0|0\n7|A|||u|0|1|1\n"
    return write(
        tmp_path / "k",
        u__data="2\t6\t3\t10\n1\t5\t4\t11\n",
        u__item=movies,
        u__genre=genres,
        u__user="1|24|M|tailor|00501\n2|53|F|other|T8H1N\n",
    )


def test_dat_events_keep_order_repeats_and_items_without_a_title(dat):
    events = read_movielens(dat).events
    assert events.schema == {
        "user": pl.Int64,
        "item": pl.Int64,
        "rating": pl.Float32,
        "time": pl.Int64,
    }
    assert events.rows() == [
        (7, 40, 5.0, 1000),
        (7, 41, 3.0, 1000),
        (9, 40, 1.0, 900),
        (7, 40, 5.0, 1000),
        (9, 77, 2.0, 901),
    ]


def test_dat_items_are_latin1_and_split_at_the_outer_separators(dat):
    assert read_movielens(dat).items.to_dicts() == [
        {"item": 40, "title": "Café Nord (1971)", "genres": ["Comedy", "Drama"], "year": 1971},
        {
            "item": 41,
            "title": "Two: Dots :: Twice (1980) (2003)",
            "genres": ["War"],
            "year": 1980,
        },
    ]


def test_dat_users(dat):
    assert read_movielens(dat).users.to_dicts() == [
        {"user": 7, "gender": "F", "age": 25, "occupation": "3", "zip_code": "01234"},
        {"user": 9, "gender": "M", "age": 56, "occupation": "0", "zip_code": "98107-1234"},
    ]


def test_users_are_optional(dat):
    (dat / "users.dat").unlink()
    assert read_movielens(dat).users is None


def test_10m_has_half_stars_and_utf8_titles(tmp_path):
    folder = write(
        tmp_path / "ml",
        ratings__dat="1::2::3.5::7\n",
        movies__dat="2::Œuvre (1999)::(no genres listed)\n".encode(),
    )
    interactions = read_movielens(folder)
    assert interactions.events["rating"].to_list() == [3.5]
    assert interactions.items["title"].to_list() == ["Œuvre (1999)"]
    assert interactions.items["genres"].to_list() == [[]]


def test_latin1_next_line_character_does_not_break_a_line(dat):
    write(dat, movies__dat="40::Dots\x85 and \xe9 (1971)::Drama\n")
    assert read_movielens(dat).items["title"].to_list() == ["Dots\x85 and é (1971)"]


def test_windows_line_ends_blank_lines_and_no_line_end_at_the_end(dat):
    expected = read_movielens(dat).events
    write(dat, ratings__dat=RATINGS.replace("\n", "\r\n").replace("9::40", "\r\n9::40", 1) + "\n")
    assert read_movielens(dat).events.equals(expected)
    write(dat, ratings__dat=RATINGS.rstrip("\n"), movies__dat=MOVIES.replace("\n", "\r\n"))
    interactions = read_movielens(dat)
    assert interactions.events.equals(expected)
    assert interactions.items["genres"].to_list() == [["Comedy", "Drama"], ["War"]]


def test_csv_quotes_half_stars_and_no_genres(csv):
    interactions = read_movielens(csv)
    assert interactions.events.rows() == [(3, 12, 4.5, 50), (3, 13, 0.5, 51)]
    assert interactions.items.rows() == [
        (12, 'Lake, The "Old" (1990)', ["Drama", "Crime"], 1990),
        (13, "Café Süd", [], 0),
    ]
    assert interactions.users is None


def test_100k_flags_follow_the_numbers_in_u_genre(u100k):
    interactions = read_movielens(u100k)
    assert interactions.events.rows() == [(2, 6, 3.0, 10), (1, 5, 4.0, 11)]
    assert interactions.items.rows() == [
        (5, "Småland (1988)", ["Comedy"], 1988),
        (6, "unknown", ["unknown"], 0),
        (7, "A", ["Comedy", "Drama"], 0),
    ]
    assert interactions.users.rows() == [
        (1, "M", 24, "tailor", "00501"),
        (2, "F", 53, "other", "T8H1N"),
    ]


def test_the_only_subfolder_with_ratings_is_used(dat):
    (dat.parent / "__MACOSX").mkdir()
    assert read_movielens(dat.parent).source == "MovieLens (ml)"


def test_formats_agree_on_the_same_data(tmp_path):
    rows = [(1 + n % 5, 1 + n * 7 % 11, 1 + n % 5, 100 - n) for n in range(50)]
    lines = {s: "".join(s.join(map(str, row)) + "\n" for row in rows) for s in ("::", "\t", ",")}
    frames = []
    for name, files in {
        "a": {"ratings__dat": lines["::"], "movies__dat": "1::A::Drama\n"},
        "b": {"u__data": lines["\t"], "u__item": "1|A||||1\n", "u__genre": "Drama|0\n"},
        "c": {
            "ratings__csv": "userId,movieId,rating,timestamp\n" + lines[","],
            "movies__csv": "movieId,title,genres\n1,A,Drama\n",
        },
    }.items():
        interactions = read_movielens(write(tmp_path / name, **files))
        frames.append((interactions.events.rows(), interactions.items.rows()))
    assert frames[0] == frames[1] == frames[2] == (rows, [(1, "A", ["Drama"], 0)])


# ---- errors ---------------------------------------------------------------------------------


def error(folder):
    with pytest.raises(DataError) as caught:
        read_movielens(folder)
    message = str(caught.value)
    assert "\n" not in message
    assert message.endswith(".")
    return message


AGAIN = "take the file from the published archive again."

BROKEN_RATINGS = {
    "too few fields": ("7::40::5", "found '7::40::5', expected user::item::rating::time;"),
    "too many fields": ("7::40::5::9::1", "found '7::40::5::9::1', expected user::item::rating"),
    "another separator": ("7,40,5,9", "found '7,40,5,9', expected user::item::rating::time;"),
    "half a separator": ("7:40:5:9", "found '7:40:5:9', expected user::item::rating::time;"),
    "tabs": ("7\t40\t5\t9", "found '7\\t40\\t5\\t9', expected user::item::rating::time;"),
    "something in a gap": ("7:true:40::5::9", "found '7:true:40::5::9', expected user::item"),
    "no user": ("::40::5::9", "found '', expected a whole number as the user;"),
    "user's name": ("bo::40::5::9", "found 'bo', expected a whole number as the user;"),
    "item's name": ("7::4x::5::9", "found '4x', expected a whole number as the item;"),
    "text as rating": ("7::40::good::9", "found 'good', expected a finite number as the rating;"),
    "NaN": ("7::40::nan::9", "found 'nan', expected a finite number as the rating;"),
    "infinite": ("7::40::inf::9", "found 'inf', expected a finite number as the rating;"),
    "date as time": ("7::40::5::1999-12-31", "found '1999-12-31', expected a whole number as the"),
    "fraction as time": ("7::40::5::9.5", "found '9.5', expected a whole number as the time;"),
    "no time": ("7::40::5::", "found '', expected a whole number as the time;"),
    "enormous time": ("7::40::5::9" + "9" * 30, "expected a whole number as the time;"),
}


@pytest.mark.parametrize("place", ["first", "middle", "last"])
@pytest.mark.parametrize("case", BROKEN_RATINGS)
def test_broken_line_of_ratings_dat(dat, case, place):
    line, expected = BROKEN_RATINGS[case]
    good = ["7::40::5::1000"] * 3
    number = {"first": 1, "middle": 2, "last": 4}[place]
    lines = [*good[: number - 1], line, *good[number - 1 :]]
    write(dat, ratings__dat="\n".join(lines) + "\n")
    message = error(dat)
    assert message.startswith(f"{dat / 'ratings.dat'}, line {number}: ")
    assert expected in message
    assert message.endswith(AGAIN)


def test_blank_lines_count_in_line_numbers(dat):
    write(dat, ratings__dat="7::40::5::1\n\n\n7::40::x::1\n")
    assert "ratings.dat, line 4: found 'x'" in error(dat)


def test_leading_blank_line(dat):
    # Read or refused, as polars' release has it, but never misread.
    expected = read_movielens(dat).events
    write(dat, ratings__dat="\n" + RATINGS)
    try:
        assert read_movielens(dat).events.equals(expected)
    except DataError as caught:
        assert "ratings.dat, line 1: found '', expected user::item" in str(caught)  # noqa: PT017


def test_truncated_last_line(dat):
    write(dat, ratings__dat=RATINGS + "9::40::")
    message = error(dat)
    assert "ratings.dat, line 6: found '9::40::'" in message
    assert "(the file ends here, cut off?)" in message
    assert message.endswith(AGAIN)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("1 5 4 11", "found '1 5 4 11', expected user<tab>item<tab>rating<tab>time;"),
        ("1\t5\tx\t11", "found 'x', expected a finite number as the rating;"),
    ],
)
def test_broken_line_of_u_data(u100k, line, expected):
    write(u100k, u__data=f"2\t6\t3\t10\n{line}\n")
    assert f"u.data, line 2: {expected}" in error(u100k)


def test_broken_lines_of_ratings_csv(csv):
    header = "userId,movieId,rating,timestamp\n"
    write(csv, ratings__csv=header + "3,12,4.5,50\n3,12,bad,50\n")
    assert "ratings.csv, line 3: found 'bad', expected a finite number" in error(csv)
    write(csv, ratings__csv=header.replace(",", ";") + "3;12;4.5;50\n")
    message = error(csv)
    assert "ratings.csv, line 1: found 'userId;movieId;rating;timestamp', " in message
    assert "expected the header userId,movieId,rating,timestamp;" in message
    write(csv, ratings__csv=header)
    assert error(csv) == f"{csv / 'ratings.csv'} is empty; {AGAIN}"


BROKEN_MOVIES = {
    "41;Name;War": "found '41;Name;War', expected item::title::genres;",
    "41::Name (1990)": "found '41::Name (1990)', expected item::title::genres;",
    "x::Name::War": "found 'x', expected the item's id as a whole number;",
}


@pytest.mark.parametrize("line", BROKEN_MOVIES)
def test_broken_line_of_movies_dat(dat, line):
    write(dat, movies__dat=f"40::One::Drama\n{line}\n")
    message = error(dat)
    assert message.startswith(f"{dat / 'movies.dat'}, line 2: {BROKEN_MOVIES[line]}")
    assert message.endswith(AGAIN)


def test_repeated_ids_name_both_lines(dat, u100k, csv):
    keep = "keep one of the two lines."
    write(dat, movies__dat="40::A::War\n41::B::War\n\n40::C::War\n")
    assert error(dat) == (f"{dat / 'movies.dat'}, line 4: item 40 stands in line 1 already; {keep}")
    write(dat, movies__dat=MOVIES, users__dat=PEOPLE + "7::F::1::1::1\n")
    assert f"users.dat, line 3: user 7 stands in line 1 already; {keep}" in error(dat)
    write(u100k, u__item="5|A||||0|1|0\n5|B||||0|1|0\n")
    assert f"u.item, line 2: item 5 stands in line 1 already; {keep}" in error(u100k)
    write(csv, movies__csv="movieId,title,genres\n1,A,War\n1,B,War\n")
    assert f"movies.csv, line 3: item 1 stands in line 2 already; {keep}" in error(csv)


def test_broken_tables_of_the_other_formats(dat, u100k, csv):
    write(dat, users__dat="7::F::young::3::01234\n")
    assert "users.dat, line 1: found '7::F::young::3::01234', expected user::gender" in error(dat)
    write(u100k, u__item="5|A||||0|1\n")
    assert "u.item, line 1: found '5|A||||0|1', expected item|title|date" in error(u100k)
    write(u100k, u__genre="Drama\n")
    assert "u.genre, line 1: found 'Drama', expected genre|number;" in error(u100k)
    write(csv, movies__csv="movieId,title,genres\n1,Lake, The,War\n")
    assert "movies.csv, line 2: found '1,Lake, The,War', expected movieId,title" in error(csv)
    write(csv, movies__csv="id,title\n")
    assert "movies.csv, line 1: found 'id,title', expected the header movieId" in error(csv)


@pytest.mark.parametrize("name", ["ratings.dat", "movies.dat", "users.dat"])
@pytest.mark.parametrize("content", ["", "\n \n\n"])
def test_empty_file(dat, name, content):
    (dat / name).write_text(content)
    assert error(dat) == f"{dat / name} is empty; {AGAIN}"


def test_missing_files(dat, u100k, tmp_path):
    (dat / "movies.dat").unlink()
    message = error(dat)
    assert message.startswith(f"{dat / 'movies.dat'} is missing; put it there from the published")
    assert "leave --config.data.path empty to download" in message
    (u100k / "u.genre").unlink()
    assert error(u100k).startswith(f"{u100k / 'u.genre'} is missing; ")


def test_folders_that_cannot_be_used(dat, csv, tmp_path):
    for folder, problem in {
        tmp_path / "nowhere": "is not a folder; set --config.data.path=DIR to the MovieLens folder",
        dat / "ratings.dat": "is not a folder; set --config.data.path=DIR to the MovieLens folder",
        tmp_path: "has several MovieLens folders (csv, ml); set --config.data.path=DIR to the",
    }.items():
        message = error(folder)
        assert message.startswith(f"{folder} {problem}")
        assert "ratings.dat (1M, 10M), u.data (100K) or ratings.csv (later releases)" in message
    (tmp_path / "hollow").mkdir()
    assert "hollow has no MovieLens ratings; set --config.data.path=DIR" in error(
        tmp_path / "hollow"
    )


# ---- the entrance for all sources, and the real releases ------------------------------------


def test_read_dispatches_on_the_source(dat, tmp_path):
    events = read(DataConfig(source="movielens", path=str(dat))).events
    assert len(events) == 5
    (dat.parent / "cache").mkdir()
    dat.rename(dat.parent / "cache" / "ml-100k")
    cached = DataConfig(source="movielens", release="ml-100k", cache_dir=str(tmp_path / "cache"))
    assert read(cached).events.equals(events)
    table = tmp_path / "t.csv"
    table.write_text("user,item,time\n1,2,3\n")
    assert read(DataConfig(source="table", path=str(table))).events.rows() == [(1, 2, 3)]
    synthetic = DataConfig()
    synthetic.synthetic.users = 5
    assert read(synthetic).events["user"].n_unique() == 5
    with pytest.raises(ConfigError, match=r"config\.data\.source is 'sql'; use one of synthetic"):
        read(DataConfig(source="sql"))


def real(release):
    if not (DATA / release).is_dir():
        pytest.skip(f"{DATA / release} is not there: MovieLens may not be redistributed")
    return read_movielens(DATA / release)


def test_movielens_1m():
    interactions = real("ml-1m")
    events, items = interactions.events, interactions.items
    assert len(events) == 1_000_209
    assert events["user"].n_unique() == len(interactions.users) == 6040
    assert events["item"].n_unique() == 3706
    assert len(items) == 3883
    assert events["rating"].unique().sort().to_list() == [1, 2, 3, 4, 5]
    assert items["genres"].explode().n_unique() == 18
    assert items["year"].min() == 1919
    assert items["year"].max() == 2000


def test_movielens_100k():
    interactions = real("ml-100k")
    assert len(interactions.events) == 100_000
    assert interactions.events["user"].n_unique() == len(interactions.users) == 943
    assert interactions.events["item"].n_unique() == len(interactions.items) == 1682
    assert interactions.items["genres"].explode().n_unique() == 19
