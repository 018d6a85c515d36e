"""Examples of others as arrays: the reference's own arrays, and each of its rules by hand."""

import json

import numpy as np
import pytest

from flaxrec.data.records import example_arrays, tfrecord
from flaxrec.data.records.example_arrays import RecordFeature
from flaxrec.errors import ConfigError, DataError
from tests.support.places import GOLDEN

CONFIGS = ["bow_id_dim16", "cnn_sample_config", "global_group", "lstm_id", "string_features"]

IDS = RecordFeature("ids", "INT", 2, 10)
YEARS = RecordFeature("years", "INT", 2, 4, ("0", "1999", "1995"))
STARS = RecordFeature("stars", "FLOAT", 2, 0)
WORDS = RecordFeature("words", "STRING", 2, 4, ("UNK", "War", "Noir étrange"))
LABEL = RecordFeature("label", "INT", 1, 10)
FULL = {
    "ids": [3, 9],
    "years": [1995, 0],
    "stars": [0.5, 4.0],
    "words": ["Noir étrange".encode(), b"UNK"],
    "label": [7],
    "further": [1, 2, 3],
}


def parse(*records, label=LABEL, features=(IDS, YEARS, STARS, WORDS)):
    return example_arrays.parse(records, features, label)


def error_of(record, feature, **arguments):
    """The message for `record` as the second of two, or for the vocabulary."""
    with pytest.raises(DataError) as error:
        parse(FULL, {**FULL, **record}, features=[feature], **arguments)
    return str(error.value)


# ---- the reference's rules ------------------------------------------------------------------


@pytest.mark.skipif(not GOLDEN.is_dir(), reason=f"{GOLDEN} is not there")
@pytest.mark.parametrize("name", CONFIGS)
def test_the_references_own_arrays(name):
    config = json.loads((GOLDEN / f"{name}.json").read_text(encoding="utf-8"))["input_config"]

    def feature(of_config):
        file = of_config.get("vocab_name")
        return RecordFeature(
            of_config["feature_name"],
            of_config["feature_type"],
            of_config["feature_length"],
            of_config.get("vocab_size", 0),
            example_arrays.read_vocabulary(GOLDEN / "vocab" / file) if file else None,
        )

    groups = config["global_feature_groups"] + config["activity_feature_groups"]
    features = [feature(f) for group in groups for f in group["features"]]
    found, labels = example_arrays.parse(
        tfrecord.read(GOLDEN / f"{name}.tfrecord"), features, feature(config["label_feature"])
    )
    with np.load(GOLDEN / f"{name}.npz") as golden:
        expected = {k.removeprefix("in/"): golden[k] for k in golden.files if k.startswith("in/")}
        np.testing.assert_array_equal(labels, golden["labels"][:, 0])
    del expected["label_movie_id"]
    assert found.keys() == expected.keys()
    assert len(labels) == 16
    for key, values in expected.items():
        np.testing.assert_array_equal(found[key], values)
        assert found[key].dtype == values.dtype


def test_rows_and_numbers():
    """Another key is ignored; the label has no place among the features."""
    found, labels = parse(FULL, FULL)
    assert {name: values.tolist() for name, values in found.items()} == {
        "ids": [[3, 9]] * 2,
        "years": [[2, 0]] * 2,
        "stars": [[0.5, 4.0]] * 2,
        "words": [[2, 0]] * 2,
    }
    assert labels.tolist() == [7, 7]
    dtypes = {name: values.dtype.name for name, values in found.items()}
    assert dtypes == {"ids": "int32", "years": "int32", "stars": "float32", "words": "int32"}
    assert labels.dtype == np.int32


def test_a_missing_key_is_padding():
    found, labels = parse({"label": [1]}, FULL)
    assert {name: values[0].tolist() for name, values in found.items()} == {
        "ids": [0, 0],
        "years": [0, 0],
        "stars": [0.0, 0.0],
        "words": [0, 0],
    }
    assert labels.tolist() == [1, 7]


def test_a_missing_key_is_looked_up_too():
    """'UNK' where the vocabulary has it, be it 'unknown'; 0 likewise."""
    words = RecordFeature("words", "STRING", 1, 3, ("War", "UNK"))
    years = RecordFeature("years", "INT", 1, 2, ("1999",))
    found, _ = parse({"label": [1]}, features=[words, years])
    assert found["words"].tolist() == [[1]]
    assert found["years"].tolist() == [[1]]


def test_values_out_of_the_vocabulary_are_the_row_after_its_lines():
    found, _ = parse({**FULL, "words": [b"Sci-Fi", b"War"], "years": [1999, -7]})
    assert found["words"].tolist() == [[3, 1]]
    assert found["years"].tolist() == [[1, 3]]


def test_the_label_may_have_a_vocabulary():
    label = RecordFeature("label", "INT", 1, 4, ("0", "50", "7"))
    assert parse(FULL, {**FULL, "label": [5]}, label=label)[1].tolist() == [2, 3]


def test_many_records_are_parsed_in_pieces(monkeypatch):
    monkeypatch.setattr(example_arrays, "_CHUNK", 3)
    records = [{**FULL, "ids": [n, 0], "label": [n]} for n in range(10)]
    found, labels = parse(*records)
    assert found["ids"][:, 0].tolist() == labels.tolist() == list(range(10))
    records[7]["ids"] = [10, 0]
    with pytest.raises(DataError, match="record 8"):
        parse(*records)


def test_no_records():
    found, labels = parse()
    assert {name: values.shape for name, values in found.items()} == {
        "ids": (0, 2), "years": (0, 2), "stars": (0, 2), "words": (0, 2)
    }  # fmt: skip
    assert labels.shape == (0,)


