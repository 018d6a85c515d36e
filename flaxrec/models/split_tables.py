"""Tables split by rows over devices: each holds a part, and that part of the optimiser's state.

Rows that do not divide are padded at the end: on the devices a table has rows that no id and no
candidate means, whose gradients are 0. A model sees tables without them, and so do checkpoints, so
that a run goes on with another number of shards. Compiled functions say nothing of devices: the
compiler finds out where a lookup or a product needs what others hold (a test reads its result).
With one shard nothing is split or padded.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec

from flaxrec.devices import MODEL, Mesh

_FEWEST = 8  # rows of a shard; with less a table is whole on every device
_BY_ROWS, _BY_COLUMNS = PartitionSpec(MODEL), PartitionSpec(None, MODEL)


def spec_of(name: str, shape: tuple[int, ...], shards: int) -> PartitionSpec:
    """How a parameter lies on the devices: tables of many rows by rows, everything else whole.

    >>> spec_of("label_encoder/table", (1000, 8), 4)
    PartitionSpec('model',)
    """
    is_table = "/tables/" in name or name.startswith("label_encoder/")
    return _BY_ROWS if 1 < shards <= shape[:1][0] // _FEWEST and is_table else PartitionSpec()


class SplitTables:
    """Which of a model's parameters are split, and their forms.

    On the devices split tables are padded. The methods take parameters by name, or trees with such
    dicts, as an optimiser's state.

    Args:
      mesh: the devices.
      shapes: of the parameters, `Structure.shapes`.
    """

    def __init__(self, mesh: Mesh, shapes: Mapping[str, jax.ShapeDtypeStruct]):
        self.mesh = mesh
        self._rows = {
            name: of.shape[0]
            for name, of in shapes.items()
            if spec_of(name, of.shape, mesh.shards) == _BY_ROWS
        }
        self._spread = jax.jit(self.padded)
        self._gathered = jax.jit(self._whole)

    @property
    def names(self) -> frozenset[str]:
        """The parameters that are split."""
        return frozenset(self._rows)

    def trimmed(self, tree: Any) -> Any:
        """Tables without padding, as a model takes them; inside compiled functions."""
        return self._map(lambda table, rows: table[:rows], tree)

    def padded(self, tree: Any) -> Any:
        """The inverse of `trimmed`, which tells the compiler where all parts lie."""
        by_rows = self.mesh.sharding(_BY_ROWS)

        def pad(table: jax.Array, rows: int) -> jax.Array:
            missing = -(-rows // self.mesh.shards) * self.mesh.shards - len(table)
            table = jnp.pad(table, [(0, missing), *[(0, 0)] * (table.ndim - 1)])
            return jax.lax.with_sharding_constraint(table, by_rows)

        return self._map(pad, tree, self._everywhere)

    def place(self, tree: Any) -> Any:
        """Moves whole tables, without padding, to the devices."""
        if not self._rows:
            return self.mesh.replicate(tree)
        put = self.mesh.put
        return self._spread(
            self._map(
                lambda table, rows: put(table, self._stored(table.shape)), tree, self.mesh.replicate
            )
        )

    def whole(self, tree: Any) -> Any:
        """The inverse of `place`, for checkpoints: split by columns where their number divides."""
        return self._gathered(tree) if self._rows else tree

    def templates(self, tree: Any) -> Any:
        """What `whole` gives of such a tree: shapes and shardings, to restore a checkpoint to."""

        def stored(table: Any, rows: int) -> jax.ShapeDtypeStruct:
            shape = (rows, *table.shape[1:])
            return jax.ShapeDtypeStruct(shape, table.dtype, sharding=self._stored(shape))

        everywhere = self.mesh.replicated
        return self._map(
            stored, tree, lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=everywhere)
        )

    def _whole(self, tree: Any) -> Any:
        constrained = jax.lax.with_sharding_constraint
        return self._map(
            lambda table, rows: constrained(table[:rows], self._stored(table.shape)),
            tree,
            self._everywhere,
        )

    def _everywhere(self, x: jax.Array) -> jax.Array:
        return jax.lax.with_sharding_constraint(x, self.mesh.replicated) if self._rows else x

    def _stored(self, shape: tuple[int, ...]) -> NamedSharding:
        divides = len(shape) == 2 and shape[1] % self.mesh.shards == 0
        return self.mesh.sharding(_BY_COLUMNS if divides else PartitionSpec())

    def _map(
        self,
        change: Callable[[Any, int], Any],
        tree: Any,
        of_others: Callable[[Any], Any] = lambda x: x,
    ) -> Any:
        def one(path: tuple, leaf: Any) -> Any:
            keys = [key.key for key in path if isinstance(key, jax.tree_util.DictKey)]
            rows = self._rows.get(keys[-1]) if keys else None
            return of_others(leaf) if rows is None else change(leaf, rows)

        return jax.tree_util.tree_map_with_path(one, tree)
