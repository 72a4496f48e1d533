"""A real browser for pages: Chromium without a window, driven over its own protocol, if there is one on this machine."""

from __future__ import annotations

import asyncio
import base64
import json
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-extensions", "--hide-scrollbars", "--remote-debugging-port=0"]


@dataclass
class Seen:
    """What a page did and was."""

    title: str
    requests: list[str]
    """Addresses that were asked for, apart from the page itself."""
    told: list[str]
    """What its console and its dialogs said."""
    value: Any
    """What the expression that was asked of it came to."""
    screenshot: bytes


def look(page: Path, expression: str = "0", *, width: int = 1280, height: int = 900, dark: bool = False) -> Seen:
    """Open a page, at some width, and evaluate an expression in it."""
    return asyncio.run(asyncio.wait_for(_look(page, expression, width, height, dark), 90))


async def _look(page: Path, expression: str, width: int, height: int, dark: bool) -> Seen:
    assert CHROMIUM is not None
    with tempfile.TemporaryDirectory(prefix="triptych-browser-", ignore_cleanup_errors=True) as profile:
        browser = subprocess.Popen(
            [CHROMIUM, *FLAGS, f"--user-data-dir={profile}", "about:blank"], stderr=subprocess.PIPE, text=True
        )
        try:
            address = await asyncio.to_thread(_address, browser)
            async with aiohttp.ClientSession() as session, session.ws_connect(address, max_msg_size=0) as socket:
                return await _Tab(socket).look(page, expression, width, height, dark)
        finally:
            browser.kill()
            browser.wait()


def _address(browser: subprocess.Popen[str]) -> str:
    assert browser.stderr is not None
    for line in browser.stderr:
        if line.startswith("DevTools listening on "):
            return line.removeprefix("DevTools listening on ").strip()
    raise AssertionError("the browser ended before it could be asked anything")


class _Tab:
    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket, self._number, self._session = socket, 0, ""
        self._events: list[dict[str, Any]] = []

    async def ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        wanted = self._number
        message = {"id": wanted, "method": method, "params": parameters}
        await self._socket.send_json(message | ({"sessionId": self._session} if self._session else {}))
        while True:
            said = json.loads((await self._socket.receive()).data)
            if said.get("id") == wanted:
                assert "error" not in said, said
                return said["result"]
            self._events.append(said)

    async def look(self, page: Path, expression: str, width: int, height: int, dark: bool) -> Seen:
        target = (await self.ask("Target.createTarget", url="about:blank"))["targetId"]
        self._session = (await self.ask("Target.attachToTarget", targetId=target, flatten=True))["sessionId"]
        for domain in ("Page", "Network", "Runtime", "Log"):
            await self.ask(f"{domain}.enable")
        await self.ask(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        await self.ask("Emulation.setEmulatedMedia", features=scheme)
        await self.ask("Page.navigate", url=page.resolve().as_uri())
        while not any(event.get("method") == "Page.loadEventFired" for event in self._events):
            self._events.append(json.loads((await self._socket.receive()).data))
        await asyncio.sleep(0.3)  # for what a script might do late
        title = await self.evaluate("document.title")
        value = await self.evaluate(expression)
        picture = (await self.ask("Page.captureScreenshot", captureBeyondViewport=True))["data"]
        return Seen(title, self._requested(page), self._told(), value, base64.b64decode(picture))

    async def evaluate(self, expression: str) -> Any:
        found = await self.ask("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def _requested(self, page: Path) -> list[str]:
        sent = [event["params"]["request"]["url"] for event in self._events if event.get("method") == "Network.requestWillBeSent"]
        return [url for url in sent if url != page.resolve().as_uri()]

    def _told(self) -> list[str]:
        kinds = ("Runtime.consoleAPICalled", "Page.javascriptDialogOpening", "Runtime.exceptionThrown")
        return [json.dumps(event["params"]) for event in self._events if event.get("method") in kinds]
