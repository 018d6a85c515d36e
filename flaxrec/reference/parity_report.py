"""Compares every stage of flaxrec in reference mode with numbers that the reference computed.

A folder holds goldens (NAME.npz and NAME.json for each configuration, NAME.tfrecord with its raw
examples, `vocab/`), `metrics_cases` and `datagen/`, each optional. Everything in it is compared,
array by array. A stage is judged by its worst array: |a - b| <= atol + rtol * max|b|. Counts of
differences have tolerance 0.
"""

import functools
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from flaxrec.data.records import tfrecord
from flaxrec.errors import DataError
from flaxrec.files.schemas import Reader
from flaxrec.reference import examples as reference_examples
from flaxrec.reference import goldens, logged_metrics, stages
from flaxrec.reference.distances import (
    FORWARD,
    Measured,
    Missing,
    Row,
    by_name,
    close,
    measured_row,
    note,
)

# Of a variant: vocabularies as lists, or the examples of 'train' and 'test'.
_Expected = dict[str, list[Any]]


def run(folder: Path) -> Iterator[Row]:
    """Compares everything in a folder.

    Yields:
      A row for each stage, failed ones included.

    Raises:
      DataError: the folder is missing or holds nothing to compare.
    """
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder; name one with goldens.")
    cases = any((folder / f"{goldens.METRICS_CASES}.{s}").exists() for s in ("npz", "json"))
    datagen = (folder / "datagen").is_dir()
    try:
        names = goldens.names(folder)
    except DataError:
        if not cases and not datagen:
            raise
        names = []
    with jax.default_device(jax.devices("cpu")[0]), jax.default_matmul_precision("float32"):
        for name in names:
            yield from stages.configuration(folder, name)
        if cases:
            yield from _metrics_cases(folder)
        if datagen:
            yield from run_datagen(folder / "datagen")


# ---- metrics and example generation ---------------------------------------------------------


def _metrics_cases(folder: Path) -> Iterator[Row]:
    name = goldens.METRICS_CASES
    try:
        arrays, notes = goldens.load_files(folder, name)
        expected = list(notes["batches"])
    except (DataError, KeyError, TypeError) as error:
        yield Row(name, "load", remark=str(error))
        return
    batches = range(len(expected))
    for i in batches:
        values = functools.partial(_metric_values, arrays, [i], expected[i], "metrics")
        yield measured_row(name, f"batch{i}/metrics", values)
        for loss in ("global_softmax", "batch_softmax"):
            measure = functools.partial(_loss_value, arrays, i, expected[i], loss)
            yield measured_row(name, f"batch{i}/{loss}", measure)
    values = functools.partial(_metric_values, arrays, batches, notes, "accumulated")
    yield measured_row(name, "accumulated", values)


Arrays = Mapping[str, np.ndarray]


def _metric_values(
    arrays: Arrays, batches: Sequence[int], notes: Mapping[str, Any], key: str
) -> Measured:
    expected = note(notes, key)
    ks = [int(k.rpartition("_")[2]) for k in expected if k.startswith("Global_Recall/")]
    ours = logged_metrics.running([_batch(arrays, i) for i in batches], ks)
    return close(by_name(ours, expected), FORWARD)


def _loss_value(arrays: Arrays, i: int, notes: Mapping[str, Any], name: str) -> Measured:
    ours = logged_metrics.mean_loss(name, *_batch(arrays, i))
    return close({"": (ours, note(notes, name))}, FORWARD)


def _batch(arrays: Arrays, i: int) -> tuple[np.ndarray, np.ndarray]:
    for key in (f"logits{i}", f"labels{i}"):
        if key not in arrays:
            raise Missing(key)
    return arrays[f"logits{i}"], arrays[f"labels{i}"][:, 0]


_VARIANT = re.compile(r"minrating_(?P<rating>[^_]+)_shuffle_(?P<shuffle>\w+)_seed_(?P<seed>\w+)")


def run_datagen(folder: Path) -> Iterator[Row]:
    """Yields rows for a folder of example generation: expected.json and the ratings behind it."""
    name = "datagen"
    file = folder / "expected.json"
    try:
        expected = Reader(DataError, "copy it again").object(file, dict[str, _Expected])
    except DataError as error:
        yield Row(name, "load", remark=str(error))
        return
    if not expected:
        yield Row(name, "load", remark=f"{file} is empty; copy it again.")

    for key, wanted in expected.items():
        if key.startswith("vocabs_minrating_"):
            yield measured_row(name, key, functools.partial(_vocabularies, folder, key, wanted))
        elif _VARIANT.fullmatch(key):
            yield measured_row(name, key, functools.partial(_generated, folder, key, wanted))
        else:
            yield Row(name, key, remark="not understood")


def _vocabularies(folder: Path, key: str, wanted: dict[str, list]) -> Measured:
    rating = _number(key.removeprefix("vocabs_minrating_"))
    ours = reference_examples.vocabularies(folder, min_rating=rating)
    different = sum(_list_differences(ours[which], wanted[which]) for which in ours)
    return Measured(float(different), 0.0)


def _generated(folder: Path, key: str, wanted: dict[str, list]) -> Measured:
    match = _VARIANT.fullmatch(key)
    assert match is not None
    first = wanted["train"][0]
    made = reference_examples.generate(
        folder,
        max_context_length=len(first["context_movie_id"]),
        max_genres=len(first["context_movie_genre"]),
        min_rating=_number(match["rating"]),
    )
    seed = _number(match["seed"])
    fraction = len(wanted["train"]) / (len(wanted["train"]) + len(wanted["test"]))
    train, test = reference_examples.split(made, fraction, None if seed is None else int(seed))
    different = _list_differences(train, [goldens.as_record(e) for e in wanted["train"]])
    different += _list_differences(test, [goldens.as_record(e) for e in wanted["test"]])
    records = folder / f"{key}_train.tfrecord"
    if records.exists():
        different += _list_differences(train, list(tfrecord.read(records)))
    return Measured(float(different), 0.0)


def _list_differences(ours: list, theirs: list) -> int:
    return sum(a != b for a, b in zip(ours, theirs, strict=False)) + abs(len(ours) - len(theirs))


def _number(text: str) -> float | None:
    return None if text == "None" else float(text)
