"""Tries exports in the browser: one HTML page that runs the models itself, without a server.

python -m flaxrec.demo EXPORT_DIR [EXPORT_DIR ...] [--output=PAGE.html] [--serve] [--runtime=DIR]

Writes the page and opens it; with several exports it can switch between them, for example a float
file and an int8 one. The model runs by LiteRT.js, which npm fetches once (4 MB of the page).
"""

import os
import sys
import webbrowser
from collections.abc import Sequence
from pathlib import Path

from absl import flags

from flaxrec import files
from flaxrec.cli import flags as cli
from flaxrec.demo import content, litertjs, page, serve
from flaxrec.errors import ConfigError, ExportError, write_errors_as

OUTPUT = flags.DEFINE_string("output", None, "the page; default: demo.html, with --serve no file")
SERVE = flags.DEFINE_bool("serve", False, "serve the page on 127.0.0.1 until interrupted")
PORT = flags.DEFINE_integer("port", 0, "with --serve: the port; 0: a free one", lower_bound=0)
OPEN = flags.DEFINE_bool("open", True, "open the page in the browser where there is a screen")
RUNTIME = flags.DEFINE_string(
    "runtime", None, "a folder with LiteRT.js as npm installs it; default: fetched once and cached"
)


def main(argv: Sequence[str]) -> None:
    """Builds the page that the flags describe; writes or serves it."""
    if len(argv) < 2:
        raise ConfigError("There is no EXPORT_DIR; see --help.")
    built = page.build(content.collect(argv[1:]), litertjs.load(RUNTIME.value))
    if OUTPUT.value or not SERVE.value:
        file = Path(OUTPUT.value or "demo.html")
        write(file, built)
        print(f"wrote {file} ({len(built.encode()):,} bytes); it needs no network", flush=True)
        if not SERVE.value:
            _open(file.resolve().as_uri())
    if SERVE.value:
        with serve.server(built, PORT.value) as server:
            print(f"serving {serve.address(server)}, Ctrl-C ends it", flush=True)
            _open(serve.address(server))
            try:
                server.serve_forever()
            except KeyboardInterrupt:
                print("ended")


def write(file: Path, built: str) -> None:
    """Writes the page; only an earlier page is replaced.

    Raises:
      ExportError: the file is something else's, or cannot be written.
    """
    with write_errors_as(ExportError, file):
        if file.exists():
            with open(file, encoding="utf-8", errors="replace") as old:
                if page.MARK not in old.read(2000):
                    raise ExportError(f"{file} exists and is no demo page; use another --output.")
        files.write_text(file, built)


def _open(address: str) -> None:
    """In the browser; where there is no screen a text browser would take the terminal over."""
    needs_display = sys.platform not in ("win32", "darwin")
    has_screen = any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))
    if OPEN.value and (has_screen or not needs_display):
        webbrowser.open(address)


if __name__ == "__main__":
    cli.run(main, takes_arguments=True)
