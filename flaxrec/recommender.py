"""Recommends with an exported model: takes and returns the user's own ids.

Needs only the export folder, ai_edge_litert and numpy; neither JAX nor TensorFlow.
"""

import copy
import dataclasses
import functools
import itertools
import logging
import operator
import os
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from flaxrec.data import moments
from flaxrec.data.vocabulary import Vocabulary, text
from flaxrec.errors import ExportError, printable, reason, shown
from flaxrec.tflite import threads as threads_lib
from flaxrec.tflite.export_folder import MODEL, ExportFolder, read_whole
from flaxrec.tflite.metadata import CANDIDATE_MASK, IDS, SCORES, columns_left_out
from flaxrec.tflite.runtime import TfliteModel
from flaxrec.tflite.selection import Items, Selection, Selector, mask

_TOP_K = 10
_TOLD = 5  # unknown items in a warning
_MOST_THREADS = 64
_BLOCK = 64  # histories that a thread takes at once
_NO_IDS = (list, tuple, set, frozenset, Mapping)
UNKNOWN = "unknown"  # a moment of asking that is not known
Activity = Any  # an item's id, or a mapping with 'item' and event features


@dataclasses.dataclass(frozen=True)
class Recommendation:
    """One recommended item.

    Attributes:
      item: the item's id, as in the user's data.
      score: sigmoid of the logit, in (0, 1).
      title: its readable name; '' if the data have none.
      relative: its probability as a share of the first one's, in [0, 1]. Softmax models say no
        more; scores of all items may be near 1.
    """

    item: Any
    score: float
    title: str = ""
    relative: float = 1.0


def _relative(score: float, best: float) -> float:
    """The exponential of the difference of two logits, from their sigmoids in float32.

    Of a sigmoid of 1 the logit is taken as that of 1 - 2**-25, the least that rounds to it.
    """
    odds = [max(one, 0.0) / max(1 - one, 2.0**-25) for one in (score, best)]
    return min(1.0, odds[0] / odds[1]) if odds[1] > 0 else 1.0


class _Odd:
    """Says what is odd about a history."""

    def unknown(self, items: Sequence[Any]) -> None:
        """Items that are not in the catalogue."""
        told = ", ".join(map(shown, items[:_TOLD]))
        more = f", and {len(items) - _TOLD:,} more" if len(items) > _TOLD else ""
        logging.warning("Not in the catalogue, taken as 'unknown': [%s%s]", told, more)

    def moment(self, remark: str) -> None:
        """A moment that cannot be right."""
        logging.warning(printable(remark))

    def nothing(self) -> None:
        """Nothing may be shown."""
        logging.warning("only and without leave no item that may be shown.")

    def short(self, found: int, most: int, top_k: int) -> None:
        """A list that is shorter than asked for, as the model ranks more than may be shown."""
        logging.warning(
            "%d of %d items: no others of the model's own %d may be shown; for full lists export "
            "it again with flaxrec export ... --candidate_mask.", found, most, top_k,
        )  # fmt: skip


