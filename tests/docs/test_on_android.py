"""docs/on_android.md: its Kotlin compiles, and recommends what the Recommender does.

On a JVM, with stand-ins for Android's and LiteRT's classes that hand tensors to LiteRT in Python.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from flaxrec import Recommender
from tests.support import app_values
from tests.support.cases import assert_answers, make_cases
from tests.support.doc_pages import blocks
from tests.support.exports import exported
from tests.support.places import ROOT

STAND_INS = Path(__file__).parent / "android"
JSON = Path("/usr/share/java/json-android.jar")  # Android's own org.json
PACKAGE = "com.example.recommendation"
BRIDGE = """
import json, sys
import numpy as np
from flaxrec.tflite.runtime import TfliteModel

model = TfliteModel(sys.argv[1])
dtypes = {name: dtype for name, _, dtype in model.inputs}
for line in sys.stdin:
    given = {name: np.array(values, dtypes[name]) for name, values in json.loads(line).items()}
    print(json.dumps({name: found.tolist() for name, found in model(given).items()}), flush=True)
"""


@pytest.fixture(scope="module")
def jar(tmp_path_factory) -> Path:
    """The guide's files and the stand-ins, compiled."""
    if not (shutil.which("kotlinc") and shutil.which("java") and JSON.exists()):
        pytest.skip("needs Debian's kotlin and libandroid-json-org-java")
    folder = tmp_path_factory.mktemp("android")
    _, recommender, on_device, use = blocks(ROOT / "docs" / "on_android.md", "kotlin")
    (folder / "Recommender.kt").write_text(recommender)
    (folder / "OnDevice.kt").write_text(on_device)
    wrapped = "\n".join(f"    {line}" for line in use.splitlines())
    package = f"package {PACKAGE}\n\n"
    (folder / "Use.kt").write_text(
        f"{package}fun use(context: android.content.Context) {{\n{wrapped}\n}}\n"
    )
    sources = [*STAND_INS.glob("*.kt"), *folder.glob("*.kt")]
    command = ["kotlinc", *map(str, sources), "-cp", str(JSON), "-d", str(folder / "guide.jar")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder / "guide.jar"


def classes(jar: Path) -> str:
    library = Path("/usr/share/java/kotlin-stdlib.jar")
    return os.pathsep.join(map(str, (jar, JSON, library)))


@pytest.mark.parametrize("name", ["bow_user", "cnn_combined"])
def test_the_guide_recommends_what_python_does(jar, name, tmp_path, tmp_path_factory):
    run = exported(tmp_path_factory, name)
    recommender = Recommender.load(run.export)
    made = make_cases(recommender, run.export)
    (tmp_path / "cases.json").write_text(json.dumps(made))
    (tmp_path / "recommendation").symlink_to(run.export)
    (tmp_path / "bridge.py").write_text(BRIDGE)
    bridge = "\n".join([sys.executable, str(tmp_path / "bridge.py"), f"{run.export}/model.tflite"])
    command = ["java", "-cp", classes(jar), f"-Dbridge={bridge}", f"{PACKAGE}.MainKt"]
    done = subprocess.run(
        [*command, str(tmp_path), str(tmp_path / "cases.json")],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    answers = [[tuple(each) for each in json.loads(line)] for line in done.stdout.splitlines()]
    half = len(answers) // 2
    assert_answers(recommender, made, answers[:half])  # with the interpreter
    assert_answers(recommender, made, answers[half:])  # with CompiledModel


def test_values_are_looked_up_as_in_python(jar, tmp_path, monkeypatch):
    app_values.write_export(tmp_path / "export")
    recommender = app_values.load(tmp_path / "export", monkeypatch)
    (tmp_path / "activities.json").write_text(json.dumps(app_values.activities()))
    command = ["java", "-cp", classes(jar), f"{PACKAGE}.Values"]
    done = subprocess.run(
        [*command, str(tmp_path / "export"), str(tmp_path / "activities.json")],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    listed, without, numbers, own, others = map(json.loads, done.stdout.splitlines())
    expected = recommender.recommend([])
    assert listed == [[r.item, r.title] for r in expected]
    assert without == [r.item for r in expected[1:]]
    assert not app_values.wrong(numbers)
    assert own == [[1, 1], [2, 2], [3, 4], [4, 3]]
    assert others == [1, 7]
