"""The reference's weights and ours: one table, read both ways.

i counts feature groups (global groups first, then activity groups), j the layers of a group or of
the dense stack.
"""

import dataclasses
import re
from collections.abc import Iterable, Mapping

import jax
import jax.numpy as jnp
import numpy as np

from flaxrec.errors import DataError
from flaxrec.models.dual_encoder import Params


@dataclasses.dataclass(frozen=True)
class Rule:
    """One kind of weight.

    Attributes:
      reference: its name in the reference; {i}, {j} and {feature} stand for what varies.
      ours: its name in flaxrec, with the same placeholders.
      axes: our array is the reference's, transposed by these axes.
    """

    reference: str
    ours: str
    axes: tuple[int, ...]


_GROUP, _DENSE = "context_encoder/groups/{i}", "context_encoder"

RULES = (
    # [rows, E]
    Rule("group{i}/embedding/{feature}", _GROUP + "/features/tables/{feature}", (0, 1)),
    # [k, C, F] and [F]
    Rule("group{i}/conv{j}/kernel", _GROUP + "/encoder/kernels/{j}", (0, 1, 2)),
    Rule("group{i}/conv{j}/bias", _GROUP + "/encoder/biases/{j}", (0,)),
    # [C, 4U], [U, 4U] and [4U], gates in the order input, forget, cell, output
    Rule("group{i}/lstm/kernel", _GROUP + "/encoder/kernel", (0, 1)),
    Rule("group{i}/lstm/recurrent_kernel", _GROUP + "/encoder/recurrent_kernel", (0, 1)),
    Rule("group{i}/lstm/bias", _GROUP + "/encoder/bias", (0,)),
    # [in, out] and [out]
    Rule("dense/hidden_layer{j}/kernel", _DENSE + "/hidden/{j}/kernel", (0, 1)),
    Rule("dense/hidden_layer{j}/bias", _DENSE + "/hidden/{j}/bias", (0,)),
    Rule("dense/proj_layer/kernel", _DENSE + "/projection/kernel", (0, 1)),
    Rule("dense/proj_layer/bias", _DENSE + "/projection/bias", (0,)),
    # [C, D]
    Rule("label_embedding", "label_encoder/table", (0, 1)),
)


def from_reference(
    weights: Mapping[str, np.ndarray], shapes: Mapping[str, jax.ShapeDtypeStruct]
) -> Params:
    """Parameters with the values of the reference's weights.

    Args:
      weights: by the reference's names.
      shapes: of the model's parameters, by name (`Structure.shapes`).

    Returns:
      One array a parameter, in the order, shapes and dtypes of `shapes`.

    Raises:
      DataError: names every weight that is missing, unknown or of another shape.
    """
    names, problems = _reference_names(shapes)
    params = {}
    for name, (theirs, axes) in names.items():
        expected = tuple(shapes[name].shape[axis] for axis in np.argsort(axes))
        if theirs not in weights:
            problems.append(f"{theirs} {list(expected)} is missing")
        elif weights[theirs].shape != expected:
            found = list(weights[theirs].shape)
            problems.append(f"{theirs} is {found}, but the model has {list(expected)}")
        else:
            params[name] = jnp.asarray(weights[theirs].transpose(axes), shapes[name].dtype)
    known = {theirs for theirs, _ in names.values()}
    problems += [f"{theirs} is not in the model" for theirs in weights if theirs not in known]
    _raise(problems)
    return params


def to_reference(params: Mapping[str, jax.Array | np.ndarray]) -> dict[str, np.ndarray]:
    """Weights by the reference's names, in the order of `params`; undoes `from_reference`.

    Raises:
      DataError: names every parameter that the reference does not have.
    """
    names, problems = _reference_names(params)
    _raise(problems)
    return {
        theirs: np.asarray(params[name]).transpose(np.argsort(axes))
        for name, (theirs, axes) in names.items()
    }


def _reference_names(
    params: Iterable[str],
) -> tuple[dict[str, tuple[str, tuple[int, ...]]], list[str]]:
    """(reference's name, axes) by parameter name, and what is wrong with the others."""
    names, problems = {}, []
    for name in params:
        for rule in RULES:
            match = re.fullmatch(_pattern(rule.ours), name)
            if match:
                names[name] = (rule.reference.format(**match.groupdict()), rule.axes)
                break
        else:
            problems.append(f"the reference has no counterpart of {name}")
    return names, problems


def _pattern(template: str) -> str:
    placeholders = {"{i}": r"(?P<i>\d+)", "{j}": r"(?P<j>\d+)", "{feature}": r"(?P<feature>[^/]+)"}
    for placeholder, pattern in placeholders.items():
        template = template.replace(placeholder, pattern)
    return template


def _raise(problems: list[str]) -> None:
    if problems:
        raise DataError(
            f"The weights do not fit the model: {'; '.join(problems)}; "
            "use the configuration that the weights were trained with."
        )