class _Counted(_Odd):
    """Counts what is odd about many histories, for threads at once, and says it at their end."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._unknown: dict[str | None, Any] = {}
        self._activities = self._moments = self._short = 0
        self._remark = ""

    def unknown(self, items: Sequence[Any]) -> None:
        """Items that are not in the catalogue."""
        with self._lock:
            self._activities += len(items)
            self._unknown |= {text(item): item for item in items}

    def moment(self, remark: str) -> None:
        """A moment that cannot be right."""
        with self._lock:
            self._moments += 1
            self._remark = self._remark or remark

    def nothing(self) -> None:
        """Said once, before the histories."""

    def short(self, found: int, most: int, top_k: int) -> None:
        """A list that is shorter than asked for."""
        with self._lock:
            self._short += 1

    def say(self) -> None:
        """One warning of the items, one of the moments, one of the short lists."""
        if self._unknown:
            told = ", ".join(map(shown, itertools.islice(self._unknown.values(), _TOLD)))
            more = ", ..." if len(self._unknown) > _TOLD else ""
            logging.warning(
                "Not in the catalogue, taken as 'unknown': %s activities of %s items [%s%s]",
                f"{self._activities:,}", f"{len(self._unknown):,}", told, more,
            )  # fmt: skip
        if self._moments:
            logging.warning(
                "%s (the first of %s histories)", printable(self._remark), f"{self._moments:,}"
            )
        if self._short:
            logging.warning(
                "%s lists are shorter than asked for, as the model ranks more than may be shown; "
                "for full lists export it again with flaxrec export ... --candidate_mask.",
                f"{self._short:,}",
            )


class Recommender:
    """Loads an export once, then recommends.

    Threads may share one, also after a fork; each call has its own answer. It may be copied and
    pickled. Once loaded, it does not need the folder.
    """

    _odd = _Odd()

    def __init__(self, folder: str | os.PathLike):
        read_whole(folder, self._read)

    def _read(self, export: ExportFolder) -> None:
        self.folder, self.metadata = export.path, export.metadata
        self._model = _model(export)
        self.items, self._vocabularies = export.tables()

    @classmethod
    def load(cls, folder: str | os.PathLike) -> "Recommender":
        """The Recommender of an export folder; raises ExportError if it is not one."""
        return cls(folder)

    @property
    def top_k(self) -> int:
        """Number of items that the model returns."""
        return self.metadata["top_k"]

    def recommend(
        self,
        history: Sequence[Activity],
        top_k: int | None = None,
        *,
        user: Mapping[str, Any] | None = None,
        now: Any = None,
        only: Items | None = None,
        without: Items | None = None,
        exclude_history: bool | None = None,
    ) -> list[Recommendation]:
        """Recommends the next items after a history, best first.

        Args:
          history: activities, oldest first, in a list or anything else with an order: item ids,
            or mappings such as {'item': 1, 'rating': 4.0} if the model uses event features (a
            missing one is the mean of the training data, or 'unknown'; names that the model does
            not use are ignored). What a model reads of times is computed from the activities'
            'time': a number in the data's unit, a date or a date-time. The model uses the last
            `context_length`. An empty history has an answer too: what the model recommends to a
            user of whom it knows nothing.
          top_k: maximum number of items; by default 10, or `self.top_k` if that is smaller.
          user: the user's features, if the model uses them.
          now: the moment of asking, likewise, or 'unknown'. None: the clock's, where the data's
            times are dates, date-times or Unix times (`time` of metadata.json), else unknown.
            Nothing but `moments.OF_NOW` depends on it.
          only: the items that may be shown: ids, or a rule such as `lambda item: item["year"] >
            1990`, a function of an item's columns in items.jsonl; or either as `select` prepares
            it. None: all.
          without: the items that must not be shown, likewise, also where `only` names them.
          exclude_history: leave out the items of the history. None: unless the model was chosen for
            users who come back to items (`recommends_seen` of metadata.json).

        A model exported with --candidate_mask ranks nothing but what may be shown: top_k items
        come back, or all that there are. Another returns a fixed number of items, of which what
        may be shown remains; where `only` or `without` leave fewer than top_k, a warning says so.

        Raises:
          ExportError: an argument is of another kind, top_k is below 1 or above `self.top_k`, an
            activity has no 'item', a value is not a number where the model needs one, a time is
            none, a rule fails, or a selection is another export's.
        """
        most = self._most(top_k)
        activities = _activities(history)
        if user is not None and not isinstance(user, Mapping):
            raise ExportError(f"user is {shown(user)}; give a mapping of its features, or None.")
        if exclude_history is None:
            exclude_history = not self.metadata.get("recommends_seen", False)
        elif not isinstance(exclude_history, int | np.bool_):
            raise ExportError(
                f"exclude_history is {shown(exclude_history)}; give True, False or None."
            )
        narrowed = only is not None or without is not None
        inputs = self.encode(activities, user, now=now)
        allowed = self._selector.allowed(only, without)
        if narrowed and not allowed.any():
            self._odd.nothing()
        if exclude_history:
            seen = {text(activity["item"]) for activity in activities}
            allowed[self._selector.rows_of(seen)] = False
        if CANDIDATE_MASK in inputs:
            self._mask(inputs, allowed)
        out = self._model(inputs)
        entries = self._vocabularies[self.metadata["label_vocabulary"]].entries
        recommended: list[Recommendation] = []
        for row, score in zip(out[IDS].tolist(), out[SCORES].tolist(), strict=True):
            if len(recommended) == most:
                break
            # A reference model's table may have a row for 'unknown', without an entry.
            if 0 <= row < len(allowed) and allowed[row]:
                item, best = (
                    self.items[entries[row]],
                    recommended[0].score if recommended else score,
                )
                title = item.get("title") or ""
                recommended.append(Recommendation(item["id"], score, title, _relative(score, best)))
        is_filtered = narrowed and CANDIDATE_MASK not in inputs
        if is_filtered and len(recommended) < (wanted := min(most, int(allowed.sum()))):
            self._odd.short(len(recommended), wanted, self.top_k)
        return recommended

    def recommend_many(
        self,
        histories: Iterable[Sequence[Activity]],
        top_k: int | None = None,
        *,
        user: Mapping[str, Any] | Iterable[Mapping[str, Any] | None] | None = None,
        now: Any = None,
        only: Items | None = None,
        without: Items | None = None,
        exclude_history: bool | None = None,
        threads: int = 1,
    ) -> Iterator[list[Recommendation]]:
        """Recommends after many histories: the lists of `recommend`, one by one, in their order.

        Histories are read as lists are taken, some blocks ahead: neither need stand in memory all
        at once. Unknown items of all histories are told in one warning, at the end.

        Args:
          histories: what `recommend` takes, one for each list.
          top_k: as `recommend` takes it, and for all histories; so is `exclude_history`.
          user: the users' features, one mapping or None for each history; or one for all.
          now: the moments of asking, one for each history; or one for all. None for all is the
            clock's at the call, the same for every history.
          only: as `recommend` takes it, for all histories; rules are evaluated once.
          without: likewise.
          exclude_history: see `top_k`.
          threads: how many recommend at once, 1 to 64. The graph alone runs beside others.

        Raises:
          ExportError: as `recommend`, with the history's place; or there are not as many users or
            moments as histories. Lists before it have been given.
        """
        self._most(top_k)
        if isinstance(threads, bool) or threads not in range(1, _MOST_THREADS + 1):
            raise ExportError(f"threads is {shown(threads)}; use 1 to {_MOST_THREADS}.")
        if isinstance(histories, str | bytes | Mapping) or not isinstance(histories, Iterable):
            raise ExportError(f"histories is {shown(histories)}; give an iterable of histories.")
        if only is not None:
            only = self._selector.select(only, "only")
        if without is not None:
            without = self._selector.select(without, "without")
        narrowed = only is not None or without is not None
        if narrowed and not self._selector.allowed(only, without).any():
            self._odd.nothing()
        if now is None:
            by_clock = self.moment()
            now = UNKNOWN if by_clock is None else by_clock
        users = None if user is None or isinstance(user, Mapping) else _iterator(user)
        nows = None if isinstance(now, str) else _iterator(now)
        asks = _asks(histories, users or itertools.repeat(user), nows or itertools.repeat(now))
        counted = _Counted()
        quiet = copy.copy(self)
        quiet._odd = counted

        def lists(block: Iterable[tuple[int, Any, Any, Any]]) -> list[list[Recommendation]]:
            found = []
            for place, history, features, moment in block:
                try:
                    found.append(
                        quiet.recommend(
                            history,
                            top_k,
                            user=features,
                            now=moment,
                            only=only,
                            without=without,
                            exclude_history=exclude_history,
                        )
                    )
                except ExportError as error:
                    raise ExportError(f"histories[{place}]: {error}") from error
            return found

        def in_order() -> Iterator[list[Recommendation]]:
            blocks = threads_lib.in_order(lists, threads_lib.blocks(asks, _BLOCK), int(threads))
            try:
                for block in blocks:
                    yield from block
            finally:
                blocks.close()
                counted.say()

        return in_order()

    def select(self, items: Items, name: str = "items") -> Selection:
        """Prepares what `recommend` takes as `only` or `without`, for many calls.

        A rule is evaluated once, here. Ids that are not in the catalogue have one warning.

        Args:
          items: ids, or a rule.
          name: what the caller gives it as, for messages.

        Raises:
          ExportError: it is neither, or the rule fails or returns neither True nor False.
        """
        return self._selector.select(items, name)

    @functools.cached_property
    def _selector(self) -> Selector:
        entries = self._vocabularies[self.metadata["label_vocabulary"]].entries
        return Selector(self.items, entries, columns_left_out(self.metadata))

    def _mask(self, inputs: dict[str, np.ndarray], allowed: np.ndarray) -> None:
        """Puts the mask of the rows that may be shown, bool [N], into the graph's inputs.

        The graph itself may leave out more, which is then not allowed any more.
        """
        if self.metadata.get("excludes_context"):
            for spec in self.inputs:
                if spec["vocabulary"] == self.metadata["label_vocabulary"]:
                    rows = inputs[spec["name"]]
                    allowed[rows[(rows >= 0) & (rows < len(allowed))]] = False
        inputs[CANDIDATE_MASK] = mask(allowed, len(inputs[CANDIDATE_MASK]))

    def _most(self, top_k: Any) -> int:
        """The number of items that the caller wants; raises ExportError if it is none."""
        if top_k is None:
            return min(_TOP_K, self.top_k)
        try:
            if isinstance(top_k, bool):
                raise TypeError("True and False are no numbers")
            most = operator.index(top_k)
        except TypeError as error:
            raise ExportError(
                f"top_k is {shown(top_k)}; use a whole number from 1 to {self.top_k}."
            ) from error
        if most < 1:
            raise ExportError(f"top_k is {shown(most)}; use 1 to {self.top_k}.")
        if most > self.top_k:
            raise ExportError(
                f"top_k is {shown(most)}, but this model returns {self.top_k} items; export it "
                "again with a larger --top_k."
            )
        return most

    def encode(
        self,
        activities: Sequence[Mapping[str, Any]],
        user: Mapping[str, Any] | None = None,
        *,
        now: Any = None,
    ) -> dict[str, np.ndarray]:
        """The graph's inputs, [length] by name, as in training (see `flaxrec.data.contexts`).

        A mask of the candidates leaves out nothing.
        """
        unknown = [a["item"] for a in activities if text(a["item"]) not in self.items]
        if unknown:
            self._odd.unknown(unknown)
        # One more than the model reads: the time since the activity before.
        activities = activities[-self._reads - 1 :]
        of_moment: Mapping[str, Any] = {}
        if any(spec["source"] in moments.SOURCES for spec in self.inputs):
            activities, of_moment = self._with_times(activities, now)
        return {
            spec["name"]: self._encode(spec, activities, user, of_moment) for spec in self.inputs
        }

    def _with_times(
        self, activities: Sequence[Mapping[str, Any]], now: Any
    ) -> tuple[list[dict[str, Any]], dict[str, int | None]]:
        """The activities with what the model reads of their times, and what of the moment."""
        sources, clock = {spec["source"] for spec in self.inputs}, self.clock
        needs_zone = clock.dates or not sources.isdisjoint(moments.OF_CALENDAR)
        try:
            moments.zone(clock.zone if needs_zone else "UTC")
        except ValueError as error:
            raise ExportError(f"{error}; install the package tzdata.") from error
        try:
            moment = self.moment(now)
        except (TypeError, ValueError, OverflowError) as error:
            raise ExportError(
                f"now is no number, date or date-time of the data ({reason(error)}); give one, or "
                f"{UNKNOWN!r}."
            ) from error
        try:
            asked = moments.asked(activities, moment, clock, self._largest, sources)
        except (TypeError, ValueError, OverflowError) as error:
            raise ExportError(
                f"An activity's 'time' is no number, date or date-time of the data "
                f"({reason(error)}); give every one such a time, or leave it out."
            ) from error
        if asked.remark:
            self._odd.moment(asked.remark)
        names = {source: source.partition(".")[2] for source in asked.of_events}
        found = [
            {**activity, **{names[source]: of[place] for source, of in asked.of_events.items()}}
            for place, activity in enumerate(activities)
        ]
        return found, asked.of_moment

    @functools.cached_property
    def _reads(self) -> int:
        """The most activities that an input reads."""
        lengths = (s["shape"][0] for s in self.inputs if s["source"] != CANDIDATE_MASK)
        return max([self.metadata["context_length"], *lengths])

    @functools.cached_property
    def _largest(self) -> dict[str, int]:
        """The largest value of the vocabulary of each source of time that has one."""
        return {
            spec["source"]: moments.largest(self._vocabularies[spec["vocabulary"]].entries)
            for spec in self.inputs
            if spec["source"] in moments.SOURCES and spec["vocabulary"]
        }

    @functools.cached_property
    def clock(self) -> moments.Clock:
        """How the data's times count."""
        return moments.Clock.from_json(self.metadata.get("time"))

    @property
    def knows_moment(self) -> bool:
        """Whether an input tells the moment of asking."""
        return any(spec["source"] in moments.OF_NOW for spec in self.inputs)

    def moment(self, now: Any = None) -> int | float | None:
        """The moment of asking in the data's unit, None where it is unknown or not asked for.

        Args:
          now: as `recommend` takes it.

        Raises:
          TypeError, ValueError, OverflowError: it is no number, date or date-time of the data.
        """
        if not self.knows_moment or (isinstance(now, str) and now == UNKNOWN):
            return None
        if now is None:
            return self.clock.now() if self.metadata.get("time") and self.clock.knows_now else None
        return self.clock.number(now)

    def entries(self, vocabulary: str) -> tuple[str, ...]:
        """The lines of a vocabulary's file, such as 'vocabularies/item.txt'."""
        return self._vocabularies[vocabulary].entries

    @property
    def inputs(self) -> list[dict[str, Any]]:
        """Descriptions of the graph's inputs, from metadata.json."""
        return self.metadata["inputs"]

    def _encode(
        self,
        spec: dict[str, Any],
        activities: Sequence[Mapping[str, Any]],
        user: Mapping[str, Any] | None,
        of_moment: Mapping[str, Any],
    ) -> np.ndarray:
        table, _, name = spec["source"].partition(".")
        length = spec["shape"][0]
        if table == CANDIDATE_MASK:
            return np.zeros(length, spec["dtype"])
        if table == "ask":
            values = [of_moment.get(spec["source"])]
        elif table == "user":
            value = (user or {}).get(name)
            values = listed(value) if spec["multi_valued"] or value is not None else [None]
        elif spec["multi_valued"]:
            recent = activities[-self.metadata["context_length"] :]
            values = [v for a in recent for v in listed(self._value(table, name, a))]
        else:
            values = [self._value(table, name, a) for a in activities[-length:]]
        if len(values) > length:
            keeps_first = table == "user" or self.metadata["flatten_keeps_oldest"]
            values = values[:length] if keeps_first else values[-length:]
        encoded = np.zeros(length, spec["dtype"])
        encoded[: len(values)] = encode_values(spec, values, self._vocabularies)
        return encoded

    def _value(self, table: str, name: str, activity: Mapping[str, Any]) -> Any:
        if table == "event":
            return activity.get(name)
        if name == "id":
            return activity["item"]
        return self.items.get(text(activity["item"]), {}).get(name)


