"""The configuration: one tree of dataclasses, built by `configs/*.py`, checked by `validation`.

Every field may be overridden on the command line, for example
`--config.model.activity_groups[0].encoder=lstm` or `--config.train.epochs=5`. A type annotated with
choices or a range takes these alone (`validation`).
"""

import dataclasses
import hashlib
import json
from collections.abc import Iterator
from dataclasses import field
from typing import Annotated

from flaxrec.config import paths
from flaxrec.config.quirks import Quirks
from flaxrec.errors import ConfigError

ABOVE_0, FROM_0, FROM_0_BELOW_1 = "above 0", "0 or above", "0 or above, below 1"
PositiveInt = Annotated[int, ABOVE_0]
PositiveFloat = Annotated[float, ABOVE_0]
NotNegativeInt = Annotated[int, FROM_0]
NotNegativeFloat = Annotated[float, FROM_0]
Share = Annotated[float, FROM_0_BELOW_1]
QUANTIZATIONS = ("none", "float16", "int8", "int8_tensor", "int4", "int4_tensor", "auto")


@dataclasses.dataclass
class SyntheticConfig:
    """Size of the embedded, seeded data set (`data.source='synthetic'`)."""

    users: PositiveInt = 2000  # number of users
    items: PositiveInt = 800  # number of items
    mean_events: PositiveInt = 60  # mean number of interactions of a user
    seed: NotNegativeInt = 0  # the data's own seed, apart from the training seed


@dataclasses.dataclass
class ColumnsConfig:
    """Names of the columns of one's own tables (`data.source='table'`); '' means: there is none."""

    user: str = "user"  # column of the user's id, any type
    item: str = "item"  # column of the item's id, any type
    time: str = "time"  # number, date or date-time; only the order is used
    rating: str = ""  # numeric rating, becomes the source `event.rating`
    title: str = ""  # readable name of the item
    event_features: tuple[str, ...] = ()  # further columns, become `event.NAME`
    item_features: tuple[str, ...] = ()  # columns of the item, become `item.NAME`
    user_features: tuple[str, ...] = ()  # columns of the user, become `user.NAME`
    multi_valued: tuple[str, ...] = ()  # the item features whose cells hold several values
    separator: str = "|"  # what stands between the values of such a cell


@dataclasses.dataclass
class RecordsConfig:
    """The TensorFlow example's TFRecords (`data.source='tfrecord'`, `data.path` for training)."""

    test: str = ""  # pattern of the files with the test examples
    vocabularies: str = ""  # folder of the vocabulary files; movie_vocab.json there gives titles
    label: str = "label_movie_id"  # key of the label
    # V, the label's ids are below it; 0: as many as its file has lines
    label_vocab_size: NotNegativeInt = 0
    label_vocabulary: str = ""  # the label's vocabulary file; '' means: the records hold rows


@dataclasses.dataclass
class DataConfig:
    """Where the interactions come from and which of them count."""

    # synthetic, movielens, table or tfrecord
    source: Annotated[str, ("synthetic", "movielens", "table", "tfrecord")] = "synthetic"
    # A folder (movielens; '' downloads it), a file (table: .csv, .tsv, .parquet) or a pattern
    # (tfrecord: the training files).
    path: str = ""
    # the MovieLens release to download when path is ''
    release: Annotated[
        str, ("ml-1m", "ml-100k", "ml-latest-small", "ml-20m", "ml-25m", "ml-32m")
    ] = "ml-1m"
    cache_dir: str = "~/.cache/flaxrec"  # where downloads are kept
    items_path: str = ""  # table: separate file with one row an item
    users_path: str = ""  # table: separate file with one row a user
    columns: ColumnsConfig = field(default_factory=ColumnsConfig)
    synthetic: SyntheticConfig = field(default_factory=SyntheticConfig)
    records: RecordsConfig = field(default_factory=RecordsConfig)
    min_rating: float = 0.0  # interactions rated lower are removed everywhere; 0 keeps all
    min_timeline_length: PositiveInt = 3  # users with fewer interactions are removed
    drop_duplicates: bool = False  # drop repeats of the same (user, item, time); kept by default


@dataclasses.dataclass
class SplitConfig:
    """Which events are labels of training, validation and test."""

    # leave_one_out, random (the reference's) or global_time
    protocol: Annotated[str, ("leave_one_out", "random", "global_time")] = "leave_one_out"
    # random, global_time: share of the labels (or of time-ordered events)
    validation_fraction: NotNegativeFloat = 0.1
    test_fraction: NotNegativeFloat = 0.1  # the same for the test
    # random: what of the training labels after a user's first test or validation label; keep (the
    # reference), drop, or match: drop as many of the user's, wherever they lie.
    later: Annotated[str, ("keep", "drop", "match")] = "keep"
    seed: NotNegativeInt = 0  # random: seed of the permutation


