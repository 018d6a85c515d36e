"""The same page in Firefox: the same cards, no request, no error."""

import pytest

from flaxrec.recommender import Recommender
from tests.support import browsers, demo_pages

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def firefox(run, tmp_path_factory):
    litert = browsers.litert()
    with browsers.firefox() as browser:
        address = demo_pages.write(
            tmp_path_factory.mktemp("page") / "page.html", [run.export], litert
        )
        browser.visit(address)
        yield browser


def test_cards_equal_the_recommender(firefox, run):
    recommender = Recommender(run.export)
    made = demo_pages.histories(recommender, 50, seed=8)
    firefox.took("network.beforeRequestSent")
    seen = firefox.do(f"const given = {made!r};".replace("None", "null") + demo_pages.ALL_CARDS)
    for shown, history in zip(seen, made, strict=True):
        demo_pages.assert_cards(shown, demo_pages.expected(recommender, history))
    sent = [params["request"]["url"] for params in firefox.took("network.beforeRequestSent")]
    assert [url for url in sent if not url.startswith(("data:", "blob:"))] == []
    count = "return document.querySelector('[data-figure=\"requests since load\"] .value')"
    assert firefox.do(f"{count}.textContent") == "0"


def test_no_error_in_the_console(firefox):
    entries = firefox.took("log.entryAdded")
    assert [entry["text"] for entry in entries if entry["level"] == "error"] == []
