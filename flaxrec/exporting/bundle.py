"""Fills the export folder, verifies it by running the finished file, then publishes it whole."""

import contextlib
import dataclasses
import importlib.metadata
import platform
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import flax
import jax

import flaxrec
from flaxrec import config as config_lib
from flaxrec.config import Config, ExportConfig
from flaxrec.data.contexts import keeps_oldest
from flaxrec.data.sources.read import of_histories
from flaxrec.data.spec import InputSpec
from flaxrec.data.timelines import ITEM
from flaxrec.errors import ExportError, write_errors_as
from flaxrec.exporting import (
    agreement,
    android,
    catalogue,
    converter,
    item_rows,
    litert,
    masking,
    ranked_lists,
    ranking,
    saved_model,
    serving,
)
from flaxrec.exporting import choice as choice_lib
from flaxrec.exporting.assets import Assets
from flaxrec.exporting.choice import Choice
from flaxrec.exporting.item_rows import ItemRows
from flaxrec.exporting.serving import ServingModel
from flaxrec.files import temporary_folder, whole_folder, write_jsonl
from flaxrec.files.reading import MOST_BYTES
from flaxrec.files.sums import sums_of
from flaxrec.tflite import flatbuffer, runtime_versions, splits
from flaxrec.tflite.metadata import CANDIDATE_MASK, FORMAT, in_file, is_export, write_metadata
from flaxrec.tflite.runtime import TfliteModel
from flaxrec.training.run_assets import RunAssets
from flaxrec.training.validation import validate
from flaxrec.training.workdir import Workdir


@dataclasses.dataclass(frozen=True)
class Export:
    """A published export.

    Attributes:
      folder: the export folder.
      bytes: of model.tflite.
      equality: the comparison of the float32 form with JAX.
      quantization: what was chosen and measured, as in metadata.json.
    """

    folder: Path
    bytes: int
    equality: ranked_lists.Equality
    quantization: dict[str, Any]


def export(
    workdir: Workdir,
    output: Path | None = None,
    say: Callable[[str], None] = print,
    *,
    items: str | None = None,
    keep_gone: int | None = None,
    **options: Any,
) -> Export:
    """Exports a run's best checkpoint, by default to WORKDIR/export; the data set is not needed.

    `say` and `options` are those of `export_model`; with `items` and `keep_gone` the items are
    those of a table, see `catalogue.renewed`.

    Raises:
      TrainingError: there is no run or checkpoint.
      ExportError: as `export_model`, or the run's assets are missing, or it cannot read new items.
      DataError: the table of items cannot be used.
    """
    model, assets = serving.load(workdir), assets_of(workdir)
    if items is not None:
        options = catalogue.options(workdir, options)
        model, assets = catalogue.renewed(workdir, model, assets, items, keep_gone, say)
    return export_model(model, assets, output or workdir.export, say, **options)


def assets_of(workdir: Workdir) -> Assets:
    """What a run keeps for its export; raises as `export`."""
    kept = RunAssets(workdir.assets)
    return Assets(
        kept.vocabularies(),
        kept.items(),
        kept.contexts(),
        [row for row in workdir.read_metrics() if row["split"] == "test"],
        judged=kept.judged(),
        baselines=[row for row in workdir.read_baselines() if row["split"] == "test"],
        cold=[
            row
            for row in (*workdir.read_metrics(), *workdir.read_baselines())
            if row["split"] == "cold"
        ],
    )


def export_model(
    model: ServingModel,
    assets: Assets,
    output: Path,
    say: Callable[[str], None] = print,
    **options: Any,
) -> Export:
    """Exports a model from any source.

    Args:
      model: the model.
      assets: what goes with it.
      output: the export folder. Replaces an earlier export there once the new one is verified.
      say: called with each line of progress.
      **options: fields of config.export that differ from the model's config, such as top_k;
        None: the config's.

    Raises:
      ConfigError: an option cannot be used.
      ExportError: K does not fit, the model is too large, there are no labels to choose a
        quantisation by, the folder is no export, TensorFlow is missing, or the finished file
        disagrees with the model.
    """
    if not output.name:  # '.'
        output = output.absolute()
    chosen = _options(model, options)
    if chosen.top_k > model.spec.candidates:
        raise ExportError(
            f"top_k is {chosen.top_k}, but the catalogue has {model.spec.candidates} items; use 1 "
            f"to {model.spec.candidates}."
        )
    choice_lib.check(chosen, assets)
    size = sum(int(values.nbytes) for values in model.params.values())
    if size > MOST_BYTES:
        raise ExportError(
            f"The model has {size:,} bytes of float32, and a .tflite holds {MOST_BYTES:,}; train "
            "with a smaller config.model.embedding_dim or a larger config.data.min_item_count."
        )
    items = item_rows.choose(assets, model.spec, chosen.item_fields)
    with publish(output) as folder:
        equality, quantization = _fill(folder, model, assets, items, chosen, say)
    size = (output / "model.tflite").stat().st_size
    recipe = quantization["recipe"]
    form = "" if recipe == "none" else f", {recipe}"
    others = "JAX and the original file" if assets.original else "JAX"
    say(
        f"exported {output / 'model.tflite'} ({size:,} bytes, top {chosen.top_k}{form}); "
        f"{'its float32 form ' if form else ''}agrees with {others} on {equality.agree} of "
        f"{equality.contexts} contexts, scores within {equality.max_score_difference:.1e}"
    )
    if chosen.candidate_mask:
        say(
            f"every call fills the input {CANDIDATE_MASK}, zeros where everything may be shown; "
            f"there is no android/: {android.NO_MASK}"
        )
    return Export(output, size, equality, quantization)


