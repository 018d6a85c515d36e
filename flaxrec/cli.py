"""What the commands share: config flags, one-sentence errors, where a run lives."""

import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from absl import app, flags, logging
from ml_collections import config_flags

from flaxrec import config as config_lib
from flaxrec.config import Config
from flaxrec.errors import ConfigError, FlaxrecError


def define_config(default: str) -> flags.FlagHolder[Config]:
    """The flag --config=FILE.py[:VARIANT], with overrides --config.SECTION.FIELD=VALUE."""
    return config_flags.DEFINE_config_file("config", default, "The experiment's config file.")


def run(main: Callable[[Sequence[str]], None]) -> None:
    """`absl.app.run`, with errors of the user's reported in one sentence and status 2."""

    def guarded(argv: Sequence[str]) -> None:
        logging.set_verbosity(logging.WARNING)
        if len(argv) > 1:
            raise app.UsageError(f"unexpected argument {argv[1]!r}")
        try:
            main(argv)
        except FlaxrecError as error:
            _die(error)
        except KeyboardInterrupt:
            _die("Interrupted; the same command goes on from the last checkpoint.", status=130)

    app.run(guarded, flags_parser=_parse)


def check(config: Config) -> Config:
    """The config as the library takes it: validated, of one type all through."""
    if not isinstance(config, Config):
        raise ConfigError(f"get_config() must return flaxrec.config.Config, not {type(config)}.")
    return config_lib.validate(config_lib.from_json(config_lib.to_json(config)))


def default_workdir() -> Path:
    """runs/NAME[-VARIANT] for --config=configs/NAME.py[:VARIANT]."""
    file, _, variant = config_flags.get_config_filename(flags.FLAGS["config"]).partition(":")
    name = Path(file).stem
    return Path("runs") / (f"{name}-{variant.replace(',', '-')}" if variant else name)


def _parse(argv: Sequence[str]) -> list[str]:
    try:
        return flags.FLAGS(argv)
    except FlaxrecError as error:
        _die(error)
    except flags.Error as error:
        _die(f"{_one_line(error)} See --help.")
    except FileNotFoundError as error:
        _die(f"There is no config file {error.filename!r}; configs/ holds the shipped ones.")
    except (KeyError, AttributeError, TypeError, ValueError, IndexError) as error:
        overrides = [a for a in argv if re.match(r"--?config[.\[]", a)]
        _die(
            f"A --config override does not fit the config ({_one_line(error)}); given: "
            f"{' '.join(overrides) or 'none'}. The fields are listed in flaxrec/config.py."
        )


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()).strip("'\"")


def _die(error: object, status: int = 2) -> NoReturn:
    print(f"flaxrec: {error}", file=sys.stderr, flush=True)
    sys.exit(status)
