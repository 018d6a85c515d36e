"""TFRecords and the vocabularies beside them, damaged or hostile."""

import json
import random
import signal
import struct
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from flaxrec.data.records import tfrecord
from tests.fuzz.attempts import Attempt

CONFIG = """
from flaxrec.config import *

def get_config(variant=None):
    features = [
        FeatureConfig("ids", "item.id", length=3),
        FeatureConfig("words", "item.genres", "STRING", length=2, vocabulary="words.txt"),
        FeatureConfig("stars", "event.stars", "FLOAT", length=3),
    ]
    data = DataConfig(source="tfrecord", path={path!r})
    data.records = RecordsConfig(test={test!r}, label="label", label_vocab_size=9)
    data.records.vocabularies = {folder!r}
    groups = [GroupConfig(features[:1] + features[2:]), GroupConfig(features[1:2])]
    model = ModelConfig(context_length=3, activity_groups=groups)
    train = TrainConfig(select_metric="ndcg@10")
    return Config(name="records", data=data, train=train, model=model)
"""
EXAMPLES = [
    {"ids": [n % 8 + 1, 2, 0], "words": [b"War", b"Noir"], "stars": [1.0, n / 2, 0.0],
    "label": [n % 8 + 1]}
    for n in range(12)
]  # fmt: skip
GOOD = "the catalogue has 8 items"
MOVIES = [[n, f"Film {n} (1990)", "War|Noir", 3] for n in range(1, 9)]


def attempts(random: random.Random, folder: Path) -> Iterator[Attempt]:
    """Each time another fault in a file of records, a vocabulary or the table of movies."""
    train, test, words = folder / "train-0", folder / "test-0", folder / "words.txt"
    movies, config = folder / "movie_vocab.json", folder / "records.py"
    tfrecord.write(train, EXAMPLES)
    tfrecord.write(test, EXAMPLES[:2])
    words.write_text("UNK\nWar\nNoir\n", encoding="utf-8")
    movies.write_text(json.dumps(MOVIES), encoding="utf-8")
    text = CONFIG.format(path=str(folder / "train-*"), test=str(test), folder=str(folder))
    config.write_text(text, encoding="utf-8")
    whole = {path: path.read_bytes() for path in (train, test, words, movies)}
    command = (
        "train",
        f"--config={config}",
        f"--workdir={folder / 'run'}",
        "--config.export.top_k=1000000",
    )
    while True:
        path = random.choice([train] * 5 + [test, words, movies])
        kind = random.choice([_bytes, _bytes, _frame, _message, _example])
        if path in (words, movies):
            kind = random.choice([_bytes, _odd_movies if path == movies else _odd_words])
        content, what = kind(random, whole[path])
        path.write_bytes(content)
        signal.alarm(600)  # nothing waits for ever
        yield Attempt(f"{path.name}: {what}", command, (path.name, GOOD, "config.data.", "'words'"))
        signal.alarm(0)
        path.write_bytes(whole[path])
        subprocess.run(["rm", "-rf", str(folder / "run")], check=True)


def _bytes(random: random.Random, content: bytes) -> tuple[bytes, str]:
    place = random.randrange(len(content))
    kind = random.choice(["cut", "flip", "twice", "out", "noise"])
    end = min(len(content), place + random.choice([1, 8, 100]))
    made = {
        "cut": content[:place],
        "flip": content[:place]
        + bytes([content[place] ^ 1 << random.randrange(8)])
        + content[place + 1 :],
        "twice": content[:end] + content[place:],
        "out": content[:place] + content[end:],
        "noise": content[:place] + random.randbytes(end - place) + content[end:],
    }
    return made[kind], f"{kind} at {place}"


def _framed(datas: list[bytes]) -> bytes:
    """Records with right checksums."""
    parts = []
    for data in datas:
        length = struct.pack("<Q", len(data))
        checks = tfrecord.masked_crc32c([length, data])
        parts += [length, checks[0].tobytes(), data, checks[1].tobytes()]
    return b"".join(parts)


def _datas(content: bytes) -> list[bytes]:
    found = []
    while content:
        end = 12 + int.from_bytes(content[:8], "little")
        found.append(content[12:end])
        content = content[end + 4 :]
    return found


