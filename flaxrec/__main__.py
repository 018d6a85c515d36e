"""On-device sequential recommendation: from your data to one .tflite with the top-K inside.

flaxrec COMMAND ..., or python -m flaxrec COMMAND ...; flaxrec COMMAND --help tells more.
"""

import importlib
import importlib.util
import sys
from collections.abc import Sequence

from flaxrec.cli import arguments
from flaxrec.config.paths import did_you_mean
from flaxrec.errors import ConfigError

COMMANDS = {
    "train": "flaxrec.train_main",
    "prepare": "flaxrec.data.prepare",
    "export": "flaxrec.export_tflite",
    "recommend": "flaxrec.recommend.__main__",
    "demo": "flaxrec.demo.__main__",
    "benchmark": "flaxrec.benchmark",
    "accuracy": "flaxrec.accuracy",
    "sweep": "flaxrec.sweep",
    "report": "flaxrec.report",
    "parity": "flaxrec.parity",
    "card": "flaxrec.reporting.model_card",
    "starters": "flaxrec.starters.__main__",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command that the first argument names; returns its exit status."""
    name, *rest = (sys.argv[1:] if argv is None else argv) or ["--help"]
    if name in arguments.HELP:
        rows = [(command, _summary(module)) for command, module in COMMANDS.items()]
        print(arguments.help_text(__doc__ or "", rows), end="")
        return 0
    return arguments.run(lambda: _command(name)(rest))


def _command(name: str):
    if name not in COMMANDS:
        raise ConfigError(f"There is no command {name!r}; {did_you_mean(name, COMMANDS)}")
    return importlib.import_module(COMMANDS[name]).main


def _summary(module: str) -> str:
    """The first line of a command's docstring, without importing what the command needs."""
    spec = importlib.util.find_spec(module)
    assert spec
    assert spec.origin
    with open(spec.origin, encoding="utf-8") as file:
        return file.readline().strip('" \n')


if __name__ == "__main__":
    sys.exit(main())
