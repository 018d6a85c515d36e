"""The configuration: one tree of dataclasses, built by `configs/*.py`, checked by `validation`.

Any field can be overridden on the command line, for example
`--config.model.activity_groups[0].encoder=lstm` or `--config.train.epochs=5`. What a field accepts
stands in its annotation (`bounds`); a text or list without one has the bound of `bounds.of`.
"""

import dataclasses
import hashlib
import json
from collections.abc import Iterator
from dataclasses import field
from typing import Annotated, Any

from flaxrec.config import paths
from flaxrec.config.bounds import Entries, Range, Text
from flaxrec.config.quirks import Quirks
from flaxrec.errors import ConfigError, reason
from flaxrec.files.strict_json import fields_once

_MANY = 1_000_000_000
Count = Annotated[int, Range(1, _MANY)]  # of what the data or the run may have any number of
CountOr0 = Annotated[int, Range(0, _MANY)]
Seed = Annotated[int, Range(0, 2**63 - 1)]
Size = Annotated[int, Range(1, 10_000_000)]  # of batches, catalogues, lists of items
Width = Annotated[int, Range(1, 8192)]
Scale = Annotated[float, Range(0, 1e9)]  # a factor, rate or norm; 0 turns it off
ScaleAbove0 = Annotated[float, Range(0, 1e9, above=True)]
Share = Annotated[float, Range(0, 1, below=True)]
Name = Annotated[str, Text(200, printable=True)]
Names = tuple[Annotated[str, Text(1000)], ...]
QUANTIZATIONS = (
    *("none", "float16", "int8", "int8_tensor", "int4", "int4_tensor", "pq8", "pq16", "pq24"),
    "auto",
)
ITEM_FIELDS = ("full", "slim", "none")
CONVERTERS = ("jax2tf", "litert")


@dataclasses.dataclass
class SyntheticConfig:
    """Size of the generated data set (`data.source='synthetic'`)."""

    users: Size = 2000  # number of users
    items: Size = 800  # number of items
    mean_events: Annotated[int, Range(1, 1_000_000)] = 60  # mean number of interactions per user
    seed: Seed = 0  # seed of the data, separate from the training seed


@dataclasses.dataclass
class ColumnsConfig:
    """Column names of your own tables (`data.source='table'`); '' means: no such column."""

    # Positions from 0 instead of names: files without a header.
    user: str = "user"  # column of the user's id, any type
    item: str = "item"  # column of the item's id, any type
    time: str = "time"  # number, date or date-time; gives the order and `event.gap`; '': the file's
    rating: str = ""  # numeric rating, becomes `event.rating`
    # the event's type, for data.event_types; becomes `event.event_type`
    event_type: str = ""
    session: str = ""  # id of the session: each session of a user is a timeline of its own
    weight: str = ""  # the event's weight in the loss, 0 or above; becomes `event.weight`
    title: str = ""  # readable name of the item
    event_features: Names = ()  # further columns, become `event.NAME`
    item_features: Names = ()  # columns of the item, become `item.NAME`
    user_features: Names = ()  # columns of the user, become `user.NAME`
    multi_valued: Names = ()  # item features whose cells hold several values
    separator: str = "|"  # separates the values of such a cell


@dataclasses.dataclass
class RecordsConfig:
    """The TensorFlow example's TFRecords (`data.source='tfrecord'`; training: `data.path`)."""

    test: str = ""  # pattern of the test files
    vocabularies: str = ""  # folder of the vocabulary files; movie_vocab.json in it gives titles
    label: str = "label_movie_id"  # key of the label
    # V, above every label id; 0: the number of lines of label_vocabulary
    label_vocab_size: CountOr0 = 0
    label_vocabulary: str = ""  # the label's vocabulary file; '': the records hold rows


