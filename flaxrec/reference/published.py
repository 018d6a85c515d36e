"""Imports a .tflite of the reference as our config, spec and weights.

.tflite -> graph of operators -> groups, layers and their weights -> config, spec, parameters
"""

import dataclasses
import os
from collections.abc import Iterable

import numpy as np

from flaxrec.config import Config, FeatureConfig, GroupConfig, ModelConfig
from flaxrec.data.spec import InputSpec, ModelSpec
from flaxrec.data.timelines import ITEM
from flaxrec.data.vocabulary import identity
from flaxrec.errors import ExportError
from flaxrec.exporting import serving
from flaxrec.exporting.assets import Assets, Original
from flaxrec.exporting.serving import ServingModel
from flaxrec.measuring import fresh_contexts
from flaxrec.reference import weights as weights_lib
from flaxrec.reference.graph import Graph, TensorRunner
from flaxrec.reference.input_config import SOURCES
from flaxrec.reference.layers import SUPPORTED, Group, Model, read_layers
from flaxrec.tflite.inspection import Input
from flaxrec.training.validation import validate


@dataclasses.dataclass(frozen=True)
class Published:
    """A model of the reference, read from its file.

    Attributes:
      config: our config of the model, in reference mode, with the file's K.
      spec: its inputs and candidates.
      weights: by the reference's names.
      run: the file itself: [length] by input name -> ids, scores.
    """

    config: Config
    spec: ModelSpec
    weights: dict[str, np.ndarray]
    run: TensorRunner


def load(file: str | os.PathLike) -> tuple[ServingModel, Assets]:
    """Loads a model of the reference for export, with its assets.

    The file has rows but no ids, and no data of the items. So the vocabulary is the identity, the
    items are rows 1 and up, and contexts to verify with are drawn.

    Raises:
      ExportError: see `read`.
      DataError: the weights do not fit together.
    """
    published = read(file)
    spec, config = published.spec, published.config
    structure = serving.structure_of(config, spec)
    params = weights_lib.from_reference(published.weights, structure.shapes)
    rows = {i.vocabulary: i.rows for i in spec.inputs if i.vocabulary} | {ITEM: spec.candidates}
    assets = Assets(
        {name: identity(count - 1) for name, count in rows.items()},
        [{"id": row} for row in range(1, spec.candidates)],
        draw_contexts(spec, config.export.verification_contexts),
        original=Original(published.run, config.export.top_k),
    )
    return ServingModel(config, spec, structure, params), assets


