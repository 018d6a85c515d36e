"""Downloads from a real HTTP server on this machine: cut, resumed, damaged, dangerous."""

import hashlib
import http.server
import io
import logging
import os
import stat
import threading
import urllib.error
import zipfile
from concurrent.futures import ThreadPoolExecutor

import pytest

from flaxrec.data.sources import download
from flaxrec.data.sources.download import fetch
from flaxrec.data.sources.movielens import read_movielens
from flaxrec.errors import DataError

FILES = {
    "ml-tiny/ratings.dat": b"1::2::3::4\n" * 500,
    "ml-tiny/movies.dat": b"2::Lake (1990)::Drama\n",
    # Not compressible, so that the archive has a middle to cut.
    "ml-tiny/noise": b"".join(hashlib.sha256(bytes([n])).digest() for n in range(250)),
}


def archive(files=FILES, links=()):
    raw = io.BytesIO()
    with zipfile.ZipFile(raw, "w", zipfile.ZIP_DEFLATED) as members:
        for name, content in files.items():
            members.writestr(name, content)
        for name in links:
            link = zipfile.ZipInfo(name)
            link.external_attr = (stat.S_IFLNK | 0o777) << 16
            members.writestr(link, "/etc/passwd")
    return raw.getvalue()


def md5(content):
    return hashlib.md5(content).hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves `server.files`; cuts a body after `server.cut` bytes, `server.cuts` times."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        server = self.server
        wanted = self.headers.get("Range")
        server.requests.append((self.path, wanted))
        content = server.files.get(self.path.removeprefix("/data/"))
        if content is None:
            return self.send_error(404)
        start = int(wanted[len("bytes=") : -1]) if wanted and server.ranges else 0
        if start >= len(content) > 0:
            return self.send_error(416)
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        body = content[start:]
        if self.path.endswith(".zip") and server.cuts:
            server.cuts -= 1
            body = body[: server.cut]
            self.close_connection = True
        self.wfile.write(body)

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        content = archive()
        running.files = {
            "ml-tiny.zip": content,
            "ml-tiny.zip.md5": f"MD5 (ml-tiny.zip) = {md5(content)}\n".encode(),
        }
        running.requests, running.ranges, running.cut, running.cuts = [], True, 3000, 0
        running.url = f"http://127.0.0.1:{running.server_port}/data"
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def zips(server):
    return [wanted for path, wanted in server.requests if path.endswith(".zip")]


def contents(folder):
    return {f"ml-tiny/{path.name}": path.read_bytes() for path in folder.iterdir()}


def left(cache):
    return sorted(path.name for path in cache.iterdir() if path.suffix != ".lock")


def error(server, cache, release="ml-tiny", **options):
    with pytest.raises(DataError) as caught:
        fetch(release, cache, base_url=server.url, **options)
    message = str(caught.value)
    assert "\n" not in message
    assert message.endswith(".")
    return message


def test_downloads_checks_and_unpacks(server, tmp_path, capfd):
    cache = tmp_path / "new" / "cache"
    folder = fetch("ml-tiny", cache, base_url=server.url)
    assert folder == cache / "ml-tiny"
    assert contents(folder) == FILES
    assert left(cache) == ["ml-tiny"]
    assert len(read_movielens(folder).events) == 500
    out, err = capfd.readouterr()
    assert out == ""
    assert "ml-tiny.zip" in err


def test_unpacked_folder_is_used_without_network(tmp_path):
    (tmp_path / "ml-1m").mkdir()

    def opener(request):
        raise AssertionError("asked the network")

    assert fetch("ml-1m", tmp_path, opener=opener) == tmp_path / "ml-1m"


def test_archive_without_a_folder_of_its_own(server, tmp_path):
    content = archive({"ratings.dat": b"1::2::3::4\n", "movies.dat": b"2::A::War\n"})
    server.files = {"ml-tiny.zip": content, "ml-tiny.zip.md5": md5(content).encode()}
    folder = fetch("ml-tiny", tmp_path, base_url=server.url)
    assert sorted(path.name for path in folder.iterdir()) == ["movies.dat", "ratings.dat"]


def test_cut_connection_goes_on_where_it_stopped(server, tmp_path):
    server.cuts = 2
    assert contents(fetch("ml-tiny", tmp_path, base_url=server.url)) == FILES
    assert zips(server) == [None, "bytes=3000-", "bytes=6000-"]


def test_next_run_resumes(server, tmp_path):
    part = tmp_path / "ml-tiny.zip.part"
    part.write_bytes(server.files["ml-tiny.zip"][:1234])
    assert contents(fetch("ml-tiny", tmp_path, base_url=server.url)) == FILES
    assert zips(server) == ["bytes=1234-"]


