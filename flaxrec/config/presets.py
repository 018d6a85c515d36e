"""Building blocks of the shipped configs in `configs/`."""

from collections.abc import Iterable

from flaxrec.config.tree import (
    Config,
    DataConfig,
    ExportConfig,
    FeatureConfig,
    GroupConfig,
    LossConfig,
    ModelConfig,
    OptimizerConfig,
    SyntheticConfig,
    TrainConfig,
)
from flaxrec.errors import ConfigError

INPUTS = ("id", "features", "id_genre", "combined")


def item_id(embedding_dim: int = 16) -> FeatureConfig:
    """Ids of the context's items."""
    return FeatureConfig("context_item_id", "item.id", "INT", embedding_dim)


def genres(embedding_dim: int = 8, length: int = 32) -> FeatureConfig:
    """Genres of the context's items, flattened."""
    return FeatureConfig("context_genres", "item.genres", "STRING", embedding_dim, length)


def year(embedding_dim: int = 8) -> FeatureConfig:
    """Year of each item of the context."""
    return FeatureConfig("context_year", "item.year", "INT", embedding_dim)


def rating() -> FeatureConfig:
    """The user's rating of each item of the context."""
    return FeatureConfig("context_rating", "event.rating", "FLOAT")


def gap_after() -> FeatureConfig:
    """The time from each activity to the next, and from the latest to the moment of asking."""
    return FeatureConfig("context_gap_after", "event.gap_after", "INT", 4)


def activity_groups(inputs: str, encoder: str) -> list[GroupConfig]:
    """Feature groups of the context.

    Args:
      inputs: 'id' (item ids alone), 'features' (genres, year and rating, no ids), 'id_genre',
        'combined' (all of them), 'id_time' or 'combined_time' (with the moment of asking).
      encoder: 'bow', 'cnn' or 'lstm', for every group.
    """
    aligned = {
        "id": [item_id()],
        "features": [year(), rating()],
        "id_genre": [item_id()],
        "id_time": [item_id(), gap_after()],
        "combined_time": [item_id(), year(), rating(), gap_after()],
        "combined": [item_id(), year(), rating()],
    }[inputs]
    groups = [GroupConfig(aligned, encoder)]
    if inputs not in ("id", "id_time"):
        groups.append(GroupConfig([genres()], encoder))
    return groups


def example_network(encoder: str, variant: str | None) -> Config:
    """MovieLens-1M with a network of the TensorFlow example, trained with Adam.

    Args:
      encoder: 'bow', 'cnn' or 'lstm'.
      variant: parts joined by commas: one of `INPUTS` (default 'id'); 'tied': one table for
        context and label; 'smoke': a run of seconds on a small generated data set.
    """
    inputs, switches = split_variant(variant, INPUTS, ("tied", "smoke"))
    tied = "tied" in switches
    config = Config(
        name="example_networks",
        data=DataConfig(source="movielens"),
        model=ModelConfig(
            activity_groups=activity_groups(inputs or "id", encoder),
            # A wider hidden layer makes up in part for the shared table.
            hidden_dims=(128,) if tied else (64,),
            tied_tables=tied,
        ),
        optimizer=OptimizerConfig(name="adam", learning_rate=5e-3, schedule="cosine"),
        train=TrainConfig(batch_size=256, epochs=10),
    )
    return make_smoke(config) if "smoke" in switches else config


