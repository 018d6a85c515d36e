"""Baselines: by hand, by a slow second implementation in fractions, without leaks, on MovieLens."""

from fractions import Fraction
from itertools import pairwise

import numpy as np
import polars as pl
import pytest

from flaxrec.config import presets
from flaxrec.data import splits
from flaxrec.data.dataset import Dataset, prepare
from flaxrec.data.spec import InputSpec, ModelSpec
from flaxrec.data.timelines import ITEM, Column, Timelines
from flaxrec.errors import ConfigError
from flaxrec.evaluation import baselines
from flaxrec.scoring import metrics
from tests.support.builders import make_timelines
from tests.support.places import SHARED

ML_1M = SHARED / "data" / "ml-1m"  # not in the repository

# Candidates by number of events, then by id: 10 is 0, 20 is 1, ..., 70 is 6.
WATCHED = {
    1: [10, 20, 30, 40, 50],  # training labels 20, 30; validation 40; test 50
    2: [20, 30, 10, 50, 40],  # 30, 10; 50; 40
    3: [10, 20, 40, 30, 10],  # 20, 40; 30; 10, seen before
    4: [60, 70, 60, 20, 30],  # 70, 60; 20; 30
}


def leave_one_out(watched) -> Dataset:
    events = [(user, item, t) for user, items in watched.items() for t, item in enumerate(items)]
    timelines = make_timelines(events)
    split = splits.leave_one_out(timelines.offsets)
    return Dataset(timelines, split, ModelSpec(timelines.inputs, len(timelines.items), 1))


@pytest.fixture
def dataset() -> Dataset:
    return leave_one_out(WATCHED)


# ---- by hand --------------------------------------------------------------------------------


def test_popularity_by_hand(dataset):
    # Training labels: 20 and 30 twice, 10, 40, 60 and 70 once, 50 never.
    ranked = baselines.rank("popularity", dataset, dataset.split.test, top=3)
    # 50: six are better. 40: two are better and three equal. 10: the same. 30: one is equal.
    assert ranked.rank.tolist() == [6, 2 + 3 / 2, 2 + 3 / 2, 1 / 2]
    # 50: 10 to 40 were seen. 40: both better ones and 10 were. 10: both and 40 were. 30: 20 was.
    assert ranked.filtered_rank.tolist() == [6 - 4, 3.5 - 2 - 1 / 2, 3.5 - 2 - 1 / 2, 0]
    # Users 1 and 3 have 50, 60, 70 left, user 2 has 40, 60, 70, user 4 has 10, 30, 40, 50.
    assert ranked.top.tolist() == [[5, 6, 4], [3, 5, 6], [5, 6, 4], [2, 0, 3]]
    assert (ranked.rank.dtype, ranked.top.dtype) == (np.float32, np.int32)
    assert ranked.filtered_rank.dtype == np.float32


def test_last_item_by_hand(dataset):
    # 10 -> 20 twice; 20 -> 30 twice, -> 40 once; 30 -> 10; 60 -> 70; 70 -> 60; 40, 50: nothing.
    ranked = baselines.rank("last_item", dataset, dataset.split.validation, top=3)
    # 40 after 30: 10, then by popularity 20 and 30, then 60 and 70 with it; 10, 20, 30 were seen.
    # 50 after 10: all others; 20, 30, 10 were seen. 30 after 40: as popular as 20, which was seen.
    # 20 after 60: 70 is better, 30 is equal; 70 was seen.
    assert ranked.rank.tolist() == [3 + 2 / 2, 6, 1 / 2, 1 + 1 / 2]
    assert ranked.filtered_rank.tolist() == [2 / 2, 6 - 3, 0, 1 / 2]
    assert ranked.top.tolist() == [[3, 5, 6], [3, 5, 6], [2, 5, 6], [1, 2, 0]]
    test = baselines.rank("last_item", dataset, dataset.split.test, top=3)
    assert test.rank.tolist() == [6, 3.5, 0, 0]  # after 40 and 50: popularity; 30 -> 10; 20 -> 30
    assert test.top.tolist() == [[5, 6, 4], [3, 5, 6], [5, 6, 4], [2, 3, 0]]  # 10 itself was seen


