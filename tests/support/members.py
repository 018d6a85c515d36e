"""Seeds trained side by side."""

from pathlib import Path

from flaxrec.config import Config
from flaxrec.config.presets import compact, example_network, make_smoke
from flaxrec.research import side_by_side
from flaxrec.training.validation import validate
from flaxrec.training.workdir import Workdir


def make_config(seed: int, encoder: str = "bow", epochs: int = 3, **optimizer) -> Config:
    if encoder == "attention":  # with dropout, and every label of a context in one pass
        config = make_smoke(compact(encoder, context_length=8, embedding_dim=8))
        config.train.batch_size, epochs = 10, 4
    else:
        config = example_network(encoder, "smoke")
    config.seed, config.train.epochs = seed, epochs
    for name, value in optimizer.items():
        setattr(config.optimizer, name, value)
    return validate(config)


def train_together(configs: list[Config], folder: Path) -> tuple[list, list[Workdir]]:
    workdirs = [Workdir(folder / f"run{i}") for i in range(len(configs))]
    said: list[str] = []
    return side_by_side.train(configs, workdirs, folder / "together", said.append), workdirs
