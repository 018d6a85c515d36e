"""The account of the data: what was read, what the filters left, and what is odd about it.

Shapes: N events.
"""

import dataclasses
from typing import Any

import numpy as np
import polars as pl

from flaxrec.config import DataConfig
from flaxrec.data import filters, orders
from flaxrec.data.sources.interactions import Interactions
from flaxrec.data.spec import MOST_POSITIONS
from flaxrec.errors import DataError, shown

_HEAVY = 0.1  # share of the events above which one user is doubtful ...
_HEAVIER = 5  # ... if it is also that many times the mean user's


@dataclasses.dataclass(frozen=True)
class Account:
    """Plain numbers about the data; all but the first three are of the events that are left.

    Attributes:
      rows_read: rows in the files, bad ones included.
      bad_rows: rows left out because they cannot be used.
      dropped: events removed by each filter, in order, by the name of its setting.
      repeated_events: events with the user, item and time of an earlier one, kept or not.
      users: number of users.
      are_sessions: whether these are sessions; then a user is one everywhere here.
      items: number of items.
      events: number of events.
      median_length, p95_length: median and 95% quantile of the events per user.
      repeat_share: share of events whose user had the item before.
      has_time: whether the data have times; if not, the order is the file's.
      span: from the first time to the last, in the data's unit; 0 without times.
      equal_time_share: share of events with the time of the same user's event before.
      heaviest_user: id of the user with most events, as text.
      heaviest_user_share: share of that user's events.
      single_item_share: share of items with one event.
      described_item_share: share of items that the table of items has; None without one.
      item_features: the columns of the table of items, without id, title and fractions.
    """

    rows_read: int
    bad_rows: int
    dropped: dict[str, int]
    repeated_events: int
    users: int
    are_sessions: bool
    items: int
    events: int
    median_length: float
    p95_length: float
    repeat_share: float
    has_time: bool
    span: float
    equal_time_share: float
    heaviest_user: str
    heaviest_user_share: float
    single_item_share: float
    described_item_share: float | None
    item_features: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """The fields, as JSON holds them."""
        return dataclasses.asdict(self) | {"item_features": list(self.item_features)}

    def lines(self) -> list[str]:
        """The account for people."""
        read = f"{self.rows_read:,} rows read"
        if self.repeated_events and "drop_duplicates" not in self.dropped:
            read += f", {self.repeated_events:,} repeated"
        left_out = [f"unusable rows {self.bad_rows:,}"] * bool(self.bad_rows)
        left_out += [f"{name} {count:,}" for name, count in self.dropped.items() if count]
        times = "no times: the order is the file's"
        if self.has_time:
            times = f"times span {self.span:,.0f}{_in_days(self.span)}; "
            times += f"{self.equal_time_share:.1%} of events have the time of the one before"
        users = "sessions" if self.are_sessions else "users"
        return [
            f"{self.events:,} events of {self.users:,} {users} with {self.items:,} items ({read})",
            *[f"left out: {', '.join(left_out)}"] * bool(left_out),
            f"half of the {users} have {self.median_length:,.0f} events or more, 95% have "
            f"{self.p95_length:,.0f} or fewer; {self.repeat_share:.1%} of events repeat an item of "
            "the user",
            times,
        ]

    def warnings(self) -> list[str]:
        """One sentence for each thing that is probably not as it should be."""
        found = []
        left_out = sum(self.dropped.values())
        if left_out > self.events:
            share = left_out / (left_out + self.events)
            most = max(self.dropped, key=self.dropped.__getitem__)
            found.append(
                f"The filters left out {share:.0%} of the events, most of them by "
                f"config.data.{most} ({self.dropped[most]:,})."
            )
        if self.heaviest_user_share > max(_HEAVY, _HEAVIER / self.users):
            found.append(
                f"User {shown(self.heaviest_user)} has {self.heaviest_user_share:.0%} of all "
                "events; if that is a guest or a missing id, leave these rows out or use sessions."
            )
        if not self.has_time:
            found.append(
                "The data have no times: events of a user are taken in the order of the file, "
                "which should be oldest first."
            )
        elif self.span == 0 and self.events > 1:
            found.append(
                "All times are equal: events of a user are taken in the order of the file; name "
                "another column in config.data.columns.time if there is one."
            )
        elif self.equal_time_share > 0.5:
            found.append(
                f"{self.equal_time_share:.0%} of events have the time of the user's event before: "
                "their order is that of the file."
            )
        if self.described_item_share is not None and self.described_item_share < 0.5:
            found.append(
                f"The table of items describes {self.described_item_share:.1%} of the "
                f"{self.items:,} items with events; check that both hold the same ids."
            )
        if self.single_item_share > 0.9 and self.items >= 100:
            found.append(
                f"{self.single_item_share:.0%} of the items occur once: do the item ids number the "
                "rows? Check config.data.columns.item."
            )
        return found


