"""Times as people type them."""

import contextlib
import datetime

from flaxrec.errors import ExportError, shown


def read_time(text: str) -> int | float | datetime.date:
    """A number, date or date-time as text; raises ExportError if it is none of them."""
    for read in (int, float, datetime.date.fromisoformat, datetime.datetime.fromisoformat):
        with contextlib.suppress(ValueError):
            return read(text)
    raise ExportError(
        f"{shown(text)} is no time; give a number in the data's unit, a date such as 2024-05-31, "
        "or a date-time such as 2024-05-31T18:30."
    )
