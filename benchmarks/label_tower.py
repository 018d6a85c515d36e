"""Measures what the label tower adds to a training step (config.model.label_features).

    python benchmarks/label_tower.py [--items=3700,12000,100000] [--labels=2048]

A step makes the items' vectors, computes the loss of --labels contexts, its gradients by all
parameters and contexts, and AdamW's update; D = 64. The encoder, which is the same for all, is left
out. With the sampled softmax the vectors are those of labels, drawn items and as many items of
contexts as there are labels. Items have a category of 1,000, up to five tags of 500, a number, and
a vector of 384 numbers.
With other work on the machine, the time of all cores together compares better than the clock's.
"""

import statistics
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import small_network

from flaxrec.config import Config, FeatureConfig, LossConfig, OptimizerConfig
from flaxrec.models import dual_encoder, item_sums
from flaxrec.terminal.text_tables import markdown
from flaxrec.training import objective, optimizers
from flaxrec.training.objective import Examples

WIDTH = 64
KINDS = {
    "ids alone": (),
    "category": ("category",),
    "category, tags, number": ("category", "tags", "number"),
    "vector of 384": ("vector",),
    "all": ("category", "tags", "number", "vector"),
}
LOSSES = {"full": LossConfig(), "sampled, 1,000": LossConfig("sampled_softmax", negatives=1000)}


def features_of(items: int, random: np.random.Generator) -> dict[str, tuple[int, np.ndarray]]:
    """Rows of each feature's parameter, and the items' values."""
    tags = random.integers(1, 501, (items, 5)) * (np.arange(5) < random.integers(0, 6, (items, 1)))
    return {
        "category": (1002, random.integers(1, 1001, (items, 1)).astype(np.int32)),
        "tags": (502, tags.astype(np.int32)),
        "number": (1, random.normal(size=(items, 1)).astype(np.float32)),
        "vector": (384, random.normal(size=(items, 384)).astype(np.float32) / 20),
    }


def measure(names: tuple[str, ...], loss: LossConfig, items: int, labels: int, steps: int) -> float:
    """Seconds of all cores together for a step, without the first; median."""
    random = np.random.default_rng(0)
    model = small_network.network("bow", WIDTH, tied_tables=True)
    model.label_features = [FeatureConfig(name) for name in names]
    config = Config(model=model, loss=loss, optimizer=OptimizerConfig("adamw"))
    spec = small_network.spec_of(model, items)
    structure = dual_encoder.structure_of(config, spec)
    optimizer, loss_of = optimizers.make_optimizer(config.optimizer, steps), objective.loss(config)
    shapes = {name: shape.shape for name, shape in structure.shapes.items()}
    values = {name: of for name, of in features_of(items, random).items() if name in names}
    shapes |= {item_sums.PREFIX + name: (rows, WIDTH) for name, (rows, _) in values.items()}
    params = {n: jnp.asarray(random.normal(0, 0.1, s), jnp.float32) for n, s in shapes.items()}

    def step(params, state, context, examples, log_q, values, key):
        def loss_fn(params: Any, context: Any) -> jax.Array:
            only = objective.needed(config, structure, spec, examples, log_q, key)
            summed = item_sums.summed(structure, spec, params, values, only=only)
            model = structure.merge(summed)
            return loss_of(model, context, examples, log_q, key)

        _, gradients = jax.value_and_grad(loss_fn, argnums=(0, 1))(params, context)
        updates, state = optimizer.update(gradients[0], state, params)
        return {n: v + updates[n] for n, v in params.items()}, state, gradients[1]

    shares = 1 / np.arange(1, items + 1)
    drawn, read = random.choice(items, (2, labels), p=shares / shares.sum()).astype(np.int32)
    features = {spec.inputs[0].name: jnp.asarray(read + 1)}
    examples = Examples(features, None, jnp.asarray(drawn), jnp.ones(labels), None)
    rest = (
        jnp.asarray(random.normal(0, 0.1, (labels, WIDTH)), jnp.float32),
        jnp.log(jnp.asarray(shares / shares.sum(), jnp.float32)),
        {name: jnp.asarray(of) for name, (_, of) in values.items()},
        jax.random.key(0),
    )
    compiled = jax.jit(
        lambda params, state, context, *rest: step(params, state, context, examples, *rest),
        donate_argnums=(0, 1),
    )
    state, seconds = optimizer.init(params), []
    for _ in range(steps + 1):
        start = time.process_time()
        params, state, gradient = compiled(params, state, *rest)
        jax.block_until_ready((params, state, gradient))
        seconds.append(time.process_time() - start)
    return statistics.median(seconds[1:])


def main() -> None:
    """Prints a table in Markdown."""
    parser = small_network.parser(__doc__)
    parser.add_argument("--items", default="3700,12000,100000", help="sizes of catalogues")
    parser.add_argument("--labels", type=int, default=2048, help="of a step")
    parser.add_argument("--steps", type=int, default=5, help="after the first")
    arguments = parser.parse_args()
    rows = [("items", "softmax", *KINDS)]
    for items in small_network.integers(arguments.items):
        for name, loss in LOSSES.items():
            found = [
                measure(names, loss, items, arguments.labels, arguments.steps)
                for names in KINDS.values()
            ]
            rows.append((f"{items:,}", name, *(f"{seconds:.3f}" for seconds in found)))
    print(f"{arguments.labels:,} labels a step, D = {WIDTH}; seconds of all cores a step\n")
    print(markdown(rows), flush=True)


if __name__ == "__main__":
    main()
