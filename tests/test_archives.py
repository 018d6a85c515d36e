"""Files of arrays of strangers: as numpy reads them, and nothing on a header's word."""

import io
import struct
import zipfile

import numpy as np
import pytest

from flaxrec.files import DamagedError
from flaxrec.files.npz import read_npz

ARRAY = np.arange(6, dtype=np.int32).reshape(2, 3)


def npz(path, header, names=("a.npy",)):
    """An .npz whose arrays have such a header."""
    content = header.pop("fill", b"") * 24
    content = content[: ARRAY.nbytes] or ARRAY.tobytes()
    full = {"descr": "<i4", "fortran_order": False, "shape": ARRAY.shape} | header
    text = repr(full).encode()
    start = b"\x93NUMPY\1\0" + struct.pack("<H", len(text)) + text
    with zipfile.ZipFile(path, "w") as members:
        for name in names:
            info = zipfile.ZipInfo(name)
            members.filelist.clear()  # zipfile warns of two names
            members.writestr(info, start + content)
        members.filelist[:] = members.filelist * len(names)
    return path


def test_arrays_as_numpy_reads_them(tmp_path):
    arrays = {
        "whole": ARRAY,
        "fortran": np.asfortranarray(ARRAY),
        "none": np.zeros((0, 4), np.float32),
        "scalar": np.array(2.5),
        "big": ARRAY.astype(">i8"),
        "text": np.array(["a", "bcd"]),
        "a/b": np.array([True]),
    }
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "file.npz", **arrays)
        found = read_npz(tmp_path / "file.npz")
        assert list(found) == list(arrays)
        for name, array in arrays.items():
            np.testing.assert_array_equal(found[name], array)
            assert found[name].dtype == array.dtype
            assert found[name].flags.writeable


@pytest.mark.parametrize(
    "header",
    [
        {"shape": (10**12,)},
        {"shape": (10**6, 10**6)},
        {"shape": (2**62, 4)},
        {"shape": (-1, -6)},
        {"shape": 6},
        {"descr": "<i8"},
        {"descr": "|O"},
        {"descr": [("a", "|O")]},
        {"descr": "nonsense"},
        {"x": 1},
        {"descr": "<U1", "shape": (6,), "fill": b"\xff"},
        {"descr": "<U1", "shape": (6,), "fill": b"\0\xd8\0\0"},
    ],
)
def test_headers_that_lie(tmp_path, header):
    with pytest.raises(DamagedError):
        read_npz(npz(tmp_path / "file.npz", dict(header)))


def test_what_is_no_npz(tmp_path):
    path = tmp_path / "file.npz"
    whole = io.BytesIO()
    np.savez_compressed(whole, a=ARRAY)
    for content in (
        b"",
        b"PK",
        whole.getvalue()[:-5],
        whole.getvalue().replace(b"a.npy", b"b.npy", 1),
    ):
        path.write_bytes(content)
        with pytest.raises(DamagedError):
            read_npz(path)
    with pytest.raises(DamagedError, match="twice"):
        read_npz(npz(path, {}, names=("a.npy", "a.npy")))
    with pytest.raises(OSError, match="regular"):
        read_npz(tmp_path)


def test_what_unpacks_to_too_much(tmp_path):
    np.savez_compressed(tmp_path / "file.npz", a=np.zeros(1000, np.int8))
    content = (tmp_path / "file.npz").read_bytes()
    place = content.index(b"PK\1\2") + 24  # the size in the list of members
    lie = content[:place] + struct.pack("<I", 2_000_000_000) + content[place + 4 :]
    (tmp_path / "file.npz").write_bytes(lie)
    with pytest.raises(DamagedError, match="it would unpack to 2,000,000,000 bytes, more than the"):
        read_npz(tmp_path / "file.npz")
