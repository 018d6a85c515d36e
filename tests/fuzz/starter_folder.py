"""Folders of starters, changed as export folders are; `export_folder` says how."""

import json
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

from flaxrec.files.sums import sum_of
from tests.fuzz.attempts import Attempt
from tests.fuzz.export_folder import SECRET, change
from tests.support.faults import Answer, answer
from tests.support.places import ROOT

FILES = ("config.json", "spec.json", "figures.json", "vocabularies/item.txt", "weights.npz")


def attempts(random: random.Random, folder: Path) -> Iterator[Attempt]:
    """Attempts without end."""
    (folder / "secret.txt").write_text(f"{SECRET}\n", encoding="utf-8")
    models = folder / "models"
    base, other = models / "movielens_bow", ROOT / "models" / "movielens_cnn"
    command = ("starters", "--table", f"--output={models}")
    shutil.copytree(ROOT / "models" / base.name, base)
    before = answer(*command)
    assert before.status == 0
    while True:
        shutil.rmtree(base)
        shutil.copytree(ROOT / "models" / base.name, base)
        kind, name = random.choice(["noted", "old", "stranger"]), random.choice(FILES)
        if kind == "old":
            note(base, None)
        what = change(random, base, name, other)
        if kind == "stranger" and name != "figures.json":
            note(base, [file for file in FILES if file != "figures.json"])

        def right(given: Answer, free: bool = kind != "noted" or name == "figures.json") -> bool:
            clean = given.out.replace("\n", "").isprintable() and SECRET not in given.out
            return clean and (free or given.out == before.out)

        # Without its config it is no starter.
        yield Attempt(f"{kind}: {what}", command, (base, "There are no starters"), right)


def note(base: Path, files: list[str] | None) -> None:
    """Notes these files as they are; None: none, as version 0.1.0."""
    file = base / "figures.json"
    facts = json.loads(file.read_text(encoding="utf-8"))
    facts.pop("files", None)
    if files:
        there = [name for name in files if (base / name).is_file()]
        sound = [name for name in there if (base / name).resolve() != Path("/dev/zero")]
        facts["files"] = {name: sum_of(base / name) for name in sound}
    file.write_text(json.dumps(facts), encoding="utf-8")
