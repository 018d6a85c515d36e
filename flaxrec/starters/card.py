"""Renders card.md: a starter's accuracy, size, training, use and limits.

Every number comes from figures.json, config.json or spec.json; the text from card_template.md. A
card is never edited by hand.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flaxrec import config as config_lib
from flaxrec.evaluation.unknown import MOMENT, TITLES
from flaxrec.models.encoders import ENCODERS

if TYPE_CHECKING:
    from flaxrec.starters.folder import Starter

METRICS = {
    "filtered/recall@10": "HR@10 (recall@10), seen items left out",
    "filtered/ndcg@10": "NDCG@10, seen items left out",
    "recall@10": "HR@10 (recall@10), all items",
    "ndcg@10": "NDCG@10, all items",
}
_TEMPLATE = Path(__file__).with_name("card_template.md")
_NOT_MEASURED = "not measured"
_TABLE = (
    "starter", "encoder", "inputs", "context", "bytes", "HR@10", "NDCG@10", "HR@10, unfiltered",
    "latency",
)  # fmt: skip


def render(starter: "Starter") -> str:
    """The card as Markdown."""
    config, facts, training = starter.config, starter.facts, starter.facts["training"]
    beside, rating = training["side_by_side"], config.data.min_rating
    form = "float32" if facts["recipe"] == "none" else facts["recipe"]
    revision = training["revision"] or "not noted"
    versions = ", ".join(f"{name} {version}" for name, version in training["versions"].items())
    if facts["measured_on"] == "exported":
        measured_on = f"the exported `.tflite` ({form})"
    else:
        measured_on = "the trained model in float32, before it was rounded and exported"
    tables = "one table for context and candidates" if config.model.tied_tables else "two tables"
    own_weights = (
        f"\n'These weights' is the `.tflite` ({form}) that this folder exports, with its weights "
        "in float16, on the same labels."
    )
    ids_alone = f"python export_tflite.py --starter={facts['name']} --movielens=none  # ids alone\n"
    with_times = (
        f"python -m flaxrec.recommend {facts['name']} 1@978300019 364@978300055 --now=978303655"
        "  # an hour later\n"
    )
    fields = _words(starter) | {
        "tables": tables,
        "accuracy": _accuracy(facts),
        "protocol": facts["protocol"].replace("_", "-"),
        "measured_on": measured_on,
        "seeds": ", ".join(map(str, facts["seeds"])),
        "own_weights": own_weights if _own_metrics(facts) else "",
        "moment": _moment(starter) if starter.spec.asked else "",
        "form": form,
        "latency": _latency(facts),
        "minutes": training["seconds"] / 60,
        "shared": f" (its share of {beside} runs side by side)" if beside > 1 else "",
        "device": training["device"] or "a device not noted",
        "epochs": ", ".join(map(str, facts["epochs"])),
        "revision": revision + (" (+: with changes)" if revision.endswith("+") else ""),
        "versions": versions or "versions not noted",
        "ratings": f"ratings of at least {rating:g}" if rating else "all ratings",
        "ids_alone": "" if starter.joined else ids_alone,
        "with_times": with_times if starter.spec.asked else "",
    }
    template = _TEMPLATE.read_text(encoding="utf-8")
    return template.format(config=config, spec=starter.spec, facts=facts, **fields)


def table(starters: Iterable["Starter"]) -> str:
    """A Markdown table of starters for docs/starters.md, one row each."""
    rows = []
    for starter in starters:
        facts, words = starter.facts, _words(starter)
        latency = (facts["file"] or {}).get("latency")
        row = [f"[`{facts['name']}`](../models/{facts['name']}/card.md)"]
        row += [words["encoder"], words["inputs"], str(starter.config.model.context_length)]
        row.append(words["size"].removesuffix(" bytes"))
        for metric in ("filtered/recall@10", "filtered/ndcg@10", "recall@10"):
            row.append("{mean:.4f} ± {deviation:.4f}".format(**facts["metrics"][metric]))
        rows.append([*row, f"{latency['ratio']:.2f}" if latency else _NOT_MEASURED])
    return _markdown(_TABLE, rows)


def _words(starter: "Starter") -> dict[str, Any]:
    """Texts for a starter's encoder, inputs and size."""
    names = [group.encoder for _, group in config_lib.groups(starter.config.model)]
    encoders = [ENCODERS[name].title if name in ENCODERS else name for name in names]
    sources = [i.source.replace("item.id", "ids").rpartition(".")[2] for i in starter.spec.inputs]
    size = (starter.facts["file"] or {}).get("bytes") or starter.facts["bytes"]
    asked = f" (asked {starter.spec.asked})" if starter.spec.asked else ""
    return {
        "encoder": " and ".join(dict.fromkeys(encoders)),
        "inputs": ", ".join(dict.fromkeys(sources)) + asked,
        "size": _NOT_MEASURED if size is None else f"{size:,} bytes",
    }


