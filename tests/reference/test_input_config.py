"""The reference's configurations as ours."""

import json

import pytest

from flaxrec import config as config_lib
from flaxrec.data import dataset
from flaxrec.errors import ConfigError
from flaxrec.reference import examples, goldens, input_config
from flaxrec.training.validation import validate
from tests.support.places import GOLDEN

ABSENT = pytest.mark.skip(reason=f"the reference's golden numbers are not at {GOLDEN}")
NAMES = goldens.names(GOLDEN) if GOLDEN.is_dir() else [pytest.param("absent", marks=ABSENT)]

MODEL = {"hidden_layer_dims": [16, 8], "eval_top_k": [1, 3], "num_predictions": 7}
MODEL |= {"conv_num_filter_ratios": [1, 3], "conv_kernel_size": 2, "lstm_num_units": 5}

# One of everything: a global group, defaults left out, a comment, enums by name and by number.
PROTO = """\
# A model of films and their stars.
global_feature_groups {
  features { feature_name: "age" feature_type: INT vocab_size: 8 embedding_dim: 3
             feature_length: 1 }
}
activity_feature_groups {
  features {
    feature_name: "context_movie_id"
    feature_type: 1
    vocab_size: 30
    embedding_dim: 4
    feature_length: 5
  }
  features { feature_name: "context_movie_rating" feature_type: FLOAT feature_length: 5 }
  encoder_type: CNN
}
activity_feature_groups {
  features { feature_name: "context_movie_genre" vocab_name: "genres.txt" vocab_size: 9
             embedding_dim: 2 feature_length: 12 }
  encoder_type: LSTM
}
label_feature { feature_name: "label_movie_id" feature_type: INT vocab_size: 31
                embedding_dim: 6 feature_length: 1 }
"""
INPUTS = {
    "global_feature_groups": [
        {
            "encoder_type": "BOW",
            "features": [
                {
                    "feature_name": "age",
                    "feature_type": "INT",
                    "vocab_size": 8,
                    "embedding_dim": 3,
                    "feature_length": 1,
                }
            ],
        }
    ],
    "activity_feature_groups": [
        {
            "encoder_type": "CNN",
            "features": [
                {
                    "feature_name": "context_movie_id",
                    "feature_type": "INT",
                    "vocab_size": 30,
                    "embedding_dim": 4,
                    "feature_length": 5,
                },
                {
                    "feature_name": "context_movie_rating",
                    "feature_type": "FLOAT",
                    "feature_length": 5,
                },
            ],
        },
        {
            "encoder_type": "LSTM",
            "features": [
                {
                    "feature_name": "context_movie_genre",
                    "feature_type": "STRING",
                    "vocab_name": "genres.txt",
                    "vocab_size": 9,
                    "embedding_dim": 2,
                    "feature_length": 12,
                }
            ],
        },
    ],
    "label_feature": {
        "feature_name": "label_movie_id",
        "feature_type": "INT",
        "vocab_size": 31,
        "embedding_dim": 6,
        "feature_length": 1,
    },
}


def feature(name, **fields):
    """An INT feature of five values, 30 rows and width 4, but for `fields`."""
    known = {"feature_name": name, "feature_type": "INT", "feature_length": 5}
    return known | {"vocab_size": 30, "embedding_dim": 4} | fields


def number(name, length=5):
    return {"feature_name": name, "feature_type": "FLOAT", "feature_length": length}


def inputs_of(*activity_groups, global_groups=(), label=None):
    """An input config of groups of features."""
    return {
        "global_feature_groups": [{"features": list(group)} for group in global_groups],
        "activity_feature_groups": [{"features": list(group)} for group in activity_groups],
        "label_feature": feature("label", feature_length=1) if label is None else label,
    }


# ---- text protos ----------------------------------------------------------------------------


def test_a_text_proto_as_a_dict():
    assert input_config.parse(PROTO) == INPUTS