def test_last_items_by_hand(dataset):
    # One event later counts 1, two 1/2: 20 leads to 30 (2), 40 (1), 10 (1/2); 60 to 70 (1), 60
    # (1/2). Before user 4's test label stands 20, and before that 60, which weighs a half.
    scores = baselines.last_ten(dataset, 2)(dataset.split.test[3:])[0]
    expected = [0.5 / 3.5, 0, 2 / 3.5, 1 / 3.5, 0, 1 / 2 * 0.5 / 1.5, 1 / 2 * 1 / 1.5]
    np.testing.assert_allclose(scores, expected, atol=1e-6)
    # Before user 2's: 50, which leads nowhere, and 10: to 20 (2), 30 and 40 (1/2 each).
    # 20 and, of the equal two, 30 as more popular are before 40; both were seen.
    ranked = baselines.rank("last_ten", dataset, dataset.split.test, context_length=2)
    assert ranked.rank[1] == 2
    assert ranked.filtered_rank[1] == 0


def test_item_knn_by_hand(dataset):
    # Users of training labels: 20 and 30 have two, one in common; 10 shares its one with 30, 40
    # its one with 20. Before user 1's validation label stands 30, and before that 20.
    scores = baselines.item_knn(dataset, 2)(dataset.split.validation[:1])[0]
    expected = [1 / 2**0.5, 1 / 2, 1 / 2 * 1 / 2, 1 / 2 * 1 / 2**0.5, 0, 0, 0]
    np.testing.assert_allclose(scores, expected, atol=1e-6)
    ranked = baselines.rank("item_knn", dataset, dataset.split.validation, context_length=2)
    assert ranked.rank[0] == 2  # 40 comes after 10 and 20
    assert ranked.filtered_rank[0] == 0


def test_lists_end_with_seen_items_where_others_run_out(dataset):
    ranked = baselines.rank("popularity", dataset, dataset.split.test, top=10)
    assert ranked.top[0].tolist() == [5, 6, 4, 0, 1, 2, 3]


# ---- a second implementation ----------------------------------------------------------------


def slow_scores(name, histories, is_train, user, place, length, neighbours, candidates):
    """Exact scores (fractions, square roots apart) of all candidates before one label."""
    labels = [(u, p) for u, p in is_train if is_train[u, p]]
    popular = [sum(histories[u][p] == c for u, p in labels) for c in candidates]
    if name == "popularity":
        return popular
    width = 1 if name == "last_item" else length
    table = {}
    if name == "transitions":
        table = slow_transitions(histories, labels, neighbours, candidates)
    elif name == "item_knn":
        fans = [{u for u, p in labels if histories[u][p] == c} for c in candidates]
        for i in candidates:
            cosines = [
                len(fans[i] & fans[c]) / (len(fans[i]) * len(fans[c])) ** 0.5
                if c != i and fans[i] and fans[c]
                else 0.0
                for c in candidates
            ]
            least = sorted(cosines, reverse=True)[min(neighbours, len(cosines)) - 1]
            table[i] = [cosine if cosine >= least - 1e-12 else 0 for cosine in cosines]
    else:
        for i in candidates:
            row = [Fraction(0)] * len(candidates)
            for u, p in labels:
                for gap in range(1, min(width, p) + 1):
                    if histories[u][p - gap] == i:
                        row[histories[u][p]] += Fraction(1, gap)
            table[i] = [value / (sum(row) or 1) for value in row]
    return [
        sum(table[histories[user][place - k]][c] / k for k in range(1, min(width, place) + 1))
        + popular[c] * Fraction(1, 10**7) / sum(popular)
        for c in candidates
    ]


def slow_transitions(histories, labels, neighbours, candidates):
    table = {i: [0.0] * len(candidates) for i in candidates}
    for u, p in labels:
        for gap in range(1, min(50, p) + 1):
            table[histories[u][p - gap]][histories[u][p]] += gap**-0.5
    rows = {i: sum(table[i]) for i in candidates}
    columns = [sum(table[i][c] for i in candidates) for c in candidates]
    for i in candidates:
        own = [v and v * rows[i] ** -0.5 * columns[c] ** -0.25 for c, v in enumerate(table[i])]
        best = sorted(candidates, key=lambda c, own=own: (-own[c], c))[:neighbours]
        table[i] = [value if c in best else 0.0 for c, value in enumerate(own)]
    return table


