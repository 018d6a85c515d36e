"""Every command's --help: complete, short, of one look; and how mistakes are told."""

import argparse
import json
import re
import subprocess
import sys

import pytest

from flaxrec.cli import arguments
from flaxrec.errors import DataError
from tests.support.places import ROOT

COMMANDS = [
    *("train_main.py", "export_tflite.py"),
    *(f"-m flaxrec.{name}" for name in ("recommend", "benchmark", "parity", "sweep", "report")),
    *(f"-m flaxrec.{name}" for name in ("accuracy", "starters", "demo", "reference.examples")),
    "-m flaxrec.reporting.model_card",
]
DOC = """Weighs things.

python -m weigh THING [--unit=UNIT]
"""
EMPTY = "'' names nothing, as a variable that is not set; see --help."
# One process that forks for every command: each would import JAX for seconds.
FORKS = """
import contextlib, io, json, os, runpy, sys
import flaxrec.cli, flaxrec.training, flaxrec.research.sweeping

commands = json.loads(sys.argv[1])
for command in commands:
    child = os.fork()
    if not child:
        *_, name = command.split()
        sys.argv = [name, "--help"]
        out, status = io.StringIO(), 0
        with contextlib.redirect_stdout(out):
            try:
                if command.startswith("-m"):
                    runpy.run_module(name, run_name="__main__", alter_sys=True)
                else:
                    runpy.run_path(name, run_name="__main__")
            except SystemExit as end:
                status = end.code or 0
        print(json.dumps([command, status, out.getvalue()]), flush=True)
        os._exit(0)
    os.waitpid(child, 0)
"""


@pytest.fixture(scope="module")
def helps() -> dict[str, str]:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORKS, json.dumps(COMMANDS)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    found = {}
    for line in done.stdout.splitlines():
        command, status, text = json.loads(line)
        assert status == 0, (command, text)
        found[command] = text
    return found


@pytest.mark.parametrize("command", COMMANDS)
def test_help_is_complete_and_short(helps, command):
    text = helps[command]
    lines = text.splitlines()
    assert lines[0].endswith((".", "?"))  # what it does
    own = command.startswith("-m flaxrec.reporting.")  # has a short name alone
    assert ("flaxrec card" if own else f"python {command}") in text  # and how
    assert len(lines) < 40
    assert max(map(len, lines)) <= 100
    assert lines[-1].split() == ["--help", "show", "this"]
    source = ROOT / (command.removeprefix("-m ").replace(".", "/") + ".py")
    if not command.startswith("-m"):
        source = ROOT / "flaxrec" / command
    if not source.exists():
        source = source.with_suffix("") / "__main__.py"
    code = source.read_text(encoding="utf-8")
    defined = re.findall(r"add(?:_argument|_switch)?\(\s*\"--(\w+)\"(?![^\n]*SUPPRESS)", code)
    shown = re.findall(r"^  --(?:\[no\])?([\w.]+)", text, re.MULTILINE)
    assert {name for name in shown if name not in ("help", "config", "config.FIELD")} == set(
        defined
    )
    assert "absl" not in text
    assert "usage:" not in text


@pytest.mark.parametrize("command", COMMANDS)
def test_every_argument_has_one_look(helps, command):
    """'  NAME' and, from one column on, what it does; every argument has an explanation."""
    head, _, listed = helps[command].rpartition("\n\n")
    assert head
    for line in listed.splitlines():
        assert re.match(r"  \S.{24} \S|  \S{25,}$| {28}\S", line), line
        if not line.startswith("   "):
            assert line[2:4] == "--" or line[2].isupper(), line


def test_values_are_called_as_in_the_docstring():
    parser = arguments.Parser(DOC)
    parser.add_argument("thing", help="what to weigh")
    parser.add_argument("--unit", choices=("g", "kg"), default="g", help="of the figure")
    parser.add_argument("--times", type=int, default=0, help="weigh again")
    parser.add_argument("--log", metavar="FILE", help="write there")
    parser.add_argument("--tare", action=argparse.BooleanOptionalAction, default=True, help="first")
    parser.add_argument("--hidden", help=argparse.SUPPRESS)
    assert parser.format_help() == (
        "Weighs things.\n\n"
        "python -m weigh THING [--unit=UNIT]\n\n"
        "  THING                     what to weigh\n"
        "  --unit=UNIT               g, kg: of the figure (default g)\n"
        "  --times=N                 weigh again (default 0)\n"
        "  --log=FILE                write there\n"
        "  --[no]tare                first (default on)\n"
        "  --help                    show this\n"
    )


def test_long_explanations_go_on_below_each_other():
    text = arguments.help_text(DOC, [("--an_argument_of_many_letters", "word " * 30)])
    first, *others = text.splitlines()[4:]
    assert first == "  --an_argument_of_many_letters"
    assert [line[:28].strip() for line in others] == [""] * len(others)
    assert sum(line.count("word") for line in others) == 30


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ([], "the following arguments are required: thing; see --help."),
        (["x", "--unt=kg"], "unrecognized arguments: --unt=kg; see --help."),
        (["x", "--uni=kg"], "unrecognized arguments: --uni=kg; see --help."),  # no abbreviations
        (["x", "--unit="], f"argument --unit: {EMPTY}"),
        (["x", "--unit", ""], f"argument --unit: {EMPTY}"),
        ([""], f"argument thing: {EMPTY}"),
    ],
)
def test_mistakes_are_one_sentence(given, sentence, capsys):
    parser = arguments.Parser(DOC)
    parser.add_argument("thing", help="what to weigh")
    parser.add_argument("--unit", help="of the figure")
    with pytest.raises(SystemExit) as end:
        parser.parse(given)
    assert end.value.code == 2
    assert capsys.readouterr().err == f"flaxrec: {sentence}\n"


