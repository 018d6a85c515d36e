"""docs/device_vectors.json, which the code of every guide is held against."""

from tests.support import guides
from tools import make_device_vectors as vectors

MADE = guides.requests()
OF_FILMS = {r["name"]: r for r in MADE["requests"] if r["folder"] not in ("values", "moment")}


def test_the_committed_vectors_are_current():
    assert vectors.FILE.read_text(encoding="utf-8") == vectors.text(), (
        "run python tools/make_device_vectors.py"
    )


def test_the_vectors_say_what_is_right():
    """Some of them, by hand."""
    two = OF_FILMS["two films"]
    assert two["inputs"]["gap_after"] == [6, 6, 0, 0]  # a minute and 40 seconds: 5 steps each
    assert (two["inputs"]["hour"], two["inputs"]["weekday"]) == ([21], [5])  # 20 o'clock, Friday
    assert two["inputs"]["liked"] == [1, 2, 0, 0]
    hidden, shown = -1e9, 0.0
    assert two["inputs"]["candidate_mask"] == [hidden] * 3 + [shown] * 2 + [hidden] + [shown] * 2
    assert [title for _, title in two["list"]] == ["null", 'A "7", \u20ac', "", "Six"]
    assert OF_FILMS["nobody may be shown"]["list"] == []
    assert [name for name, _ in OF_FILMS["without"]["list"]] == [
        str(vectors.BIG + 1),
        str(vectors.BIG + 2),
    ]


def test_a_wrong_answer_is_found():
    right = [
        {"inputs": dict(request["inputs"]), "list": request.get("list", [])}
        for request in MADE["requests"]
    ]
    ids = [[str(item["id"]), ""] for item in vectors.ITEMS]
    right.append({"inputs": {}, "list": ids[1:]})
    right.append({"inputs": {"item": [1], "brand": [1], "since": [1], "day": [1], "odd": [7]}})
    assert not guides.wrong(right)
    right[0]["inputs"] |= {name: [99] for name in right[0]["inputs"]}
    right[-3]["inputs"] |= {name: [] for name in right[-3]["inputs"]}
    right[-2]["list"] = ids
    right[-1]["inputs"]["since"] = [4]
    assert len(guides.wrong(right)) == 4
