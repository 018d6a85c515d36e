"""What `train_main.py` prints after a run."""

from pathlib import Path

import pytest

from flaxrec.train_main import report
from flaxrec.training.run import Result


@pytest.mark.parametrize(("ks", "shown"), [((1, 5, 10, 20), 10), ((1, 5), 5), ((1,), 1)])
def test_metrics_at_ten_or_the_most_there_are(capsys, ks, shown):
    metrics = {f"{prefix}recall@{k}": k / 100 for prefix in ("", "filtered/") for k in ks}
    metrics |= {"mean_rank": 3.0, "filtered/mean_rank": 2.0}
    labels = {"labels": 30.0, "without_training_event": 0.0, "repeated_share": 0.5}
    counted = {"last_ten": {"test": metrics}}
    report(Result(Path(), "leave_one_out", metrics, labels, 7, 0.0, counted))
    _, model, counts, filtered, _ = capsys.readouterr().out.splitlines()
    line = f"recall@{shown} {shown / 100:.4f}  mean_rank 3.0000"
    assert (model.strip(), counts.strip()) == (
        f"all items            {line}",
        f"last_ten           {line}",
    )
    assert f" recall@{shown} {shown / 100:.4f}  mean_rank 2.0000" in filtered
