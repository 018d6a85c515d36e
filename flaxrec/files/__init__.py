# ruff: noqa: F401
"""Files and folders: written whole or not at all, locks, names that mean themselves, JSON lines."""

from flaxrec.files.archives import DamagedError, EscapeError, unpack
from flaxrec.files.json_lines import JsonLog, read_jsonl, write_jsonl
from flaxrec.files.names import inside, plain_path, temporary_folder
from flaxrec.files.reading import most_unpacked, opened, own_path, read_errors_as
from flaxrec.files.whole import (
    folder_beside,
    lock,
    recover,
    whole_file,
    whole_folder,
    write_text,
    write_whole,
)