def compact(
    encoder: str, inputs: str = "id", *, context_length: int | None = None, embedding_dim: int = 64
) -> Config:
    """MovieLens-1M with the recipe that ranks best in half a megabyte (docs/half_a_megabyte.md).

    One table for context and labels, every label of a context in one pass, dropout, AdamW with a
    large learning rate and a cosine schedule.

    Args:
      encoder: 'bow', 'causal_cnn', 'lstm' or 'attention'; genres always use 'bow'.
      inputs: one of `INPUTS` with ids, where 'combined' adds the time since the previous event;
        'id_time' or 'combined_time': with the moment of asking.
      context_length: L; by default 10 for 'bow', 20 for 'lstm', otherwise 50.
      embedding_dim: D, also the width inside the encoder.
    """
    context_length = context_length or {"bow": 10, "lstm": 20}.get(encoder, 50)
    aligned, *flattened = activity_groups(inputs, encoder)
    aligned.features[0].embedding_dim = aligned.width = embedding_dim
    ratings = FeatureConfig("context_rating", "event.rating", "INT", 4)
    if inputs == "combined":
        aligned.features[-1:] = [ratings, FeatureConfig("context_gap", "event.gap", "INT", 4)]
    if inputs == "combined_time":
        aligned.features[-2] = ratings
    aligned.lstm_units = 2 * embedding_dim
    aligned.blocks = 3 if encoder == "causal_cnn" else 2
    for group in flattened:
        group.encoder = "bow"
        group.features[0].length = 3 * context_length
    config = Config(
        name="compact",
        data=DataConfig(source="movielens"),
        model=ModelConfig(
            context_length=context_length,
            embedding_dim=embedding_dim,
            activity_groups=[aligned, *flattened],
            hidden_dims=(),
            tied_tables=True,
            dropout=0.3,
        ),
        optimizer=OptimizerConfig(
            name="adamw",
            learning_rate=1e-2,
            schedule="cosine",
            warmup_steps=200,
            weight_decay=0.01,
        ),
        # 3,200 labels per step.
        train=TrainConfig(
            batch_size=3200 // context_length,
            labels_per_context=context_length,
            epochs=12,
            patience=0,
        ),
    )
    config.loss.exclude_seen = True
    config.evaluation.batch_size = 512
    config.export.quantization = "int8"
    return config


def half_a_megabyte(size: str = "full") -> Config:
    """The models of docs/half_a_megabyte.md: an LSTM over all inputs, with the recipe `compact`.

    Args:
      size: 'full' (the last 20 films, 0.40 MB), 'short' (the last 10) or 'small' (the last 10,
        D = 40, 64 units, 4 bits: 0.14 MB).
    """
    length = 20 if size == "full" else 10
    config = compact(
        "lstm", "combined", context_length=length, embedding_dim=40 if size == "small" else 64
    )
    if size == "small":
        config.model.activity_groups[0].lstm_units = 64
        config.export.quantization = "int4"
    return config


def moment(size: str = "full", *teachers: str) -> Config:
    """The models of docs/moment.md: item ids and the moment of asking, in a quantised file.

    Args:
      size: LSTMs: 'full' (the last 20 films, at most 0.52 MB), 'short' (the last 10), 'small' (the
        last 10, at most 0.15 MB), 'teacher' (as 'full', with exact tables); 'attention' (the last
        50, at most 0.52 MB); or 'linear' (as 'full', a linear recurrence: a third of the time).
      *teachers: folders of finished runs of 'teacher', which teach this model.
    """
    small = size == "small"
    if size == "attention":
        config = compact("attention", "id_time")
        config.model.dropout, config.model.feature_dropout = 0.2, 0.1
        return _taught(config, teachers, dropout=0.1, epochs=7)
    config = compact(
        "lstm",
        "id_time",
        context_length=10 if size in ("short", "small") else 20,
        embedding_dim=44 if small else 96,
    )
    (group,) = config.model.activity_groups
    group.lstm_units = 72 if small else 192
    if size == "linear":
        group.encoder, group.width, group.conv_kernel_size = "linear_rnn", 128, 3
        config.model.hidden_dims = (448,)
    config.model.dropout = 0.05 if small else 0.2
    config.export.quantization = "int4"
    if size == "teacher":  # nobody asks it
        return config
    config.model.feature_dropout = 0.1
    config.train.quantization = "int4"
    return _taught(config, teachers, dropout=0.02 if small else 0.1, epochs=10)


def _taught(config: Config, teachers: tuple[str, ...], *, dropout: float, epochs: int) -> Config:
    if teachers:
        config.train.teachers, config.train.teacher_share = teachers, 0.7
        config.model.dropout, config.train.epochs = dropout, epochs
    return config


