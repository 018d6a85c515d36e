"""docs/extending.md as a person follows it: a GRU and a loss of one's own, outside the package."""

import hashlib
import json
import shutil
import sys
from pathlib import Path

import jax
import numpy as np
import polars as pl
import pytest

from flaxrec import report, sweep
from flaxrec.config import loading
from flaxrec.data.dataset import prepare
from flaxrec.errors import ConfigError, ExportError, TrainingError
from flaxrec.evaluation import baselines
from flaxrec.exporting import trial
from flaxrec.exporting.assets import Assets
from flaxrec.exporting.serving import ServingModel
from flaxrec.training.run import train
from flaxrec.training.validation import validate
from flaxrec.training.workdir import Workdir
from tests.support.builders import random_model
from tests.support.commands import Command, Finished, assert_one_sentence, run_all
from tests.support.doc_pages import blocks
from tests.support.exports import require_export
from tests.support.places import ROOT
from tests.support.shared_programs import shared_programs

GRU, SERVED, BPR = blocks(ROOT / "docs" / "extending.md", "python")
SERVED = GRU.replace('ENCODERS = {"gru": GruEncoder}\n', SERVED)
SORTED = GRU.replace("return state, state", "return jnp.sort(state, axis=-1), state")
QUIET = {"say": lambda line: None}


def written(folder: Path, name: str, text: str) -> Path:
    folder.mkdir(exist_ok=True)
    file = folder / name
    file.write_text(text, encoding="utf-8")
    return file


def smoke(file: Path, **fields):
    config = loading.load_config(f"{file}:smoke")
    for path, value in fields.items():
        setattr(config.train, path, value)
    return validate(config)


@pytest.fixture(scope="module", autouse=True)
def _shared_programs():
    with shared_programs():
        yield


@pytest.fixture(scope="module")
def gru(tmp_path_factory) -> Path:
    return written(tmp_path_factory.mktemp("own"), "gru.py", GRU)


@pytest.fixture(scope="module")
def said() -> list[str]:
    """What is said while `run` is trained."""
    return []


@pytest.fixture(scope="module")
def run(gru, said, tmp_path_factory) -> Workdir:
    """Tried in an export, then trained for two epochs on small data."""
    workdir = Workdir(tmp_path_factory.mktemp("gru") / "run")
    train(smoke(gru, epochs=2), workdir, said.append, trial.try_conversion)
    return workdir


# ---- trained, resumed ---------------------------------------------------------------------------


def recall(workdir: Workdir) -> float:
    (row,) = [row for row in workdir.read_metrics() if row["split"] == "test"]
    return row["metrics"]["recall@10"]


def popularity(config) -> float:
    dataset = prepare(config)
    ranks = baselines.rank("popularity", dataset, dataset.split.test)
    return ranks.means((10,))["recall@10"]


def train_losses(workdir: Workdir) -> list[float]:
    return [row["metrics"]["loss"] for row in workdir.read_metrics() if row["split"] == "train"]


@pytest.mark.long
def test_the_gru_ranks_better_than_popularity(gru, tmp_path):
    """Trained on the quickstart's data."""
    config, workdir = validate(loading.load_config(gru, {"train.epochs": "3"})), Workdir(tmp_path)
    train(config, workdir, **QUIET)
    assert recall(workdir) > 1.5 * popularity(config)


def test_the_gru_learns(run):
    losses = train_losses(run)
    assert losses[-1] < losses[0] - 0.1
    assert 0 < recall(run) < 1