@pytest.mark.parametrize("protocol", ["leave_one_out", "random"])
@pytest.mark.parametrize("name", baselines.BASELINES)
def test_against_a_slow_implementation(name, protocol, monkeypatch):
    neighbours, length = 3, 4
    monkeypatch.setattr(baselines, "_NEIGHBOURS", neighbours)
    monkeypatch.setattr(baselines, "_ENTRIES", 20)  # two labels a batch, two items a block
    rng = np.random.default_rng(5)
    watched = {u: rng.choice(9, rng.integers(3, 14)).tolist() for u in range(1, 13)}  # repeats
    made = leave_one_out(watched)
    if protocol == "random":
        made = Dataset(made.timelines, splits.random(made.timelines.offsets, 0, 0.3, 1), made.spec)
    timelines, positions = made.timelines, made.split.test
    bounds = list(pairwise(timelines.offsets.tolist()))
    histories = [(timelines.item[begin:end] - 1).tolist() for begin, end in bounds]
    train = set(made.split.train.tolist())
    is_train = {(u, p - b): p in train for u, (b, e) in enumerate(bounds) for p in range(b, e)}

    ranked = baselines.rank(name, made, positions, context_length=length, top=4)
    assert len(positions) > 5
    candidates = range(made.spec.candidates)
    for n, position in enumerate(positions.tolist()):
        user = int(timelines.user[position])
        place = position - bounds[user][0]
        scores = slow_scores(name, histories, is_train, user, place, length, neighbours, candidates)
        label, seen = histories[user][place], set(histories[user][:place])
        exact = 1e-6 if name == "transitions" else 1e-12  # its table is float32

        def among(others, scores=scores, label=label, exact=exact):
            # The fewest and the most places before the label: sums of floats may tell equal
            # fractions apart.
            others = [c for c in others if c != label]
            return [sum(scores[c] > scores[label] + e for c in others) for e in (exact, -exact)]

        for got, (low, high) in (
            (ranked.rank[n], among(candidates)),
            (ranked.filtered_rank[n], among(set(candidates) - seen)),
        ):
            assert low <= got <= high
            if name in ("popularity", "last_item"):  # no sums: exact
                assert got == (low + high) / 2
        shown = sorted(candidates, key=lambda c: (c in seen, 0 if c in seen else -scores[c], c))
        if name in ("popularity", "last_item"):
            assert ranked.top[n].tolist() == shown[:4]
        hidden = [(c in seen, 0.0 if c in seen else -float(scores[c])) for c in shown[:4]]
        got = ranked.top[n].tolist()
        assert [c in seen for c in got] == [is_seen for is_seen, _ in hidden]
        values = [0.0 if c in seen else -float(scores[c]) for c in got]
        np.testing.assert_allclose(values, [value for _, value in hidden], atol=exact)


def test_batches_do_not_change_a_rank(dataset, monkeypatch):
    every = np.concatenate([dataset.split.validation, dataset.split.test])
    whole = [baselines.rank(name, dataset, every) for name in baselines.BASELINES]
    monkeypatch.setattr(baselines, "_ENTRIES", 1)
    for name, expected in zip(baselines.BASELINES, whole, strict=True):
        one_by_one = baselines.rank(name, dataset, every)
        np.testing.assert_array_equal(one_by_one.rank, expected.rank)
        np.testing.assert_array_equal(one_by_one.filtered_rank, expected.filtered_rank)
        np.testing.assert_array_equal(one_by_one.top, expected.top)
        assert baselines.rank(name, dataset, every[:0]).top.shape == (0, 7)


# ---- no leak --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", baselines.BASELINES)
def test_targets_are_not_counted(name):
    rng = np.random.default_rng(2)
    watched = {u: rng.permutation(15)[: rng.integers(5, 12)].tolist() for u in range(20)}
    # The same items at the ends of other timelines: the counts of events, and with them the
    # candidates' numbers, stay as they are.
    last, last_but_one = [{u: items[-k] for u, items in watched.items()} for k in (1, 2)]
    other = {u: [*items[:-1], last[(u + 1) % 20]] for u, items in watched.items()}
    both = {u: [*items[:-2], last_but_one[(u + 3) % 20], items[-1]] for u, items in other.items()}
    before, after, after_both = (leave_one_out(w) for w in (watched, other, both))
    assert before.timelines.items.equals(after.timelines.items)
    assert (before.timelines.item != after.timelines.item).sum() > 10
    scorers = [baselines.BASELINES[name](made, 5) for made in (before, after, after_both)]
    for part in ("validation", "test"):
        positions = getattr(before.split, part)
        np.testing.assert_array_equal(scorers[0](positions), scorers[1](positions))
    # Validation events are in the contexts of test labels, but are counted no more than those.
    validation = before.split.validation
    np.testing.assert_array_equal(scorers[0](validation), scorers[2](validation))
    in_training = before.split.train
    np.testing.assert_array_equal(scorers[0](in_training), scorers[2](in_training))


