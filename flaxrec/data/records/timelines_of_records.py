"""The reference's TFRecords as a data source: files -> examples -> timelines with stored contexts.

An example holds its whole context. It becomes a user with a single event, the label; nothing is
known from before the context.
Shapes: N examples of all files, those for training first.
"""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from flaxrec import config as config_lib
from flaxrec.config import Config, FeatureConfig
from flaxrec.config.quirks import Quirks
from flaxrec.data import vocabulary as vocabulary_lib
from flaxrec.data.columns import Column, check_not_float, distinct_features
from flaxrec.data.records import example_arrays, tfrecord
from flaxrec.data.records.example_arrays import RecordFeature
from flaxrec.data.sources.movielens import year_of
from flaxrec.data.spec import InputSpec
from flaxrec.data.splits import Split
from flaxrec.data.timelines import Timelines
from flaxrec.data.vocabulary import ITEM, Vocabulary
from flaxrec.errors import ConfigError, DataError, reason
from flaxrec.files import opened, own_path

_MOVIES = "movie_vocab.json"
# Of JSON that is nested too deeply, and of numbers beyond Int64.
_LIMITS = (RecursionError, OverflowError, pl.exceptions.ComputeError)


def load(config: Config) -> tuple[Timelines, Split, int]:
    """Reads the config's records.

    Returns:
      The timelines, the split, and the rows of the label's table in reference mode.

    Raises:
      ConfigError: a feature lacks a vocabulary or its size.
      DataError: a file cannot be used, or there are too few examples.
    """
    quirks = config.quirks
    label, item_vocabulary = _label(config, quirks)
    vocabularies = {ITEM: item_vocabulary}
    features = [_feature(f, config, quirks, vocabularies) for f in distinct_features(config)]
    wanted, inputs = [f for f, _ in features], [spec for _, spec in features]
    candidates = range(label.vocab_size)
    if not quirks.every_row_is_candidate:
        candidates = range(1, len(item_vocabulary.entries))
    patterns = (config.data.path, config.data.records.test)
    parts = [_read(pattern, wanted, label, candidates) for pattern in patterns]
    item = np.concatenate([labels for _, labels in parts])
    columns = {
        spec.name: Column(np.concatenate([arrays[spec.name] for arrays, _ in parts]))
        for spec in inputs
    }
    n = len(item)
    items = _items(config, item_vocabulary, item, inputs, columns)
    built = Timelines(
        offsets=np.arange(n + 1, dtype=np.int32),
        user=np.arange(n, dtype=np.int32),
        item=item,
        time=np.zeros(n, np.int32),
        columns=columns,
        inputs=tuple(_complete(spec, items, inputs, columns) for spec in inputs),
        vocabularies=vocabularies,
        items=items,
        event_values={},
        users=pl.DataFrame({"user": np.arange(1, n + 1)}),
        report={"source": "records"},
        contexts_are_stored=True,
    )
    return built, _split(config, len(parts[0][1]), n), label.vocab_size


# ---- keys to read ---------------------------------------------------------------------------


def _label(config: Config, quirks: Quirks) -> tuple[RecordFeature, Vocabulary]:
    records = config.data.records
    lines = _lines(records.label_vocabulary, config)
    if lines is None and not records.label_vocab_size:
        raise ConfigError(
            "config.data.records.label_vocab_size is 0, but the labels have no vocabulary; set it "
            "to the number of ids, 0 included (3953 for MovieLens-1M)."
        )
    rows = records.label_vocab_size
    if lines is not None and not (rows and quirks.vocab_size_is_rows):
        rows = len(lines) + (not quirks.vocab_size_is_rows)
    vocabulary = _vocabulary(lines, records.label_vocab_size, "INT")
    return RecordFeature(records.label, "INT", 1, rows, lines), vocabulary


def _feature(
    feature: FeatureConfig, config: Config, quirks: Quirks, vocabularies: dict[str, Vocabulary]
) -> tuple[RecordFeature, InputSpec]:
    """The key to read and the input. Adds its vocabulary to `vocabularies`."""
    check_not_float(feature)
    length = config_lib.feature_length(feature, config.model)
    spec = InputSpec(feature.name, feature.source, feature.type, length)
    if feature.type == "FLOAT":
        return RecordFeature(feature.name, "FLOAT", length, 0), spec
    records = config.data.records
    is_id = feature.source == "item.id"
    size, file = feature.vocab_size, feature.vocabulary
    if is_id and not size and not file:  # those of the label
        size, file = records.label_vocab_size, records.label_vocabulary
    lines = _lines(file, config)
    if lines is None and not size:
        raise ConfigError(
            f"The feature {feature.name!r} has neither a vocab_size nor a vocabulary; records of "
            "rows need the number of rows."
        )
    vocabulary = _vocabulary(lines, size, feature.type)
    if is_id and vocabulary == vocabularies[ITEM]:
        name = ITEM
    elif feature.name == ITEM:
        raise ConfigError(
            f"The feature {ITEM!r} has the name of the items' vocabulary, but not the label's "
            "vocabulary; give it another name."
        )
    else:
        name = feature.name
        vocabularies[name] = vocabulary
    rows = vocabulary.rows - (quirks.identity_item_vocabulary and lines is None)
    if quirks.vocab_size_is_rows:
        rows = size or rows
    spec = dataclasses.replace(spec, rows=rows, vocabulary=name)
    # Records of rows never contain the 'unknown' row.
    readable = rows if lines is not None else size
    return RecordFeature(feature.name, feature.type, length, readable, lines), spec


