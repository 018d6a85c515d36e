"""The config files in configs/ and their variants."""

import importlib.util
import re
from pathlib import Path

from tests.support.places import ROOT

CONFIGS = sorted((ROOT / "configs").glob("*.py"))


def load(path: Path):
    """The config file as a module."""
    spec = importlib.util.spec_from_file_location(f"configs_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def variants_in(docstring: str) -> list[str]:
    """The names after 'Variants:', without what stands in brackets."""
    listed = re.search(r"Variants: (.*?)\.?\s*\Z", docstring, re.DOTALL)
    return re.split(r",\s+", re.sub(r"\s*\([^)]*\)", "", listed.group(1)))


VARIANTS = [(path, name) for path in CONFIGS for name in variants_in(load(path).__doc__)]

SMOKES = [
    (path, variant)
    for path in CONFIGS
    for name in variants_in(load(path).__doc__)
    for variant in [name if name == "smoke" else f"{name},smoke"]
]