# ---- stored contexts ------------------------------------------------------------------------


def stored(made: Dataset, length: int) -> tuple[Dataset, np.ndarray]:
    """The same labels as examples with finished contexts, and the test labels' positions."""
    timelines = made.timelines
    order = np.concatenate([made.split.train, made.split.test])
    rows = np.zeros((len(order), length), np.int32)
    for n, position in enumerate(order):
        start = max(timelines.offsets[timelines.user[position]], position - length)
        rows[n, : position - start] = timelines.item[start:position]
    n = np.arange(len(order), dtype=np.int32)
    spec = InputSpec("context", "item.id", "INT", length, made.spec.candidates + 2, ITEM)
    examples = Timelines(
        offsets=np.arange(len(order) + 1, dtype=np.int32),
        user=n,
        item=timelines.item[order],
        time=np.zeros(len(order), np.int32),
        columns={"context": Column(rows)},
        inputs=(spec,),
        vocabularies=timelines.vocabularies,
        items=timelines.items,
        event_values={},
        users=pl.DataFrame({"user": n}),
        report={},
        contexts_are_stored=True,
    )
    train, test = np.split(n, [len(made.split.train)])
    split = splits.Split(train, train[:0], test, "records")
    return Dataset(examples, split, ModelSpec((spec,), made.spec.candidates, 1)), test


@pytest.mark.parametrize("name", ["popularity", "last_item", "last_ten", "transitions"])
def test_stored_contexts_give_the_same_ranks(name, dataset):
    examples, positions = stored(dataset, 3)
    expected = baselines.rank(name, dataset, dataset.split.test, context_length=3)
    ranked = baselines.rank(name, examples, positions, context_length=3)
    np.testing.assert_array_equal(ranked.rank, expected.rank)
    assert ranked.filtered_rank is None
    scores = baselines.BASELINES[name](examples, 3)(positions)
    np.testing.assert_array_equal(ranked.top, np.argsort(-scores, kind="stable"))  # none left out


def test_unknown_items_of_stored_contexts_lead_nowhere(dataset):
    examples, positions = stored(dataset, 3)
    rows = examples.timelines.columns["context"].values
    rows[positions[3]] = [1, dataset.spec.candidates + 1, 0]  # 'unknown' is the last item
    ranked = baselines.rank("last_item", examples, positions)
    by_popularity = baselines.rank("popularity", examples, positions)
    assert ranked.rank[3] == by_popularity.rank[3]


def test_padding_inside_a_stored_context_is_no_item(dataset):
    # In reference mode row 0 is a candidate as well, yet nothing leads there or comes from there.
    scores = []
    for gap in (0, dataset.spec.candidates + 1):  # padding and 'unknown'
        examples, positions = stored(dataset, 3)
        every_row = ModelSpec(examples.spec.inputs, dataset.spec.candidates + 1, 0)
        examples.timelines.columns["context"].values[:, 0] = gap
        made = Dataset(examples.timelines, examples.split, every_row)
        scores.append(baselines.last_ten(made, 3)(positions))
    np.testing.assert_array_equal(*scores)


def sentence(caught) -> str:
    message = str(caught.value)
    assert "\n" not in message
    assert message.endswith(".")
    return message


def test_errors_are_sentences(dataset):
    examples, positions = stored(dataset, 3)
    with pytest.raises(ConfigError) as caught:
        baselines.rank("item_knn", examples, positions)
    assert "'item_knn' needs whole timelines, which TFRecords do not hold" in sentence(caught)
    blind = Dataset(examples.timelines, examples.split, ModelSpec((), 7, 1))
    with pytest.raises(ConfigError) as caught:
        baselines.rank("last_item", blind, positions)
    assert "add a feature with source 'item.id'" in sentence(caught)
    with pytest.raises(ConfigError) as caught:
        baselines.rank("median", dataset, dataset.split.test)
    assert "no baseline 'median'; use one of popularity, last_item," in sentence(caught)
    with pytest.raises(ConfigError) as caught:
        baselines.rank("last_ten", dataset, dataset.split.test, context_length=0)
    assert "context_length is 0; use 1 or more" in sentence(caught)


