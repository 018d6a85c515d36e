"""Item tables rounded as in a quantised file while they are trained.

Training keeps the exact numbers; the model sees them rounded, and gradients pass as if they were
not (a straight-through estimate: Bengio, Leonard & Courville 2013). So it learns what a file of
fewer bits can hold. Shapes: R rows, D width.
"""

from collections.abc import Iterable

import jax
import jax.numpy as jnp

from flaxrec.models.dual_encoder import Params

LIMITS = {"int8": 127, "int4": 7}  # the largest integer of each recipe
_SHARES = (1.0, 0.9, 0.8, 0.7, 0.6)  # scales to try, as shares of the one that clips nothing


def rounded(params: Params, names: Iterable[str], recipe: str) -> Params:
    """The parameters with these tables rounded, each row by its own scale; 'none': as they are."""
    if recipe == "none":
        return params
    return params | {name: _rounded(params[name], LIMITS[recipe]) for name in names}


def _rounded(table: jax.Array, limit: int) -> jax.Array:
    """[R, D]: integers of -limit to limit times the row's scale of the least squared error."""
    exact = jax.lax.stop_gradient(table)
    widest = jnp.maximum(jnp.max(jnp.abs(exact), axis=1, keepdims=True) / limit, 1e-30)
    best, least = exact, jnp.full_like(widest, jnp.inf)
    for share in _SHARES:
        scale = widest * share
        tried = jnp.clip(jnp.round(exact / scale), -limit, limit) * scale
        error = jnp.sum(jnp.square(tried - exact), axis=1, keepdims=True)
        best, least = jnp.where(error < least, tried, best), jnp.minimum(error, least)
    return table + (best - exact)
