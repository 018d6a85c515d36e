"""Serves the page from memory by HTTP, to this machine only or, where that is asked for, to others.

Whoever can connect can neither occupy it nor make it answer for another host: a connection has one
request, of bounded size and time, and there are `_MOST` at once.
"""

import http.server
import io
import ipaddress
import re
import socket
import sys
import threading
import time
from typing import Any

from flaxrec.errors import ExportError

LOCAL = "127.0.0.1"
# No page of another host whose name leads here (DNS rebinding). A tunnel may have any port.
_SERVED = re.compile(r"(127\.0\.0\.1|localhost|\[::1\])(:\d{1,5})?", re.IGNORECASE)
_NAME = re.compile(r"([a-z0-9.-]+|\[[0-9a-f:.]+\])(:\d{1,5})?", re.IGNORECASE)
_NOWHERE = "192.0.2.1", "2001:db8::1"  # for documentation: nothing is sent there
_MOST = 32  # connections at once; browsers open some that they do not use
_HEAD_SECONDS = 5.0  # for the request to arrive
_ANSWER_SECONDS = 60.0  # for the page to be taken, also through a tunnel
_LARGEST = 2**16  # bytes of a request; cookies of other servers on this machine are among them


class _Server(http.server.ThreadingHTTPServer):
    """A thread a connection, up to `_MOST`; others are closed."""

    request_queue_size = _MOST

    def __init__(self, *arguments: Any) -> None:
        self._free = threading.BoundedSemaphore(_MOST)
        super().__init__(*arguments)

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._free.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):  # the client is gone
            super().handle_error(request, client_address)


class _Server6(_Server):
    """At an address of IPv6."""

    address_family = socket.AF_INET6


def server(page: str, port: int = 0, host: str = LOCAL) -> http.server.ThreadingHTTPServer:
    """A server for the page's HTML, run by `serve_forever`.

    Args:
      page: HTML.
      port: 0 takes a free one.
      host: the address to listen at. Unless it is `LOCAL`, requests are answered that name any
        address, which no other site's name can stand for, this machine or `host`.

    Raises:
      ExportError: port or host cannot be used.
    """
    content = page.encode()
    names = {host.lower(), socket.gethostname().lower(), "localhost"} if host != LOCAL else set()

    class Handler(http.server.BaseHTTPRequestHandler):
        def setup(self) -> None:
            super().setup()
            self.rfile = io.BytesIO(_head(self.connection))
            self.connection.settimeout(_ANSWER_SECONDS)

        def do_GET(self) -> None:
            hosts = self.headers.get_all("Host", [])
            if len(hosts) != 1 or not (_SERVED.fullmatch(hosts[0]) or _is_ours(hosts[0], names)):
                self.send_error(421)
                return
            if self.path.partition("?")[0] not in ("/", "/index.html"):
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Length", str(len(content)))
            self.send_header("Cache-Control", "no-store")
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content)

        do_HEAD = do_GET

        def log_message(self, format: str, *args: object) -> None:
            """Keeps the terminal quiet."""

    try:
        return (_Server6 if ":" in host else _Server)((host, port), Handler)
    except (OSError, OverflowError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        if isinstance(error, socket.gaierror | UnicodeError) or (host != LOCAL and not port):
            raise ExportError(
                f"--host={host} cannot be used ({reason}); give an address of this machine, such "
                "as 0.0.0.0 for all of them."
            ) from error
        raise ExportError(
            f"Port {port} cannot be used ({reason}); pass another --port, or 0 for a free one."
        ) from error


def _is_ours(asked: str, names: set[str]) -> bool:
    """Whether a Host header names an address or one of the names; never where there are none."""
    found = _NAME.fullmatch(asked)
    if not found or not names:
        return False
    name = found[1].lower().removesuffix(".")
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return name in names or name.removesuffix(".local") in names
    return True


def _head(connection: socket.socket) -> bytes:
    """A request's line and headers, and what came with them; b'' of what is no request in time."""
    end, head = time.monotonic() + _HEAD_SECONDS, b""
    while b"\n\r\n" not in head and b"\n\n" not in head:
        left = end - time.monotonic()
        if left <= 0 or len(head) > _LARGEST:
            return b""
        connection.settimeout(left)
        try:
            received = connection.recv(_LARGEST)
        except OSError:  # nothing came, or the client is gone
            return b""
        if not received:
            return b""
        head += received
    return head


def address(running: http.server.ThreadingHTTPServer) -> str:
    """The page's URL, for other machines where they can connect."""
    host, port = running.server_address[:2]
    host = str(host)
    if host in ("0.0.0.0", "::"):
        host = _own_address(running.address_family)
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


def _own_address(family: int) -> str:
    """This machine's address on its network; its name where it has none."""
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(
                (_NOWHERE[family == socket.AF_INET6], 9)
            )  # chooses the way, sends nothing
        except OSError:
            return socket.gethostname()
        return str(probe.getsockname()[0])
