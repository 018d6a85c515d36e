"""CONTRIBUTING, SECURITY and CHANGELOG name what is there; workflows keep to their rules."""

import ast
import importlib.util
import re
from pathlib import Path

import pytest

import flaxrec
from flaxrec.config.loading import _RENAMED
from flaxrec.demo import page as demo_page
from tests.support.places import ROOT

PAGES = [ROOT / f"{name}.md" for name in ("CONTRIBUTING", "SECURITY", "CHANGELOG")]
CONTRIBUTING, SECURITY, CHANGELOG = (page.read_text(encoding="utf-8") for page in PAGES)
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def code_of(text: str) -> list[str]:
    """What stands between backticks, outside code blocks."""
    return re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S))


@pytest.mark.parametrize("page", PAGES[:2], ids=lambda page: page.stem)
def test_files_and_folders_exist(page):
    named = [code for code in code_of(page.read_text(encoding="utf-8")) if "/" in code]
    paths = [
        re.sub(r"\b[A-Z]{4,}\b", "*", code) for code in named if re.fullmatch(r"[\w./*]+", code)
    ]
    assert len(paths) > 20 or page != PAGES[0]
    assert [path for path in paths if not list(ROOT.glob(path))] == []


def test_names_stand_in_the_files_beside_them():
    """`NAME` in `FILE`, or `NAME` of `OTHER` in `FILE`."""
    text = " ".join(CONTRIBUTING.split())
    pairs = re.findall(r"`(\w+)`(?: of `(\w+)`)? in `([\w/.]+\.py)`", text)
    assert len(pairs) > 8
    for name, other, file in pairs:
        code = (ROOT / file).read_text(encoding="utf-8")
        for word in filter(None, (name, other)):
            assert re.search(rf"\b{word}\b", code), (word, file)


def test_modules_that_are_run_exist():
    modules = re.findall(r"python -m ([\w.]+)", CONTRIBUTING)
    scripts = re.findall(r"python ([\w/]+\.py)", CONTRIBUTING)
    assert {"tests.support.tutorial", "flaxrec.report", "flaxrec.starters"} <= set(modules)
    assert [name for name in modules if importlib.util.find_spec(name) is None] == []
    assert [name for name in scripts if not (ROOT / name).is_file()] == []
    assert len(scripts) >= 4


def test_every_tool_and_generated_file_is_there():
    """A new tool that writes a file is named, too."""
    for tool in (ROOT / "tools").glob("make_*.py"):
        assert f"tools/{tool.name}" in CONTRIBUTING


def test_markers_exist(pytestconfig):
    known = {line.partition(":")[0] for line in pytestconfig.getini("markers")}
    texts = [CONTRIBUTING, *(file.read_text(encoding="utf-8") for file in WORKFLOWS)]
    named = set(re.findall(r"pytest [^`\n]*-m (\w+)", "\n".join(texts)))
    assert "long" in named
    assert named <= known


def test_encoders_losses_and_renamed_configs_are_listed():
    assert [name for name in _RENAMED if f"`{name}`" not in CHANGELOG] == []
    assert [
        name for name in flaxrec.__all__ if name != "__version__" and name not in CHANGELOG
    ] == []


def test_the_changelog_has_its_layout():
    """Unreleased first, then versions in falling order with their dates; known kinds of changes."""
    first, *versions = re.findall(r"^## (.+)$", CHANGELOG, re.MULTILINE)
    assert first == "[Unreleased]"
    found = [re.fullmatch(r"\[(\d+)\.(\d+)\.(\d+)\] - \d{4}-\d\d-\d\d", v) for v in versions]
    assert all(found)
    numbers = [tuple(map(int, match.groups())) for match in found]
    assert numbers == sorted(numbers, reverse=True)
    major, minor, patch = map(int, flaxrec.__version__.split("."))  # noqa: RUF048
    assert (major, minor, patch) >= numbers[0]
    kinds = set(re.findall(r"^### (.+)$", CHANGELOG, re.MULTILINE))
    assert kinds <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_lines_are_short(page):
    lines = page.read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if len(line) > 120 and not line.startswith("|")] == []


# ---- SECURITY -------------------------------------------------------------------------------


def problems(code: str) -> list[str]:
    """Imports and calls that execute what a file says."""
    found = []
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] + [getattr(node, "module", "") or ""]
            found += {"pickle", "dill", "joblib", "marshal", "shelve", "cloudpickle"} & set(names)
        elif isinstance(node, ast.Call):
            found += [k.arg for k in node.keywords if k.arg == "allow_pickle"]
            if isinstance(node.func, ast.Name) and node.func.id in ("exec", "eval"):
                found.append(node.func.id)
    return found


def test_files_are_data():
    """The one `exec` is that of a config file that was named."""
    code = {file: file.read_text(encoding="utf-8") for file in (ROOT / "flaxrec").rglob("*.py")}
    found = {file.name: problems(text) for file, text in code.items() if problems(text)}
    assert found == {"own_code.py": ["exec"]}
    assert problems("import pickle\nnumpy.load(f, allow_pickle=True)\neval(x)") == [
        "pickle",
        "allow_pickle",
        "eval",
    ]


def test_the_page_connects_to_nothing():
    for rule in ("default-src 'none'", "connect-src 'none'", "form-action 'none'"):
        assert rule in demo_page.POLICY
    assert "http" not in demo_page.POLICY
    for script in (ROOT / "flaxrec/demo/static").glob("*.js"):
        text = script.read_text(encoding="utf-8")
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", text)


# ---- workflows ------------------------------------------------------------------------------


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.stem)
def test_workflows_take_whole_versions_and_few_rights(file: Path):
    text = file.read_text(encoding="utf-8")
    uses = re.findall(r"uses: (\S+)", text)
    assert uses
    assert [u for u in uses if not re.search(r"@(v\d+|release/v\d+)$", u)] == []
    assert re.search(r"^permissions:\n  contents: read\n(?!  )", text, re.MULTILINE)
    granted = re.findall(r"^ +([\w-]+): write", text, re.MULTILINE)
    assert granted == (["id-token"] if file.stem == "release" else [])
    ignored = re.findall(r"--ignore=(\S+)", text)
    assert [path for path in ignored if not (ROOT / path).is_file()] == []