@pytest.mark.parametrize("name", NAMES)
def test_the_references_text_protos(name):
    notes = json.loads((GOLDEN / f"{name}.json").read_text())
    assert input_config.parse(notes["input_config_pbtxt"]) == notes["input_config"]


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        (
            "    feature_type: 1\n",
            "    feature_kind: 1\n",
            "films.pbtxt, line 9: Feature has no field 'feature_kind'; use feature_name, "
            "feature_type, vocab_name, vocab_size, embedding_dim, feature_length.",
        ),
        (
            "  encoder_type: CNN\n",
            "  encoder: CNN\n",
            "films.pbtxt, line 15: FeatureGroup has no field 'encoder'; use features, "
            "encoder_type.",
        ),
        (
            "label_feature {",
            "user_feature_groups {}\nlabel_feature {",
            "films.pbtxt, line 22: InputConfig has no field 'user_feature_groups'; use "
            "global_feature_groups, activity_feature_groups, label_feature.",
        ),
        (
            "encoder_type: LSTM",
            "encoder_type: GRU",
            "films.pbtxt, line 20: EncoderType has no value GRU; use BOW, CNN, LSTM.",
        ),
        (
            "    feature_type: 1\n",
            "    feature_type: 3\n",
            "films.pbtxt, line 9: FeatureType has no value 3; use STRING, INT, FLOAT.",
        ),
    ],
)
def test_a_text_that_is_no_input_config(before, after, message):
    assert PROTO.count(before) == 1
    with pytest.raises(ConfigError) as error:
        input_config.parse(PROTO.replace(before, after), "films.pbtxt")
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("value", "line", "words"),  # protobuf's own words
    [
        ("30.5", 10, "Couldn't parse integer: 30.5"),
        ("30\n    vocab_size: 31", 11, 'multiple "vocab_size" fields'),
    ],
)
def test_a_text_that_is_no_text_proto(value, line, words):
    with pytest.raises(ConfigError) as error:
        input_config.parse(PROTO.replace("vocab_size: 30\n", f"vocab_size: {value}\n"), "f.pbtxt")
    message = str(error.value)
    assert message.startswith(f"f.pbtxt, line {line}: ")
    assert words in message
    assert "\n" not in message


def test_a_file(tmp_path):
    path = tmp_path / "films.pbtxt"
    path.write_text(PROTO)
    assert input_config.read(path) == INPUTS
    path.write_text(PROTO.replace("embedding_dim: 4", "width: 4"))
    with pytest.raises(ConfigError, match=rf"^{path}, line 11: Feature has no field 'width'; use"):
        input_config.read(path)


