"""Tries before training whether a model with a new encoder can be exported.

An encoder without a serving form is exported in its training form, which may use operators that
TFLite does not have. A separate process converts an untrained model of the same shapes, because
training never imports TensorFlow.
"""

import dataclasses
import importlib.util
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import jax.numpy as jnp

from flaxrec import config as config_lib
from flaxrec.config import Config, groups, own_code
from flaxrec.data.spec import ModelSpec
from flaxrec.errors import ExportError, FlaxrecError, reason
from flaxrec.exporting import serving
from flaxrec.models.encoders import known_encoders
from flaxrec.models.encoders.encoder import Encoder

# Files that the two processes share.
_CONFIG, _SPEC, _SIZE, _ERROR = "config.json", "spec.json", "bytes", "error"


def try_conversion(config: Config, spec: ModelSpec, say: Callable[[str], None] = print) -> None:
    """Converts an untrained model if one of its encoders has no serving form.

    Calls `say` with what was tried and how long it took, or why it was not tried.

    Raises:
      ExportError: the model cannot be converted; the message names the operator.
    """
    known = known_encoders(config)
    used = dict.fromkeys(group.encoder for _, group in groups(config.model))
    new = [name for name in used if known[name].serving is Encoder.serving]
    if not (new and config.export.enabled):
        return
    names = f"The encoder{'s' * (len(new) > 1)} {' and '.join(new)}"
    without = f"{names} {'have' if len(new) > 1 else 'has'} no serving form"
    if importlib.util.find_spec("tensorflow") is None:
        say(
            f"{without}; whether the training form can be exported was not tried, as TensorFlow is "
            "not installed here."
        )
        return
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / _CONFIG).write_text(config_lib.to_json(config), encoding="utf-8")
        (folder / _SPEC).write_text(spec.to_json(), encoding="utf-8")
        own = [own_code.file_of(config.code).absolute()] if config.code.sha256 else []
        # Training needs the accelerator, if there is one.
        environment = os.environ | {"JAX_PLATFORMS": "cpu"}
        paths = [str(Path(__file__).parents[2]), environment.get("PYTHONPATH", "")]
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
        command = [sys.executable, "-m", "flaxrec.exporting.trial", folder, *own]
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        size, error = (
            file.read_text(encoding="utf-8") if file.exists() else ""
            for file in (folder / _SIZE, folder / _ERROR)
        )
    if not size:
        died = f"The process that tried it ended with status {done.returncode}."
        raise ExportError(
            f"{names} cannot be exported: {error or died} Change the encoder, give it a serving "
            "form, or train with config.export.enabled=False."
        )
    say(
        f"{without}; an untrained model of these shapes was exported in its training form "
        f"({time.perf_counter() - start:.1f} s, {int(size):,} bytes)"
    )


def _main(folder: Path, own: list[str]) -> None:
    """The separate process: writes the file's size, or why there is none, into the folder."""
    from flaxrec.exporting import bundle  # needs ai-edge-litert, which training does not

    try:
        for file in own:
            own_code.execute(Path(file))
        config = config_lib.from_json((folder / _CONFIG).read_text(encoding="utf-8"))
        spec = ModelSpec.from_json((folder / _SPEC).read_text(encoding="utf-8"))
        structure = serving.structure_of(config, spec)
        params = {name: jnp.zeros(shape.shape) for name, shape in structure.shapes.items()}
        top_k = min(config.export.top_k, spec.candidates)
        options = dataclasses.replace(config.export, top_k=top_k)
        model = serving.ServingModel(config, spec, structure, params)
        content = bundle.make_float_file(model, options, folder / "saved_model")
        (folder / _SIZE).write_text(str(len(content)), encoding="utf-8")
    except FlaxrecError as error:
        (folder / _ERROR).write_text(str(error), encoding="utf-8")
    except Exception as error:  # of the person's own code
        text = f"{type(error).__name__} ({reason(error)})."
        (folder / _ERROR).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    _main(Path(sys.argv[1]), sys.argv[2:])
