"""Files of arrays (.npz) of strangers: read as numpy reads them, but bounded, and without code."""

import math
import os
from collections import Counter

import numpy as np

from flaxrec.errors import shown
from flaxrec.files.archives import DamagedError, open_archive

_BLOCK = 1 << 20


def read_npz(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """The arrays of an .npz by name, as `numpy.load` reads them, but not on a header's word.

    No memory is taken for a shape that the file does not fill, and no objects are unpickled.

    Raises:
      DamagedError: it is no .npz, or a header is not that of its data.
      OSError: the file cannot be read.
    """
    with open_archive(path) as archive:
        found: dict[str, np.ndarray] = {}
        names = [member.filename.removesuffix(".npy") for member in archive.infolist()]
        if twice := [name for name, count in Counter(names).items() if count > 1]:
            raise DamagedError(f"its member {shown(twice[0])} stands twice")
        for name, member in zip(names, archive.infolist(), strict=True):
            with archive.open(member) as file:
                version = np.lib.format.read_magic(file)
                if version not in _HEADERS:
                    raise DamagedError(f"{shown(member.filename)} has the version {version}")
                shape, is_fortran, dtype = _HEADERS[version](file)
                content = bytearray()
                while block := file.read(_BLOCK):
                    content += block
            if dtype.hasobject:
                raise DamagedError(f"{shown(member.filename)} holds objects")
            if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != len(content):
                raise DamagedError(
                    f"{shown(member.filename)} holds {len(content):,} bytes, but its header tells "
                    f"of {dtype} {shown(shape)}"
                )
            if dtype.kind == "U":
                letters = np.frombuffer(content, dtype.str[0].replace("|", "<") + "u4")
                if ((letters > 0x10FFFF) | (letters >> 11 == 0xD800 >> 11)).any():
                    raise DamagedError(f"{shown(member.filename)} holds what is no text")
            found[name] = np.ndarray(shape, dtype, content, order="F" if is_fortran else "C")
    return found


_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0}
_HEADERS[2, 0] = np.lib.format.read_array_header_2_0
