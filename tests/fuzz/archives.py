"""Archives of MovieLens and files of arrays, damaged or hostile."""

import functools
import io
import os
import random
import signal
import stat
import struct
import subprocess
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tests.fuzz.attempts import Attempt
from tests.support.places import ROOT

RATINGS = "".join(
    f"{u}::{i}::{(u + i) % 5 + 1}::{u * i}\n" for u in range(1, 5) for i in range(1, 8)
)
FILES = {
    "ml-1m/ratings.dat": RATINGS,
    "ml-1m/movies.dat": "".join(f"{i}::Film {i} (1990)::Drama\n" for i in range(1, 8)),
    "ml-1m/README": "text " * 500,
}
RUN = ROOT / "tests/compatibility/version_0_1_0/run"
CHANGED = "context_item_id"
GOOD = "the catalogue has 7 items"

# A config is Python: it takes the archive from a folder instead of the network.
CONFIG = """
from flaxrec.config import Config, DataConfig, FeatureConfig, GroupConfig, ModelConfig
from flaxrec.data.sources import download

download.SHA256.clear()
download.fetch.__kwdefaults__["base_url"] = {url!r}

def get_config(variant=None):
    groups = [GroupConfig([FeatureConfig("context_item_id", "item.id", "INT", 4)], "bow")]
    data = DataConfig(source="movielens", cache_dir={cache!r})
    return Config(name="archives", data=data, model=ModelConfig(activity_groups=groups))
"""

NAMES = [
    "", "/", ".", "..", "./x", "a//b", "ml-1m/", "/etc/x", "C:/x", "C:x", "\\\\h\\x", "../x",
    "ml-1m/../../x",
    "a\0b", "\0", "x" * 255, "x" * 256, "x" * 60_000, "/".join(["d"] * 2_000),
    "/".join(["d" * 200] * 30),
    "ml-1m/RATINGS.DAT", "ml-1m/ratings.dat", "ml-1m/ratings.dat/x", "ML-1M/x", "é", "e\u0301",
    "con", "nul.txt", "a:b", "a\nb",
    "\x1b[31m", "ml-1m/users.dat", "x/", "x", " ", "a?", "a*b", "-rf",
]  # fmt: skip


def attempts(random: random.Random, folder: Path) -> Iterator[Attempt]:
    """Each time another archive in a cache of its own, or another file of contexts."""
    for number in range(1 << 30):
        place = folder / str(number)
        place.mkdir()
        with warnings.catch_warnings(action="ignore"):
            attempt = random.choice([_archive, _archive, _arrays])(random, place)
        signal.alarm(600)  # nothing waits for ever
        yield attempt
        signal.alarm(0)
        subprocess.run(["rm", "-rf", "--", place], check=True)


def _archive(random: random.Random, place: Path) -> Attempt:
    names: tuple[object, ...] = ("ml-1m.zip",)
    kind = random.choice(
        ["bytes"] * 6 + ["field"] * 4 + ["name"] * 4 + ["bomb", "method", "part", "none", "link"]
    )
    content, what = archive(), kind
    if kind == "bytes":
        content, what = _changed(random, content)
        names += (GOOD, "ratings.dat", "movies.dat", "MovieLens")
    elif kind == "field":
        content, what = _field(random, content)
        names += (GOOD, "ratings.dat", "movies.dat", "MovieLens")
    elif kind == "name":
        name = random.choice(NAMES)
        what = f"a member {name[:40]!r}"
        content = archive(more={name: "x"}) if random.random() < 0.7 else archive({name: RATINGS})
        names += (GOOD, "MovieLens", "movies.dat", "ratings.dat", "users.dat")
    elif kind == "bomb":
        content, what = random.choice([_bomb(), archive(more={"ml-1m/zeros": bytes(10**7)})]), kind
        names += (GOOD,)
    elif kind == "method":
        method = random.choice([zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA, zipfile.ZIP_STORED])
        content, what = _changed(random, archive(method=method))
        names += (GOOD, "ratings.dat", "movies.dat", "MovieLens")
    elif kind == "part":
        (place / "cache").mkdir()
        part = place / "cache/ml-1m.zip.part"
        what = random.choice(["whole", "longer", "folder", "fifo", "link"])
        if what == "folder":
            part.mkdir()
        elif what == "fifo":
            os.mkfifo(part)
        elif what == "link":
            part.symlink_to(place / "elsewhere")
        else:
            part.write_bytes(content + b"x" * (what == "longer"))
        names += (GOOD,)
    elif kind == "none":
        content = random.choice([b"", b"<html>", b"PK", b"PK\5\6" + bytes(18), bytes(1000)])
    elif kind == "link":
        mode = random.choice(
            [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFBLK, stat.S_IFDIR, stat.S_IFSOCK]
        )
        content, what = archive(mode=mode), f"a member of mode {mode:o}"
        names += (GOOD,)
    source = place / "source"
    source.mkdir()
    (source / "ml-1m.zip").write_bytes(content)
    (source / "ml-1m.zip.md5").write_bytes(b"none")
    config = place / "archives.py"
    text = CONFIG.format(url=source.as_uri(), cache=str(place / "cache"))
    config.write_text(text, encoding="utf-8")
    return Attempt(
        f"archive: {what}",
        ("train", f"--config={config}", f"--workdir={place / 'run'}",
        "--config.export.top_k=1000000"),
        names,
    )  # fmt: skip