# ---- what cannot be used --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "remedy"),
    [([3, 10], "set its vocab_size above 10"), ([-1, 0], "correct the records")],
)
def test_rows_beyond_the_table(values, remedy):
    bad = next(v for v in values if not 0 <= v < 10)
    assert error_of({"ids": values}, IDS) == (
        f"the records, record 2: 'ids' is {bad}, but has rows 0 to 9; {remedy}."
    )
    assert "'ids' is 9223372036854775807, but" in error_of({"ids": [2**63 - 1, 0]}, IDS)


def test_an_unknown_value_needs_a_row():
    """The reference dies in training."""
    feature = RecordFeature("words", "STRING", 2, 3, WORDS.vocabulary)
    assert error_of({"words": [b"War", b"Sci-Fi"]}, feature) == (
        "the records, record 2: 'words' is 'Sci-Fi', which is not in its vocabulary and has row 3, "
        "but there are rows 0 to 2; set its vocab_size to 4, the vocabulary's lines + 1."
    )
    feature = RecordFeature("years", "INT", 2, 3, ("0", "1995", "1999", "2001"))
    assert error_of({"years": [2001, 0]}, feature) == (
        "the records, record 2: 'years' is 2001, which is in row 3, but there are rows 0 to 2; "
        "set its vocab_size to 5, the vocabulary's lines + 1."
    )


@pytest.mark.parametrize("values", [[3], [3, 4, 5], []])
@pytest.mark.parametrize("feature", [IDS, STARS, WORDS])
def test_a_key_that_is_there_has_the_length(feature, values):
    assert error_of({feature.name: values}, feature) == (
        f"the records, record 2: {feature.name!r} has {len(values)} values, not 2; set its length "
        f"to {len(values)}."
    )


@pytest.mark.parametrize(
    ("feature", "values", "found"),
    [
        (IDS, [1.0, 2.0], "is FLOAT, not INT"),
        (STARS, [1, 2], "is INT, not FLOAT"),
        (WORDS, [1, 2], "is INT, not STRING"),
        (YEARS, [b"1999", b"0"], "is STRING, not INT"),
    ],
)
def test_a_key_has_the_type(feature, values, found):
    message = error_of({feature.name: values}, feature)
    assert message == f"the records, record 2: {feature.name!r} {found}; correct its type."


def test_every_example_needs_a_label():
    records = [FULL, {name: values for name, values in FULL.items() if name != "label"}]
    with pytest.raises(DataError) as error:
        example_arrays.parse(records, [IDS], LABEL, "train.tfrecord")
    assert str(error.value) == (
        "train.tfrecord, record 2: 'label' is missing; every example needs a label."
    )
    assert "'label' has 2 values, not 1" in error_of({"label": [1, 2]}, IDS)


def test_strings_need_a_vocabulary():
    feature = RecordFeature("words", "STRING", 2, 3)
    with pytest.raises(ConfigError, match="'words' is STRING, but has no vocabulary; name its"):
        parse(FULL, features=[feature])


@pytest.mark.parametrize(
    ("feature", "message"),
    [
        (
            RecordFeature("years", "INT", 2, 9, ("0", "1999", "0")),
            "The vocabulary of 'years' has '0' in line 3 and in line 1; remove one of them.",
        ),
        (
            RecordFeature("years", "INT", 2, 9, ("0", "7", "07")),
            "The vocabulary of 'years' has '07' in line 3 and in line 2; remove one of them.",
        ),
        (
            RecordFeature("words", "STRING", 2, 9, ("UNK", "UNK")),
            "The vocabulary of 'words' has 'UNK' in line 2 and in line 1; remove one of them.",
        ),
        (
            RecordFeature("years", "INT", 2, 9, ("0", "UNK")),
            "The vocabulary of 'years' has 'UNK' in line 2, which is not a whole number; correct "
            "it, or use type STRING.",
        ),
    ],
)
def test_vocabularies_that_the_reference_refuses(feature, message):
    assert error_of({}, feature) == message


# ---- files ----------------------------------------------------------------------------------


def test_files_of_a_pattern(tmp_path, monkeypatch):
    for name in ("b-2", "b-1", "c"):
        (tmp_path / name).touch()
    (tmp_path / "b-folder").mkdir()
    names = [path.name for path in example_arrays.files(f"{tmp_path}/b-*")]
    assert names == ["b-1", "b-2"]
    monkeypatch.setenv("HOME", str(tmp_path))
    assert example_arrays.files("~/c") == [tmp_path / "c"]
    with pytest.raises(DataError) as error:
        example_arrays.files(tmp_path / "d*")
    assert str(error.value) == (f"No file matches '{tmp_path}/d*'; give the path of record files.")


def test_lines_of_a_vocabulary_file(tmp_path):
    """Whole lines, spaces included; Windows' ends of lines are no part of them."""
    path = tmp_path / "words.txt"
    path.write_bytes("UNK\r\n Noir\x85 étrange \nlast".encode())
    assert example_arrays.read_vocabulary(path) == ("UNK", " Noir\x85 étrange ", "last")
    path.write_text("UNK\nWar\n")
    assert example_arrays.read_vocabulary(path) == ("UNK", "War")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "is empty;"),
        (b"UNK\n\nWar\n", "is empty in line 2;"),
        (b"\xff\n", "is not UTF-8"),
        (None, "cannot be read"),
    ],
)
def test_a_vocabulary_file_that_cannot_be_used(tmp_path, content, problem):
    path = tmp_path / "words.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=f"The vocabulary {path} {problem}"):
        example_arrays.read_vocabulary(path)
