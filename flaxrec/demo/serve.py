"""The page from memory, by HTTP, to this machine only."""

import contextlib
import http.server

from flaxrec.errors import ExportError

_HOST = "127.0.0.1"


def server(page: str, port: int = 0) -> http.server.ThreadingHTTPServer:
    """A server of the one page, to be run by `serve_forever`.

    Args:
      page: HTML.
      port: 0: a free one.

    Raises:
      ExportError: the port cannot be had.
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
                with contextlib.suppress(ConnectionError):  # a reader that has seen enough
                    self.wfile.write(content)

        do_HEAD = do_GET

        def log_message(self, format: str, *args: object) -> None:
            """Says nothing: one page, one reader."""

    try:
        return http.server.ThreadingHTTPServer((_HOST, port), Handler)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ExportError(
            f"Port {port} cannot be used ({reason}); pass another --port, or 0 for a free one."
        ) from error


def address(running: http.server.ThreadingHTTPServer) -> str:
    """Where the page is."""
    return f"http://{_HOST}:{running.server_address[1]}/"
