"""What an app ships: the bytes of export folders, and of LiteRT.js, whole and as gzip has them.

    python benchmarks/app_bytes.py EXPORT_DIR...

Of a folder counts what the guides' code reads. APKs and web servers compress about as gzip does;
Android leaves the model as it is.
"""

import gzip
import sys
from pathlib import Path

from flaxrec.demo import litertjs
from flaxrec.terminal.text_tables import markdown
from flaxrec.tflite.metadata import read_metadata


def of_folder(folder: Path) -> dict[str, bytes]:
    """The contents of an export's parts."""
    metadata = read_metadata(folder)
    names = {spec["vocabulary"] for spec in metadata["inputs"]} | {metadata["label_vocabulary"]}
    items = folder / "items.jsonl"
    return {
        "model": (folder / "model.tflite").read_bytes(),
        "metadata": (folder / "metadata.json").read_bytes(),
        "vocabularies": b"".join((folder / n).read_bytes() for n in sorted(filter(None, names))),
        "items": items.read_bytes() if items.exists() else b"",
    }


def main() -> None:
    """Prints a table."""
    parts = {folder: of_folder(Path(folder)) for folder in sys.argv[1:]}
    runtime = litertjs.load()
    scripts = runtime.core + runtime.utilities + runtime.loader
    parts["LiteRT.js"] = {"scripts": scripts, "wasm": runtime.wasm}
    rows = [
        [name, part, f"{len(content):,}", f"{len(gzip.compress(content)):,}"]
        for name, of in parts.items()
        for part, content in {**of, "together": b"".join(of.values())}.items()
    ]
    print(markdown([["of", "part", "bytes", "gzip"], *rows]))


if __name__ == "__main__":
    main()