def test_a_file_that_cannot_be_read(tmp_path):
    with pytest.raises(ConfigError, match=r"no\.pbtxt cannot be read \(No such file .*\); name a"):
        input_config.read(tmp_path / "no.pbtxt")
    (tmp_path / "bytes.pbtxt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="cannot be read \\(it is not UTF-8 text\\)"):
        input_config.read(tmp_path / "bytes.pbtxt")


# ---- models that the reference cannot build ---------------------------------------------------


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (inputs_of(), "there is no feature group; add one activity_feature_groups."),
        (inputs_of([]), "activity_feature_groups[0] has no features; give it at least one."),
        (
            inputs_of([feature("film")], label={}),
            "label_feature has no feature_name; name the label's feature.",
        ),
        (
            inputs_of([feature("film")], label=feature("label", feature_type="STRING")),
            "label_feature 'label' is STRING; labels are feature_type INT.",
        ),
        (
            inputs_of([feature("film")], label={"feature_name": "label"}),  # STRING by default
            "label_feature 'label' is STRING; labels are feature_type INT.",
        ),
        (
            inputs_of([feature("film")], label=feature("label", embedding_dim=0)),
            "label_feature: the feature 'label' is INT and needs embedding_dim above 0.",
        ),
        (
            inputs_of([feature("film", vocab_size=0)]),
            "activity_feature_groups[0]: the feature 'film' is INT and needs vocab_size above 0.",
        ),
        (
            inputs_of(global_groups=[[{"feature_name": "tag", "feature_length": 5}]]),
            "global_feature_groups[0]: the feature 'tag' is STRING and needs vocab_size above 0.",
        ),
        (
            inputs_of([feature("film"), feature("", vocab_size=3)]),
            "activity_feature_groups[0] has a feature without a feature_name; name it.",
        ),
        (
            inputs_of([feature("film"), feature("film")]),
            "activity_feature_groups[0] has the feature 'film' twice; leave one out.",
        ),
        (
            inputs_of([feature("film", feature_length=0)]),
            "activity_feature_groups[0]: the feature 'film' needs a feature_length above 0; give "
            "its number of values.",
        ),
        (
            inputs_of([feature("tag")], [feature("film"), number("stars", 4)]),
            "activity_feature_groups[1] mixes features of different feature_length (film 5, stars "
            "4); give them one length or put them into groups of their own.",
        ),
        (  # The second group makes the input shorter than the first group's other feature.
            inputs_of([feature("film"), number("stars")], [feature("film", feature_length=3)]),
            "activity_feature_groups[0] mixes features of different feature_length (film 3, stars "
            "5); give them one length or put them into groups of their own.",
        ),
        (
            inputs_of([feature("film")], [number("film")]),
            "activity_feature_groups[1] has the feature 'film' as FLOAT, an earlier group as INT; "
            "one input cannot be both, give one of them another name.",
        ),
        (
            inputs_of([feature("film")], [feature("film", vocab_size=31)]),
            "activity_feature_groups[1] has the feature 'film' with vocab_size 31, an earlier "
            "group with 30; use the larger in both.",
        ),
    ],
)
def test_models_that_cannot_be_built(inputs, message):
    with pytest.raises(ConfigError) as error:
        input_config.check(inputs, "films.pbtxt")
    assert str(error.value) == f"films.pbtxt: {message}"
    with pytest.raises(ConfigError) as error:
        input_config.to_config(inputs, MODEL)
    assert str(error.value) == f"the input config: {message}"


def test_a_text_proto_is_checked():
    with pytest.raises(ConfigError, match=r"^films\.pbtxt: there is no feature group"):
        input_config.parse("", "films.pbtxt")
    with pytest.raises(ConfigError, match=r"^films\.pbtxt: label_feature has no feature_name"):
        input_config.parse(PROTO[: PROTO.index("label_feature")], "films.pbtxt")


# ---- ours -----------------------------------------------------------------------------------


def test_config_and_spec_of_a_reference_model():
    feature = {"feature_name": "movie", "feature_type": "INT", "feature_length": 5}
    feature |= {"vocab_size": 30, "embedding_dim": 4}
    unset = {"feature_name": "tag", "feature_length": 5, "vocab_size": 9, "embedding_dim": 2}
    number = {"feature_name": "stars", "feature_type": "FLOAT", "feature_length": 5}
    age = feature | {"feature_name": "age", "feature_length": 1, "vocab_size": 8}
    label = feature | {"feature_name": "label", "embedding_dim": 6, "vocab_size": 31}
    inputs = {
        "global_feature_groups": [{"features": [age]}],
        "activity_feature_groups": [{"features": [feature, unset, number], "encoder_type": "CNN"}],
        "label_feature": label,
    }
    model = {"hidden_layer_dims": [16, 8], "eval_top_k": [1, 3], "num_predictions": 7}
    model |= {"conv_num_filter_ratios": [1, 3], "conv_kernel_size": 2, "lstm_num_units": 5}
    config, spec = input_config.to_config(inputs, model), input_config.to_spec(inputs)

    assert config.reference_mode
    assert config.model.embedding_dim == 6
    assert config.model.hidden_dims == (16, 8)
    (by_user,), (by_item,) = config.model.global_groups, config.model.activity_groups
    assert by_user.encoder == "bow"  # the encoder's default
    assert by_item.encoder == "cnn"
    assert (by_item.conv_filter_ratios, by_item.conv_kernel_size, by_item.lstm_units) == (
        (1, 3),
        2,
        5,
    )
    assert [f.type for f in by_item.features] == ["INT", "STRING", "FLOAT"]  # STRING is the default
    assert [(i.name, i.length, i.rows, i.dtype) for i in spec.inputs] == [
        ("age", 1, 8, "int32"),
        ("movie", 5, 30, "int32"),
        ("tag", 5, 9, "int32"),
        ("stars", 5, 0, "float32"),
    ]
    assert (spec.candidates, spec.first_candidate) == (31, 0)
    assert config.export.top_k == 7
    assert config.evaluation.ks == (1, 3)


