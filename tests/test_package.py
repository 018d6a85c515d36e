"""The installed package: its Python names, what the wheel holds, how little serving needs."""

import importlib
import importlib.metadata
import json
import os
import pkgutil
import subprocess
import sys
import time
import venv
import zipfile
from pathlib import Path

import pytest

import flaxrec
from flaxrec.config.loading import shipped
from flaxrec.errors import ConfigError, ExportError
from flaxrec.tflite.metadata import FORMAT
from tests.support.exports import require_export
from tests.support.places import ROOT

NOT_FOR_SERVING = ("jax", "jaxlib", "flax", "tensorflow", "polars", "absl", "rich", "optax")
PUBLIC = {"Config", "Recommendation", "Recommender", "Result", "export", "load_config", "train"}
SMALL = {
    "data.synthetic.users": "36",
    "data.synthetic.items": "40",
    "data.synthetic.mean_events": "12",
    "evaluation.ks": "(1,10)",
    "export.top_k": "10",
}


def python(code: str, *arguments: object, executable: str = sys.executable, **environment: object):
    """The standard output of a Python process in an environment without the clone."""
    done = subprocess.run(
        [executable, "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=environment.pop("cwd", ROOT),
        env=os.environ | {"PYTHONPATH": ""} | {k: str(v) for k, v in environment.items()},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


# ---- Python ---------------------------------------------------------------------------------


def test_names_are_imported_on_first_use():
    code = f"""
import sys, flaxrec
assert not {{"numpy", "jax"}} & set(sys.modules)
assert {PUBLIC!r} < set(dir(flaxrec))
flaxrec.Recommender
assert not set({NOT_FOR_SERVING!r}) & set(sys.modules)
"""
    python(code, PYTHONPATH=ROOT)
    assert set(flaxrec.__all__) == PUBLIC | {"__version__"}
    with pytest.raises(AttributeError, match="module 'flaxrec' has no attribute 'nothing'"):
        flaxrec.nothing  # noqa: B018


@pytest.mark.filterwarnings("ignore:flaxrec.presets is called")
def test_no_module_hides_a_function():
    for module in pkgutil.walk_packages(flaxrec.__path__, "flaxrec."):
        importlib.import_module(module.name)
    assert callable(flaxrec.export)
    assert callable(flaxrec.train)
    assert callable(flaxrec.load_config)
    assert flaxrec.export.__module__ == "flaxrec.export_tflite"


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    lines: list[str] = []
    config = flaxrec.load_config("quickstart:smoke", SMALL)
    return flaxrec.train(config, tmp_path_factory.mktemp("python") / "run", lines.append)


def test_training(result):
    rows = [json.loads(line) for line in (result.workdir / "metrics.jsonl").open()]
    rows = [row for row in rows if "baseline" not in row]
    assert result.metrics == rows[-1]["metrics"]
    assert rows[-1]["split"] == "test"
    with pytest.raises(ConfigError, match=r"config\.train\.epochs"):
        flaxrec.load_config("quickstart:smoke", {"train.epochs": "0"})
    bad = flaxrec.load_config("quickstart:smoke")
    bad.train.epochs = 0
    with pytest.raises(ConfigError, match=r"config\.train\.epochs"):
        flaxrec.train(bad, result.workdir)


def test_exporting(result, tmp_path):
    """One model trained, exported, compared with JAX and asked, by Python's names alone."""
    require_export()
    lines: list[str] = []
    folder = flaxrec.export(result.workdir, top_k=7, say=lines.append)
    assert folder == result.workdir / "export"
    assert "agrees with JAX" in lines[-1]
    recommender = flaxrec.Recommender.load(folder)
    assert recommender.top_k == 7
    items = [r.item for r in recommender.recommend([1, 2], top_k=3)]
    assert len(set(items)) == 3
    metadata = json.loads((folder / "metadata.json").read_text())
    assert metadata["format"] == FORMAT
    assert metadata["versions"]["flaxrec"] == flaxrec.__version__
    with pytest.raises(ExportError, match="top_k is 99, but the catalogue has"):
        flaxrec.export(str(result.workdir), str(tmp_path / "other"), top_k=99)
    (folder / "metadata.json").write_text(json.dumps(metadata | {"format": FORMAT + 1}))
    with pytest.raises(ExportError, match=f"has format {FORMAT + 1}, .* install a newer flaxrec"):
        flaxrec.Recommender.load(folder)


# ---- the wheel ------------------------------------------------------------------------------


def files_of(folder: Path) -> set[str]:
    """Relative paths of a folder's files, without what Python leaves there."""
    files = {p.relative_to(folder) for p in folder.rglob("*") if p.is_file()}
    return {p.as_posix() for p in files if "__pycache__" not in p.parts}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The wheel of this tree."""
    builder = pytest.importorskip("hatchling.builders.wheel").WheelBuilder(str(ROOT))
    folder = tmp_path_factory.mktemp("wheel")
    return Path(next(builder.build(directory=str(folder), versions=["standard"])))


@pytest.fixture(scope="module")
def unpacked(wheel, tmp_path_factory) -> Path:
    """The wheel's files, as pip lays them down."""
    folder = tmp_path_factory.mktemp("site")
    with zipfile.ZipFile(wheel) as file:
        file.extractall(folder)
    return folder


def test_files_of_the_wheel(wheel, unpacked):
    assert wheel.name == f"flaxrec-{flaxrec.__version__}-py3-none-any.whl"
    package = {name for name in files_of(ROOT / "flaxrec") if not name.startswith("shipped/")}
    assert {"py.typed", "demo/static/index.html", "starters/card_template.md"} < package
    expected = {f"flaxrec/{name}" for name in package}
    for folder in ("configs", "models"):
        expected |= {f"flaxrec/shipped/{folder}/{name}" for name in files_of(ROOT / folder)}
    files = files_of(unpacked)
    information = {name for name in files if name.split("/")[0].endswith(".dist-info")}
    assert files - information == expected
    ends = ("METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE")
    assert {name.partition("/")[2] for name in information} == set(ends)
    assert not list((ROOT / "flaxrec").rglob("shipped"))


def test_configs_sweeps_and_starters_come_along(unpacked, tmp_path):
    code = """
import sys
from pathlib import Path
import flaxrec
from flaxrec.__main__ import main
from flaxrec.config import loading
from flaxrec.research import plan
from flaxrec.starters import folder
from flaxrec.starters.__main__ import main as starters
site = Path(sys.argv[1])
assert site in Path(flaxrec.__file__).parents
assert site in loading.find("half_a_megabyte").parents
print(len(plan.read("smoke", {})), *folder.names())
folder.read(folder.find("movielens_lstm"))
assert starters(["some_sweep"]) == 2  # would write into the package
assert main(["train", "--config=quickstart:smoke", "--config.export.enabled=False",
             "--config.train.epochs=1"]) == 0
"""
    done = python(code, unpacked, cwd=tmp_path, PYTHONPATH=unpacked)
    names = sorted(path.name for path in (ROOT / "models").iterdir())
    assert done.splitlines()[0] == f"8 {' '.join(names)}"
    assert (tmp_path / "runs" / "quickstart-smoke" / "metrics.jsonl").is_file()


def test_a_clone_has_its_own():
    assert shipped("configs") == ROOT / "configs"
    assert shipped("models") == ROOT / "models"


def test_commands_fit_one_screen():
    lines = python("import flaxrec.__main__ as m; m.main([])", PYTHONPATH=ROOT).splitlines()
    assert len(lines) <= 30
    assert max(map(len, lines)) <= 100


# ---- serving light --------------------------------------------------------------------------

SERVE = f"""
import importlib.util, sys
from flaxrec import Recommender
there = [name for name in {NOT_FOR_SERVING!r} if importlib.util.find_spec(name)]
assert not there, there
for r in Recommender.load(sys.argv[1]).recommend(["1", "2"], top_k=3):
    print(r.item)
"""


def needs(*names: str) -> set[str]:
    """Installed distributions that these need, themselves included."""
    found: set[str] = set()
    waiting = list(names)
    requirement = importlib.import_module("packaging.requirements").Requirement
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            for line in importlib.metadata.requires(name) or ():
                needed = requirement(line)
                if not needed.marker or needed.marker.evaluate({"extra": ""}):
                    waiting.append(needed.name)
    return found


def expected_items(folder: Path) -> list[str]:
    return [str(r.item) for r in flaxrec.Recommender.load(folder).recommend(["1", "2"], top_k=3)]


def test_the_recommender_needs_numpy_and_litert_alone(unpacked, bow_id, tmp_path):
    """An environment that holds nothing else, its packages linked from this one."""
    pytest.importorskip("ai_edge_litert")
    venv.create(tmp_path / "light", symlinks=True)
    executable = tmp_path / "light" / "bin" / "python"
    site = Path(python("import site; print(site.getsitepackages()[0])", executable=executable)[:-1])
    for name in needs("numpy", "ai-edge-litert"):
        distribution = importlib.metadata.distribution(name)
        for top in {file.parts[0] for file in distribution.files or () if file.parts[0] != ".."}:
            origin = Path(str(distribution.locate_file(top)))
            if top != "__pycache__" and not (site / top).exists():
                (site / top).symlink_to(origin)
    (site / "flaxrec").symlink_to(unpacked / "flaxrec")
    done = python(SERVE, bow_id.export, executable=executable, cwd=tmp_path)
    assert done.split() == expected_items(bow_id.export)


@pytest.mark.long
def test_light_install(wheel, bow_id, tmp_path, capsys):
    """README's commands for serving, in a new environment; prints seconds and megabytes."""
    start = time.perf_counter()
    venv.create(tmp_path / "light", with_pip=True)
    executable = tmp_path / "light" / "bin" / "python"
    pip = [executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "--no-deps", wheel], check=True)
    subprocess.run([*pip, "numpy", "ai-edge-litert"], check=True)
    seconds = time.perf_counter() - start
    site = Path(python("import site; print(site.getsitepackages()[0])", executable=executable)[:-1])
    done = python(SERVE, bow_id.export, executable=executable, cwd=tmp_path)
    assert done.split() == expected_items(bow_id.export)
    installed = [file for file in site.rglob("*") if file.is_file() and "pip" not in file.parts]
    megabytes = sum(file.stat().st_size for file in installed) / 1e6
    with capsys.disabled():
        print(f"\nlight install: {seconds:.0f} s, {megabytes:.0f} MB")