def _accuracy(facts: dict[str, Any]) -> str:
    own = _own_metrics(facts)
    head = ["metric", f"mean of {len(facts['seeds'])} seeds", "deviation", "a further run (95%)"]
    head += ["seed 0", *(["these weights"] if own else [])]
    rows = []
    for metric, title in METRICS.items():
        found = facts["metrics"][metric]
        low, high = found["next_run"]
        row = [title, f"{found['mean']:.4f}", f"{found['deviation']:.4f}"]
        row += [f"{low:.4f} to {high:.4f}", f"{found['seeds'][0]:.4f}"]
        rows.append([*row, *([f"{own[metric]:.4f}"] if own else [])])
    return _markdown(head, rows)


def _moment(starter: "Starter") -> str:
    """What the figures owe to the moment of asking, as the end of the section on accuracy."""
    file = starter.facts["file"] or {}
    text = (
        f"\n\n### The moment of asking\n\nThe figures above are of a model that knows the moment "
        f"of asking: it was asked {starter.spec.asked}. Compare them with those of models that "
        "know it too."
    )
    if not file.get("unknown"):
        return f"{text} Without it: {_NOT_MEASURED}."
    rows = [[f"asked {starter.spec.asked}", *_figures(file["metrics"])]]
    rows += [[TITLES[way], *_figures(metrics)] for way, metrics in file["unknown"].items()]
    text += f" These weights with and without it:\n\n{_markdown(['known', *METRICS], rows)}"
    if not file["by_since"]:
        return text
    head = ["time since the latest activity", "labels"]
    head += [f"{metric}{end}" for end in ("", f", {TITLES[MOMENT]}") for metric in METRICS]
    rows = [
        [part["part"], f"{part['labels']:,}", *_figures(part["metrics"]), *_figures(part[MOMENT])]
        for part in file["by_since"]
    ]
    return (
        f"{text}\n\nMost labels of MovieLens come in bursts, within a minute of the activity "
        f"before; who asks an app comes later:\n\n{_markdown(head, rows)}"
    )


def _figures(metrics: Mapping[str, float]) -> list[str]:
    return [f"{metrics[metric]:.4f}" for metric in METRICS]


def _own_metrics(facts: dict[str, Any]) -> dict[str, float]:
    """Metrics of the file that the folder exports; empty before `measure`."""
    return (facts["file"] or {}).get("metrics") or {}


def _latency(facts: dict[str, Any]) -> str:
    latency = (facts["file"] or {}).get("latency")
    if not latency:
        return _NOT_MEASURED
    low, high = latency["interval"]
    return (
        f"{latency['ratio']:.2f} times that of {latency['reference']} (95%: {low:.2f} to "
        f"{high:.2f}); medians of {latency['calls']:,} calls with new contexts, "
        f"{latency['threads']} thread, {latency['device']}, LiteRT {latency['litert']}"
    )


def _markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
