"""The demo's server: what it answers, to whom, and that nobody occupies it."""

import contextlib
import random
import re
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from flaxrec.demo import serve
from flaxrec.errors import ExportError

PAGE = "<p>é" + "x" * 1_000_000


@pytest.fixture
def port() -> Iterator[int]:
    with serve.server(PAGE) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


def asked(port: int, request: bytes) -> bytes:
    """All that the server answers until it closes."""
    answer = b""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
        client.sendall(request)
        try:
            while part := client.recv(2**20):
                answer += part
        except ConnectionResetError:  # it had not read everything
            pass
    return answer


def status(answer: bytes) -> str:
    """Of an answer to what has no version of HTTP, which has no status line, the page's."""
    found = re.match(rb"HTTP/1.0 (\d+) ", answer) or re.search(rb"Error code: (\d+)", answer)
    return found[1].decode() if found else ""


def get(host: str) -> bytes:
    return f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.0.0.1:80", "localhost:8000", "LocalHost", "[::1]:8000"]
)
def test_hosts_that_are_served(port, host):
    answer = asked(port, get(host))
    assert status(answer) == "200"
    assert answer.partition(b"\r\n\r\n")[2] == PAGE.encode()


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "127.0.0.1.evil.example",
        "localhost:80@evil.example",
        "",
        "127.0.0.2",
        "::1",
        "localhost, evil.example",
        "localhost\r\nHost: evil.example",
        "localhost:x",
        "xlocalhost",
    ],
)
def test_other_hosts_are_not(port, host):
    answer = asked(port, get(host))
    assert status(answer) == "421"
    assert PAGE.encode()[:6] not in answer


@pytest.mark.parametrize(
    ("request_line", "expected"),
    [
        ("HEAD / HTTP/1.1", "200"),
        ("GET /index.html?a=/../ HTTP/1.0", "200"),
        ("POST / HTTP/1.1", "501"),
        ("CONNECT evil.example:443 HTTP/1.1", "501"),
        ("get / HTTP/1.1", "501"),
        ("GET /../../etc/passwd HTTP/1.1", "404"),
        ("GET /%2e%2e/index.html HTTP/1.1", "404"),
        ("GET /index.html/.. HTTP/1.1", "404"),
        ("GET http://localhost/ HTTP/1.1", "404"),
        ("GET //evil.example/ HTTP/1.1", "404"),
        ("GET * HTTP/1.1", "404"),
        ("GET / HTTP/3", "400"),
        ("GET / HTTP/2.0", "505"),
        ("GET / x HTTP/1.1", "400"),
        ("\x00\xff\x16", "400"),
        ("GET", "400"),
    ],
)
def test_requests(port, request_line, expected):
    answer = asked(port, f"{request_line}\r\nHost: localhost\r\n\r\n".encode("latin-1"))
    assert status(answer) == expected
    assert (PAGE.encode() in answer) == (expected == "200" and request_line.startswith("GET"))


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET /\r\n\r\n",  # HTTP/0.9, which has no hosts
        b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"A: b\r\n" * 1_000 + b"\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nCookie: " + b"a" * 70_000,
        b"a" * 200_000,
    ],
    ids=["0.9", "long line", "many headers", "long header", "no request"],
)
def test_what_gets_no_page(port, request_bytes):
    assert b"xxx" not in asked(port, request_bytes)


def test_a_connection_has_one_request(port):
    answer = asked(port, get("localhost") * 3)
    assert answer.count(b"HTTP/1.0 200") == 1
    assert answer.count(PAGE.encode()) == 1


def threads() -> int:
    return sum("process_request_thread" in thread.name for thread in threading.enumerate())


def test_nobody_occupies_it(port, monkeypatch):
    monkeypatch.setattr(serve, "_HEAD_SECONDS", 1.0)
    begin = time.monotonic()
    silent = [socket.create_connection(("127.0.0.1", port), timeout=20) for _ in range(60)]
    seen = [threads()]
    while seen[-1] or not any(seen):  # until it has begun and all have ended
        for client in silent[:8]:
            with contextlib.suppress(ConnectionError):
                client.send(b"G")  # a byte from time to time
        time.sleep(0.05)
        seen.append(threads())
    assert 0 < max(seen) <= serve._MOST
    assert time.monotonic() < begin + 15
    for client in silent:  # whether they had a thread or not
        with contextlib.suppress(ConnectionResetError):
            assert client.recv(10) == b""
        client.close()
    assert status(asked(port, get("localhost"))) == "200"


def test_clients_that_leave_are_not_told_on_the_terminal(port, capfd):
    drawn = random.Random(0)
    for _ in range(100):
        request = bytearray(get("localhost"))
        for _ in range(drawn.randrange(4)):
            request[drawn.randrange(len(request))] = drawn.randrange(256)
        with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
            client.sendall(request[: drawn.randrange(1, 2 * len(request))])
            if drawn.random() < 0.5:
                client.shutdown(socket.SHUT_WR)
                client.recv(drawn.randrange(1, 100_000))
    answer = asked(port, get("localhost"))
    assert status(answer) == "200"
    end = time.monotonic() + 10
    while threads() and time.monotonic() < end:
        time.sleep(0.01)
    assert capfd.readouterr() == ("", "")


# ---- to others ------------------------------------------------------------------------------


@contextlib.contextmanager
def serving(host: str) -> Iterator[int]:
    with serve.server(PAGE, host=host) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def open_port() -> Iterator[int]:
    with serving("0.0.0.0") as port:
        yield port


@pytest.mark.parametrize(
    "host",
    ["192.168.1.7:8000", "127.0.0.2", "[fe80::1]:80", "localhost", "0.0.0.0:1"]
    + [name + socket.gethostname() + end for name, end in (("", ""), ("", ".local:80"))],
)
def test_addresses_and_this_machines_names_are_served_to_others(open_port, host):
    assert status(asked(open_port, get(host))) == "200"


@pytest.mark.parametrize(
    "host", ["evil.example", "1.2.3.4.evil.example", "", "[evil]", "1.2.3.4, evil.example", "1.2.3"]
)
def test_names_of_other_sites_are_not_even_then(open_port, host):
    assert status(asked(open_port, get(host))) == "421"


def test_the_address_that_is_told():
    with serve.server(PAGE, host="0.0.0.0") as server:
        told = serve.address(server)
        assert "0.0.0.0" not in told
        assert told.endswith(f":{server.server_address[1]}/")
    with serve.server(PAGE) as server:
        assert serve.address(server) == f"http://127.0.0.1:{server.server_address[1]}/"


def test_an_address_of_another_kind():
    try:
        with serve.server(PAGE, host="::1") as server:
            assert serve.address(server) == f"http://[::1]:{server.server_address[1]}/"
    except ExportError as error:
        pytest.skip(str(error))  # no IPv6 here


@pytest.mark.parametrize("host", ["203.0.113.7", "no.such.host.invalid", "a..b", "x" * 300])
def test_an_address_of_another_machine_is_refused_in_a_sentence(host):
    with pytest.raises(ExportError, match=r"--host=.* cannot be used \(.*\); give an address of"):
        serve.server(PAGE, host=host)
