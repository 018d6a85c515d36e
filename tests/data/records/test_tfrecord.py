"""TFRecords: checksums from the RFC, framing by hand, and TensorFlow's own reader and writer."""

import json
import struct
from itertools import islice

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flaxrec.data.records import tfrecord
from flaxrec.errors import DataError
from tests.support.places import GOLDEN

DATAGEN = GOLDEN / "datagen"

EXAMPLES = [
    {"ids": [3, 0, -1], "ratings": [0.5, 4.0], "words": [b"Drama", b"", b"No\xffir"]},
    {"ids": [2**62], "words": ["étude".encode()]},
    {},
    {"ids": list(range(300))},
]


def masked(crc):
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def bitwise_crc32c(data):
    """One bit at a time, as the definition has it."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def frame(data):
    length = struct.pack("<Q", len(data))
    checksums = [struct.pack("<I", masked(bitwise_crc32c(part))) for part in (length, data)]
    return length + checksums[0] + data + checksums[1]


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "examples.tfrecord"
    tfrecord.write(path, EXAMPLES)
    return path


# ---- checksums ------------------------------------------------------------------------------


def test_checksums_of_rfc_3720():
    """Appendix B.4, and the check value of the polynomial."""
    data = [bytes(32), b"\xff" * 32, bytes(range(32)), bytes(range(31, -1, -1)), b"123456789"]
    expected = [0x8A9136AA, 0x62A8AB43, 0x46DD794E, 0x113FDB5C, 0xE3069283]
    assert tfrecord.masked_crc32c(data).tolist() == [masked(crc) for crc in expected]


@given(st.lists(st.binary(max_size=40), min_size=1, max_size=5))
def test_checksums_of_different_lengths_together(datas):
    expected = [masked(bitwise_crc32c(data)) for data in datas]
    assert tfrecord.masked_crc32c(datas).tolist() == expected


# ---- reading and writing --------------------------------------------------------------------


def test_what_was_written_is_read(file):
    assert list(tfrecord.read(file)) == EXAMPLES
    assert [p.name for p in file.parent.iterdir()] == [file.name]


def test_numpy_values_and_text_are_written(tmp_path):
    path = tmp_path / "file"
    written = tfrecord.write(
        path, [{"i": np.arange(2), "f": np.array([0.5], np.float32), "s": ["é"], "none": []}]
    )
    assert written == 1
    (example,) = tfrecord.read(path)
    assert example == {"i": [0, 1], "f": [0.5], "s": ["é".encode()], "none": []}


def test_an_example_by_hand(tmp_path):
    """{'a': [1, 2], 'b': no list} in protobuf's wire format."""
    a = b"\x0a\x01a" + b"\x12\x06" + b"\x1a\x04\x0a\x02\x01\x02"
    b = b"\x0a\x01b" + b"\x12\x00"
    features = b"\x0a" + bytes([len(a)]) + a + b"\x0a" + bytes([len(b)]) + b
    path = tmp_path / "file"
    path.write_bytes(frame(b"\x0a" + bytes([len(features)]) + features) + frame(b""))
    assert list(tfrecord.read(path)) == [{"a": [1, 2]}, {}]
    tfrecord.write(path, [{"a": [1, 2]}])
    assert path.read_bytes() == frame(b"\x0a" + bytes([len(a) + 2]) + b"\x0a" + bytes([len(a)]) + a)


def test_more_records_than_a_block(tmp_path, monkeypatch):
    monkeypatch.setattr(tfrecord, "_BLOCK_RECORDS", 3)
    monkeypatch.setattr(tfrecord, "_BLOCK_BYTES", 150)  # the long ones stand alone
    examples = [{"x": list(range(n % 5 * 30))} for n in range(20)]
    path = tmp_path / "file"
    assert tfrecord.write(path, iter(examples)) == 20
    assert list(tfrecord.read(path)) == examples


def test_an_empty_file_has_no_records(tmp_path):
    path = tmp_path / "file"
    assert tfrecord.write(path, []) == 0
    assert list(tfrecord.read(path)) == []


