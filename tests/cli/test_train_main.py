"""What `train_main.py` prints after a run."""

from pathlib import Path

import pytest

from flaxrec.train_main import main, report
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


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["coordinator=a:1"], "go together; give all three, or --distributed alone."),
        (["coordinator=a:x", "processes=2", "process=0"], "go together; give all three, or"),
        (["coordinator=a:1", "processes=2", "process=2"], "processes=2 the last one is 1; number"),
        (["coordinator=a:1", "processes=0", "process=0"], "'0' is not a number from 1 to 100000"),
    ],
)
def test_the_place_among_processes(capsys, flags, told):
    try:
        status = main([f"--distributed_{flag}" for flag in flags])
    except SystemExit as end:
        status = end.code
    assert status == 2
    assert told in capsys.readouterr().err
