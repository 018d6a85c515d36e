"""How every command shows its help and tells of mistakes: one look, whatever parses the flags."""

import argparse
import inspect
import re
import sys
import textwrap
from collections.abc import Callable, Iterable
from typing import Any, NoReturn

from flaxrec.errors import FlaxrecError

HELP = ("--help", "-help", "-h", "-?")
HELP_ROW = ("--help", "show this")
_COLUMN = 28  # where an argument's explanation begins
_WIDTH = 100


class Parser(argparse.ArgumentParser):
    """An argparse parser whose help is a module's docstring and a line or two an argument.

    Args:
      doc: the docstring: what the command does, an empty line, the command itself, and what else
        a user must know. A flag's value is called as in the command, such as DIR in --output=DIR.
    """

    def __init__(self, doc: str):
        super().__init__(allow_abbrev=False, add_help=False)
        self.add_argument(*HELP, action="help", help=argparse.SUPPRESS)
        self._doc = doc

    def format_help(self) -> str:
        """The docstring, then the arguments."""
        rows = [_row(action) for action in self._actions if action.help != argparse.SUPPRESS]
        return help_text(self._doc, [*rows, HELP_ROW])

    def error(self, message: str) -> NoReturn:
        """Ends the command with one sentence and status 2."""
        say(f"{message}; see --help.")
        sys.exit(2)


def help_text(doc: str, rows: Iterable[tuple[str, str]]) -> str:
    """Help of a command.

    Args:
      doc: its module's docstring.
      rows: (argument, explanation). A value's name, as in --output=VALUE, gives way to the one in
        the docstring.
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
    """What an argument does, which values it takes, and what holds without it."""
    if choices:
        text = f"{', '.join(choices)}: {text}"
    if default is None or default is False or default in ("", []):
        return text
    return f"{text} (default {'on' if default is True else default})"


def run(command: Callable[[], int | None], interrupted: str = "Interrupted.") -> int:
    """Runs a command; errors of the user's, and an interruption, are told in one sentence.

    Args:
      command: returns its exit status; None is 0.
      interrupted: what to say after Ctrl-C.

    Returns:
      The exit status: the command's own, 2 after a FlaxrecError, 130 after Ctrl-C.
    """
    try:
        return command() or 0
    except FlaxrecError as error:
        say(error)
        return 2
    except KeyboardInterrupt:
        say(interrupted)
        return 130


def say(message: object) -> None:
    """A message of the command itself, to stderr."""
    print(f"flaxrec: {message}", file=sys.stderr, flush=True)


def _row(action: argparse.Action) -> tuple[str, str]:
    name = action.option_strings[0] if action.option_strings else action.dest.upper()
    if isinstance(action, argparse.BooleanOptionalAction):
        name = f"--[no]{name.removeprefix('--')}"
    elif action.option_strings and action.nargs != 0:
        name += f"={action.metavar or ('N' if callable(action.type) else 'VALUE')}"
    return name, explanation(action.help or "", action.default, action.choices)
