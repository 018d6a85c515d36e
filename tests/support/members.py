"""Seeds trained side by side."""

from pathlib import Path

from flaxrec.config import Config
from flaxrec.config.presets import compact, example_network, make_smoke
from flaxrec.research import side_by_side
from flaxrec.training.validation import validate
from flaxrec.training.workdir import Workdir


def make_config(seed: int, encoder: str = "bow", epochs: int = 3, **optimizer) -> Config:
    """A model that makes more than 200 steps; the slower encoders make them in one epoch."""
    if encoder == "attention":  # with dropout, and every label of a context in one pass
        config = make_smoke(compact(encoder, context_length=8, embedding_dim=8))
        config.model.activity_groups[0].blocks, config.train.batch_size = 1, 2
    else:
        config = example_network(encoder, "smoke")
    if encoder == "lstm":
        config.model.context_length, config.train.batch_size = 5, 20
    config.seed, config.train.epochs = seed, epochs
    for name, value in optimizer.items():
        setattr(config.optimizer, name, value)
    return validate(config)


def make_group() -> list[Config]:
    """Bags of words of different rates and decays: the fourth loses its patience, the last one
    diverges.
    """
    rates = ((1e-3, 0.0), (1e-2, 0.0), (1e-2, 0.1), (0.3, 0.1), (1e30, 0.0))
    configs = [
        make_config(0, epochs=5, name="adamw", learning_rate=rate, weight_decay=decay)
        for rate, decay in rates
    ]
    for config in configs:
        config.train.batch_size, config.train.patience = 32, 1
        config.train.select_metric = "mean_rank"
    return configs


def train_together(configs: list[Config], folder: Path) -> tuple[list, list[Workdir]]:
    workdirs = [Workdir(folder / f"run{i}") for i in range(len(configs))]
    said: list[str] = []
    return side_by_side.train(configs, workdirs, folder / "together", said.append), workdirs
