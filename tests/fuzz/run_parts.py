"""Parts of a run folder with one file changed, read by the functions that all commands read by.

Quick: nothing is trained, exported or drawn. In a folder as earlier versions wrote it, without
checksums, what is read may be something else, but is no traceback.
"""

import contextlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from random import Random

from flaxrec.files import JsonLog
from flaxrec.reporting import results
from flaxrec.research import point_labels
from flaxrec.training.run_assets import RunAssets
from flaxrec.training.workdir import Workdir
from tests.fuzz.attempts import Attempt
from tests.fuzz.damage import Folder, damage, is_free
from tests.support.places import ROOT

OLD = ROOT / "tests" / "compatibility" / "version_0_1_0" / "run"


def attempts(random: Random, folder: Path) -> Iterator[Attempt]:
    """Changes one file after the other of a run of today and of one of version 0.1.0."""
    runs = [Folder(made(folder / "run"), folder / "kept"), Folder(plain(folder), folder / "kept1")]
    known = [read(run.path) for run in runs]
    while True:
        place = random.choice((0, 0, 1))
        run = runs[place]
        file = random.choice(run.files)
        how = damage(random, run.path / file, [run.path / f for f in run.files])
        settings = file.name == "config.json" or place == 1
        logged = file.name == "metrics.jsonl" and is_free(file, how)

        def same(run: Folder = run, told: str = known[place]) -> str:
            return "same" if read(run.path) == told else "other"

        yield Attempt(
            f"{run.path.name}, {file}: {how}",
            same,
            (file.name, run.path.name),
            None if settings or logged else lambda given: given.out == "same",
        )
        run.restore()


def read(path: Path) -> str:
    """Everything that is read of a run without its checkpoints."""
    run = Workdir(path)
    assets = RunAssets(run.assets)
    judged = {split: (part.contexts, part.labels) for split, part in assets.judged().items()}
    (point,) = results.read([path]).points
    parts = [
        run.read_metrics(), run.read_baselines(), assets.spec(), assets.vocabularies(),
        assets.items(), assets.histories(), point.runs[0].metrics, point.runs[0].labels,
        point.runs[0].learning_curve(), run.read_config(),
    ]  # fmt: skip
    arrays = [assets.contexts(), judged]
    loaded = point_labels.load([path])
    tables = [table.to_dict(as_series=False) for table in (*loaded.seeds, loaded.items)]
    return repr(parts) + repr(tables) + repr(bytes_of(arrays))


def bytes_of(part: object) -> object:
    """A part whose arrays are bytes."""
    if isinstance(part, dict):
        return {name: bytes_of(inner) for name, inner in part.items()}
    if isinstance(part, list | tuple):
        return [bytes_of(inner) for inner in part]
    return (part.shape, part.dtype.str, part.tobytes())  # type: ignore[attr-defined]


def plain(folder: Path) -> Path:
    """The run of version 0.1.0 without checkpoints and export."""
    ignored = shutil.ignore_patterns("checkpoints", "export")
    return Path(shutil.copytree(OLD, folder / "old", ignore=ignored))


def made(path: Path) -> Path:
    """The same run as it is written today."""
    plain(path.parent).rename(path)
    kept = RunAssets(path / "assets")
    parts = (kept.spec(), kept.vocabularies(), kept.items(), kept.contexts(), kept.histories())
    RunAssets(path / "assets").write(*parts, kept.judged())
    rows = Workdir(path).read_metrics()
    (path / "metrics.jsonl").unlink()
    with contextlib.closing(JsonLog(path / "metrics.jsonl")) as log:
        log.write(*rows)
    with contextlib.suppress(ImportError):
        from flaxrec.files import sums

        text = json.dumps({"files": sums.sums_of(path / "per_label")})
        (path / "per_label" / sums.FILES).write_text(text, encoding="utf-8")
    return path
