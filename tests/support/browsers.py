"""Real browsers without a screen: Chromium by selenium, Firefox by WebDriver BiDi itself."""

import contextlib
import json
import os
import re
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest

from flaxrec.demo import litertjs
from flaxrec.errors import ExportError

# As the machines of CI need it: no sandbox for root, and nothing looked up in the network.
_FLAGS = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync "
_FLAGS += "--disable-background-networking --disable-component-update --no-default-browser-check"
_PREFERENCES = {
    "app.normandy.enabled": False,
    "app.update.enabled": False,
    "browser.newtabpage.enabled": False,
    "browser.safebrowsing.malware.enabled": False,
    "browser.safebrowsing.phishing.enabled": False,
    "browser.shell.checkDefaultBrowser": False,
    "datareporting.policy.dataSubmissionEnabled": False,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
    "services.settings.server": "data:,",
}
_PATIENCE = 90  # seconds; two browsers may share two busy cores
LARGE, SMALL = (1280, 900), (390, 844)


def _cannot(reason: str) -> NoReturn:
    """Skips the test, or fails it where browsers are promised."""
    if os.environ.get("FLAXREC_REQUIRE_BROWSERS"):
        pytest.fail(f"{reason}, and FLAXREC_REQUIRE_BROWSERS is set")
    pytest.skip(reason)


def program(*names: str) -> str:
    """The first of the programs that is there."""
    found = next(filter(None, map(shutil.which, names)), None)
    return found or _cannot(f"{names[0]} is not installed")


def litert() -> litertjs.Runtime:
    """LiteRT.js, from the cache or by npm."""
    try:
        return litertjs.load()
    except ExportError as error:
        _cannot(str(error))


# ---- Chromium -------------------------------------------------------------------------------


@contextlib.contextmanager
def chromium() -> Iterator[Any]:
    """A selenium driver that keeps the console and every request."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="needs selenium")
    options = webdriver.ChromeOptions()
    options.binary_location = program("chromium", "google-chrome")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    with tempfile.TemporaryDirectory() as profile:
        for flag in (*_FLAGS.split(), f"--user-data-dir={profile}"):
            options.add_argument(flag)
        service = webdriver.ChromeService(program("chromedriver"))
        driver = webdriver.Chrome(options=options, service=service)
        driver.set_script_timeout(_PATIENCE)
        try:
            yield driver
        finally:
            driver.quit()


def visit(driver: Any, address: str, size: tuple[int, int] = LARGE) -> None:
    """Opens a demo page in a window of that size and waits until it is ready."""
    width, height = size
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    driver.get(address)
    do(driver, "await flaxrecDemo.ready")


def do(driver: Any, code: str, *arguments: Any) -> Any:
    """What asynchronous JavaScript returns; an error of it is raised here."""
    done = driver.execute_async_script(
        f"const [done, ...given] = [arguments[arguments.length - 1], ...arguments];"
        f"(async () => {{ {code} }})().then((value) => done({{ value }}),"
        " (error) => done({ error: String(error.stack ?? error) }));",
        *arguments,
    )
    assert "error" not in done, done["error"]
    return done.get("value")


def requests(driver: Any) -> list[str]:
    """Addresses asked for since the last look; what the page itself holds is no request."""
    messages = [json.loads(row["message"])["message"] for row in driver.get_log("performance")]
    sent = [m["params"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    addresses = [params["request"]["url"] for params in sent]
    return [address for address in addresses if not address.startswith(("data:", "blob:"))]


def errors(driver: Any) -> list[str]:
    """Errors in the console since the last look."""
    log = driver.get_log("browser")
    return [row["message"] for row in log if row["level"] == "SEVERE"]


# ---- Firefox --------------------------------------------------------------------------------


class Firefox:
    """A tab of a headless Firefox, driven over its own WebDriver BiDi socket."""

    def __init__(self, socket: Any):
        self._socket, self._number = socket, 0
        self.events: list[dict] = []
        self.send("session.new", capabilities={})
        events = ["log.entryAdded", "network.beforeRequestSent"]
        self.send("session.subscribe", events=events)
        self._tab = self.send("browsingContext.getTree")["contexts"][0]["context"]

    def send(self, method: str, **params: Any) -> dict:
        """The result of a command; events that come before it are kept."""
        self._number += 1
        command = {"id": self._number, "method": method, "params": params}
        self._socket.send(json.dumps(command))
        while True:
            message = json.loads(self._socket.recv())
            if message.get("id") == self._number:
                assert message["type"] == "success", message
                return message["result"]
            self.events.append(message)

    def visit(self, address: str) -> None:
        """Opens a demo page and waits until it is ready."""
        self.send("browsingContext.navigate", context=self._tab, url=address, wait="complete")
        self.do("await flaxrecDemo.ready")

    def do(self, code: str) -> Any:
        """What asynchronous JavaScript returns."""
        answered = f"(async () => {{ {code} }})()"
        answer = self.send(
            "script.evaluate",
            expression=f"{answered}.then((value) => JSON.stringify(value ?? null))",
            target={"context": self._tab},
            awaitPromise=True,
        )
        assert answer["type"] == "success", answer["exceptionDetails"]["text"]
        return json.loads(answer["result"]["value"])

    def took(self, method: str) -> list[dict]:
        """The parameters of an event's occurrences since the last look."""
        found = [event["params"] for event in self.events if event.get("method") == method]
        self.events = [event for event in self.events if event.get("method") != method]
        return found


@contextlib.contextmanager
def firefox() -> Iterator[Firefox]:
    """A Firefox of its own; `geckodriver`, which Debian lacks, is not needed."""
    websocket = pytest.importorskip("websocket", reason="needs websocket-client")
    binary = program("firefox-esr", "firefox")
    with tempfile.TemporaryDirectory() as profile:
        lines = [f"user_pref({json.dumps(k)}, {json.dumps(v)});" for k, v in _PREFERENCES.items()]
        (Path(profile) / "user.js").write_text("\n".join(lines))
        flags = ["--headless", "--no-remote", "--remote-debugging-port=0", "--profile", profile]
        browser = subprocess.Popen(
            [binary, *flags, "about:blank"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            address = _listening(browser)
            socket = websocket.create_connection(
                f"{address}/session", timeout=_PATIENCE, suppress_origin=True
            )
            yield Firefox(socket)
        finally:
            browser.terminate()
            browser.wait(_PATIENCE)


def _listening(browser: subprocess.Popen) -> str:
    """The address that Firefox says it listens at; its further output is read and dropped."""
    timer = threading.Timer(_PATIENCE, browser.kill)
    timer.start()
    for line in browser.stderr or ():
        if found := re.search(r"BiDi listening on (ws://\S+)", line):
            timer.cancel()
            threading.Thread(target=lambda: list(browser.stderr or ()), daemon=True).start()
            return found[1]
    raise AssertionError("Firefox ended, or did not listen")
