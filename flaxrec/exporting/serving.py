"""The trained model as a function of one context, on the CPU."""

import dataclasses
import functools

import jax
import numpy as np

from flaxrec.config import Config
from flaxrec.data.spec import ModelSpec
from flaxrec.errors import ExportError
from flaxrec.exporting import serving_form
from flaxrec.exporting.serving_form import Weights
from flaxrec.models import dual_encoder
from flaxrec.models.dual_encoder import Params, Structure
from flaxrec.models.transitions_head import TransitionsHead
from flaxrec.training import finished, new_items
from flaxrec.training.checkpoints import Origin
from flaxrec.training.run_assets import RunAssets
from flaxrec.training.workdir import Workdir

Labels = tuple[jax.Array, jax.Array | None]  # encodings [N, D], biases [N]


@dataclasses.dataclass(frozen=True)
class ServingModel:
    """A model ready for export.

    Attributes:
      config: the run's config.
      spec: inputs and candidates.
      structure: the modules, always in float32.
      params: by name, on the CPU.
      step: of the checkpoint; None if the model was not trained here.
      head: added to the logits.
      origin: the run that the model's began with; None: with none.
      rows: of the label vocabulary, where the inputs do not tell; 0: they do.
      new_bias: of items that training did not meet; None: nothing was chosen.
    """

    config: Config
    spec: ModelSpec
    structure: Structure
    params: Params
    step: int | None = None
    head: TransitionsHead | None = None
    origin: Origin | None = None
    rows: int = 0
    new_bias: float | None = None

    def score_one(
        self,
        weights: Weights,
        labels: Labels,
        inputs: dict[str, jax.Array],
        *,
        trust_ids: bool,
    ) -> tuple[jax.Array, jax.Array, dict[str, jax.Array]]:
        """Scores the labels for one context, in the serving form, without the head.

        Args:
          weights: from `serving_form.fold`.
          labels: encodings [N, D], and biases [N] or None.
          inputs: [length] by input name.
          trust_ids: whether every id is inside its table.

        Returns:
          Scores of the labels, float32 [1, N]; the context's encoding [1, D]; the inputs with
          their ids inside the tables.
        """
        model = self.structure.merge(weights.params)
        if not trust_ids:
            inputs = serving_form.inside(inputs, self.spec.inputs)
        context = serving_form.encode_context(model.context_encoder, weights, inputs)
        return _with_bias(model.score(context, labels[0]), labels[1]), context, inputs

    def score_batch(
        self, params: Params, labels: Labels, inputs: dict[str, jax.Array]
    ) -> tuple[jax.Array, jax.Array, dict[str, jax.Array]]:
        """As `score_one`, in the training form: [B, length] by name -> [B, N], [B, D], inputs."""
        model = self.structure.merge(params)
        inputs = serving_form.inside(inputs, self.spec.inputs)
        context = model.context_encoder(inputs)
        return _with_bias(model.score(context, labels[0]), labels[1]), context, inputs

    def labels(self, params: Params) -> tuple[jax.Array, int]:
        """Encodings of the labels [N, D], and the row of candidate 0."""
        return self.structure.merge(params).label_rows()

    def batch_logits(self, contexts: dict[str, np.ndarray]) -> np.ndarray:
        """The training graph's logits, [n, length] by input name -> float32 [n, C]."""
        with jax.default_device(cpu()), jax.default_matmul_precision("float32"):
            return np.asarray(self._batch_logits(self.params, self.head, contexts))

    @functools.cached_property
    def _batch_logits(self):
        def logits(
            params: Params, head: TransitionsHead | None, features: dict[str, jax.Array]
        ) -> jax.Array:
            logits = self.structure.merge(params).logits(features)
            return logits if head is None else logits + head(features)

        return jax.jit(logits)


def _with_bias(scores: jax.Array, bias: jax.Array | None) -> jax.Array:
    return scores if bias is None else scores + bias


def structure_of(config: Config, spec: ModelSpec) -> Structure:
    """The model's structure for export, in float32."""
    model = dataclasses.replace(config.model, compute_dtype="float32")
    return dual_encoder.structure_of(dataclasses.replace(config, model=model), spec)


def cpu() -> jax.Device:
    """The first CPU device."""
    return jax.devices("cpu")[0]


def load(workdir: Workdir) -> ServingModel:
    """Loads the best checkpoint of a run, whatever device trained it.

    Raises:
      TrainingError: the folder is no run, or has no usable checkpoint.
      ExportError: the run's assets are missing.
    """
    config = workdir.read_config()
    assets = RunAssets(workdir.assets)
    spec = assets.spec()
    structure = structure_of(config, spec)
    params, notes = finished.model(workdir, structure, cpu())
    head = assets.head()
    if config.model.transitions and head is None:
        raise ExportError(
            f"{workdir.path} has no transitions head yet; run train_main.py on it to the end."
        )
    if head is not None and not head.weight:  # it would take its bytes and add nothing
        head = None
    chosen = assets.new_items()
    if chosen:
        is_cold = np.arange(spec.candidates) >= spec.candidates - chosen["cold_items"]
        params = new_items.with_bias(params, is_cold, chosen["bias"])
    return ServingModel(
        config,
        spec,
        structure,
        params,
        notes.step,
        head,
        notes.origin,
        new_bias=chosen and chosen["bias"],
    )
