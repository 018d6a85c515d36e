"""Serves the page from memory by HTTP, to this machine only."""

import contextlib
import http.server

from flaxrec.errors import ExportError

_HOST = "127.0.0.1"


def server(page: str, port: int = 0) -> http.server.ThreadingHTTPServer:
    """A server for the page's HTML, run by `serve_forever`; port 0 takes a free one.

    Raises:
      ExportError: the port cannot be used.
    """
    content = page.encode()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path.partition("?")[0] not in ("/", "/index.html"):
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Length", str(len(content)))
            self.send_header("Cache-Control", "no-store")
            self.end_headers()
            if self.command == "GET":
                with contextlib.suppress(ConnectionError):  # the browser closed the connection
                    self.wfile.write(content)

        do_HEAD = do_GET

        def log_message(self, format: str, *args: object) -> None:
            """Keeps the terminal quiet."""

    try:
        return http.server.ThreadingHTTPServer((_HOST, port), Handler)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ExportError(
            f"Port {port} cannot be used ({reason}); pass another --port, or 0 for a free one."
        ) from error


def address(running: http.server.ThreadingHTTPServer) -> str:
    """The page's URL."""
    return f"http://{_HOST}:{running.server_address[1]}/"
