"""examples/android: its Kotlin compiles, and recommends what the Recommender does.

On a JVM, with stand-ins for Android's and LiteRT's classes that hand tensors to LiteRT in Python.
"""

import json
import os
import subprocess
from pathlib import Path

import pytest

from flaxrec import Recommender
from tests.support import guides
from tests.support.cases import assert_answers, make_cases
from tests.support.exports import exported
from tests.support.places import ROOT

STAND_INS = Path(__file__).parent / "android"
PAGE = ROOT / "docs" / "on_android.md"
APP = ROOT / "examples" / "android"
JSON = Path("/usr/share/java/json-android.jar")  # Android's own org.json
PACKAGE = "com.example.recommendation"
QUICK = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")  # of the JVM, for programs that end soon


@pytest.fixture(scope="module")
def java(tmp_path_factory) -> list[str]:
    """The command that runs the example's code, compiled with the stand-ins."""
    program, kotlin = guides.program("java"), guides.package("kotlin-compiler")
    if not JSON.exists():
        guides.cannot("Debian's libandroid-json-org-java is not installed")
    jar = tmp_path_factory.mktemp("android") / "app.jar"
    sources = map(str, [*STAND_INS.glob("*.kt"), *APP.rglob("*.kt")])
    done = subprocess.run(
        ["bash", str(kotlin / "bin" / "kotlinc"), *sources, "-cp", str(JSON), "-d", str(jar)],
        capture_output=True,
        text=True,
        env=os.environ | {"JAVA_OPTS": " ".join(QUICK)},
    )
    assert done.returncode == 0, done.stderr
    classes = os.pathsep.join(map(str, (jar, JSON, kotlin / "lib" / "kotlin-stdlib.jar")))
    return [program, *QUICK, "-cp", classes]


def lines(command: list[str]) -> list:
    """The JSON lines that a program prints."""
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr
    return list(map(json.loads, done.stdout.splitlines()))


@pytest.mark.parametrize("name", ["bow_user", "cnn_combined"])
def test_the_example_recommends_what_python_does(java, name, tmp_path, tmp_path_factory):
    run = exported(tmp_path_factory, name)
    recommender = Recommender.load(run.export)
    made = make_cases(recommender, run.export)
    (tmp_path / "cases.json").write_text(json.dumps(made))
    (tmp_path / "recommendation").symlink_to(run.export)
    bridge = "\n".join(guides.bridge(tmp_path, run.export / "model.tflite"))
    main = [f"-Dbridge={bridge}", f"{PACKAGE}.MainKt", "lists", str(tmp_path)]
    *answers, nothing, one, two, three = lines([*java, *main, str(tmp_path / "cases.json")])
    lists = [[tuple(each) for each in answer] for answer in answers]
    assert_answers(recommender, made, lists[: len(made)])  # with CompiledModel
    assert_answers(recommender, made, lists[len(made) :])  # with the Interpreter
    tapped: list[str] = []
    history: list = []
    for tap, screen in enumerate((nothing, one, two, three)):
        found = recommender.recommend(history, min(20, recommender.top_k))
        assert screen["rows"] == [each.title or str(each.item) for each in found]
        assert screen["picked"] == ("\n".join(tapped) or "Nothing yet")
        history.append(found[tap].item)
        tapped.append(screen["rows"][tap])


def test_the_inputs_are_those_of_the_vectors(java, tmp_path):
    guides.write_requests(tmp_path)
    main = [f"{PACKAGE}.MainKt", "vectors", str(tmp_path), str(tmp_path / "requests.json")]
    assert not guides.wrong(lines([*java, *main]))


def test_the_guide_shows_the_example():
    guides.assert_shown(PAGE, "kotlin", APP)
