"""A run's model with the items of today, without training.

Candidates are the known items that are still there, in their order, then new ones, whose vectors
are those of their features; items that are gone follow, as rows that contexts read and nobody is
recommended. Shapes: C candidates, N new items among them, R rows of the items' vocabulary.
"""

import dataclasses
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import polars as pl

from flaxrec.config import Config
from flaxrec.data import columns, item_features
from flaxrec.data import vocabulary as vocabulary_lib
from flaxrec.data.item_features import Known
from flaxrec.data.sources import own_tables, vector_files
from flaxrec.data.vocabulary import ITEM, text
from flaxrec.errors import DataError, ExportError, shown
from flaxrec.exporting import exclusion, serving
from flaxrec.exporting.assets import Assets
from flaxrec.exporting.serving import ServingModel
from flaxrec.models import item_sums, rounded_tables
from flaxrec.models.dual_encoder import Params
from flaxrec.models.transitions_head import TransitionsHead
from flaxrec.scoring import metrics
from flaxrec.tflite.metadata import CANDIDATE_MASK, read_metadata
from flaxrec.training import finished
from flaxrec.training.run_assets import RunAssets, plain_rows
from flaxrec.training.workdir import Workdir

_LISTED = 10
_OF_ALL = ("id", "title", "count")  # keys of items.jsonl that are no features


@dataclasses.dataclass(frozen=True)
class _Rows:
    """How the rows of the items' vocabulary change.

    Attributes:
      before: int [R], the row that each row had before; that of 'unknown' for new items.
      after: int32 [rows before], the row that each row has now; 'unknown' where it has none.
      candidates: C.
      new: N, the last candidates.
    """

    before: np.ndarray
    after: np.ndarray
    candidates: int
    new: int

    @property
    def of_candidates(self) -> np.ndarray:
        """Int [C], the rows that the candidates had before."""
        return self.before[1 : self.candidates + 1]


def renewed(
    workdir: Workdir,
    model: ServingModel,
    assets: Assets,
    file: str,
    keep_gone: int | None = None,
    say: Callable[[str], None] = print,
) -> tuple[ServingModel, Assets]:
    """The run's model and assets with the items of a table.

    Args:
      workdir: the run.
      model: its model.
      assets: what goes with it.
      file: the table, one row an item, with the columns of the run's items.
      keep_gone: at most so many items that are not in the table stay as context, the most
        frequent; None: all.
      say: called with a line of what came and went.

    Raises:
      ExportError: the run has no label tower to read new items by, or the table none of its items.
      DataError, ConfigError: the table, or a file of vectors, cannot be used.
      TrainingError: the checkpoint cannot be read.
    """
    known = RunAssets(workdir.assets).label_features()
    if known.keys() != {feature.name for feature in model.config.model.label_features} or not known:
        raise ExportError(
            f"{workdir.path} cannot read new items: its label tower was not kept, or it has none; "
            "train it in a new workdir, with config.model.label_features."
        )
    width = model.config.model.embedding_dim
    tower = finished.tower(workdir, known, width, serving.cpu())
    items = _read(model.config, assets.items, file)
    vocabulary = assets.vocabularies[ITEM]
    found = vocabulary.lookup(items["item"].to_list())
    rows = _rows(file, items, found, vocabulary.unknown_row, keep_gone)
    news = items.filter(pl.Series(found == vocabulary.unknown_row))
    vectors = _vectors(model, tower, known, news, file) if len(news) else None
    gone = vocabulary.unknown_row - 1 - (rows.candidates - rows.new)
    kept = len(rows.before) - rows.candidates - 2
    judged, left_out = {}, {}
    for split, labels in assets.judged.items():
        places = rows.after[labels.labels]
        there = places <= rows.candidates
        left_out[split] = int((~there).sum())
        if there.any():
            contexts = {n: v[there] for n, v in _moved(labels.contexts, model, rows).items()}
            judged[split] = dataclasses.replace(labels, contexts=contexts, labels=places[there])
    contexts = _moved(assets.contexts, model, rows)
    made = _model(model, rows, vectors)
    lists = _lists(model.batch_logits(assets.contexts), made.batch_logits(contexts), rows)
    catalogue = {
        "file": Path(file).name,
        "new": rows.new,
        "gone": gone,
        "gone_in_contexts": kept,
        "new_in_contexts": "by features" if model.config.model.tied_tables else "unknown",
        "judged_labels_left_out": left_out,
        "lists": lists,
        "metrics": "of the items that the run was trained on",
    }
    say(
        f"items of {file}: {rows.candidates:,}, of which {rows.new:,} are new; {gone:,} are gone, "
        f"{kept:,} of them stay as context; judged labels left out: {sum(left_out.values()):,}"
    )
    say(
        f"of the {lists['length']} best for {lists['contexts']:,} contexts of the run, "
        f"{lists['kept']:.1%} stay and {lists['gone']:.1%} are gone; {lists['new']:.1%} of today's "
        "are new"
    )
    described = _items(assets.items, items, found, rows)
    entries = [item["id"] for item in described]
    vocabulary = vocabulary_lib.build(
        entries, np.zeros(len(entries)), f"the items' ids in {file}", ties_as_given=True
    )
    renewed_assets = dataclasses.replace(
        assets,
        vocabularies={**assets.vocabularies, ITEM: vocabulary},
        items=described,
        contexts=contexts,
        judged=judged,
        catalogue=catalogue,
    )
    return made, renewed_assets


