"""The export folder: made aside, verified by running the finished file, published by renaming."""

import dataclasses
import importlib.metadata
import json
import os
import platform
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flax
import jax
import numpy as np

import flaxrec
from flaxrec import config as config_lib
from flaxrec.data.timelines import ITEM
from flaxrec.data.vocabulary import Vocabulary
from flaxrec.errors import ExportError
from flaxrec.export import android, serving, tflite, verify
from flaxrec.export.metadata import IDS, SCORES, read_metadata
from flaxrec.export.runtime import TfliteModel
from flaxrec.export.serving import ServingModel
from flaxrec.jsonl import read_jsonl
from flaxrec.quirks import Quirks
from flaxrec.workdir import Workdir


@dataclasses.dataclass(frozen=True)
class Export:
    """A published export: its folder, the model file's bytes, and the comparison with JAX."""

    folder: Path
    bytes: int
    equality: verify.Equality


def export(
    workdir: Workdir,
    output: Path | None = None,
    top_k: int | None = None,
    say: Callable[[str], None] = print,
) -> Export:
    """Exports a run's best checkpoint.

    Args:
      workdir: the run folder; the data set is not needed.
      output: the export folder; default WORKDIR/export. An earlier export there is replaced, once
        the new one is verified.
      top_k: K; default config.export.top_k.
      say: told what happens, a line at a time.

    Raises:
      TrainingError: there is no run or checkpoint.
      ExportError: K does not fit, the folder is something else's, TensorFlow is missing, or the
        finished file disagrees with the model.
    """
    output = output or workdir.export
    if not output.name:  # '.'
        output = output.absolute()
    if output.exists() and not _may_replace(output):
        raise ExportError(f"{output} exists and is not an export; use another --output.")
    model = serving.load(workdir)
    if top_k is None:
        top_k = model.config.export.top_k
    if not 0 < top_k <= model.spec.candidates:
        raise ExportError(
            f"top_k is {top_k}, but the catalogue has {model.spec.candidates} items; use 1 to "
            f"{model.spec.candidates}."
        )
    aside = output.with_name(f".{output.name}.{os.getpid()}")
    try:
        aside.mkdir(parents=True)
    except OSError as error:
        raise ExportError(
            f"The folder {output.parent} cannot be written ({error.strerror})."
        ) from error
    try:
        equality = _fill(aside, model, workdir, top_k)
        size = (aside / "model.tflite").stat().st_size
        _publish(aside, output)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    say(
        f"exported {output / 'model.tflite'} ({size:,} bytes, top {top_k}); agrees with JAX on "
        f"{equality.agree} of {equality.contexts} contexts, scores within "
        f"{equality.max_score_difference:.1e}"
    )
    return Export(output, size, equality)


def _may_replace(folder: Path) -> bool:
    """Whether a folder is empty or an earlier export."""
    if not folder.is_dir():
        return False
    if not any(folder.iterdir()):
        return True
    try:
        read_metadata(folder)
    except ExportError:
        return False
    return True


def _fill(folder: Path, model: ServingModel, workdir: Workdir, top_k: int) -> verify.Equality:
    tflite.save_model(model, top_k, folder / "saved_model")
    content = tflite.convert(folder / "saved_model")
    (folder / "model.tflite").write_bytes(content)
    runtime = TfliteModel(folder / "model.tflite")
    equality = _verify(folder, runtime, model, workdir, top_k)

    (folder / "vocabularies").mkdir()
    for name in {ITEM, *(spec.vocabulary for spec in model.spec.inputs if spec.vocabulary)}:
        file = f"vocabularies/{name}.txt"
        shutil.copy(_asset(workdir, file), folder / file)
    shutil.copy(_asset(workdir, "items.jsonl"), folder / "items.jsonl")
    metadata = _metadata(model, runtime, workdir, top_k, equality)
    obstacle = android.obstacle(metadata["inputs"])
    metadata["android"] = {"supported": not obstacle, "reason": obstacle}
    if not obstacle:
        vocabularies = {
            path.stem: Vocabulary.read(path) for path in (folder / "vocabularies").iterdir()
        }
        items = read_jsonl(folder / "items.jsonl")
        rows = vocabularies[ITEM].lookup([item["id"] for item in items]).tolist()
        android.write(
            folder / "android",
            content,
            metadata["inputs"],
            metadata["outputs"],
            items,
            rows,
            vocabularies,
        )
    text = json.dumps(metadata, indent=2, ensure_ascii=False) + "\n"
    (folder / "metadata.json").write_text(text, encoding="utf-8")
    return equality


