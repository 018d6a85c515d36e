"""The order of rooms: a made-up package breaks each rule once; the real one breaks none."""

import itertools
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.places import ROOT
from tools import check_rooms

FILES = {
    "flaxrec/__init__.py": "__version__ = '1'\n",
    "flaxrec/errors.py": "",
    "flaxrec/data/__init__.py": "",
    "flaxrec/data/read.py": "import polars\nfrom flaxrec import errors\n",
    "flaxrec/data/rows.py": "import numpy as np\nfrom ..errors import *\n",
    "flaxrec/tflite.py": "from flaxrec.errors import ExportError\n",
    "flaxrec/recommender.py": "import json\nfrom flaxrec.data import rows\nimport flaxrec.tflite\n",
    "flaxrec/train.py": "import jax\nfrom flaxrec.data.read import rows_of\n",
    "train_main.py": "import flaxrec.train\n",
    "docs/architecture.md": """# Rooms

| room | what it is |
|---|---|
| `errors` | sentences |
| `data` | arrays |
| `tflite` | bytes |
| `recommender` | lists |
| `train` | steps |

| module | not a room |
|---|---|
| `nothing` | at all |
""",
}
TABLE = "docs/architecture.md"
DOWN = ", which stands further down in docs/architecture.md; move what both need up, or hand it in "
DOWN += "as an argument."
AT_TOP = " is imported at module level; do it in a function."
NEEDED = "move the import into a module that it does not need."
IN_FUNCTION = "def later():\n    from {} import {}\n"


def problems(root: Path, capsys, *, changed: dict[str, str]) -> list[str]:
    """What the command says of the made-up package with some files changed."""
    for name, text in (FILES | changed).items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    status = check_rooms.main([f"--root={root}"])
    lines = capsys.readouterr().out.splitlines()
    assert status == (1 if lines else 0)
    return lines


def test_the_made_up_package_is_in_order(tmp_path, capsys):
    assert problems(tmp_path, capsys, changed={}) == []


@pytest.mark.parametrize(
    "line",
    ["import flaxrec.train", "from flaxrec import train", "from flaxrec.train import step"],
)
def test_an_import_of_a_room_further_down(line, tmp_path, capsys):
    changed = {"flaxrec/data/read.py": f"import polars\n{line}\n", "flaxrec/train.py": ""}
    expected = f"flaxrec/data/read.py:2: data imports train{DOWN}"
    assert problems(tmp_path, capsys, changed=changed) == [expected]


def test_imports_for_types_do_not_run(tmp_path, capsys):
    """In the package itself, which everything needs; in a room the order holds for them, too."""
    typed = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from flaxrec.train import x\n"
    assert problems(tmp_path, capsys, changed={"flaxrec/__init__.py": typed}) == []
    changed = {"flaxrec/data/rows.py": typed, "flaxrec/recommender.py": "", "flaxrec/train.py": ""}
    expected = f"flaxrec/data/rows.py:3: data imports train{DOWN}"
    assert problems(tmp_path, capsys, changed=changed | {"flaxrec/__init__.py": ""}) == [expected]


@pytest.mark.parametrize(
    ("origin", "name"), [("flaxrec", "data"), ("..data.rows", "f"), ("flaxrec.data", "rows")]
)
def test_functions_and_relative_imports_count(origin, name, tmp_path, capsys):
    changed = {
        "flaxrec/errors.py": "",
        "flaxrec/errors/__init__.py": "",
        "flaxrec/errors/told.py": IN_FUNCTION.format(origin, name),
        "flaxrec/data/read.py": "",
        "flaxrec/data/rows.py": "",
    }
    (tmp_path / "flaxrec" / "errors").mkdir(parents=True)
    (found,) = problems(tmp_path, capsys, changed=changed)
    assert found == f"flaxrec/errors/told.py:2: errors imports data{DOWN}"


def test_a_circle(tmp_path, capsys):
    changed = {"flaxrec/errors.py": IN_FUNCTION.format("flaxrec.train", "step")}
    circle, down = problems(tmp_path, capsys, changed=changed)[:2]
    way = re.fullmatch(r".*: rooms import in a circle \((.*)\); break it\.", circle)[1].split(
        " -> "
    )
    assert sorted(itertools.pairwise(way)) == [
        ("data", "errors"), ("errors", "train"), ("train", "data"),
    ]  # fmt: skip
    assert down == f"flaxrec/errors.py:2: errors imports train{DOWN}"


