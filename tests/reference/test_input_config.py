"""The reference's configurations as ours."""

from flaxrec.reference import input_config


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
