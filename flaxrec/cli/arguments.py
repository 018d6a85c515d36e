"""The parser of all commands: help, flags, config overrides, error messages."""

import argparse
import contextlib
import inspect
import io
import os
import re
import signal
import sys
import textwrap
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NoReturn

from flaxrec.config.paths import TRUTHS
from flaxrec.errors import FlaxrecError, refused_by_system, shortened, shown
from flaxrec.terminal import stopping

HELP = ("--help", "-help", "-h", "-?")
HELP_ROW = ("--help", "show this")
_COLUMN = 28  # where explanations begin
_WIDTH = 100
SEED = (0, 2**63 - 1)  # for `number`


class Parser(argparse.ArgumentParser):
    """An argparse parser whose help is a module's docstring and one row per argument.

    `parse` takes flags with one or two dashes, and switches as --name, --noname and --name=false.
    What follows '--' is no flag.

    Args:
      doc: the docstring: a summary, an empty line, the command line, and further notes. The help
        names a flag's value as the command line does, such as DIR in --output=DIR.
      takes_dashes: an argument that begins with '-' and is no flag of the command is a plain one,
        such as an id.
    """

    def __init__(self, doc: str | None, takes_dashes: bool = False):
        super().__init__(allow_abbrev=False, add_help=False)
        self._doc = doc or ""
        self._takes_dashes = takes_dashes

    def add_switch(self, name: str, help: str, default: bool | None = False) -> None:
        """Adds --[no]NAME."""
        self.add_argument(name, action=argparse.BooleanOptionalAction, default=default, help=help)

    def add_config(self, help: str, default: str | None = None) -> None:
        """Adds --config=FILE[:VARIANT]: a file or the name of a shipped config."""
        self.add_argument("--config", metavar="FILE", default=default, help=help)

    def add_overrides(self, help: str) -> None:
        """Adds --config.SECTION.FIELD=VALUE; `parse` returns `overrides`, text by dotted path."""
        self.add_argument(
            "--config.FIELD", dest="overrides", metavar="VALUE", default={}, help=help
        )

    def parse(self, argv: Sequence[str] | None = None) -> argparse.Namespace:
        """Parses the arguments (default: the command line); mistakes end the command."""
        switches = "|".join(
            action.option_strings[0].removeprefix("--")
            for action in self._actions
            if isinstance(action, argparse.BooleanOptionalAction)
        )
        switches = switches or "(?!)"  # matches nothing
        takes_overrides = any(action.dest == "overrides" for action in self._actions)
        rest = list(sys.argv[1:] if argv is None else argv)
        flags: list[str] = []
        plain: list[str] = []
        overrides: dict[str, str] = {}
        while rest:
            as_given = rest.pop(0)
            argument = _two_dashes(as_given)
            flag, equals, value = argument.partition("=")
            if argument in HELP:
                print(self.format_help(), end="")
                sys.exit()
            if argument == "--":
                plain += rest
                break
            if takes_overrides and (field := re.fullmatch(r"--(no)?config\.(.*)", flag)):
                if not equals:
                    has_value = not field[1] and rest and not rest[0].startswith("-")
                    value = rest.pop(0) if has_value else "true"
                overrides[field[2]] = "false" if field[1] else value
            elif switch := re.fullmatch(rf"--(no-?)?({switches})", flag):
                on = TRUTHS.get(value.lower()) if equals else True
                if on is None:
                    self.error(f"{argument} is neither true nor false")
                flags.append(f"--{'' if on != bool(switch[1]) else 'no-'}{switch[2]}")
            elif flag in self._option_string_actions:
                if not equals and rest and not self._is_flag(rest[0]):
                    argument = f"{flag}={rest.pop(0)}"
                flags.append(argument)
            elif re.match(r"-[^\d.]", as_given) and not self._takes_dashes:
                flags.append(argument)  # for argparse to refuse
            else:
                plain.append(as_given)
        given = self.parse_args([*flags, *(["--"] if plain else []), *plain])
        if takes_overrides:
            given.overrides = overrides
        return given

    def _is_flag(self, argument: str) -> bool:
        flag = _two_dashes(argument).partition("=")[0]
        return argument == "--" or flag in self._option_string_actions

    def run(
        self,
        command: Callable[[argparse.Namespace], int | None],
        argv: Sequence[str] | None = None,
        interrupted: str = "Interrupted.",
    ) -> int:
        """Parses the arguments and runs the command with them, as `run` does."""
        given = self.parse(argv)
        return run(lambda: command(given), interrupted)

    def format_help(self) -> str:
        """The docstring, then the arguments."""
        rows = [_row(action) for action in self._actions if action.help != argparse.SUPPRESS]
        return help_text(self._doc, [*rows, HELP_ROW])

    def error(self, message: str) -> NoReturn:
        """Ends the command with one sentence and status 2."""
        say(f"{shortened(message)}; see --help.")  # argparse quotes what was given, of any length
        sys.exit(2)

    def _get_value(self, action: argparse.Action, arg_string: str) -> Any:
        # It would count as not given: a run without --warm_start, a result without --json.
        given = not arg_string and action.default != ""  # a default comes here, too
        if given and action.type in (None, comma_list) and action.choices is None:
            raise argparse.ArgumentError(action, "'' names nothing, as a variable that is not set")
        return super()._get_value(action, arg_string)

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            listed = ", ".join(map(str, action.choices))
            raise argparse.ArgumentError(action, f"{shown(value)} should be one of {listed}")


