"""Which files belong together: the bytes and the SHA-256 of each, noted by whoever writes them."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

FILES = "files.json"  # of a folder of a run: notes what is beside it
Sum = dict[str, Any]  # `bytes` and `sha256`, hexadecimal


def sum_of(file: Path | bytes) -> Sum:
    """Of one file, or of its content."""
    if isinstance(file, bytes):
        return {"bytes": len(file), "sha256": hashlib.sha256(file).hexdigest()}
    with open(file, "rb") as opened:
        digest = hashlib.file_digest(opened, "sha256")
        return {"bytes": opened.tell(), "sha256": digest.hexdigest()}


def sums_of(folder: Path) -> dict[str, Sum]:
    """Of every file below a folder, by its name there, of parts divided by '/'."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): sum_of(path) for path in files}


def is_the_one(file: Path, noted: Mapping[str, Any]) -> bool:
    """Whether a file is the one whose bytes and SHA-256 were noted."""
    return file.stat().st_size == noted["bytes"] and sum_of(file) == noted
