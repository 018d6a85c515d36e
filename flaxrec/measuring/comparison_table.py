"""Renders a comparison of files as a table for the terminal, as Markdown or as JSON."""

import dataclasses
import json
from collections.abc import Iterable, Sequence

from flaxrec.measuring import phone
from flaxrec.measuring.comparison import Comparison, Row
from flaxrec.measuring.fresh_contexts import ENOUGH
from flaxrec.measuring.profiling import Profile
from flaxrec.terminal import text_tables
from flaxrec.tflite.inspection import ModelFile

FORMATS = ("table", "markdown", "json")

_HEADER = (
    "file", "bytes", "operators", "inputs", "K", "load, ms", "median, us", "p90", "p99",
    "ratio (95%)", "remark",
)  # fmt: skip


def render(comparison: Comparison, form: str, for_phone: Sequence[ModelFile] = ()) -> str:
    """Renders the whole report in one of `FORMATS`.

    Adds the commands that measure the files `for_phone` on a phone.
    """
    commands = _commands(comparison, for_phone)
    if form == "json":
        return json.dumps(dataclasses.asdict(comparison) | {"phone": commands}, indent=2)
    markdown = form == "markdown"
    parts = [_table([_HEADER, *map(_cells, comparison.rows)], markdown), _conditions(comparison)]
    for row in comparison.rows:
        if row.profile:
            parts += _profile(row.file, row.profile, markdown)
    if commands:
        parts += [phone.REMARK, "\n".join(["```bash", *commands, "```"] if markdown else commands)]
    return "\n\n".join(parts)


def _commands(comparison: Comparison, models: Sequence[ModelFile]) -> list[str]:
    by_name = {row.file: model for row, model in zip(comparison.rows, models, strict=False)}
    each = [line for name, model in by_name.items() for line in phone.commands(model, name)]
    return [*phone.setup(), *each] if each else []


def _cells(row: Row) -> tuple[str, ...]:
    ratio = "-" if row.ratio is None else f"{row.ratio:.3f}"
    if row.ratio_interval:
        ratio += " ({:.3f} to {:.3f})".format(*row.ratio_interval)
    return (
        row.file,
        f"{row.bytes:,}",
        str(row.operators),
        ", ".join(row.inputs),
        _number(row.top_k, ""),
        _number(row.load_ms, ".2f"),
        *(_number(value, ".1f") for value in (row.median_us, row.p90_us, row.p99_us)),
        ratio,
        row.remark,
    )


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def _conditions(comparison: Comparison) -> str:
    options, load = comparison.options, comparison.load_average
    source = f"of {comparison.contexts}" if comparison.contexts else f"drawn, seed {options.seed}"
    lines = [
        f"device: {comparison.device}; load average before: {_number(load, '.1f')}",
        f"runtime: {options.runtime} of ai-edge-litert {comparison.litert}, threads: "
        f"{options.threads}, XNNPACK {'on' if options.delegate else 'off'}",
        f"{options.calls:,} calls of each file, each on another of "
        f"{comparison.different_contexts:,} contexts ({source})",
        "ratio: of medians, to the first file that runs; the files take turns in every round; "
        "bootstrap interval over blocks of rounds",
    ]
    if comparison.different_contexts < ENOUGH:
        lines.append(
            f"fewer than {ENOUGH} contexts: the processor learns them, latencies come out too low"
        )
    return "\n".join(f"- {line}" for line in lines)


def _profile(file: str, profile: Profile, markdown: bool) -> list[str]:
    header = ("", "operator", "output", "us", "95% interval", "share")
    rows = [
        (
            str(place or ""),
            operator.name,
            str(list(operator.shape)) if place else "",
            f"{operator.microseconds:.2f}",
            f"{operator.low:.2f} to {operator.high:.2f}",
            f"{operator.share:.1%}",
        )
        for place, operator in enumerate(profile.operators)
    ]
    parts = [f"Operators of {file}:", _table([header, *rows], markdown)]
    totals = profile.by_name()
    if len(totals) < len(rows):
        summed = [(n, str(c), f"{us:.2f}", f"{us / profile.sum:.1%}") for n, c, us in totals]
        parts.append(_table([("operator", "number", "us", "share"), *summed], markdown))
    parts.append(
        f"Sum {profile.sum:.2f} us; the whole file, measured beside: {profile.whole:.2f} us "
        f"({profile.sum / profile.whole:.3f}). Differences between the graph cut after one "
        "operator and after the next; noise can make them negative."
    )
    return parts


def _table(rows: Iterable[Sequence[str]], markdown: bool) -> str:
    if markdown:
        return text_tables.markdown(rows)
    lines = text_tables.aligned([[text_tables.one_line(cell) for cell in row] for row in rows])
    return "\n".join(line.rstrip() for line in lines)
