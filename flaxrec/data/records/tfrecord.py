"""TFRecord files of tf.train.Example, read and written without TensorFlow.

A record is its length (uint64), the masked CRC-32C of these eight bytes, the data and the masked
CRC-32C of the data, all little-endian. The data are one Example: lists of int64, float or bytes by
key. https://www.tensorflow.org/tutorials/load_data/tfrecord
"""

import functools
import mmap
import os
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message, message_factory

from flaxrec.errors import DataError, write_errors_as
from flaxrec.files import whole_file

# Checksums are computed for many records at once, NumPy being slow on one.
_BLOCK_RECORDS = 4096
_BLOCK_BYTES = 16 << 20

Example = dict[str, list]


def read(path: str | os.PathLike) -> Iterator[Example]:
    """The examples of a file, in order: lists of int, float or bytes by key.

    A key whose feature has no list is left out, as if it were missing.

    Raises:
      DataError: the file is missing, damaged or cut off, or holds something else; the message
        names the file and the record, the first being record 1.
    """
    path = Path(path)
    make = _example_class()
    for number, data in enumerate(_records(path), start=1):
        try:
            features = make.FromString(data).features.feature
        except message.DecodeError as error:
            raise DataError(
                f"{path}, record {number} is not a tf.train.Example; give the files that the "
                "example generation wrote."
            ) from error
        kinds = ((name, feature, feature.WhichOneof("kind")) for name, feature in features.items())
        yield {name: getattr(feature, kind).value[:] for name, feature, kind in kinds if kind}


def write(path: str | os.PathLike, examples: Iterable[Mapping[str, Sequence]]) -> int:
    """Writes examples, whole or not at all; returns how many.

    Args:
      path: replaced if it exists.
      examples: lists of int, float, bytes or str (written as UTF-8) by key; keys are sorted.

    Raises:
      DataError: the file cannot be written.
    """
    path = Path(path)
    remaining = map(_encode, examples)
    written = 0
    with write_errors_as(DataError, path, "use another"), whole_file(path) as file:
        while block := list(islice(remaining, _BLOCK_RECORDS)):
            file.write(_frame(block))
            written += len(block)
    return written


# ---- records --------------------------------------------------------------------------------


def _records(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            # An empty file cannot be mapped.
            content: Any = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if size else b""
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); check the path.") from error
    position = number = 0
    while position < size:
        starts, lengths = _scan(content, position, size)
        heads = [content[start : start + 12] for start in starts]
        good = _first_bad(heads, [8] * len(heads))
        # A length that is damaged says nothing of where the next record begins.
        ends = [s + 12 + n + 4 for s, n in zip(starts[:good], lengths, strict=False)]
        within = sum(end <= size for end in ends)
        datas = [content[s + 12 : e] for s, e in zip(starts, ends[:within], strict=False)]
        whole = _first_bad(datas, lengths[:within])
        if whole < within or good < len(starts):
            raise _unusable(path, number + whole + 1, "damaged: its checksum differs")
        if within < len(starts) or not starts:
            raise _unusable(path, number + within + 1, "cut off where the file ends")
        yield from (data[:-4] for data in datas)
        position, number = ends[-1], number + len(starts)


def _scan(content: Any, position: int, size: int) -> tuple[list[int], list[int]]:
    """Starts and lengths of the next records whose beginnings are there."""
    starts: list[int] = []
    lengths: list[int] = []
    longest = 0
    while position + 12 <= size and len(starts) < _BLOCK_RECORDS:
        (length,) = struct.unpack_from("<Q", content, position)
        longest = max(longest, length)
        if starts and longest * len(starts) > _BLOCK_BYTES:
            break
        starts.append(position)
        lengths.append(length)
        position += 12 + length + 4
    return starts, lengths


def _first_bad(parts: list[bytes], lengths: list[int]) -> int:
    """Index of the first part whose last four bytes are not its masked checksum; else their number.

    `lengths` are the parts' without those four bytes.
    """
    found = np.frombuffer(b"".join(part[-4:] for part in parts), "<u4")
    expected = masked_crc32c([p[:n] for p, n in zip(parts, lengths, strict=True)])
    return int(np.append(np.flatnonzero(found != expected), len(parts))[0])


def _frame(datas: list[bytes]) -> bytes:
    lengths = [struct.pack("<Q", len(data)) for data in datas]
    parts = zip(lengths, masked_crc32c(lengths), datas, masked_crc32c(datas), strict=True)
    return b"".join(
        b"".join((n, n_crc.tobytes(), d, d_crc.tobytes())) for n, n_crc, d, d_crc in parts
    )


