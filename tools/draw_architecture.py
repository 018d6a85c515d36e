"""Draws docs/images/architecture_light.svg and architecture_dark.svg: the data's way.

python tools/draw_architecture.py

Each box is a form of the data; the words below it name the rooms and modules that make it. The
lanes are data, training and export.
"""

import dataclasses
import itertools
from pathlib import Path
from xml.sax.saxutils import escape

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "images"
WIDTH, HEIGHT = 1080, 560
BOX_WIDTH, BOX_HEIGHT = 196, 74
# The contrast of text to its background is at least 4.5 in both.
COLOURS = {
    "light": {
        "ground": "#ffffff", "lane": "#f3f5f8", "box": "#ffffff", "edge": "#b6c0cc",
        "text": "#1b2430", "faint": "#4d5a69", "accent": "#1f5fbf",
    },
    "dark": {
        "ground": "#0d1117", "lane": "#161c25", "box": "#1f2733", "edge": "#46546a",
        "text": "#e8edf4", "faint": "#a9b6c6", "accent": "#7fb2ff",
    },
}  # fmt: skip
STYLE = """<style>
text {{ font: 14px system-ui, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif }}
text {{ fill: {faint} }} .head {{ font-size: 19px; font-weight: 600; fill: {text} }}
.title {{ font-size: 16px; font-weight: 600; fill: {text} }}
.names {{ font: 13px ui-monospace, 'SF Mono', Menlo, Consolas, 'DejaVu Sans Mono', monospace }}
.ground {{ fill: {ground} }} .lane {{ fill: {lane} }}
.box {{ fill: {box}; stroke: {edge}; stroke-width: 1.2 }}
.end {{ fill: {box}; stroke: {accent}; stroke-width: 2 }}
line {{ stroke: {accent}; stroke-width: 2 }} path {{ fill: {accent} }}
</style>
<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8"
orient="auto"><path d="M0 0 L8 4 L0 8 z"/></marker></defs>"""
LANES = (
    (24, 250, "Data", "read once, kept flat"),
    (286, 508, "Training", "JAX on TPU, GPU or CPU"),
    (806, 250, "Export", "TensorFlow, on a CPU"),
)
COLUMNS = (51, 312, 572, 833)


@dataclasses.dataclass(frozen=True)
class Box:
    """One form of the data.

    Attributes:
      column, row: its place, from the upper left.
      title: of the box.
      names: rooms and modules that make it, at most two lines.
      kind: 'end' where the data enter or leave, else 'box'.
    """

    column: int
    row: int
    title: str
    names: tuple[str, ...]
    kind: str = "box"

    @property
    def corner(self) -> tuple[int, int]:
        return COLUMNS[self.column], 96 + 110 * self.row


# Arrows connect the boxes of each way; the second branches off from the first at the logits.
WAY = (
    Box(0, 0, "your files", ("csv, tsv, parquet", "MovieLens, TFRecords"), "end"),
    Box(0, 1, "interactions", ("data/sources/", "data/records/")),
    Box(0, 2, "timelines", ("data/timelines", "moments vocabulary spec")),
    Box(0, 3, "labels", ("data/splits", "windows")),
    Box(1, 3, "contexts", ("data/contexts",)),
    Box(1, 2, "logits", ("models/encoders/", "dual_encoder")),
    Box(1, 1, "loss, gradients", ("scoring/losses/", "training/steps")),
    Box(1, 0, "checkpoint", ("training/run", "checkpoints")),
    Box(2, 0, "run, or starter", ("training/workdir", "starters/ models/"), "end"),
    Box(3, 0, "serving graph", ("exporting/serving_form", "topk exclusion")),
    Box(3, 1, "model.tflite", ("exporting/converter", "tflite/ choice judge"), "end"),
    Box(3, 2, "export folder", ("exporting/bundle", "ranked_lists")),
    Box(3, 3, "on the device", ("recommender demo/", "Android iOS web"), "end"),
)
ASIDE = (
    WAY[5],
    Box(2, 2, "ranks, metrics", ("scoring/metrics", "evaluation/")),
    Box(2, 1, "tables, plots", ("research/", "reporting/")),
)


def main() -> None:
    """Writes both drawings."""
    for name, colours in COLOURS.items():
        (FOLDER / f"architecture_{name}.svg").write_text(
            draw(colours), encoding="utf-8", newline="\n"
        )


def draw(colours: dict[str, str]) -> str:
    """Returns the drawing as SVG."""
    arrows = [*itertools.pairwise(WAY), *itertools.pairwise(ASIDE)]
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'width="{WIDTH}" height="{HEIGHT}" role="img">',
        f"<title>The data's way: {', '.join(box.title for box in WAY)}</title>",
        STYLE.format_map(colours),
        f'<rect class="ground" width="{WIDTH}" height="{HEIGHT}" rx="12"/>',
    ]
    for x, width, title, where in LANES:
        size = f'width="{width}" height="{HEIGHT - 40}" rx="10"'
        parts.append(f'<rect class="lane" x="{x}" y="20" {size}/>')
        parts += [_text("head", x + 27, 54, title), _text("where", x + 27, 77, where)]
    parts += [_arrow(start, end) for start, end in arrows]
    for box in (*WAY, *ASIDE[1:]):
        x, y = box.corner
        size = f'width="{BOX_WIDTH}" height="{BOX_HEIGHT}" rx="8"'
        parts.append(f'<rect class="{box.kind}" x="{x}" y="{y}" {size}/>')
        parts.append(_text("title", x + 14, y + 25, box.title))
        parts += [_text("names", x + 14, y + 45 + 18 * i, line) for i, line in enumerate(box.names)]
    return "\n".join([*parts, "</svg>", ""])


def _text(kind: str, x: int, y: int, text: str) -> str:
    return f'<text class="{kind}" x="{x}" y="{y}">{escape(text)}</text>'


def _arrow(start: Box, end: Box) -> str:
    """An arrow from the side of one box that faces the other, to just before it."""
    (x1, y1), (x2, y2) = start.corner, end.corner
    if start.column != end.column:
        x1, y1, x2, y2 = x1 + BOX_WIDTH, y1 + BOX_HEIGHT // 2, x2 - 4, y2 + BOX_HEIGHT // 2
    else:
        x1 = x2 = x1 + BOX_WIDTH // 2
        y1, y2 = (y1 + BOX_HEIGHT, y2 - 4) if y1 < y2 else (y1, y2 + BOX_HEIGHT + 4)
    return f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" marker-end="url(#head)"/>'


if __name__ == "__main__":
    main()
