r"""A model of the TensorFlow example, as its `InputConfig` text proto describes it.

    python train_main.py --config=configs/from_reference.py[:FILE.pbtxt]

It trains in reference mode, on MovieLens-1M (`--config.data.path=DIR` reads an existing folder) or
on the example's own records:

    python train_main.py --config=configs/from_reference.py:FILE.pbtxt \
        --config.data.source=tfrecord --config.data.path='DIR/train*.tfrecord' \
        --config.data.records.test='DIR/test*.tfrecord' --config.data.records.vocabularies=DIR

Set the launcher's flags by overrides (docs/migration.md has the table) or by arguments of `load` in
a copy of this file. Without a file it uses the example's sample: CNNs over ids and ratings, and
over genres.

Variants: smoke (seconds, generated data).
"""

from flaxrec.config import Config
from flaxrec.config.presets import make_smoke, split_variant
from flaxrec.reference import input_config

SAMPLE = """
activity_feature_groups {
  features { feature_name: "context_movie_id" feature_type: INT feature_length: 10
             vocab_size: 3953 embedding_dim: 8 }
  features { feature_name: "context_movie_rating" feature_type: FLOAT feature_length: 10 }
  encoder_type: CNN
}
activity_feature_groups {
  features { feature_name: "context_movie_genre" feature_type: STRING feature_length: 32
             vocab_name: "movie_genre_vocab.txt" vocab_size: 19 embedding_dim: 4 }
  encoder_type: CNN
}
label_feature { feature_name: "label_movie_id" feature_type: INT feature_length: 1
                vocab_size: 3953 embedding_dim: 8 }
"""


def get_config(variant: str | None = None) -> Config:
    """The config; `variant` is the path of a text proto, or 'smoke'."""
    if variant and ("." in variant or "/" in variant):
        config, switches = input_config.load(variant), set[str]()
    else:
        _, switches = split_variant(variant)
        config = input_config.training_config(input_config.parse(SAMPLE))
    config.name = "from_reference"
    return make_smoke(config) if "smoke" in switches else config