def _asset(workdir: Workdir, name: str) -> Path:
    path = workdir.assets / name
    if not path.is_file():
        raise ExportError(
            f"{path} is missing; restore it, or remove {workdir.assets} and run train_main.py "
            "again."
        )
    return path


def _verify(
    folder: Path, runtime: TfliteModel, model: ServingModel, workdir: Workdir, top_k: int
) -> verify.Equality:
    """Runs the finished SavedModel and .tflite; raises ExportError if either disagrees with JAX."""
    with np.load(_asset(workdir, "contexts.npz")) as file:
        contexts = {name: file[name] for name in file.files}
    if not all(map(len, contexts.values())):
        raise ExportError(
            f"The run {workdir.path} kept no contexts to verify an export with; train with "
            "config.export.verification_contexts above 0."
        )
    logits = model.batch_logits(contexts)
    tf = tflite.import_tensorflow()
    loaded = tf.saved_model.load(str(folder / "saved_model"))
    signature = loaded.signatures["serving_default"]

    def saved_model(inputs: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        out = signature(**{name: tf.constant(value) for name, value in inputs.items()})
        return out[IDS].numpy(), out[SCORES].numpy()

    def file_model(inputs: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        out = runtime(inputs)
        return out[IDS], out[SCORES]

    for what, runner in (("SavedModel", saved_model), (".tflite", file_model)):
        equality = verify.compare(
            runner,
            contexts,
            logits,
            first_candidate=model.spec.first_candidate,
            top_k=top_k,
        )
        if equality.agree < equality.contexts:
            raise ExportError(
                f"The finished {what} disagrees with the model on "
                f"{equality.contexts - equality.agree} of {equality.contexts} contexts (scores "
                f"differ by up to {equality.max_score_difference:.1e}); nothing was published. "
                "Please report the versions of jax and tensorflow."
            )
    return equality


def _metadata(
    model: ServingModel,
    runtime: TfliteModel,
    workdir: Workdir,
    top_k: int,
    equality: verify.Equality,
) -> dict[str, Any]:
    specs = {spec.name: spec for spec in model.spec.inputs}
    inputs = []
    for name, shape, dtype in runtime.inputs:
        spec = specs[name]
        inputs.append(
            {
                "name": name,
                "dtype": dtype,
                "shape": shape,
                "vocabulary": f"vocabularies/{spec.vocabulary}.txt" if spec.vocabulary else None,
                "source": spec.source,
                "multi_valued": spec.multi_valued,
                "default": spec.default if spec.type == "FLOAT" else None,
            }
        )
    tests = [row for row in workdir.read_metrics() if row["split"] == "test"]
    config = workdir.read_config()
    return {
        "name": config.name,
        "inputs": inputs,
        "outputs": [{"name": n, "dtype": d, "shape": s} for n, s, d in runtime.outputs],
        "label_vocabulary": f"vocabularies/{ITEM}.txt",
        "top_k": top_k,
        "candidates": model.spec.candidates,
        "encoder": [group.encoder for _, group in config_lib.groups(config.model)],
        "context_length": config.model.context_length,
        "flatten_keeps_oldest": Quirks.of(config.reference_mode).flatten_keeps_oldest,
        "metrics": {row["protocol"]: row["metrics"] for row in tests},
        "labels": {row["protocol"]: row["labels"] for row in tests},
        "step": model.step,
        "config_sha256": config_lib.sha256(config),
        "versions": {
            "flaxrec": flaxrec.__version__,
            "python": platform.python_version(),
            "jax": jax.__version__,
            "flax": flax.__version__,
            "tensorflow": tflite.import_tensorflow().__version__,
            "ai-edge-litert": importlib.metadata.version("ai-edge-litert"),
        },
        "equality": dataclasses.asdict(equality)
        | {"tolerance": verify.SCORE_TOLERANCE, "compared": ["JAX", "SavedModel", "TFLite"]},
    }


def _publish(aside: Path, output: Path) -> None:
    """Puts the new folder in the old one's place; the old one is whole until then."""
    old = output.with_name(f".{output.name}.old.{os.getpid()}")
    try:
        if output.exists():
            os.replace(output, old)
        os.replace(aside, output)
    except OSError as error:
        if old.exists() and not output.exists():
            os.replace(old, output)
        raise ExportError(f"{output} cannot be written ({error.strerror}).") from error
    if old.is_symlink():
        old.unlink()
    else:
        shutil.rmtree(old, ignore_errors=True)
