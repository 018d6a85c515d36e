"""Measures time and memory of softmax training steps: whole, in blocks and sampled.

    python benchmarks/large_softmax.py [--items=100000,1000000] [--labels=2048] [--rounds=3]

A step computes the loss of --labels contexts, its gradients by contexts and table, and AdamW's
update of the one tied table. The encoder, which is the same for all, is left out. Each measurement
runs in its own process, in turns. Contexts and table are normal numbers; labels are drawn with
probability proportional to 1 / rank. Beyond --whole items only the sampled softmax is measured.
Memory: the compiled step's temporary arrays as XLA plans them; the process's peak minus what it
held before the first step; the peak. With other work on the machine, the time of all cores together
compares better than the clock's.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from typing import Any

from flaxrec.terminal.text_tables import markdown

WIDTH = 64
KINDS: dict[str, dict[str, Any]] = {  # what differs from the config's defaults
    "whole": {},
    "blocks of 256 MiB": {"max_megabytes": 256},
    "blocks of 32 MiB": {"max_megabytes": 32},
    "blocks, default": {"max_megabytes": 0},
    "sampled, 1,000": {"name": "sampled_softmax", "negatives": 1000},
    "sampled, 8,000": {"name": "sampled_softmax", "negatives": 8000},
}
MEMORY = ("temporary", "beyond", "peak")
_MIB = 2**20


def measure(kind: str, items: int, labels: int, steps: int) -> dict[str, float]:
    """Measures in this process: seconds of a step, without the first, and MiB."""
    import jax
    import jax.numpy as jnp
    import numpy as np
    import optax
    import small_network

    from flaxrec.config import Config, LossConfig, OptimizerConfig
    from flaxrec.models import dual_encoder
    from flaxrec.scoring.losses.global_softmax import cross_entropy
    from flaxrec.training import objective, optimizers
    from flaxrec.training.objective import Examples

    model = small_network.network("bow", WIDTH, tied_tables=True)
    config = Config(model=model, loss=LossConfig(**KINDS[kind]), optimizer=OptimizerConfig("adamw"))
    structure = dual_encoder.structure_of(config, small_network.spec_of(model, items))
    optimizer = optimizers.make_optimizer(config.optimizer, steps)

    def whole(model, context, examples, log_q, key):
        del log_q, key
        logits = model.score(context, model.label_encoder.all())
        return jnp.mean(cross_entropy(logits, examples.labels))

    loss_of = whole if kind == "whole" else objective.loss(config)

    def step(params, state, context, labels, log_q, key):
        weights = jnp.ones(labels.shape)
        examples = Examples(features={}, prefixes=None, labels=labels, weights=weights, seen=None)

        def loss_fn(params, context):
            return loss_of(structure.merge(params), context, examples, log_q, key)

        loss, gradients = jax.value_and_grad(loss_fn, argnums=(0, 1))(params, context)
        updates, state = optimizer.update(gradients[0], state, params)
        return optax.apply_updates(params, updates), state, loss, gradients[1]

    random = np.random.default_rng(0)
    shapes = structure.shapes.items()
    params = {n: jnp.asarray(random.normal(0, 0.1, s.shape), jnp.float32) for n, s in shapes}
    shares = 1 / np.arange(1, items + 1)
    log_q = jnp.asarray(np.log(shares / shares.sum()), jnp.float32)
    drawn = random.choice(items, labels, p=shares / shares.sum())
    rest = (
        jnp.asarray(random.normal(0, 0.1, (labels, WIDTH)), jnp.float32),
        jnp.asarray(drawn, jnp.int32),
        log_q,
        jax.random.key(0),
    )
    state = optimizer.init(params)
    compiled = jax.jit(step, donate_argnums=(0, 1)).lower(params, state, *rest).compile()
    analysis = compiled.memory_analysis()
    assert analysis is not None
    before = _resident()
    for n in range(steps + 1):
        params, state, loss, gradient = compiled(params, state, *rest)
        jax.block_until_ready((params, loss, gradient))
        if n == 0:
            start = time.perf_counter(), time.process_time()
    clock, cores = time.perf_counter() - start[0], time.process_time() - start[1]
    assert np.isfinite(float(loss)), "the loss is not finite"
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {
        "clock": clock / steps,
        "cores": cores / steps,
        "temporary": analysis.temp_size_in_bytes / _MIB,
        "beyond": (peak - before) / _MIB,
        "peak": peak / _MIB,
    }


def _resident() -> int:
    """The process's resident memory, bytes."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


def main() -> None:
    """Prints a table in Markdown for each catalogue."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--items", default="100000,1000000", help="sizes of catalogues")
    parser.add_argument("--labels", type=int, default=2048, help="M, of a step")
    parser.add_argument("--steps", type=int, default=5, help="of a process, after the first")
    parser.add_argument("--rounds", type=int, default=3, help="processes of each kind")
    parser.add_argument("--whole", type=int, default=100_000, help="most items of a full softmax")
    parser.add_argument("--only", choices=KINDS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    sizes = [int(items) for items in arguments.items.split(",")]
    if arguments.only:
        print(json.dumps(measure(arguments.only, sizes[0], arguments.labels, arguments.steps)))
        return
    for items in sizes:
        kinds = [k for k in KINDS if items <= arguments.whole or k.startswith("sampled")]
        found: dict[str, list[dict[str, float]]] = {kind: [] for kind in kinds}
        for _ in range(arguments.rounds):
            for kind in kinds:
                command = [sys.executable, __file__, f"--only={kind}", f"--items={items}"]
                command += [f"--labels={arguments.labels}", f"--steps={arguments.steps}"]
                done = subprocess.run(command, capture_output=True, text=True, check=True)
                found[kind].append(json.loads(done.stdout.splitlines()[-1]))
        _print(items, arguments.labels, found)


def _print(items: int, labels: int, found: dict[str, list[dict[str, float]]]) -> None:
    middle = {
        kind: {name: statistics.median(p[name] for p in processes) for name in processes[0]}
        for kind, processes in found.items()
    }
    first = next(iter(middle.values()))
    rows = [("softmax", "cores' time", "ratio", "clock", *(f"{name}, MiB" for name in MEMORY))]
    for kind, found_of in middle.items():
        ratio = found_of["cores"] / first["cores"]
        times = (f"{value:.2f}" for value in (found_of["cores"], ratio, found_of["clock"]))
        rows.append((kind, *times, *(f"{found_of[name]:,.0f}" for name in MEMORY)))
    print(f"\n{items:,} items, {labels:,} labels a step, D = {WIDTH}; seconds of a step\n")
    print(markdown(rows), flush=True)


if __name__ == "__main__":
    main()