def test_a_name_in_two_groups_is_one_input():
    earlier = feature("film", feature_type="STRING", feature_length=9, embedding_dim=2)
    config = input_config.to_config(
        inputs_of([feature("film"), number("stars")], global_groups=[[earlier], [feature("age")]]),
        MODEL,
    )
    spec = input_config.to_spec(
        inputs_of([feature("film"), number("stars")], global_groups=[[earlier], [feature("age")]])
    )
    (first,), (age,), (film, stars) = (
        group.features for _, group in config_lib.groups(config.model)
    )
    # An item's feature, since an activity group has it; the last definition's type and length.
    assert (first.source, first.type, first.length) == ("item.film", "INT", 5)
    assert (film.source, film.type, film.length) == ("item.film", "INT", 5)
    assert (first.embedding_dim, film.embedding_dim) == (2, 4)  # a table each
    assert (age.source, stars.source) == ("user.age", "item.stars")
    assert [(i.name, i.source, i.type, i.length) for i in spec.inputs] == [
        ("film", "item.film", "INT", 5),
        ("age", "user.age", "INT", 5),
        ("stars", "item.stars", "FLOAT", 5),
    ]


def test_the_last_of_two_vocabulary_names_counts():
    groups = ([feature("film", vocab_name="a.txt")], [feature("film", vocab_name="b.txt")])
    config = input_config.to_config(inputs_of(*groups), MODEL)
    vocabularies = {f.vocabulary for _, g in config_lib.groups(config.model) for f in g.features}
    assert vocabularies == {"b.txt"}


def test_the_optimizer():
    adagrad = {"lr": 0.2, "initial_accumulator_value": 0.3, "epsilon": 1e-5, "clipnorm": 0.02}
    config = input_config.to_config(INPUTS, MODEL, adagrad).optimizer
    assert (config.name, config.learning_rate) == ("adagrad", 0.2)
    assert (config.initial_accumulator, config.epsilon) == (0.3, 1e-5)
    assert (config.clip, config.clip_norm) == ("per_parameter", 0.02)
    config = input_config.to_config(INPUTS, MODEL, {"lr": 0.2}).optimizer
    # The reference's own figures.
    assert (config.initial_accumulator, config.epsilon, config.clip_norm) == (0.1, 1e-7, 1.0)
    config = input_config.to_config(INPUTS, MODEL, {"lr": 0.2, "clipnorm": -1.0}).optimizer
    assert config.clip_norm == 0.0  # off


@pytest.fixture
def films(tmp_path):
    path = tmp_path / "films.pbtxt"
    path.write_text(PROTO)
    return path


def test_load_gives_the_movielens_names_their_columns(films):
    config = input_config.load(films)
    assert config.reference_mode
    assert config.data.source == "movielens"
    assert config.split.protocol == "random"
    features = {f.name: f for _, group in config_lib.groups(config.model) for f in group.features}
    assert {name: f.source for name, f in features.items()} == {
        "age": "user.age",
        "context_movie_id": "item.id",
        "context_movie_rating": "event.rating",
        "context_movie_genre": "item.genres",
    }
    assert config.model.context_length == 5  # not 12: genres are flattened over the activities
    genres = features["context_movie_genre"]
    assert (genres.vocab_size, genres.vocabulary, genres.length) == (9, "genres.txt", 12)
    assert features["context_movie_rating"].vocab_size == 0
    label = config.data.records
    assert (label.label, label.label_vocab_size, label.label_vocabulary) == (
        "label_movie_id",
        31,
        "",
    )