def _frame(random: random.Random, content: bytes) -> tuple[bytes, str]:
    """A record whose length lies."""
    length = random.choice([0, 1, 2**31, 2**32, 2**60, 2**63, 2**64 - 1, len(content), 10**6])
    packed = struct.pack("<Q", length)
    checksum = (
        tfrecord.masked_crc32c([packed])[0].tobytes() if random.random() < 0.8 else b"\0\0\0\0"
    )
    place = random.choice([0, len(content)])
    return content[:place] + packed + checksum + content[
        place + 12 :
    ], f"length {length} at {place}"


def _message(random: random.Random, content: bytes) -> tuple[bytes, str]:
    """A sound record whose data are no sound Example."""
    datas = _datas(content)
    which = random.randrange(len(datas))
    odd = random.choice([
        b"", b"\0", b"\xff" * 20, b"\x0b" * 5_000, b"\x0a" + b"\xff" * 9 + b"\x01",
        random.randbytes(40),
        b"\x0a\x02\x0a\x00", b"\x0a\x06\x0a\x04\x0a\x02\xff\xfe", b"\x0a\x80\x80\x80\x80\x08",
        datas[which] * 2, bytes(10_000),
    ])  # fmt: skip
    if random.random() < 0.6:
        odd, _ = _bytes(random, datas[which])
    datas[which] = odd
    return _framed(datas), f"record {which + 1} is {odd[:30]!r}"


def _example(random: random.Random, content: bytes) -> tuple[bytes, str]:
    """A sound Example with values that cannot be used."""
    name = random.choice(["ids", "words", "stars", "label"])
    values = random.choice([
        [], [1], [-1], [8], [9], [2**63 - 1], [-(2**63)], [0], [1, 2], [1, 2, 3], [2**40] * 3,
        [float("nan")] * 3, [float("inf"), 0.0, 0.0],
        [3e38] * 3, [1.5], [b""], [b"\xff", b"War"], [b"x" * 1_000_000, b"War"], [b"\x1b[31m",
        b"War"], [b"War", b"UNK"], [1] * 100_000,
    ])  # fmt: skip
    rows = [dict(example) for example in EXAMPLES]
    row = random.choice(rows)
    row[name] = values
    with tempfile.TemporaryDirectory() as folder:
        tfrecord.write(Path(folder) / "rows", rows)
        return (Path(folder) / "rows").read_bytes(), f"{name} is {str(values)[:50]}"


def _odd_words(random: random.Random, content: bytes) -> tuple[bytes, str]:
    odd = random.choice([b"", b"\n", b"War\nWar\n", b"\xff\n", b"\0\n", b"a\r\nb\r\n", b"a\n\nb",
    b"x" * 1_000_000, b"UNK\nWar\nNoir",
                         b"UNK\nWar\nNoir\n" * 2, b"\xef\xbb\xbfUNK\nWar\nNoir\n",
                         "UNK\nWar".encode("utf-16")])  # fmt: skip
    return odd, repr(odd[:30])


def _odd_movies(random: random.Random, content: bytes) -> tuple[bytes, str]:
    odd = random.choice([
        b"", b"[]", b"{}", b"null", b"1", b"[1]", b"[[1]]", b"[null]", b"[" * 100_000,
        b'{"a":' * 100_000, b'[[1, "a", "b", 1e400]]',
        b'[[1, 2, 3, 4]]', b'[["1", "a", "b", "2"]]', b'[["x", "a", "b", 1]]',
        b'[[9e30, "a", "b", 1]]', b'[[NaN, "a", "b", 1]]',
        b'[[1' + b"0" * 30 + b', "a", "b", 1]]', b'[[1' + b"0" * 5000 + b', "a", "b", 1]]',
        b'[[1, null, "b", 1]]', b'[[1, "\\ud800", "b", 1]]',
        b'[[1, ["a"], "b", 1]]', b'[[1, "a", null, 1]]', b'[[1, "a", ["b"], 1]]',
        b'[[1, "a", "b", -1]]', b'[[1, "a", "b", true]]',
        b'["abcd"]', b'[{"a":1,"b":2,"c":3,"d":4}]', b"\xff", b'[[1, "a\\u001b[31m", "b", 1]]',
        b'[[1, "(99999) (1990", "b", 1]]',
    ])  # fmt: skip
    return odd, repr(odd[:40])
