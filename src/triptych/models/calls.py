"""Memoised calls: each is answered from the call log, or sent once, logged, and only then used."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping, Sequence
from datetime import UTC, datetime

import msgspec

from triptych.errors import RunFolderError, StopRun, TriptychError
from triptych.models.budget import Ledger
from triptych.models.chat import Ask, CallFailed, Reply, Request, asked, call_id
from triptych.models.endpoint import Answer, Endpoint
from triptych.models.spec import ModelSpec, Price
from triptych.models.wire import Usage
from triptych.store.call_log import CallLog, LoggedCall

_decode = msgspec.json.Decoder(Reply).decode
_encode = msgspec.json.Encoder().encode


def _decode_reply(said: str | bytes) -> Reply:
    try:
        return _decode(said)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RunFolderError(
            f"the call log holds an answer that can't be read ({error}); the file is damaged. Move it away and run the "
            "same command with --calls NEW.sqlite to ask again"
        ) from error


_UNSAVED = 2
"""Calls that are sent and whose answers are not safe on the disk yet, as a multiple of a model's `concurrency`: a disk
that is slow to write slows down the sending, so that a kill never costs more."""


class Counts(msgspec.Struct):
    """What a stage has asked for, and what became of it."""

    asked: int = 0
    cached: int = 0
    """Answered from the call log."""
    sent: int = 0
    """Calls that went out, each counted once however many attempts it took."""
    retried: int = 0
    """Attempts after a call's first."""
    failed: int = 0
    """Calls without an answer."""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    usd: float = 0.0
    """Paid now; what the call log answered is not counted again."""


