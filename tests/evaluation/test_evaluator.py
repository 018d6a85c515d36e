"""The evaluator against brute force in Python: sets of seen items and lists of all scores.

The model is a table: a context's scores are the row of its last item. The scores are small whole
numbers, so that ties are many and every comparison is exact.
"""

import dataclasses
import math
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flaxrec.config import FeatureConfig
from flaxrec.data import contexts
from flaxrec.data.spec import ModelSpec
from flaxrec.data.splits import Split
from flaxrec.devices import Mesh
from flaxrec.evaluation import blocks
from flaxrec.evaluation import evaluator as evaluation
from flaxrec.evaluation.evaluator import Evaluator, PerLabel
from tests.support.builders import make_config, make_timelines, random_model

LAST = FeatureConfig("last", "item.id", length=1)
ITEMS = 40
LENGTHS = (1, 2, 3, 5, 40, 127, 128, 129, 130, 300)  # seen events are looked at by 128


def table_model():
    """Stands for a `Structure`; its one parameter is scores[row of the last item, candidate]."""

    def merge(params):
        scores = params["scores"]
        return types.SimpleNamespace(
            logits=lambda features: scores[features["last"][:, 0]],
            encode_context=lambda features: jnp.eye(len(scores))[features["last"][:, 0]],
            label_encoder=types.SimpleNamespace(some=lambda candidates: scores.T[candidates]),
            score=lambda context, labels: context @ labels.T,
        )

    return types.SimpleNamespace(merge=merge)