def test_load_takes_the_launchers_settings(films):
    defaults = input_config.load(films)
    assert defaults.model.hidden_dims == (32, 32)
    assert defaults.optimizer.learning_rate == 0.1
    assert defaults.optimizer.clip_norm == 1.0
    assert defaults.export.top_k == 5
    assert {group.lstm_units for _, group in config_lib.groups(defaults.model)} == {4}
    config = input_config.load(
        films,
        hidden_layer_dims=[16],
        eval_top_k=[2],
        conv_num_filter_ratios=[3],
        conv_kernel_size=5,
        lstm_num_units=6,
        num_predictions=7,
        learning_rate=0.5,
        gradient_clip_norm=0.0,
        batch_size=8,
    )
    assert config.model.hidden_dims == (16,)
    assert config.evaluation.ks == (2,)
    for _, group in config_lib.groups(config.model):
        assert group.conv_filter_ratios == (3,)
        assert (group.conv_kernel_size, group.lstm_units) == (5, 6)
    assert config.export.top_k == 7
    assert (config.optimizer.learning_rate, config.optimizer.clip_norm) == (0.5, 0.0)
    assert config.train.batch_size == 8


def test_without_a_feature_of_one_value_an_activity_ten_activities_are_seen():
    genres = feature("context_movie_genre", feature_length=32)
    assert input_config.to_config(inputs_of([genres]), MODEL).model.context_length == 10


# ---- the data of a loaded config --------------------------------------------------------------

SAMPLE = """\
activity_feature_groups {
  features { feature_name: "context_movie_id" feature_type: INT vocab_size: 40 embedding_dim: 4
             feature_length: 3 }
  features { feature_name: "context_movie_rating" feature_type: FLOAT feature_length: 3 }
}
activity_feature_groups {
  features { feature_name: "context_movie_genre" vocab_name: "movie_genre_vocab.txt" vocab_size: 7
             embedding_dim: 2 feature_length: 5 }
}
label_feature { feature_name: "label_movie_id" feature_type: INT vocab_size: 40 embedding_dim: 6 }
"""


@pytest.mark.parametrize("source", ["movielens", "tfrecord"])
def test_a_loaded_config_finds_its_data(tmp_path, source):
    """Ratings or the reference's records of them: the inputs are those of the text proto."""
    ratings, records = tmp_path / "ml", tmp_path / "records"
    ratings.mkdir()
    genres = ["War", "Drama|War", "Comedy", "Drama|Sci-Fi"]
    movies = [f"{i}::Film {i} ({1950 + i})::{genres[i % 4]}\n" for i in range(1, 40)]
    events = [
        f"{u}::{1 + (7 * u + t) % 39}::{1 + t % 5}::{t}\n" for u in (1, 2, 3) for t in range(6)
    ]
    (ratings / "movies.dat").write_text("".join(movies))
    (ratings / "ratings.dat").write_text("".join(events))
    options = ["--max_context_length=3", "--max_genres=5"]
    assert examples.main([str(ratings), str(records), *options]) == 0

    (tmp_path / "sample.pbtxt").write_text(SAMPLE)
    config = input_config.load(tmp_path / "sample.pbtxt", eval_top_k=[1], num_predictions=3)
    config.data.source, config.data.path = source, str(ratings)
    if source == "tfrecord":
        config.data.path = str(records / "train*.tfrecord")
        config.data.records.test = str(records / "test*.tfrecord")
        config.data.records.vocabularies = str(records)
    spec = dataset.prepare(validate(config)).spec
    expected = input_config.to_spec(input_config.parse(SAMPLE))
    assert [(i.name, i.source, i.type, i.length, i.rows) for i in spec.inputs] == [
        (i.name, i.source, i.type, i.length, i.rows) for i in expected.inputs
    ]
    assert (spec.candidates, spec.first_candidate) == (expected.candidates, 0) == (40, 0)
