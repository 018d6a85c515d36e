"""What C++ libraries write to stderr is hidden, also where threads load models at once."""

import os
import subprocess
import sys
import threading

from flaxrec.tflite.quiet import quiet
from tests.support.places import ROOT

NESTED = """
import os, threading
from flaxrec.tflite.quiet import quiet
both_inside, first_left = threading.Barrier(2), threading.Event()
def first():
    with quiet():
        both_inside.wait()
        os.write(2, b"hidden")
    first_left.set()
def second():
    with quiet():
        both_inside.wait()
        first_left.wait()
        os.write(2, b"hidden too")
threads = [threading.Thread(target=run) for run in (first, second)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
os.write(2, b"heard")
"""


def test_blocks_of_threads_may_overlap():
    done = subprocess.run([sys.executable, "-c", NESTED], cwd=ROOT, capture_output=True, check=True)
    assert done.stderr == b"heard"


def test_no_descriptor_is_left_open():
    def open_ones() -> int:
        return len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0

    def use():
        for _ in range(50):
            with quiet(), quiet():
                pass

    before = open_ones()
    threads = [threading.Thread(target=use) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert open_ones() == before