@functools.cache
def _bomb() -> bytes:
    """Three gigabytes of zeros in three megabytes."""
    raw = io.BytesIO()
    with (
        zipfile.ZipFile(raw, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as members,
        members.open("ml-1m/zeros", "w", force_zip64=True) as zeros,
    ):
        for _ in range(300):
            zeros.write(bytes(10**7))
    return raw.getvalue()


def archive(files=FILES, more=None, copies=1, method=zipfile.ZIP_DEFLATED, mode=0) -> bytes:
    """A zip archive with such members, also with names that `zipfile` would not write."""
    raw = io.BytesIO()
    with zipfile.ZipFile(raw, "w", method) as members:
        for name, content in files.items():
            members.writestr(_named(name), content, method)
        for name, content in (more or {}).items():
            for copy in range(copies):
                members.writestr(_named(name + str(copy) * (copies > 1)), content, method)
        if mode:
            odd = zipfile.ZipInfo("ml-1m/odd")
            odd.external_attr = (mode | 0o777) << 16
            members.writestr(odd, "/etc/passwd")
    return raw.getvalue()


def _named(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo("x")
    info.filename = name
    return info


def _changed(random: random.Random, content: bytes) -> tuple[bytes, str]:
    place = random.randrange(len(content))
    if random.random() < 0.2:
        return content[:place], f"cut at {place}"
    if random.random() < 0.5:  # the list of members at the end
        place = random.randrange(content.index(b"PK\1\2"), len(content))
    noise = random.choice(
        [bytes([content[place] ^ 1 << random.randrange(8)]), b"\xff" * 4, b"\0" * 4]
    )
    return content[:place] + noise + content[place + len(noise) :], f"{noise!r} at {place}"


def _field(random: random.Random, content: bytes) -> tuple[bytes, str]:
    """Another value in a field of a member's entry or header, or of the end."""
    signature, fields = random.choice([
        (b"PK\1\2", {"version": (6, 2), "flags": (8, 2), "method": (10, 2), "crc": (16, 4),
        "packed": (20, 4), "size": (24, 4),
                     "name": (28, 2), "extra": (30, 2), "comment": (32, 2), "disk": (34, 2),
                     "mode": (38, 4), "offset": (42, 4)}),
        (b"PK\3\4", {"flags": (6, 2), "method": (8, 2), "packed": (18, 4), "size": (22, 4),
        "name": (26, 2), "extra": (28, 2)}),
        (b"PK\5\6", {"disk": (4, 2), "entries": (8, 2), "all": (10, 2), "length": (12, 4),
        "offset": (16, 4), "comment": (20, 2)}),
    ])  # fmt: skip
    places = [at for at in range(len(content)) if content.startswith(signature, at)]
    name, (at, size) = random.choice(list(fields.items()))
    place = random.choice(places) + at
    value = random.choice(
        [
            0,
            1,
            2,
            8,
            9,
            12,
            14,
            93,
            99,
            255,
            1 << 11,
            1 << 15,
            (1 << 16) - 1,
            1 << 30,
            (1 << 32) - 1,
        ]
    )
    packed = struct.pack("<Q", value & ((1 << 8 * size) - 1))[:size]
    return content[:place] + packed + content[place + size :], f"{signature!r} {name} is {value}"


def _arrays(random: random.Random, place: Path) -> Attempt:
    path = place / "contexts.npz"
    content = (RUN / "assets/contexts.npz").read_bytes()
    with np.load(io.BytesIO(content)) as stored:
        arrays = dict(stored)
    base = arrays[CHANGED]
    if random.random() < 0.5:
        content, what = _changed(random, content)
    elif random.random() < 0.4:
        content, what = _field(random, content)
    else:
        header = random.choice([
            {"shape": (10**12,)}, {"shape": (10**6, 10**6)}, {"shape": (-1, 10)}, {"shape": (20,
            10, 0)}, {"shape": ()}, {"shape": (2**63,)},
            {"shape": (True, 200)}, {"shape": 200}, {"shape": (20.0, 10)}, {"descr": "|O"},
            {"descr": "<f8"}, {"descr": ">i4"},
            {"descr": "|V0"}, {"descr": "<U2"}, {"descr": "<M8[s]"}, {"descr": "nonsense"},
            {"descr": [("a", "<i4")]},
            {"descr": ("<i4", (10**9,))}, {"fortran_order": True}, {"fortran_order": 2}, {"x": 1},
            {"descr": "<i4" * 9000},
            {"descr": "|V0", "shape": (10**12,)}, {"descr": [("a", "|O"), ("b", "<i4")]},
            {"shape": (20, 10)},
        ])  # fmt: skip
        what = repr(header)[:80]
        full = {"descr": "<i4", "fortran_order": False, "shape": base.shape} | header
        text = (repr(full) + "\n").encode()
        version = random.choice([1, 1, 2, 3, 9])
        size = struct.pack("<H" if version == 1 else "<I", min(len(text), 65535))
        start = b"\x93NUMPY" + bytes([version, 0]) + size
        raw = io.BytesIO()
        with zipfile.ZipFile(raw, "w", zipfile.ZIP_DEFLATED) as members:
            for name, array in arrays.items():
                plain = io.BytesIO()
                np.save(plain, array)
                content = start + text + base.tobytes() if name == CHANGED else plain.getvalue()
                members.writestr(f"{name}.npy", content)
        content = raw.getvalue()
    path.write_bytes(content)
    return Attempt(
        f"contexts: {what}",
        ("benchmark", RUN / "export", f"--contexts={path}", "--calls=2"),
        ("contexts.npz", "different contexts"),
    )
