"""Draws docs/images/architecture_light.svg and architecture_dark.svg: the data's way.

python docs/draw_architecture.py

Boxes are what the data become, the words below name the modules. One column is one place: the
user's files, the training machine, the file, the device.
"""

import dataclasses
from pathlib import Path
from xml.sax.saxutils import escape

FOLDER = Path(__file__).parent / "images"
WIDTH, HEIGHT = 1080, 560
BOX_WIDTH, BOX_HEIGHT = 196, 74
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
MONO = "ui-monospace, 'SF Mono', Menlo, Consolas, 'DejaVu Sans Mono', monospace"


@dataclasses.dataclass(frozen=True)
class Colours:
    """One appearance; contrast of text to its ground is at least 4.5 in both."""

    ground: str
    lane: str
    box: str
    edge: str
    text: str
    faint: str
    accent: str


LIGHT = Colours("#ffffff", "#f3f5f8", "#ffffff", "#b6c0cc", "#1b2430", "#4d5a69", "#1f5fbf")
DARK = Colours("#0d1117", "#161c25", "#1f2733", "#46546a", "#e8edf4", "#a9b6c6", "#7fb2ff")


@dataclasses.dataclass(frozen=True)
class Box:
    """What the data are at one place of their way.

    Attributes:
      x, y: of the upper left corner.
      title: what it is.
      modules: who makes it.
      strong: drawn as one of the ends.
    """

    x: int
    y: int
    title: str
    modules: tuple[str, ...]
    strong: bool = False


LANES = (
    (24, 250, "Data", "read once, kept flat"),
    (286, 508, "Training", "JAX on TPU, GPU or CPU"),
    (806, 250, "Export", "TensorFlow, on a CPU"),
)
BOXES = {
    "files": Box(51, 96, "your files", ("csv, tsv, parquet", "MovieLens, TFRecords"), True),
    "interactions": Box(51, 206, "interactions", ("data/movielens tables", "synthetic records")),
    "timelines": Box(51, 316, "timelines", ("data/timelines gaps", "vocabulary")),
    "splits": Box(51, 426, "labels", ("data/splits", "windows")),
    "contexts": Box(312, 426, "contexts", ("data/contexts",)),
    "logits": Box(312, 316, "logits", ("models/", "dual_encoder")),
    "loss": Box(312, 206, "loss, gradients", ("objective losses", "blockwise steps")),
    "checkpoint": Box(312, 96, "checkpoint", ("training", "checkpoints")),
    "run": Box(572, 96, "run, or starter", ("workdir", "starters/ models/"), True),
    "ranks": Box(572, 316, "ranks, metrics", ("evaluation metrics", "per_label")),
    "reports": Box(572, 206, "tables, plots", ("research/", "reporting/")),
    "lean": Box(833, 96, "lean graph", ("export/folding lean", "topk exclusion")),
    "tflite": Box(833, 206, "model.tflite", ("export/tflite packing", "quantize judge"), True),
    "folder": Box(833, 316, "export folder", ("export/verify", "bundle publish")),
    "device": Box(833, 426, "on the device", ("recommender demo/", "Android iOS web"), True),
}
ARROWS = (
    ("files", "interactions"),
    ("interactions", "timelines"),
    ("timelines", "splits"),
    ("splits", "contexts"),
    ("contexts", "logits"),
    ("logits", "loss"),
    ("loss", "checkpoint"),
    ("checkpoint", "run"),
    ("logits", "ranks"),
    ("ranks", "reports"),
    ("run", "lean"),
    ("lean", "tflite"),
    ("tflite", "folder"),
    ("folder", "device"),
)


def main() -> None:
    """Writes both drawings."""
    for name, colours in (("light", LIGHT), ("dark", DARK)):
        (FOLDER / f"architecture_{name}.svg").write_text(draw(colours), encoding="utf-8")


def draw(colours: Colours) -> str:
    """The drawing as SVG."""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'width="{WIDTH}" height="{HEIGHT}" font-family="{FONT}" role="img">',
        "<title>The data's way: files, interactions, timelines, labels, contexts, logits, loss, "
        "checkpoint, run folder, lean graph, model.tflite, export folder, device</title>",
        '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" '
        'markerHeight="8" orient="auto-start-reverse">'
        f'<path d="M0 0 L8 4 L0 8 z" fill="{colours.accent}"/></marker></defs>',
        f'<rect width="{WIDTH}" height="{HEIGHT}" rx="12" fill="{colours.ground}"/>',
    ]
    parts += [_lane(colours, *lane) for lane in LANES]
    parts += [_arrow(colours, BOXES[start], BOXES[end]) for start, end in ARROWS]
    parts += [_box(colours, box) for box in BOXES.values()]
    return "\n".join([*parts, "</svg>", ""])


def _lane(colours: Colours, x: int, width: int, title: str, where: str) -> str:
    return (
        f'<rect x="{x}" y="20" width="{width}" height="{HEIGHT - 40}" rx="10" '
        f'fill="{colours.lane}"/>\n'
        f'<text x="{x + 27}" y="54" font-size="19" font-weight="600" fill="{colours.text}">'
        f"{escape(title)}</text>\n"
        f'<text x="{x + 27}" y="77" font-size="14" fill="{colours.faint}">{escape(where)}</text>'
    )


def _box(colours: Colours, box: Box) -> str:
    edge, width = (colours.accent, 2) if box.strong else (colours.edge, 1.2)
    lines = [
        f'<rect x="{box.x}" y="{box.y}" width="{BOX_WIDTH}" height="{BOX_HEIGHT}" rx="8" '
        f'fill="{colours.box}" stroke="{edge}" stroke-width="{width}"/>',
        f'<text x="{box.x + 14}" y="{box.y + 25}" font-size="16" font-weight="600" '
        f'fill="{colours.text}">{escape(box.title)}</text>',
    ]
    lines += [
        f'<text x="{box.x + 14}" y="{box.y + 45 + 18 * row}" font-size="13" '
        f'font-family="{MONO}" fill="{colours.faint}">{escape(names)}</text>'
        for row, names in enumerate(box.modules)
    ]
    return "\n".join(lines)


def _arrow(colours: Colours, start: Box, end: Box) -> str:
    """From the side of one box that faces the other."""
    middle = BOX_WIDTH // 2
    if start.x == end.x:
        down = start.y < end.y
        line = (start.x + middle, start.y + (BOX_HEIGHT if down else 0), end.x + middle,
                end.y + (0 if down else BOX_HEIGHT))  # fmt: skip
    else:
        line = (start.x + BOX_WIDTH, start.y + BOX_HEIGHT // 2, end.x, end.y + BOX_HEIGHT // 2)
    gap = 4
    x1, y1, x2, y2 = line
    if x1 == x2:
        y2 += gap if y2 < y1 else -gap
    else:
        x2 -= gap
    return (
        f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" stroke="{colours.accent}" '
        'stroke-width="2" marker-end="url(#head)"/>'
    )


if __name__ == "__main__":
    main()