def options(workdir: Workdir, asked: dict[str, Any]) -> dict[str, Any]:
    """The options of an export: the asked ones that are not None, then those of the run's export.

    Without one they are the config's.

    Raises:
      ExportError: there is no export, and the config does not name a recipe of quantisation.
    """
    given = {name: value for name, value in asked.items() if value is not None}
    if workdir.export.exists():
        last = read_metadata(workdir.export)
        return {
            "quantization": (last.get("quantization") or {"recipe": "none"})["recipe"],
            "top_k": last["top_k"],
            "exclude_context": bool(last.get("excludes_context")),
            "trust_ids": bool(last.get("trusts_ids")),
            "candidate_mask": any(i["source"] == CANDIDATE_MASK for i in last["inputs"]),
            "converter": last.get("converter", "jax2tf"),
            "item_fields": (last.get("items") or {"fields": "full"})["fields"],
            **given,
        }
    if "quantization" in given:
        return given
    of_config = workdir.read_config().export.quantization
    if of_config == "auto":
        raise ExportError(
            f"The recipe of {workdir.path} is auto, and it has no export for which one was chosen; "
            "export it without --items first, or name one with --quantization."
        )
    return {"quantization": of_config, **given}


# ---- the table --------------------------------------------------------------------------------


def _read(config: Config, before: list[dict[str, Any]], file: str) -> pl.DataFrame:
    """The table: `item`, `title` and features, as the run's own table of items."""
    names = dict.fromkeys(name for row in before for name in row if name not in _OF_ALL)
    several = {name for name in names if any(isinstance(row.get(name), list) for row in before)}
    has_title = any("title" in row for row in before)
    of_config = config.data.columns
    own = config.data.source == "table" and of_config.title
    read_by = dataclasses.replace(
        of_config,
        title=(of_config.title if own else "title") if has_title else "",
        item_features=tuple(names),
        multi_valued=tuple(several),
    )
    data = dataclasses.replace(config.data, columns=read_by)
    return own_tables.read_items(data, file, columns.types_of_sources(config))


def _rows(
    file: str, items: pl.DataFrame, found: np.ndarray, unknown: int, keep_gone: int | None
) -> _Rows:
    there = np.sort(found[found != unknown])
    if not len(there):
        raise DataError(
            f"{file}: none of its {len(items):,} items, such as {shown(items['item'][0])}, is one "
            "of those that the run was trained on; give the ids as the training data have them."
        )
    if (twice := there[1:][np.diff(there) == 0]).size:
        named = items.filter(pl.Series(found == twice[0]))["item"].to_list()
        raise DataError(f"{file}: {shown(named)} are one item of the run; keep one of them.")
    new = len(found) - len(there)
    gone = np.setdiff1d(np.arange(1, unknown), there)[:keep_gone]
    of_new = np.full(new, unknown)
    before = np.concatenate([[0], there, of_new, gone, [unknown]])
    after = np.full(unknown + 1, len(before) - 1, np.int32)
    old = before != unknown
    after[before[old]] = np.flatnonzero(old)
    return _Rows(before, after, len(found), new)


# ---- the model --------------------------------------------------------------------------------


def _vectors(
    model: ServingModel, tower: Params, known: dict[str, Known], news: pl.DataFrame, file: str
) -> jax.Array:
    """The new items' vectors, [N, D]."""
    config = model.config
    names = [feature.name for feature in config.model.label_features if feature.type == "VECTOR"]
    files = {name: file for name in names if vector_files.has_vectors(file, name)}
    values = item_features.of_later_items(config, news, known, files)
    _tell_undescribed(values, known, news, file)
    with jax.default_device(serving.cpu()), jax.default_matmul_precision("float32"):
        vectors = item_sums.of_features(tower, {n: jnp.asarray(v) for n, v in values.items()})
        vectors += item_sums.without_id(model.structure, model.spec, model.params)
        return rounded_tables.rounded({"": vectors}, [""], config.train.quantization)[""]


