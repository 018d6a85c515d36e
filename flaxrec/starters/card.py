"""card.md: what a starter is, how good, how it came about and what it must not be used for.

Every number is one of figures.json, config.json or spec.json: the card is rendered, never edited.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from flaxrec import config as config_lib
from flaxrec.config import Config
from flaxrec.data.spec import ModelSpec
from flaxrec.starters.folder import Starter

METRICS = {
    "filtered/recall@10": "HR@10 (recall@10), seen items left out",
    "filtered/ndcg@10": "NDCG@10, seen items left out",
    "recall@10": "HR@10 (recall@10), all items",
    "ndcg@10": "NDCG@10, all items",
}
NOT_MEASURED = "not measured"
_ENCODERS = {
    "bow": "bag of words",
    "cnn": "convolutions",
    "causal_cnn": "causal convolutions",
    "lstm": "LSTM",
    "attention": "causal self-attention",
}
_RELEASE = "MovieLens-1M"
_CITATION = (
    "F. Maxwell Harper and Joseph A. Konstan. 2015. The MovieLens Datasets: History and Context. "
    "ACM Transactions on Interactive Intelligent Systems 5, 4, Article 19. "
    "https://doi.org/10.1145/2827872"
)


def render(starter: Starter) -> str:
    """The card as Markdown."""
    config, spec, figures = starter.config, starter.spec, starter.figures
    parts = [
        _head(config, spec, figures),
        _accuracy(spec, figures),
        _size_and_speed(figures),
        _training(config, figures),
        _use(spec, figures),
        _data(),
        _limits(spec),
    ]
    return "\n".join(line for part in parts for line in [*part, ""]).rstrip("\n") + "\n"


# ---- the parts ------------------------------------------------------------------------------


def _head(config: Config, spec: ModelSpec, figures: dict[str, Any]) -> list[str]:
    model = config.model
    tied = "one table for context and candidates" if model.tied_tables else "two tables"
    return [
        f"# {figures['name']}",
        "",
        f"A starter model of flaxrec, trained on {_RELEASE}: which film a user rates next, from "
        f"the last {model.context_length} they rated.",
        "",
        f"- encoder: {encoder(config)}; inputs: {inputs(spec)}",
        f"- {spec.candidates:,} candidates, encodings of width {model.embedding_dim}, {tied}",
        f"- {figures['parameters']:,} parameters, kept here as float16",
    ]


def _accuracy(spec: ModelSpec, figures: dict[str, Any]) -> list[str]:
    labels, seeds = figures["labels"], figures["seeds"]
    rows = []
    for metric, title in METRICS.items():
        found = figures["metrics"][metric]
        low, high = found["next_run"]
        cells = [title, f"{found['mean']:.4f}", f"{found['deviation']:.4f}"]
        cells += [f"{low:.4f} to {high:.4f}", f"{found['seeds'][0]:.4f}"]
        rows.append([*cells, *_of_file(figures, metric)])
    head = ["metric", f"mean of {len(seeds)} seeds", "deviation", "a further run (95%)", "seed 0"]
    head += ["these weights"] if _of_file(figures, next(iter(METRICS))) else []
    what = {
        "exported": f"the exported `.tflite` ({_form(figures)})",
        "trained": "the trained model in float32, before it was rounded and exported",
    }[figures["measured_on"]]
    these = []
    if len(head) > 5:
        these = [
            f"'These weights' is the `.tflite` ({_form(figures)}) that this folder exports, with "
            "its weights in float16, on the same labels."
        ]
    return [
        "## How good",
        "",
        *markdown(head, rows),
        "",
        f"Protocol: {figures['protocol'].replace('_', '-')}. The last event of each user is ranked "
        f"among all {spec.candidates:,} candidates: {labels['labels']:,} test labels, "
        f"{labels.get('repeated_share', 0):.2%} of them repeats, "
        f"{labels['without_training_event']:,} of items that no training label has. 'Seen items "
        "left out' removes the user's earlier items from the candidates, the label never. Measured "
        f"on {what}; seeds {', '.join(map(str, seeds))}. 'A further run' is where one more seed "
        "lands, or a rebuild on another machine (Student's prediction interval); the choice of "
        "users is not in it.",
        *these,
    ]


def _size_and_speed(figures: dict[str, Any]) -> list[str]:
    file = figures["file"] or {}
    latency = file.get("latency")
    told = NOT_MEASURED
    if latency:
        low, high = latency["interval"]
        told = (
            f"{latency['ratio']:.2f} times that of {latency['reference']} (95%: {low:.2f} to "
            f"{high:.2f}); medians of {latency['calls']:,} calls with new contexts, "
            f"{latency['threads']} thread, {latency['device']}, LiteRT {latency['litert']}"
        )
    size_told = NOT_MEASURED if size(figures) is None else f"{size(figures):,} bytes"
    return [
        "## Size and speed",
        "",
        f"- `model.tflite`: {size_told} ({_form(figures)})",
        f"- latency: {told}",
    ]


def _training(config: Config, figures: dict[str, Any]) -> list[str]:
    training = figures["training"]
    minutes = training["seconds"] / 60
    beside = training["side_by_side"]
    shared = f" (its share of {beside} runs side by side)" if beside > 1 else ""
    versions = ", ".join(f"{name} {version}" for name, version in training["versions"].items())
    revision = training["revision"] or "not noted"
    changed = " (+: with changes)" if revision.endswith("+") else ""
    code = f"revision {revision}{changed}; {versions or 'versions not noted'}"
    least = config.data.min_rating
    return [
        "## How it was trained",
        "",
        "```bash",
        f"python train_main.py --config=configs/starters.py:{figures['name']}",
        "```",
        "",
        f"- {minutes:,.1f} minutes a run{shared} on {training['device'] or 'a device not noted'}; "
        f"best epochs of the seeds: {', '.join(map(str, figures['epochs']))} of "
        f"{config.train.epochs}",
        f"- code: {code}",
        f"- data: {_RELEASE}, {f'ratings of at least {least:g}' if least else 'all ratings'}",
        "- Never trained on: the last event of each user, the test label, and the one before it, "
        f"the validation label, by which the epoch was chosen ({config.train.select_metric}). The "
        "order of the vocabulary counts all events.",
    ]


def _use(spec: ModelSpec, figures: dict[str, Any]) -> list[str]:
    name = figures["name"]
    commands = [
        f"python export_tflite.py --starter={name}  # downloads {_RELEASE} for what is joined"
    ]
    commands.append(f"python export_tflite.py --starter={name} --movielens=DIR  # takes your copy")
    if {i.source for i in spec.inputs} == {"item.id"}:
        commands.append(f"python export_tflite.py --starter={name} --movielens=none  # ids alone")
    commands.append(f"python -m flaxrec.recommend {name} 1 364  # ids or exact titles")
    return [
        "## How to use it",
        "",
        "```bash",
        *commands,
        "```",
        "",
        "The folder has ids and weights only; titles, genres and counts are joined from MovieLens "
        "when it is exported.",
    ]


def _data() -> list[str]:
    return [
        "## Data and terms",
        "",
        f"Trained on {_RELEASE} by GroupLens, University of Minnesota, which does not endorse this "
        "model. Acknowledge the data set wherever you use it:",
        "",
        f"> {_CITATION}",
        "",
        "The data may be used for research; they may not be redistributed without separate "
        "permission, nor used commercially without permission of the GroupLens project. Read the "
        "README of the data set (https://grouplens.org/datasets/movielens/1m/) and treat what was "
        "learnt from the data the same way. The code of flaxrec has a licence of its own.",
    ]


def _limits(spec: ModelSpec) -> list[str]:
    return [
        "## Limits",
        "",
        "- Popularity bias: what many rated is recommended more often than its share; rare items "
        "hardly ever.",
        f"- The catalogue is {spec.candidates:,} films up to the year 2000.",
        "- The users joined MovieLens in 2000, rated at least 20 films each, and most of them are "
        "men from the United States; the ratings are of 2000 to 2003.",
        "- They rated films long after having seen them, in sittings, in an order that the site's "
        "pages shaped: 'next' is the next rating, not the next evening.",
        "- No cold start: a film that is not in the vocabulary cannot be recommended, and in the "
        "context all such films are one 'unknown'.",
        "- A starting point for research and demonstrations, not for decisions about people.",
    ]


# ---- wording --------------------------------------------------------------------------------


def encoder(config: Config) -> str:
    found = (group.encoder for _, group in config_lib.groups(config.model))
    return " and ".join(dict.fromkeys(_ENCODERS.get(name, name) for name in found))


def inputs(spec: ModelSpec) -> str:
    found = (i.source.replace("item.id", "ids").rpartition(".")[2] for i in spec.inputs)
    return ", ".join(dict.fromkeys(found))


def _form(figures: dict[str, Any]) -> str:
    return "float32" if figures["recipe"] == "none" else figures["recipe"]


def size(figures: dict[str, Any]) -> int | None:
    return (figures["file"] or {}).get("bytes") or figures["bytes"]


def _of_file(figures: dict[str, Any], metric: str) -> list[str]:
    metrics = (figures["file"] or {}).get("metrics") or {}
    return [f"{metrics[metric]:.4f}"] if metric in metrics else []


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [head, ["---"] * len(head), *rows]
    return [f"| {' | '.join(line)} |" for line in lines]