def test_complete_part_is_only_checked(server, tmp_path):
    (tmp_path / "ml-tiny.zip.part").write_bytes(server.files["ml-tiny.zip"])
    assert contents(fetch("ml-tiny", tmp_path, base_url=server.url)) == FILES


def test_server_without_ranges_starts_again(server, tmp_path):
    server.ranges, server.cuts, server.cut = False, 1, 5000
    (tmp_path / "ml-tiny.zip.part").write_bytes(b"x" * 1234)
    assert contents(fetch("ml-tiny", tmp_path, base_url=server.url)) == FILES
    assert zips(server) == ["bytes=1234-", "bytes=5000-"]


def test_connection_that_stays_cut(server, tmp_path):
    server.ranges, server.cuts = False, 9
    message = error(server, tmp_path)
    total = len(server.files["ml-tiny.zip"])
    assert f"the connection ended after 3,000 of {total:,} bytes" in message
    assert message.startswith(f"{server.url}/ml-tiny.zip could not be downloaded (")
    assert "run the command again to go on where it stopped" in message
    assert message.endswith("pass --config.data.path=DIR.")
    assert len(zips(server)) == 2  # it gave up once an attempt brought nothing new
    assert left(tmp_path) == ["ml-tiny.zip.part"]


def test_wrong_md5_deletes_the_file(server, tmp_path):
    server.files["ml-tiny.zip.md5"] = b"0" * 32 + b"  ml-tiny.zip\n"
    message = error(server, tmp_path)
    found = md5(server.files["ml-tiny.zip"])
    assert f"ml-tiny.zip.part from {server.url}/ml-tiny.zip has the MD5 {found} instead" in message
    assert f"of {'0' * 32} and was deleted; run the command again, or pass --config" in message
    assert left(tmp_path) == []


def test_known_sha256_is_checked_and_no_md5_asked_for(server, tmp_path, monkeypatch):
    server.files["ml-1m.zip"] = server.files["ml-tiny.zip"]
    message = error(server, tmp_path, "ml-1m")
    assert f"has the SHA256 {hashlib.sha256(server.files['ml-1m.zip']).hexdigest()} inst" in message
    assert "instead of a6898adb50b9ca05aa231689da44c217cb524e7ebd39d264c56e2832f2c54e20 " in message
    assert left(tmp_path) == []
    known = hashlib.sha256(server.files["ml-1m.zip"]).hexdigest()
    monkeypatch.setitem(download.SHA256, "ml-1m", known)
    assert contents(fetch("ml-1m", tmp_path, base_url=server.url)) == FILES
    assert {path for path, _ in server.requests} == {"/data/ml-1m.zip"}


@pytest.mark.parametrize("content", [None, b"<html>not here</html>"])
def test_no_published_checksum_is_said(server, tmp_path, caplog, content):
    del server.files["ml-tiny.zip.md5"]
    if content:
        server.files["ml-tiny.zip.md5"] = content
    with caplog.at_level(logging.WARNING):
        assert contents(fetch("ml-tiny", tmp_path, base_url=server.url)) == FILES
    assert f"{server.url}/ml-tiny.zip.md5 holds no checksum" in caplog.text


def test_damaged_archive_without_checksum(server, tmp_path):
    del server.files["ml-tiny.zip.md5"]
    broken = bytearray(server.files["ml-tiny.zip"])
    broken[6000] ^= 1  # inside of the incompressible member
    for content in (bytes(broken), b"<html>log in first</html>", archive({})):
        server.files["ml-tiny.zip"] = content
        message = error(server, tmp_path)
        assert "ml-tiny.zip.part is not a sound zip archive (" in message
        assert "was deleted; run the command again, or pass --config.data.path=DIR" in message
        assert left(tmp_path) == []


