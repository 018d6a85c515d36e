"""Trains, evaluates and exports one experiment.

python train_main.py [--config=configs/NAME.py[:VARIANT]] [--workdir=DIR] [--warm_start=RUN]
    [--config.SECTION.FIELD=VALUE ...]

Without arguments it takes generated data and needs no network. Every config has the variant smoke,
which takes seconds; docs/commands.md lists them.
"""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from flaxrec.cli import arguments
from flaxrec.config import Config, loading
from flaxrec.devices import keep_freed_memory
from flaxrec.evaluation.cold import BY_ITEM, BY_USER
from flaxrec.exporting import converter
from flaxrec.exporting.trial import try_conversion
from flaxrec.training import run
from flaxrec.training.run import Result
from flaxrec.training.validation import checked
from flaxrec.training.workdir import Workdir

_WARM_START = "train.warm_start"


def train(
    config: Config, workdir: str | os.PathLike[str], say: Callable[[str], None] = print
) -> Result:
    """Trains a config in a run folder, or resumes the run there; evaluates the best checkpoint.

    Encoders of one's own are tried in an export before the first step.

    Args:
      config: the config; it is copied.
      workdir: the run folder; made if it does not exist.
      say: called with each line of progress.

    Raises:
      ConfigError: a field cannot be used.
      DataError: the data cannot be used.
      TrainingError: the folder is another run's, the data changed, or the loss is not finite.
      ExportError: an encoder of one's own cannot be exported.
    """
    return run.train(checked(config), Workdir(workdir), say, before=try_conversion)


def main(argv: Sequence[str] | None = None) -> int:
    """Parses the arguments and runs the experiment; returns the exit status."""
    parser = arguments.Parser(__doc__)
    parser.add_config(
        "the experiment, FILE.py[:VARIANT] or the name of a shipped one", default="quickstart"
    )
    parser.add_overrides(
        "any field of it, such as --config.train.epochs=3; see docs/configuration.md"
    )
    parser.add_argument(
        "--workdir",
        help="the run folder; a run that was stopped goes on; default: runs/NAME[-VARIANT]",
    )
    parser.add_argument(
        "--warm_start",
        help="a run of the same model on older data to begin with (config.train.warm_start)",
    )
    stopped = "Interrupted; the same command goes on from the last checkpoint."
    return parser.run(_run, argv, stopped)


def _run(given: argparse.Namespace) -> None:
    if given.warm_start is not None:
        given.overrides[_WARM_START] = given.warm_start
    experiment = loading.load(given.config, given.overrides)
    config = experiment.config
    keep_freed_memory()
    result = train(config, given.workdir or Path("runs") / experiment.run)
    report(result)
    if not config.export.enabled:
        return
    if package := converter.missing(config.export):
        extra = "export" if package == "TensorFlow" else "litert"
        print(
            f"{package} is not installed, so there is no .tflite: copy "
            f"{result.workdir} to a machine with flaxrec[{extra}] and run export_tflite.py"
            f"{' --config=' + config.code.file if config.code.file else ''} there."
        )
        return
    from flaxrec.exporting.bundle import export
    from flaxrec.recommend import show_example

    workdir = Workdir(result.workdir)
    show_example(export(workdir).folder, workdir.read_histories()[0])


def report(result: Result) -> None:
    """Prints the test metrics that the literature quotes, of the model and of the baselines."""
    labels = result.labels
    share = labels.get("repeated_share")
    print(
        f"test ({result.protocol}): {labels['labels']:,.0f} labels, "
        f"{'' if share is None else f'{100 * share:.1f}% repeats, '}"
        f"{labels['without_training_event']:.0f} without a training event; "
        f"best checkpoint: step {result.best_step}"
        f"{f'; asked {result.asked}' if result.asked else ''}"
    )
    for title, prefix in (("all items", ""), ("seen items filtered", "filtered/")):
        own = _quoted(result.metrics, prefix)
        if not own:  # records do not tell which items were seen
            continue
        print(f"  {title:20} {own}")
        for name, by_split in reversed(result.baselines.items()):
            print(f"    {name:18} {_quoted(by_split['test'], prefix)}")
    if result.cold:
        report_cold(result)
    if result.examples_per_second:
        print(f"training speed: {result.examples_per_second:,.0f} labels/s without compilation")
    for remark in result.remarks:
        print(remark)


def report_cold(result: Result) -> None:
    """Prints how new items are ranked, and whether they are shown."""
    labels = result.cold_labels
    print(
        f"cold items: {labels['labels']:,.0f} labels of {labels['items']:,.0f} items; they are "
        f"{labels['cold_share_of_events']:.1%} of the events and "
        f"{labels['cold_share_of_lists']:.1%} of the test users' lists"
    )
    for title, prefix in (("over labels", ""), ("over users", BY_USER), ("over items", BY_ITEM)):
        print(f"  {title + ', filtered':20} {_quoted(result.cold, f'{prefix}filtered/')}")
        for name, metrics in result.cold_baselines.items():
            print(f"    {name:18} {_quoted(metrics, f'{prefix}filtered/')}")


def _quoted(metrics: dict[str, float], prefix: str) -> str:
    """Metrics at one K and the mean rank in one line; '' if there are none with the prefix.

    K is 10, or the largest where there is no 10, as with fewer items.
    """
    shown = {n: v for n, v in metrics.items() if n.rpartition("/")[0] == prefix.removesuffix("/")}
    ks = {int(n.split("@")[1]) for n in shown if "@" in n}
    k = 10 if 10 in ks else max(ks, default=0)
    names = [n for n in shown if n.endswith(f"@{k}")] + [f"{prefix}mean_rank"]
    return "  ".join(f"{n.removeprefix(prefix)} {shown[n]:.4f}" for n in names if n in shown)


if __name__ == "__main__":
    sys.exit(main())
