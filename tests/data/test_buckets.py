"""Buckets of users: of about one size, each with its share of every batch, and told if uneven."""

from types import SimpleNamespace

import numpy as np
import pytest

from flaxrec.data import buckets, windows
from flaxrec.errors import ConfigError
from flaxrec.training.steps import Job, _check_packed
from flaxrec.training.validation import validate
from tests.support.builders import make_config, make_timelines

SIZES = (3, 9, 4, 4, 20, 4, 4, 4)  # events of the users


def make_data(sizes=SIZES):
    events = [(user, 10, time) for user, size in enumerate(sizes) for time in range(size)]
    timelines = make_timelines(events)
    starts = timelines.offsets[:-1]
    return timelines, np.setdiff1d(np.arange(len(events)), starts).astype(np.int32)


def make_job(count: int, *, packed=False, labels=1, sizes=SIZES, batch=8, scans=2, steps=3) -> Job:
    """What `Job.epoch` reads."""
    timelines, train = make_data(sizes)
    job = object.__new__(Job)
    job.config = make_config(context_length=2)
    job.config.train.batch_size, job.config.train.packed = batch, packed
    job.config.train.labels_per_context, job.config.data.buckets = labels, count
    job.dataset = SimpleNamespace(timelines=timelines)
    job.buckets = buckets.divided(timelines, train, count)
    runs = [windows.label_runs(timelines, of) for of in job.buckets]
    job._runs = runs if labels > 1 else None
    job.scans, job.scan_steps, job.steps_per_epoch = scans, steps, scans * steps
    return job


@pytest.mark.parametrize("count", range(1, 9))
def test_each_label_is_in_one_bucket_and_each_user_too(count):
    timelines, labels = make_data()
    shuffled = np.random.default_rng(0).permutation(labels)
    parts = buckets.divided(timelines, shuffled, count)
    assert len(parts) == count
    assert min(map(len, parts)) > 0
    assert np.sort(np.concatenate(parts)).tolist() == labels.tolist()
    users = [set(timelines.user[part].tolist()) for part in parts]
    assert sum(map(len, users)) == len(SIZES)
    last = [max(of) for of in users]
    assert last == sorted(last)  # blocks
    places = {label: place for place, label in enumerate(shuffled.tolist())}
    assert all(np.all(np.diff([places[label] for label in of.tolist()]) > 0) for of in parts)


def test_many_users_make_even_buckets():
    sizes = np.random.default_rng(0).integers(3, 60, 3000)
    timelines, labels = make_data(sizes)
    parts = buckets.divided(timelines, labels, 16)
    mean = len(labels) / 16
    assert np.abs(np.array([len(part) for part in parts]) - mean).max() < 60
    assert buckets.line(parts).startswith("buckets: 16 blocks of users with 5,")
    assert "leaves out" not in buckets.line(parts)


def test_one_user_with_a_quarter_of_all_is_told():
    parts = buckets.divided(*make_data([5] * 33 + [57] + [5] * 10), 12)
    assert max(map(len, parts)) == 56
    assert (
        min(map(len, parts)) == 8
    )  # two users before it; cut evenly, it would leave buckets of one
    assert buckets.line(parts).endswith(
        "; an epoch leaves out 66% of the largest one's, drawn anew each time, and trains the "
        "smallest one's 2.4 times"
    )


def test_fewer_users_than_buckets_are_refused():
    with pytest.raises(ConfigError, match="is 9, but only 8 users have training labels; use at"):
        buckets.divided(*make_data(), 9)


def test_buckets_that_do_not_divide_the_batch_are_refused():
    config = make_config(buckets=3)
    with pytest.raises(ConfigError, match=r"batch_size is 128, not a multiple of .*buckets=3, "):
        validate(config)


@pytest.mark.parametrize("kind", [{}, {"packed": True}, {"labels": 2}], ids=str)
def test_every_batch_has_as_many_contexts_of_each_bucket(kind):
    job = make_job(4, **kind)
    drawn = job.epoch(7, 1)
    assert drawn.positions.shape[:3] == (2, 3, 8)
    assert drawn.counts.shape == (2, 3, 8)
    for bucket, labels in enumerate(job.buckets):
        share = drawn.positions[:, :, 2 * bucket : 2 * bucket + 2]
        assert np.isin(share, labels).all()


def test_a_bucket_does_not_know_the_others():
    """Machines that hold some of them draw the same contexts as one that holds all."""
    sizes = [9, 9, 9, 9]
    one, other = make_job(4, sizes=sizes), make_job(4, sizes=sizes)
    other.buckets = [*other.buckets[:2], other.buckets[2][:3], other.buckets[3] + 1000]
    drawn, alike = one.epoch(7, 1), other.epoch(7, 1)
    np.testing.assert_array_equal(drawn.positions[..., :4], alike.positions[..., :4])
    np.testing.assert_array_equal(drawn.keys, alike.keys)
    assert (one.epoch(7, 2).positions != drawn.positions).any()
    orders = [np.argsort(of, axis=None) for of in np.split(drawn.positions, 4, axis=2)]
    assert len({of.tobytes() for of in orders}) == 4  # each has an order of its own


def test_one_bucket_is_the_order_of_earlier_versions():
    job = make_job(1)
    random = np.random.default_rng([7, 1])
    order = random.permutation(len(job.buckets[0]))
    expected = np.resize(order, 48).reshape(2, 3, 8)
    drawn = job.epoch(7, 1)
    np.testing.assert_array_equal(drawn.positions, job.buckets[0][expected])
    np.testing.assert_array_equal(drawn.keys, random.integers(0, 2**32, (2, 3, 2), np.uint32))


def test_buckets_smaller_than_a_packed_row_are_refused():
    with pytest.raises(ConfigError, match="only 1 training labels in a bucket, and"):
        _check_packed(make_config(context_length=2, buckets=4), None, 1)
