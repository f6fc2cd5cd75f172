"""A headless Chromium and a JupyterLab for the tests, spoken to over the DevTools protocol."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import websocket  # comes with jupyter_server

CHROMIUM = next(
    filter(
        None,
        map(
            shutil.which, ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
        ),
    ),
    None,
)
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
    "--remote-debugging-port=0",
    "--window-size=1400,1000",
)  # fmt: skip
LAB = (
    "--no-browser", "--allow-root", "--ServerApp.ip=127.0.0.1", "--ServerApp.port_retries=0",
    "--LabApp.expose_app_in_browser=True", "--LabApp.news_url=None",
    "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
    "--LabApp.extension_manager=readonly",
)  # fmt: skip
SETTINGS = {
    # every cell in the page, seen or not
    "notebook-extension/tracker": '{"windowingMode": "none", "kernelShutdown": true}',
    "apputils-extension/notification": '{"fetchNews": "false", "checkForUpdates": false}',
}
PATIENCE = 120.0  # [s] for anything that is waited for, on a machine that has other things to do


class Leaving(Exception):
    """Tells that the page was left before it answered."""


class Page:
    """A page of the browser."""

    def __init__(self, address: str) -> None:
        self.socket = websocket.create_connection(address, timeout=PATIENCE, suppress_origin=True)
        self.numbers = itertools.count(1)
        self.complaints: list[str] = []  # what the page wrote to its console as an error
        self.call("Page.enable")
        self.call("Log.enable")
        # JupyterLab works on what has the focus
        self.call("Emulation.setFocusEmulationEnabled", enabled=True)

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Ask the browser for something and wait for its answer."""
        number = next(self.numbers)
        self.socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            answer = json.loads(self.socket.recv())
            if (
                answer.get("method") == "Log.entryAdded"
                and answer["params"]["entry"]["level"] == "error"
            ):
                self.complaints.append(answer["params"]["entry"]["text"])
            if answer.get("id") == number:
                if "navigated" in str(answer.get("error")):
                    raise Leaving
                assert "error" not in answer, f"{method}: {answer['error']}"
                return answer["result"]

    def evaluate(self, script: str) -> Any:
        """The value of a JavaScript expression; promises are awaited."""
        answer = self.call(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in answer, f"{script}\n{answer['exceptionDetails']}"
        return answer["result"].get("value")

    def wait(self, script: str, what: str, patience: float = PATIENCE) -> Any:
        """Look until the expression is true; its value.

        A page that never gets there is shown in the error's text.
        """
        end = time.monotonic() + patience
        while time.monotonic() < end:
            try:
                if value := self.evaluate(script):
                    return value
            except Leaving:
                pass
            time.sleep(0.2)
        seen = self.evaluate("document.title + '\\n' + document.body.innerText.slice(-1500)")
        raise AssertionError(
            f"waited {patience:.0f} s for {what}; the page shows:\n{seen}\nconsole: "
            f"{self.complaints[-5:]}"
        )

    def press(self, key: str) -> None:
        """Press and release a key, such as "ArrowRight", where the focus is."""
        code = {"ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40, "Enter": 13}[key]
        for kind in ("rawKeyDown", "keyUp"):
            self.call(
                "Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code
            )


@contextlib.contextmanager
def chromium(folder: Path) -> Iterator[Page]:
    """A page of a fresh Chromium whose profile is in ``folder``."""
    assert CHROMIUM is not None
    port_file = folder / "profile" / "DevToolsActivePort"
    with _process(
        [CHROMIUM, *FLAGS, f"--user-data-dir={folder / 'profile'}", "about:blank"],
        folder / "chromium.log",
    ):
        _until(
            lambda: port_file.exists() and len(port_file.read_text().splitlines()) > 1,
            folder / "chromium.log",
        )
        port = port_file.read_text().splitlines()[0]
        pages = json.loads(_get(f"http://127.0.0.1:{port}/json"))
        page = Page(next(one["webSocketDebuggerUrl"] for one in pages if one["type"] == "page"))
        try:
            yield page
        finally:
            page.socket.close()


@contextlib.contextmanager
def jupyterlab(folder: Path, root: Path, **environment: str) -> Iterator[str]:
    """A JupyterLab on the files in ``root``; its settings are in ``folder``. Gives its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    token = secrets.token_hex(16)
    for name, text in SETTINGS.items():
        path = folder / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True)
        path.write_text(text)
    own = {
        "JUPYTERLAB_SETTINGS_DIR": folder / "settings",
        "JUPYTERLAB_WORKSPACES_DIR": folder / "workspaces",
        "JUPYTER_CONFIG_DIR": folder / "config", "JUPYTER_DATA_DIR": folder / "data",
        "JUPYTER_RUNTIME_DIR": folder / "runtime", "IPYTHONDIR": folder / "ipython",
        "JUPYTER_TOKEN": token,
    }  # fmt: skip
    words = [
        sys.executable,
        "-m",
        "jupyter",
        "lab",
        *LAB,
        f"--ServerApp.port={port}",
        f"--ServerApp.root_dir={root}",
    ]
    log = folder / "lab.log"
    with _process(words, log, **{name: str(value) for name, value in own.items()}, **environment):
        _until(lambda: _answers(f"http://127.0.0.1:{port}/api/status?token={token}"), log)
        yield f"http://127.0.0.1:{port}/lab?token={token}"


@contextlib.contextmanager
def _process(words: list[str], log: Path, **environment: str) -> Iterator[None]:
    """A process with its children, in a group of its own that is ended with the block."""
    inherited = {name: value for name, value in os.environ.items() if name != "BIRDNB_HEADLESS"}
    with open(log, "wb") as output:
        process = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=inherited | environment,
            start_new_session=True,
        )
        try:
            yield
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def _until(ready: Any, log: Path) -> None:
    end = time.monotonic() + PATIENCE
    while not ready():
        assert time.monotonic() < end, (
            f"nothing after {PATIENCE:.0f} s; its log "
            f"ends:\n{log.read_text(errors='replace')[-2000:]}"
        )
        time.sleep(0.1)


def _answers(address: str) -> bool:
    try:
        _get(address)
    except OSError:
        return False
    return True


def _get(address: str) -> bytes:
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with direct.open(address, timeout=PATIENCE) as answer:
        return answer.read()