@pytest.mark.skipif(not DATAGEN.exists(), reason=f"{DATAGEN} is not there")
def test_the_references_own_files():
    expected = json.loads((DATAGEN / "expected.json").read_text(encoding="utf-8"))
    files = sorted(DATAGEN.glob("*_train.tfrecord"))
    assert len(files) == 4
    for path in files:
        part = expected[path.stem.removesuffix("_train")]["train"]
        for example, theirs in zip(tfrecord.read(path), part, strict=True):
            theirs["context_movie_genre"] = [g.encode() for g in theirs["context_movie_genre"]]
            assert example == theirs


def test_tensorflow_reads_and_writes_the_same(file, tmp_path):
    tf = pytest.importorskip("tensorflow")
    data = list(tf.data.TFRecordDataset(str(file)).as_numpy_iterator())
    parsed = tf.io.parse_single_example(
        data[0],
        {
            "ids": tf.io.FixedLenFeature([3], tf.int64),
            "ratings": tf.io.FixedLenFeature([2], tf.float32),
            "words": tf.io.FixedLenFeature([3], tf.string),
        },
    )
    assert {name: value.numpy().tolist() for name, value in parsed.items()} == EXAMPLES[0]
    theirs = tmp_path / "theirs"
    with tf.io.TFRecordWriter(str(theirs)) as writer:
        for record in data:
            writer.write(record)
    assert theirs.read_bytes() == file.read_bytes()
    assert list(tfrecord.read(theirs)) == EXAMPLES


# ---- files that cannot be used --------------------------------------------------------------


def bounds(file):
    """Begin of each record, and the end."""
    content, begins = file.read_bytes(), [0]
    while begins[-1] < len(content):
        (length,) = struct.unpack_from("<Q", content, begins[-1])
        begins.append(begins[-1] + 12 + length + 4)
    return begins


def test_every_damaged_byte_is_noticed(file):
    """Of the second record: length, data and both checksums."""
    content = file.read_bytes()
    begin, end = bounds(file)[1:3]
    for position in range(begin, end):
        damaged = bytearray(content)
        damaged[position] ^= 16
        file.write_bytes(damaged)
        with pytest.raises(DataError) as error:
            list(tfrecord.read(file))
        assert str(error.value) == (
            f"{file}, record 2 is damaged: its checksum differs; write or copy the file again."
        )


def test_a_cut_file_is_noticed_wherever_it_ends(file):
    content, begins = file.read_bytes(), bounds(file)
    for end in range(begins[2] + 40):
        file.write_bytes(content[:end])
        if end in begins:
            assert list(tfrecord.read(file)) == EXAMPLES[: begins.index(end)]
            continue
        number = sum(begin <= end for begin in begins)
        with pytest.raises(DataError) as error:
            list(tfrecord.read(file))
        assert str(error.value) == (
            f"{file}, record {number} is cut off where the file ends; write or copy the file again."
        )


def test_records_before_a_damaged_block_are_given(file, monkeypatch):
    monkeypatch.setattr(tfrecord, "_BLOCK_RECORDS", 1)
    file.write_bytes(file.read_bytes()[:-1])
    records = tfrecord.read(file)
    assert list(islice(records, 3)) == EXAMPLES[:3]
    with pytest.raises(DataError, match="record 4 is cut off"):
        next(records)


def test_something_else(tmp_path):
    path = tmp_path / "movies.dat"
    path.write_text("1::A film of some other time (1895)::Drama|Comedy\n")
    with pytest.raises(DataError, match=r"movies\.dat, record 1 is damaged"):
        list(tfrecord.read(path))
    path.write_bytes(frame(b"\x0a\xff"))
    with pytest.raises(DataError) as error:
        list(tfrecord.read(path))
    assert str(error.value) == (
        f"{path}, record 1 is not a tf.train.Example; give the files that the example generation "
        "wrote."
    )


def test_a_path_that_is_not_there(tmp_path):
    path = tmp_path / "none" / "file"
    with pytest.raises(DataError) as error:
        list(tfrecord.read(path))
    assert str(error.value) == (
        f"{path} cannot be read (No such file or directory); check the path."
    )
    with pytest.raises(DataError) as error:
        tfrecord.write(path, EXAMPLES)
    assert str(error.value) == (
        f"{path} cannot be written (No such file or directory); use another."
    )
