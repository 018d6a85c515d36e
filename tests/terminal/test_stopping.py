"""Signals end a command; work that can be saved is saved first."""

import gc
import os
import signal
import subprocess
import sys
import time

import pytest

from flaxrec.cli import arguments
from flaxrec.terminal import stopping

BOTH = pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["SIGINT", "SIGTERM"]
)


def send(number: int) -> None:
    os.kill(os.getpid(), number)


@BOTH
def test_a_command_that_waits_for_nothing_ends(number, status, capsys):
    ends = []

    def command():
        try:
            send(number)
            time.sleep(5)
        finally:
            ends.append("cleaned")

    assert arguments.run(command, "Stopped; nothing is lost.") == status
    assert ends == ["cleaned"]
    assert capsys.readouterr().err == "flaxrec: Stopped; nothing is lost.\n"
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


@BOTH
def test_work_that_can_be_saved_is_saved_first(number, status, capsys):
    done = []

    def command():
        with stopping.later() as is_asked:
            for part in range(9):
                if part == 3:
                    send(number)
                done.append(part)
                if is_asked():
                    raise stopping.stopped(f"Part {part} is saved.")

    assert arguments.run(command) == status
    assert done == [0, 1, 2, 3]
    assert capsys.readouterr().err == "flaxrec: Part 3 is saved.\n"


@BOTH
def test_a_signal_that_waits_ends_the_command_with_the_block(number, status):
    done = []

    def command():
        with stopping.later():
            send(number)
            done.append("in the block")
        done.append("after it")

    assert arguments.run(command) == status
    assert done == ["in the block"]


@BOTH
def test_the_second_does_not_wait(number, status, capsys):
    done = []

    def command():
        with stopping.later():
            send(number)
            done.append("one")
            send(number)
            done.append("two")

    assert arguments.run(command, "At once.") == status
    assert done == ["one"]
    assert capsys.readouterr().err == "flaxrec: At once.\n"


@BOTH
def test_what_python_ignores_comes_again(number, status):
    """As in callbacks of the collector, which JAX has."""
    done = []

    def in_the_collector(*_):
        if not done:
            done.append("ignored")
            send(number)

    def command():
        gc.collect()
        time.sleep(5)
        done.append("not reached")

    gc.callbacks.append(in_the_collector)
    try:
        assert arguments.run(command) == status
    finally:
        gc.callbacks.remove(in_the_collector)
    assert done == ["ignored"]


def test_a_notebook_has_its_own_handlers():
    """Without a command, nothing is changed, and nothing waits."""

    def call():
        with stopping.later() as is_asked:
            assert signal.getsignal(signal.SIGINT) == signal.default_int_handler
            assert not is_asked()
            send(signal.SIGINT)
            time.sleep(5)

    with pytest.raises(KeyboardInterrupt):
        call()


def test_an_ignored_signal_stays_ignored():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        assert arguments.run(lambda: send(signal.SIGINT)) == 0
    finally:
        signal.signal(signal.SIGINT, before)


NATIVE = """
import hashlib, sys
from flaxrec.cli import arguments
from flaxrec.terminal import stopping
stopping._GRACE = 0.1
def command():
    print("there", flush=True)
    hashlib.pbkdf2_hmac("sha256", b"", b"", 10**9)
sys.exit(arguments.run(command))
"""


@BOTH
def test_twice_ends_native_code_too(number, status):
    command = [sys.executable, "-c", NATIVE]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        end = time.monotonic() + 20
        try:
            while process.poll() is None and time.monotonic() < end:
                process.send_signal(number)  # two that arrive together are one
                time.sleep(0.1)
            # Killed by the number, where the first one came before the native code, and one while
            # the interpreter ended: a shell shows the same status.
            assert process.poll() in (status, -number)
        finally:
            process.kill()


ENDING = """
import atexit, sys, time
from flaxrec.cli import arguments
def command():
    atexit.register(lambda: (print("ending", flush=True), time.sleep(20)))  # as JAX does
sys.exit(arguments.run(command))
"""


@BOTH
def test_the_end_of_the_interpreter_is_ended_at_once(number, status):
    command = [sys.executable, "-c", ENDING]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(number)
        _, said = process.communicate()
        assert (process.returncode, said) == (-number, b"")  # `status` in a shell
        assert status == 128 + number
