"""Tries exports in the browser: one HTML page that runs the models itself, without a server.

python -m flaxrec.demo EXPORT_DIR [EXPORT_DIR ...] [--output=PAGE.html] [--serve [--host=ADDRESS]]
    [--pictures=COLUMN] [--runtime=DIR]
python -m flaxrec.demo --data=EVENTS_FILE [--workdir=DIR] [--config.SECTION.FIELD=VALUE ...] [...]

Writes the page and opens it; with several exports it can switch between them, for example a float
file and an int8 one. The model runs by LiteRT.js, which npm fetches once (4 MB of the page).
--data trains a model on a table of events first, as the config own_table does, and exports it; its
columns are guessed from their names and can be given (--config.data.columns.user=customer).
"""

import argparse
import os
import sys
import webbrowser
from collections.abc import Sequence
from pathlib import Path

from flaxrec import files
from flaxrec.cli import arguments
from flaxrec.demo import content, litertjs, page, serve
from flaxrec.errors import ConfigError, ExportError, write_errors_as


def main(argv: Sequence[str] | None = None) -> int:
    """Parses the arguments, builds the page, writes or serves it; returns the exit status."""
    parser = arguments.Parser(__doc__)
    add = parser.add_argument
    add("export_dir", nargs="*", help="folder with model.tflite and metadata.json")
    add("--data", help="a table of events to train a model on, instead of exports")
    add("--workdir", help="with --data: the run folder; default: runs/demo-NAME")
    parser.add_overrides("with --data: any field of the config own_table, such as its columns")
    add("--output", help="the page; default: demo.html, with --serve no file")
    add(
        "--pictures",
        metavar="COLUMN",
        default="",
        help="column of the items with addresses of pictures (data:image/, https://), which the "
        "page shows; their hosts learn what is shown",
    )
    parser.add_switch("--serve", "serve the page on this machine until interrupted")
    add(
        "--host",
        default=serve.LOCAL,
        metavar="ADDRESS",
        help="with --serve: listen at this address, such as 0.0.0.0, so that others on the network "
        "can open the page; default: 127.0.0.1, this machine alone",
    )
    add(
        "--port",
        type=arguments.number(0, 65_535),
        default=0,
        help="with --serve: the port; 0: a free one",
    )
    parser.add_switch(
        "--open", "open the page in the browser where there is a screen", default=True
    )
    add(
        "--runtime",
        help="a folder with LiteRT.js as npm installs it; default: fetched once and cached",
    )
    return parser.run(_run, argv)


def _run(given: argparse.Namespace) -> None:
    if given.data is None and (given.workdir or given.overrides):
        raise ConfigError("--workdir and --config.FIELD belong to --data; name a table there.")
    if not given.export_dir and given.data is None:
        raise ConfigError("There is no EXPORT_DIR and no --data=EVENTS_FILE; see --help.")
    if given.export_dir and given.data is not None:
        raise ConfigError("--data trains a model of its own; give no EXPORT_DIR with it.")
    if given.host != serve.LOCAL and not given.serve:
        raise ConfigError("--host belongs to --serve; give both, or leave it out.")
    runtime = litertjs.load(given.runtime)  # before the training
    if given.data is not None:
        from flaxrec.demo import own_data  # imports JAX
        from flaxrec.devices import keep_freed_memory

        keep_freed_memory()
        given.export_dir = [
            str(own_data.export_of(given.data, given.overrides, given.workdir or ""))
        ]
    built = page.build(content.collect(given.export_dir, given.pictures), runtime)
    if given.output or not given.serve:
        file = Path(given.output or "demo.html")
        write(file, built)
        print(f"wrote {file} ({len(built.encode()):,} bytes); it needs no network", flush=True)
        if given.open and not given.serve:
            _open(file.resolve().as_uri())
    if given.serve:
        with serve.server(built, given.port, given.host) as server:
            whom = "" if given.host == serve.LOCAL else " to all who can reach this machine"
            print(f"serving {serve.address(server)}{whom}, Ctrl-C ends it", flush=True)
            if given.open:
                _open(serve.address(server))
            try:
                server.serve_forever()
            except KeyboardInterrupt:
                print("ended")


def write(file: Path, built: str) -> None:
    """Writes the page; it replaces an earlier page, but no other file.

    Raises:
      ExportError: the file exists and is no such page, or cannot be written.
    """
    with write_errors_as(ExportError, file):
        if file.exists():
            with open(file, encoding="utf-8", errors="replace") as old:
                if page.MARK not in old.read(2000):
                    raise ExportError(f"{file} exists and is no demo page; use another --output.")
        files.write_text(file, built)


def _open(address: str) -> None:
    """Opens a browser, unless there is no screen: a text browser would take over the terminal."""
    needs_display = sys.platform not in ("win32", "darwin")
    has_screen = any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))
    if has_screen or not needs_display:
        webbrowser.open(address)


if __name__ == "__main__":
    sys.exit(main())
