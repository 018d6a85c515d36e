"""Zip archives of strangers: checked before they are unpacked, bounded."""

import contextlib
import errno
import os
import shutil
import stat
import struct
import unicodedata
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath

from flaxrec.errors import reason, shown
from flaxrec.files.reading import most_unpacked, opened

_LONGEST = 255  # bytes of a file's name, on most file systems
_DEEPEST = 3000  # of its path in the archive
# What zipfile raises for unsound archives.
_DAMAGE = (
    zipfile.BadZipFile, zlib.error, struct.error, EOFError, ValueError, OverflowError,
    NotImplementedError,
)  # fmt: skip


class DamagedError(ValueError):
    """An archive that cannot be used; the message is the reason alone."""


class EscapeError(DamagedError):
    """An archive with a member that lies, or points, outside the folder; the message names it."""


@contextlib.contextmanager
def open_archive(path: str | os.PathLike) -> Iterator[zipfile.ZipFile]:
    """An open archive whose members are plain ones and do not unpack to too much.

    Raises:
      DamagedError: it is none, or unsound; also from what the block does with it.
      OSError: the file cannot be read.
    """
    with opened(path) as file:
        try:
            with zipfile.ZipFile(file) as archive:
                for member in archive.infolist():
                    _check_kind(member)
                total = sum(member.file_size for member in archive.infolist())
                most = most_unpacked(os.fstat(file.fileno()).st_size)
                if total > most:
                    raise DamagedError(
                        f"it would unpack to {total:,} bytes, more than the {most:,} that are "
                        "plausible for its size"
                    )
                yield archive
        except DamagedError:
            raise
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            raise DamagedError("it points out of itself") from error
        except _DAMAGE as error:
            raise DamagedError(reason(error)) from error


def _check_kind(member: zipfile.ZipInfo) -> None:
    name = shown(member.orig_filename)
    if member.flag_bits & 0x1:
        raise DamagedError(f"its member {name} is encrypted")
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise DamagedError(f"its member {name} is packed by method {member.compress_type}")


def unpack(path: Path, folder: Path) -> None:
    """Unpacks a zip archive into an empty folder.

    Raises:
      EscapeError: a member lies, or points, outside the folder.
      DamagedError: the archive is unsound: damaged, encrypted, packed by an unusual method, empty,
        far larger than it can be, or with names that no file system or not every one has.
      OSError: the archive cannot be read, or the files cannot be written.
    """
    with open_archive(path) as archive:
        members = archive.infolist()
        if not members:
            raise DamagedError("it is empty")
        taken: dict[str, bool] = {}  # whether it is a folder, by what a system may make of a name
        for member in members:
            _check_name(member, taken)
        if sum(member.file_size for member in members) > shutil.disk_usage(folder).free:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))
        archive.extractall(folder)


def _check_name(member: zipfile.ZipInfo, taken: dict[str, bool]) -> None:
    name = member.orig_filename
    # Check both readings: a harmless POSIX name may be a drive or contain '..' on Windows.
    windows, posix = PureWindowsPath(name), PurePosixPath(name)
    escapes = windows.anchor or posix.is_absolute() or ".." in windows.parts
    if escapes or stat.S_ISLNK(member.external_attr >> 16):
        raise EscapeError(shown(name))
    parts = posix.parts
    if not (parts or name.endswith("/")) or "\0" in name:
        raise DamagedError(f"its member {shown(name)} has no name of a file")
    if any(len(os.fsencode(part)) > _LONGEST for part in parts) or len(name) > _DEEPEST:
        raise DamagedError(f"the name of its member {shown(name)} is too long")
    for depth in range(1, len(parts) + 1):
        alike = unicodedata.normalize("NFC", "/".join(parts[:depth])).casefold()
        is_folder = depth < len(parts) or member.is_dir()
        if not (taken.get(alike, True) and (is_folder or alike not in taken)):
            raise DamagedError(f"the name of its member {shown(name)} stands twice")
        taken[alike] = is_folder
