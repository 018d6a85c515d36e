"""Trains, evaluates and exports one experiment.

python train_main.py [--config=configs/NAME.py[:VARIANT]] [--workdir=DIR] [--warm_start=RUN]
    [--config.SECTION.FIELD=VALUE ...]
    [--distributed | --distributed_coordinator=HOST:PORT --distributed_processes=N
    --distributed_process=I]

Without arguments it takes generated data and needs no network. Every config has the variant smoke,
which takes seconds; docs/commands.md lists them.
"""

import argparse
import os
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from flaxrec.cli import arguments
from flaxrec.config import Config, loading
from flaxrec.config.loading import Loaded
from flaxrec.errors import ConfigError, TrainingError
from flaxrec.terminal import stopping, watch

# JAX and what needs it are imported by the functions: the parent of a process that trains with
# others needs none of it, and lives as long.
if TYPE_CHECKING:
    from flaxrec.training.result import Result

_WARM_START = "train.warm_start"
Place = tuple[str | None, int | None, int | None]  # the arguments of `processes.join`


def train(
    config: Config, workdir: str | os.PathLike[str], say: Callable[[str], None] = print
) -> "Result":
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
    from flaxrec.exporting.trial import try_conversion
    from flaxrec.training import processes, run
    from flaxrec.training.validation import checked
    from flaxrec.training.workdir import Workdir

    config = checked(config)
    if not processes.is_first():
        processes.wait()
    place = Workdir(workdir)  # which may finish what a killed run left
    if processes.is_first():
        processes.wait()
    return run.train(config, place, say, before=try_conversion)


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
    parser.add_switch(
        "--distributed",
        "train with other processes, which run the same command elsewhere; they find each other "
        "under SLURM, Open MPI, Kubernetes and on TPUs (docs/scale.md)",
    )
    parser.add_argument(
        "--distributed_coordinator", help="where they do not: the first process, HOST:PORT"
    )
    parser.add_argument(
        "--distributed_processes", type=arguments.number(1, 100_000), help="how many there are"
    )
    parser.add_argument(
        "--distributed_process",
        type=arguments.number(0, 99_999),
        help="which one this is, from 0; it shares --workdir with the others",
    )
    stopped = "Interrupted; the same command goes on from the last checkpoint."
    if not watch.is_child():
        given = sys.argv[1:] if argv is None else argv
        return parser.run(lambda parsed: _run(parsed, given), argv, stopped)
    watch.attend()
    try:
        status = parser.run(_run_child, argv, stopped)
    except BaseException:
        traceback.print_exc()
        status = 1
    watch.leave(status)


def _place(given: argparse.Namespace) -> Place | None:
    """This process among others; None: it trains alone.

    Raises:
      ConfigError: the flags do not go together.
    """
    told = given.distributed_coordinator, given.distributed_processes, given.distributed_process
    if told == (None, None, None):
        return told if given.distributed else None
    host, _, port = (told[0] or "").rpartition(":")
    if None in told or not (host and port.isascii() and port.isdigit()):
        raise ConfigError(
            "--distributed_coordinator=HOST:PORT, --distributed_processes=N and "
            "--distributed_process=I go together; give all three, or --distributed alone."
        )
    if told[2] >= told[1]:
        raise ConfigError(
            f"--distributed_process is {told[2]}, but with --distributed_processes={told[1]} the "
            f"last one is {told[1] - 1}; number them from 0."
        )
    return told


def _run_child(given: argparse.Namespace) -> None:
    """Trains with other processes; the parent exports."""
    from flaxrec.devices import keep_freed_memory
    from flaxrec.training import processes

    place, experiment = _place(given), _experiment(given)
    assert place
    keep_freed_memory()
    processes.join(*place)
    is_first = processes.is_first()
    result = train(experiment.config, _workdir(given, experiment))
    if is_first:
        report(result)
        watch.tell_first()
    processes.end()


def _end_of_child(given: argparse.Namespace, argv: Sequence[str], experiment: Loaded) -> int:
    """Runs `_run_child` in a process of its own, and exports; returns the exit status."""
    if os.name == "nt":
        raise ConfigError("--distributed needs Linux or macOS; train in one process.")
    ended = watch.run("flaxrec.train_main", argv)
    if ended.status in (2, 128 + signal.SIGINT, 128 + signal.SIGTERM):
        return ended.status  # it said a sentence
    if ended.signal:
        raise stopping.Stopped(number=ended.signal)
    if ended.status:
        raise TrainingError(
            f"This process of the run did not finish ({ended.how}), as when another one has ended "
            "or cannot be reached; start all with the same command again: they go on from the last "
            "checkpoint."
        )
    if ended.is_first:
        _export(experiment.config, _workdir(given, experiment))
    return 0


def _experiment(given: argparse.Namespace) -> Loaded:
    if given.warm_start is not None:
        given.overrides[_WARM_START] = given.warm_start
    return loading.load(given.config, given.overrides)


def _workdir(given: argparse.Namespace, experiment: Loaded) -> Path:
    return Path(given.workdir or Path("runs") / experiment.run)


def _run(given: argparse.Namespace, argv: Sequence[str]) -> int:
    place, experiment = _place(given), _experiment(given)
    if place:
        return _end_of_child(given, argv, experiment)
    from flaxrec.devices import keep_freed_memory

    keep_freed_memory()
    result = train(experiment.config, _workdir(given, experiment))
    report(result)
    _export(experiment.config, result.workdir)
    return 0


def _export(config: Config, folder: Path) -> None:
    """Exports the run in the folder, if its config says so."""
    if not config.export.enabled:
        return
    from flaxrec.exporting import converter
    from flaxrec.training.workdir import Workdir

    workdir = Workdir(folder)
    if package := converter.missing(config.export):
        extra = "export" if package == "TensorFlow" else "litert"
        print(
            f"{package} is not installed, so there is no .tflite: copy "
            f"{folder} to a machine with flaxrec[{extra}] and run export_tflite.py"
            f"{' --config=' + config.code.file if config.code.file else ''} there."
        )
        return
    from flaxrec.exporting.bundle import export
    from flaxrec.recommend import show_example

    show_example(export(workdir).folder, workdir.read_histories()[0])


def report(result: "Result") -> None:
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


def report_cold(result: "Result") -> None:
    """Prints how new items are ranked, and whether they are shown."""
    from flaxrec.evaluation.cold import BY_ITEM, BY_USER

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
