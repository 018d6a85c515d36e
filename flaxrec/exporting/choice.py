"""Chooses the quantisation: runs and judges every recipe, takes the smallest file within a bound.

float file -> recipes -> finished files -> lists for validation labels -> the choice -> its loss on
test labels, which do not affect the choice
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from flaxrec.config import ExportConfig
from flaxrec.errors import ExportError
from flaxrec.exporting import judge, ranked_lists
from flaxrec.exporting.assets import Assets
from flaxrec.exporting.judge import Lists
from flaxrec.terminal import text_tables
from flaxrec.tflite import flatbuffer, quantize
from flaxrec.training.run_assets import Judged

NOT_MEASURED = "not measured"
FLOAT = "none"  # the recipe that leaves the float file as it is
_CUT_OFF = 10  # of recall and NDCG; a smaller K is used instead


@dataclasses.dataclass(frozen=True)
class Choice:
    """The finished .tflite to publish, and `quantization` of metadata.json."""

    content: bytes
    report: dict[str, Any]


def check(options: ExportConfig, assets: Assets) -> None:
    """Raises ExportError if 'auto' has no labels to choose by."""
    if options.quantization == "auto" and "validation" not in assets.judged:
        raise ExportError(
            "quantization is 'auto', which chooses by validation labels, but none were kept with "
            "this model; name a recipe, such as float16, or run train_main.py on the run folder "
            "again (config.export.judged_labels and the validation part of config.split above 0)."
        )


def choose(
    float_file: bytes,
    options: ExportConfig,
    assets: Assets,
    candidates: range,
    say: Callable[[str], None],
) -> Choice:
    """Makes the file that the options (quantization, max_recall_loss) ask for; see `check`.

    `float_file` is the finished float32 .tflite, `candidates` are the rows that can be recommended.
    Calls `say` with each line of the results.

    Raises:
      ExportError: the recipe does not run for this graph.
    """
    asked = options.quantization
    if asked == FLOAT:
        return Choice(float_file, {"recipe": FLOAT})
    tried: dict[str, Any] = {}
    if asked == "auto":
        recipe, content, tried = _smallest(float_file, options, assets, candidates, say)
    else:
        recipe, content = asked, quantized(float_file, asked)
    report = {
        "recipe": recipe,
        "asked": asked,
        **_sizes(content, float_file),
        "float_bytes": len(float_file),
        "overlap": _overlap_on_contexts(content, float_file, assets, candidates),
        "test": NOT_MEASURED,
        **tried,
    }
    if "test" in assets.judged:
        report["test"] = _on_test(content, float_file, assets.judged["test"], candidates)
    say(_summary(report))
    return Choice(content, report)


def quantized(float_file: bytes, recipe: str) -> bytes:
    """Makes the finished file of a recipe, which may be 'none'.

    Raises:
      ExportError: the recipe is unknown or does not run for this graph.
    """
    if recipe == FLOAT:
        return float_file
    return flatbuffer.finish(quantize.quantize(float_file, recipe))


# ---- auto -----------------------------------------------------------------------------------


def _smallest(
    float_file: bytes,
    options: ExportConfig,
    assets: Assets,
    candidates: range,
    say: Callable[[str], None],
) -> tuple[str, bytes, dict[str, Any]]:
    """Recipe and content of the smallest file within the bound, and a report of what was tried."""
    judged = assets.judged["validation"]
    float_lists = judge.run(float_file, judged.contexts, candidates)
    files: dict[str, bytes] = {}
    rows: list[dict[str, Any]] = []
    for recipe in (FLOAT, *quantize.RECIPES):
        try:
            files[recipe] = quantized(float_file, recipe)
            lists = judge.run(files[recipe], judged.contexts, candidates)
        except ExportError as error:
            rows.append({"recipe": recipe, "obstacle": str(error)})
            continue
        sizes = _sizes(files[recipe], float_file)
        rows.append({"recipe": recipe, **sizes, **_compared(lists, float_lists, judged.labels)})
    bound = options.max_recall_loss
    say(f"quantization on {len(judged.labels):,} validation labels, recall_loss at most {bound:g}:")
    for line in _table(rows):
        say(line)
    within = [row for row in rows if "obstacle" not in row and row["recall_loss"] <= bound]
    chosen = min(within, key=lambda row: row["bytes"])["recipe"]
    tried = {"max_recall_loss": bound, "validation_labels": len(judged.labels), "candidates": rows}
    return chosen, files[chosen], tried


def _table(rows: list[dict[str, Any]]) -> list[str]:
    """The rows as aligned text; the first row, the float file's, has every column."""
    columns = list(rows[0])
    cells = [[_cell(name, row[name]) for name in columns if name in row] for row in rows]
    lines = text_tables.aligned([columns, *cells], left=1)
    obstacles = ["", *(row.get("obstacle", "") for row in rows)]
    return [f"  {line}  {why}".rstrip() for line, why in zip(lines, obstacles, strict=True)]