_END = object()


def _asks(
    histories: Iterable[Any], users: Iterator[Any], nows: Iterator[Any]
) -> Iterator[tuple[int, Any, Any, Any]]:
    """Place, history, user and moment; raises ExportError where there are not as many of each."""
    several = {"user": users, "now": nows}
    count = 0
    for history in histories:
        of_one = [next(given, _END) for given in several.values()]
        for name, value in zip(several, of_one, strict=True):
            if value is _END:
                raise ExportError(f"{name} ends after {count:,}, but there are more histories.")
        yield count, history, *of_one
        count += 1
    for name, given in several.items():
        if not isinstance(given, itertools.repeat) and next(given, _END) is not _END:
            raise ExportError(f"{name} has more than {count:,}, but there are {count:,} histories.")


def _iterator(value: Any) -> Iterator[Any] | None:
    """An iterator over the values; None if it is one value."""
    try:
        return iter(value)
    except TypeError:
        return None


def _activities(history: Any) -> list[Mapping[str, Any]]:
    """A history's activities as mappings with 'item'.

    Raises:
      ExportError: it has no order, or an activity is no id and no mapping with 'item'.
    """
    remedy = "give a list of item ids, or of mappings with 'item', oldest first"
    try:
        if isinstance(history, str | bytes | bytearray | set | frozenset | Mapping):
            raise TypeError("one thing, or things without an order")
        if len(shape := getattr(history, "shape", (1,))) != 1:
            raise TypeError(f"of shape {shape}")
        given = iter(history)
    except TypeError as error:
        raise ExportError(f"history is {shown(history)}; {remedy}.") from error
    activities: list[Mapping[str, Any]] = []
    for place, activity in enumerate(given):
        if type(activity) in (int, str):  # most are: this is quick
            activities.append({"item": activity})
            continue
        if not isinstance(activity, Mapping):
            activity = {"item": activity}
        elif "item" not in activity:
            raise ExportError(f"history[{place}] has no 'item'; {remedy}.")
        item = activity["item"]
        if isinstance(item, _NO_IDS) or getattr(item, "shape", ()) != ():
            raise ExportError(f"The item of history[{place}] is {shown(item)}, no id; {remedy}.")
        activities.append(activity)
    return activities


