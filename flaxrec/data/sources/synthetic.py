"""A seeded, synthetic stand-in for MovieLens: users with tastes choose from a catalogue.

An item has one to three genres, an era, often a series, and Zipf-like popularity. A taste weights
every item by its popularity and the match of its genres and era. A user has three tastes, drawn by
age group, and drifts from the first to the last along the timeline. The mood is the taste that
currently decides.

The next item is, in this order of precedence,
  1. the next part of a series, at once or a few events after the previous part;
  2. a neighbour of the last item on its shelf (its main genre, sorted by year);
  3. a draw from the mood, sometimes from general popularity.
The rating measures how well the item matches the mood. A high rating makes the user continue the
series and the shelf; a low one soon changes the mood. So the last item, the order before it, the
ratings, the genres and the age group all help to predict the next item.

All users take their n-th step together, in blocks that bound the memory. Shape letters: U users,
V items, S series, T tastes, F genres, A age groups, E events.
"""

import dataclasses

import numpy as np
import polars as pl

from flaxrec.data.sources.interactions import Interactions
from flaxrec.devices import check_memory, host_memory
from flaxrec.errors import ConfigError

# One random generator each: a change to one part keeps the draws of the others.
_STREAMS = ("catalogue", "titles", "ids", "tastes", "users", "lengths", "events", "times")

_GENRES = (  # noqa: SIM905
    "Action|Adventure|Animation|Children's|Comedy|Crime|Documentary|Drama|Fantasy|Film-Noir|"
    "Horror|Musical|Mystery|Romance|Sci-Fi|Thriller|War|Western"
).split("|")
_AGE_GROUPS = ("under 18", "18-24", "25-34", "35-44", "45-49", "50-55", "56+")
_ADJECTIVES = (  # noqa: SIM905
    "Silent Crimson Hidden Golden Broken Distant Last Frozen Burning Lonely Secret Midnight Paper "
    "Hollow Restless Emerald Forgotten Savage Gentle Electric Velvet Wandering Stolen Iron Bitter "
    "Lucky Scarlet Endless Quiet Reckless Silver Wicked Amber Fearless Drifting Royal"
).split()
_NOUNS = (  # noqa: SIM905
    "Harbor Garden Witness River Empire Letter Orchard Stranger Mountain Promise Station Mirror "
    "Circus Island Detective Summer Voyage Lantern Castle Kingdom Frontier Melody Shadow Bridge "
    "Carnival Desert Hunter Winter Affair Machine Sparrow Tiger Widow Highway Theatre Crown"
).split()
_ENDINGS = (
    "", " at Dawn", " of Lisbon", " in the Rain", " Next Door", " of the North", " by the Sea",
    " Without a Name", " of Havana", " After Dark", " on Fifth Street", " in Winter",
    " of the Valley", " for Two", " Under Glass", " of Trieste", " at War", " in Love",
    " on the Run", " of Tomorrow",
)  # fmt: skip

_ERAS = np.array([1938, 1954, 1967, 1977, 1987, 1995])  # middle years
_LAST_YEAR = 2000  # every item is out before the first event, in 2001
_TASTES, _TASTES_OF_USER = 24, 3
_SERIES_LENGTHS = np.array([0.55, 0.15, 0.12, 0.08, 0.06, 0.04])  # probability of 1, 2, ... parts
_SHELF_REACH = 12  # candidates for the next item along the shelf ...
_SHELF_CHANCES = np.array([0.45, 0.3, 0.15, 0.1])  # ... and the chances of the most popular ones

# Chances by rating, 1 to 5; entry 0 is unused.
_GO_ON_WITH_SERIES = np.array([0, 0.03, 0.06, 0.2, 0.5, 0.65])
_GO_ON_WITH_SHELF = np.array([0, 0.02, 0.05, 0.2, 0.45, 0.5])
_CHANGE_MOOD = np.array([0, 0.6, 0.4, 0.15, 0.06, 0.04])
_FOLLOW_EVERYBODY = 0.12  # chance that a draw ignores the mood and goes by popularity

_BYTES_OF_EVENT = 28  # user, item, time and rating
_BLOCK_USERS = 16384  # users per block ...
_SEEN_BYTES = 1 << 25  # ... but fewer where their (user, item) flags would exceed 32 MiB
_DRAWS = 6  # draws to find an unseen item before weighting all unseen items