def _unusable(path: Path, number: int, what: str) -> DataError:
    return DataError(f"{path}, record {number} is {what}; write or copy the file again.")


# ---- checksums ------------------------------------------------------------------------------


def masked_crc32c(datas: Sequence[bytes]) -> np.ndarray:
    """The checksums of a TFRecord file, little-endian uint32 [len(datas)].

    CRC-32C (Castagnoli, RFC 3720 appendix B.4), rotated and shifted by a constant.
    """
    if not datas:
        return np.zeros(0, "<u4")
    low, high, start = _crc_tables()
    # A register of zeros stays so over zero bytes, and over `start` it gets the value that the
    # CRC begins with: aligned at their ends, data of all lengths go through together.
    width = -(-max(map(len, datas)) // 4) * 4 + 4
    aligned = b"".join([(start + data).rjust(width, b"\0") for data in datas])
    words = np.frombuffer(aligned, "<u4").reshape(len(datas), -1).T.copy()
    register = np.zeros(len(datas), np.uint32)
    for word in words:
        register ^= word
        register = low[register & 0xFFFF] ^ high[register >> 16]
    crc = ~register
    return (((crc >> 15) | (crc << 17)) + np.uint32(0xA282EAD8)).astype("<u4")


@functools.cache
def _crc_tables() -> tuple[np.ndarray, np.ndarray, bytes]:
    """What 32 bits make of a register's low and high half, and the word that makes it all ones."""
    polynomial = np.uint32(0x82F63B78)

    def after_32_bits(register: np.ndarray) -> np.ndarray:
        for _ in range(32):
            register = (register >> 1) ^ (polynomial * (register & 1))
        return register

    start = 0xFFFFFFFF
    for _ in range(32):  # backwards
        bit = start >> 31
        start = (((start ^ int(polynomial)) << 1 | 1) if bit else start << 1) & 0xFFFFFFFF
    half = np.arange(1 << 16, dtype=np.uint32)
    return after_32_bits(half), after_32_bits(half << 16), struct.pack("<I", start)


# ---- examples -------------------------------------------------------------------------------


def _encode(example: Mapping[str, Sequence]) -> bytes:
    encoded = _example_class()()
    for key, values in example.items():
        feature = encoded.features.feature[key]
        first = values[0] if len(values) else 0
        if isinstance(first, bytes | str):
            texts = (v.encode() if isinstance(v, str) else v for v in values)
            feature.bytes_list.value.extend(texts)
        elif isinstance(first, float | np.floating):
            feature.float_list.value.extend(values)
        else:
            feature.int64_list.value.extend(values)
    return encoded.SerializeToString(deterministic=True)


@functools.cache
def _example_class() -> Any:
    """The message tf.train.Example: Features by key, each one of three lists."""
    kinds = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="example", package="flaxrec", syntax="proto3")

    def add(parent: Any, name: str, kind: int, number: int, **further: Any) -> None:
        further = {"label": kinds.LABEL_OPTIONAL} | further
        parent.field.add(name=name, type=kind, number=number, **further)

    lists = {
        "BytesList": ("bytes_list", kinds.TYPE_BYTES),
        "FloatList": ("float_list", kinds.TYPE_FLOAT),
        "Int64List": ("int64_list", kinds.TYPE_INT64),
    }
    feature = file.message_type.add(name="Feature")
    feature.oneof_decl.add(name="kind")
    for number, (name, (field, kind)) in enumerate(lists.items(), start=1):
        of_kind = file.message_type.add(name=name)
        add(of_kind, "value", kind, 1, label=kinds.LABEL_REPEATED)
        add(feature, field, kinds.TYPE_MESSAGE, number, type_name=f".flaxrec.{name}", oneof_index=0)
    features = file.message_type.add(name="Features")
    entry = features.nested_type.add(name="FeatureEntry")
    entry.options.map_entry = True
    add(entry, "key", kinds.TYPE_STRING, 1)
    add(entry, "value", kinds.TYPE_MESSAGE, 2, type_name=".flaxrec.Feature")
    entry_name = ".flaxrec.Features.FeatureEntry"
    repeated = kinds.LABEL_REPEATED
    add(features, "feature", kinds.TYPE_MESSAGE, 1, type_name=entry_name, label=repeated)
    example = file.message_type.add(name="Example")
    add(example, "features", kinds.TYPE_MESSAGE, 1, type_name=".flaxrec.Features")

    pool = descriptor_pool.DescriptorPool()  # one's own: TensorFlow keeps its in the default one
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("flaxrec.Example"))
