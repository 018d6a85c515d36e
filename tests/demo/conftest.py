"""A tiny model, its page, and Chromium with the page open."""

import pytest

from flaxrec.recommender import Recommender
from tests.support import browsers, demo_pages
from tests.support.browsers import visit


@pytest.fixture(scope="session")
def run(tmp_path_factory):
    return demo_pages.float_run(tmp_path_factory)


@pytest.fixture(scope="session")
def recommender(run) -> Recommender:
    return Recommender(run.export)


@pytest.fixture(scope="session")
def int8(run, tmp_path_factory):
    return demo_pages.int8_of(run.export, tmp_path_factory.mktemp("int8") / "export")


@pytest.fixture(scope="session")
def file(run, int8, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "page of the model.html"
    demo_pages.write(path, [run.export, int8], browsers.litert())
    return path


@pytest.fixture(scope="session")
def browser():
    with browsers.chromium() as driver:
        yield driver


@pytest.fixture
def driver(browser, file):
    """The page from the disk, opened anew; no error may be left in the console."""
    browsers.errors(browser)
    visit(browser, file.as_uri())
    yield browser
    assert browsers.errors(browser) == []
