"""Every caller has an answer of their own: threads, forks, copies, and folders that change."""

import copy
import itertools
import os
import pickle
import random
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from flaxrec.recommender import Recommendation, Recommender
from flaxrec.tflite import runtime
from tests.support.exports import exported
from tests.support.places import ROOT

FOLDER = ROOT / "tests/compatibility/version_0_1_0/run/export"
Call = Callable[[Recommender], list[Recommendation]]


@pytest.fixture(scope="module")
def recommender() -> Recommender:
    pytest.importorskip("ai_edge_litert", reason="running a .tflite needs ai-edge-litert")
    return Recommender.load(FOLDER)


@pytest.fixture(autouse=True)
def _threads_take_turns_often():
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


def calls_of(recommender: Recommender, count: int, nows: tuple = (None,)) -> list[Call]:
    """Calls of users with different histories, each at one moment of asking."""
    ids, drawn = [item["id"] for item in recommender.items.values()], random.Random(0)
    histories = [drawn.choices(ids, k=drawn.randint(1, 12)) for _ in range(count)]

    def call(history: list, now: object) -> Call:
        activities = [{"item": item, "time": 100 * i} for i, item in enumerate(history)]
        return lambda shared: shared.recommend(
            history if now is None else activities, now=now, exclude_history=False
        )

    return [call(*pair) for pair in zip(histories, itertools.cycle(nows), strict=False)]


def lists_of_others(
    shared: Recommender, calls: list[Call], threads: int, count: int
) -> tuple[int, int]:
    """Numbers of calls by threads at once and of answers that are not the caller's own."""
    expected = [call(shared) for call in calls]
    assert len({tuple(answer) for answer in expected}) > 0.9 * len(calls)  # they differ
    start = threading.Barrier(threads)

    def ask(seed: int) -> int:
        drawn = random.Random(seed)
        start.wait()
        places = [drawn.randrange(len(calls)) for _ in range(count // threads)]
        return sum(calls[place](shared) != expected[place] for place in places)

    with ThreadPoolExecutor(threads) as pool:
        return count // threads * threads, sum(pool.map(ask, range(threads)))


# ---- threads --------------------------------------------------------------------------------


def test_threads_have_their_own_lists(recommender):
    assert lists_of_others(recommender, calls_of(recommender, 50), 8, 3_000) == (3_000, 0)


@pytest.mark.long
def test_threads_have_their_own_lists_in_many_calls(recommender):
    assert lists_of_others(recommender, calls_of(recommender, 50), 8, 100_000) == (100_000, 0)


@pytest.mark.long
def test_threads_have_their_own_moments_of_asking(tmp_path_factory):
    shared = Recommender.load(exported(tmp_path_factory, "bow_time").export)
    calls = calls_of(shared, 60, (1_200, 5_000, 90_000, "unknown"))
    assert lists_of_others(shared, calls, 8, 100_000) == (100_000, 0)


def test_however_many_threads_there_are_a_few_interpreters_do(recommender):
    assert lists_of_others(recommender, calls_of(recommender, 20), 40, 1_000) == (1_000, 0)
    assert 1 <= recommender._model._runners.free.qsize() <= runtime._MOST


def test_threads_may_load_at_once(recommender):
    calls = calls_of(recommender, 10)
    expected = [call(recommender) for call in calls]

    def load(_: int) -> list[list[Recommendation]]:
        loaded = Recommender.load(FOLDER)
        return [call(loaded) for call in calls]

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(load, range(16))) == [expected] * 16


# ---- processes ------------------------------------------------------------------------------

FORKS = """
import logging, os, sys, threading
from flaxrec import Recommender
logging.disable()  # the folder is of version 0.1.0, which a warning says
recommender = Recommender.load(sys.argv[1])
ids = [item["id"] for item in recommender.items.values()]
expected = [recommender.recommend(ids[i : i + 4]) for i in range(20)]
ended = False

def ask(rounds):
    for _ in range(rounds):
        if ended:
            return
        for i in range(20):
            if recommender.recommend(ids[i : i + 4]) != expected[i]:
                os._exit(3)

def together(rounds):
    threads = [threading.Thread(target=ask, args=(rounds,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    return threads

busy = together(10**9)
for _ in range(6):
    child = os.fork()
    if not child:
        for thread in together(2):
            thread.join()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
ended = True
for thread in busy:
    thread.join()
print("done")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_child_goes_on_where_its_parents_threads_were(recommender):
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORKS, FOLDER],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")


@pytest.mark.parametrize(
    "copied",
    [copy.copy, copy.deepcopy, lambda given: pickle.loads(pickle.dumps(given))],
    ids=["copy", "deepcopy", "pickle"],
)
def test_a_copy_gives_the_same_lists(recommender, copied):
    other = copied(recommender)
    for call in calls_of(recommender, 5):
        assert call(other) == call(recommender)


# ---- the folder -----------------------------------------------------------------------------


@pytest.mark.parametrize("change", ["removed", "emptied", "replaced"])
def test_what_becomes_of_the_folder_does_not_matter(recommender, tmp_path, change):
    folder = shutil.copytree(FOLDER, tmp_path / "export")
    loaded = Recommender.load(folder)
    if change == "removed":
        shutil.rmtree(folder)
    for file in folder.rglob("*"):
        if file.is_file():  # written in place: who has mapped it into memory sees that
            file.write_bytes(b"" if change == "emptied" else b"other\n" * 100)
    calls = calls_of(recommender, 30)
    expected = [call(recommender) for call in calls]
    with ThreadPoolExecutor(4) as pool:  # they make further interpreters
        assert list(pool.map(lambda call: call(loaded), calls)) == expected
