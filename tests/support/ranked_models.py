"""Small models of every kind that the ranking knows."""

import dataclasses

import numpy as np

from flaxrec.config import ExportConfig
from flaxrec.exporting.serving import ServingModel
from flaxrec.models.transitions_head import LEVELS, TransitionsHead
from tests.support.builders import random_model
from tests.support.grouped_models import GENRE, ITEM, group, settings

ROWS, LENGTH, K = 12, 4, 6


def model_of(kind: str) -> tuple[ServingModel, ExportConfig]:
    """A model of 12 rows: padding, candidates, perhaps two that contexts alone read, 'unknown'."""
    first = int(kind != "reference")
    candidates = {"reference": 12, "context-only rows": 8}.get(kind, 10)
    groups = [group("bow", ITEM), group("bow", GENRE)]
    config, spec = settings(*groups, length=LENGTH, reference_mode=not first)
    inputs = tuple(
        dataclasses.replace(i, rows=ROWS, vocabulary=i.name) if i.name == "item" else i
        for i in spec.inputs
    )
    spec = dataclasses.replace(spec, inputs=inputs, first_candidate=first, candidates=candidates)
    if kind in ("tied", "context-only rows"):
        config.model.tied_tables = True
        config.model.embedding_dim = ITEM.embedding_dim
    structure, params = random_model(config, spec)
    model = ServingModel(config, spec, structure, params)
    if kind == "head":
        random = np.random.default_rng(5)
        followers = np.array([random.permutation(candidates)[:3] for _ in range(ROWS)], np.int32)
        levels = random.integers(0, LEVELS + 1, (ROWS, 3)).astype(np.float32)
        followers[0] = levels[0] = 0  # nothing follows padding
        scale, weight = np.float32(0.01), np.float32(2)
        head = TransitionsHead(followers, levels, scale, weight, "item", candidates)
        model = dataclasses.replace(model, head=head)
    options = ExportConfig(top_k=K, candidate_mask=True, exclude_context=kind == "excluded")
    return model, options