@dataclasses.dataclass
class FeatureConfig:
    """One input of the model."""

    name: str = ""  # name of the graph's input; the same name in two groups is the same input
    source: str = "item.id"  # item.id, item.NAME, event.NAME or user.NAME: a column of the data
    # INT or STRING (looked up in a vocabulary and embedded) or FLOAT (used as is)
    type: Annotated[str, ("INT", "STRING", "FLOAT")] = "INT"
    embedding_dim: int = 16  # width of the embedding; not used by FLOAT
    length: int = 0  # number of values kept; 0: context_length (user features: 1)
    # Keep this many most frequent values, others are 'unknown'; 0 keeps all. With tfrecord and
    # in reference mode: rows of the table; 0: as many as the vocabulary needs.
    vocab_size: int = 0
    vocabulary: str = ""  # tfrecord: file of the vocabulary; '' means: the records hold rows


@dataclasses.dataclass
class GroupConfig:
    """Features that are embedded, concatenated and encoded together."""

    # The group's inputs; all of one length.
    features: list[FeatureConfig] = field(default_factory=list)
    encoder: str = "bow"  # bow, cnn, lstm, causal_cnn or attention
    # cnn: filters of each layer, times model.embedding_dim
    conv_filter_ratios: tuple[int, ...] = (2, 4)
    # cnn, causal_cnn: activities under the kernel. cnn: also its stride; causal_cnn: also by how
    # much the dilation grows from block to block.
    conv_kernel_size: int = 4
    lstm_units: int = 16  # lstm: width of the state
    # attention, causal_cnn: width of the vectors inside; 0: that of the features
    width: NotNegativeInt = 0
    blocks: int = 2  # attention, causal_cnn: blocks, one after the other
    heads: int = 2  # attention: heads of a block; they divide the width
    feedforward_ratio: int = 4  # attention: width of a block's hidden layer, times its width


@dataclasses.dataclass
class ModelConfig:
    """The dual encoder."""

    # L, the number of activities before the label that the model sees
    context_length: PositiveInt = 10
    embedding_dim: PositiveInt = 16  # D, width of the context and label encodings
    # Groups of features that hold for the whole context, such as the user's: a context has one.
    global_groups: list[GroupConfig] = field(default_factory=list)
    # Groups of features that every activity has; their encodings and the global ones are joined.
    activity_groups: list[GroupConfig] = field(default_factory=list)
    # widths of the ReLU layers between encoders and projection
    hidden_dims: tuple[int, ...] = (32,)
    # One table for context and label: the candidates' encodings are rows of the table of item.id.
    tied_tables: bool = False
    normalized: bool = False  # encodings of length 1: scores are cosines (over the temperature)
    temperature: PositiveFloat = 1.0  # scores are divided by it
    dropout: Share = 0.0  # share of embedded values, and of layers' outputs, left out in training
    # float32, or bfloat16 on accelerators; parameters stay float32
    compute_dtype: Annotated[str, ("float32", "bfloat16")] = "float32"


@dataclasses.dataclass
class LossConfig:
    """What is minimised."""

    # global_softmax (all items), sampled_softmax (some drawn) or batch_softmax (the batch's labels)
    name: str = "global_softmax"
    # batch_softmax: subtract the log of the items' sampling probability
    logq_correction: bool = True
    label_smoothing: Share = 0.0  # global_softmax: share of the target given to all items alike
    # global_softmax: leave the items of its context out of a label's candidates, as recommending
    # does. Where users come back to items, their labels stay.
    exclude_seen: bool = False
    negatives: PositiveInt = 1000  # sampled_softmax: items drawn for a step
    # sampled_softmax: items are drawn by their training labels' count to this power; 0: alike.
    negatives_power: NotNegativeFloat = 0.5
    # global_softmax: scores are held for so many MiB of contexts at a time; 0: what suits the
    # device.
    max_megabytes: NotNegativeInt = 0


@dataclasses.dataclass
class OptimizerConfig:
    """The optax optimiser."""

    name: Annotated[str, ("adagrad", "adam", "adamw")] = "adam"  # adagrad, adam or adamw
    learning_rate: PositiveFloat = 1e-3  # the peak, if there is a schedule
    # constant, cosine or linear (both fall to 0 over the whole run)
    schedule: Annotated[str, ("constant", "cosine", "linear")] = "constant"
    warmup_steps: NotNegativeInt = 0  # steps of linear increase from 0
    clip_norm: NotNegativeFloat = 0.0  # clip the gradient to this norm; 0: no clipping
    # whose norm: global (all parameters together) or per_parameter (as Keras)
    clip: Annotated[str, ("global", "per_parameter")] = "global"
    weight_decay: NotNegativeFloat = 0.0  # adamw only; of matrices, not of biases and scales
    beta2: Share = 0.999  # adam, adamw: decay of the squared gradients' mean
    initial_accumulator: NotNegativeFloat = 0.1  # adagrad only, the reference's default
    epsilon: PositiveFloat = 1e-7  # adagrad 1e-7 as in the reference; adam and adamw use it as well


