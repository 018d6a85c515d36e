"""Converts by litert-converter alone, without TensorFlow. Experimental.

JAX writes the scores as StableHLO, litert-converter makes TFLite's operators of them, and the
ranking is appended by `tflite.graph_writer`. The package documents no interface: what is called
here is what it offers to litert-torch, in the versions of pyproject.toml. It ends the process on
some graphs, so an operator that was not seen to convert is refused before.
"""

import functools
import re
from typing import Any

import jax

from flaxrec.config import ExportConfig
from flaxrec.errors import ExportError, reason
from flaxrec.exporting import serving
from flaxrec.exporting.converter import PACKAGE
from flaxrec.exporting.ranking import Ranking, mask_input
from flaxrec.exporting.serving import ServingModel
from flaxrec.tflite import flatbuffer
from flaxrec.tflite.graph_writer import GraphWriter
from flaxrec.tflite.quiet import quiet

_SCORES, _CONTEXT, _IDS = "a_scores", "b_context", "c_ids"  # JAX sorts by name
# StableHLO's operators that were seen to become TFLite's builtin ones; see the tests.
KNOWN = frozenset(
    re.findall(
        r"\w+",
        "abs add and broadcast_in_dim compare concatenate constant convert convolution cosine "
        "divide dot_general dynamic_slice exponential floor gather iota log maximum minimum "
        "multiply negate not or pad power reduce reshape return reverse rsqrt select sign sine "
        "slice sqrt subtract tanh transpose",
    )
)


def import_converter() -> tuple[Any, Any, Any]:
    """The package's modules: the conversion, MLIR, and its passes.

    Raises:
      ExportError: it is not installed, or has other modules.
    """
    try:
        with quiet():
            from litert_converter import converter_api_ext
            from litert_converter.mlir import ir, passmanager
    except ImportError as error:
        raise ExportError(
            f"--converter=litert needs {PACKAGE} 0.5, which is not installed here "
            f"({reason(error)}); pip install 'flaxrec[litert]'."
        ) from error
    return converter_api_ext, ir, passmanager


def convert(model: ServingModel, options: ExportConfig) -> bytes:
    """Makes a float32 .tflite of builtin operators with the signature of `saved_model.save`.

    Raises:
      ExportError: an option does not fit the model, the package is missing, the model uses an
        operator that is not known to convert, or the conversion fails.
    """
    import_converter()
    ranking = Ranking(model, options)
    content = _to_tflite(*_lowered(model, ranking))
    writer = GraphWriter(flatbuffer.read(content))
    inputs, found = writer.tensors("inputs"), writer.tensors("outputs")
    ids = {n.removeprefix(_IDS): t for n, t in found.items() if n.startswith(_IDS)}
    mask = None
    for name, (shape, dtype) in mask_input(model, options).items():
        mask = ranking.mask(writer.input(name, shape, dtype))
    table = None if ranking.copy is None else writer.constant(ranking.labels[0])
    lists = ranking.of_one(found[_SCORES], found.get(_CONTEXT), inputs | ids, mask, table)
    writer.set_outputs(**lists)
    return flatbuffer.write(writer.model)


def _lowered(model: ServingModel, ranking: Ranking) -> tuple[str, list[str], list[str]]:
    """StableHLO of the scores and what the ranking reads besides; names of inputs and outputs."""
    trusts = ranking.options.trust_ids
    score = functools.partial(model.score_one, trust_ids=trusts)
    labels: Any = ranking.labels if ranking.copy is None else (ranking.copy.table, None)

    def scored(inputs: dict[str, jax.Array]) -> dict[str, jax.Array]:
        scores, context, inside = score(ranking.weights, labels, inputs)
        out = {_SCORES: scores}
        if ranking.copy is not None:
            out[_CONTEXT] = context
        if ranking.reads_ids and not trusts:
            out |= {_IDS + i.name: inside[i.name] for i in model.spec.inputs if i.rows}
        return out

    taken = {i.name: jax.ShapeDtypeStruct((i.length,), i.dtype) for i in model.spec.inputs}
    with jax.default_device(serving.cpu()), jax.default_matmul_precision("float32"):
        jitted = jax.jit(scored, keep_unused=True)
        exported = jax.export.export(jitted, platforms=["cpu"])(taken)
        names = sorted(jax.eval_shape(scored, taken))
    return exported.mlir_module(), sorted(taken), names


def _to_tflite(module: str, inputs: list[str], outputs: list[str]) -> bytes:
    unknown = sorted(set(re.findall(r'(?:stablehlo|chlo)\.(\w+)[ "(]', module)) - KNOWN)
    if unknown:
        raise ExportError(
            f"The model uses the operator{'s' * (len(unknown) > 1)} {', '.join(unknown)}, which "
            f"{PACKAGE} is not known to convert; use --converter=jax2tf."
        )
    api, ir, passes = import_converter()
    try:
        with quiet(), ir.Context() as context:
            api.prepare_mlir_context(context)
            parsed = ir.Module.parse(module)
            api.set_signature(
                parsed.operation,
                signature_name="serving_default",
                input_names=inputs,
                output_names=outputs,
            )
            api.run_convert_to_tfl_passes(parsed, passes.PassManager(), api.ConvertToTFLConfig())
            return api.export_flatbuffer_to_bytes(parsed.operation)
    except Exception as error:  # of any kind: nothing is documented
        raise ExportError(f"{PACKAGE} failed ({reason(error)}); use --converter=jax2tf.") from error
