"""Contexts for measuring: drawn inside the tables, read from files, dealt without repetition."""

import dataclasses
import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flaxrec.errors import ExportError
from flaxrec.measuring import fresh_contexts
from flaxrec.tflite.inspection import Input, ModelFile

IDS = Input("ids", "int32", (5,), 40)
GENRES = Input("genres", "int32", (8,), 7)
RATINGS = Input("ratings", "float32", (5,), None)


def model(*inputs: Input, name: str = "model") -> ModelFile:
    return ModelFile(Path(f"{name}.tflite"), 1, inputs, ("ADD",), 10, False)


def renamed(spec: Input, name: str) -> Input:
    return dataclasses.replace(spec, name=name)


def saved(folder: Path, **arrays) -> Path:
    np.savez(folder / "contexts.npz", **arrays)
    return folder / "contexts.npz"


def ids(rows: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(1, 40, (rows, 5), dtype=np.int32)


def message_of(function, *arguments) -> str:
    with pytest.raises(ExportError) as error:
        function(*arguments)
    assert "\n" not in str(error.value)
    assert str(error.value).endswith(".")
    return str(error.value)


# ---- drawn ----------------------------------------------------------------------------------


def test_drawn_contexts_are_inside_the_tables_and_padded_at_the_end():
    ((drawn_ids, ratings, genres),) = fresh_contexts.draw([model(IDS, RATINGS, GENRES)], 3000, 0)
    assert (drawn_ids.dtype, ratings.dtype, genres.dtype) == (np.int32, np.float32, np.int32)
    assert (drawn_ids.shape[1:], genres.shape[1:]) == ((5,), (8,))
    assert len(drawn_ids) == len(ratings) == len(genres) > 2900
    for array, spec in ((drawn_ids, IDS), (genres, GENRES)):
        present = (array > 0).sum(axis=1)
        np.testing.assert_array_equal(array > 0, np.arange(spec.shape[0]) < present[:, None])
        assert set(present) == set(range(1, spec.shape[0] + 1))  # every length occurs
        assert set(np.unique(array)) == set(range(spec.rows))
    np.testing.assert_array_equal(ratings > 0, drawn_ids > 0)  # of one length: they end together


def test_equal_inputs_get_equal_contexts_whatever_they_are_called():
    both = model(renamed(IDS, "picks"), renamed(IDS, "views"))
    (one,), (first, second) = fresh_contexts.draw([model(IDS), both], 500, 3)
    np.testing.assert_array_equal(one, first)
    assert not np.array_equal(first, second)


def test_the_seed_decides():
    ((a,),), ((b,),), ((c,),) = (fresh_contexts.draw([model(IDS)], 500, s) for s in (1, 1, 2))
    np.testing.assert_array_equal(a, b)
    assert not np.array_equal(a[:400], c[:400])


def test_no_model_meets_a_context_at_two_rows():
    small = Input("small", "int32", (2,), 4)  # 3 + 9 contexts
    drawn = fresh_contexts.draw([model(small), model(small, GENRES)], 400, 0)
    assert len({len(array) for arrays in drawn for array in arrays}) == 1
    assert len(np.unique(drawn[0][0], axis=0)) == len(drawn[0][0]) == 12


def test_inputs_of_one_value_and_of_two_axes():
    scalar, row = Input("age", "int32", (), 50), Input("row", "int32", (1, 5), 40)
    ((ages, rows),) = fresh_contexts.draw([model(scalar, row)], 300, 0)
    assert (ages.shape, rows.shape[1:]) == ((len(rows),), (1, 5))
    assert (ages.min(), ages.max()) >= (1, 40)


def test_a_table_of_unknown_size():
    unknown = dataclasses.replace(IDS, rows=None)
    message = message_of(fresh_contexts.draw, [model(unknown, name="x")], 10, 0)
    assert "x.tflite" in message
    assert "ids" in message
    assert "--contexts" in message


def test_too_few_contexts():
    tiny = Input("tiny", "int32", (1,), 4)
    message = message_of(fresh_contexts.draw, [model(tiny)], 100, 0)
    assert message.startswith("There are 3 different contexts for 1 models, of at least 4 needed")


# ---- saved ----------------------------------------------------------------------------------


def test_saved_contexts_by_name_without_the_label(tmp_path):
    genres = ids(30)[:, [0, 1, 2, 3, 4, 0, 0, 0]] % 7
    file = saved(tmp_path, genres=genres, ids=ids(30), label=np.arange(30), other=np.zeros(30))
    ((first, second),) = fresh_contexts.read(file, [model(GENRES, IDS)])
    np.testing.assert_array_equal(first, genres)
    np.testing.assert_array_equal(second, ids(30))


def test_an_input_of_another_name_takes_the_only_array_like_it(tmp_path):
    file = saved(tmp_path, context_item_id=ids(30), ratings=np.ones((30, 5)), age=np.ones((30, 1)))
    (first,), (again, ratings) = fresh_contexts.read(file, [model(IDS), model(IDS, RATINGS)])
    np.testing.assert_array_equal(first, ids(30))
    np.testing.assert_array_equal(again, ids(30))
    assert ratings.dtype == np.float32


def test_of_two_arrays_alike_none_is_taken(tmp_path):
    file = saved(tmp_path, a=ids(30), b=ids(30, seed=1))
    message = message_of(fresh_contexts.read, file, [model(IDS, name="x")])
    assert message == (
        f"{file} has no array for the input ids of x.tflite (int32 [n, 5]); save one, or leave "
        "--contexts out."
    )


def test_an_array_is_not_taken_for_two_inputs(tmp_path):
    file = saved(tmp_path, ids=ids(30))
    message = message_of(fresh_contexts.read, file, [model(renamed(IDS, "late"), IDS)])
    assert "the input late" in message


def test_equal_contexts_are_left_out(tmp_path):
    file = saved(tmp_path, ids=np.concatenate([ids(20), ids(10), ids(25)]))
    ((found,),) = fresh_contexts.read(file, [model(IDS)])
    np.testing.assert_array_equal(found, ids(20).tolist() + ids(25)[20:].tolist())


@pytest.mark.parametrize(
    "arrays",
    [
        {"ids": ids(30)[:, :4]},  # another length
        {"ids": ids(30).astype(np.float32)},  # numbers for ids
        {"genres": ids(30)},  # nothing left for the second input
        {},
    ],
)
def test_contexts_that_lack_an_input(tmp_path, arrays):
    message = message_of(fresh_contexts.read, saved(tmp_path, **arrays), [model(IDS, GENRES)])
    assert "has no array for the input" in message


@pytest.mark.parametrize("wrong", [-1, 40, 5000])
def test_ids_beyond_the_table(tmp_path, wrong):
    array = ids(30)
    array[7, 2] = wrong
    message = message_of(fresh_contexts.read, saved(tmp_path, ids=array), [model(IDS, name="x")])
    assert f"has the id {wrong} for the input ids" in message
    assert "x.tflite has the rows 0 to 39" in message


def test_arrays_of_different_numbers_of_rows(tmp_path):
    file = saved(tmp_path, ids=ids(30), genres=np.ones((29, 8), np.int32))
    message = message_of(fresh_contexts.read, file, [model(IDS)])
    assert "ids 30, genres 29" in message


def test_too_few_saved_contexts(tmp_path):
    file = saved(tmp_path, ids=ids(7))
    assert "7 different contexts for 2" in message_of(
        fresh_contexts.read, file, [model(IDS), model(IDS)]
    )
    empty = saved(tmp_path, ids=ids(0))
    assert "0 different contexts" in message_of(fresh_contexts.read, empty, [model(IDS)])


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\3\4" + b"\0" * 100])
def test_a_file_that_holds_no_arrays(tmp_path, content):
    path = tmp_path / "contexts.npz"
    path.write_bytes(content)
    message = message_of(fresh_contexts.read, path, [model(IDS)])
    assert message.startswith(f"{path} is no .npz of contexts")


def test_one_array_alone_or_objects_are_no_contexts(tmp_path):
    np.save(tmp_path / "one.npy", ids(30))
    message_of(fresh_contexts.read, tmp_path / "one.npy", [model(IDS)])
    file = saved(tmp_path, ids=np.array([[None]]))
    message_of(fresh_contexts.read, file, [model(IDS)])


def test_a_missing_file_of_contexts(tmp_path):
    message = message_of(fresh_contexts.read, tmp_path / "no.npz", [model(IDS)])
    assert message == f"There is no file of contexts {tmp_path}/no.npz."


# ---- dealt ----------------------------------------------------------------------------------


@given(st.integers(1, 40), st.integers(0, 2**32))
def test_a_number_comes_back_after_half_of_the_others(count, seed):
    dealt = list(
        itertools.islice(fresh_contexts.deal(count, np.random.default_rng(seed)), 6 * count)
    )
    for begin in range(0, len(dealt), count):
        assert sorted(dealt[begin : begin + count]) == list(range(count))
    window = count // 2 + 1
    for begin in range(len(dealt) - window + 1):
        assert len(set(dealt[begin : begin + window])) == window


def test_passes_differ():
    dealt = list(itertools.islice(fresh_contexts.deal(50, np.random.default_rng(0)), 500))
    passes = {tuple(dealt[begin : begin + 50]) for begin in range(0, 500, 50)}
    assert len(passes) == 10
