"""configs/public_data.py reads files of the published forms; the rows here are made up."""

import pytest

from flaxrec.data import account
from flaxrec.data.sources.read import read
from tests.support.places import ROOT
from tests.support.shipped_configs import load

CLICKS = "7,2014-04-07T10:51:09.277Z,90,0\n7,2014-04-07T10:54:09.868Z,90,S\n"
CLICKS += "7,2014-04-07T10:54:46.998Z,91,0\n8,2014-04-07T11:00:00.000Z,91,1\n"
VIEWS = "timestamp,visitorid,event,itemid,transactionid\n"
VIEWS += "1433221332117,5,view,30,\n1433221392117,5,addtocart,30,\n1433221452117,5,view,31,\n"
VIEWS += "1433225052118,5,view,30,\n1433225052119,5,view,30,\n1433225062118,5,transaction,30,9\n"
PAGES = "sessionId;userId;itemId;timeframe;eventdate\n"
PAGES += (
    "1;NA;40;9000;2016-05-09\n1;NA;41;10;2016-05-09\n2;3;40;7;2016-05-10\n2;3;42;8;2016-05-10\n"
)
REVIEWS = "user_id:token\tplay_hours:float\tproduct_id:token\ttimestamp:float\n"
REVIEWS += "ann\t1.5\t20\t1500000000\nann\t\t21\t1400000000\n"
GAMES = "app_name:token\tgenres:token_seq\tid:token\nTwenty\tIndie\t20\nTwenty-One\t\t21\n"

# What lies there, by name, and the items of each user or session.
CASES = {
    "beauty": (
        {"Beauty.txt": "1 5 6\n2 6 5 5\n", "Beauty_item2attributes.json": '{"5": [1, 2]}'},
        {1: [5, 6], 2: [6, 5, 5]},
    ),
    "yoochoose": ({"yoochoose-clicks.dat": CLICKS}, {7: [90, 91], 8: [91]}),
    "retailrocket": ({"events.csv": VIEWS}, {"5/1": [30, 31], "5/2": [30]}),
    "diginetica": ({"train-item-views.csv": PAGES}, {1: [41, 40], 2: [40, 42]}),
    "steam": ({"steam.inter": REVIEWS, "steam.item": GAMES}, {"ann": [21, 20]}),
}


@pytest.mark.parametrize("variant", CASES)
def test_the_published_form_is_read(variant, tmp_path, monkeypatch):
    files, expected = CASES[variant]
    for name, text in files.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    data = load(ROOT / "configs" / "public_data.py").get_config(variant).data
    data.min_item_count = data.min_timeline_length = 1
    data.k_core = 0
    kept, _ = account.of(read(data), data)
    timelines = kept.with_ids().events.group_by("user", maintain_order=True).agg("item")
    assert dict(timelines.iter_rows()) == expected
    if variant == "beauty":
        assert kept.items.rows() == [(5, ["1", "2"])]
    if variant == "steam":
        assert kept.items["title"].to_list() == ["Twenty", "Twenty-One"]
