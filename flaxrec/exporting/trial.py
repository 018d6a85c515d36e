"""Tries encoders of a person's own before hours of training, on an untrained model.

Its forms are compared, and prefixes where they are trained. A process of its own then converts the
model, as training never imports TensorFlow: an encoder may use operators that TFLite lacks.
"""

import dataclasses
import os
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from flaxrec import config as config_lib
from flaxrec.config import Config, groups, own_code
from flaxrec.data.spec import ModelSpec
from flaxrec.errors import ConfigError, ExportError, FlaxrecError, reason
from flaxrec.exporting import converter, exclusion, serving, serving_form
from flaxrec.files import temporary_folder
from flaxrec.models.encoders.encoder import Encoder

# Files that the two processes share.
_CONFIG, _SPEC, _SIZE, _ERROR = "config.json", "spec.json", "bytes", "error"


def try_conversion(config: Config, spec: ModelSpec, say: Callable[[str], None] = print) -> None:
    """Checks what the export asks of the model, and tries encoders of a person's own.

    On an untrained model: its forms, then its export.

    Calls `say` with what was tried and how long it took, or why it was not tried.

    Raises:
      ConfigError: an encoder fails, its forms disagree, or a prefix sees later activities.
      ExportError: the model cannot be converted; the message names the operator. Or
        config.export.exclude_context does not fit it.
    """
    if config.export.enabled:
        exclusion.check(spec, config.export)
    own = own_code.table(config.code, "ENCODERS")
    used = [name for name in own if name in {group.encoder for _, group in groups(config.model)}]
    if not used:
        return
    names = f"The encoder{'s' * (len(used) > 1)} {' and '.join(used)}"
    file = str(own_code.file_of(config.code))
    try:
        with jax.default_matmul_precision("float32"):  # accelerators round more by default
            _compare_forms(config, spec, used)
    except FlaxrecError:
        raise
    except Exception as error:  # of the person's own code
        raise ConfigError(f"{names} cannot be used: {_sentence(error, file)}") from error
    if not config.export.enabled:
        return
    if package := converter.missing(config.export):
        say(f"{names} was not tried in an export, as {package} is not installed here.")
        return
    start = time.perf_counter()
    with temporary_folder() as folder:
        (folder / _CONFIG).write_text(config_lib.to_json(config), encoding="utf-8", newline="\n")
        (folder / _SPEC).write_text(spec.to_json(), encoding="utf-8", newline="\n")
        # Training needs the accelerator, if there is one.
        environment = os.environ | {"JAX_PLATFORMS": "cpu"}
        paths = [str(Path(__file__).parents[2]), environment.get("PYTHONPATH", "")]
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
        command = [sys.executable, "-m", "flaxrec.exporting.trial", str(folder), file]
        done = subprocess.run(command, capture_output=True, env=environment)
        size, refusal = (
            part.read_text(encoding="utf-8") if part.exists() else ""
            for part in (folder / _SIZE, folder / _ERROR)
        )
    if not size:
        died = f"The process that tried it ended with status {done.returncode}."
        raise ExportError(
            f"{names} cannot be exported: {refusal or died} Change the encoder, or train with "
            "config.export.enabled=False."
        )
    forms = {own[name].serving is not Encoder.serving for name in used}
    form = "serving" if forms == {True} else "training"
    say(
        f"{names}: an untrained model of these shapes was exported in its {form} form "
        f"({time.perf_counter() - start:.1f} s, {int(size):,} bytes)"
    )


def _compare_forms(config: Config, spec: ModelSpec, used: Sequence[str]) -> None:
    """Raises ConfigError where serving form or prefixes are not those of the training form."""
    structure, random = serving.structure_of(config, spec), np.random.default_rng(0)
    params = {
        name: jnp.asarray(random.normal(0, 0.3, shape.shape), shape.dtype)
        for name, shape in structure.shapes.items()
    }
    contexts = 8
    ends = np.linspace(0, 1, contexts)[:, None]
    inputs: dict[str, Any] = {
        i.name: (
            random.normal(size=(contexts, i.length)).astype(np.float32)
            if i.type == "FLOAT"
            else random.integers(1, max(i.rows or 1000, 2), (contexts, i.length), np.int32)
            * (np.arange(i.length) < ends * i.length)
        ).astype(i.dtype)
        for i in spec.inputs
    }
    names = " and ".join(used)
    model = structure.merge(params)
    logits = model.logits(inputs)
    if not jnp.isfinite(logits).all():
        raise ConfigError(
            f"The encoder {names} gives values that are not finite, perhaps for a context of "
            "padding only; correct it."
        )
    if not _close(serving_form.logits(structure, params, inputs, spec), logits):
        raise ConfigError(
            f"The serving form of the encoder {names} gives other logits than its training form; "
            "correct one of the two."
        )
    for group, (_, settings) in zip(
        model.context_encoder.groups, groups(config.model), strict=True
    ):
        if config.train.labels_per_context == 1 or settings.encoder not in used or group.of_user:
            continue
        length = config.model.context_length
        x = random.normal(size=(2, length, group.features.channels)).astype(np.float32)
        mask, half = jnp.ones((2, length)), length // 2
        later = np.where(np.arange(length)[:, None] < half, x, -x)
        every, other = (group.encoder(v, mask, every_position=True) for v in (x, later))
        if not (
            _close(every[:, :half], other[:, :half])
            and _close(every[:, -1], group.encoder(x, mask))
        ):
            raise ConfigError(
                f"The encoder {settings.encoder} has encodes_prefixes, but its encoding of a "
                "position sees later activities, or its last is not that of the whole context; "
                "correct it, or leave encodes_prefixes out."
            )


def _close(a: jax.Array, b: jax.Array) -> bool:
    if a.shape != b.shape:
        raise ValueError(f"shapes {a.shape} and {b.shape} of the same encodings differ")
    return bool(jnp.abs(a - b).max(initial=0) <= 1e-4 * jnp.abs(b).max(initial=1))


def _sentence(error: Exception, file: str) -> str:
    """What went wrong, and the last line of the person's file on the way there."""
    lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == file]
    where = f" in {file}, line {lines[-1]}" if lines else ""
    return f"{type(error).__name__}{where} ({reason(error)})."


def _main(folder: Path, file: Path) -> None:
    """The separate process: writes the file's size, or why there is none, into the folder."""
    from flaxrec.exporting import bundle  # needs ai-edge-litert, which training does not

    try:
        own_code.execute(file)
        config = config_lib.from_json((folder / _CONFIG).read_text(encoding="utf-8"))
        spec = ModelSpec.from_json((folder / _SPEC).read_text(encoding="utf-8"))
        structure = serving.structure_of(config, spec)
        params = {name: jnp.zeros(shape.shape) for name, shape in structure.shapes.items()}
        top_k = min(config.export.top_k, spec.candidates)
        options = dataclasses.replace(config.export, top_k=top_k)
        model = serving.ServingModel(config, spec, structure, params)
        content = bundle.make_float_file(model, options, folder / "saved_model")
        (folder / _SIZE).write_text(str(len(content)), encoding="utf-8", newline="\n")
    except FlaxrecError as error:
        (folder / _ERROR).write_text(str(error), encoding="utf-8", newline="\n")
    except Exception as error:  # of the person's own code
        (folder / _ERROR).write_text(_sentence(error, str(file)), encoding="utf-8", newline="\n")


if __name__ == "__main__":
    _main(Path(sys.argv[1]), Path(sys.argv[2]))
