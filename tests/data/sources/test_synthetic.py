"""The generated interactions must hold what a sequential recommender is there to find."""

import time
import tracemalloc

import numpy as np
import polars as pl
import pytest

from flaxrec.data.sources import synthetic
from flaxrec.data.sources.synthetic import generate
from flaxrec.errors import ConfigError

USERS, ITEMS, MEAN_EVENTS = 2000, 800, 60


@pytest.fixture(scope="module")
def data():
    return generate(USERS, ITEMS, MEAN_EVENTS, seed=0)


@pytest.fixture(scope="module")
def log(data):
    """Events with the features of item and user, and the item's series and part by its title."""
    title = pl.col("title")
    items = data.items.with_columns(
        series=title.str.extract(r"^(.+?)(?: \d+)? \(\d{4}\)$", 1),
        part=title.str.extract(r" (\d+) \(\d{4}\)$", 1).cast(pl.Int64).fill_null(1),
    )
    joined = data.events.join(items, on="item", how="left", maintain_order="left")
    joined = joined.join(data.users, on="user", how="left", maintain_order="left")
    return joined.with_row_index("row").with_columns(pl.col("row").cast(pl.Int64))


def timelines(events):
    """The items of each user, in order."""
    starts = np.flatnonzero(np.diff(events["user"].to_numpy())) + 1
    return np.split(events["item"].to_numpy(), starts)


@pytest.fixture(scope="module")
def genres(log):
    """One 0/1 row of genres for each event."""
    names = sorted(log["genres"].explode().unique())
    columns = [log["genres"].list.contains(name).to_numpy() for name in names]
    return np.stack(columns, axis=1).astype(float)


def pairs(log):
    """Rows of events, and of the event after each, of the same user."""
    user = log["user"].to_numpy()
    before = np.flatnonzero(user[1:] == user[:-1])
    return before, before + 1


def recall_at_10(scores_of_last, histories, labels):
    """Share of labels in the 10 best of `scores_of_last[last item of the history]`."""
    found = [
        label in np.argsort(-scores_of_last[history[-1]], kind="stable")[:10]
        for history, label in zip(histories, labels, strict=True)
    ]
    return np.mean(found)


def count_models(histories):
    """Popularity [V + 1], and transition counts [V + 1, V + 1] from an item to the next."""
    popularity = np.bincount(np.concatenate(histories), minlength=ITEMS + 1)
    transitions = np.zeros((ITEMS + 1, ITEMS + 1))
    for history in histories:
        np.add.at(transitions, (history[:-1], history[1:]), 1)
    return popularity, transitions


# ---- tables ---------------------------------------------------------------------------------


def test_same_seed_same_frames_and_another_seed_others():
    a, b, other = (generate(50, 60, 10, seed) for seed in (4, 4, 5))
    for name in ("events", "items", "users"):
        assert getattr(a, name).equals(getattr(b, name))
        assert not getattr(a, name).equals(getattr(other, name))


def test_schema(data):
    assert dict(data.events.schema) == {
        "user": pl.Int64,
        "item": pl.Int64,
        "time": pl.Int64,
        "rating": pl.Float32,
    }
    assert dict(data.items.schema) == {
        "item": pl.Int64,
        "title": pl.String,
        "genres": pl.List(pl.String),
        "year": pl.Int64,
    }
    assert dict(data.users.schema) == {"user": pl.Int64, "age_group": pl.String}
    assert data.items["item"].to_list() == list(range(1, ITEMS + 1))
    assert data.users["user"].to_list() == list(range(1, USERS + 1))
    assert data.events["user"].unique(maintain_order=True).equals(data.users["user"])
    assert set(data.events["item"]) <= set(data.items["item"])
    assert sum(table.null_count().sum_horizontal()[0] for table in (data.events, data.items)) == 0


def test_items_have_one_to_three_different_genres_and_the_year_in_the_title(data):
    genres = data.items["genres"]
    assert set(genres.list.len()) == {1, 2, 3}
    assert (genres.list.n_unique() == genres.list.len()).all()
    assert len(genres.explode().unique()) == 18
    in_title = data.items["title"].str.extract(r" \((\d{4})\)$", 1).cast(pl.Int64)
    assert in_title.equals(data.items["year"], check_names=False)


def test_titles_are_unique_even_when_the_words_run_out():
    titles = generate(1, 60_000, 5, seed=0).items["title"]
    assert titles.n_unique() == 60_000
    assert titles.str.starts_with("Volume 2 of ").any()


def test_items_are_out_before_the_users_come(data):
    first = data.events["time"].min()
    assert first >= np.datetime64("2001-01-01", "s").astype(np.int64)
    assert data.items["year"].max() <= 2000