def _tell_undescribed(
    values: dict[str, np.ndarray], known: dict[str, Known], news: pl.DataFrame, file: str
) -> None:
    """Warns of new items without a value that training saw: nothing tells one from another."""
    told = np.zeros(len(news), bool)
    for name, of in known.items():
        rows = values[name]
        is_known = rows != 0
        if of.vocabulary is not None:
            is_known &= rows != of.vocabulary.unknown_row
        told |= is_known.any(axis=1)
    if not told.all():
        first = news["item"].filter(pl.Series(~told))[0]
        logging.warning(
            "%s: %s of %s new items, such as %s, have no value that the run knows in any of %s: "
            "their vectors are alike.",
            file, f"{(~told).sum():,}", f"{len(news):,}", shown(first), ", ".join(known),
        )  # fmt: skip


def _model(model: ServingModel, rows: _Rows, vectors: jax.Array | None) -> ServingModel:
    inputs = tuple(
        dataclasses.replace(i, rows=len(rows.before)) if i.vocabulary == ITEM else i
        for i in model.spec.inputs
    )
    spec = dataclasses.replace(model.spec, inputs=inputs, candidates=rows.candidates)
    ends = tuple(f"/tables/{i.name}" for i in exclusion.item_inputs(model.spec))
    labels, first = item_sums.label_table(model.structure, model.spec)
    made = {}
    with jax.default_device(serving.cpu()):
        news = slice(first + rows.candidates - rows.new, first + rows.candidates)
        # The rows that new items had in the labels' own table are those of the last candidate.
        of_labels = np.minimum(rows.of_candidates - 1, model.spec.candidates - 1)
        for name, value in model.params.items():
            if name.endswith(ends):
                value = value[rows.before]
            elif name == labels:
                value = value[of_labels]
            elif name == "label_encoder/bias":
                own = value[of_labels]
                is_new = np.arange(rows.candidates) >= rows.candidates - rows.new
                of_new = value.mean() if model.new_bias is None else model.new_bias
                value = jnp.where(is_new, of_new, own)
            if name == labels and vectors is not None:
                value = value.at[news].set(vectors)
            made[name] = value
        head = model.head and _head(model.head, rows, model.spec.candidates)
    structure = serving.structure_of(model.config, spec)
    count = len(rows.before)
    return dataclasses.replace(
        model, spec=spec, structure=structure, params=made, head=head, rows=count
    )


def _head(head: TransitionsHead, rows: _Rows, candidates: int) -> TransitionsHead:
    """The followers that are candidates still; new items have none."""
    place = rows.after[1 : candidates + 1].astype(np.int32) - 1
    followers = place[np.asarray(head.followers)[rows.before]]
    there = followers < rows.candidates
    return dataclasses.replace(
        head,
        followers=jnp.where(there, followers, 0),
        levels=jnp.where(there, np.asarray(head.levels)[rows.before], 0),
        candidates=rows.candidates,
    )


def _lists(before: np.ndarray, after: np.ndarray, rows: _Rows) -> dict[str, float]:
    """What became of the best ten of logits [n, C], before and after, and where it comes from.

    Shares of yesterday's lists: `kept`, in today's as well; `gone`, no candidates any more. The
    rest made room for others. `new`: the share of new items in today's.
    """
    length = min(_LISTED, before.shape[1], after.shape[1])
    old, now = (
        np.stack([metrics.top(row, length) for row in logits]) for logits in (before, after)
    )
    places = rows.after[old + 1] - 1  # today's candidates; what is gone lies behind them
    kept = (places[:, :, None] == now[:, None, :]).any(axis=2)
    return {
        "contexts": len(before),
        "length": length,
        "kept": round(float(kept.mean()), 4),
        "gone": round(float((places >= rows.candidates).mean()), 4),
        "new": round(float((now >= rows.candidates - rows.new).mean()), 4),
    }


def _moved(
    contexts: dict[str, np.ndarray], model: ServingModel, rows: _Rows
) -> dict[str, np.ndarray]:
    """Contexts [n, length] with the items' new rows."""
    of_items = {i.name for i in exclusion.item_inputs(model.spec)}
    return {n: rows.after[v] if n in of_items else v for n, v in contexts.items()}


# ---- items.jsonl ------------------------------------------------------------------------------


def _items(
    before: list[dict[str, Any]], items: pl.DataFrame, found: np.ndarray, rows: _Rows
) -> list[dict[str, Any]]:
    """Rows of items.jsonl in the order of the vocabulary."""
    is_text = any(isinstance(row["id"], str) for row in before)
    today = plain_rows(items)
    by_row = {int(row): place for place, row in enumerate(found)}
    news = [today[place] for place in np.flatnonzero(found == len(before) + 1)]
    described = []
    for row in rows.of_candidates[: rows.candidates - rows.new]:
        own = before[row - 1]
        described.append({**own, **today[by_row[int(row)]], "id": own["id"], "count": own["count"]})
    for new in news:
        own = text(new["id"]) if is_text else new["id"]
        described.append({**dict.fromkeys(before[0]), **new, "id": own, "count": 0})
    for row in rows.before[rows.candidates + 1 : -1]:
        described.append({**before[row - 1], "candidate": False})
    return described