@dataclasses.dataclass
class TrainConfig:
    """The training loop."""

    batch_size: PositiveInt = 128  # contexts a step, over all devices together
    epochs: PositiveInt = 5  # passes over the training labels, at most
    log_every: PositiveInt = 500  # steps of one compiled scan: progress, train metrics, NaN check
    # steps between checkpoints inside an epoch; an epoch's end always has one
    checkpoint_every: PositiveInt = 2000
    # stop after so many epochs without a better select_metric; 0: never
    patience: NotNegativeInt = 3
    # the best checkpoint is the one with the best validation value
    select_metric: str = "filtered/ndcg@10"
    # number of devices to train on; 0: all that divide the batch evenly
    devices: NotNegativeInt = 0
    # Labels trained in one pass over a context: its own, and those of its prefixes. 1: its own
    # alone; the context length: each event is read about once an epoch.
    labels_per_context: PositiveInt = 1


@dataclasses.dataclass
class EvaluationConfig:
    """Full ranking of every item for every label."""

    ks: tuple[int, ...] = (1, 5, 10, 20, 50, 100)  # cut-offs of recall, NDCG and MRR
    batch_size: PositiveInt = 256  # labels ranked at a time
    keep_per_label: bool = True  # keep the test labels' ranks and lists (per_label/test.parquet)


@dataclasses.dataclass
class ExportConfig:
    """The on-device model made at the end of training."""

    enabled: bool = True  # export after training where TensorFlow is installed
    # K, number of recommendations that the graph returns; fewer if there are fewer items
    top_k: PositiveInt = 100
    verification_contexts: PositiveInt = 200  # test contexts on which the file must agree with JAX
    # Labels of validation and of test, each at most, that the run keeps with their contexts: the
    # recall of quantised files is measured on them.
    judged_labels: NotNegativeInt = 10_000
    exclude_context: bool = False  # never recommend the items of the context, inside the graph
    trust_ids: bool = False  # leave out the clamp of ids outside the tables
    # none (float32), float16, int8 (a scale a row), int8_tensor (one scale a tensor), int4,
    # int4_tensor, or auto: the smallest file within max_recall_loss.
    quantization: Annotated[str, QUANTIZATIONS] = "none"
    # auto: relative loss of recall@10 on validation, at most
    max_recall_loss: NotNegativeFloat = 0.01


@dataclasses.dataclass
class CodeConfig:
    """The config file, where it brings encoders or losses of its own; filled in by loading it."""

    file: str = ""  # its name
    sha256: str = ""  # of its text
    text: str = ""  # what it says; never executed from here


@dataclasses.dataclass
class Config:
    """One experiment."""

    name: str = "experiment"  # what the run and its export call themselves
    seed: NotNegativeInt = 0  # the one seed of initialisation, shuffling and sampling
    # take over the TensorFlow example's quirks (flaxrec/config/quirks.py)
    reference_mode: bool = False
    data: DataConfig = field(default_factory=DataConfig)
    split: SplitConfig = field(default_factory=SplitConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    export: ExportConfig = field(default_factory=ExportConfig)
    code: CodeConfig = field(default_factory=CodeConfig)

    @property
    def quirks(self) -> Quirks:
        """The TensorFlow example's quirks: all of them in reference mode, otherwise none."""
        names = (quirk.name for quirk in dataclasses.fields(Quirks))
        return Quirks(**dict.fromkeys(names, self.reference_mode))


def groups(model: ModelConfig) -> Iterator[tuple[str, GroupConfig]]:
    """(path, group) in the order of the model: all global groups, then all activity groups."""
    for kind in ("global_groups", "activity_groups"):
        for i, group in enumerate(getattr(model, kind)):
            yield f"model.{kind}[{i}]", group


def feature_length(feature: FeatureConfig, model: ModelConfig) -> int:
    """Number of values of the feature that the model sees."""
    default = 1 if feature.source.startswith("user.") else model.context_length
    return feature.length or default


# ---- files ----------------------------------------------------------------------------------


def to_json(config: Config) -> str:
    """The tree as indented JSON, fields in their order; without `code` where it is empty.

    So a config without code of its own has the text and checksum that version 0.1.0 gave it.
    """
    sections = dataclasses.asdict(config)
    if not config.code.sha256:
        del sections["code"]
    return json.dumps(sections, indent=2) + "\n"


def from_json(text: str) -> Config:
    """The inverse of `to_json`; raises ConfigError on an unknown field or a wrong type."""
    try:
        return paths.fit(Config, json.loads(text), "config")
    except json.JSONDecodeError as error:
        raise ConfigError(f"The saved config is not valid JSON ({error}).") from error


def sha256(config: Config) -> str:
    """Hash of the whole tree."""
    return hashlib.sha256(to_json(config).encode()).hexdigest()