@contextlib.contextmanager
def publish(output: Path) -> Iterator[Path]:
    """Gives a folder to fill and moves it to the output when the block ends without an error.

    After an error the folder is removed and an earlier export stays.

    Raises:
      ExportError: the output exists, is not empty and is no export, or cannot be written.
    """
    is_empty = output.is_dir() and not any(output.iterdir())
    if output.exists() and not is_empty and not is_export(output):
        raise ExportError(f"{output} exists and is not an export; use another --output.")
    with write_errors_as(ExportError, output), whole_folder(output) as folder:
        yield folder


def make_float_file(model: ServingModel, options: ExportConfig, folder: Path) -> bytes:
    """Makes the finished float32 .tflite, without metadata; leaves the SavedModel in the folder.

    With options.converter 'litert' there is no SavedModel.

    Raises:
      ExportError: an option does not fit the model, the converter is missing, or it fails.
    """
    if options.converter == "litert":
        converted = litert.convert(model, options)
    else:
        saved_model.save(model, options, folder)
        converted = converter.convert(folder)
    return flatbuffer.finish(splits.merge_slices(ranking.with_coarse(converted, model, options)))


def _coarse_file(model: ServingModel, options: ExportConfig) -> bytes | None:
    """With 'auto', the file that 'none' makes where it has coarse labels; else None."""
    plain = dataclasses.replace(options, quantization=choice_lib.FLOAT)
    if options.quantization != "auto" or not ranking.has_coarse(model, plain):
        return None
    with temporary_folder() as folder:
        return make_float_file(model, plain, folder / "saved_model")


def _options(model: ServingModel, changes: dict[str, Any]) -> ExportConfig:
    """config.export with the changes that are not None, validated."""
    given = {name: value for name, value in changes.items() if value is not None}
    options = dataclasses.replace(model.config.export, **given)
    validate(dataclasses.replace(model.config, export=options))
    return options


def _fill(
    folder: Path,
    model: ServingModel,
    assets: Assets,
    items: ItemRows,
    options: ExportConfig,
    say: Callable[[str], None],
) -> tuple[ranked_lists.Equality, dict[str, Any]]:
    """Makes the export in an empty folder, before it is published."""
    float_file = make_float_file(model, options, folder / "saved_model")
    equality = agreement.with_jax(
        model, options, assets, folder / "saved_model", TfliteModel(float_file)
    )
    coarse_file = _coarse_file(model, options)
    choice = choice_lib.choose(float_file, options, assets, _rows(model), say, coarse_file)
    if coarse_file is not None and choice.content == coarse_file:
        theirs = agreement.with_jax(
            model, options, assets, folder / "saved_model", TfliteModel(coarse_file)
        )
        equality = ranked_lists.worst([equality, theirs])
    (folder / "vocabularies").mkdir()
    for name, vocabulary in assets.vocabularies.items():
        vocabulary.write(folder / "vocabularies" / f"{name}.txt")
    metadata = _metadata(model, choice, assets, options, equality)
    metadata |= {"items": items.described, "files": sums_of(folder)}
    content = flatbuffer.with_metadata(choice.content, in_file(metadata))
    (folder / "model.tflite").write_bytes(content)
    agreement.to_the_bit(
        TfliteModel(folder / "model.tflite"), TfliteModel(choice.content), assets.contexts
    )
    if items.rows is not None:
        write_jsonl(folder / "items.jsonl", items.rows)
    if metadata["android"]["supported"]:
        shown = [item for item in assets.items if item.get("candidate", True)]
        ids = [item["id"] for item in shown]
        android.write(
            folder / "android",
            content,
            metadata["inputs"],
            shown,
            assets.vocabularies[ITEM].lookup(ids).tolist(),
            assets.vocabularies,
        )
    write_metadata(folder, metadata)
    return equality, choice.report


