"""Measures steps with tables split over virtual devices: time, and bytes on each device.

    python benchmarks/model_shards.py [--items=200000] [--meshes=1x1,8x1,4x2,1x8] [--rounds=3]

A mesh is rows of the batch x shards of tables. Virtual devices share the machine's cores, so that
time tells what all of them do together, not what they earn. Bytes are the compiler's account of one
device: what a scan is given (the state, events and labels) and its temporary arrays. A model has
one tied table, 64 wide, and Adam's two averages of it. Each measurement has its own process, in
turns; the median of the rounds.
"""

import json
import os
import statistics
import subprocess
import sys
import time

import small_network

from flaxrec.terminal.text_tables import markdown

WIDTH, STEPS = 64, 4
_MIB = 2**20


def measure(rows: int, shards: int, items: int, loss: str, batch: int) -> dict[str, float]:
    """Measures in this process: seconds of a step, MiB on a device."""
    import jax
    import numpy as np

    from flaxrec.config import Config, DataConfig, OptimizerConfig, SyntheticConfig, TrainConfig
    from flaxrec.data import contexts
    from flaxrec.data.dataset import prepare
    from flaxrec.models import dual_encoder
    from flaxrec.models.split_tables import SplitTables
    from flaxrec.scoring.losses import sampled_softmax
    from flaxrec.training import optimizers, steps
    from flaxrec.training.steps import Batches, Targets

    model = small_network.network("bow", WIDTH, tied_tables=True)
    config = Config(
        data=DataConfig(synthetic=SyntheticConfig(1000, 2000, 30)),
        model=model,
        optimizer=OptimizerConfig("adam"),
        train=TrainConfig(batch_size=batch, devices=rows * shards, model_shards=shards),
    )
    config.loss.name, config.loss.negatives = loss, 1000
    data, spec = prepare(config), small_network.spec_of(model, items)
    structure, mesh = dual_encoder.structure_of(config, spec), steps.mesh_of(config)
    tables = SplitTables(mesh, structure.shapes)
    draw = np.random.default_rng(0)
    params = {
        name: draw.normal(0, 0.1, of.shape).astype(np.float32)
        for name, of in structure.shapes.items()
    }
    optimizer = optimizers.make_optimizer(config.optimizer, STEPS)
    state = steps.first_state(params, optimizer, tables)
    scan = steps.make_scan(structure, spec, config, optimizer, tables=tables)
    counts = np.ones(items)
    targets = Targets(np.log(counts / items, dtype=np.float32))
    if loss == "sampled_softmax":
        ends = sampled_softmax.draw_ends(counts, 0.5)
        targets = Targets(targets.log_q, draw_ends=ends)
    positions = draw.choice(data.split.train, (STEPS, batch))
    given = (
        contexts.to_device(data.timelines, mesh.replicated),
        mesh.replicate(targets),
        Batches(
            mesh.shard(positions, 1),
            mesh.shard(np.ones_like(positions), 1),
            mesh.replicate(draw.integers(0, 2**32, (STEPS, 2), np.uint32)),
        ),
    )
    compiled = scan.lower(state, *given).compile()
    memory = compiled.memory_analysis()
    state, _ = compiled(state, *given)
    jax.block_until_ready(state)
    start, used = time.perf_counter(), time.process_time()
    jax.block_until_ready(compiled(state, *given))
    return {
        "seconds": (time.perf_counter() - start) / STEPS,
        "processor": (time.process_time() - used) / STEPS,
        "given": memory.argument_size_in_bytes / _MIB,
        "temporary": memory.temp_size_in_bytes / _MIB,
    }


def main() -> None:
    """Prints a table."""
    parser = small_network.parser(__doc__)
    parser.add_argument("--items", type=int, default=200_000)
    parser.add_argument("--meshes", default="1x1,8x1,4x2,1x8", help="comma-separated")
    parser.add_argument("--loss", default="sampled_softmax")
    parser.add_argument("--batch", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--alone", default="", help="the mesh to measure in this process")
    arguments = parser.parse_args()
    if arguments.alone:
        rows, shards = map(int, arguments.alone.split("x"))
        made = measure(rows, shards, arguments.items, arguments.loss, arguments.batch)
        print(json.dumps(made))
        return
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=8"
    environment = os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    found: dict[str, list[dict[str, float]]] = {m: [] for m in arguments.meshes.split(",")}
    for _ in range(arguments.rounds):
        for mesh, rounds in found.items():
            command = [sys.executable, __file__, *sys.argv[1:], f"--alone={mesh}"]
            child = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True)
            rounds.append(json.loads(child.stdout.splitlines()[-1]))
    table = []
    first: dict[str, float] = {}
    for mesh, rounds in found.items():
        of = {name: statistics.median(r[name] for r in rounds) for name in rounds[0]}
        first = first or of
        table.append(
            [
                mesh.replace("x", " x "),
                f"{of['given']:.0f}",
                f"{of['temporary']:.0f}",
                f"{of['seconds']:.2f}",
                f"{first['seconds'] / of['seconds']:.2f}",
                f"{first['processor'] / of['processor']:.2f}",
            ]
        )
    names = ["batch x model", "MiB given", "MiB temporary", "s a step", "speed", "by CPU time"]
    print(markdown([names, *table]))


if __name__ == "__main__":
    main()
