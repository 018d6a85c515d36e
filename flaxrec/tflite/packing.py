"""Packs TFLite's schema objects into as few bytes as the format allows.

Flatbuffers refer by offset, so several parents can share a child: equal objects are written once.
Constants are aligned as the schema asks, which the generated Python code does not do. Tables of
buffers fill the gaps between them.

`_Builder` uses fields of `flatbuffers.Builder` that its interface does not name (`head`, `Bytes`,
`vectorNumElems`, `objectEnd`, `current_vtable`, `nested`): the interface copies a vector of bytes
without an alignment, and writes a table's fields before it is known whether an equal table exists.
"""

from collections.abc import Callable
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from flatbuffers import number_types

IDENTIFIER = b"TFL3"
_ALIGNMENT = 16
_PREFIX = 4  # bytes, the length before an array
_TABLE = 8  # bytes of a Buffer: the offsets of its field list and its data


def pack(model: Any) -> bytes:
    """Packs a `ModelT` into a .tflite."""
    # A builder with room for the constants need not grow by doubling.
    size = sum(_size(buffer) + _ALIGNMENT for buffer in model.buffers)
    builder = _Builder(size + 4096)
    places = _pack_buffers(builder, model.buffers)
    packed = [_Packed(place) for place in places]
    model.buffers, buffers = packed, model.buffers
    try:
        root = model.Pack(builder)
    finally:
        model.buffers = buffers
    builder.Finish(root, file_identifier=IDENTIFIER)
    return bytes(builder.Output())


def _pack_buffers(builder: "_Builder", buffers: list[Any]) -> list[int]:
    """Returns the places of the buffers' tables; tables fill the gaps before arrays."""
    places = [0] * len(buffers)
    waiting: list[tuple[int, int | None]] = []

    def write_table() -> None:
        index, data = waiting.pop()
        schema.BufferStart(builder)
        if data is not None:
            schema.BufferAddData(builder, data)
        places[index] = schema.BufferEnd(builder)

    for index, buffer in enumerate(buffers):
        size = _size(buffer)
        while size and waiting and -(builder.Offset() + size) % _ALIGNMENT >= _TABLE:
            write_table()
        waiting.append((index, builder.aligned_bytes(buffer.data) if size else None))
    while waiting:
        write_table()
    return places


def _size(buffer: Any) -> int:
    return 0 if buffer.data is None else len(buffer.data)


class _Packed:
    """Stands for an object that was packed before."""

    def __init__(self, place: int):
        self._place = place

    def Pack(self, builder: flatbuffers.Builder) -> int:
        return self._place


class _Builder(flatbuffers.Builder):
    """Writes equal strings, arrays and tables once, and a table's fields without gaps."""

    def __init__(self, size: int):
        super().__init__(size)
        self._places: dict[Any, int] = {}
        self._fields: list[tuple[int, int, Any, int]] = []

    def aligned_bytes(self, data: Any) -> int:
        """Writes a constant's array; returns its place."""
        array = np.ascontiguousarray(data, np.uint8)
        self.StartVector(1, len(array), _ALIGNMENT)
        self.head -= len(array)
        self.Bytes[self.head : self.head + len(array)] = memoryview(array)
        self.vectorNumElems = len(array)
        return self.EndVector()

    def CreateString(self, s, *args):
        return self._once(("string", s), lambda: super(_Builder, self).CreateString(s, *args))

    def CreateNumpyVector(self, x):
        key = ("array", x.dtype.str, x.tobytes())
        return self._once(key, lambda: super(_Builder, self).CreateNumpyVector(x))

    # The generated code adds fields in the schema's order. They are kept until the table's end,
    # when their values show whether an equal table was written before.

    def PrependSlot(self, flags, o, x, d):
        if x != d:
            self._fields.append((flags.bytewidth, o, flags, x))

    def PrependUOffsetTRelativeSlot(self, o, x, d):
        if x != d:
            self._fields.append((number_types.UOffsetTFlags.bytewidth, o, None, x))

    def EndObject(self):
        fields, self._fields = self._fields, []
        key = ("table", *fields)
        if key in self._places:
            self.current_vtable, self.nested = None, False
            return self._places[key]
        fields.sort(key=lambda field: -field[0])
        # Equal field lists are shared only if their tables end at the same alignment.
        self.Prep(max([_PREFIX, *(width for width, *_ in fields)]), 0)
        self.objectEnd = self.Offset()
        for _, slot, flags, value in fields:
            if flags is None:
                self.PrependUOffsetTRelative(value)
            else:
                self.Prepend(flags, value)
            self.Slot(slot)
        place = super().EndObject()
        self._places[key] = place
        return place

    def _once(self, key: Any, make: Callable[[], int]) -> int:
        if key not in self._places:
            self._places[key] = make()
        return self._places[key]