@dataclasses.dataclass
class DataConfig:
    """The source of the interactions, and filters."""

    # synthetic, movielens, table or tfrecord
    source: Annotated[str, ("synthetic", "movielens", "table", "tfrecord")] = "synthetic"
    # A folder (movielens; '' downloads it), a file or folder or several, separated as in PATH
    # (table: .csv, .tsv, .parquet, .jsonl, also .gz and .zst) or a pattern (tfrecord: training).
    path: Annotated[str, Text(1_000_000)] = ""
    # table: csv, tsv, parquet, jsonl, sequences (one line a user: user item item ...), movielens
    # (user::item::rating::time), recbole (name:type headers) or timelines (Parquet, sorted by user
    # and time, a user in one file); auto: by the file's extension
    format: Annotated[
        str,
        (
            *("auto", "csv", "tsv", "parquet", "jsonl", "sequences", "movielens", "recbole"),
            "timelines",
        ),
    ] = "auto"
    # table: rows that cannot be used stop reading (refuse), or are left out and listed (drop)
    bad_rows: Annotated[str, ("refuse", "drop")] = "refuse"
    # MovieLens release to download when path is ''
    release: Annotated[
        str,
        ("ml-1m", "ml-100k", "ml-latest-small", "ml-20m", "ml-25m", "ml-32m"),
    ] = "ml-1m"
    cache_dir: str = "~/.cache/flaxrec"  # folder for downloads and prepared data
    # table, Parquet: gigabytes of memory that preparing the data may take in all; the run prepares
    # them into cache_dir first (docs/scale.md). 0: no bound
    max_memory_gb: Annotated[float, Range(0, 1e6)] = 0.0
    items_path: str = ""  # table: separate file with one row per item
    users_path: str = ""  # table: separate file with one row per user
    columns: ColumnsConfig = field(default_factory=ColumnsConfig)
    # What times that are numbers count since 1970: s, ms, us or ns; none: they are no moments;
    # auto: the unit in which all lie between 1990 and 2100. Dates and date-times need no unit.
    time_unit: Annotated[str, ("auto", "s", "ms", "us", "ns", "none")] = "auto"
    time_zone: Name = "UTC"  # of ask.hour and ask.weekday, such as Europe/Berlin
    synthetic: SyntheticConfig = field(default_factory=SyntheticConfig)
    records: RecordsConfig = field(default_factory=RecordsConfig)
    # Keep interactions whose columns.event_type is one of these; (): all. The filters'
    # order is that of docs/data.md; where there are sessions, they count as users.
    event_types: Names = ()
    # drop interactions rated lower, in contexts too; 0 keeps all
    min_rating: Annotated[float, Range(-1e18, 1e18)] = 0.0
    # A user's pause above which a session begins, a timeline of its own; in the unit of times
    # (seconds for dates); 0: no sessions
    session_gap: Annotated[float, Range(0, 1e19)] = 0.0
    merge_repeats: bool = False  # of a user's interactions in a row with one item, keep the first
    # drop users and items with fewer interactions, repeated until all have as many; 0: off
    k_core: CountOr0 = 0
    # drop items with fewer interactions; with min_timeline_length repeated until both hold
    min_item_count: Count = 1
    min_timeline_length: Count = 3  # drop users with fewer interactions
    drop_duplicates: bool = False  # drop repeats of the same (user, item, time)
    max_timeline_length: CountOr0 = 0  # keep a user's latest interactions only; 0: all
    # Blocks of users, of about as many training labels each. Every batch has as many contexts of
    # each, so that the order of training does not depend on which machine holds which users; must
    # divide train.batch_size. 1: any user's contexts anywhere in a batch.
    buckets: Annotated[int, Range(1, 65_536)] = 1


@dataclasses.dataclass
class SplitConfig:
    """Which events are labels of training, validation and test."""

    # leave_one_out, random (the reference's), global_time or cold_items (some items are in no
    # training; leave_one_out of the others)
    protocol: Annotated[str, ("leave_one_out", "random", "global_time", "cold_items")] = (
        "leave_one_out"
    )
    # random, global_time: share of the labels (or of time-ordered events)
    validation_fraction: Annotated[float, Range(0, 1)] = 0.1
    test_fraction: Annotated[float, Range(0, 1)] = 0.1  # the same for the test
    # random: what of the training labels after a user's first test or validation label: keep (as
    # the reference), drop, or match: drop as many of the user's labels, wherever they lie.
    later: Annotated[str, ("keep", "drop", "match")] = "keep"
    # cold_items: which ones: first (those whose first event is the latest), or random
    cold_by: Annotated[str, ("first", "random")] = "first"
    # cold_items: their share of the items
    cold_fraction: Annotated[float, Range(0, 1, above=True, below=True)] = 0.1
    seed: Seed = 0  # random: seed of the permutation; cold_by=random: of the draw


