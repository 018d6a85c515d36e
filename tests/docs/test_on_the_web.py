"""examples/web: run in headless Chromium, it recommends what the Recommender does."""

import functools
import http.server
import json
import re
import shutil
import subprocess
import threading
from pathlib import Path
from typing import ClassVar

import pytest

from flaxrec import Recommender
from flaxrec.demo import litertjs as runtime_lib
from flaxrec.errors import ExportError
from tests.support import guides
from tests.support.cases import assert_answers, make_cases
from tests.support.exports import exported
from tests.support.places import ROOT

PAGE = ROOT / "docs" / "on_the_web.md"
# The page's own check: both runtimes' lists, sent back to the test's server.
CHECK = """
<script type="module">
import { onTheWeb } from './on_the_web.js';
const said = {};
try {
  const wasm = 'litert/core/wasm/litert_wasm_compat_internal.js';
  const recommender = await onTheWeb('export', wasm);
  const cases = await (await fetch('cases.json')).json();
  said.lists = [];
  for (const { history, user } of cases) {
    said.lists.push(await recommender.recommend(history, { user }));
  }
} catch (error) {
  said.error = `${error} ${error.stack}`;
}
await fetch('/said', { method: 'POST', body: JSON.stringify(said) });
</script>
"""
CHROMIUM = shutil.which("chromium")
# As the machines of CI need it: no sandbox for root, and nothing looked up in the network.
FLAGS = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync "
FLAGS += "--disable-background-networking --disable-component-update"


class Server(http.server.SimpleHTTPRequestHandler):
    """Serves a folder; keeps what is posted."""

    said: ClassVar[list[dict]] = []

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.said.append(json.loads(body))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *arguments):
        pass


def runtime(folder: Path) -> None:
    """The pinned LiteRT.js as npm lays it out; skips where neither it nor npm is there."""
    try:
        found = runtime_lib.load()
    except ExportError as error:
        pytest.skip(str(error))
    wasm = "core/wasm/litert_wasm_compat_internal"
    files = {"core/dist/index.js": found.core, "wasm-utils/dist/index.js": found.utilities}
    files |= {f"{wasm}.js": found.loader, f"{wasm}.wasm": found.wasm}
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


@pytest.fixture(scope="module", params=["bow_user", "cnn_combined"])
def run(request, tmp_path_factory):
    if CHROMIUM is None:
        pytest.skip("chromium is not installed")
    return exported(tmp_path_factory, request.param)


def test_the_page_recommends_what_python_does(run, tmp_path):
    recommender = Recommender.load(run.export)
    made = make_cases(recommender, run.export)
    guides.copy_scripts(tmp_path)
    html = (guides.WEB / "index.html").read_text(encoding="utf-8")
    (tmp_path / "cases.json").write_text(json.dumps(made))
    (tmp_path / "export").symlink_to(run.export)
    runtime(tmp_path / "litert")
    page = re.sub(r"<script type=\"module\">.*?</script>", "", html, flags=re.DOTALL)
    (tmp_path / "check.html").write_text(page + CHECK)
    (said,) = visit(tmp_path, "check.html")
    assert "error" not in said, said
    answers = [[(r["item"], r["title"], r["score"]) for r in listed] for listed in said["lists"]]
    assert_answers(recommender, made, answers)


def test_the_inputs_are_those_of_the_vectors(tmp_path):
    guides.copy_scripts(tmp_path)
    guides.write_requests(tmp_path / "folders")
    command = [guides.program("node"), str(tmp_path / "vectors.mjs"), str(tmp_path / "folders")]
    done = subprocess.run(
        [*command, str(tmp_path / "folders" / "requests.json")], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert not guides.wrong(list(map(json.loads, done.stdout.splitlines())))


def test_the_guide_shows_the_example():
    for language in ("js", "html"):
        guides.assert_shown(PAGE, language, guides.WEB)


def visit(folder: Path, page: str) -> list[dict]:
    """What a page of the folder posts, opened in a browser of its own."""
    said: list[dict] = []
    handler = functools.partial(type("Here", (Server,), {"said": said}), directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    address = f"http://127.0.0.1:{server.server_port}/{page}"
    profile = folder / "profile"
    browser = subprocess.Popen(
        [CHROMIUM, *FLAGS.split(), f"--user-data-dir={profile}", address],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        for _ in range(600):
            if said:
                return said
            threading.Event().wait(0.1)
        raise AssertionError("the page posted nothing within a minute")
    finally:
        browser.terminate()
        browser.wait()
        server.shutdown()
        server.server_close()