def new_items(cold_by: str = "first", *, features: bool = True) -> Config:
    """MovieLens-1M with films that training never met, known by their features (docs/data.md).

    Args:
      cold_by: which tenth of the films, see config.split.cold_by.
      features: False: by their ids alone, which says nothing of new ones; for comparison.
    """
    config = compact("bow", embedding_dim=32)
    config.train.epochs = 4
    config.split.protocol, config.split.cold_by = "cold_items", cold_by
    config.evaluation.batch_size = 1024
    if features:
        config.model.label_features = [
            FeatureConfig("label_genres", "item.genres", "STRING"),
            FeatureConfig("label_year", "item.year", "STRING"),
            FeatureConfig("label_words", "item.title", "STRING", words=True),
        ]
        config.model.id_dropout = 0.2
    return config


def sparse(encoder: str = "recency_bow", data: DataConfig | None = None) -> Config:
    """A recipe for short timelines and items with few events (docs/recipe.md).

    Args:
      encoder: 'recency_bow' or 'attention' (two blocks, two heads).
      data: by default MovieLens-1M.
    """
    items = FeatureConfig("context_item_id", embedding_dim=64)
    return Config(
        name="sparse",
        data=data or DataConfig(source="movielens"),
        model=ModelConfig(
            context_length=50,
            embedding_dim=64,
            activity_groups=[GroupConfig([items], encoder)],
            hidden_dims=(),
            projection=False,
            tied_tables=True,
            item_bias=True,
            item_table="ppmi",
            table_deviation=0.02,
            transitions=32,
            dropout=0.5,
        ),
        loss=LossConfig(name="sampled_softmax", negatives=2048, negatives_power=0.0),
        optimizer=OptimizerConfig(learning_rate=2e-3, schedule="linear", warmup_steps=100),
        # 1,600 labels per step.
        train=TrainConfig(batch_size=32, packed=True, epochs=14, patience=0),
        export=ExportConfig(top_k=60, quantization="float16"),
    )


def by_data(name: str, data: DataConfig) -> Config:
    """Settings that are chosen from the account of the data, see docs/recipe.md."""
    items = GroupConfig([FeatureConfig("context_item_id")])
    return Config(
        name=name, recipe="by_data", data=data, model=ModelConfig(activity_groups=[items])
    )


def split_variant(
    variant: str | None, choices: tuple[str, ...] = (), switches: tuple[str, ...] = ("smoke",)
) -> tuple[str, set[str]]:
    """Splits a variant: 'id,smoke' -> ('id', {'smoke'}).

    Args:
      variant: parts joined by commas, in any order.
      choices: parts that exclude each other.
      switches: parts that combine with any other.

    Raises:
      ConfigError: a part is unknown, or two choices are given.
    """
    accepted = (*choices, *switches)
    parts = [part for part in (variant or "").split(",") if part]
    for part in parts:
        if part not in accepted:
            raise ConfigError(f"The config has no variant {part!r}; use {', '.join(accepted)}.")
    return choose(parts, choices), {part for part in parts if part in switches}


def choose(parts: Iterable[str], choices: Iterable[str]) -> str:
    """The one choice among a variant's parts; '' if none; raises ConfigError if several."""
    parts = list(parts)
    chosen = [choice for choice in choices if choice in parts]
    if len(chosen) > 1:
        raise ConfigError(f"The variants {' and '.join(chosen)} exclude each other; use one.")
    return chosen[0] if chosen else ""


def make_smoke(config: Config) -> Config:
    """Switches to a small generated data set: trains in seconds, offline; metrics mean little."""
    config.data = DataConfig(source="synthetic", synthetic=SyntheticConfig(200, 120, 25))
    config.train.epochs, config.train.batch_size, config.train.log_every = 1, 64, 20
    config.evaluation.ks = (1, 5, 10)
    config.export.top_k, config.export.verification_contexts = 20, 50
    return config
