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
from flaxrec.errors import ExportError, FlaxrecError
from flaxrec.exporting import serving
from flaxrec.models.encoders import known_encoders
from flaxrec.models.encoders.encoder import Encoder


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
    names = " and ".join(new)
    if importlib.util.find_spec("tensorflow") is None:
        say(
            f"{names} has no serving form; whether its training form can be exported was not "
            "tried, as TensorFlow is not installed here."
        )
        return
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "config.json").write_text(config_lib.to_json(config), encoding="utf-8")
        (Path(folder) / "spec.json").write_text(spec.to_json(), encoding="utf-8")
        own = [str(own_code.file_of(config.code))] if config.code.sha256 else []
        command = [sys.executable, "-m", "flaxrec.exporting.trial", folder, *own]
        # Training needs the accelerator, if there is one.
        environment = os.environ | {"JAX_PLATFORMS": "cpu"}
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
    seconds = time.perf_counter() - start
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise ExportError(
            f"A model with the encoder {names} cannot be exported: {last} Change the encoder, give "
            "it a serving form, or train with config.export.enabled=False."
        )
    say(
        f"{names} has no serving form; an untrained model of these shapes was exported in its "
        f"training form ({seconds:.1f} s, {int(done.stdout):,} bytes)"
    )


def _main(folder: Path, own: list[str]) -> int:
    """The separate process: prints the file's size, or an error in the last line of stderr."""
    from flaxrec.exporting import bundle  # needs ai-edge-litert, which training does not

    for file in own:
        own_code.execute(Path(file))
    config = config_lib.from_json((folder / "config.json").read_text(encoding="utf-8"))
    spec = ModelSpec.from_json((folder / "spec.json").read_text(encoding="utf-8"))
    structure = serving.structure_of(config, spec)
    params = {name: jnp.zeros(shape.shape) for name, shape in structure.shapes.items()}
    options = dataclasses.replace(config.export, top_k=min(config.export.top_k, spec.candidates))
    model = serving.ServingModel(config, spec, structure, params)
    try:
        print(len(bundle.make_float_file(model, options, folder / "saved_model")))
    except FlaxrecError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(_main(Path(sys.argv[1]), sys.argv[2:]))