def draw_contexts(spec: ModelSpec, count: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Draws contexts of 1 to L activities, padded at the end, [count, length] by input name.

    Inputs of one length have the same number of activities.
    """
    inputs = [Input(i.name, i.dtype, (i.length,), i.rows) for i in spec.inputs]
    lengths, rng = dict[int, np.ndarray](), np.random.default_rng(seed)
    return {i.name: fresh_contexts.draw_input(i, count, lengths, rng) for i in inputs}


def read(file: str | os.PathLike) -> Published:
    """Reads a file.

    Raises:
      ExportError: it is no supported model of the reference, or a weight is not finite.
    """
    graph = Graph(file)
    model = read_layers(graph)
    spec = _spec_of(graph, model)
    config = _config_of(graph, model, spec)
    run = TensorRunner(graph, model.ids, model.scores)
    return Published(config, spec, _weights_of(graph, model), run)


def _sources(graph: Graph, model: Model) -> dict[int, str]:
    """Finds the source of each input by names and tables.

    The reference's own names are known. Otherwise the only input with 'genre', 'year' or (for a
    number) 'rating' in its name is that column. The item id is the only embedded input that
    remains, or the only one of them with 'id' in its name.
    """
    names = graph.inputs
    known = {t: SOURCES[name] for t, name in names.items() if name in SOURCES}
    embedded = {t for group in model.groups for t in group.embedded}
    for word, source in (
        ("genre", "item.genres"),
        ("year", "item.year"),
        ("rating", "event.rating"),
    ):
        kind = set(names) - embedded if word == "rating" else embedded
        _note_the_only(known, source, (t for t in kind if word in names[t].lower()))
    rest = [t for t in embedded if t not in known]
    if len(rest) > 1:
        rest = [t for t in rest if "id" in names[t].lower().split("_")]
    _note_the_only(known, "item.id", rest)
    return {t: known.get(t, f"item.{name}") for t, name in names.items()}


def _note_the_only(known: dict[int, str], source: str, tensors: Iterable[int]) -> None:
    found = list(tensors)
    if len(found) == 1 and source not in known.values():
        known.setdefault(found[0], source)


def _spec_of(graph: Graph, model: Model) -> ModelSpec:
    sources = _sources(graph, model)
    specs = {}
    for tensor, name in graph.inputs.items():
        length = int(np.prod(graph.shape(tensor)))
        tables = [group.embedded[tensor] for group in model.groups if tensor in group.embedded]
        if not tables:
            specs[tensor] = InputSpec(name, sources[tensor], "FLOAT", length)
            continue
        rows = {len(table) for table in tables}
        if len(rows) > 1:
            raise ExportError(
                f"{graph.file}: the input {name} has tables of {' and '.join(map(str, rows))} "
                f"rows; one number is expected, only {SUPPORTED}."
            )
        source, (count,) = sources[tensor], rows
        is_item = source == "item.id" and count == len(model.labels)
        vocabulary = ITEM if is_item else name
        flattened = source == "item.genres"
        specs[tensor] = InputSpec(name, source, "INT", length, count, vocabulary, flattened)
    order = [t for group in model.groups for t in (*group.embedded, *group.numbers)]
    unused = [name for tensor, name in graph.inputs.items() if tensor not in order]
    if unused:
        raise ExportError(
            f"{graph.file}: the input {unused[0]} is not used by any group; only {SUPPORTED}."
        )
    return ModelSpec(tuple(specs[t] for t in dict.fromkeys(order)), len(model.labels), 0)


def _config_of(graph: Graph, model: Model, spec: ModelSpec) -> Config:
    specs = {i.name: i for i in spec.inputs}
    lengths = [s.length for s in specs.values() if s.source == "item.id"]
    lengths = lengths or [s.length for s in specs.values() if not s.multi_valued]
    config = Config(
        name=graph.file.stem,
        reference_mode=True,
        model=ModelConfig(
            context_length=max(lengths, default=1),
            embedding_dim=model.labels.shape[1],
            # Global groups come first and look the same in the graph.
            activity_groups=[_group_config(graph, model, group, specs) for group in model.groups],
            hidden_dims=tuple(kernel.shape[1] for kernel, _ in model.layers[:-1]),
        ),
    )
    config.export.top_k = model.top_k
    return validate(config)


def _group_config(
    graph: Graph, model: Model, group: Group, specs: dict[str, InputSpec]
) -> GroupConfig:
    names = graph.inputs
    embedded = [names[tensor] for tensor in group.embedded]
    if embedded != sorted(embedded):
        raise ExportError(
            f"{graph.file} joins {', '.join(embedded)}; embedded features are expected in the "
            f"order of their names, only {SUPPORTED}."
        )
    widths = [table.shape[1] for table in group.embedded.values()] + [0] * len(group.numbers)
    features = []
    for tensor, width in zip((*group.embedded, *group.numbers), widths, strict=True):
        s = specs[names[tensor]]
        features.append(FeatureConfig(s.name, s.source, s.type, width, s.length))
    config = GroupConfig(features, group.encoder)
    kernels = [value for name, value in group.weights.items() if name.endswith("/kernel")]
    dim = model.labels.shape[1]
    if group.encoder == "cnn":
        filters = [kernel.shape[2] for kernel in kernels]
        if len({len(kernel) for kernel in kernels}) > 1 or any(f % dim for f in filters):
            raise ExportError(
                f"{graph.file} has convolutions of {', '.join(map(str, filters))} filters; "
                f"multiples of {dim} and one kernel size are expected, only {SUPPORTED}."
            )
        config.conv_kernel_size = len(kernels[0])
        config.conv_filter_ratios = tuple(f // dim for f in filters)
    elif group.encoder == "lstm":
        config.lstm_units = kernels[0].shape[1] // 4
    return config


def _weights_of(graph: Graph, model: Model) -> dict[str, np.ndarray]:
    weights = {}
    for i, group in enumerate(model.groups):
        for tensor, table in group.embedded.items():
            weights[f"group{i}/embedding/{graph.inputs[tensor]}"] = table
        weights |= {f"group{i}/{name}": value for name, value in group.weights.items()}
    for j, (kernel, bias) in enumerate(model.layers):
        layer = "proj_layer" if j == len(model.layers) - 1 else f"hidden_layer{j}"
        weights |= {f"dense/{layer}/kernel": kernel, f"dense/{layer}/bias": bias}
    weights |= {"label_embedding": model.labels}
    for name, values in weights.items():
        if not np.isfinite(values).all():
            raise ExportError(
                f"{graph.file}: the weights {name} are not all finite numbers; export the file "
                "again from a model whose training did not fail."
            )
    return weights
