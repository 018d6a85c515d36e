"""python -m flaxrec.demo: what it writes, serves and refuses."""

import os
import re
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest

from flaxrec.demo import __main__ as command
from flaxrec.demo import own_data, serve
from flaxrec.errors import ExportError, TrainingError
from flaxrec.recommender import Recommender
from tests.support import browsers
from tests.support.exports import require_export
from tests.support.places import ROOT


def start(*arguments: str, folder: Path) -> subprocess.Popen:
    program = [sys.executable, "-m", "flaxrec.demo", "--noopen", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    pipe = subprocess.PIPE
    return subprocess.Popen(
        program, cwd=folder, stdout=pipe, stderr=pipe, text=True, env=environment
    )


def test_served_until_interrupted(run, tmp_path):
    browsers.litert()
    process = start(str(run.export), "--serve", folder=tmp_path)
    try:
        address = re.search(r"http://127\.0\.0\.1:\d+/", process.stdout.readline())[0]
        with urllib.request.urlopen(address) as response:
            assert response.headers["Content-Type"] == "text/html; charset=utf-8"
            assert "flaxrec.demo" in response.read(2000).decode()
    finally:
        process.send_signal(2)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (0, "ended\n", "")
    assert list(tmp_path.iterdir()) == []


def test_what_is_wrong_is_one_sentence(run, tmp_path, capsys):
    process = start(str(tmp_path), folder=tmp_path)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (2, "")
    told = "is not an export of flaxrec: it has no metadata.json"
    assert err == f"flaxrec: {tmp_path} {told}; give the folder of an export, as RUN/export.\n"
    assert command.main([]) == 2
    assert "no EXPORT_DIR" in capsys.readouterr().err


def test_a_table_is_trained_on_and_exported_once(tmp_path, monkeypatch):
    """With the columns of usual names, unless they are given."""
    (tmp_path / "shop.csv").write_text("Customer ID,sku,price\n1,2,3\n")
    monkeypatch.chdir(tmp_path)
    configs = []
    monkeypatch.setattr(own_data, "train", lambda config, *_: configs.append(config))
    monkeypatch.setattr(own_data, "report", lambda result: None)
    monkeypatch.setattr(own_data, "export", lambda run, say: made.append(run.export))
    monkeypatch.setattr(own_data, "is_export", lambda folder: folder in made)
    said, made, given = [], [], {"train.epochs": "2", "data.columns.item": "price"}
    for overrides in ({}, given):
        folder = own_data.export_of("shop.csv", overrides, say=said.append)
    assert made == [folder]
    assert folder == Path("runs/demo-shop/export")
    columns = [config.data.columns for config in configs]
    assert [(c.user, c.item, c.time) for c in columns] == [
        ("Customer ID", "sku", ""), ("Customer ID", "price", ""),
    ]  # fmt: skip
    assert configs[1].train.epochs == 2
    told = "user=Customer ID, item=sku, time=none: the file is in order; --config.data.columns"
    assert told in said[0]


@pytest.mark.long
def test_a_table_becomes_a_model(tmp_path, monkeypatch, capsys):
    """Columns by their names; the second call uses the run again; what was given stays."""
    require_export()
    random = np.random.default_rng(0)
    lines = ["Customer ID,sku,created_at"]
    lines += [f"{u},{random.integers(1, 30)},{t}" for u in range(40) for t in range(8)]
    Path(tmp_path / "shop.csv").write_text("\n".join(lines) + "\n")
    monkeypatch.chdir(tmp_path)
    small = ["train.epochs=1", "model.embedding_dim=8", "export.verification_contexts=5"]
    overrides = dict(flag.split("=") for flag in small)
    said = []
    folder = own_data.export_of("shop.csv", overrides, say=said.append)
    assert folder == Path("runs/demo-shop/export")
    told = "columns by their names: user=Customer ID, item=sku, time=created_at; --config.data"
    assert said[0].startswith(told)
    assert Recommender.load(folder).recommend([1, 2], top_k=3)
    before = (folder / "model.tflite").stat()
    assert own_data.export_of("shop.csv", overrides) == folder
    after = (folder / "model.tflite").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    capsys.readouterr()
    other = overrides | {"data.columns.time": ""}
    with pytest.raises(TrainingError, match=r"another config \(config\.data\.columns\.time"):
        own_data.export_of("shop.csv", other)


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--workdir=x", "runs/a"], "belong to --data"),
        (["--config.train.epochs=1", "runs/a"], "belong to --data"),
        (["--data=a.csv", "runs/a"], "give no EXPORT_DIR with it"),
    ],
)
def test_flags_that_do_not_go_together(flags, sentence, capsys):
    assert command.main(flags) == 2
    assert sentence in capsys.readouterr().err


def test_only_an_earlier_page_is_replaced(tmp_path):
    page = '<!doctype html><meta name="generator" content="flaxrec.demo">'
    file = tmp_path / "page.html"
    command.write(file, page)
    command.write(file, page + "2")
    assert file.read_text() == page + "2"
    diary = "How I made a page by python -m flaxrec.demo: the head says flaxrec.demo."
    file.write_text(diary)
    with pytest.raises(ExportError, match="exists and is no demo page; use another --output"):
        command.write(file, page)
    assert file.read_text() == diary
    with pytest.raises(ExportError, match="cannot be written"):
        command.write(tmp_path / "none" / "page.html", page)
    with pytest.raises(ExportError, match="cannot be written"):
        command.write(file / "below a file.html", page)
    assert [p.name for p in tmp_path.iterdir()] == ["page.html"]


def test_the_server_knows_one_page():
    with serve.server("<p>é") as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = serve.address(server)
        assert urllib.request.urlopen(f"{address}?x=1").read() == "<p>é".encode()
        head = urllib.request.Request(address, method="HEAD")
        assert urllib.request.urlopen(head).headers["Content-Length"] == "5"
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(f"{address}etc/passwd")
        port = server.server_address[1]
        with pytest.raises(ExportError, match=f"Port {port} cannot be used"):
            serve.server("", port)
        server.shutdown()