@pytest.mark.parametrize("file", ["flaxrec/train.py", "train_main.py"])
@pytest.mark.parametrize(
    ("line", "module"),
    [
        ("import tensorflow as tf", "tensorflow"),
        ("from tensorflow.lite import python", "tensorflow.lite.python"),
        ("from jax.experimental import jax2tf", "jax.experimental.jax2tf"),
    ],
)
def test_tensorflow_at_module_level(file, line, module, tmp_path, capsys):
    changed = {file: f"import jax\nif jax:\n    {line}\n"}
    assert problems(tmp_path, capsys, changed=changed) == [f"{file}:3: {module}{AT_TOP}"]
    changed = {file: f"import jax\ndef convert():\n    {line}\n"}
    assert problems(tmp_path, capsys, changed=changed) == []


@pytest.mark.parametrize(
    ("file", "text", "line", "module"),
    [
        ("flaxrec/recommender.py", "import jax\n", 1, "jax"),
        ("flaxrec/data/rows.py", "def table():\n    import polars.io\n", 2, "polars.io"),
        # Packages around what is imported run as well, though none of their functions.
        ("flaxrec/data/__init__.py", "import absl\ndef f():\n    import rich\n", 1, "absl"),
        ("flaxrec/__init__.py", "import flax\n", 1, "flax"),
    ],
)
def test_what_the_recommender_needs(file, text, line, module, tmp_path, capsys):
    changed = {file: text, "flaxrec/recommender.py": FILES["flaxrec/recommender.py"]}
    found = problems(tmp_path, capsys, changed=changed | {file: FILES.get(file, "") + text})
    line += FILES[file].count("\n")
    expected = f"{file}:{line}: recommender needs this file, which imports {module}; {NEEDED}"
    assert [problem for problem in found if "recommender needs" in problem] == [expected]


@pytest.mark.parametrize("module", ["jax.numpy", "tensorflow", "polars"])
def test_tflite_knows_neither_jax_nor_tensorflow(module, tmp_path, capsys):
    changed = {
        "flaxrec/errors.py": f"def later():\n    import {module}\n",
        "flaxrec/recommender.py": "",
    }
    expected = f"flaxrec/errors.py:2: tflite needs this file, which imports {module}; {NEEDED}"
    assert problems(tmp_path, capsys, changed=changed) == [expected]


def test_every_room_stands_in_the_table_once(tmp_path, capsys):
    table = FILES[TABLE].replace("| `data` | arrays |\n", "").replace(
        "| `train` |", "| `errors` | twice |\n| `trane` | misspelt |\n| `train` |"
    )  # fmt: skip
    found = problems(tmp_path, capsys, changed={TABLE: table})
    assert f"{TABLE}:8: room errors stands in the table twice; leave one line." in found
    assert f"{TABLE}:9: there is no flaxrec/trane; take the line out of the table." in found
    assert f"{TABLE}:10: room data is missing in the table; add it where it belongs." in found
    assert len(found) == 3


def test_thirty_rooms_at_most(tmp_path, capsys):
    rooms = [f"room{number}" for number in range(26)]
    rows = "".join(f"| `{room}` | x |\n" for room in rooms)
    changed = {f"flaxrec/{room}.py": "" for room in rooms}
    changed[TABLE] = FILES[TABLE].replace("| `train` | steps |\n", f"| `train` | steps |\n{rows}")
    (found,) = problems(tmp_path, capsys, changed=changed)
    assert found == f"{TABLE}:35: 31 rooms are more than 30; join some."


def test_counts(tmp_path, capsys):
    problems(tmp_path, capsys, changed={})
    assert check_rooms.main([f"--root={tmp_path}", "--count"]) == 0
    # data -> errors, tflite -> errors, recommender -> data and tflite, train -> data.
    assert capsys.readouterr().out == "5 rooms, 5 arrows, 0 circles\n11 lines\n"


def test_flaxrec_is_in_order():
    command = [sys.executable, "tools/check_rooms.py"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
