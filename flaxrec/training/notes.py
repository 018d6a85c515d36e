"""What a run knows of its progress; saved with its checkpoints."""

import dataclasses
from typing import Any

from flaxrec.config import Config
from flaxrec.files.schemas import Count
from flaxrec.training.checkpoints import BestNotes, Origin
from flaxrec.training.remarks import is_better


@dataclasses.dataclass
class Notes:
    """Progress of a run, saved with its latest checkpoint.

    Attributes:
      step: finished steps.
      epoch: finished epochs.
      scans: finished scans of the current epoch.
      losses: of the steps after them; a signal may stop a run within a scan.
      best_step: step of the best checkpoint; -1 if there is none.
      best_metric: its config.train.select_metric.
      epochs_without_better: epochs since then.
      metrics_bytes: length of metrics.jsonl.
      fingerprint: checksum of the data.
      run: `Workdir.identity`; '' of a run that an earlier version began.
      origin: the run that this one began with, see `warm_start.Origin`; None: with none.
    """

    step: Count = 0
    epoch: Count = 0
    scans: Count = 0
    losses: list[float] = dataclasses.field(default_factory=list)
    best_step: int = -1
    best_metric: float = 0.0
    epochs_without_better: Count = 0
    metrics_bytes: Count = 0
    fingerprint: str = ""
    run: str = ""
    origin: Origin | None = None

    def end_epoch(self, metric: float | None, name: str) -> bool:
        """Notes the epoch's validation metric called `name`; returns whether it is the best.

        Without validation labels (None) the latest epoch is the best.
        """
        self.epoch, self.scans = self.epoch + 1, 0
        better = True
        if metric is not None:
            better = self.best_step < 0 or is_better(metric, self.best_metric, name)
            if better:
                self.best_metric = metric
        self.epochs_without_better = 0 if better else self.epochs_without_better + 1
        if better:
            self.best_step = self.step
        return better

    def skip_evaluation(self) -> None:
        """Notes the end of an epoch whose validation labels are not ranked (evaluation.every)."""
        self.epoch, self.scans = self.epoch + 1, 0

    def are_done(self, config: Config) -> bool:
        """Whether all epochs are finished or the patience is exhausted."""
        patience = config.train.patience
        impatient = bool(patience) and self.epochs_without_better >= patience
        return impatient or self.epoch >= config.train.epochs


def best_notes(notes: Notes, epoch: int) -> dict[str, Any]:
    """Notes of the best checkpoint, of the epoch that `notes.best_step` ended, see `BestNotes`."""
    of_run = notes.fingerprint, notes.run, notes.origin
    return dataclasses.asdict(BestNotes(notes.best_step, epoch, notes.best_metric, *of_run))