@pytest.mark.parametrize(
    ("users", "items", "mean_events", "shortest", "longest"),
    [
        (1, 1, 1, 1, 1),
        (5, 5, 5, 5, 5),  # all of fewer than ten items
        (1000, 3, 60, 3, 3),
        (30, 9, 200, 9, 9),
        (200, 40, 60, 5, 20),  # half of the items
        (300, 500, 3, 3, 15),  # fewer than 5 only where fewer are asked for
        (300, 500, 8, 5, 40),  # 5 times the mean
        (3, 20_000, 30, 5, 150),
    ],
)
def test_any_size(users, items, mean_events, shortest, longest):
    data = generate(users, items, mean_events, seed=1)
    lengths = data.events.group_by("user").len()["len"]
    assert len(lengths) == users
    assert shortest <= lengths.min() <= lengths.max() <= longest
    assert len(data.items) == items
    assert data.items["title"].n_unique() == items
    assert not data.events.select("user", "item").is_duplicated().any()


@pytest.mark.parametrize(
    "wrong", [{"users": 0}, {"items": 0}, {"mean_events": -3}, {"seed": -1}], ids=str
)
def test_impossible_sizes_name_the_field(wrong):
    sizes = {"users": 5, "items": 5, "mean_events": 5, "seed": 0} | wrong
    [(field, value)] = wrong.items()
    with pytest.raises(ConfigError, match=rf"config\.data\.synthetic\.{field} is {value}; use"):
        generate(**sizes)


def test_memory_does_not_grow_with_users_times_items(monkeypatch):
    monkeypatch.setattr(synthetic, "_SEEN_BYTES", 1 << 20)
    tracemalloc.start()
    data = generate(10_000, 8000, 5, seed=0)  # 80 MB, if there were a byte for each pair
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40e6
    assert data.events["user"].n_unique() == 10_000
    assert not data.events.select("user", "item").is_duplicated().any()


def test_default_size_takes_less_than_two_seconds_of_one_core():
    start = time.process_time()
    generate(USERS, ITEMS, MEAN_EVENTS, seed=1)
    assert time.process_time() - start < 2


# ---- timelines ------------------------------------------------------------------------------


def test_lengths_vary_around_the_mean(data):
    lengths = data.events.group_by("user").len()["len"].to_numpy()
    assert lengths.mean() == pytest.approx(MEAN_EVENTS, rel=0.05)
    assert lengths.min() >= 5
    # Log-normal: skewed to the right, wide.
    assert np.median(lengths) < 0.9 * lengths.mean()
    assert np.quantile(lengths, 0.9) > 4 * np.quantile(lengths, 0.1)


def test_no_item_twice(data):
    assert not data.events.select("user", "item").is_duplicated().any()


def test_log_is_sorted_by_user_and_time_with_some_ties(log):
    assert log["user"].is_sorted()
    before, after = pairs(log)
    seconds = log["time"].to_numpy()
    gap = seconds[after] - seconds[before]
    assert gap.min() == 0
    assert 0.05 < np.mean(gap == 0) < 0.25
    assert np.mean(gap > 3600) == pytest.approx(0.08, abs=0.01)  # another evening


def test_rows_of_one_second_stand_in_the_order_they_happened(log):
    before, after = pairs(log)
    tied = log["time"].to_numpy()[before] == log["time"].to_numpy()[after]
    same_series = (log["series"].gather(before) == log["series"].gather(after)).to_numpy()
    step = (log["part"].gather(after) - log["part"].gather(before)).to_numpy()[same_series & tied]
    assert len(step) > 1000
    assert np.mean(step == 1) > 0.8


