"""Makes .tflite files tensor by tensor."""

import numpy as np
import pytest

flatbuffers = pytest.importorskip("flatbuffers", reason="needs the extra 'export'")

schema = pytest.importorskip("ai_edge_litert.schema_py_generated")

FLOAT32, INT32, INT8 = (
    schema.TensorType.FLOAT32,
    schema.TensorType.INT32,
    schema.TensorType.INT8,
)

TYPES = {np.dtype(np.float32): FLOAT32, np.dtype(np.int32): INT32, np.dtype(np.int8): INT8}


class Maker:
    """A model as a converter writes it: every tensor named, with a buffer of its own."""

    def __init__(self):
        self.buffers = [schema.BufferT()]
        self.graph = schema.SubGraphT(tensors=[], operators=[], name="main", inputs=[], outputs=[])
        self.codes = []

    def tensor(self, name, shape, type_, data=None, **fields) -> int:
        raw = None if data is None else np.frombuffer(data.tobytes(), np.uint8)
        self.buffers.append(schema.BufferT(raw))
        fields = {"quantization": schema.QuantizationParametersT(), "hasRank": True} | fields
        self.graph.tensors.append(
            schema.TensorT(list(shape), type_, len(self.buffers) - 1, name, **fields)
        )
        return len(self.graph.tensors) - 1

    def constant(self, name, array, **fields) -> int:
        return self.tensor(name, array.shape, TYPES[array.dtype], array, **fields)

    def operator(self, code, inputs, output, options=None) -> int:
        kinds = {schema.AddOptionsT: schema.BuiltinOptions.AddOptions}
        kinds[schema.MulOptionsT] = schema.BuiltinOptions.MulOptions
        self.codes.append(schema.OperatorCodeT(code, version=1, builtinCode=code))
        kind = kinds.get(type(options), 0)
        self.graph.operators.append(
            schema.OperatorT(len(self.codes) - 1, inputs, [output], kind, options)
        )
        return output

    def packed(self, inputs: dict[str, int], outputs: dict[str, int], signed=True) -> bytes:
        self.graph.inputs, self.graph.outputs = list(inputs.values()), list(outputs.values())
        # Signatures are sorted by name, whatever the graph's order.
        named = [
            [schema.TensorMapT(name, tensors[name]) for name in sorted(tensors)]
            for tensors in (inputs, outputs)
        ]
        self.buffers.append(schema.BufferT(np.frombuffer(b"1.14.0", np.uint8)))
        model = schema.ModelT(
            version=3,
            operatorCodes=self.codes,
            subgraphs=[self.graph],
            description="Made by hand.",
            buffers=self.buffers,
            metadata=[schema.MetadataT("min_runtime_version", len(self.buffers) - 1)],
            signatureDefs=[schema.SignatureDefT(*named, "serve", 0)] if signed else None,
        )
        builder = flatbuffers.Builder()
        builder.Finish(model.Pack(builder), b"TFL3")
        return bytes(builder.Output())
