"""Asking models without a recipe: against handlers that stand in for an endpoint, or a model in this process."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from aiohttp import web

from triptych.models.budget import Budget, Ledger
from triptych.models.calls import Calls, Counts
from triptych.models.chat import CallFailed, Reply, Request
from triptych.models.spec import ModelSpec
from triptych.store.call_log import CallLog


class Wire:
    """Handlers by their paths, and all that was sent to them."""

    def __init__(self, **answers: Callable[[dict[str, Any]], Any]) -> None:
        self.answers = {path.replace("__", "/"): answer for path, answer in answers.items()}
        self.sent: list[tuple[str, dict[str, Any]]] = []

    async def handle(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.sent.append((request.path, body))
        answer = self.answers.get(request.path.strip("/"))
        if answer is None:
            return web.json_response({"error": {"message": "no such path"}}, status=404)
        said = answer(body)
        return said if isinstance(said, web.Response) else web.json_response(said)


async def ask_at(
    tmp_path: Path, wire: Wire, requests: Sequence[Request], make: Callable[[str], ModelSpec]
) -> list[Reply | CallFailed]:
    """Serve the handlers, and ask the model that `make` declares of their address (up to and with `/v1`)."""
    app = web.Application()
    app.router.add_post("/{path:.*}", wire.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.5)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        port = site._server.sockets[0].getsockname()[1]
        return await ask_of(tmp_path, make(f"http://127.0.0.1:{port}/v1"), requests)
    finally:
        await runner.cleanup()


async def ask_of(
    tmp_path: Path, spec: ModelSpec, requests: Sequence[Request], counts: Counts | None = None
) -> list[Reply | CallFailed]:
    """Ask a model, with a call log in `tmp_path`."""
    log = CallLog(tmp_path / "calls.sqlite")
    try:
        async with Calls({"m": spec}, log, Ledger(Budget()), "run") as calls:
            return await calls.ask(counts or Counts())("m", requests)
    finally:
        log.close()


def shown(body: dict[str, Any]) -> str:
    """All that a request says, as text."""
    return json.dumps(body, sort_keys=True)
