"""What the commands with a config share: its flags, one-sentence errors, where a run lives."""

import dataclasses
import difflib
import re
import sys
import typing
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from absl import app, flags, logging
from ml_collections import config_flags

from flaxrec import config as config_lib
from flaxrec.cli import arguments
from flaxrec.config import Config
from flaxrec.errors import ConfigError, FlaxrecError
from flaxrec.training.validation import validate

_OVERRIDE = "any field of it, such as --config.train.epochs=3; see docs/configuration.md"
_default_config = ""


def define_config(default: Path) -> flags.FlagHolder[Config]:
    """The flag --config=FILE.py[:VARIANT], with overrides --config.SECTION.FIELD=VALUE."""
    global _default_config
    _default_config = str(default)
    # The default is put in at parsing: given here, config_flags would parse sys.argv on import.
    return config_flags.DEFINE_config_file(
        "config", None, f"the experiment, FILE.py[:VARIANT]; default: configs/{default.name}"
    )


def run(
    main: Callable[[Sequence[str]], None],
    *,
    takes_arguments: bool = False,
    interrupted: str = "Interrupted.",
) -> None:
    """`absl.app.run`, with errors of the user's reported in one sentence and status 2.

    Args:
      main: called with the program's name and what else is no flag.
      takes_arguments: whether there may be anything else.
      interrupted: what to say after Ctrl-C.
    """

    def guarded(argv: Sequence[str]) -> int:
        logging.set_verbosity(logging.WARNING)
        if len(argv) > 1 and not takes_arguments:
            _die(f"unexpected argument {argv[1]!r}; see --help.")
        return arguments.run(lambda: main(argv), interrupted)

    app.run(guarded, flags_parser=_parse)


def check(config: Config) -> Config:
    """The config as the library takes it: validated, of one type all through."""
    if not isinstance(config, Config):
        raise ConfigError(f"get_config() must return flaxrec.config.Config, not {type(config)}.")
    return validate(config_lib.from_json(config_lib.to_json(config)))


def default_workdir() -> Path:
    """runs/NAME[-VARIANT] for --config=configs/NAME.py[:VARIANT]; a path becomes one name."""
    file, _, variant = config_flags.get_config_filename(flags.FLAGS["config"]).partition(":")
    name = Path(file).stem
    variant = re.sub(r"[^\w.]+", "-", variant).strip("-")
    return Path("runs") / (f"{name}-{variant}" if variant else name)


def _config_first(argv: Sequence[str]) -> list[str]:
    """The arguments with --config=FILE, or the default, before its overrides."""
    program, given = argv[0], list(argv[1:])
    if "config" not in flags.FLAGS:
        return list(argv)
    chosen = _default_config
    for i, argument in enumerate(given):
        if re.fullmatch(r"--?config", argument) and i + 1 < len(given):
            chosen = given[i + 1]
            del given[i : i + 2]
            break
        if re.match(r"--?config=", argument):
            chosen = given.pop(i).partition("=")[2]
            break
    file = chosen.partition(":")[0]
    if not Path(file).is_file():
        raise ConfigError(f"There is no config file {file!r}; configs/ holds the shipped ones.")
    return [program, f"--config={chosen}", *given]


def take_overrides(argv: list[str]) -> dict[str, str]:
    """Takes each --config.SECTION.FIELD=VALUE out of the arguments; text by dotted path.

    For commands that put them into many configs; ones with a single config leave them to
    `define_config`.
    """
    found = {}
    for argument in [argument for argument in argv if _is_override(argument)]:
        path, _, value = argument.partition("=")
        found[path.lstrip("-").removeprefix("config").lstrip(".")] = value
        argv.remove(argument)
    return found


def _is_override(argument: str) -> bool:
    return re.match(r"--?config[.\[]", argument) is not None


def _parse(argv: Sequence[str]) -> list[str]:
    if any(argument in arguments.HELP for argument in argv[1:]):
        print(_help(), end="")
        sys.exit()
    try:
        # config_flags finds overrides in sys.argv itself, and wants --config before them.
        sys.argv[:] = _config_first(argv)
        return flags.FLAGS(sys.argv)
    except FlaxrecError as error:
        _die(error)
    except flags.Error as error:
        _die(f"{_one_line(error)}; see --help.")
    except SyntaxError as error:
        where = f"{error.filename}, line {error.lineno}"
        _die(f"The config file {where}, is not valid Python: {error.msg}.")
    except AttributeError as error:
        if "get_config" not in str(error):
            raise
        file = sys.argv[1].partition("=")[2]
        _die(f"The config file {file} has no function get_config().")
    except (KeyError, TypeError, ValueError, IndexError) as error:
        overrides = [argument for argument in argv if _is_override(argument)]
        if not overrides:  # the config file's own mistake: its traceback tells where
            raise
        for override in overrides:
            if told := _unknown_field(override):
                _die(told)
        _die(
            f"A --config override does not fit the config ({_one_line(error)}); given: "
            f"{' '.join(overrides) or 'none'}. The fields are listed in docs/configuration.md."
        )


def _unknown_field(override: str) -> str | None:
    """What to say of an override of a field that does not exist; None where it exists."""
    path = re.sub(r"\[\d+\]", "", override).lstrip("-").partition("=")[0]
    section: Any = Config
    _, *parts = path.split(".")
    for place, name in enumerate(parts):
        if not dataclasses.is_dataclass(section):
            return None
        hints = typing.get_type_hints(section)
        if name not in hints:
            where = ".".join(["config", *parts[:place]])
            near = difflib.get_close_matches(name, hints, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(hints)}."
            return f"{where} has no field {name!r}; {hint}"
        section = hints[name]
        if typing.get_origin(section) is list:
            (section,) = typing.get_args(section)
    return None


def _help() -> str:
    """The command's docstring and its own flags, in the order of their definition."""
    rows: list[tuple[str, str]] = []
    for flag in flags.FLAGS.get_key_flags_for_module(sys.argv[0]):
        name = f"--[no]{flag.name}" if flag.boolean else f"--{flag.name}=VALUE"
        if flag.flag_type() in ("int", "float"):
            name = f"--{flag.name}=N"
        text = re.sub(r"^<[^>]*>: ", "", flag.help)  # absl's list of choices, which comes below
        if flag.name == "config":
            rows = [("--config=FILE", text), ("--config.FIELD=VALUE", _OVERRIDE), *rows]
            continue
        default = ",".join(flag.default) if isinstance(flag.default, list) else flag.default
        choices = getattr(flag.parser, "enum_values", None)
        rows.append((name, arguments.explanation(text, default, choices)))
    return arguments.help_text(sys.modules["__main__"].__doc__ or "", [*rows, arguments.HELP_ROW])


def _one_line(error: Exception) -> str:
    # A KeyError's text is the repr of its message.
    message = error.args[0] if isinstance(error, KeyError) and error.args else error
    return " ".join(str(message).split()).rstrip(".")


def _die(error: object) -> NoReturn:
    arguments.say(error)
    sys.exit(2)