class Calls:
    """All models of a run behind one call log and one budget. An async context manager."""

    def __init__(self, specs: Mapping[str, ModelSpec], log: CallLog, ledger: Ledger, run: str) -> None:
        self.specs = specs
        self.log = log
        self.ledger = ledger
        self.run = run
        self.stopped: TriptychError | None = None
        self._stop_told: asyncio.Future[None] | None = None
        self._endpoints = {name: Endpoint(name, spec) for name, spec in specs.items()}
        self._checked = False
        self._known: set[str] = set()
        """Models of which the log held an answer."""
        self._unsaved = {name: asyncio.Semaphore(_UNSAVED * spec.concurrency) for name, spec in specs.items()}
        self._opened: dict[str, asyncio.Task[None]] = {}
        self._in_flight: dict[str, asyncio.Task[Reply | CallFailed]] = {}

    async def __aenter__(self) -> Calls:
        """Nothing is opened before it is first asked: a run that the log answers needs no endpoint."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close all endpoints."""
        await asyncio.gather(*(endpoint.close() for endpoint in self._endpoints.values()), return_exceptions=True)

    def ask(self, counts: Counts) -> Ask:
        """Make what operators of one stage ask through."""
        return _StageAsk(self, counts)

    def stop(self, reason: TriptychError) -> None:
        """Send nothing more. Calls in flight are let come in: they are paid for."""
        if self.stopped is None:
            self.stopped = reason
            if self._stop_told is not None and not self._stop_told.done():
                self._stop_told.set_result(None)
            for endpoint in self._endpoints.values():
                endpoint.stop(reason if isinstance(reason, StopRun) else StopRun(str(reason)))

    async def drain(self) -> None:
        """Wait for the calls in flight."""
        while self._in_flight:
            await asyncio.wait(list(self._in_flight.values()))
        for model, endpoint in self._endpoints.items():
            if model not in self._known and (reason := endpoint.gave_nothing) is not None:
                self.stop(reason)

    @property
    def in_flight(self) -> int:
        """Calls that are out or waiting to go out."""
        return len(self._in_flight)

    async def answer(self, model: str, requests: Sequence[Request], counts: Counts) -> list[Reply | CallFailed]:
        """Answer the requests in their order, from the log where it has them."""
        identity = self.specs[model].identity
        keys = [call_id(identity, request) for request in requests]
        known = self.log.find(keys)
        counts.asked += len(keys)
        found = sum(key in known for key in keys)  # the same may be asked for more than once
        if known:
            counts.cached += found
            self._known.add(model)
            self._endpoints[model].has_answered = True  # in an earlier sitting: what fails now is of single requests
        if found == len(keys):
            return [_decode_reply(known[key]) for key in keys]
        # Tasks of their own, which `wait` leaves alone: a call that is out comes in even if nobody waits any more.
        sent = {
            key: self._send(model, key, request, counts)
            for key, request in zip(keys, requests, strict=True)
            if key not in known
        }
        await asyncio.wait(set(sent.values()), return_when=asyncio.FIRST_EXCEPTION)
        failed = next((task for task in sent.values() if task.done() and task.exception() is not None), None)
        if failed is not None:
            failed.result()
        return [sent[key].result() if key in sent else _decode_reply(known[key]) for key in keys]

    def _send(self, model: str, key: str, request: Request, counts: Counts) -> asyncio.Task[Reply | CallFailed]:
        if (running := self._in_flight.get(key)) is not None:
            counts.cached += 1
            return running
        task = asyncio.create_task(self._call(model, key, request, counts))
        self._in_flight[key] = task
        task.add_done_callback(lambda done: self._landed(key, done))
        return task

    def _landed(self, key: str, task: asyncio.Task[Reply | CallFailed]) -> None:
        del self._in_flight[key]
        if not task.cancelled() and isinstance(error := task.exception(), TriptychError):
            self.stop(error)

    async def _call(self, model: str, key: str, request: Request, counts: Counts) -> Reply | CallFailed:
        self._may_send()
        self._check_all()
        endpoint = await self._open(model)
        async with self._unsaved[model]:
            return await self._asked(endpoint, model, key, request, counts)

    async def _asked(
        self, endpoint: Endpoint, model: str, key: str, request: Request, counts: Counts
    ) -> Reply | CallFailed:
        """Send the call, and keep its answer."""
        outcome = await endpoint.answer(request, self._may_send, lambda usage: self._waste(model, key, usage, counts))
        counts.sent += 1
        counts.retried += outcome.attempts - 1
        if not isinstance(outcome, Answer):
            counts.failed += 1
            return CallFailed(call_id=key, error=outcome.error, attempts=outcome.attempts)
        reply = _reply(key, outcome, self.specs[model].price)
        self._count(reply, counts)
        return await self._kept(model, key, request, reply)

    def _check_all(self) -> None:
        """Before the first call of a run goes out: a key that is missing for the judge stops the policy too."""
        if not self._checked:
            for endpoint in self._endpoints.values():
                endpoint.check()
            self._checked = True

    async def _open(self, model: str) -> Endpoint:
        if model not in self._opened:
            self._opened[model] = asyncio.create_task(self._endpoints[model].open())
        opened = self._opened[model]
        if not opened.done():  # a model may load for long: nobody waits for it once the run is to end
            await asyncio.wait([opened, self._stopping()], return_when=asyncio.FIRST_COMPLETED)
        self._may_send()
        await asyncio.shield(opened)
        return self._endpoints[model]

    def _stopping(self) -> asyncio.Future[None]:
        """Done when the run is to end."""
        if self._stop_told is None:
            self._stop_told = asyncio.get_running_loop().create_future()
        return self._stop_told

    def _may_send(self) -> None:
        if self.stopped is not None:
            raise self.stopped
        self.ledger.check()

    def _waste(self, model: str, key: str, usage: Usage, counts: Counts) -> None:
        """Count what was paid for an answer that can't be read, in this sitting and in those to come."""
        price = self.specs[model].price
        cost = price.usd(usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens) if price else 0.0
        counts.prompt_tokens += usage.prompt_tokens
        counts.completion_tokens += usage.completion_tokens
        counts.usd += cost
        self.ledger.add(usage.prompt_tokens + usage.completion_tokens, cost)
        self.log.waste(key, self.run, usage.prompt_tokens, usage.completion_tokens, cost)

    def _count(self, reply: Reply, counts: Counts) -> None:
        counts.prompt_tokens += reply.prompt_tokens
        counts.completion_tokens += reply.completion_tokens
        counts.usd += reply.cost_usd
        self.ledger.add(reply.prompt_tokens + reply.completion_tokens, reply.cost_usd)

    async def _kept(self, model: str, key: str, request: Request, reply: Reply) -> Reply:
        """The answer that is in the log: this one, or that of another run that shares the log and was faster."""
        spec, said = self.specs[model], _encode(reply).decode()
        logged = LoggedCall(
            call_id=key,
            model=spec.model,
            run=self.run,
            created_at=reply.created_at.timestamp(),
            prompt_tokens=reply.prompt_tokens,
            completion_tokens=reply.completion_tokens,
            cost_usd=reply.cost_usd,
            reply=said,
            request=asked(spec.identity, request).decode(),
        )
        try:
            kept = await self.log.put(logged)
        except RunFolderError as error:
            self.stop(error)
            raise
        return reply if kept == said else _decode_reply(kept)


class _StageAsk:
    """The `Ask` of one stage, with the stage's counts."""

    def __init__(self, calls: Calls, counts: Counts) -> None:
        self._calls = calls
        self._counts = counts

    def model(self, name: str) -> ModelSpec:
        """Look up the declared model of that name."""
        return self._calls.specs[name]

    def __call__(self, model: str, requests: Sequence[Request]) -> Awaitable[list[Reply | CallFailed]]:
        """Answer the requests, in their order."""
        return self._calls.answer(model, requests, self._counts)


def _reply(key: str, answer: Answer, price: Price | None) -> Reply:
    usage = answer.said.usage
    tokens = (usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens)
    return Reply(
        call_id=key,
        choices=answer.said.choices,
        tokens=answer.said.tokens,
        scores=answer.said.scores,
        vector=answer.said.vector,
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        cached_tokens=usage.cached_tokens,
        tokens_estimated=usage.estimated,
        cost_usd=price.usd(*tokens) if price is not None else 0.0,
        latency_s=round(answer.latency_s, 4),
        attempts=answer.attempts,
        created_at=datetime.now(UTC),
    )