def _model(export: ExportFolder) -> TfliteModel:
    """The loaded model, whose inputs and outputs are those of metadata.json."""
    model = TfliteModel(export.model, export.path / MODEL)
    export.check_ends(model.inputs, model.outputs)
    return model


def listed(value: Any) -> list[Any]:
    """The values of a multi-valued feature: none, one or several."""
    if value is None:
        return []
    if isinstance(value, np.ndarray):
        return list(np.atleast_1d(value))
    return list(value) if isinstance(value, list | tuple | set) else [value]


def encode_values(
    spec: Mapping[str, Any], values: Sequence[Any], vocabularies: Mapping[str, Vocabulary]
) -> np.ndarray:
    """Encodes values for an input: vocabulary rows, float32 or seconds; None means unknown.

    Raises:
      ExportError: a value is not a number where the input takes numbers.
    """
    if spec["vocabulary"]:
        return vocabularies[spec["vocabulary"]].lookup(values)
    if spec["source"] == moments.SECONDS_AGO:
        return np.array([moments.UNKNOWN if v is None else v for v in values], np.int32)
    known = [spec["default"] if v is None else v for v in values]
    try:
        numbers = np.array(known, np.float32)
        if numbers.ndim != 1:
            raise TypeError("numbers within numbers")
    except (TypeError, ValueError, OverflowError) as error:
        raise ExportError(
            f"The input {spec['name']} ({spec['source']}) takes numbers, not {shown(known)}; give "
            "such, or leave the value out."
        ) from error
    return np.where(np.isfinite(numbers), numbers, np.float32(spec["default"]))
