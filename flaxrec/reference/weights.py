"""Maps the reference's weights to ours and back, by one table.

i counts feature groups (global groups first, then activity groups), j the layers of a group or of
the dense stack. `last` is the number of hidden layers: the projection's place in a checkpoint.
"""

import dataclasses
import os
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
      reference: its name in the reference, with placeholders {i}, {j} and {feature}.
      ours: its name in flaxrec, with the same placeholders.
      axes: transpose the reference's array by these axes to get ours.
      checkpoint: the variable in a checkpoint of the reference.
    """

    reference: str
    ours: str
    axes: tuple[int, ...]
    checkpoint: str


CHECKPOINT_SUFFIX = "/.ATTRIBUTES/VARIABLE_VALUE"

# Shapes in a group: tables [rows, E]; CNN kernels [k, C, F] and biases [F]; LSTM [C, 4U], [U, 4U]
# and [4U], gates in the order input, forget, cell, output. The dense stack: [in, out] and [out].
_GROUP = (
    (
        "embedding/{feature}",
        "features/tables/{feature}",
        (0, 1),
        "_embedding_layer_dict/{feature}/embeddings",
    ),
    ("conv{j}/kernel", "encoder/kernels/{j}", (0, 1, 2), "_conv1d_layers/{j}/kernel"),
    ("conv{j}/bias", "encoder/biases/{j}", (0,), "_conv1d_layers/{j}/bias"),
    *(
        (f"lstm/{name}", f"encoder/{name}", axes, f"_lstm_layer/cell/{name}")
        for name, axes in (("kernel", (0, 1)), ("recurrent_kernel", (0, 1)), ("bias", (0,)))
    ),
)
_DENSE = (
    ("hidden_layer{j}/kernel", "hidden/{j}/kernel", (0, 1), "{j}/kernel"),
    ("hidden_layer{j}/bias", "hidden/{j}/bias", (0,), "{j}/bias"),
    ("proj_layer/kernel", "projection/kernel", (0, 1), "{last}/kernel"),
    ("proj_layer/bias", "projection/bias", (0,), "{last}/bias"),
)
_MODEL = (  # [C, D]
    ("label_embedding", "label_encoder/table", (0, 1), "_label_embedding_layer/embeddings"),
)
RULES = tuple(
    Rule(reference + theirs, ours + own, axes, f"model/{checkpoint}/{variable}")
    for reference, ours, checkpoint, table in (
        (
            "group{i}/",
            "context_encoder/groups/{i}/",
            "_context_encoder/_feature_group_encoders/{i}",
            _GROUP,
        ),
        ("dense/", "context_encoder/", "_context_encoder/_hidden_layers", _DENSE),
        ("", "", "_label_encoder", _MODEL),
    )
    for theirs, own, axes, variable in table
)


def from_reference(
    weights: Mapping[str, np.ndarray], shapes: Mapping[str, jax.ShapeDtypeStruct]
) -> Params:
    """Turns the reference's weights into our parameters.

    `weights` are by the reference's names. Returns an array for each parameter, in the order,
    shapes and dtypes of `shapes` (`Structure.shapes`).

    Raises:
      DataError: weights are missing, unknown or of another shape; names them all.
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
    """Turns our parameters into weights by the reference's names; undoes `from_reference`.

    Raises:
      DataError: the reference lacks some parameters; names them all.
    """
    names, problems = _reference_names(params)
    _raise(problems)
    return {
        theirs: np.asarray(params[name]).transpose(np.argsort(axes))
        for name, (theirs, axes) in names.items()
    }


def reference_name(parameter: str) -> str:
    """The reference's name of a parameter; raises DataError if it has none."""
    names, problems = _reference_names([parameter])
    _raise(problems)
    return names[parameter][0]


def checkpoint_name(reference: str, hidden_layers: int) -> str:
    """The variable of a reference checkpoint that holds a weight, without `CHECKPOINT_SUFFIX`.

    `reference` is the reference's name of the weight; `hidden_layers` excludes the projection.

    Raises:
      DataError: the reference has no such weight.
    """
    for rule in RULES:
        match = re.fullmatch(_pattern(rule.reference), reference)
        if match:
            return rule.checkpoint.format(**match.groupdict(), last=hidden_layers)
    raise DataError(
        f"The reference has no weight {reference}; flaxrec/reference/weights.py lists them."
    )


def read_checkpoint(
    prefix: str | os.PathLike, shapes: Mapping[str, jax.ShapeDtypeStruct]
) -> Params:
    """Reads our parameters from a checkpoint of the reference's training; see `from_reference`.

    `prefix` is MODEL_DIR/ckpt-STEP, without '.index'.

    Raises:
      DataError: there is no such checkpoint, or variables do not fit the model; names them all.
      ExportError: TensorFlow is not installed.
    """
    from flaxrec.exporting.converter import import_tensorflow

    tf = import_tensorflow()
    try:
        reader = tf.train.load_checkpoint(os.fspath(prefix))
    except (ValueError, tf.errors.OpError) as error:
        raise DataError(
            f"{prefix} cannot be read as a TensorFlow checkpoint ({str(error).splitlines()[0]}); "
            "give its path without '.index'."
        ) from error
    names, _ = _reference_names(shapes)
    hidden = sum(name.endswith("/kernel") and "/hidden/" in name for name in shapes)
    known = {
        checkpoint_name(theirs, hidden) + CHECKPOINT_SUFFIX: theirs for theirs, _ in names.values()
    }
    weights = {}
    for variable in reader.get_variable_to_shape_map():
        if variable.startswith("model/") and variable.endswith(CHECKPOINT_SUFFIX):
            name = known.get(variable, variable.removesuffix(CHECKPOINT_SUFFIX))
            weights[name] = reader.get_tensor(variable)
    return from_reference(weights, shapes)


def _reference_names(
    params: Iterable[str],
) -> tuple[dict[str, tuple[str, tuple[int, ...]]], list[str]]:
    """(reference's name, axes) by parameter name, and a message for each unknown parameter."""
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