@dataclasses.dataclass
class FeatureConfig:
    """One input of the model."""

    # name of the graph's input; groups share inputs of one name
    name: Name = ""
    # item.id, item.NAME, event.NAME or user.NAME: a column of the data. Of times: event.gap,
    # event.gap_after, event.seconds_ago, ask.since, ask.hour, ask.weekday (docs/moment.md).
    source: str = "item.id"
    # INT or STRING (looked up in a vocabulary and embedded) or FLOAT (used as is); of
    # model.label_features also VECTOR
    type: Annotated[str, ("INT", "STRING", "FLOAT", "VECTOR")] = "INT"
    embedding_dim: Annotated[int, Range(0, 8192)] = 16  # width of the embedding; unused by FLOAT
    # number of values kept; 0: context_length (user features: 1)
    length: Annotated[int, Range(0, 100_000)] = 0
    # Number of most frequent values kept, others are 'unknown'; 0: all. With tfrecord and in
    # reference mode: rows of the table; 0: as many as the vocabulary needs.
    vocab_size: CountOr0 = 0
    vocabulary: str = ""  # tfrecord: the vocabulary file; '': the records hold rows
    # VECTOR: vectors of items, such as embeddings of texts or pictures: a .npz with `ids` and
    # `vectors`, or Parquet with a column of ids and one of vectors
    file: str = ""
    # model.label_features: of a text, such as item.title, its words instead of the whole
    words: bool = False


@dataclasses.dataclass
class GroupConfig:
    """Features that are embedded, concatenated and encoded together."""

    # The group's inputs; all of one length.
    features: list[FeatureConfig] = field(default_factory=list)
    encoder: Name = "bow"  # bow, recency_bow, cnn, lstm, linear_rnn, causal_cnn or attention
    # cnn: filters per layer, as multiples of model.embedding_dim
    conv_filter_ratios: tuple[Annotated[int, Range(1, 64)], ...] = (2, 4)
    # cnn, causal_cnn, linear_rnn: kernel width in activities. cnn: also the stride; causal_cnn:
    # also the factor by which the dilation grows per block; linear_rnn: how many of the latest
    # stand beside the state.
    conv_kernel_size: Annotated[int, Range(1, 1000)] = 4
    lstm_units: Width = 16  # lstm: width of the state
    # attention, causal_cnn, recency_bow, linear_rnn: width inside; 0: that of the features
    width: Annotated[int, Range(0, 8192)] = 0
    blocks: Annotated[int, Range(1, 100)] = 2  # attention, causal_cnn: number of blocks
    heads: Annotated[int, Range(1, 1000)] = 2  # attention: heads per block; must divide the width
    # attention, recency_bow: width of a hidden layer, as a multiple of width
    feedforward_ratio: Annotated[int, Range(1, 64)] = 4
    # Scales and shifts the encodings of the groups that do not, instead of standing beside them:
    # for what is known of the whole context, such as ask.since
    modulates: bool = False


