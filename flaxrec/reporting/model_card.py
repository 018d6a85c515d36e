"""A model card and the files of an export, as Hugging Face's hub lays them out.

flaxrec card EXPORT_DIR --output=FOLDER [--name=NAME] [--data=TEXT] [--license=ID]

FOLDER is new or empty. It gets a copy of the export, which every command takes as well, and
README.md: what the model is, how good, how to use it. Its head has the fields that the hub reads.
Titles are the data's: check their terms before you share items.jsonl, or export with
--item_fields=none.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from flaxrec.cli import arguments
from flaxrec.errors import ConfigError, ExportError, write_errors_as
from flaxrec.files import whole_folder
from flaxrec.terminal.text_tables import markdown, one_line
from flaxrec.tflite.export_folder import MODEL, ExportFolder, read_whole
from flaxrec.tflite.metadata import METADATA

CARD = "README.md"
_TAGS = ("recommendation", "sequential-recommendation", "on-device", "tflite", "litert")
_METRICS = ("recall@10", "ndcg@10", "filtered/recall@10", "filtered/ndcg@10")


def main(argv: Sequence[str] | None = None) -> int:
    """Parses the arguments and writes the folder; returns the exit status."""
    parser = arguments.Parser(__doc__)
    add = parser.add_argument
    add("export", nargs="?", help="an export folder")
    add("--output", help="new or empty folder")
    add("--name", help="the model's name; default: that of the config")
    add("--data", help="what it was trained on, with its terms, for the card")
    add("--license", help="the hub's name of a licence, such as apache-2.0")
    return parser.run(_run, argv)


def _run(given: argparse.Namespace) -> None:
    if not given.export:
        raise ConfigError("Which model? Name its export folder; see --help.")
    if not given.output:
        raise ConfigError("--output is missing; name a new folder.")
    output = Path(given.output)
    told = {"name": given.name, "data": given.data, "licence": given.license}
    write(Path(given.export), output, **{key: text or "" for key, text in told.items()})
    print(f"wrote {output / CARD} beside a copy of {given.export}")


def write(export: Path, output: Path, *, name: str = "", data: str = "", licence: str = "") -> None:
    """Writes the card and a checked copy of the export to a new or empty folder.

    Raises:
      ExportError: the export is damaged, or the output is not empty or cannot be written.
    """
    if output.exists() and not (output.is_dir() and not any(output.iterdir())):
        raise ExportError(f"{output} exists and is not an empty folder; use another --output.")
    metadata, files = read_whole(export, _files)
    text = render(metadata, len(files[MODEL]), name=name, data=data, licence=licence)
    with write_errors_as(ExportError, output, "use another --output"), whole_folder(output) as new:
        for path, content in (files | {CARD: text.encode()}).items():
            (new / path).parent.mkdir(parents=True, exist_ok=True)
            (new / path).write_bytes(content)


def _files(folder: ExportFolder) -> tuple[dict[str, Any], dict[str, bytes]]:
    """The metadata, and each file's content by its name in the folder."""
    names = folder.metadata.get("files")
    if names is None:  # version 0.1.0 notes none
        inside = sorted(folder.path.rglob("*"))
        names = [file.relative_to(folder.path).as_posix() for file in inside if file.is_file()]
    files = {name: folder.read(name) for name in names if name not in (METADATA, CARD)}
    files.setdefault(MODEL, b"")
    return folder.metadata, files | {METADATA: (folder.path / METADATA).read_bytes()}


