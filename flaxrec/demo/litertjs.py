"""The files of LiteRT.js for a page: fetched once by npm, cached, and checked at every use.

`npm/` pins them twice: npm checks the packages' hashes in the lockfile, and this module checks
those of the four used files in files.sha256.
"""

import dataclasses
import hashlib
import os
import re
import shutil
import subprocess
from pathlib import Path

from flaxrec.errors import ExportError
from flaxrec.files import opened, own_path, whole_folder

VERSION = "2.5.3"
_PINNED = Path(__file__).parent / "npm"
_TIMEOUT = 600  # seconds for npm; the packages are 12 MB


@dataclasses.dataclass(frozen=True)
class Runtime:
    """LiteRT.js: the single-threaded build for any browser with WebAssembly."""

    core: bytes  # the module @litertjs/core
    utilities: bytes  # the module @litertjs/wasm-utils, which core imports
    loader: bytes  # the script that starts the WebAssembly
    wasm: bytes


def load(path: str | os.PathLike | None = None) -> Runtime:
    """Reads the runtime from a folder, or from the cache, which it fills if needed.

    Args:
      path: the folder `@litertjs`, or one that has it in `node_modules`; None: the cache.

    Raises:
      ExportError: npm is missing or fails, or a file is missing or differs from the pinned one.
    """
    if path is not None:
        return _read(_find(own_path(path)), "install @litertjs/core@" + VERSION)
    folder = cache_folder() / f"litertjs-{VERSION}"
    if not folder.is_dir():
        _fetch(folder)
    return _read(folder / "node_modules" / "@litertjs", f"remove {folder} to fetch it again")


def cache_folder() -> Path:
    """$XDG_CACHE_HOME/flaxrec, or ~/.cache/flaxrec."""
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "flaxrec"
    except RuntimeError as error:
        raise ExportError(
            "There is no home folder for the cache of LiteRT.js; set HOME or XDG_CACHE_HOME, or "
            "pass --runtime=DIR."
        ) from error


def _find(path: Path) -> Path:
    for folder in (path, path / "@litertjs", path / "node_modules" / "@litertjs"):
        if (folder / "core").is_dir():
            return folder
    raise ExportError(
        f"--runtime={path} has no @litertjs/core; give a folder where npm installed it, or leave "
        "--runtime out to fetch it."
    )


def _read(folder: Path, remedy: str) -> Runtime:
    """The pinned files; raises ExportError if one is missing or differs."""
    contents = []
    for line in (_PINNED / "files.sha256").read_text(encoding="utf-8").splitlines():
        expected, name = line.split()
        try:
            with opened(folder / name) as file:
                content = file.read()
        except OSError as error:
            raise ExportError(
                f"{folder / name} cannot be read ({error.strerror}); {remedy}."
            ) from error
        if hashlib.sha256(content).hexdigest() != expected:
            raise ExportError(f"{folder / name} is not that of LiteRT.js {VERSION}; {remedy}.")
        contents.append(content)
    return Runtime(*contents)


def _fetch(folder: Path) -> None:
    """Installs the pinned packages; the folder appears only when it is complete."""
    npm = shutil.which("npm")
    if npm is None:
        raise ExportError(
            f"The page runs LiteRT.js {VERSION}, which npm fetches, and there is no npm; install "
            "Node.js, or pass --runtime=DIR with a folder that holds @litertjs/core."
        )
    try:
        with whole_folder(folder) as inside:
            for file in ("package.json", "package-lock.json"):
                shutil.copy(_PINNED / file, inside)
            _install(npm, inside)
    except OSError as error:
        raise ExportError(
            f"{folder.parent} cannot be used as a cache ({error.strerror or error}); set "
            "XDG_CACHE_HOME to another folder."
        ) from error


def _install(npm: str, folder: Path) -> None:
    command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=_TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise ExportError(
            f"npm did not fetch LiteRT.js within {_TIMEOUT} s; check the network, or pass "
            "--runtime=DIR."
        ) from error
    if done.returncode:
        code = re.search(r"^npm \S+ code (\w+)", done.stderr, re.MULTILINE)
        raise ExportError(
            f"npm could not fetch LiteRT.js ({code[1] if code else done.returncode}); check the "
            "network and npm's registry, or pass --runtime=DIR with a folder that has it."
        )