@dataclasses.dataclass
class ModelConfig:
    """The dual encoder."""

    # L, the number of activities before the label that the model sees
    context_length: Annotated[int, Range(1, 10_000)] = 10
    embedding_dim: Width = 16  # D, width of the context and label encodings
    # Groups of features of the whole context, such as the user's: one encoding per context.
    global_groups: Annotated[list[GroupConfig], Entries(100)] = field(default_factory=list)
    # Groups of features of each activity; their encodings and the global ones are concatenated.
    activity_groups: Annotated[list[GroupConfig], Entries(100)] = field(default_factory=list)
    # widths of the ReLU layers between encoders and projection
    hidden_dims: Annotated[tuple[Annotated[int, Range(1, 65_536)], ...], Entries(100)] = (32,)
    # False: no projection; the encodings, together as wide as embedding_dim, are the context's.
    projection: bool = True
    # One table for context and label: label encodings are rows of the table of item.id.
    tied_tables: bool = False
    # The label tower: features of items whose vectors are added to the item's own, in the labels
    # and, with tied_tables, in contexts. INT, STRING and FLOAT with the source item.NAME, or VECTOR
    # with `file`; embedding_dim counts, not the feature's.
    label_features: list[FeatureConfig] = field(default_factory=list)
    # Share of items whose own vector is left out, drawn anew in each training step (as DropoutNet
    # does), so that label_features learn to stand for an item that training never saw
    id_dropout: Share = 0.0
    item_bias: bool = False  # a learned number for each item, added to its logits
    # Standard deviation of the tables' first values; 0: 1 / sqrt(width)
    table_deviation: Scale = 0.0
    # The first values of the table of item ids: random, or ppmi: from the items that stand close
    # together in the timelines (singular vectors of their pointwise mutual information).
    item_table: Annotated[str, ("random", "ppmi")] = "random"
    normalized: bool = False  # encodings of length 1: logits are cosines over temperature
    temperature: ScaleAbove0 = 1.0  # logits are divided by it
    # The transitions head: adds to the logits what counts of the training labels say follows the
    # last ten items, by so many best followers of each item; 0: no head.
    transitions: Annotated[int, Range(0, 10_000)] = 0
    transitions_to_self: bool = False  # an item may follow itself
    transitions_weight: Scale = 0.0  # in the logits; 0: chosen on validation labels
    dropout: Share = 0.0  # share of embedded values and layer outputs dropped in training
    # Share of contexts for which training takes a feature (but the items' ids) as unknown, and of
    # activities whose event.gap_after it does
    feature_dropout: Share = 0.0
    # float32, or bfloat16 on accelerators; parameters stay float32
    compute_dtype: Annotated[str, ("float32", "bfloat16")] = "float32"


@dataclasses.dataclass
class LossConfig:
    """What training minimises."""

    # global_softmax (all items), sampled_softmax (a sample) or batch_softmax (the batch's labels)
    name: Name = "global_softmax"
    # batch_softmax: subtract the log of each item's sampling probability
    logq_correction: bool = True
    # global_softmax, sampled_softmax: share of the target spread over all items
    label_smoothing: Share = 0.0
    # global_softmax, sampled_softmax: exclude the items of a label's context from its candidates,
    # as recommending does; the label itself always stays.
    exclude_seen: bool = False
    negatives: Size = 1000  # sampled_softmax: items drawn per step
    # sampled_softmax: items are drawn by their training label count to this power; 0: uniformly.
    negatives_power: Annotated[float, Range(0, 100)] = 0.5
    # global_softmax: MiB of logits held at a time; 0: chosen by device
    max_megabytes: Annotated[int, Range(0, 1_000_000)] = 0


@dataclasses.dataclass
class OptimizerConfig:
    """The optax optimiser."""

    name: Annotated[str, ("adagrad", "adam", "adamw")] = "adam"  # adagrad, adam or adamw
    # the peak, with a schedule
    learning_rate: Annotated[float, Range(0, 1e38, above=True)] = 1e-3
    # constant, cosine or linear (the last two fall to 0 at the end of the run)
    schedule: Annotated[str, ("constant", "cosine", "linear")] = "constant"
    warmup_steps: CountOr0 = 0  # steps of linear increase from 0
    # clip the gradient to this norm; 0: no clipping
    clip_norm: Annotated[float, Range(0, 1e30)] = 0.0
    # norm of what: global (all parameters together) or per_parameter (as Keras)
    clip: Annotated[str, ("global", "per_parameter")] = "global"
    weight_decay: Scale = 0.0  # adamw only; for matrices, not for biases and scales
    beta2: Share = 0.999  # adam, adamw: decay of the mean squared gradient
    initial_accumulator: Scale = 0.1  # adagrad only, the reference's default
    epsilon: ScaleAbove0 = 1e-7  # adagrad's default in the reference; all optimisers use it