def test_popularity_is_skewed_and_unrelated_to_the_id(data):
    counts = np.bincount(data.events["item"], minlength=ITEMS + 1)[1:]
    ranked = np.sort(counts)[::-1]
    assert ranked[: ITEMS // 10].sum() > 0.3 * ranked.sum()
    assert ranked[ITEMS // 2 :].sum() < 0.25 * ranked.sum()
    ranks = np.argsort(np.argsort(-counts))
    assert abs(np.corrcoef(ranks, np.arange(ITEMS))[0, 1]) < 0.12  # 3.4 standard errors


def test_ids_do_not_tell_the_series(log):
    by_id = log.unique("item").sort("item")["series"].to_numpy()
    assert np.mean(by_id[1:] == by_id[:-1]) < 0.02


def test_last_item_beats_popularity_and_only_in_the_true_order(data):
    histories = [line[:-1] for line in timelines(data.events)]
    labels = [line[-1] for line in timelines(data.events)]
    popularity, transitions = count_models(histories)
    by_popularity = recall_at_10(np.tile(popularity, (ITEMS + 1, 1)), histories, labels)
    by_last_item = recall_at_10(transitions, histories, labels)
    backwards = recall_at_10(transitions.T, histories, labels)
    rng = np.random.default_rng(0)
    shuffled = [rng.permutation(history) for history in histories]
    by_shuffled = recall_at_10(count_models(shuffled)[1], shuffled, labels)

    assert by_popularity > 2 * 10 / ITEMS  # better than chance
    assert by_last_item > 3 * by_popularity
    assert by_shuffled < 0.5 * by_last_item
    assert backwards < 0.7 * by_last_item  # what comes after is not what comes before


def test_the_item_before_the_last_helps_too(data):
    histories = [line[:-1] for line in timelines(data.events)]
    labels = [line[-1] for line in timelines(data.events)]
    transitions = count_models(histories)[1]
    one = recall_at_10(transitions, histories, labels)
    found = [
        label in np.argsort(-(transitions[history[-1]] + 0.3 * transitions[history[-2]]))[:10]
        for history, label in zip(histories, labels, strict=True)
    ]
    assert np.mean(found) > one + 0.01


# ---- features -------------------------------------------------------------------------------


def test_genres_of_the_last_items_predict_the_next_ones_genre(log, genres):
    user = log["user"].to_numpy()
    label = np.flatnonzero(np.append(user[1:] != user[:-1], True))  # each user's last event
    recent = sum(genres[label - k] for k in (1, 2, 3))  # users have 5 events and more
    everybody = genres.sum(axis=0)
    hit = genres[label, recent.argmax(axis=1)].mean()
    hit_of_commonest = genres[label, everybody.argmax()].mean()
    assert hit > 1.5 * hit_of_commonest


def test_taste_drifts(log, genres):
    user = log["user"].to_numpy()
    near, far = [], []
    for rows in np.split(genres, np.flatnonzero(np.diff(user)) + 1):
        if len(rows) >= 50:
            last, previous, first = rows[-10:].sum(0), rows[-20:-10].sum(0), rows[:10].sum(0)
            near.append(last @ previous / np.linalg.norm(last) / np.linalg.norm(previous))
            far.append(last @ first / np.linalg.norm(last) / np.linalg.norm(first))
    assert len(near) > 500
    assert np.mean(near) > 1.4 * np.mean(far)


def test_ratings_are_stars_that_depend_on_taste(log, genres):
    rating = log["rating"].to_numpy()
    shares = [np.mean(rating == star) for star in (1, 2, 3, 4, 5)]
    assert sum(shares) == pytest.approx(1)
    assert min(shares) > 0.02
    assert 3 < rating.mean() < 4
    # Taste, as far as a log shows it: how often the user's other events have the item's genres.
    user = log["user"].to_numpy() - 1
    of_user = np.stack([np.bincount(user, column) for column in genres.T], axis=1)[user] - genres
    habit = (of_user * genres).sum(1) / genres.sum(1) / np.maximum(np.bincount(user)[user] - 1, 1)
    usual = habit > np.median(habit)
    assert rating[usual].mean() > rating[~usual].mean() + 0.3


def test_a_rating_tells_what_comes_next(log, genres):
    rating = log["rating"].to_numpy()
    before, after = pairs(log)
    goes_on = (genres[before] * genres[after]).sum(axis=1) > 0
    shares = [goes_on[rating[before] == star].mean() for star in (1, 2, 3, 4, 5)]
    assert shares == sorted(shares)
    assert shares[4] > 2 * shares[0]


def test_parts_of_a_series_follow_each_other(log):
    part = log.select("user", "series", "part", "row", "rating")
    next_part = part.with_columns(pl.col("part") - 1).drop("rating")
    both = part.join(next_part, on=["user", "series", "part"], suffix="_next")
    gap = (both["row_next"] - both["row"]).to_numpy()
    assert len(gap) > 10_000
    assert np.mean(gap > 0) > 0.75  # in order
    assert np.mean((gap > 0) & (gap <= 5)) > 0.6  # and soon
    assert np.mean((gap > 1) & (gap <= 5)) > 0.1  # though not always at once
    liked = both["rating"].to_numpy() >= 4
    assert np.mean(gap[liked] == 1) > np.mean(gap[~liked] == 1) + 0.2


def test_the_shelf_leads_to_newer_items_of_the_genre(log, genres):
    year, series = log["year"].to_numpy(), log["series"].to_numpy()
    before, after = pairs(log)
    shares_genre = (genres[before] * genres[after]).sum(axis=1) > 0
    liked = log["rating"].to_numpy()[before] >= 4
    on_shelf = shares_genre & liked & (series[before] != series[after])
    years_on = (year[after] - year[before])[on_shelf]
    newer, older = (
        np.mean((years_on > 0) & (years_on < 15)),
        np.mean((years_on < 0) & (years_on > -15)),
    )
    assert newer > 1.5 * older  # as many, if the order did not matter


def test_age_group_tells_the_era(log):
    years = dict(log.group_by("age_group").agg(pl.col("year").mean()).iter_rows())
    in_order = [years[age] for age in synthetic._AGE_GROUPS]
    assert in_order[0] > in_order[2] > in_order[4] > in_order[6]
    assert in_order[0] - in_order[6] > 4


def test_years_of_consecutive_items_are_near(log):
    before, after = pairs(log)
    year = log["year"].to_numpy()
    other = np.random.default_rng(0).permutation(after)
    near = np.mean(abs(year[before] - year[after]) <= 5)
    assert near > 1.5 * np.mean(abs(year[before] - year[other]) <= 5)
