"""Config files with fields drawn over their types: they train, or are refused in a sentence."""

import json
import math
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

from tests.fuzz.attempts import Attempt
from tests.support import config_trees
from tests.support.faults import Answer

TRAINING = 0.1  # share of the configs in which most fields go together
_NAMES = ("config", "feature", "data", "split", "labels")


def attempts(random: random.Random, folder: Path) -> Iterator[Attempt]:
    """Yields commands that train a config in an empty folder."""
    run, number, tables = folder / "run", 0, config_trees.write_tables(folder)
    while True:
        number += 1
        shutil.rmtree(run, ignore_errors=True)
        file = folder / f"drawn_{number}.py"
        seed = random.randrange(2**32)
        config, what = drawn(seed, tables)
        config_trees.file_of(config, file)
        yield Attempt(
            f"seed {seed}: {what}",
            ("train", f"--config={file}", f"--workdir={run}"),
            _NAMES,
            lambda answer: is_right(answer, run),
        )
        file.unlink()


def drawn(seed: int, tables: tuple[Path, Path, Path]) -> tuple[config_trees.Config, str]:
    """The config of a seed, and what it is."""
    draw = random.Random(seed)
    if draw.random() < TRAINING:
        if draw.random() < 0.5:
            return config_trees.on_tables(draw, tables), "on tables"
        return config_trees.small(draw), "small"
    return config_trees.wild(draw)


def is_right(answer: Answer, run: Path) -> bool:
    """Whether a run that ended well has figures of the test, all finite."""
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text("utf-8").splitlines()]
    values = [value for row in rows for value in row["metrics"].values()]
    return rows[-1]["split"] == "test" and all(map(math.isfinite, values))