# ---- beside a run ---------------------------------------------------------------------------


def test_beside_a_run_stand_both_splits(dataset):
    beside = baselines.beside_run(dataset, (1, 3))
    assert list(beside.metrics) == ["popularity", "last_item", "last_ten", "transitions"]
    assert (beside.labels, beside.sampled) == ({"validation": 4, "test": 4}, False)
    for name, by_split in beside.metrics.items():
        for split, means in by_split.items():
            ranked = baselines.rank(name, dataset, getattr(dataset.split, split))
            assert means == ranked.means((1, 3))


def test_beside_a_large_run_stands_a_sample(dataset, monkeypatch):
    monkeypatch.setattr(baselines, "_FEWEST", 2)
    monkeypatch.setattr(baselines, "_MOST_SCORES", 0)
    beside = baselines.beside_run(dataset, (1,))
    assert (beside.labels, beside.sampled) == ({"validation": 2, "test": 2}, True)
    ranked = baselines.rank("popularity", dataset, dataset.split.test[[0, -1]])
    assert beside.metrics["popularity"]["test"] == ranked.means((1,))


def test_beside_a_run_on_records_stands_what_they_allow(dataset):
    examples, positions = stored(dataset, 3)
    made = Dataset(examples.timelines, splits.Split(*[positions] * 3, "records"), examples.spec)
    assert list(baselines.beside_run(made, (1,)).metrics) == list(baselines.BESIDE_RUNS)
    blind = Dataset(made.timelines, made.split, ModelSpec((), made.spec.candidates, 1))
    assert list(baselines.beside_run(blind, (1,)).metrics) == ["popularity"]


def test_the_old_name_is_understood(dataset):
    with pytest.warns(FutureWarning, match="'last_10_items' is called 'last_ten' now"):
        ranked = baselines.rank("last_10_items", dataset, dataset.split.test)
    np.testing.assert_array_equal(
        ranked.rank, baselines.rank("last_ten", dataset, dataset.split.test).rank
    )


# ---- MovieLens-1M ---------------------------------------------------------------------------


def movielens_1m(**split) -> Dataset:
    if not ML_1M.is_dir():
        pytest.skip(f"{ML_1M} is not there: MovieLens may not be redistributed")
    config = presets.example_network("bow", None)
    config.data.path = str(ML_1M)
    config.data.min_rating = split.pop("min_rating", 0)
    for field, value in split.items():
        setattr(config.split, field, value)
    return prepare(config)


@pytest.fixture(scope="module")
def leave_one_out_of_movielens() -> Dataset:
    return movielens_1m()


@pytest.mark.parametrize(
    ("name", "figures"),  # recall@10, ndcg@10, filtered
    [
        ("popularity", (0.0373, 0.0180)),
        ("last_item", (0.2144, 0.1259)),
        pytest.param("last_ten", (0.2752, 0.1621), marks=pytest.mark.long),
        pytest.param("transitions", (0.2652, 0.1563), marks=pytest.mark.long),
        pytest.param("item_knn", (0.1695, 0.0947), marks=pytest.mark.long),
    ],
)
def test_leave_one_out_on_movielens_1m(name, figures, leave_one_out_of_movielens):
    """As a second program has measured; equal times in the file's order."""
    dataset = leave_one_out_of_movielens
    ranked = baselines.rank(name, dataset, dataset.split.test)
    got = metrics.from_ranks(ranked.filtered_rank, (10,))
    assert (got["recall@10"], got["ndcg@10"]) == pytest.approx(figures, abs=6e-5)


@pytest.mark.long
def test_random_prefixes_of_movielens_1m():
    dataset = movielens_1m(protocol="random", min_rating=2, validation_fraction=0.0)
    some = dataset.split.test[:20_000]
    # recall@10, recall@100, mean rank, measured before on another draw of the split
    expected = {"popularity": (0.0285, 0.189, 655), "last_item": (0.178, 0.468, 449)}
    for name, (at_10, at_100, mean_rank) in expected.items():
        got = metrics.from_ranks(baselines.rank(name, dataset, some).rank, (10, 100))
        assert got["recall@10"] == pytest.approx(at_10, abs=0.006), name
        assert got["recall@100"] == pytest.approx(at_100, abs=0.01), name
        assert got["mean_rank"] == pytest.approx(mean_rank, abs=15), name