@dataclasses.dataclass
class TrainConfig:
    """The training loop."""

    # contexts per step, over all devices together
    batch_size: Size = 128
    # maximum number of passes over the training labels
    epochs: Annotated[int, Range(1, 1_000_000)] = 5
    log_every: Count = 500  # about how many steps between progress, train loss, NaN checks
    # steps between checkpoints within an epoch; its end always has one
    checkpoint_every: Count = 2000
    # stop after this many evaluated epochs without a better select_metric; 0: never
    patience: CountOr0 = 3
    # validation metric that picks the best checkpoint
    select_metric: Name = "filtered/ndcg@10"
    # number of devices; 0: the most that divide the batch evenly
    devices: Annotated[int, Range(0, 100_000)] = 0
    # Devices that share each large table and its optimiser's state, by rows (docs/scale.md);
    # 1: every device has all of them.
    model_shards: Annotated[int, Range(1, 100_000)] = 1
    # Labels trained in one pass over a context: its own and those of its prefixes. 1: only its own;
    # the context length: each event is read about once per epoch.
    labels_per_context: Annotated[int, Range(1, 10_000)] = 1
    # Users' first events are training labels too, with an empty context: what the model then
    # recommends without any activity is its list for a new user.
    first_events: bool = False
    # For short timelines: train context_length labels of several users in one pass, one user after
    # another; none sees another's activities. batch_size counts passes; labels_per_context is 1.
    packed: bool = False
    # Train with the item tables rounded as in a file of this recipe: none, int8 or int4
    quantization: Annotated[str, ("none", "int8", "int4")] = "none"
    # Folders of finished runs on the same data whose models teach this one, by the mean of their
    # scores; with global_softmax
    teachers: tuple[str, ...] = ()
    teacher_share: Share = 0.5  # of the target; the label has the rest
    # Folder of a run of the same model on older data whose parameters this one begins with, by the
    # entries of vocabularies; '': none (docs/fresh.md)
    warm_start: str = ""
    # Seconds from a signal to the end of the command: so short are the pieces that steps and
    # evaluation run in. What they compute does not depend on it.
    grace_seconds: Annotated[float, Range(1, 1e6)] = 30.0
    # Trackers of your own that get each row of metrics.jsonl, as MODULE:NAME (docs/research.md)
    loggers: tuple[str, ...] = ()


@dataclasses.dataclass
class EvaluationConfig:
    """Full ranking of every item for every label."""

    # cut-offs of recall, NDCG and MRR
    ks: tuple[Size, ...] = (1, 5, 10, 20, 50, 100)
    batch_size: Size = 256  # labels ranked at a time
    # MiB that the ranking takes beside parameters and data: candidates are scored a block at a time
    # (with transitions or several devices: fewer labels at a time); 0: all at once
    max_megabytes: Annotated[int, Range(0, 1_000_000)] = 0
    # rank at most this many labels each of validation and test, drawn by config.split.seed; 0: all
    max_labels: CountOr0 = 0
    every: Count = 1  # rank the validation labels after every n-th epoch, and after the last
    keep_per_label: bool = True  # keep the test labels' ranks and lists (per_label/test.parquet)
    baselines: bool = True  # rank the labels by counts too, beside the model (docs/baselines.md)


@dataclasses.dataclass
class ExportConfig:
    """The on-device model made at the end of training."""

    enabled: bool = True  # export after training where the converter is installed
    # K, number of recommendations that the graph returns; at most the number of items
    top_k: Size = 100
    # test contexts on which export and JAX must agree
    verification_contexts: Size = 200
    # The run keeps at most this many labels each of validation and test, with their contexts, to
    # measure the recall of quantised files.
    judged_labels: CountOr0 = 10_000
    exclude_context: bool = False  # the graph never recommends items of the context
    trust_ids: bool = False  # leave out the clamp of ids outside the tables
    # one input more, added to the scores before the ranking: it says which items may be shown
    candidate_mask: bool = False
    # what items.jsonl holds: full (all fields), slim (id and title); none: there is no such file
    item_fields: Annotated[str, ITEM_FIELDS] = "full"
    # jax2tf: by TensorFlow; litert: by litert-converter alone, without a SavedModel, experimental
    converter: Annotated[str, CONVERTERS] = "jax2tf"
    # none (float32), float16, int8 (a scale per row), int8_tensor (a scale per tensor), int4,
    # int4_tensor, pq8, pq16, pq24 (product codes of so many bytes a row), or auto: the smallest
    # file within max_recall_loss
    quantization: Annotated[str, QUANTIZATIONS] = "none"
    # auto: maximum relative loss of recall@10 on validation
    max_recall_loss: Annotated[float, Range(0, 1)] = 0.01


@dataclasses.dataclass
class CodeConfig:
    """The config file, if it defines encoders or losses; filled in on loading."""

    file: str = ""  # its name
    sha256: str = ""  # of its text
    text: Annotated[str, Text(10_000_000)] = ""  # its text; never executed from here