def help_text(doc: str, rows: Iterable[tuple[str, str]]) -> str:
    """Help of a command.

    Args:
      doc: its module's docstring.
      rows: (argument, explanation). The name that the docstring gives a flag's value, such as DIR
        in --output=DIR, replaces that of the row.
    """
    doc = inspect.cleandoc(doc)
    lines = []
    for name, text in rows:
        flag, equals, _ = name.partition("=")
        called = re.search(rf"{re.escape(flag)}=([A-Z][A-Z_]*)", doc)
        name = f"{flag}={called[1]}" if equals and called else name
        wrapped = textwrap.wrap(text, _WIDTH - _COLUMN, break_on_hyphens=False)
        if len(name) > _COLUMN - 4:
            lines.append(f"  {name}")
            name = ""
        first, *others = wrapped
        lines.append(f"  {name}".ljust(_COLUMN) + first)
        lines += [" " * _COLUMN + line for line in others]
    return "\n".join([doc, "", *lines, ""])


def explanation(text: str, default: Any = None, choices: Iterable[str] | None = None) -> str:
    """The explanation of an argument with its choices and its default."""
    if choices:
        text = f"{', '.join(choices)}: {text}"
    if default is None or default is False or default in ("", [], {}):
        return text
    return f"{text} (default {'on' if default is True else default})"


def number(low: float, high: float, kind: type = int) -> Callable[[str], Any]:
    """An argument `type`: numbers from `low` to `high`, in ASCII digits as Python reads them."""

    def parse(text: str) -> Any:
        with contextlib.suppress(ValueError):  # also of an int with thousands of digits
            if text.isascii() and low <= (value := kind(text)) <= high:
                return value
        raise argparse.ArgumentTypeError(f"{shown(text)} is not a number from {low} to {high}")

    return parse


def any_text(text: str) -> str:
    """An argument `type`: also an empty text, which other flags refuse."""
    return text


def comma_list(text: str) -> list[str]:
    """An argument `type`: texts separated by commas."""
    return [part.strip() for part in text.split(",")] if text else []


def run(command: Callable[[], int | None], interrupted: str = "Interrupted.") -> int:
    """Runs a command; reports a FlaxrecError or an interruption in one sentence.

    Ends quietly when nobody reads stdout any more, as in `flaxrec recommend ... | head -1`.

    Args:
      command: returns its exit status; None is 0.
      interrupted: message after Ctrl-C or SIGTERM, where the command has none of its own.

    Returns:
      The exit status: the command's own, 2 after a FlaxrecError, 130 after Ctrl-C, 143 after
      SIGTERM, 1 where stdout was closed.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # titles that the terminal's encoding lacks
    try:
        with stopping.handled():
            status = command() or 0
        sys.stdout.flush()
        return status
    except BrokenPipeError:
        _drop_output()
        return 1
    except FlaxrecError as error:
        say(error)
        return 2
    except OSError as error:
        if (sentence := refused_by_system(error)) is None:
            raise
        if error.filename is None:
            _drop_output()
        say(shortened(sentence))
        return 2
    except KeyboardInterrupt as stop:
        say(str(stop) or interrupted)
        return 128 + getattr(stop, "number", signal.SIGINT)


def _drop_output() -> None:
    """What is left of stdout would be written, and fail again, at the interpreter's end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def say(message: object) -> None:
    """Prints a message of the command to stderr."""
    print(f"flaxrec: {message}", file=sys.stderr, flush=True)


def _two_dashes(argument: str) -> str:
    return re.sub(r"^-(?=[A-Za-z]\w)", "--", argument)


def _row(action: argparse.Action) -> tuple[str, str]:
    name = action.option_strings[0] if action.option_strings else action.dest.upper()
    if isinstance(action, argparse.BooleanOptionalAction):
        name = f"--[no]{name.removeprefix('--')}"
    elif action.option_strings and action.nargs != 0:
        name += f"={action.metavar or ('N' if callable(action.type) else 'VALUE')}"
    return name, explanation(action.help or "", action.default, action.choices)