def test_a_resumed_gru_is_the_unbroken_one_to_the_bit(run, gru, tmp_path):
    config, broken = smoke(gru, epochs=2), Workdir(tmp_path / "broken")

    def stop(line: str) -> None:
        if line.startswith("epoch 1/2"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(config, broken, stop)
    train(config, broken, **QUIET)
    assert run.metrics_file.read_bytes() == broken.metrics_file.read_bytes()


def test_another_file_does_not_go_on_with_the_run(run, tmp_path):
    changed = written(tmp_path / "changed", "gru.py", GRU.replace("orthogonal()", "normal()"))
    with pytest.raises(TrainingError, match=r"another config \(config\.code\.sha256"):
        train(smoke(changed, epochs=2), run, **QUIET)


def test_the_run_keeps_name_text_and_checksum(run, gru):
    code = json.loads(run.config_file.read_text(encoding="utf-8"))["code"]
    assert code["file"] == "gru.py"
    assert code["text"] == gru.read_text(encoding="utf-8")
    assert len(code["sha256"]) == 64


def test_shipped_configs_keep_no_code():
    assert loading.load_config("quickstart").code.sha256 == ""


# ---- exported elsewhere -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def elsewhere(run, gru, tmp_path_factory) -> dict[str, Finished]:
    """Exports of a copy of the run, in processes that have seen no config file."""
    require_export()
    folder = tmp_path_factory.mktemp("elsewhere")
    shutil.copytree(run.path, folder / "run")
    other = written(folder / "other", "gru.py", GRU + "\n# one more line\n")
    workdir = f"--workdir={folder / 'run'}"
    commands = {"no file": [], "another file": [f"--config={other}"], "named": [f"--config={gru}"]}
    return run_all(
        folder,
        {
            name: Command("", [workdir, *more], "export_tflite.py")
            for name, more in commands.items()
        },
    )


def test_a_copied_run_is_exported_where_its_file_is_named(elsewhere):
    told = assert_one_sentence(elsewhere["no file"])
    assert "executed only where it is named; give --config=FILE" in told
    told = assert_one_sentence(elsewhere["another file"])
    assert str(elsewhere["another file"].folder / "other" / "gru.py") in told
    assert "is not the file of the run" in told

    made = elsewhere["named"]
    assert made.status == 0, made.err
    export = made.folder / "run" / "export"
    metadata = json.loads((export / "metadata.json").read_text(encoding="utf-8"))
    assert metadata["encoder"] == ["gru"]
    equality = metadata["equality"]
    assert equality["agree"] == equality["contexts"] == 50
    assert equality["max_score_difference"] <= 1e-5


def test_a_serving_form_leaves_no_loop(elsewhere, tmp_path):
    require_export()
    from flaxrec.exporting.bundle import export_model
    from flaxrec.tflite.inspection import inspect

    assert "WHILE" in inspect(elsewhere["named"].folder / "run" / "export").operators
    config = smoke(written(tmp_path / "served", "gru.py", SERVED))
    data = prepare(config)
    (spec,) = data.spec.inputs
    ids = np.random.default_rng(0).integers(0, spec.rows, (40, spec.length), np.int32)
    assets = Assets(data.timelines.vocabularies, [], {spec.name: ids})
    model = ServingModel(config, data.spec, *random_model(config, data.spec))
    found = export_model(model, assets, tmp_path / "export", **QUIET)
    assert found.equality.agree == found.equality.contexts == 40
    assert "WHILE" not in inspect(found.folder).operators


# ---- tried before the first step ----------------------------------------------------------------


@pytest.mark.long
def test_an_operator_that_is_no_builtin_is_named_before_the_first_step(tmp_path):
    require_export()
    config = smoke(written(tmp_path / "own", "sorting.py", SORTED))
    workdir = Workdir(tmp_path / "run")
    with pytest.raises(ExportError, match=r"encoder gru cannot be exported: .* operator sort, "):
        train(config, workdir, before=trial.try_conversion, **QUIET)
    assert not workdir.path.exists()


def test_the_trial_says_how_long_it_took(run, said):
    require_export()
    (line,) = [line for line in said if line.startswith("The encoder gru")]
    assert line.startswith(
        "The encoder gru: an untrained model of these shapes was exported in its "
    )
    assert line.endswith(" bytes)")
    assert " s, " in line


def test_without_tensorflow_it_says_that_nothing_was_tried(gru, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    config, said = smoke(gru), []
    trial.try_conversion(config, prepare(config).spec, said.append)
    assert len(said) == 1
    assert "was not tried in an export, as TensorFlow is not installed here" in said[0]


def test_shipped_encoders_are_not_tried():
    config, said = loading.load_config("quickstart:smoke"), []
    trial.try_conversion(config, prepare(config).spec, said.append)
    assert said == []


BROKEN = {
    "raises": (
        GRU.replace("        def step(", '        raise RuntimeError("boom")\n\n        def step('),
        r"cannot be used: RuntimeError in .*own\.py, line \d+ \(boom\)\.",
    ),
    "no width": (GRU.replace("self.output_dim = units", "units"), "gru sets no output_dim; set it"),
    "another width": (
        GRU.replace("units = setting.width", "units = 3\n        self.output_dim = 4"),
        "cannot be used: ",
    ),
    "not finite without activities": (
        GRU.replace("every_position else last", "every_position else last / mask.sum(1)[:, None]"),
        "gru gives values that are not finite, perhaps for a context of padding only",
    ),
    "another serving form": (
        SERVED.replace("state + present[t] * ", "state + "),
        "serving form of the encoder gru gives other logits than its training form",
    ),
    "sees what comes later": (
        GRU.replace(
            "return jnp.swapaxes(every, 0, 1) if",
            "return every[-1][:, None] + 0 * jnp.swapaxes(every, 0, 1) if",
        ),
        "encoding of a position sees later activities",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_encoder_is_refused_before_the_first_step(name, tmp_path):
    text, message = BROKEN[name]
    assert text not in (GRU, SERVED)
    config = smoke(written(tmp_path, "own.py", text), labels_per_context=4)
    with pytest.raises(ConfigError, match=message):
        train(config, Workdir(tmp_path / "run"), before=trial.try_conversion, **QUIET)
    assert not (tmp_path / "run").exists()


# ---- swept, reported ----------------------------------------------------------------------------


SWEEP = """
from flaxrec.config.loading import load_config


def sweep(add):
    for encoder in ("bow", "gru"):
        config = load_config("{file}:smoke")
        config.model.activity_groups[0].encoder = encoder
        add(config, encoder=encoder)
"""


def again(arguments, capsys) -> str:
    capsys.readouterr()
    assert sweep.main(arguments) == 0
    return capsys.readouterr().out


@pytest.mark.long
def test_the_gru_is_swept_reported_and_not_mixed_with_another(gru, tmp_path, capsys):
    file = written(tmp_path, "encoders.py", SWEEP.format(file=str(gru)))
    runs = [f"--sweep={file}", f"--workdir={tmp_path / 'sweep'}", "--export=none"]
    assert sweep.main(runs) == 0
    assert report.main([str(tmp_path / "sweep"), f"--output={tmp_path / 'report'}"]) == 0
    table = pl.read_csv(tmp_path / "report" / "table.csv")
    assert set(table["axes.encoder"]) >= {"bow", "gru"}

    assert "2 of them finished" in again(runs, capsys)
    gru_changed = written(tmp_path / "changed", "gru.py", GRU + "# changed\n")
    written(tmp_path, "encoders.py", SWEEP.format(file=str(gru_changed)))
    assert sweep.main(runs) == 2
    assert "another config" in capsys.readouterr().err


# ---- a loss -------------------------------------------------------------------------------------


@pytest.mark.long
def test_a_loss_of_ones_own_ranks_better_than_popularity(tmp_path):
    file = written(tmp_path, "bpr.py", BPR)
    config = validate(loading.load_config(file, {"train.epochs": "3"}))
    workdir = Workdir(tmp_path / "run")
    train(config, workdir, **QUIET)
    assert recall(workdir) > popularity(config)
    assert train_losses(workdir)[0] < np.log(2) * 1.1  # of one comparison, not of a softmax


@pytest.mark.long
def test_a_loss_of_ones_own(tmp_path):
    workdir = Workdir(tmp_path / "run")
    train(smoke(written(tmp_path, "bpr.py", BPR), epochs=3), workdir, **QUIET)
    losses = train_losses(workdir)
    assert losses[-1] < losses[0] < np.log(2) * 1.1  # of one comparison, not of a softmax


def test_a_loss_is_what_is_minimised(tmp_path):
    """Of a loss that says nothing of the labels, the gradient is its own."""
    text = BPR[: BPR.index("def bpr")] + (
        "def bpr(step):\n    return jnp.mean(jnp.square(step.contexts))\n\n\n"
        + BPR[BPR.index("LOSSES") :]
    )
    config = smoke(written(tmp_path, "shrink.py", text))
    workdir = Workdir(tmp_path / "run")
    train(config, workdir, **QUIET)
    losses = train_losses(workdir)
    assert losses[-1] < losses[0] < 1


# ---- refused ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (GRU.replace('"gru": GruEncoder', '"lstm": GruEncoder'), "has 'lstm', the name of a ship"),
        (GRU.replace('groups("id", "gru")', 'groups("id", "grue")'), "attention, gru."),
        (BPR.replace('{"bpr"', '{"batch_softmax"'), "has 'batch_softmax', the name of a shipped"),
        (BPR.replace('name = "bpr"', 'name = "bqr"'), "batch_softmax, bpr."),
        (GRU.replace('"gru": GruEncoder', '"gru": len'), "'gru', which is no subclass of Encoder"),
        (BPR.replace('{"bpr": bpr}', '{"bpr": 1}'), "'bpr', which is no function"),
    ],
)
def test_names_are_checked_before_anything_runs(text, message, tmp_path):
    config = loading.load_config(written(tmp_path, "own.py", text))
    with pytest.raises(ConfigError) as refused:
        validate(config)
    assert message in str(refused.value)


def test_one_pass_needs_an_encoding_for_every_activity(tmp_path):
    text = GRU.replace("    encodes_prefixes = True\n", "")
    config = loading.load_config(written(tmp_path, "own.py", text))
    config.train.labels_per_context = 4
    with pytest.raises(ConfigError, match=r"the gru of config\.model\.activity_groups"):
        validate(config)


def test_every_position_is_the_prefix_alone(gru):
    """The page's GRU keeps what it promises for training with every label in one pass."""
    from flax import nnx

    from flaxrec.config import GroupConfig, own_code
    from flaxrec.models.encoders import Setting

    encoder = own_code.execute(gru).GruEncoder(
        Setting(GroupConfig(width=5), 3, 6, embedding_dim=4), rngs=nnx.Rngs(0)
    )
    x = jax.random.normal(jax.random.key(1), (2, 6, 3))
    mask = np.array([[1, 1, 0, 1, 1, 0], [1, 0, 0, 0, 0, 0]], np.float32)
    every = encoder(x, mask, every_position=True)
    for place in range(6):
        cut = mask * (np.arange(6) <= place)
        np.testing.assert_allclose(every[:, place], encoder(x, cut), rtol=1e-6)


def test_a_table_that_is_no_dict_is_refused(tmp_path):
    file = written(tmp_path, "own.py", GRU.replace('{"gru": GruEncoder}', "[GruEncoder]"))
    with pytest.raises(ConfigError, match=r"ENCODERS of .* is a list; use a dict"):
        loading.load_config(file)


def test_encoders_and_losses_of_two_files_are_refused(gru, tmp_path):
    file = written(tmp_path, "bpr.py", BPR.replace('f"quickstart:', f'f"{gru}:'))
    with pytest.raises(ConfigError, match=r"code of gru\.py and of .*bpr\.py; put"):
        loading.load_config(f"{file}:smoke")


def test_a_loss_that_is_no_number_is_refused(tmp_path):
    file = written(tmp_path, "bpr.py", BPR.replace("step.mean(-", "(-"))
    with pytest.raises(ConfigError, match=r"bpr returns an array of shape \(\d+,\); return one"):
        train(smoke(file), Workdir(tmp_path / "run"), **QUIET)


def test_the_checksum_is_that_of_the_bytes(tmp_path):
    content = b"\xef\xbb\xbf" + GRU.encode().replace(b"\n", b"\r\n")
    file = tmp_path / "gru.py"
    file.write_bytes(content)
    assert loading.load_config(file).code.sha256 == hashlib.sha256(content).hexdigest()
