"""Reads and writes the bytes of a .tflite through TFLite's official schema.

A converter writes names, buffers and records that no runtime reads. `finish` drops them and writes
equal objects once, which makes the smallest file of the same graph.
"""

import collections
import functools
import hashlib
import json
import struct
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from flaxrec.errors import ExportError
from flaxrec.tflite.metadata import IDS, SCORES

_ENTRY = "flaxrec"
# The converter's notes, which no runtime reads.
_NOTES = ("min_runtime_version", "CONVERSION_METADATA", "debug_metadata")


def operators(content: bytes) -> list[str]:
    """Names of the graph's builtin operators, in the order of execution.

    Raises:
      ExportError: the content is no .tflite.
    """
    model = read(content)
    return [operator_name(model, operator) for operator in model.subgraphs[0].operators]


def ends(
    content: bytes, name: object = "The content"
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The inputs and outputs of the graph's only signature, in the file's order.

    Each has `name`, `dtype` (such as 'int32') and `shape`, as in metadata.json.

    Raises:
      ExportError: the content is no .tflite, or has not just one signature.
    """
    model = read(content, name)
    count = len(model.signatureDefs or [])
    if count != 1:
        raise ExportError(
            f"{name} has {count} signatures instead of one; export it with export_tflite.py."
        )
    graph, signature = model.subgraphs[0], model.signatureDefs[0]
    return (
        _described(graph, graph.inputs, signature.inputs),
        _described(graph, graph.outputs, signature.outputs),
    )


def named_ends(content: bytes, name: object) -> tuple[list[tuple[str, list[int], str]], ...]:
    """As `ends`, in the form of `TfliteModel`: (name, shape, dtype) of inputs, then outputs."""
    both = ends(content, name)
    return tuple([(e["name"], e["shape"], e["dtype"]) for e in one] for one in both)


def finish(content: bytes) -> bytes:
    """Makes the smallest file of the same graph, with ids as first output, scores as second.

    Drops names of tensors inside the graph, the converter's notes, and unused tensors, buffers and
    operator codes. Stores equal constants and descriptions once. Inputs and outputs get their names
    from the signature. Results stay the same to the bit.

    Raises:
      ExportError: the content is no .tflite.
    """
    model = read(content)
    _drop_notes(model)
    _merge_buffers(model)
    for index, graph in enumerate(model.subgraphs):
        signatures = [s for s in model.signatureDefs or [] if s.subgraphIndex == index]
        _merge_constants(graph)
        _drop_tensors(graph, signatures)
        _simplify(graph)
        for signature in signatures:
            _name_and_order(graph, signature)
    _drop_buffers(model)
    _drop_codes(model)
    return write(model)


def with_metadata(content: bytes, metadata: dict[str, Any]) -> bytes:
    """Stores a JSON object as the entry 'flaxrec' of the file's metadata; replaces an earlier one.

    The format's own metadata library, tflite-support, had its last release in 2023, so the entry is
    written through the schema. `read_metadata` or any flatbuffer tool reads it.

    Raises:
      ExportError: the content is no .tflite.
    """
    model = read(content)
    model.metadata = [entry for entry in model.metadata or [] if entry.name != _ENTRY.encode()]
    text = json.dumps(metadata, ensure_ascii=False, separators=(",", ":"))
    data = np.frombuffer(text.encode(), np.uint8)
    model.metadata.append(schema().MetadataT(_ENTRY, len(model.buffers)))
    model.buffers.append(schema().BufferT(data))
    _drop_buffers(model)
    return write(model)


def read_metadata(content: bytes) -> dict[str, Any] | None:
    """Reads what `with_metadata` wrote; None if there is nothing.

    Raises:
      ExportError: the content is no .tflite, or its entry is no JSON object.
    """
    return metadata_of(read(content))


def metadata_of(model: Any) -> dict[str, Any] | None:
    """As `read_metadata`, of the file as objects."""
    for entry in model.metadata or []:
        if entry.name == _ENTRY.encode():
            try:
                metadata = json.loads(bytes(model.buffers[entry.buffer].data))
            except (ValueError, TypeError, IndexError) as error:
                raise ExportError(
                    f"The metadata inside the model cannot be read ({error}); export it again."
                ) from error
            if isinstance(metadata, dict):
                return metadata
            raise ExportError("The metadata inside the model is no JSON object; export it again.")
    return None


# ---- the file as objects --------------------------------------------------------------------


def read(content: bytes, name: object = "The content") -> Any:
    """Reads the file as the schema's `ModelT`; its arrays are views of the content.

    Args:
      content: of the file.
      name: of the file, for messages.

    Raises:
      ExportError: the content is no .tflite, is damaged, or keeps constants outside the flatbuffer.
    """
    types = schema()
    if content[4:8] != b"TFL3":
        raise ExportError(f"{name} is not a TFLite model; give a .tflite file.")
    try:
        model = types.ModelT.InitFromPackedBuf(content)
    except (struct.error, ValueError, IndexError, TypeError, AttributeError) as error:
        raise ExportError(
            f"{name} is a damaged TFLite model ({error}); export it again."
        ) from error
    if any(buffer.offset > 1 for buffer in model.buffers or []):
        raise ExportError(
            f"{name} keeps constants outside its flatbuffer, as beyond 2 GB; use fewer items or "
            "a smaller embedding_dim."
        )
    if not model.subgraphs or not model.buffers:
        raise ExportError(f"{name} is a TFLite model without a graph; export it again.")
    return model


def write(model: Any) -> bytes:
    """Writes a `ModelT` as a file; raises ExportError if ai-edge-litert is missing."""
    schema()
    from flaxrec.tflite.packing import pack

    return pack(model)


def schema() -> Any:
    """The module of the schema's classes; raises ExportError if ai-edge-litert is missing."""
    try:
        from ai_edge_litert import schema_py_generated
    except ImportError as error:
        raise ExportError(
            "Reading a .tflite needs ai-edge-litert; install flaxrec[export]."
        ) from error
    return schema_py_generated


# ---- properties of its objects --------------------------------------------------------------


def builtin(code: Any) -> int:
    """A code's operator. Old files set only the narrow field; operators above 127 need the wide."""
    return max(code.builtinCode, code.deprecatedBuiltinCode)


def operator_name(model: Any, operator: Any) -> str:
    """The name in the schema, such as FULLY_CONNECTED; a custom operator's own name."""
    code = model.operatorCodes[operator.opcodeIndex]
    return (
        code.customCode.decode(errors="replace")
        if code.customCode
        else _names("BuiltinOperator")[builtin(code)]
    )


def shape(tensor: Any) -> tuple[int, ...]:
    """Sizes of a tensor's axes."""
    return _values(tensor.shape)


def dtype(tensor: Any) -> str:
    """The type of a tensor's values, such as int32."""
    return _names("TensorType")[tensor.type].lower()


def input_names(model: Any) -> dict[int, str]:
    """Names of the first graph's inputs by tensor, in the file's order.

    From the signature or, without one, the tensors' names without the converter's prefix and
    suffix.
    """
    graph = model.subgraphs[0]
    named = _first_names([entry for s in model.signatureDefs or [] for entry in s.inputs or []])
    own = {
        number: (graph.tensors[number].name or b"").decode(errors="replace")
        for number in _values(graph.inputs)
    }
    return {
        number: named.get(number, name.removeprefix("serving_default_").split(":")[0])
        for number, name in own.items()
    }


def computed(graph: Any, operators: Iterable[Any] | None = None) -> dict[int, None]:
    """The tensors that depend on an input: the inputs, then others in the order of execution.

    `operators` are the first operators, those that run; None: all.
    """
    found = dict.fromkeys(_values(graph.inputs))
    for operator in graph.operators if operators is None else operators:
        if not found.keys().isdisjoint(_values(operator.inputs)):
            found |= dict.fromkeys(_values(operator.outputs))
    return found


@functools.cache
def _names(enum: str) -> dict[int, str]:
    """Names of one of the schema's enums, by number."""
    members = vars(getattr(schema(), enum)).items()
    return {number: name for name, number in members if name.isupper()}


def _first_names(entries: Sequence[Any]) -> dict[int, str]:
    """Names of a signature's entries, by tensor."""
    return {
        int(entry.tensorIndex): (entry.name or b"").decode(errors="replace")
        for entry in reversed(entries)
    }


def _described(graph: Any, tensors: Any, named: Sequence[Any]) -> list[dict[str, Any]]:
    names = _first_names(named)
    return [
        {
            "name": names.get(number, ""),
            "dtype": dtype(graph.tensors[number]),
            "shape": list(shape(graph.tensors[number])),
        }
        for number in _values(tensors)
    ]


# ---- what `finish` drops --------------------------------------------------------------------


def _drop_notes(model: Any) -> None:
    notes = [name.encode() for name in _NOTES]
    model.metadata = [e for e in model.metadata or [] if e.name not in notes] or None
    model.metadataBuffer = None  # an older place of these notes
    model.description = None


def _merge_buffers(model: Any) -> None:
    """Makes tensors of equal bytes share a buffer; tensors without bytes share the empty one."""
    first: dict[bytes, int] = {}
    same = {
        index: 0
        if buffer.data is None or not len(buffer.data)
        else first.setdefault(hashlib.sha256(buffer.data).digest(), index)
        for index, buffer in enumerate(model.buffers)
    }
    for graph in model.subgraphs:
        for tensor in graph.tensors:
            tensor.buffer = same[tensor.buffer]


def _merge_constants(graph: Any) -> None:
    """Makes operators read the first of equal constants."""
    first: dict[Any, int] = {}
    same = {-1: -1}  # an input left out
    for index, tensor in enumerate(graph.tensors):
        same[index] = index
        if tensor.buffer and not tensor.isVariable and tensor.sparsity is None:
            key = (tensor.buffer, tensor.type, _values(tensor.shape), _scales(tensor.quantization))
            same[index] = first.setdefault(key, index)
    for operator in graph.operators:
        operator.inputs = _renamed(operator.inputs, same)


def _drop_tensors(graph: Any, signatures: list[Any]) -> None:
    """Keeps only the tensors that an operator, input or output uses."""
    lists = [graph.inputs, graph.outputs]
    for operator in graph.operators:
        lists += [operator.inputs, operator.outputs, operator.intermediates]
    used = sorted({int(index) for some in lists for index in _values(some)} - {-1})
    place = {old: new for new, old in enumerate(used)} | {-1: -1}
    graph.tensors = [graph.tensors[index] for index in used]
    graph.inputs, graph.outputs = (_renamed(some, place) for some in (graph.inputs, graph.outputs))
    for operator in graph.operators:
        operator.inputs = _renamed(operator.inputs, place)
        operator.outputs = _renamed(operator.outputs, place)
        operator.intermediates = _renamed(operator.intermediates, place)
    for signature in signatures:
        for named in (*signature.inputs, *signature.outputs):
            named.tensorIndex = place[named.tensorIndex]


def _simplify(graph: Any) -> None:
    """Removes unneeded fields from tensors and operators."""
    graph.name = None
    graph.debugMetadataIndex = -1
    for operator in graph.operators:
        operator.debugMetadataIndex = -1
        for field in ("customOptions", "mutatingVariableInputs"):
            if not len(_values(getattr(operator, field))):
                setattr(operator, field, None)
    for tensor in graph.tensors:
        tensor.name = None
        if not _values(tensor.shape):
            tensor.shape = None
        if _values(tensor.shapeSignature) == _values(tensor.shape):
            tensor.shapeSignature = None
        if not _scales(tensor.quantization):
            tensor.quantization = None


def _name_and_order(graph: Any, signature: Any) -> None:
    """Names inputs and outputs as the signature does; puts ids first, scores second.

    LiteRT gives the signature's names, in its order, to the graph's inputs and outputs, in theirs.
    """
    first = [IDS.encode(), SCORES.encode()]
    signature.outputs.sort(
        key=lambda named: first.index(named.name) if named.name in first else len(first)
    )
    places = [named.tensorIndex for named in signature.outputs]
    graph.outputs = np.array(sorted(_values(graph.outputs), key=places.index), np.int32)
    signature.inputs.sort(key=lambda named: _values(graph.inputs).index(named.tensorIndex))
    for named in (*signature.inputs, *signature.outputs):
        graph.tensors[named.tensorIndex].name = named.name


def _drop_buffers(model: Any) -> None:
    tensors = [tensor for graph in model.subgraphs for tensor in graph.tensors]
    entries = [*tensors, *(model.metadata or [])]
    used = sorted({0} | {entry.buffer for entry in entries})
    place = {old: new for new, old in enumerate(used)}
    model.buffers = [model.buffers[index] for index in used]
    for entry in entries:
        entry.buffer = place[entry.buffer]


def _drop_codes(model: Any) -> None:
    """Keeps only the codes in use, the most frequent first: its number, 0, takes no bytes.

    Both fields of a code stay: runtimes before TensorFlow 2.4, such as the Android app's, read only
    the old one, LiteRT's plugins only the new one.
    """
    every = [operator for graph in model.subgraphs for operator in graph.operators]
    counts = collections.Counter(operator.opcodeIndex for operator in every)
    place = {old: new for new, (old, _) in enumerate(counts.most_common())}
    model.operatorCodes = [model.operatorCodes[index] for index in place]
    for operator in every:
        operator.opcodeIndex = place[operator.opcodeIndex]


# ---- helpers --------------------------------------------------------------------------------


def _renamed(indices: Any, place: dict[int, int]) -> np.ndarray | None:
    found = [place[int(index)] for index in _values(indices)]
    return np.array(found, np.int32) if found else None


def _scales(quantization: Any) -> tuple:
    """The values of a quantisation, for comparison; empty if it has none."""
    if quantization is None:
        return ()
    arrays = ("min", "max", "scale", "zeroPoint")
    values = tuple(_values(getattr(quantization, name)) for name in arrays)
    if not any(values) and quantization.details is None:
        return ()
    return (*values, quantization.quantizedDimension, id(quantization.details or None))


def _values(array: Any) -> tuple:
    return () if array is None else tuple(np.asarray(array).tolist())
