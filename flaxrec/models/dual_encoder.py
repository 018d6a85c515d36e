"""The dual encoder: context encoding . label encoding = logit."""

import dataclasses

import jax
import jax.numpy as jnp
from flax import nnx

from flaxrec.config import Config
from flaxrec.data.contexts import Windows
from flaxrec.data.spec import ModelSpec
from flaxrec.models.context_encoder import ContextEncoder
from flaxrec.models.encoders import known_encoders
from flaxrec.models.features import RowTap
from flaxrec.models.label_encoder import LabelEncoder, own_table

Params = dict[str, jax.Array]  # parameter name -> float32 array


class DualEncoder(nnx.Module):
    """Scores every candidate for a context.

    Candidates are numbered 0..C-1 inside the model; candidate c is vocabulary row
    spec.first_candidate + c. Parameters are float32; `config.model.compute_dtype` is used between
    the tables and the logits, which are float32 again.
    """

    def __init__(self, config: Config, spec: ModelSpec, *, rngs: nnx.Rngs):
        self.dtype = jnp.dtype(config.model.compute_dtype)
        self.context_encoder = ContextEncoder(
            config.model,
            {i.name: i for i in spec.inputs},
            encoders=known_encoders(config),
            quirks=config.quirks,
            dtype=self.dtype,
            rngs=rngs,
        )
        if config.model.tied_tables:
            # One parameter in two modules: NNX keeps it once, under the first path in the alphabet.
            table, first = self.context_encoder.item_table(), spec.first_candidate
        else:
            width, deviation = config.model.embedding_dim, config.model.table_deviation
            table, first = own_table(spec.candidates, width, deviation, rngs=rngs), 0
        self.label_encoder = LabelEncoder(
            table,
            first,
            spec.candidates,
            normalized=config.model.normalized,
            bias=config.model.item_bias,
        )

    def encode_context(
        self,
        features: dict[str, jax.Array],
        windows: Windows | None = None,
        key: jax.Array | None = None,
    ) -> jax.Array:
        """[B, length] by input name -> [B, D]; see `ContextEncoder` for windows and key.

        With config.model.item_bias [B, D + 1]: a 1 at the end, which meets the items' bias.
        """
        encoding = self.context_encoder(features, windows, key)
        if self.label_encoder.bias is None:
            return encoding
        return jnp.concatenate([encoding, jnp.ones_like(encoding[..., :1])], axis=-1)

    def label_rows(self) -> tuple[jax.Array, int]:
        """The parameter that holds the candidates' encodings, [R, D], and the row of the first."""
        return self.label_encoder.table.get_value(), self.label_encoder.first

    def score(self, context: jax.Array, labels: jax.Array) -> jax.Array:
        """Context [..., D], labels [C, D] -> logits float32 [..., C]."""
        return jnp.matmul(
            context.astype(self.dtype),
            labels.astype(self.dtype).T,
            preferred_element_type=jnp.float32,
        )

    def logits(self, features: dict[str, jax.Array]) -> jax.Array:
        """[B, length] by input name -> float32 [B, C], one logit a candidate."""
        return self.score(self.encode_context(features), self.label_encoder.all())


@dataclasses.dataclass(frozen=True)
class Structure:
    """A model without its parameters: what `nnx.split` leaves, and the parameters' names.

    Attributes:
      graphdef: the modules.
      paths: parameter name ('label_encoder/table') -> its path in the modules.
      shapes: parameter name -> shape and dtype.
      taps: name of a table whose lookups are tapped (see `features.tap`) -> the tap's path.
    """

    graphdef: nnx.GraphDef
    paths: dict[str, tuple]
    shapes: dict[str, jax.ShapeDtypeStruct]
    taps: dict[str, tuple]

    def merge(self, params: Params, taps: Params | None = None) -> DualEncoder:
        """The model with these parameters (and taps); call it inside the transformed function."""
        flat: dict[tuple, nnx.Variable] = {}
        flat |= {self.paths[name]: nnx.Param(value) for name, value in params.items()}
        taps = self.zero_taps() if taps is None else taps
        flat |= {self.taps[name]: RowTap(value) for name, value in taps.items()}
        return nnx.merge(self.graphdef, nnx.from_flat_state(flat))

    def item_tables(self, spec: ModelSpec) -> list[str]:
        """Names of the tables with a row for every candidate, of contexts and of labels."""
        ends = [f"/tables/{i.name}" for i in spec.inputs if i.source == "item.id"]
        rows = spec.first_candidate + spec.candidates
        return [
            name
            for name, shape in self.shapes.items()
            if name == "label_encoder/table"
            or (name.endswith(tuple(ends)) and shape.shape[0] >= rows)
        ]

    def zero_taps(self) -> Params:
        """A zero for each tap, to be differentiated by."""
        return {name: jnp.zeros(()) for name in self.taps}


def structure_of(config: Config, spec: ModelSpec) -> Structure:
    """The structure of a model, without computing initial values."""
    structure, _ = _split(nnx.eval_shape(lambda: DualEncoder(config, spec, rngs=_rngs(0))))
    return structure


def create(config: Config, spec: ModelSpec) -> tuple[Structure, Params]:
    """A new model, initialised from config.seed, split once into structure and parameters."""
    return _split(DualEncoder(config, spec, rngs=_rngs(config.seed)))


def _split(model: DualEncoder) -> tuple[Structure, Params]:
    graphdef, state, tap_state = nnx.split(model, nnx.Param, RowTap)  # type: ignore[misc]
    flat = {_name(path): (path, leaf.get_value()) for path, leaf in nnx.to_flat_state(state)}
    paths = {n: path for n, (path, _) in flat.items()}
    params = {n: value for n, (_, value) in flat.items()}
    shapes = {n: jax.ShapeDtypeStruct(v.shape, v.dtype) for n, v in params.items()}
    taps = {
        _name(path).replace("/taps/", "/tables/"): path for path, _ in nnx.to_flat_state(tap_state)
    }
    return Structure(graphdef, paths, shapes, taps), params


def _rngs(seed: int) -> nnx.Rngs:
    return nnx.Rngs(params=jax.random.fold_in(jax.random.key(seed), 0))


def _name(path: tuple) -> str:
    return "/".join(str(part) for part in path)