def render(
    metadata: Mapping[str, Any], size: int, *, name: str = "", data: str = "", licence: str = ""
) -> str:
    """The card as Markdown; `size` is that of the model in bytes."""
    name = one_line(name or str(metadata.get("name") or "")) or "recommender"
    recipe = (metadata.get("quantization") or {}).get("recipe", "none")
    form = "float32" if recipe == "none" else recipe
    encoders = ", ".join(metadata["encoder"]) or "no encoder of activities"
    lines = [
        "---",
        *_head(metadata, name, one_line(data), licence),
        "---",
        "",
        f"# {name}",
        "",
        f"A recommender that runs on the device: one `.tflite` ({size:,} bytes, {form}) takes a "
        f"user's latest {metadata['context_length']} activities and returns the "
        f"{metadata['top_k']} best of {metadata['candidates']:,} items and their scores. "
        f"Encoder: {encoders}. Made with flaxrec {metadata['versions'].get('flaxrec', '')}.",
        "",
        "## How good",
        "",
        *_measured(metadata, recipe),
        "",
        "## How to use it",
        "",
        "```bash",
        "flaxrec recommend FOLDER ITEM [ITEM ...]",
        "```",
        "",
        "```python",
        "from flaxrec import Recommender",
        "",
        "recommender = Recommender.load(FOLDER)",
        "recommender.recommend(history, top_k=10)",
        "```",
        "",
        "`FOLDER` is a copy of this one. `metadata.json` describes inputs, outputs and files; "
        "`vocabularies/` has an entry a row.",
        "",
        "## Data and limits",
        "",
        f"- Trained on {one_line(data)}." if data else "- The data are not named.",
        "- Items that are not in the vocabulary cannot be recommended; what many chose is "
        "recommended more often than its share.",
        "",
    ]
    return "\n".join(lines)


def _head(metadata: Mapping[str, Any], name: str, data: str, licence: str) -> Iterator[str]:
    """Lines of YAML; texts are written as JSON, which is YAML too."""
    yield "library_name: flaxrec"
    if licence:
        yield f"license: {json.dumps(licence)}"
    yield "tags:"
    yield from (f"- {tag}" for tag in _TAGS)
    rows = list(_rows(metadata))
    if not rows:
        return
    yield from ("model-index:", f"- name: {json.dumps(name)}", "  results:")
    for protocol, means in rows:
        of = json.dumps(data or "not named")
        yield "  - task: {type: recommendation, name: next item}"
        yield f"    dataset: {{name: {of}, type: {of}, config: {json.dumps(protocol)}}}"
        yield "    metrics:"
        for metric, value in means.items():
            told = metric.replace("filtered/", "") + ", seen items left out" * ("/" in metric)
            yield f"    - {{type: {json.dumps(metric)}, name: {json.dumps(told)}, value: {value}}}"


def _rows(metadata: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, float]]]:
    """Each protocol, and the metrics of the card that were measured."""
    for protocol, means in (metadata.get("metrics") or {}).items():
        yield protocol, {name: round(means[name], 4) for name in _METRICS if name in means}


def _measured(metadata: Mapping[str, Any], recipe: str) -> Iterator[str]:
    """Tables by protocol, and what they are of."""
    rows = list(_rows(metadata))
    if not rows:
        yield "Not measured."
    for protocol, means in rows:
        labels = (metadata.get("labels") or {}).get(protocol, {}).get("labels")
        of = f"{labels:,} test labels" if labels else "test labels"
        yield f"Protocol `{protocol}`: {of}, ranked among all items."
        yield ""
        beside = (metadata.get("baselines") or {}).get(protocol, {})
        table = [["", *means], ["this model", *map("{:.4f}".format, means.values())]]
        for counted, its in beside.items():
            table.append([counted, *(f"{its[name]:.4f}" if name in its else "" for name in means)])
        yield markdown(table)
        yield ""
        yield "`filtered/`: without the items that the user has seen. Counts stand below the model."
    if asked := metadata.get("asked"):
        yield ""
        yield f"The model knows the moment of asking and was asked {asked}; an app asks later."
    own = (metadata.get("quantization") or {}).get("test")
    if rows and recipe != "none" and own:
        yield ""
        yield (
            f"These are the float32 model's. The file itself, in {recipe}, over {own['labels']:,} "
            f"of these labels: recall@10 {own['recall@10']:.4f}, NDCG@10 {own['ndcg@10']:.4f}."
        )


if __name__ == "__main__":
    sys.exit(main())
