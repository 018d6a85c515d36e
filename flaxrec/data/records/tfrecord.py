"""TFRecord files of tf.train.Example, read and written without TensorFlow.

A record holds the length of its data (uint64), the masked CRC-32C of these eight bytes, the data
and their masked CRC-32C, all little-endian. The data are one Example: lists of int64, float or
bytes by key. https://www.tensorflow.org/tutorials/load_data/tfrecord
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
from google.protobuf import descriptor_pb2, descriptor_pool, message, message_factory, text_format

from flaxrec.errors import DataError, write_errors_as
from flaxrec.files import opened, whole_file

# Checksums are computed for many records at once: NumPy is slow on a single one.
_BLOCK_RECORDS = 4096
_BLOCK_BYTES = 16 << 20
_START = b"Td\x1fd"  # turns a CRC register of zeros into all ones

# The wire format of tensorflow/core/example/example.proto.
_EXAMPLE_PROTO = """
name: "example" package: "flaxrec" syntax: "proto3"
message_type {
  name: "BytesList" field { name: "value" number: 1 type: TYPE_BYTES label: LABEL_REPEATED }
}
message_type {
  name: "FloatList" field { name: "value" number: 1 type: TYPE_FLOAT label: LABEL_REPEATED }
}
message_type {
  name: "Int64List" field { name: "value" number: 1 type: TYPE_INT64 label: LABEL_REPEATED }
}
message_type {
  name: "Feature" oneof_decl { name: "kind" }
  field { name: "bytes_list" number: 1 type_name: "BytesList" oneof_index: 0 }
  field { name: "float_list" number: 2 type_name: "FloatList" oneof_index: 0 }
  field { name: "int64_list" number: 3 type_name: "Int64List" oneof_index: 0 }
}
message_type {
  name: "Features"
  field { name: "feature" number: 1 type_name: "FeatureEntry" label: LABEL_REPEATED }
  nested_type {
    name: "FeatureEntry" options { map_entry: true }
    field { name: "key" number: 1 type: TYPE_STRING }
    field { name: "value" number: 2 type_name: "Feature" }
  }
}
message_type { name: "Example" field { name: "features" number: 1 type_name: "Features" } }
"""

Example = dict[str, list]


def read(path: str | os.PathLike) -> Iterator[Example]:
    """The examples of a file, in order: lists of int, float or bytes by key.

    A key whose feature has no list is left out.

    Raises:
      DataError: the file is missing, damaged, cut off or of another kind; the message names the
        file and the record, counted from 1.
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
            file.write(frame(block))
            written += len(block)
    return written


# ---- records --------------------------------------------------------------------------------


def _records(path: Path) -> Iterator[bytes]:
    try:
        with opened(path) as file:
            size = os.fstat(file.fileno()).st_size
            # An empty file cannot be mapped.
            content: Any = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if size else b""
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); check the path.") from error
    position = number = 0
    while position < size:
        heads: list[bytes] = []
        datas: list[bytes] = []
        longest = 0
        while position < size and len(datas) < _BLOCK_RECORDS:
            head = content[position : position + 12]
            end = position + 12 + int.from_bytes(head[:8], "little") + 4
            longest = max(longest, end - position)
            if datas and longest * len(datas) > _BLOCK_BYTES:
                break
            heads.append(head)
            datas.append(content[position + 12 : end])
            position = end
        is_cut = position > size
        if is_cut:
            datas.pop()
            if len(heads[-1]) < 12:
                heads.pop()
        # After a damaged length, the next record's position is unknown.
        bad_head, bad_data = _first_bad(heads), _first_bad(datas)
        if bad_head < len(heads) or bad_data < len(datas):
            number += min(bad_head, bad_data)
            raise _unusable(path, number + 1, "damaged: its checksum differs")
        number += len(datas)
        if is_cut:
            raise _unusable(path, number + 1, "cut off where the file ends")
        yield from (data[:-4] for data in datas)


def _first_bad(parts: list[bytes]) -> int:
    """Index of the first part that does not end with its masked checksum, else len(parts)."""
    found = np.frombuffer(b"".join(part[-4:] for part in parts), "<u4")
    bad = np.flatnonzero(found != masked_crc32c([part[:-4] for part in parts]))
    return int(bad[0]) if len(bad) else len(parts)


def frame(datas: list[bytes]) -> bytes:
    """Records with their lengths and checksums, as they stand in a file."""
    lengths = [struct.pack("<Q", len(data)) for data in datas]
    parts = zip(lengths, masked_crc32c(lengths), datas, masked_crc32c(datas), strict=True)
    return b"".join(n + n_crc.tobytes() + d + d_crc.tobytes() for n, n_crc, d, d_crc in parts)


def _unusable(path: Path, number: int, what: str) -> DataError:
    return DataError(f"{path}, record {number} is {what}; write or copy the file again.")


# ---- checksums ------------------------------------------------------------------------------


def masked_crc32c(datas: Sequence[bytes]) -> np.ndarray:
    """Masked checksums, little-endian uint32 [len(datas)].

    CRC-32C (Castagnoli, RFC 3720 appendix B.4), rotated and shifted by a constant.
    """
    if not datas:
        return np.zeros(0, "<u4")
    low, high = _crc_tables()
    # Zero bytes keep a register of zeros, so data of all lengths, aligned at their ends, go through
    # together; `_START` then sets the register to the CRC's initial ones.
    width = -(-max(map(len, datas)) // 4) * 4 + 4
    aligned = b"".join([(_START + data).rjust(width, b"\0") for data in datas])
    words = np.frombuffer(aligned, "<u4").reshape(len(datas), -1).T.copy()
    register = np.zeros(len(datas), np.uint32)
    for word in words:
        register ^= word
        register = low[register & 0xFFFF] ^ high[register >> 16]
    crc = ~register
    return (((crc >> 15) | (crc << 17)) + np.uint32(0xA282EAD8)).astype("<u4")


@functools.cache
def _crc_tables() -> tuple[np.ndarray, np.ndarray]:
    """The register 32 bits after each low half, and after each high half."""
    low = np.arange(1 << 16, dtype=np.uint32)
    high = low << 16
    for half in (low, high):
        for _ in range(32):
            half[:] = (half >> 1) ^ (np.uint32(0x82F63B78) * (half & 1))
    return low, high


# ---- examples -------------------------------------------------------------------------------


def _encode(example: Mapping[str, Sequence]) -> bytes:
    encoded = _example_class()()
    for key, values in example.items():
        feature = encoded.features.feature[key]
        first = values[0] if len(values) else 0
        if isinstance(first, bytes | str):
            feature.bytes_list.value.extend(v.encode() if isinstance(v, str) else v for v in values)
        elif isinstance(first, float | np.floating):
            feature.float_list.value.extend(values)
        else:
            feature.int64_list.value.extend(values)
    return encoded.SerializeToString(deterministic=True)


@functools.cache
def _example_class() -> Any:
    """The message tf.train.Example: Features by key, each one of three lists."""
    file = text_format.Parse(_EXAMPLE_PROTO, descriptor_pb2.FileDescriptorProto())
    pool = descriptor_pool.DescriptorPool()  # TensorFlow registers its own in the default pool
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("flaxrec.Example"))
