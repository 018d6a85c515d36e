"""docs/on_the_web.md: its code, run in headless Chromium, recommends what the Recommender does."""

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
from tests.support import app_values
from tests.support.cases import assert_answers, make_cases
from tests.support.doc_pages import blocks
from tests.support.exports import exported
from tests.support.places import ROOT

PAGE = ROOT / "docs" / "on_the_web.md"
# The page's own check: both runtimes' lists, sent back to the test's server.
CHECK = """
<script type="module">
import { Recommender } from './recommender.js';
const said = {};
try {
  const wasm = 'litert/core/wasm/litert_wasm_compat_internal.js';
  const recommender = await Recommender.load('export', wasm);
  const cases = await (await fetch('cases.json')).json();
  said.lists = [];
  for (const { history, user } of cases) {
    said.lists.push(await recommender.recommend(history, 10, user));
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
    (script,), (html,) = blocks(PAGE, "js"), blocks(PAGE, "html")
    (tmp_path / "recommender.js").write_text(script)
    (tmp_path / "cases.json").write_text(json.dumps(made))
    (tmp_path / "export").symlink_to(run.export)
    runtime(tmp_path / "litert")
    page = re.sub(r"<script type=\"module\">.*?</script>", "", html, flags=re.DOTALL)
    (tmp_path / "check.html").write_text(page + CHECK)
    (said,) = visit(tmp_path, "check.html")
    assert "error" not in said, said
    answers = [[(r["item"], r["title"], r["score"]) for r in listed] for listed in said["lists"]]
    assert_answers(recommender, made, answers)


# The guide's module without a browser: files instead of a server, and a model that ranks the items
# in their order.
STAND_INS = """
import { readFileSync } from 'node:fs';
export const given = [];
export const loadLiteRt = async () => {};
export class Tensor {
  constructor(values) { this.values = values; }
  toTypedArray() { return this.values; }
  delete() {}
}
export const loadAndCompile = async () => ({
  async run(inputs) {
    const first = Object.entries(inputs).map(([name, { values }]) => [name, values[0]]);
    given.push(Object.fromEntries(first));
    const ids = new Int32Array([1, 2, 3, 4]);
    const scores = Float32Array.from(ids, (id) => 0.9 - id / 10);
    return { top_prediction_ids: new Tensor(ids), top_prediction_scores: new Tensor(scores) };
  },
});
globalThis.fetch = async (name) => {
  const content = readFileSync(name);
  return {
    ok: true,
    text: async () => content.toString(),
    json: async () => JSON.parse(content),
    arrayBuffer: async () => content,
  };
};
"""
USE = """
import { given } from '@litertjs/core';
import { Recommender } from './recommender.js';
const recommender = await Recommender.load('export', '');
const cases = JSON.parse(process.argv[2]);
const { big } = cases;
const listed = await recommender.recommend([]);
const without = [await recommender.recommend([big]), await recommender.recommend([BigInt(big)])];
const rows = async (activity) => (await recommender.recommend([activity]), given.at(-1));
const numbers = [];
for (const activity of cases.activities) {
  numbers.push((await rows(activity))[Object.keys(activity)[1]]);
}
const own = [];
for (const id of listed.map(({ item }) => item)) own.push(await rows(id));
const moments = { since: new Date('2024-05-31T18:30:00Z'), day: new Date('2024-05-31') };
const moment = await rows({ item: big, ...moments });
const nothing = await rows({ item: big, odd: undefined });
console.log(JSON.stringify({ listed, without, numbers, own, moment, nothing }));
"""


def test_values_are_looked_up_as_in_python(tmp_path, monkeypatch):
    if shutil.which("node") is None:
        pytest.skip("node is not installed")
    app_values.write_export(tmp_path / "export")
    recommender = app_values.load(tmp_path / "export", monkeypatch)
    package = tmp_path / "node_modules" / "@litertjs" / "core"
    package.mkdir(parents=True)
    for folder in (tmp_path, package):
        (folder / "package.json").write_text('{"type": "module", "main": "index.js"}')
    (package / "index.js").write_text(STAND_INS)
    (tmp_path / "recommender.js").write_text(blocks(PAGE, "js")[0])
    (tmp_path / "use.js").write_text(USE)
    big = str(app_values.BIG)
    cases = json.dumps({"big": big, "activities": app_values.activities()})
    command = ["node", "use.js", cases]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert not app_values.wrong(said["numbers"])
    expected = [(str(r.item), r.title) for r in recommender.recommend([])]
    assert [(r["item"], r["title"]) for r in said["listed"]] == expected
    for without in said["without"]:
        assert [(r["item"], r["title"]) for r in without] == expected[1:]
    assert [(of["item"], of["brand"]) for of in said["own"]] == [(1, 1), (2, 2), (3, 4), (4, 3)]
    assert (said["moment"]["since"], said["moment"]["day"]) == (1, 1)
    assert said["nothing"]["odd"] == 7


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