def _rows(model: ServingModel) -> range:
    """Vocabulary rows of the candidates."""
    first = model.spec.first_candidate
    return range(first, first + model.spec.candidates)


# ---- metadata.json --------------------------------------------------------------------------


def _metadata(
    model: ServingModel,
    choice: Choice,
    assets: Assets,
    options: ExportConfig,
    equality: ranked_lists.Equality,
) -> dict[str, Any]:
    """The content of metadata.json."""
    taken = [*model.spec.inputs, *[masking.input_of(model)] * options.candidate_mask]
    specs = {spec.name: spec for spec in taken}
    in_order, outputs = flatbuffer.ends(choice.content)
    inputs = [described | _source(specs[described["name"]]) for described in in_order]
    label_vocabulary = f"vocabularies/{ITEM}.txt"
    obstacle = android.obstacle(choice.content, inputs, label_vocabulary, assets.vocabularies)
    config = model.config
    by_litert = options.converter == "litert"
    no_saved_model = "--converter=litert makes none" if by_litert else None
    compared = ["JAX", *["SavedModel"] * (not by_litert), "TFLite"]
    compared += ["original file"] * bool(assets.original)
    return {
        "format": FORMAT,
        "name": config.name,
        "inputs": inputs,
        "outputs": outputs,
        "label_vocabulary": label_vocabulary,
        "top_k": options.top_k,
        "excludes_context": options.exclude_context,
        "trusts_ids": options.trust_ids,
        "recommends_seen": _recommends_seen(config),
        "first_events": config.train.first_events,
        "candidates": model.spec.candidates,
        **({"catalogue": assets.catalogue} if assets.catalogue else {}),
        **({"warm_start": model.origin} if model.origin else {}),
        "encoder": [group.encoder for _, group in config_lib.groups(config.model)],
        "context_length": config.model.context_length,
        "flatten_keeps_oldest": keeps_oldest(config),
        "time": model.spec.clock.to_json() if model.spec.clock else None,
        "histories": of_histories(config.data),
        "metrics": {row["protocol"]: row["metrics"] for row in assets.tests},
        "asked": model.spec.asked if assets.tests else None,
        "labels": {row["protocol"]: row["labels"] for row in assets.tests},
        "baselines": _baselines(assets.baselines),
        "cold": _of_cold(assets.cold),
        "step": model.step,
        "config_sha256": config_lib.sha256(config),
        "versions": {
            "flaxrec": flaxrec.__version__,
            "python": platform.python_version(),
            "jax": jax.__version__,
            "flax": flax.__version__,
            **_version_of_converter(by_litert),
            "ai-edge-litert": importlib.metadata.version("ai-edge-litert"),
        },
        "min_runtime_version": runtime_versions.oldest(choice.content),
        "equality": dataclasses.asdict(equality)
        | {"tolerance": agreement.tolerance(assets), "compared": compared},
        "quantization": choice.report,
        "converter": options.converter,
        "saved_model": {"supported": not by_litert, "reason": no_saved_model},
        "android": {"supported": not obstacle, "reason": obstacle},
    }


def _version_of_converter(by_litert: bool) -> dict[str, str]:
    if by_litert:
        return {converter.PACKAGE: importlib.metadata.version(converter.PACKAGE)}
    return {"tensorflow": converter.import_tensorflow().__version__}


def _baselines(rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Test metrics by protocol and name of the baseline, for comparison with `metrics`."""
    found: dict[str, dict[str, Any]] = {}
    for row in rows:
        found.setdefault(row["protocol"], {})[row["baseline"]] = row["metrics"]
    return found


def _of_cold(rows: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Metrics of cold items' labels, counts of these, and the baselines'; None without any."""
    own = [row for row in rows if "baseline" not in row]
    if not own:
        return None
    beside = {row["baseline"]: row["metrics"] for row in rows if "baseline" in row}
    return {"metrics": own[-1]["metrics"], "labels": own[-1]["labels"], "baselines": beside}


def _recommends_seen(config: Config) -> bool:
    """Whether the model was chosen with seen items left in, as where users come back to them."""
    knows_seen = config.data.source != "tfrecord" and not config.reference_mode
    return knows_seen and not config.train.select_metric.startswith("filtered/")


def _source(spec: InputSpec) -> dict[str, Any]:
    """What an app needs to know to fill an input."""
    return {
        "vocabulary": f"vocabularies/{spec.vocabulary}.txt" if spec.vocabulary else None,
        "source": spec.source,
        "multi_valued": spec.multi_valued,
        "default": spec.default if spec.type == "FLOAT" else None,
    }
