"""The card says what figures.json has, and nothing else."""

import copy
import dataclasses
import re
from typing import Any

import pytest

from flaxrec.starters import card
from flaxrec.starters.folder import Starter
from tests.support import made_up_starters

FILE = {
    "recipe": "float16",
    "bytes": 363_637,
    "metrics": {metric: 0.4321 + i / 1000 for i, metric in enumerate(made_up_starters.METRICS)},
    "latency": {
        "reference": "published.tflite",
        "ratio": 1.234,
        "interval": [1.19, 1.28],
        "calls": 2000,
        "threads": 1,
        "device": "a phone",
        "litert": "7.6.5",
    },
}


@pytest.fixture(scope="module")
def bare(data) -> Starter:
    return made_up_starters.starter("id_genre", data)[0]


@pytest.fixture(scope="module")
def full(bare) -> Starter:
    return dataclasses.replace(bare, facts=bare.facts | {"file": FILE})


def section(text: str, title: str) -> str:
    return re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", text, re.DOTALL | re.MULTILINE)[1]


def test_accuracy_by_seeds(bare):
    part = section(card.render(bare), "How good")
    for number, metric in enumerate(made_up_starters.METRICS):
        (row,) = [
            line for line in part.splitlines() if line.startswith(f"| {card.METRICS[metric]}")
        ]
        by = number / 1000
        assert [cell.strip() for cell in row.split("|")[2:-1]] == [
            f"{0.32 + by:.4f}",
            f"{0.02646 + by:.4f}",
            f"{0.19 + by:.4f} to {0.45 + by:.4f}",
            f"{0.30 + by:.4f}",
        ]
    assert "Protocol: leave-one-out" in part
    assert "5,432 test labels, 1.23% of them repeats, 17 of items" in part
    assert "Measured on the exported `.tflite` (float16); seeds 0, 1, 2" in part
    trained = dataclasses.replace(bare, facts=bare.facts | {"measured_on": "trained"})
    assert "Measured on the trained model in float32" in card.render(trained)


def test_what_was_not_measured_is_called_so(bare):
    part = section(card.render(bare), "Size and speed")
    assert "363,636 bytes (float16)" in part
    assert "latency: not measured" in part
    nothing = dataclasses.replace(bare, facts=bare.facts | {"bytes": None})
    assert "`model.tflite`: not measured" in card.render(nothing)


def test_what_the_folder_s_own_file_reaches(full):
    text = card.render(full)
    assert "363,637 bytes" in text
    assert "363,636" not in text  # the file of the sweep, made of other weights
    assert "1.23 times that of published.tflite (95%: 1.19 to 1.28)" in text
    assert "2,000 calls with new contexts, 1 thread, a phone, LiteRT 7.6.5" in text
    assert section(text, "How good").count("0.4321") == 1
    assert "| these weights |" in text


def test_training_and_terms(bare):
    text = card.render(bare)
    part = section(text, "How it was trained")
    assert "python train_main.py --config=configs/starters.py:tiny_id_genre" in part
    assert "10.5 minutes a run on an abacus; best epochs of the seeds: 11, 13, 12 of 1" in part
    assert "revision abc123; jax 9.8.7" in part
    assert "Never trained on: the last event of each user, the test label, and the one" in part
    assert "https://doi.org/10.1145/2827872" in section(text, "Data and terms")
    assert "not be redistributed without separate permission" in section(text, "Data and terms")
    for limit in ("Popularity bias", f"{bare.spec.candidates} films", "2000 to 2003", "No cold"):
        assert limit in section(text, "Limits")


def test_only_models_of_ids_are_offered_without_data(bare, data):
    ids = made_up_starters.starter("id", data)[0]
    assert "--starter=tiny_id --movielens=none" in section(card.render(ids), "How to use it")
    assert "--movielens=none" not in card.render(bare)


def leaves(value: Any, path: tuple = ()) -> list[tuple]:
    items = value.items() if isinstance(value, dict) else enumerate(value)
    found = []
    for key, inner in items:
        deeper = isinstance(inner, dict | list)
        found += leaves(inner, (*path, key)) if deeper else [(*path, key)]
    return found


def test_every_figure_matters(full):
    """Another figure makes another card; so card and figures cannot part."""
    text, unseen = card.render(full), []
    for path in leaves(full.facts):
        changed = copy.deepcopy(full.facts)
        owner: Any = changed
        for key in path[:-1]:
            owner = owner[key]
        value = owner[path[-1]]
        if path == ("measured_on",):
            owner[path[-1]] = "trained"
        else:
            owner[path[-1]] = f"{value}x" if isinstance(value, str) else value + 100
        if card.render(dataclasses.replace(full, facts=changed)) == text:
            unseen.append(path)
    of_seeds = {
        ("metrics", metric, "seeds", n) for metric in made_up_starters.METRICS for n in (1, 2)
    }
    # Seeds 1 and 2 are in the mean; the file's bytes stand for the sweep's; metadata.json has the
    # step and what the model reached before quantisation.
    of_metadata = {("step",), *(("trained", metric) for metric in made_up_starters.METRICS)}
    assert set(unseen) == of_seeds | of_metadata | {("bytes",), ("file", "recipe")}


def test_the_table(bare, full):
    lines = card.table([bare, full]).splitlines()
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    assert cells[0][:4] == ["starter", "encoder", "inputs", "context"]
    assert cells[2][1:4] == ["bag of words", "ids, genres", "6"]
    assert cells[2][4:] == [
        "363,636", "0.3200 ± 0.0265", "0.3210 ± 0.0275", "0.3220 ± 0.0285", "not measured",
    ]  # fmt: skip
    assert (cells[3][4], cells[3][8]) == ("363,637", "1.23")
    assert cells[2][0] == "[`tiny_id_genre`](../models/tiny_id_genre/card.md)"