def generate(users: int, items: int, mean_events: int, seed: int) -> Interactions:
    """Generates interactions; the same arguments give the same tables on every machine.

    No user meets an item twice. So a timeline has at most half of the items (all, if there are
    fewer than ten).

    Args:
      users: number of users U, at least 1; each has at least one event.
      items: number of items V, at least 1; some may have no event.
      mean_events: approximate mean number of events per user. Lengths are log-normal, from 5 (or
        `mean_events` or `items`, if less) to 5 * `mean_events`.
      seed: 0 or above.

    Returns:
      Interactions with the tables
        events: `user`, `item`, `time` (Int64; seconds since 1970), `rating` (Float32; 1, 2, ... 5),
          sorted by user and time; rows of equal time keep the order of events;
        items: `item` (Int64; 1 ... V, in no order of popularity), `title` (String, unique, ends
          with ' (year)'), `genres` (List(String), 1 to 3), `year` (Int64);
        users: `user` (Int64; 1 ... U), `age_group` (String).

    Raises:
      ConfigError: a size is below 1, or the seed below 0.
    """
    _check(users=users, items=items, mean_events=mean_events, seed=seed)
    of_events = _BYTES_OF_EVENT * users * min(mean_events, max(1, items // 2))
    of_tables = 8 * (users * _TASTES + items * (_TASTES + _SHELF_REACH))
    check_memory(
        f"Synthetic data of {users:,} users, {items:,} items and {mean_events:,} events a user",
        of_events + of_tables,
        host_memory(),
        "lower users, items or mean_events of config.data.synthetic",
    )
    generators = np.random.default_rng(seed).spawn(len(_STREAMS))
    stream = dict(zip(_STREAMS, generators, strict=True))
    catalogue = _make_catalogue(items, stream["catalogue"])
    tastes = _make_tastes(catalogue, stream["tastes"])
    age_u = stream["users"].choice(len(_AGE_GROUPS), users, p=[0.05, 0.2, 0.3, 0.2, 0.1, 0.1, 0.05])
    tastes_u3 = _distinct_draws(tastes.chance_at[age_u], _TASTES_OF_USER, stream["users"])
    lengths = _make_lengths(users, items, mean_events, stream["lengths"])
    item_e, rating_e = _make_timelines(catalogue, tastes, tastes_u3, lengths, stream["events"])
    id_v = 1 + stream["ids"].permutation(items).astype(np.int64)
    events = {
        "user": np.repeat(np.arange(1, users + 1, dtype=np.int64), lengths),
        "item": id_v[item_e],
        "time": _make_times(lengths, stream["times"]),
        "rating": rating_e.astype(np.float32),
    }
    ages = {
        "user": np.arange(1, users + 1, dtype=np.int64),
        "age_group": [_AGE_GROUPS[age] for age in age_u],
    }
    return Interactions(
        events=pl.DataFrame(events),
        items=_items_table(catalogue, id_v, stream["titles"]),
        users=pl.DataFrame(ages),
        source=f"synthetic data ({users} users, {items} items, seed {seed})",
    )


def _check(**arguments: int) -> None:
    for name, value in arguments.items():
        least = 0 if name == "seed" else 1
        if value < least:
            raise ConfigError(f"config.data.synthetic.{name} is {value}; use {least} or above.")


# ---- the catalogue --------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class _Catalogue:
    """Properties of the items; the parts of a series are adjacent."""

    series_v: np.ndarray  # index of the series; a single item is a series of one part
    part_v: np.ndarray  # 0, 1, ... within the series
    next_part_v: np.ndarray  # the item that is the next part, or -1
    year_v: np.ndarray
    genres_vf: np.ndarray  # bool
    popularity_v: np.ndarray  # weight
    quality_v: np.ndarray  # added to every rating
    shelf_next_vk: np.ndarray  # likely next items on the shelf, likeliest first


def _make_catalogue(items: int, rng: np.random.Generator) -> _Catalogue:
    length_s = 1 + rng.choice(len(_SERIES_LENGTHS), items, p=_SERIES_LENGTHS)
    series_v = np.repeat(np.arange(items), length_s)[:items]
    first_v = np.searchsorted(series_v, series_v)
    part_v = np.arange(items) - first_v
    has_next_v = np.append(series_v[1:] == series_v[:-1], False)
    series = series_v[-1] + 1

    era_s = rng.choice(_ERAS, series, p=[0.05, 0.08, 0.1, 0.15, 0.25, 0.37])
    gap_s = rng.integers(1, 4, series)  # years between two parts
    start_s = era_s + np.rint(3 * rng.standard_normal(series)).astype(np.int64)
    start_s = np.minimum(start_s, _LAST_YEAR - gap_s * (np.bincount(series_v) - 1))
    year_v = start_s[series_v] + gap_s[series_v] * part_v

    likely_f = 1 / (1 + rng.permutation(len(_GENRES)) / 6)
    genres_s3 = _distinct_draws(np.tile(likely_f, (series, 1)), 3, rng)
    count_s = rng.choice([1, 2, 3], series, p=[0.35, 0.4, 0.25])
    genres_sf = np.zeros((series, len(_GENRES)), bool)
    for k in range(3):
        genres_sf[count_s > k, genres_s3[count_s > k, k]] = True

    # Zipf's law with a flattened head, as in MovieLens; later parts of a series are less popular.
    popularity_s = (rng.permutation(series) + 1 + 0.02 * series) ** -0.9
    popularity_v = popularity_s[series_v] * 0.7**part_v
    return _Catalogue(
        series_v=series_v,
        part_v=part_v,
        next_part_v=np.where(has_next_v, np.arange(items) + 1, -1),
        year_v=year_v,
        genres_vf=genres_sf[series_v],
        popularity_v=popularity_v,
        quality_v=0.4 * rng.standard_normal(series)[series_v],
        shelf_next_vk=_shelf_neighbours(genres_s3[series_v, 0], year_v, popularity_v),
    )


def _shelf_neighbours(genre_v: np.ndarray, year_v: np.ndarray, weight_v: np.ndarray) -> np.ndarray:
    """[V, K]: the most popular items just after each; the next shelf follows a shelf's end."""
    shelf = np.lexsort((year_v, genre_v))
    reach = np.arange(1, 1 + min(_SHELF_REACH, max(1, len(shelf) - 1)))
    after = shelf[(np.arange(len(shelf))[:, None] + reach) % len(shelf)]
    best = np.argsort(-weight_v[after], axis=1, kind="stable")[:, : len(_SHELF_CHANCES)]
    neighbours = np.empty_like(best)
    neighbours[shelf] = np.take_along_axis(after, best, axis=1)
    return neighbours


def _distinct_draws(weight_nm: np.ndarray, k: int, rng: np.random.Generator) -> np.ndarray:
    """[N, K]: K distinct columns per row, drawn one after the other by weight."""
    # Exponential race: the k smallest arrival times are such a draw.
    arrival_nm = rng.standard_exponential(weight_nm.shape) / weight_nm
    return np.argsort(arrival_nm, axis=1, kind="stable")[:, :k]


def _items_table(catalogue: _Catalogue, id_v: np.ndarray, rng: np.random.Generator) -> pl.DataFrame:
    order = np.argsort(id_v)
    name_s = _names(int(catalogue.series_v[-1]) + 1, rng)
    rows = zip(catalogue.series_v, catalogue.part_v, catalogue.year_v, strict=True)
    titles = [f"{name_s[s]}{f' {part + 1}' if part else ''} ({year})" for s, part, year in rows]
    genres = [[_GENRES[f] for f in np.flatnonzero(row)] for row in catalogue.genres_vf]
    return pl.DataFrame(
        {
            "item": id_v[order],
            "title": [titles[v] for v in order],
            "genres": [genres[v] for v in order],
            "year": catalogue.year_v[order].astype(np.int64),
        }
    )


def _names(count: int, rng: np.random.Generator) -> list[str]:
    """Distinct names that do not end with a number, so that titles are distinct, too."""
    stems = [f"The {adjective} {noun}" for adjective in _ADJECTIVES for noun in _NOUNS]
    stem_order = rng.permutation(len(stems))
    names = []
    for n in range(count):
        turn, stem = divmod(n, len(stems))
        take, ending = divmod(turn, len(_ENDINGS))
        prefix = f"Volume {take + 1} of " if take else ""
        names.append(f"{prefix}{stems[stem_order[stem]]}{_ENDINGS[ending]}")
    return names


# ---- tastes and users -----------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class _Tastes:
    """T tastes; row T is general popularity."""

    match_tv: np.ndarray  # match of the item, 0 to 1
    weight_tv: np.ndarray  # probability that the item is drawn
    cumulative: np.ndarray  # flat cumulative weights; row t runs from t to t + 1
    chance_at: np.ndarray  # weight of the taste in an age group


def _make_tastes(catalogue: _Catalogue, rng: np.random.Generator) -> _Tastes:
    liked_t3 = _distinct_draws(np.ones((_TASTES, len(_GENRES))), 3, rng)
    liked_tf = np.zeros((_TASTES, len(_GENRES)))
    np.put_along_axis(liked_tf, liked_t3, 1.0, axis=1)
    era_t = np.arange(_TASTES) % len(_ERAS)
    count_v = catalogue.genres_vf.sum(axis=1)
    genre_match_tv = np.stack([catalogue.genres_vf @ liked_f / count_v for liked_f in liked_tf])
    years_tv = catalogue.year_v - _ERAS[era_t][:, None]
    match_tv = 0.55 * genre_match_tv + 0.45 / (1 + (years_tv / 8) ** 2)
    match_tv = np.append(match_tv, np.full((1, len(count_v)), 0.5), axis=0)

    weight_tv = catalogue.popularity_v * np.exp(8 * match_tv)
    weight_tv /= weight_tv.sum(axis=1, keepdims=True)
    cumulative_tv = np.cumsum(weight_tv, axis=1) + np.arange(_TASTES + 1)[:, None]
    # Older users prefer older eras; each taste also has a few users of any age.
    age_t = (len(_ERAS) - 1 - era_t) * (len(_AGE_GROUPS) - 1) / (len(_ERAS) - 1)
    distance_at = np.arange(len(_AGE_GROUPS))[:, None] - age_t
    chance_at = 0.02 + np.exp(-(distance_at**2) / 2)
    return _Tastes(match_tv, weight_tv, cumulative_tv.ravel(), chance_at)


def _make_lengths(users: int, items: int, mean_events: int, rng: np.random.Generator) -> np.ndarray:
    """Events of each user, [U]."""
    most = min(5 * mean_events, items if items < 10 else items // 2)
    spread = 0.7
    drawn = mean_events * np.exp(spread * rng.standard_normal(users) - spread**2 / 2)
    return np.clip(np.rint(drawn), min(5, mean_events, most), most).astype(np.int64)


# ---- timelines ------------------------------------------------------------------------------


def _make_timelines(
    catalogue: _Catalogue,
    tastes: _Tastes,
    tastes_u3: np.ndarray,
    lengths: np.ndarray,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Items and ratings of all events, user by user, [E] each."""
    item_e = np.empty(lengths.sum(), np.int64)
    rating_e = np.empty(lengths.sum(), np.int64)
    start_u = np.cumsum(lengths) - lengths
    # Longest first: the users still active at a step are then the first part of a block.
    order = np.argsort(-lengths, kind="stable")
    size = max(1, min(_BLOCK_USERS, _SEEN_BYTES // len(catalogue.year_v)))
    for block in np.split(order, range(size, len(order), size)):
        walk = _Walk(catalogue, tastes, tastes_u3[block], rng)
        for step in range(lengths[block[0]]):
            walking = np.searchsorted(-lengths[block], -step)
            place = start_u[block[:walking]] + step
            progress = step / lengths[block[:walking]]
            item_e[place], rating_e[place] = walk.step(progress)
    return item_e, rating_e


class _Walk:
    """The state of a block's users between two events."""

    def __init__(
        self,
        catalogue: _Catalogue,
        tastes: _Tastes,
        tastes_u3: np.ndarray,
        rng: np.random.Generator,
    ) -> None:
        users = len(tastes_u3)
        self.catalogue, self.tastes, self.rng = catalogue, tastes, rng
        self.tastes_u3 = tastes_u3
        self.seen_uv = np.zeros((users, len(catalogue.year_v)), bool)
        self.mood_u = tastes_u3[:, 0].copy()
        self.change_u = np.zeros(users)  # chance of a new mood before the next event
        self.last_u = np.zeros(users, np.int64)
        self.shelf_u = np.zeros(users)  # chance that the shelf of `last_u` decides
        self.next_part_u = np.zeros(users, np.int64)
        self.series_u = np.zeros(users)  # chance that `next_part_u` is taken

    def step(self, progress: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """One event of the first N users, who completed a share [N] of their timelines.

        Returns item and rating, [N] each.
        """
        n = len(progress)
        self._change_mood(progress)
        item = self._replace_seen(self._propose(n))
        self.seen_uv[np.arange(n), item] = True
        match = self.tastes.match_tv[self.mood_u[:n], item]
        noise = 0.5 * self.rng.standard_normal(n)
        score = 2 + 2.6 * match + self.catalogue.quality_v[item] + noise
        rating = np.clip(np.rint(score), 1, 5).astype(np.int64)
        self._remember(item, rating)
        return item, rating

    def _change_mood(self, progress: np.ndarray) -> None:
        n = len(progress)
        change = np.flatnonzero(self.rng.random(n) < self.change_u[:n])
        # The drift: mostly the taste 0, 1 or 2 for this stage of the timeline.
        stage = 2 * progress[change] + 0.5 * self.rng.standard_normal(len(change))
        stage = np.clip(np.rint(stage), 0, _TASTES_OF_USER - 1).astype(np.int64)
        self.mood_u[change] = self.tastes_u3[change, stage]

    def _propose(self, n: int) -> np.ndarray:
        item = self._draw(self.mood_u[:n])
        by_shelf = np.flatnonzero(self.rng.random(n) < self.shelf_u[:n])
        neighbours = self.catalogue.shelf_next_vk[self.last_u[by_shelf]]
        which = np.searchsorted(np.cumsum(_SHELF_CHANCES), self.rng.random(len(by_shelf)))
        which = np.minimum(which, neighbours.shape[1] - 1)
        item[by_shelf] = neighbours[np.arange(len(by_shelf)), which]
        by_series = np.flatnonzero(self.rng.random(n) < self.series_u[:n])
        item[by_series] = self.next_part_u[by_series]
        return item

    def _draw(self, taste: np.ndarray) -> np.ndarray:
        everybody = self.rng.random(len(taste)) < _FOLLOW_EVERYBODY
        row = np.where(everybody, _TASTES, taste)
        items = len(self.catalogue.year_v)
        place = np.searchsorted(self.tastes.cumulative, row + self.rng.random(len(row)), "right")
        return np.clip(place - row * items, 0, items - 1)  # rounding may reach the next row

    def _replace_seen(self, item: np.ndarray) -> np.ndarray:
        for _ in range(_DRAWS):
            again = np.flatnonzero(self.seen_uv[np.arange(len(item)), item])
            item[again] = self._draw(self.mood_u[again])
        # For users who have seen nearly all items they like, draw among all unseen items by weight.
        again = np.flatnonzero(self.seen_uv[np.arange(len(item)), item])
        weight = self.tastes.weight_tv[self.mood_u[again]]
        arrival = self.rng.standard_exponential(weight.shape) / weight
        arrival[self.seen_uv[again]] = np.inf
        item[again] = arrival.argmin(axis=1)
        return item

    def _remember(self, item: np.ndarray, rating: np.ndarray) -> None:
        n = len(item)
        self.last_u[:n] = item
        self.shelf_u[:n] = _GO_ON_WITH_SHELF[rating]
        self.change_u[:n] = _CHANGE_MOOD[rating]
        done = np.flatnonzero(item == self.next_part_u[:n])
        self.series_u[done] = 0
        next_part = self.catalogue.next_part_v[item]
        begun = np.flatnonzero((next_part >= 0) & ~self.seen_uv[np.arange(n), next_part])
        self.next_part_u[begun] = next_part[begun]
        self.series_u[begun] = _GO_ON_WITH_SERIES[rating[begun]]


def _make_times(lengths: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Seconds since 1970, [E], non-decreasing per user: evenings of events, days apart."""
    events = lengths.sum()
    seconds = rng.integers(15, 180, events)
    seconds[rng.random(events) < 0.15] = 0  # rated on the same page: a tie
    evening = rng.random(events) < 0.08
    seconds[evening] = 86400 * rng.integers(1, 21, evening.sum())
    start_u = np.cumsum(lengths) - lengths
    seconds[start_u] = 978307200 + rng.integers(0, 365 * 86400, len(lengths))  # in 2001
    total = np.cumsum(seconds)
    return total - np.repeat(total[start_u] - seconds[start_u], lengths)