def _cell(name: str, value: Any) -> str:
    if name == "recipe":
        return value
    return f"{value:,}" if name == "bytes" else f"{value:.4f}"


# ---- what is measured -----------------------------------------------------------------------


def _sizes(content: bytes, float_file: bytes) -> dict[str, Any]:
    return {"bytes": len(content), "ratio": round(len(content) / len(float_file), 4)}


def _compared(lists: Lists, float_lists: Lists, labels: np.ndarray) -> dict[str, Any]:
    """Means over the labels, and the loss against the float file."""
    k = min(_CUT_OFF, lists.ids.shape[1])
    before, after = (judge.hits(found.ids, labels, k) for found in (float_lists, lists))
    return {
        f"recall@{k}": float(after.mean()),
        f"ndcg@{k}": float(judge.ndcg(lists.ids, labels, k).mean()),
        "recall_loss": judge.relative_loss(before, after),
        **_overlaps(lists.ids, float_lists.ids),
    }


def _on_test(content: bytes, float_file: bytes, test: Judged, candidates: range) -> dict[str, Any]:
    """The loss on the test labels with its interval, and the float file's metrics."""
    lists, float_lists = (
        judge.run(file, test.contexts, candidates) for file in (content, float_file)
    )
    k = min(_CUT_OFF, lists.ids.shape[1])
    before, after = (judge.hits(found.ids, test.labels, k) for found in (float_lists, lists))
    ndcg = float(judge.ndcg(float_lists.ids, test.labels, k).mean())
    return {
        "labels": len(test.labels),
        **_compared(lists, float_lists, test.labels),
        "recall_loss_interval": list(judge.loss_interval(before, after)),
        "float": {f"recall@{k}": float(before.mean()), f"ndcg@{k}": ndcg},
    }


def _overlap_on_contexts(
    content: bytes, float_file: bytes, assets: Assets, candidates: range
) -> dict[str, Any]:
    """The overlap with the float file, and with an imported model's file, on the contexts."""
    ids = judge.run(content, assets.contexts, candidates).ids
    float_ids = judge.run(float_file, assets.contexts, candidates).ids
    found: dict[str, Any] = {"contexts": len(ids), "float": _overlaps(ids, float_ids)}
    if assets.original:
        lists = ranked_lists.one_by_one(assets.original.run, assets.contexts)
        theirs = np.stack([ids for ids, _ in lists])
        found["original"] = _overlaps(ids, theirs)
    return found


def _overlaps(ids: np.ndarray, others: np.ndarray) -> dict[str, float]:
    shared = min(ids.shape[1], others.shape[1])
    cut_offs = dict.fromkeys((min(_CUT_OFF, shared), shared))
    return {f"overlap@{k}": float(judge.overlap(ids, others, k).mean()) for k in cut_offs}


def _summary(report: dict[str, Any]) -> str:
    """The outcome in one line."""
    size = f"{report['bytes']:,} bytes, {report['ratio']:.3f} of float32"
    test = report["test"]
    if test == NOT_MEASURED:
        name, share = next(iter(report["overlap"]["float"].items()))
        return (
            f"quantization {report['recipe']}: {size}; {name} with float32 {share:.4f} on "
            f"{report['overlap']['contexts']} contexts, recall {NOT_MEASURED}"
        )
    (name, before), (low, high) = next(iter(test["float"].items())), test["recall_loss_interval"]
    return (
        f"quantization {report['recipe']}: {size}; {name} on {test['labels']:,} test labels "
        f"{test[name]:.4f} beside {before:.4f} of float32, a relative loss of "
        f"{test['recall_loss']:.2%} (95% interval {low:.2%} to {high:.2%})"
    )