@pytest.mark.parametrize(
    "name",
    ["/tmp/evil", "../evil", "ml-tiny/../../evil", "..\\evil", "C:\\evil", "C:evil", "\\evil"],
)
def test_members_that_leave_the_folder(server, tmp_path, name):
    content = archive({**FILES, name: b"boo"})
    server.files |= {"ml-tiny.zip": content, "ml-tiny.zip.md5": md5(content).encode()}
    cache = tmp_path / "a" / "cache"
    message = error(server, cache)
    assert f"its member {name!r} points out of the folder; download from a source" in message
    assert message.endswith("pass --config.data.path=DIR.")
    assert left(cache) == []
    assert [path for path in tmp_path.rglob("*") if "evil" in path.name] == []


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        (".", "has no name of a file"),
        ("ml-tiny/a\0b", "has no name of a file"),
        ("x" * 256, "is too long"),
        ("d/" * 2000, "is too long"),
        ("ML-tiny/Ratings.dat", "stands twice"),
        ("ml-tiny/ratings.dat/x", "stands twice"),
        ("ml-tiny/", ""),
    ],
)
def test_names_that_not_every_system_has(server, tmp_path, name, reason):
    content = io.BytesIO(archive())
    with zipfile.ZipFile(content, "a") as members:
        odd = zipfile.ZipInfo("x")
        odd.filename = name
        members.writestr(odd, b"")
    server.files |= {"ml-tiny.zip": content.getvalue(), "ml-tiny.zip.md5": b"none"}
    if not reason:
        assert contents(fetch("ml-tiny", tmp_path, base_url=server.url)) == FILES
        return
    message = error(server, tmp_path)
    assert "ml-tiny.zip.part is not a sound zip archive (" in message
    assert reason in message
    assert left(tmp_path) == []


@pytest.mark.parametrize(
    ("at", "value", "reason"),
    [
        (8, b"\1\0", "is encrypted"),
        (10, b"\x0c\0", "is packed by method 12"),
        (10, b"\x0e\0", "is packed by method 14"),
        (24, b"\0\0\0\xff", "it would unpack to 4,2"),
        (42, b"\xff\xff\xff\x7f", ""),
        (16, b"\0\0\0\0", "Bad CRC-32"),
    ],
)
def test_entries_that_lie(server, tmp_path, at, value, reason):
    content = archive()
    place = content.index(b"PK\1\2") + at  # of the first member, in the list at the end
    content = content[:place] + value + content[place + len(value) :]
    server.files |= {"ml-tiny.zip": content, "ml-tiny.zip.md5": b"none"}
    message = error(server, tmp_path)
    assert "ml-tiny.zip.part is not a sound zip archive (" in message
    assert reason in message
    assert left(tmp_path) == []


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: os.symlink("elsewhere", path)])
def test_a_part_that_is_no_file(server, tmp_path, make):
    make(tmp_path / "ml-tiny.zip.part")
    assert "ml-tiny.zip.part is no file of a download; remove it." in error(server, tmp_path)
    assert zips(server) == []


@pytest.mark.parametrize("release", ["", "..", "../x", "/etc", "a b", "-x"])
def test_names_of_no_release(tmp_path, release):
    with pytest.raises(DataError, match=r"config\.data\.release is .*, which is no release; give"):
        fetch(release, tmp_path, opener=None)


def test_links_in_the_archive(server, tmp_path):
    content = archive(links=["ml-tiny/users.dat"])
    server.files |= {"ml-tiny.zip": content, "ml-tiny.zip.md5": md5(content).encode()}
    assert "its member 'ml-tiny/users.dat' points out of the folder" in error(server, tmp_path)
    assert left(tmp_path) == []


def test_no_network_is_one_sentence(tmp_path):
    def opener(request):
        raise urllib.error.URLError(OSError(-2, "Name or service not known"))

    with pytest.raises(DataError) as caught:
        fetch("ml-1m", tmp_path, opener=opener)
    assert str(caught.value) == (
        "https://files.grouplens.org/datasets/movielens/ml-1m.zip could not be downloaded (Name or "
        "service not known); run the command again to go on where it stopped, or put the files of "
        "ml-1m into a folder and pass --config.data.path=DIR."
    )


def test_unknown_release(server, tmp_path):
    message = error(server, tmp_path, "ml-none")
    assert f"{server.url}/ml-none.zip could not be downloaded (the server answers 404" in message


def test_refused_connection(server, tmp_path):
    server.url = "http://127.0.0.1:9/data"  # port 9: nobody listens
    assert "could not be downloaded (Connection refused); run" in error(server, tmp_path)


def test_cache_that_cannot_be_written(server, tmp_path):
    (tmp_path / "file").write_text("")
    message = error(server, tmp_path / "file" / "cache")
    assert message.startswith(f"{tmp_path / 'file' / 'cache'} cannot be used as the cache of")
    assert message.endswith("choose another folder by --config.data.cache_dir=DIR.")


def test_many_at_once_download_once(server, tmp_path):
    with ThreadPoolExecutor(4) as pool:
        jobs = [pool.submit(fetch, "ml-tiny", tmp_path, base_url=server.url) for _ in range(4)]
        folders = {job.result() for job in jobs}
    assert folders == {tmp_path / "ml-tiny"}
    assert contents(tmp_path / "ml-tiny") == FILES
    assert len(zips(server)) == 1
    assert left(tmp_path) == ["ml-tiny"]
