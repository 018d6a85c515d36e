"""Chooses the quantisation: runs and judges every recipe, takes the smallest file within a bound.

float file -> recipes -> finished files -> lists for validation labels -> the choice -> its loss on
test labels, which do not affect the choice

A recipe is within the bound if the upper end of its loss's interval is: few labels, or lists that
differ in many, do not show that little is lost, even if the loss measured is small.
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
# One label of each outcome, (hit before, hit after), joins those of which an interval is made.
# Otherwise few labels of which none is lost would pass for a proof that none ever is.
_ADDED = np.array([True, True, False, False]), np.array([True, False, True, False])


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
    coarse_file: bytes | None = None,
) -> Choice:
    """Makes the file that the options (quantization, max_recall_loss) ask for; see `check`.

    Args:
      float_file: the finished float32 .tflite, without coarse labels if it is to be quantised.
      options: quantization, max_recall_loss.
      assets: labels and contexts to judge by.
      candidates: the rows that can be recommended.
      say: called with each line of the results.
      coarse_file: with 'auto', the float32 .tflite with coarse labels, where 'none' makes one.

    Raises:
      ExportError: the recipe does not run for this graph, or with 'auto' the float file finds no
        validation label.
    """
    asked = options.quantization
    if asked == FLOAT:
        return Choice(float_file, {"recipe": FLOAT})
    tried: dict[str, Any] = {}
    if asked == "auto":
        plain = float_file if coarse_file is None else coarse_file
        recipe, content, tried = _smallest(float_file, plain, options, assets, candidates, say)
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
    plain: bytes,
    options: ExportConfig,
    assets: Assets,
    candidates: range,
    say: Callable[[str], None],
) -> tuple[str, bytes, dict[str, Any]]:
    """Recipe and content of the smallest file within the bound, and a report of what was tried.

    `plain` is the file of 'none'. It is always within the bound.
    """
    judged = assets.judged["validation"]
    float_lists = judge.run(float_file, judged.contexts, candidates)
    k = min(_CUT_OFF, float_lists.ids.shape[1])
    hits = int(judge.hits(float_lists.ids, judged.labels, k).sum())
    if not hits:
        raise ExportError(
            f"quantization is 'auto', but the float32 file has none of {len(judged.labels):,} "
            f"validation labels among its {k} best, so no loss can be measured; train longer, or "
            "name a recipe, such as float16."
        )
    files: dict[str, bytes] = {}
    rows: list[dict[str, Any]] = []
    for recipe in (FLOAT, *quantize.RECIPES):
        try:
            files[recipe] = plain if recipe == FLOAT else quantized(float_file, recipe)
            lists = judge.run(files[recipe], judged.contexts, candidates)
        except ExportError as error:
            rows.append({"recipe": recipe, "obstacle": str(error)})
            continue
        sizes = _sizes(files[recipe], float_file)
        rows.append({"recipe": recipe, **sizes, **_compared(lists, float_lists, judged.labels)})
        rows[-1]["recall_loss_interval"] = _interval(lists, float_lists, judged.labels)
    rows[0]["recall_loss_interval"] = [0.0, 0.0]  # its lists are the float file's
    bound = options.max_recall_loss
    copy = " (none: with a coarse copy of the labels)" if plain is not float_file else ""
    say(
        f"quantization on {len(judged.labels):,} validation labels, {hits:,} of them among the {k} "
        f"best of float32; the smallest file whose 95% interval of recall_loss ends at {bound:g} "
        f"or below{copy}:"
    )
    for line in _table(rows):
        say(line)
    tried = {
        "max_recall_loss": bound,
        "validation_labels": len(judged.labels),
        "validation_hits": hits,
        "coarse_copy": plain is not float_file,
        "candidates": rows,
    }
    others = [row for row in rows[1:] if "obstacle" not in row]
    within = [row for row in others if row["recall_loss_interval"][1] <= bound]
    chosen = min([rows[0], *within], key=lambda row: row["bytes"])["recipe"]
    if not within and any(row["recall_loss"] <= bound for row in others):
        say(
            f"{hits:,} hits are too few to show a loss of at most {bound:g}; float32 stays. Raise "
            "--max_recall_loss, keep more labels (config.export.judged_labels), or name a recipe."
        )
    return chosen, files[chosen], tried


def _interval(lists: Lists, float_lists: Lists, labels: np.ndarray) -> list[float]:
    """The 95% interval by which 'auto' decides; wider than that of the labels alone."""
    k = min(_CUT_OFF, lists.ids.shape[1])
    before, after = (judge.hits(found.ids, labels, k) for found in (float_lists, lists))
    both = [np.append(hit, more) for hit, more in zip((before, after), _ADDED, strict=True)]
    return list(judge.loss_interval(*both))


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
    if isinstance(value, list):
        return "..".join(f"{end:.4f}" for end in value)
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