def test_a_default_may_be_empty():
    parser = arguments.Parser(DOC)
    parser.add_argument("--unit", default="")
    assert parser.parse([]).unit == ""


def test_an_empty_value_is_one_where_a_flag_takes_any_text():
    parser = arguments.Parser(DOC)
    parser.add_argument("thing", nargs="*", type=arguments.any_text, help="what to weigh")
    parser.add_argument("--unit", default="", help="of the figure")
    assert parser.parse([""]).thing == [""]
    assert vars(parser.parse([])) == {"thing": [], "unit": ""}


def parsed(*given: str) -> argparse.Namespace:
    parser = arguments.Parser(DOC)
    parser.add_argument("thing", nargs="*", help="what to weigh")
    parser.add_argument("--unit", type=arguments.comma_list, default=[], help="of the figure")
    parser.add_argument("--times", type=arguments.number(1, 99), help="weigh again")
    parser.add_switch("--tare_first", "first", default=None)
    parser.add_overrides("a field")
    return parser.parse(given)


@pytest.mark.parametrize(
    ("given", "on"),
    [
        ("", None),
        ("--tare_first", True),
        ("-tare_first", True),
        ("--tare_first=true", True),
        ("--tare_first=1", True),
        ("--notare_first", False),
        ("--no-tare_first", False),
        ("--tare_first=False", False),
        ("--notare_first=f", True),
    ],
)
def test_a_switch(given, on):
    assert parsed(*filter(None, [given])).tare_first is on


def test_flags_stand_anywhere_with_one_dash_or_two():
    given = parsed("a", "-times=2", "b", "--unit", "g, kg", "--", "--times", "-c")
    assert given.thing == ["a", "b", "--times", "-c"]
    assert (given.times, given.unit) == (2, ["g", "kg"])


def test_a_value_may_begin_with_a_dash_and_so_may_what_follows_two_dashes():
    given = parsed("--unit", "-g", "-5", "--", "-a.tflite", "--", "--tare_first")
    assert given.unit == ["-g"]
    assert given.thing == ["-5", "-a.tflite", "--", "--tare_first"]
    assert given.tare_first is None


def test_arguments_that_begin_with_a_dash_where_a_command_takes_them():
    parser = arguments.Parser(DOC, takes_dashes=True)
    parser.add_argument("thing", nargs="+", help="what to weigh")
    parser.add_argument("--unit", help="of the figure")
    given = parser.parse(["-ab", "--unit", "g", "--c", "-unit", "-d", "-", "--no"])
    assert given.thing == ["-ab", "--c", "-", "--no"]
    assert given.unit == "-d"


def test_overrides_are_text_by_path():
    given = parsed(
        "--config.train.epochs=3", "-config.data.path", "a=b", "a", "--config.name=x=y", "b",
        "--config.model.activity_groups[0].encoder=lstm", "--noconfig.reference_mode", "c",
        "--config.export.enabled",
    )  # fmt: skip
    assert given.overrides == {
        "train.epochs": "3",
        "data.path": "a=b",
        "name": "x=y",
        "model.activity_groups[0].encoder": "lstm",
        "reference_mode": "false",
        "export.enabled": "true",
    }
    assert given.thing == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ("--times=0", "argument --times: '0' is not a number from 1 to 99; see --help."),
        ("--times=x", "argument --times: 'x' is not a number from 1 to 99; see --help."),
        ("--unit=", f"argument --unit: {EMPTY}"),
        ("--tare_first=maybe", "--tare_first=maybe is neither true nor false; see --help."),
        ("--notimes", "unrecognized arguments: --notimes; see --help."),
        ("--config[0]=3", "unrecognized arguments: --config[0]=3; see --help."),
    ],
)
def test_values_that_do_not_fit_are_told(given, sentence, capsys):
    with pytest.raises(SystemExit) as end:
        parsed("a", given)
    assert end.value.code == 2
    assert capsys.readouterr().err == f"flaxrec: {sentence}\n"


@pytest.mark.parametrize("lines", [1, 100_000])
def test_a_reader_may_stop_early(lines):
    code = "from flaxrec.cli import arguments; import sys; "
    code += f"sys.exit(arguments.run(lambda: print('word\\n' * {lines})))"
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    process.stdout.close()
    _, err = process.communicate()
    assert (process.returncode, err) == (1, b"")


def test_the_status_of_a_command(capsys):
    def refused():
        raise DataError("things.csv has no column 'thing'.")

    def stopped():
        raise KeyboardInterrupt

    assert arguments.run(lambda: None) == 0
    assert arguments.run(lambda: 1) == 1
    assert arguments.run(refused) == 2
    assert capsys.readouterr().err == "flaxrec: things.csv has no column 'thing'.\n"
    assert arguments.run(stopped, "Stopped; go on.") == 130
    assert capsys.readouterr().err == "flaxrec: Stopped; go on.\n"
