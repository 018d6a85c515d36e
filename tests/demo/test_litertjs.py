"""LiteRT.js: fetched once, checked always, and plain words where that fails."""

import hashlib
import json
import os
import re
import stat
from pathlib import Path

import pytest

from flaxrec.demo import litertjs
from flaxrec.errors import ExportError

PINNED = Path(litertjs.__file__).parent / "npm"
FILES = ("core/dist/index.js", "wasm-utils/dist/index.js", "core/wasm/a.js", "core/wasm/a.wasm")


@pytest.fixture
def pinned(tmp_path, monkeypatch):
    """Other pins: of four small files, in a folder as npm lays them out."""
    pins, modules = tmp_path / "npm", tmp_path / "own" / "node_modules" / "@litertjs"
    pins.mkdir()
    lines = []
    for name in FILES:
        (modules / name).parent.mkdir(parents=True, exist_ok=True)
        (modules / name).write_bytes(name.encode())
        lines.append(f"{hashlib.sha256(name.encode()).hexdigest()}  {name}\n")
    (pins / "files.sha256").write_text("".join(lines))
    for name in ("package.json", "package-lock.json"):
        (pins / name).write_text("{}")
    monkeypatch.setattr(litertjs, "_PINNED", pins)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return modules


def npm(tmp_path, monkeypatch, script: str) -> None:
    """Puts a program called npm into the path, alone with what the script needs."""
    program = tmp_path / "bin" / "npm"
    program.parent.mkdir(exist_ok=True)
    program.write_text(f"#!/bin/sh\necho $@ >> {tmp_path}/calls\n{script}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}/usr/bin{os.pathsep}/bin")


def test_the_pins():
    lock = json.loads((PINNED / "package-lock.json").read_text())
    packages = {name: entry for name, entry in lock["packages"].items() if name}
    assert set(packages) == {"node_modules/@litertjs/core", "node_modules/@litertjs/wasm-utils"}
    for entry in packages.values():
        assert entry["version"] == litertjs.VERSION
        assert re.fullmatch(r"sha512-[\w+/]{86}==", entry["integrity"])
        assert "resolved" not in entry  # whichever registry npm is told to use
    wanted = json.loads((PINNED / "package.json").read_text())["dependencies"]
    assert wanted == {"@litertjs/core": litertjs.VERSION}
    page = (PINNED.parent / "static" / "index.html").read_text(encoding="utf-8")
    assert f"LiteRT.js {litertjs.VERSION}" in page


def test_another_process_may_be_faster(pinned, tmp_path, monkeypatch):
    """Both find no cache; the slower one takes what the faster one left."""
    own = pinned.parent
    npm(tmp_path, monkeypatch, f"cp -r {own} . && cp -r $PWD {tmp_path}/cache/flaxrec/faster")
    rename = os.rename

    def late(source, target):
        rename(tmp_path / "cache" / "flaxrec" / "faster", target)
        rename(source, target)

    monkeypatch.setattr(litertjs.os, "rename", late)
    assert litertjs.load().core == FILES[0].encode()


def test_fetched_once_and_kept(pinned, tmp_path, monkeypatch):
    npm(tmp_path, monkeypatch, f"cp -r {pinned.parent} .")
    for _ in range(2):
        assert litertjs.load().core == b"core/dist/index.js"
    assert (tmp_path / "calls").read_text().count("ci ") == 1
    assert [p.name for p in litertjs.cache_folder().iterdir()] == [f"litertjs-{litertjs.VERSION}"]


def test_what_is_kept_is_checked(pinned, tmp_path, monkeypatch):
    npm(tmp_path, monkeypatch, f"cp -r {pinned.parent} .")
    litertjs.load()
    kept = litertjs.cache_folder() / f"litertjs-{litertjs.VERSION}"
    (kept / "node_modules/@litertjs/core/wasm/a.wasm").write_bytes(b"other")
    with pytest.raises(ExportError, match=r"a\.wasm is not that of LiteRT\.js .*; remove .* to"):
        litertjs.load()


def test_a_copy_of_ones_own(pinned, tmp_path):
    for folder in (pinned, pinned.parent, pinned.parents[1]):
        assert litertjs.load(folder).wasm == b"core/wasm/a.wasm"
    with pytest.raises(ExportError, match="has no @litertjs/core"):
        litertjs.load(tmp_path)
    (pinned / FILES[1]).unlink()
    with pytest.raises(ExportError, match=r"wasm-utils/dist/index\.js cannot be read"):
        litertjs.load(pinned)


def test_without_npm(pinned, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ExportError) as error:
        litertjs.load()
    assert "there is no npm; install Node.js, or pass --runtime=DIR" in str(error.value)
    assert not litertjs.cache_folder().exists()


def test_npm_that_fails_leaves_nothing(pinned, tmp_path, monkeypatch):
    npm(tmp_path, monkeypatch, "echo 'npm error code EINTEGRITY' >&2; exit 1")
    with pytest.raises(ExportError, match=r"could not fetch LiteRT\.js \(EINTEGRITY\); check"):
        litertjs.load()
    assert not litertjs.cache_folder().exists()


def test_a_cache_that_cannot_be_written(pinned, tmp_path, monkeypatch):
    npm(tmp_path, monkeypatch, "exit 0")
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(ExportError, match=r"cannot be used as a cache .*; set XDG_CACHE_HOME"):
        litertjs.load()