def _in_days(span: float) -> str:
    """' (3.0 days, if seconds)': in the unit in which that is less than a century."""
    for unit, size in (("seconds", 1), ("milliseconds", 1e3), ("microseconds", 1e6)):
        days = span / size / 86400
        if days < 36525:
            return f" ({days:,.1f} days, if {unit})" if days >= 1 else ""
    return ""


def of(interactions: Interactions, config: DataConfig) -> tuple[Interactions, Account]:
    """Filters interactions and counts what is left.

    Returns:
      The interactions that the filters keep, sorted, see `filters.filtered`, with `first`, and
      their account.

    Raises:
      ConfigError: a filter needs a column that the data lack.
      DataError: nothing is left, or more than positions of 32 bits count.
    """
    read = len(interactions.events)
    handed_over = [interactions]
    del interactions  # the events as read can go when they have been sorted
    kept, dropped = filters.filtered(handed_over.pop(), config)
    events = kept.events
    n = len(events)
    if n > MOST_POSITIONS:
        raise DataError(
            f"{kept.source} has {n:,} events, and positions of 32 bits count "
            f"{MOST_POSITIONS:,}; leave some out, for example with config.data.max_timeline_length."
        )
    same_user = filters.same_as_before(events["user"])
    same_time = filters.same_as_before(events["time"])
    starts = filters.starts_of(events["user"])
    lengths = np.diff(starts)
    heaviest = int(lengths.argmax())
    item = events["item"].to_numpy()
    first = orders.first_of_pairs(starts, item)
    counts = np.bincount(item, minlength=len(kept.ids["item"]))  # some ids have no event left
    bad_rows = 0 if kept.bad_rows is None else len(kept.bad_rows)
    rows_read, table = kept.rows_read, kept.items
    described: float | None = None
    item_features: tuple[str, ...] = ()
    if table is not None:
        there = kept.ids["item"].filter(pl.Series(counts > 0))
        described = float(there.is_in(table["item"].implode()).mean())  # type: ignore[arg-type]
        item_features = tuple(
            name
            for name, dtype in table.schema.items()
            if name not in ("item", "title") and not dtype.is_float()
        )
    has_time, times = kept.has_time, events["time"]
    span = float(times.max() - times.min()) if has_time else 0.0  # type: ignore[operator,arg-type]
    account = Account(
        rows_read=read + bad_rows if rows_read is None else rows_read,
        bad_rows=bad_rows,
        dropped=dropped.events,
        repeated_events=dropped.repeated,
        users=len(lengths),
        are_sessions=bool(config.columns.session or config.session_gap),
        items=int((counts > 0).sum()),
        events=n,
        median_length=float(np.median(lengths)),
        p95_length=float(np.quantile(lengths, 0.95)),
        repeat_share=1 - int(first.sum()) / n,
        has_time=has_time,
        span=span,
        equal_time_share=float((same_user & same_time).mean()) if has_time else 0.0,
        heaviest_user=str(kept.ids["user"][events["user"][int(starts[heaviest])]]),
        heaviest_user_share=float(lengths[heaviest] / n),
        single_item_share=float((counts[counts > 0] == 1).mean()),
        described_item_share=described,
        item_features=item_features,
    )
    return dataclasses.replace(kept, first=first), account