@dataclasses.dataclass
class Config:
    """One experiment."""

    name: Name = "experiment"  # name of the run and its export
    seed: Seed = 0  # seed of initialisation, shuffling and sampling
    # turn on the TensorFlow example's quirks (flaxrec/config/quirks.py)
    reference_mode: bool = False
    data: DataConfig = field(default_factory=DataConfig)
    split: SplitConfig = field(default_factory=SplitConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    export: ExportConfig = field(default_factory=ExportConfig)
    # as_set: all settings as they stand; by_data: those that nobody set by hand are chosen from the
    # account of the data (docs/recipe.md), and the run keeps what was chosen.
    recipe: Annotated[str, ("as_set", "by_data")] = "as_set"
    # by_data: fields that stay although they have their default; overrides are added
    set_by_hand: tuple[str, ...] = ()
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
    """Number of the feature's values that the model sees."""
    default = 1 if feature.source.startswith(("user.", "ask.")) else model.context_length
    return feature.length or default


# ---- files ----------------------------------------------------------------------------------

# Fields that version 0.1.0 did not have; a test says which are missing here.
_ADDED = (
    "data.format",
    "data.bad_rows",
    "data.columns.event_type",
    "data.columns.session",
    "data.columns.weight",
    "data.event_types",
    "data.session_gap",
    "data.merge_repeats",
    "data.min_item_count",
    "data.k_core",
    "data.max_timeline_length",
    "data.max_memory_gb",
    "data.buckets",
    "data.time_unit",
    "data.time_zone",
    "split.cold_by",
    "split.cold_fraction",
    "model.projection",
    "model.label_features",
    "model.id_dropout",
    "model.item_bias",
    "model.item_table",
    "model.table_deviation",
    "model.transitions",
    "model.transitions_to_self",
    "model.transitions_weight",
    "model.feature_dropout",
    "train.model_shards",
    "train.first_events",
    "train.packed",
    "train.quantization",
    "train.teachers",
    "train.teacher_share",
    "train.warm_start",
    "train.loggers",
    "train.grace_seconds",
    "evaluation.max_megabytes",
    "evaluation.max_labels",
    "evaluation.every",
    "evaluation.baselines",
    "export.candidate_mask",
    "export.item_fields",
    "export.converter",
    "recipe",
    "set_by_hand",
    "code",
)

_ADDED_TO_GROUPS = ("modulates",)
_ADDED_TO_FEATURES = ("file", "words")


def to_json(config: Config) -> str:
    """The tree as indented JSON, fields in their order.

    Fields of `_ADDED`, `_ADDED_TO_GROUPS` and `_ADDED_TO_FEATURES` that have their default are left
    out, so that a config without them keeps the text and checksum that it had in version 0.1.0.
    """
    sections, defaults = dataclasses.asdict(config), dataclasses.asdict(Config())
    model = sections["model"]
    all_groups = [*model["global_groups"], *model["activity_groups"]]
    features = [f for group in all_groups for f in group["features"]] + model["label_features"]
    _without_added(all_groups, _ADDED_TO_GROUPS, GroupConfig())
    _without_added(features, _ADDED_TO_FEATURES, FeatureConfig())
    for path in _ADDED:
        *names, name = path.split(".")
        here, default = sections, defaults
        for section in names:
            here, default = here[section], default[section]
        if here[name] == default[name]:
            del here[name]
    return json.dumps(sections, indent=2) + "\n"


def _without_added(several: list[dict[str, Any]], names: tuple[str, ...], default: Any) -> None:
    for one in several:
        for name in names:
            if one[name] == getattr(default, name):
                del one[name]


def from_json(text: str) -> Config:
    """The inverse of `to_json`.

    Raises:
      ConfigError: the text is no JSON, or has an unknown field or a value that does not fit.
    """
    try:
        tree = json.loads(text, object_pairs_hook=fields_once)
    except (ValueError, RecursionError) as error:  # RecursionError: brackets in brackets
        raise ConfigError(f"The saved config is not valid JSON ({reason(error)}).") from error
    return paths.fit(Config, tree, "config")


def sha256(config: Config) -> str:
    """SHA-256 of `to_json`, hexadecimal."""
    return hashlib.sha256(to_json(config).encode()).hexdigest()
