"""Settings of all tests."""

import gc
import importlib.metadata
import os
import signal
import sys

import pytest
from hypothesis import settings

# Before anything imports them: their assertions tell as much as those of a test.
pytest.register_assert_rewrite("tests.support")

# The same examples every time: a failure is a change of the code, not of the draw.
settings.register_profile("house", deadline=None, derandomize=True, max_examples=60)
settings.load_profile("house")

# The files that take 4 seconds or more, longest first: workers begin with them, so that none ends
# with one. The others are the fast tests.
SLOW = (
    "extending tutorial quantize side_by_side published against_oracle resume run chromium_use "
    "chromium flags parity report serving_form devices unseen_goldens chain broken_runs sweeping "
    "any_table file_ranks timelines_of_records one_pass publish checkpoints bundle flatbuffer "
    "shared_table oracle firefox version_0_1_0 tied statistics command exclusion starter_export "
    "on_android package profiling dual_encoder load accuracy synthetic encoders coarse converter "
    "plots pack packed arguments shipped recommender worked_example benchmark topk on_the_web "
    "configuration_page on_react_native warm_start masking shown many_users recommend_many "
    "graph_writer item_fields litert "
)

# They halve the time that XLA takes to compile; an unknown flag would end the process.
XLA_FLAGS = "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
# TensorFlow compiles what a SavedModel holds of JAX, and knows of none of JAX's own settings.
XLA_FLAGS += " --xla_backend_optimization_level=0"
KNOWN_IN = "0.10."  # of jaxlib

# Here and not later: the conftest of a folder that pytest is given may import jax, which reads
# them. JAX_DISABLE_MOST_OPTIMIZATIONS=0 lets XLA optimise.
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
_quick = os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1") == "1"
if _quick and importlib.metadata.version("jaxlib").startswith(KNOWN_IN):
    os.environ.setdefault("XLA_FLAGS", XLA_FLAGS)


def pytest_configure(config: pytest.Config) -> None:
    """Compiles every program once for all tests, processes and sessions.

    `--cache-clear` forgets the programs. Ctrl-C works in tests also where a shell runs them in
    the background, which ignores it.
    """
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if (cache := getattr(config, "cache", None)) is not None:
        folder = os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(cache.mkdir("compiled")))
        if "jax" in sys.modules:
            sys.modules["jax"].config.update("jax_compilation_cache_dir", folder)
    config.option.loadscopereorder = False  # of pytest-xdist: files in the order below


@pytest.hookimpl(tryfirst=True)  # before -m selects
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts the slow files first, and marks the tests of the others as fast."""
    places = {f"test_{name}": place for place, name in enumerate(SLOW.split())}
    items.sort(key=lambda item: places.get(item.path.stem, len(places)))
    for item in items:
        if item.path.stem not in places and item.get_closest_marker("long") is None:
            item.add_marker(pytest.mark.fast)


def pytest_collection_finish() -> None:
    """Lets Python look for garbage more seldom, and not in what is loaded: tracing makes much."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


@pytest.fixture(scope="module")
def bow_id(tmp_path_factory: pytest.TempPathFactory):
    """The exported run of a bag of words over ids, shared: no test changes it."""
    from tests.support.exports import exported  # imports jax, whose settings are made above

    return exported(tmp_path_factory, "bow_id")
