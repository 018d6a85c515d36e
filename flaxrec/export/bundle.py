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
from flaxrec.config import ExportConfig
from flaxrec.data import contexts
from flaxrec.data.timelines import ITEM
from flaxrec.errors import ExportError
from flaxrec.export import android, serving, tflite, verify
from flaxrec.export import assets as assets_lib
from flaxrec.export.assets import Assets
from flaxrec.export.metadata import IDS, SCORES, read_metadata
from flaxrec.export.runtime import TfliteModel
from flaxrec.export.serving import ServingModel
from flaxrec.jsonl import write_jsonl
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
    say: Callable[[str], None] = print,
    **options: Any,
) -> Export:
    """Exports a run's best checkpoint; the data set is not needed.

    Args:
      workdir: the run folder.
      output: the export folder; default WORKDIR/export.
      say: see `export_model`.
      **options: see `export_model`.

    Raises:
      TrainingError: there is no run or checkpoint.
      ExportError: as `export_model`, or the run's assets are missing.
    """
    model = serving.load(workdir)
    assets = assets_lib.of_run(workdir, model.spec)
    return export_model(model, assets, output or workdir.export, say, **options)


def export_model(
    model: ServingModel,
    assets: Assets,
    output: Path,
    say: Callable[[str], None] = print,
    **options: Any,
) -> Export:
    """Exports a model, wherever it comes from.

    Args:
      model: the model.
      assets: what goes with it.
      output: the export folder. An earlier export there is replaced, once the new one is verified.
      say: told what happens, a line at a time.
      **options: fields of config.export that differ from the model's config, such as top_k;
        None: the config's.

    Raises:
      ConfigError: an option cannot be used.
      ExportError: K does not fit, the folder is something else's, TensorFlow is missing, or the
        finished file disagrees with the model.
    """
    if not output.name:  # '.'
        output = output.absolute()
    if output.exists() and not _may_replace(output):
        raise ExportError(f"{output} exists and is not an export; use another --output.")
    chosen = _options(model, options)
    top_k = chosen.top_k
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
        equality = _fill(aside, model, assets, chosen)
        size = (aside / "model.tflite").stat().st_size
        _publish(aside, output)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    others = "JAX and the original file" if assets.original else "JAX"
    say(
        f"exported {output / 'model.tflite'} ({size:,} bytes, top {top_k}); agrees with {others} "
        f"on {equality.agree} of {equality.contexts} contexts, scores within "
        f"{equality.max_score_difference:.1e}"
    )
    return Export(output, size, equality)


def _options(model: ServingModel, changes: dict[str, Any]) -> ExportConfig:
    """config.export with these fields changed, where they are not None, validated."""
    given = {name: value for name, value in changes.items() if value is not None}
    options = dataclasses.replace(model.config.export, **given)
    config_lib.validate(dataclasses.replace(model.config, export=options))
    return options


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


def _fill(
    folder: Path, model: ServingModel, assets: Assets, options: ExportConfig
) -> verify.Equality:
    top_k = options.top_k
    tflite.save_model(model, options, folder / "saved_model")
    content = tflite.convert(folder / "saved_model")
    (folder / "model.tflite").write_bytes(content)
    runtime = TfliteModel(folder / "model.tflite")
    equality = _verify(folder, runtime, model, assets, top_k)

    (folder / "vocabularies").mkdir()
    for name, vocabulary in assets.vocabularies.items():
        vocabulary.write(folder / "vocabularies" / f"{name}.txt")
    write_jsonl(folder / "items.jsonl", assets.items)
    metadata = _metadata(model, runtime, assets, top_k, equality)
    obstacle = android.obstacle(metadata["inputs"])
    metadata["android"] = {"supported": not obstacle, "reason": obstacle}
    if not obstacle:
        ids = [item["id"] for item in assets.items]
        android.write(
            folder / "android",
            content,
            metadata["inputs"],
            metadata["outputs"],
            assets.items,
            assets.vocabularies[ITEM].lookup(ids).tolist(),
            assets.vocabularies,
        )
    text = json.dumps(metadata, indent=2, ensure_ascii=False) + "\n"
    (folder / "metadata.json").write_text(text, encoding="utf-8")
    return equality


def _verify(
    folder: Path, runtime: TfliteModel, model: ServingModel, assets: Assets, top_k: int
) -> verify.Equality:
    """Runs the finished SavedModel and .tflite, and an imported model's file, beside JAX.

    Returns:
      The worst of the comparisons.

    Raises:
      ExportError: one of them disagrees with JAX.
    """
    logits = model.batch_logits(assets.contexts)
    tf = tflite.import_tensorflow()
    loaded = tf.saved_model.load(str(folder / "saved_model"))
    signature = loaded.signatures["serving_default"]

    def saved_model(inputs: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        out = signature(**{name: tf.constant(value) for name, value in inputs.items()})
        return out[IDS].numpy(), out[SCORES].numpy()

    def file_model(inputs: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        out = runtime(inputs)
        return out[IDS], out[SCORES]

    runners: list[tuple[str, verify.Runner, int]] = [
        ("The finished SavedModel", saved_model, top_k),
        ("The finished .tflite", file_model, top_k),
    ]
    if assets.original:
        shared = min(top_k, assets.original.top_k)
        runners.append(("The original file", verify.first(assets.original.run, shared), shared))
    found = []
    for what, runner, k in runners:
        equality = verify.compare(
            runner,
            assets.contexts,
            logits,
            first_candidate=model.spec.first_candidate,
            top_k=k,
            tolerance=_tolerance(assets),
        )
        if equality.agree < equality.contexts:
            raise ExportError(
                f"{what} disagrees with the model on {equality.contexts - equality.agree} of "
                f"{equality.contexts} contexts (scores differ by up to "
                f"{equality.max_score_difference:.1e}); nothing was published. Please report the "
                "versions of jax and tensorflow."
            )
        found.append(equality)
    return verify.worst(found)


def _tolerance(assets: Assets) -> float:
    return verify.IMPORT_TOLERANCE if assets.original else verify.SCORE_TOLERANCE


def _metadata(
    model: ServingModel,
    runtime: TfliteModel,
    assets: Assets,
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
    config = model.config
    compared = ["JAX", "SavedModel", "TFLite"] + ["original file"] * bool(assets.original)
    return {
        "name": config.name,
        "inputs": inputs,
        "outputs": [{"name": n, "dtype": d, "shape": s} for n, s, d in runtime.outputs],
        "label_vocabulary": f"vocabularies/{ITEM}.txt",
        "top_k": top_k,
        "candidates": model.spec.candidates,
        "encoder": [group.encoder for _, group in config_lib.groups(config.model)],
        "context_length": config.model.context_length,
        "flatten_keeps_oldest": contexts.keeps_oldest(config),
        "metrics": {row["protocol"]: row["metrics"] for row in assets.tests},
        "labels": {row["protocol"]: row["labels"] for row in assets.tests},
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
        | {"tolerance": _tolerance(assets), "compared": compared},
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
