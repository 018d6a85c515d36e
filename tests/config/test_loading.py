"""Config files: by path or shipped name, executed once, their own classes in the config's reach."""

import pickle
import sys
from pathlib import Path

import pytest

from flaxrec.config import loading
from flaxrec.errors import ConfigError
from tests.support.places import ROOT

FILE = """
from flaxrec.config import Config

class Own:
    pass

def get_config(variant="none"):
    print("executed", variant)
    return Config(name=variant)
"""

NAMES = ", ".join(sorted(path.stem for path in (ROOT / "configs").glob("*.py")))


def write(folder: Path, text: str = FILE) -> Path:
    file = folder / "some.py"
    file.write_text(text, encoding="utf-8")
    return file


@pytest.mark.parametrize(
    ("variant", "name", "run"),
    [("", "none", "some"), (":a,b", "a,b", "some-a-b"), (":x/films.pbtxt", "x/films.pbtxt",
     "some-x-films.pbtxt")],
)  # fmt: skip
def test_a_file_is_executed_once(variant, name, run, tmp_path, capsys):
    file = write(tmp_path)
    loaded = loading.load(f"{file}{variant}", {"train.epochs": "7"})
    assert capsys.readouterr().out == f"executed {name}\n"
    assert (loaded.config.name, loaded.config.train.epochs) == (name, 7)
    assert (loaded.source, loaded.run) == (file, run)


def test_its_classes_are_found_by_their_module(tmp_path):
    module = loading.load_module(write(tmp_path), "config")
    assert sys.modules[module.Own.__module__] is module
    assert type(pickle.loads(pickle.dumps(module.Own()))) is module.Own


def test_shipped_configs_have_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    loaded = loading.load("quickstart:smoke")
    assert (loaded.config.name, loaded.run) == ("quickstart", "quickstart-smoke")
    assert loaded.source == loading.shipped("configs") / "quickstart.py"
    assert loading.load_config("own_table").name == "own_table"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("quikstart", "There is no config file 'quikstart'; did you mean 'quickstart'?"),
        ("zzz", f"There is no config file 'zzz'; shipped by name are {NAMES}."),
        ("a/zzz.py", f"There is no config file 'a/zzz.py'; shipped by name are {NAMES}."),
        (
            "a/quickstart.py",
            "There is no config file 'a/quickstart.py'; for the shipped one, give its name alone, "
            "quickstart.",
        ),
    ],
)
def test_a_file_that_is_not_there(name, message):
    with pytest.raises(ConfigError) as error:
        loading.load_config(name)
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("movielens_bow:combined,tied", "example_networks:bow,combined,tied"),
        ("movielens_cnn", "example_networks:cnn"),
        ("configs/movielens_lstm.py:smoke", "example_networks:lstm,smoke"),
        ("movielens_attention:short,combined", "compact:attention,short,combined"),
    ],
)
def test_names_of_version_0_1(old, new, monkeypatch):
    """The run's name and folder stay, so that the same command goes on with an old run."""
    monkeypatch.chdir(loading.shipped("configs").parent)
    stem = Path(old.partition(":")[0]).stem
    told = f"The config {stem} is called {new.split(':')[0]}:{new.split(':')[1].split(',')[0]} now"
    with pytest.warns(FutureWarning, match=told):
        loaded = loading.load(old)
    expected = loading.load(new)
    assert (loaded.source.name, loaded.config.name) == (expected.source.name, stem)
    assert loaded.run.split("-")[0] == stem
    loaded.config.name = expected.config.name
    assert loaded.config == expected.config


def test_a_mistake_of_the_files_own_keeps_its_trace(tmp_path):
    with pytest.raises(KeyError):
        loading.load_config(write(tmp_path, "def get_config():\n    return {}['x']\n"))


BAD = {
    "def get_config():\n    return None\n": "not None; return one in {file}.",
    "def get_config():\n    return 10 ** 5000\n": "not too long int; return one in {file}.",
    "get_config = 3\n": "{file} has no function get_config(); write one.",
    "def get_config(a, b):\n    pass\n": "get_config() of {file} cannot be called as get",
    "x = 1\n(" + "(" * 300 + "\n": "The config file {file}, line ",
    "x = " + "-" * 100_000 + "1\n": "The config file {file}, line ",
    "x = 1\n\0\n": "The config file {file}, line ",
    "# coding: no-such\n": "The config file {file}, line ",
    "x = 1\n# \udcff\n": "The config file {file}, line 2, is not valid Python: it is not utf-8; ",
    "x = 9" + "9" * 5000 + "\n": "The config file {file}, line 1, is not valid Python: ",
}


@pytest.mark.parametrize("text", BAD, ids=range(len(BAD)))
def test_files_that_give_no_config(tmp_path, text):
    file = tmp_path / "some.py"
    file.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(ConfigError) as error:
        loading.load(str(file))
    assert BAD[text].format(file=file) in str(error.value)
    assert str(error.value)[-1] == "."


def test_a_variant_for_a_file_without_any(tmp_path):
    file = write(tmp_path, "def get_config():\n    raise KeyError\n")
    with pytest.raises(ConfigError, match=r"as get_config\('x'\) .* leave the variant out\.$"):
        loading.load(f"{file}:x")
    with pytest.raises(KeyError):
        loading.load(str(file))


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("import no_such_module\n", ImportError),
        ("def get_config():\n    return nothing\n", NameError),
        ("def get_config():\n    return get_config()\n", RecursionError),
        ("def get_config(x=len()):\n    return x\n", TypeError),
    ],
)
def test_the_trace_of_a_mistake_ends_in_the_file(tmp_path, text, error):
    file = write(tmp_path, text)
    with pytest.raises(error) as caught:
        loading.load(str(file))
    assert Path(caught.traceback[-1].path) == file


@pytest.mark.parametrize("name", ["x" * 10_000, "a/" * 3_000, "\0", "", "."])
def test_names_that_are_no_files(name):
    with pytest.raises(ConfigError, match=r"^There is no config file "):
        loading.load(name)
