"""examples/react_native: it fits the runtime's types, and recommends what the Recommender does.

In node, with a stand-in for react-native-fast-tflite that hands tensors to LiteRT in Python.
"""

import json
import os
import shutil
import subprocess

import pytest

from flaxrec import Recommender
from tests.support import guides
from tests.support.cases import assert_answers, make_cases
from tests.support.exports import exported
from tests.support.places import ROOT

EXAMPLE = ROOT / "examples" / "react_native"
OPTIONS = {
    "target": "es2022",
    "lib": ["es2023", "dom"],
    "module": "nodenext",
    "strict": True,
    "allowJs": True,
    "checkJs": True,  # the scripts of examples/web say their types in comments
    "skipLibCheck": True,
    "types": [],
    "rootDir": ".",
    "outDir": "made",
}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The example in JavaScript, with what it needs, as tsc makes it."""
    folder = tmp_path_factory.mktemp("react_native")
    node = guides.program("node")
    packages = guides.package("react-native-fast-tflite").parent
    guides.copy_scripts(folder)
    shutil.copy(EXAMPLE / "on_device.ts", folder)
    moments = folder / "moments.js"  # the demo page's, without types
    moments.write_text(f"// @ts-nocheck\n{moments.read_text(encoding='utf-8')}", encoding="utf-8")
    (folder / "node_modules").symlink_to(packages)
    config = {"compilerOptions": OPTIONS, "files": ["on_device.ts"]}
    (folder / "tsconfig.json").write_text(json.dumps(config), encoding="utf-8")
    tsc = str(guides.package("typescript") / "bin" / "tsc")
    done = subprocess.run([node, tsc, "-p", str(folder)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    runtime = folder / "made" / "node_modules" / "react-native-fast-tflite"
    runtime.mkdir(parents=True)
    shutil.copy(folder / "fast_tflite.mjs", runtime / "index.mjs")
    (runtime / "package.json").write_text('{"main": "index.mjs"}', encoding="utf-8")
    shutil.copy(folder / "lists.mjs", folder / "made")
    shutil.copy(folder / "package.json", folder / "made")
    return folder / "made"


def test_the_example_recommends_what_python_does(made, tmp_path, tmp_path_factory):
    run = exported(tmp_path_factory, "bow_user")
    recommender = Recommender.load(run.export)
    cases = make_cases(recommender, run.export)
    (tmp_path / "cases.json").write_text(json.dumps(cases), encoding="utf-8")
    bridge = guides.bridge(tmp_path, run.export / "model.tflite")
    done = subprocess.run(
        [guides.program("node"), made / "lists.mjs", run.export, tmp_path / "cases.json"],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT), "BRIDGE": "\n".join(bridge)},
    )
    assert done.returncode == 0, done.stderr
    answers = [[tuple(each) for each in json.loads(line)] for line in done.stdout.splitlines()]
    assert_answers(recommender, cases, answers)


def test_the_guide_shows_the_example():
    guides.assert_shown(ROOT / "docs" / "on_react_native.md", "ts", EXAMPLE)
