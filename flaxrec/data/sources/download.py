"""Downloads a MovieLens release: resumable, verified, unpacked whole or not at all."""

import hashlib
import http.client
import logging
import re
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from flaxrec.errors import NO_ROOM, DataError, shown
from flaxrec.files import (
    DamagedError,
    EscapeError,
    folder_beside,
    lock,
    own_path,
    unpack,
    whole_folder,
)
from flaxrec.terminal.progress import progress

BASE_URL = "https://files.grouplens.org/datasets/movielens"

SHA256 = {"ml-1m": "a6898adb50b9ca05aa231689da44c217cb524e7ebd39d264c56e2832f2c54e20"}

_AGAIN = "run the command again, or pass --config.data.path=DIR with files of your own."
_CHUNK = 1 << 18  # bytes between two updates of the progress bar
_TIMEOUT = 30  # seconds

Opener = Callable[[urllib.request.Request], Any]


def open_url(request: urllib.request.Request) -> Any:
    """Opens a request with the standard library; uses proxies from the environment."""
    return urllib.request.urlopen(request, timeout=_TIMEOUT)


def fetch(
    release: str,
    cache_dir: str | Path,
    *,
    base_url: str = BASE_URL,
    opener: Opener = open_url,
) -> Path:
    """The unpacked folder of a release in the cache; downloads it if it is not there.

    Checks the archive's SHA-256 if it is known (`SHA256`), else the MD5 that GroupLens publishes
    (`RELEASE.zip.md5`, from the same server: it detects a damaged download, not a forged one).
    Resumes an interrupted download. If several processes call this at once, one downloads and the
    others wait.

    Args:
      release: the archive's name without '.zip', such as 'ml-1m'.
      cache_dir: holds the release's folder and, until it is complete, the download.
      base_url: URL of the folder of archives.
      opener: returns the response to a request, as `urllib.request.urlopen` does.

    Raises:
      DataError: there is no network or no such release, the archive is damaged or dangerous, or
        the cache cannot be written.
    """
    cache = own_path(cache_dir)
    if not re.fullmatch(r"\w[\w.-]{0,99}", release, re.ASCII):
        raise DataError(
            f"config.data.release is {shown(release)}, which is no release; give one such as ml-1m."
        )
    if cache.parts[:1] == ("~",):
        raise DataError(
            f"There is no home folder for the cache of downloads, {cache}; set HOME, or choose "
            "another folder by --config.data.cache_dir=DIR."
        )
    folder = cache / release
    if folder.is_dir():
        return folder
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with open(cache / f".{release}.lock", "wb") as file:
            lock(file, wait=True)
            if not folder.is_dir():
                _fetch(release, folder, f"{base_url}/{release}.zip", opener)
    except OSError as error:
        raise DataError(
            f"{cache} cannot be used as the cache of downloads ({_reason(error)}); make room or "
            "allow it there, or choose another folder by --config.data.cache_dir=DIR."
        ) from error
    return folder


def _fetch(release: str, folder: Path, url: str, opener: Opener) -> None:
    part = folder.with_name(f"{release}.zip.part")
    if part.is_symlink() or (part.exists() and not part.is_file()):
        raise DataError(f"{part} is no file of a download; remove it.")
    try:
        expected = SHA256.get(release) or _published_md5(f"{url}.md5", opener)
        print(f"downloading {url}", file=sys.stderr, flush=True)
        _download(url, part, opener)
    except (OSError, http.client.HTTPException) as error:
        if getattr(error, "errno", None) in NO_ROOM:
            raise
        raise DataError(
            f"{url} could not be downloaded ({_reason(error)}); run the command again to go on "
            f"where it stopped, or put the files of {release} into a folder and pass "
            "--config.data.path=DIR."
        ) from error
    try:
        _check(part, expected, url)
        _unpack(part, folder)
    except DataError:
        part.unlink()
        raise
    part.unlink()


# ---- network --------------------------------------------------------------------------------


def _published_md5(url: str, opener: Opener) -> str:
    """The MD5 from a file such as 'MD5 (NAME) = HASH' or 'HASH  NAME'; '' if none is published."""
    try:
        with _open(urllib.request.Request(url), opener) as response:
            found = re.search(rb"\b[0-9a-fA-F]{32}\b", response.read(4096))
    except urllib.error.HTTPError as error:
        if error.code != 404:
            raise
        found = None
    if not found:
        logging.warning("%s holds no checksum; the archive is checked by its own CRCs only.", url)
        return ""
    return found[0].decode().lower()


def _download(url: str, part: Path, opener: Opener) -> None:
    """Completes `part`; retries as long as each attempt adds bytes."""
    while True:
        before = _size(part)
        try:
            return _append(url, part, before, opener)
        except (OSError, http.client.HTTPException):
            if _size(part) <= before:
                raise


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _append(url: str, part: Path, start: int, opener: Opener) -> None:
    """Requests the bytes from `start` on; raises OSError if the response ends early."""
    request = urllib.request.Request(url, headers={"Range": f"bytes={start}-"} if start else {})
    try:
        response = _open(request, opener)
    except urllib.error.HTTPError as error:
        if error.code == 416:  # nothing after `start`: complete or too long; `_check` decides
            return
        raise
    if response.status != 206:  # the server ignored the range and sends everything
        start = 0
    with response, part.open("r+b" if start else "wb") as file:
        file.seek(start)
        length = response.headers.get("Content-Length")
        total = start + int(length) if length else None
        with progress(part.stem, total, "bytes", start) as advance:
            while chunk := response.read(_CHUNK):
                file.write(chunk)
                advance(len(chunk))
        received = file.tell()
    if total is not None and received < total:
        raise ConnectionError(f"the connection ended after {received:,} of {total:,} bytes")


def _open(request: urllib.request.Request, opener: Opener) -> Any:
    try:
        return opener(request)
    except urllib.error.HTTPError as error:
        error.close()  # the error is also the response and holds the connection
        raise


def _reason(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"the server answers {error.code} {error.reason}"
    if isinstance(error, urllib.error.URLError):
        error = error.reason if isinstance(error.reason, Exception) else error
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).rstrip(".")


# ---- archive --------------------------------------------------------------------------------


def _check(archive: Path, expected: str, url: str) -> None:
    """Compares the file with its SHA-256 (64 digits) or MD5 (32 digits)."""
    if not expected:
        return
    algorithm = {64: "sha256", 32: "md5"}[len(expected)]
    with archive.open("rb") as file:
        found = hashlib.file_digest(file, algorithm).hexdigest()
    if found != expected:
        raise DataError(
            f"{archive} from {url} has the {algorithm.upper()} {found} instead of {expected} and "
            f"was deleted; {_AGAIN}"
        )


def _unpack(archive: Path, folder: Path) -> None:
    """Unpacks to `folder`, whole or not at all; the archive's only folder becomes `folder`."""
    with whole_folder(folder) as target, folder_beside(folder) as unpacked:
        try:
            unpack(archive, unpacked)
        except EscapeError as error:
            raise DataError(
                f"{archive} was deleted because its member {error} points out of the folder; "
                "download from a source you trust and pass --config.data.path=DIR."
            ) from error
        except DamagedError as error:
            raise DataError(
                f"{archive} is not a sound zip archive ({error}) and was deleted; {_AGAIN}"
            ) from error
        inside = list(unpacked.iterdir())
        only_folder = len(inside) == 1 and inside[0].is_dir()
        for path in inside[0].iterdir() if only_folder else inside:
            path.rename(target / path.name)