def _lines(file: str, config: Config) -> tuple[str, ...] | None:
    """The lines of a vocabulary file; None if none is named."""
    if not file:
        return None
    if not config.data.records.vocabularies:
        raise ConfigError(
            f"config.data.records.vocabularies is empty, but there is a vocabulary {file!r}; name "
            "its folder."
        )
    return example_arrays.read_vocabulary(own_path(config.data.records.vocabularies) / file)


def _vocabulary(lines: tuple[str, ...] | None, size: int, kind: str) -> Vocabulary:
    if lines is None:
        return vocabulary_lib.identity(size - 1)
    # `lookup` expects '7' for '07'. `parse` refuses lines that are not numbers.
    whole = kind == "INT" and all(line.strip().lstrip("+-").isdecimal() for line in lines)
    return Vocabulary(tuple(str(int(line)) for line in lines) if whole else lines)


# ---- contents -------------------------------------------------------------------------------


def _read(
    pattern: str, features: list[RecordFeature], label: RecordFeature, candidates: range
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """All files of a pattern, as from `example_arrays.parse`."""
    parts = []
    for path in example_arrays.files(pattern):
        arrays, labels = example_arrays.parse(tfrecord.read(path), features, label, str(path))
        outside = np.flatnonzero((labels < candidates.start) | (labels >= candidates.stop))
        if len(outside):
            raise DataError(
                f"{path}, record {outside[0] + 1}: {label.name!r} is in row {labels[outside[0]]}, "
                "which is padding or 'unknown' and cannot be recommended; remove such examples, "
                "or set config.reference_mode."
            )
        parts.append((arrays, labels))
    joined = {f.name: np.concatenate([arrays[f.name] for arrays, _ in parts]) for f in features}
    return joined, np.concatenate([labels for _, labels in parts])


def _split(config: Config, n_train: int, n: int) -> Split:
    """The files' own split; validation labels are drawn from the training files."""
    positions = np.arange(n, dtype=np.int32)
    shuffled = np.random.default_rng(config.split.seed).permutation(positions[:n_train])
    n_validation = round(n_train * config.split.validation_fraction)
    for name, pattern, count in (
        ("training", config.data.path, n_train - n_validation),
        ("test", config.data.records.test, n - n_train),
    ):
        if not count:
            raise DataError(f"{pattern} leaves no {name} examples; give files with more of them.")
    validation, train = np.split(shuffled, [n_validation])
    return Split(np.sort(train), np.sort(validation), positions[n_train:], "records")


def _items(
    config: Config,
    vocabulary: Vocabulary,
    label_rows: np.ndarray,
    inputs: list[InputSpec],
    columns: dict[str, Column],
) -> pl.DataFrame:
    """One row per item of movie_vocab.json or of the records."""
    n = len(vocabulary.entries)
    counts = np.bincount(label_rows, minlength=n)[:n]
    occurs = counts > 0
    for spec in inputs:
        if spec.source == "item.id" and spec.vocabulary == ITEM:
            occurs |= np.bincount(columns[spec.name].values.ravel(), minlength=n)[:n] > 0
    rows = np.flatnonzero(occurs[1:]) + 1  # not the padding
    found = pl.DataFrame(
        {
            "row": rows.astype(np.int32),
            "item": np.array([int(vocabulary.entries[row]) for row in rows], np.int64),
            "count": counts[rows].astype(np.int64),
        }
    )
    folder = config.data.records.vocabularies
    movies = _movies(own_path(folder) / _MOVIES) if folder else None
    if movies is None:
        return found.sort("count", descending=True, maintain_order=True)
    movies = movies.with_columns(row=pl.Series(vocabulary.lookup(movies["item"])))
    movies = movies.filter(pl.col("row").is_between(1, n - 1))
    others = found.join(movies, on="item", how="anti", maintain_order="left")
    known = pl.concat([movies, others], how="diagonal").select(
        "row", "item", "count", pl.exclude("row", "item", "count")
    )
    return known.sort("count", descending=True, maintain_order=True)


def _movies(path: Path) -> pl.DataFrame | None:
    """The table of movie_vocab.json: item, title, genres, year, count; None without the file."""
    if not path.is_file():
        return None
    schema: dict[str, Any] = {
        "item": pl.Int64,
        "title": pl.String,
        "genres": pl.List(pl.String),
        "year": pl.Int64,
        "count": pl.Int64,
    }
    try:
        with opened(path) as file:
            content = json.load(file)
        rows = [
            (int(item), title, genres.split("|") if genres else [], year_of(title), int(count))
            for item, title, genres, count in content
        ]
        table = pl.DataFrame(rows, schema=schema, orient="row")
    except (OSError, ValueError, TypeError, AttributeError, *_LIMITS) as error:
        raise DataError(
            f"{path} cannot be read as rows of [id, title, genres, count] ({reason(error)}); write "
            "it again, or remove it."
        ) from error
    return table.unique("item", maintain_order=True)


def _complete(
    spec: InputSpec, items: pl.DataFrame, inputs: list[InputSpec], columns: dict[str, Column]
) -> InputSpec:
    """The input with `multi_valued` and `default` filled in from the data."""
    table, _, name = spec.source.partition(".")
    several = spec.length > 1 if table == "user" else isinstance(items.schema.get(name), pl.List)
    if table != "event":
        spec = dataclasses.replace(spec, multi_valued=several)
    if spec.type == "FLOAT":
        values = columns[spec.name].values
        ids = [i for i in inputs if i.source == "item.id" and i.length == spec.length]
        known = columns[ids[0].name].values != 0 if ids and table == "event" else values == values
        default = float(values[known].mean(dtype=np.float64)) if known.any() else 0.0
        spec = dataclasses.replace(spec, default=default)
    return spec