def random_events(seed=0):
    """Histories of all lengths; half of the catalogue makes most of the events: many repeats."""
    rng = np.random.default_rng(seed)
    for user, length in enumerate(LENGTHS):
        favourites = 1 + rng.permutation(ITEMS)[: ITEMS // 2]
        for time in range(length):
            often = rng.random() < 0.8
            item = rng.choice(favourites) if often else rng.integers(1, ITEMS + 1)
            yield user, int(item), time


@dataclasses.dataclass
class World:
    """Timelines, scores [rows, candidates], and an evaluator of them."""

    timelines: object
    scores: np.ndarray
    evaluator: Evaluator
    first_candidate: int

    def __call__(self, positions):
        params = {"scores": jnp.asarray(self.scores, jnp.float32)}
        return self.evaluator(params, np.asarray(positions, np.int32))


def make_world(events, scores=None, *, batch_size=64, reference_mode=False, megabytes=0):
    timelines = make_timelines(events, LAST)
    rows = timelines.vocabularies["item"].rows
    first_candidate = 0 if reference_mode else 1
    candidates = rows - 1 - first_candidate
    if scores is None:
        scores = np.random.default_rng(1).integers(0, 12, (rows, candidates))
    config = make_config(LAST)
    config.evaluation.batch_size, config.reference_mode = batch_size, reference_mode
    config.evaluation.max_megabytes = megabytes
    mesh = Mesh(1, batch_size)
    evaluator = Evaluator(
        table_model(),
        ModelSpec(timelines.inputs, candidates, first_candidate),
        config,
        contexts.to_device(timelines, mesh.replicated),
        evaluation.earlier_events(timelines),
        mesh,
    )
    return World(timelines, np.asarray(scores, np.float32), evaluator, first_candidate)


def brute_force(world, position):
    """(rank, filtered rank, loss) of the label at a position."""
    timelines = world.timelines
    start = int(timelines.offsets[timelines.user[position]])
    rows = timelines.item.tolist()
    scores = world.scores[rows[position - 1] if position > start else 0].tolist()
    label = rows[position] - world.first_candidate
    seen = {row - world.first_candidate for row in rows[start:position]} - {label}

    def rank(candidates):
        better = sum(scores[c] > scores[label] for c in candidates)
        return better + 0.5 * (sum(scores[c] == scores[label] for c in candidates) - 1)

    everything = set(range(len(scores)))
    loss = math.log(sum(math.exp(score) for score in scores)) - scores[label]
    return rank(everything), rank(everything - seen), loss


def assert_brute_force(world, per_label, positions):
    expected = np.array([brute_force(world, position) for position in positions])
    np.testing.assert_array_equal(per_label.positions, positions)
    np.testing.assert_array_equal(per_label.rank, expected[:, 0])
    np.testing.assert_array_equal(per_label.filtered_rank, expected[:, 1])
    np.testing.assert_allclose(per_label.loss, expected[:, 2], rtol=1e-5)


# ---- ranks ----------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=[0, 16, 24])
def world(request):
    """Ranked all at once, in blocks of 16 candidates, and of 24, which do not divide 40."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "_MOST", request.param)
        yield make_world(random_events(), megabytes=int(request.param > 0))


def test_the_world_is_not_trivial(world):
    timelines, n = world.timelines, sum(LENGTHS)
    assert len(timelines.item) == n
    assert 0.3 < (~timelines.first_occurrence).mean() < 0.9
    outcomes = np.array([brute_force(world, position) for position in range(n)])
    taken = outcomes[:, 0] - outcomes[:, 1]
    assert (taken % 1 == 0.5).any()  # half places: seen items that tie with the label
    assert taken.max() > 15


def test_ranks_are_the_naive_ones(world):
    """For every event, in a number that no batch divides."""
    positions = np.arange(len(world.timelines.item))
    assert len(positions) % 64
    assert_brute_force(world, world(positions), positions)


@pytest.mark.parametrize("n", [1, 64, 65])
def test_results_come_in_the_order_of_the_labels(world, n):
    """Whatever the order of the batches: shuffled, and some labels twice."""
    positions = np.random.default_rng(n).integers(0, len(world.timelines.item), n)
    assert_brute_force(world, world(positions), positions)


@pytest.mark.parametrize("batch_size", [1, 2000])
def test_results_do_not_depend_on_the_batch_size(world, batch_size):
    positions = np.array([5, 700, 11, 12, 300, 42, 430, 2, 864, 3], np.int32)
    other = make_world(random_events(), batch_size=batch_size)(positions)
    expected = world(positions)
    np.testing.assert_array_equal(other.rank, expected.rank)
    np.testing.assert_array_equal(other.filtered_rank, expected.filtered_rank)
    np.testing.assert_allclose(other.loss, expected.loss, rtol=2e-6)


def test_by_hand():
    """Candidates a..e are scored 5 4 3 2 1 whatever the context."""
    items = "abcde"
    events = [(1, item, time) for time, item in enumerate("ecaacde")]
    events += [(2, item, time) for time, item in enumerate("bbdbcaed")]
    timelines = make_timelines(events)
    order = timelines.vocabularies["item"].entries[1:]
    scores = np.tile([5 - items.index(item) for item in order], (7, 1))
    found = make_world(events, scores)(np.arange(len(events)))
    # User 1:                   e  c  a  a  c  d  e
    assert found.rank[:7].tolist() == [4, 2, 0, 0, 2, 3, 4]
    # Seen before:              -  e  ec eca eca eca ecad; the label itself is never left out.
    assert found.filtered_rank[:7].tolist() == [4, 2, 0, 0, 1, 1, 1]
    # User 2, of whom user 1's events say nothing:  b  b  d  b  c  a  e  d
    assert found.rank[7:].tolist() == [1, 1, 3, 1, 2, 0, 4, 3]
    assert found.filtered_rank[7:].tolist() == [1, 1, 2, 1, 1, 0, 0, 0]


def test_ties_by_hand():
    """All five score alike: four others take half a place each, unless they were seen."""
    events = [(1, item, time) for time, item in enumerate("abbca")] + [(2, "d", 0), (2, "e", 1)]
    found = make_world(events, np.zeros((7, 5)))(np.arange(5))
    assert found.rank.tolist() == [2.0] * 5
    assert found.filtered_rank.tolist() == [2.0, 1.5, 1.5, 1.0, 1.0]
    np.testing.assert_allclose(found.loss, [math.log(5)] * 5, rtol=1e-6)


def test_a_score_that_is_no_number_ranks_last():
    scores = np.zeros((7, 5))
    scores[:, 0] = np.nan  # the most frequent item, 'a'
    events = [(1, item, time) for time, item in enumerate("abbcada")] + [(2, "e", 0)]
    found = make_world(events, scores)(np.array([4, 3]))
    assert found.rank.tolist() == [5.0, 1.5]
    assert found.filtered_rank[0] >= found.rank[1]


def test_no_labels(world):
    found = world(np.zeros(0, np.int32))
    assert len(found.rank) == len(found.filtered_rank) == len(found.loss) == 0


# ---- reference mode -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def reference_world():
    return make_world(random_events(), batch_size=16, reference_mode=True)


def test_batch_metrics_are_those_of_consecutive_labels(reference_world):
    """Batches of 16 in the order given; the last, partial one is left out, as in the reference."""
    world = reference_world
    positions = np.random.default_rng(2).permutation(len(world.timelines.item))[: 3 * 16 + 5]
    found = world(positions)
    assert_brute_force(world, found, positions)

    expected = []
    rows, starts = world.timelines.item, world.timelines.offsets[world.timelines.user]
    for batch in positions[:48].reshape(3, 16):
        for i, position in enumerate(batch):
            last = rows[position - 1] if position > starts[position] else 0
            among = [world.scores[last, rows[other]] for other in batch]
            order = sorted(range(16), key=lambda j, among=among: -among[j])
            expected.append(order.index(i))
    assert found.batch_rank.tolist() == expected
    all_pairs = []
    for batch in positions[:48].reshape(3, 16):
        for position in batch:
            last = rows[position - 1] if position > starts[position] else 0
            order = sorted(
                range(world.scores.shape[1]), key=lambda c, last=last: -world.scores[last, c]
            )
            all_pairs.append(np.mean([order.index(rows[other]) for other in batch]))
    assert found.all_pairs_rank.tolist() == pytest.approx(all_pairs)
    means = found.means((1, 5))
    assert means["all_pairs_mean_rank"] == pytest.approx(np.mean(all_pairs))
    assert means["batch_recall@5"] == np.mean([rank < 5 for rank in expected])
    assert means["batch_mean_rank"] == np.mean(expected)


def test_a_partial_batch_alone_has_no_batch_metrics(reference_world):
    means = reference_world(np.arange(3)).means((1,))
    assert not [name for name in means if name.startswith(("batch_", "all_pairs_"))]


def test_without_reference_mode_there_are_no_batch_metrics(world):
    found = world(np.arange(64))
    assert found.batch_rank is None
    assert found.all_pairs_rank is None
    names = found.means((1,))
    assert not [name for name in names if name.startswith(("batch_", "all_pairs_"))]


# ---- a real model ---------------------------------------------------------------------------


def test_a_dual_encoders_logits_are_ranked():
    """Contexts, model and ranks together: the logits are computed here from the bare arrays."""
    feature = FeatureConfig("recent", "item.id", embedding_dim=3)
    events = [(user, (user * time) % 5, time) for user in (1, 2, 3) for time in range(6)]
    timelines, config = make_timelines(events, feature), make_config(feature)
    config.model.embedding_dim, config.model.hidden_dims = 4, ()
    config.evaluation.batch_size = 4
    spec = ModelSpec(timelines.inputs, 5, 1)
    structure, params = random_model(config, spec)
    mesh = Mesh(1, 4)
    device = contexts.to_device(timelines, mesh.replicated)
    evaluator = Evaluator(
        structure, spec, config, device, evaluation.earlier_events(timelines), mesh
    )
    positions = np.array([5, 1, 9, 14, 12], np.int32)
    found = evaluator(params, positions)

    weights = {name: np.asarray(value) for name, value in params.items()}
    for i, position in enumerate(positions):
        start = timelines.offsets[timelines.user[position]]
        context = timelines.item[max(start, position - 3) : position]
        vectors = weights["context_encoder/groups/0/features/tables/recent"][context]
        encoding = vectors.sum(axis=0) / max(1, len(context))
        encoding = encoding @ weights["context_encoder/projection/kernel"]
        encoding = encoding + weights["context_encoder/projection/bias"]
        logits = weights["label_encoder/table"] @ encoding
        label = timelines.item[position] - 1
        seen = np.unique(timelines.item[start:position] - 1)
        better = np.flatnonzero(logits > logits[label])
        assert found.rank[i] == len(better)
        assert found.filtered_rank[i] == len(np.setdiff1d(better, seen))
        loss = np.log(np.exp(logits).sum()) - logits[label]
        np.testing.assert_allclose(found.loss[i], loss, rtol=1e-5)


# ---- means and reports ----------------------------------------------------------------------


def test_means_by_name():
    per_label = PerLabel(
        positions=np.arange(4),
        rank=np.array([0.0, 2.0, 5.0, 9.0]),
        filtered_rank=np.array([0.0, 1.0, 0.5, 9.0]),
        loss=np.array([1.0, 2.0, 3.0, 6.0]),
        batch_rank=np.array([0, 4]),
        all_pairs_rank=np.array([3.0, 4.0]),
    )
    means = per_label.means((2,))
    assert means == pytest.approx(
        {
            "loss": 3.0,
            "recall@2": 1 / 4,
            "ndcg@2": 1 / 4,
            "mrr@2": 1 / 4,
            "mean_rank": 4.0,
            "filtered/recall@2": 3 / 4,
            "filtered/ndcg@2": (1 + 1 / math.log2(1 + 2) + 1 / math.log2(0.5 + 2)) / 4,
            "filtered/mrr@2": (1 + 1 / 2 + 1 / 1.5) / 4,
            "filtered/mean_rank": 10.5 / 4,
            "batch_recall@2": 1 / 2,
            "batch_mean_rank": 2.0,
            "all_pairs_mean_rank": 3.5,
        }
    )
    assert all(type(value) is float for value in means.values())


def test_histories_count_the_users_earlier_events():
    timelines = make_timelines([(2, 1, 0), (1, 1, 0), (1, 2, 1), (2, 1, 1), (2, 3, 2), (3, 1, 0)])
    assert evaluation.earlier_events(timelines).tolist() == [0, 1, 0, 1, 2, 0]


def test_label_report_by_hand():
    #         position: 0          1          2          3          4          5          6
    events = [(1, 5, 0), (1, 6, 1), (1, 5, 2), (1, 7, 3), (2, 5, 0), (2, 8, 1), (2, 5, 2)]
    timelines = make_timelines(events)
    split = Split(np.array([1, 5]), np.array([2]), np.array([3, 6]), "by hand")
    # 7 is no training label, nor is 5, although it is in everybody's contexts; 5 is a repeat.
    assert evaluation.label_report(timelines, split, split.test) == {
        "labels": 2,
        "repeated_share": 1 / 2,
        "without_training_event": 2,
    }
    assert evaluation.label_report(timelines, split, split.train) == {
        "labels": 2,
        "repeated_share": 0.0,
        "without_training_event": 0,
    }
    nothing = evaluation.label_report(timelines, split, np.zeros(0, np.int32))
    assert nothing == {"labels": 0, "repeated_share": 0.0, "without_training_event": 0}


# ---- in blocks of candidates ----------------------------------------------------------------


def test_a_score_that_its_block_does_not_have_is_replaced(monkeypatch):
    """As if the product of some rows were rounded otherwise than the block's."""
    made = blocks.Blocks.of_each
    monkeypatch.setattr(blocks, "_MOST", 16)
    monkeypatch.setattr(
        blocks.Blocks, "of_each", lambda self, some: made(self, some) + 0.25 * (len(some) == 1)
    )
    world = make_world(random_events(), megabytes=1)
    positions = np.arange(0, len(world.timelines.item), 7)
    per_label = world(positions)
    expected = np.array([brute_force(world, position) for position in positions])
    np.testing.assert_array_equal(per_label.rank, expected[:, 0])
    np.testing.assert_allclose(per_label.loss, expected[:, 2], rtol=1e-5)


def test_lists_in_blocks_are_those_of_all_at_once(monkeypatch):
    monkeypatch.setattr(blocks, "_MOST", 16)
    worlds = [make_world(random_events(), megabytes=megabytes) for megabytes in (0, 1)]
    positions = np.arange(0, len(worlds[0].timelines.item), 5).astype(np.int32)
    params = {"scores": jnp.asarray(worlds[0].scores)}
    lists = [world.evaluator(params, positions, top=18).top for world in worlds]
    np.testing.assert_array_equal(*lists)


@pytest.mark.parametrize("megabytes", [1, 2, 4])
def test_the_memory_of_ranking_is_bounded(megabytes):
    """60,000 candidates and 64 labels would take 15 MB for each array of all scores."""
    rows = blocks.rows_of_block(64, 60_000, 8, megabytes)
    model = table_model().merge({"scores": jnp.zeros((8, 60_000))})

    def ranked(context, labels):
        return blocks.ranks(blocks.Blocks(model, context, labels, 60_000, rows))

    made = jax.jit(ranked).lower(jnp.zeros((64, 8)), jnp.zeros(64, jnp.int32)).compile()
    assert made.memory_analysis().temp_size_in_bytes <= megabytes << 20
    assert blocks.rows_of_block(100_000, 60_000, 8, megabytes) == 0
