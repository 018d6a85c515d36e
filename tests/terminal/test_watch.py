"""The parent of a process that trains with others: its ends; neither outlives the other."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from flaxrec.terminal import stopping, watch
from flaxrec.terminal.stopping import Stopped
from tests.support.places import ROOT

CHILD = """
import os, sys, time
from pathlib import Path
from flaxrec.cli import arguments
from flaxrec.terminal import stopping, watch

def command():
    with stopping.later() as is_asked:
        Path(sys.argv[2]).write_text(str(os.getpid()))
        if sys.argv[1] == "aborts":
            os.abort()
        if sys.argv[1] == "is first":
            watch.tell_first()
            return
        while not (is_asked() and sys.argv[1] == "saves"):
            time.sleep(0.01)
        raise stopping.stopped("Saved.")

watch.attend()
watch.leave(arguments.run(command))
"""


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Runs the child above in a way, and calls a function once it is there."""
    (tmp_path / "child.py").write_text(CHILD)
    monkeypatch.syspath_prepend(tmp_path)

    def run(how, when_there=lambda: None):
        there = tmp_path / "there"

        def wait():
            while not (there.exists() and there.read_text()):
                time.sleep(0.01)
            when_there()

        thread = threading.Thread(target=wait)
        thread.start()
        try:
            return watch.run("child", [how, str(there)])
        finally:
            thread.join()
            assert is_gone(int(there.read_text()))

    return run


def is_gone(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    return False


def test_how_it_ended_is_known(run):
    ended = run("aborts")
    assert (ended.status, ended.how, ended.is_first) == (-6, "SIGABRT", False)


def test_the_first_one_says_so(run):
    ended = run("is first")
    assert (ended.status, ended.how, ended.is_first) == (0, "status 0", True)


def test_the_first_signal_is_passed_on(run, capfd):
    """The child takes one that a cluster's manager sent to it, too, for the same."""

    def send():
        os.kill(os.getpid(), signal.SIGTERM)

    with stopping.handled():
        ended = run("saves", send)
    assert (ended.status, ended.signal) == (143, signal.SIGTERM)
    said = capfd.readouterr().err.splitlines()
    assert said[-1] == "flaxrec: Saved."
    assert len(said) == 2  # the other: that it waits, once


def test_the_second_signal_ends_both(run):
    def send_two():
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.3)
        os.kill(os.getpid(), signal.SIGINT)

    with stopping.handled(), pytest.raises(Stopped) as stop:
        run("goes on", send_two)
    assert stop.value.number == signal.SIGINT


def test_the_child_ends_with_its_parent(tmp_path):
    (tmp_path / "child.py").write_text(CHILD)
    there = tmp_path / "there"
    code = f"from flaxrec.terminal import watch; watch.run('child', ['goes on', {str(there)!r}])"
    path = os.pathsep.join([str(ROOT), str(tmp_path)])
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, env=os.environ | {"PYTHONPATH": path}) as parent:
        while not (there.exists() and there.read_text()):
            time.sleep(0.01)
        parent.kill()
    end = time.monotonic() + 20
    while not is_gone(int(there.read_text())):
        assert time.monotonic() < end
        time.sleep(0.01)
