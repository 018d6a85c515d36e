"""Code in the pages: commands have the flags they are given, Python compiles, JSON parses."""

import ast
import importlib
import importlib.util
import json
import re
import shlex
from pathlib import Path

import pytest

from flaxrec.__main__ import COMMANDS
from tests.support.doc_pages import blocks, commands, name, pages, problem_of
from tests.support.places import ROOT

# Placeholders of paths and names, as the pages write them.
PLACEHOLDER = re.compile(r"[A-Z][A-Z_]*|\.\.\.")
GENERAL = {"help"}


def source_of(words: list[str]) -> Path | None:
    """The Python file that a command runs, if it is one of this repository."""
    for i, word in enumerate(words):
        if word.rpartition("/")[2] == "flaxrec" and words[i + 1 : i + 2]:  # flaxrec COMMAND
            module = COMMANDS[words[i + 1]].removeprefix("flaxrec.")
            return ROOT / "flaxrec" / (module.replace(".", "/") + ".py")
        if word == "-m" and i + 1 < len(words) and words[i + 1].startswith("flaxrec"):
            file = ROOT / (words[i + 1].replace(".", "/") + ".py")
            return file if file.exists() else file.with_suffix("") / "__main__.py"
        if word.endswith(".py") and not word.startswith("-"):
            package = ROOT / "flaxrec" / word  # where the scripts' code is
            return package if package.exists() else ROOT / word
    return None


def flags_of(file: Path) -> set[str]:
    """The flags that a command defines."""
    code = file.read_text(encoding="utf-8")
    found = set(re.findall(r"add(?:_argument|_switch)?\(\s*\"--([\w-]+)\"", code))
    for imported in re.findall(r"^import (\w+)$", code, re.MULTILINE):  # of the same folder
        if (file.parent / f"{imported}.py").exists():
            found |= flags_of(file.parent / f"{imported}.py")
    if "add_switch" in code:
        found |= {f"no{name}" for name in found} | {f"no-{name}" for name in found}
    if "add_config" in code:
        found |= {"config"}
    return found | GENERAL


def problem_of_command(command: str) -> str:
    """What is wrong with a command; '' if nothing, or if it is none of ours."""
    if "&&" in command:
        return next(filter(None, map(problem_of_command, command.split("&&"))), "")
    words = shlex.split(command, comments=True)
    file = source_of(words)
    if file is None:
        return ""
    if not file.exists():
        return f"{file} does not exist"
    code = file.read_text(encoding="utf-8")
    for word in words:
        match = re.match(r"--?([A-Za-z_][\w-]*)([.\[][^=]*)?(?:=(.*))?$", word)
        if not match or word.startswith("-m"):
            continue
        flag, path, value = match.groups()
        if path:
            if "add_overrides" not in code:
                return f"{word}: {file.name} has no config"
            if problem := problem_of(f"config{path}"):
                return problem
        elif flag not in flags_of(file):
            return f"{word}: {file.name} has no such flag"
        elif flag == "config" and not PLACEHOLDER.fullmatch(value or ""):
            if problem := problem_of_config(value):
                return problem
        elif (
            flag == "sweep"
            and value.startswith("configs/")
            and not PLACEHOLDER.search(value)
            and not (ROOT / value).exists()
        ):
            return f"{word}: there is no such file"
    return ""


def problem_of_config(value: str) -> str:
    """What is wrong with FILE.py[:VARIANT]."""
    file, _, variant = value.partition(":")
    own = "/" not in file and file.endswith(".py")  # a file that the page has the reader write
    if own or PLACEHOLDER.search(Path(file).stem):
        return ""
    if "/" not in file:  # the name of a shipped config
        file = f"configs/{file}.py"
    if not (ROOT / file).exists():
        return f"there is no config {file}"
    if not variant or PLACEHOLDER.search(variant) or variant.endswith(".pbtxt"):
        return ""
    spec = importlib.util.spec_from_file_location("a_config", ROOT / file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    try:
        module.get_config(variant)
    except Exception as error:  # of whatever kind: the page's command would end with it
        return f"{value}: {error}"
    return ""


@pytest.mark.parametrize("page", pages(), ids=name)
def test_commands_have_the_flags_that_they_are_given(page):
    found = [f"{command}: {problem_of_command(command)}" for command in commands(page)]
    assert [problem for problem in found if not problem.endswith(": ")] == []


@pytest.mark.parametrize("page", pages(), ids=name)
def test_commands_in_the_text_do(page):
    text = page.read_text(encoding="utf-8")
    inline = re.findall(r"`((?:\.venv/bin/)?python [^`\n]+)`", text)
    problems = [problem_of_command(command) for command in inline]
    assert [problem for problem in problems if problem] == []


@pytest.mark.parametrize("page", pages(), ids=name)
def test_python_compiles_and_its_imports_exist(page):
    missing = []
    for code in blocks(page, "python"):
        for node in ast.walk(ast.parse(code)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("flaxrec"):
                module = importlib.import_module(node.module)
                missing += [
                    f"{node.module}.{alias.name}"
                    for alias in node.names
                    if not hasattr(module, alias.name)
                    and importlib.util.find_spec(f"{node.module}.{alias.name}") is None
                ]
    assert missing == []


@pytest.mark.parametrize("page", pages(), ids=name)
def test_json_parses(page):
    for text in blocks(page, "json"):
        json.loads(text)


@pytest.mark.parametrize(
    ("command", "problem"),
    [
        ("python train_main.py --workdr=x", "no such flag"),
        ("python train_main.py --config.train.steps=3", "TrainConfig has no field steps"),
        ("python train_main.py --config=configs/none.py", "there is no config"),
        ("python train_main.py --config=none", "there is no config"),
        ("python train_main.py --config=quickstart:smoke", ""),
        ("python train_main.py --config=configs/example_networks.py:bow,tiny", "no variant 'tiny'"),
        ("python -m flaxrec.benchmark x --config.train.epochs=3", "has no config"),
        ("python -m flaxrec.nothing x", "does not exist"),
        (".venv/bin/python -m flaxrec.sweep --sweep=configs/sweeps/none.py", "no such file"),
        ("python -m flaxrec.benchmark x --no-delegate --calls=3", ""),
        ("python -m flaxrec.sweep --sweep=configs/sweeps/NAME.py --workdir=DIR", ""),
        ("python train_main.py --config=configs/example_networks.py:bow,combined,tied", ""),
        ("pip install -e '.[all]' --quiet", ""),
    ],
)
def test_wrong_commands_are_noticed(command, problem):
    found = problem_of_command(command)
    assert problem in found
    assert bool(found) == bool(problem)
