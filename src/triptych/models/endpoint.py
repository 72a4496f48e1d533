"""One endpoint: connections, attempts, retries, and knowing when to give up. A classifier in this process is one too."""

from __future__ import annotations

import asyncio
import json
import math
import os
import random
import time
from asyncio import timeout
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote, urlsplit

import msgspec

from triptych.errors import EndpointDown, KeyRefused, StopRun
from triptych.models.chat import (
    ChatRequest,
    Choice,
    EmbedRequest,
    GivenRequest,
    Request,
    ScoreRequest,
    TextRequest,
)
from triptych.models.embeddings import embedding
from triptych.models.given import given_logprobs
from triptych.models.limiter import Limiter
from triptych.models.rewards import rewards
from triptych.models.spec import ClassifierModel, EmbeddedModel, ModelSpec, RewardModel
from triptych.models.wire import CantTell, Said, Usage, read_answer, read_text, read_usage, request_body, text_body

if TYPE_CHECKING:
    import aiohttp

_Read = TypeVar("_Read")
_OVERLOADED = frozenset({429, 503, 529})
_RETRIED = _OVERLOADED | {408, 409, 425, 500, 502, 504, 520, 521, 522, 523, 524}
_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 60.0
_FAILURES_BEFORE_DOWN = 8
_REFUSALS_BEFORE_STOP = 20
_FORBIDDEN_BEFORE_STOP = 5
_SHORTEST_SECRET = 8
_LONGEST_SAID = 10_000
_MOST_BYTES = 64 * 2**20
"""Of one answer: many times what any model writes, with all of its log-probabilities."""


class Answer(msgspec.Struct, frozen=True):
    """A good answer, and what it took."""

    said: Said
    latency_s: float
    attempts: int


class Refusal(msgspec.Struct, frozen=True):
    """No answer to this request, whatever was tried."""

    error: str
    attempts: int


class _Retry(Exception):
    """An attempt that may go better next time."""

    def __init__(
        self,
        reason: str,
        *,
        overload: bool = False,
        after_s: float | None = None,
        reached: bool = True,
        open: bool = True,
        usage: Usage | None = None,
    ) -> None:
        super().__init__(reason)
        self.overload = overload
        self.after_s = after_s
        self.reached = reached
        """Whether the endpoint gave any sign of life."""
        self.open = open
        """Whether there was a connection at all."""
        self.usage = usage
        """What the attempt cost all the same."""
        self.started = time.monotonic()


class _Refused(Exception):
    """An attempt that the endpoint refused for good."""


class Endpoint:
    """An open endpoint. Use `open` and `close`; `answer` never raises but to stop the run."""

    def __init__(self, name: str, spec: ModelSpec) -> None:
        self.name = name
        self.spec = spec
        self.limiter = Limiter(spec.concurrency)
        self.stopped: asyncio.Future[StopRun] | None = None
        self._server: Any = None
        self._session: aiohttp.ClientSession | None = None
        self._key: str | None = None
        self.has_answered = False
        self._last_failure: str | None = None
        self._failed_attempts = 0
        self._failures = 0
        self._failing_since: float | None = None
        self._refusals = 0
        self._forbidden: str | None = None
        self._times_forbidden = 0

    async def open(self) -> None:
        """Start the embedded model if it is one, and make ready to connect. Raises `StopRun` where it can't."""
        import aiohttp

        self.stopped = asyncio.get_running_loop().create_future()
        if isinstance(self.spec, ClassifierModel):
            from triptych.models.classifier import Classifier

            self._server, self.address = Classifier(self.spec), self.spec.path
            await self._server.load()
            return
        if isinstance(self.spec, EmbeddedModel):
            self._server = await asyncio.to_thread(_start_embedded, self.spec)
            base_url, self._key = self._server.base_url, self._server.api_key
        else:
            base_url, self._key = self.spec.base_url, self._declared_key()
        headers = {"Authorization": f"Bearer {self._key}"} if self._key is not None else {}
        self.address = base_url
        self._root = base_url.removesuffix("/v1")
        self._connect_s = max(1.0, self.spec.patience_s / 4)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ttl_dns_cache=300),
            # `_post` keeps the time of whole attempts, at half the cost
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=self._connect_s),
            headers=headers,
            cookie_jar=aiohttp.DummyCookieJar(),
        )

    async def close(self) -> None:
        """Close the connections and stop the embedded model."""
        if self._session is not None:
            await self._session.close()
        if self._server is not None:
            await asyncio.to_thread(self._server.close)

    def stop(self, reason: StopRun) -> None:
        """Send nothing more: all that wait, for a place or for another attempt, are turned away."""
        if self.stopped is not None and not self.stopped.done():
            self.stopped.set_result(reason)
        self.limiter.release_waiting(reason)

    async def answer(
        self, request: Request, may_send: Callable[[], None], wasted: Callable[[Usage], None]
    ) -> Answer | Refusal:
        """Ask until there is an answer, a refusal, or no attempt left.

        `may_send` is called before each attempt and raises where nothing more may be sent. `wasted` is told what an
        answer cost that can't be read.
        """
        attempt, begun = 0, time.monotonic()
        while True:
            attempt += 1
            try:
                return await self._attempt(request, attempt, may_send)
            except _Refused as refused:
                self._count_refusal(str(refused))
                return Refusal(str(refused), attempt)
            except _Retry as retry:
                if retry.usage is not None:
                    wasted(retry.usage)
                self._count_failure(retry)
                if attempt > self.spec.max_retries and not self._worth_waiting(retry, begun):
                    if not self.has_answered and self._failed_attempts >= _FAILURES_BEFORE_DOWN:
                        raise self._down(retry) from retry
                    return Refusal(
                        f"no answer after {attempt} attempt{'s' * (attempt > 1)}; the last: {retry}", attempt
                    )
                await self._pause(attempt, retry.after_s)

    def _worth_waiting(self, retry: _Retry, begun: float) -> bool:
        """Whether to go on though all attempts are used up, with an endpoint that has given good answers.

        A busy endpoint is waited for as long as one answer may take. Where nobody gets an answer any more, or nobody a
        connection, it has to show first whether the endpoint comes back or is down.
        """
        if not self.has_answered:
            return False
        if retry.reached and retry.overload:
            return time.monotonic() - begun < self.spec.timeout_s
        gone = not retry.open or (not retry.reached and self._failures >= _FAILURES_BEFORE_DOWN)
        return gone and self._failing_since is not None

    async def _attempt(self, request: Request, attempt: int, may_send: Callable[[], None]) -> Answer:
        started = await self.limiter.acquire()
        try:
            may_send()
            said = await self._asked(request)
        except CantTell as error:
            self.limiter.answered(started)
            raise _Refused(str(error)) from error
        except _Retry as retry:
            retry.started = started
            self.limiter.refused(started) if retry.overload else self.limiter.failed()
            raise
        except BaseException:
            self.limiter.failed()
            raise
        self.limiter.answered(started)
        self.has_answered, self._failures, self._failing_since = True, 0, None
        return Answer(said, time.monotonic() - started, attempt)

    async def _asked(self, request: Request) -> Said:
        """Put one request to the endpoint, in as many posts as that takes."""
        spec = self.spec
        if isinstance(request, ChatRequest):
            answered = await self._exchange(
                "chat/completions", request_body(spec, request), lambda content: read_answer(content, request)
            )
        elif isinstance(request, TextRequest):
            answered = await self._exchange(
                "completions", text_body(spec, request), lambda content: read_text(content, request)
            )
        elif isinstance(request, GivenRequest):
            said = await given_logprobs(spec, request, self._exchange)
            if not all(math.isfinite(token.logprob) for token in said.tokens or ()):
                raise CantTell("the endpoint gave a log-probability that is no finite number")
            return said
        elif isinstance(request, EmbedRequest):
            return await embedding(spec, request, self._exchange)
        else:
            return await self._scored(request)
        choices, usage = answered
        return Said(usage, tuple(map(self._choice_without_key, choices)))

    async def _scored(self, request: ScoreRequest) -> Said:
        if isinstance(self.spec, ClassifierModel):
            said: Said = await self._server.score(request)
        elif isinstance(self.spec, RewardModel):
            said = await rewards(self.spec, request, self._exchange)
        else:
            raise CantTell("the model is no reward model, so it scores nothing")
        if not all(map(math.isfinite, said.scores or ())):
            raise CantTell("the reward model gave a score that is no finite number")
        return said

    async def _exchange(self, path: str, body: bytes, read: Callable[[bytes], _Read]) -> _Read:
        """Post a body and read the answer; one that can't be read is worth another attempt."""
        content = await self._post(f"{self._root}{path}" if path.startswith("/") else f"{self.address}/{path}", body)
        try:
            return read(content)
        except (ValueError, RecursionError) as error:
            said = _in_a_line(self._without_key(_message_in(content)))
            raise _Retry(f"{error}; it says: {said}", usage=read_usage(content)) from error

    async def _post(self, url: str, body: bytes) -> bytes:
        import aiohttp

        assert self._session is not None
        payload = aiohttp.BytesPayload(body, content_type="application/json")
        try:
            async with (
                timeout(self.spec.timeout_s),
                self._session.post(url, data=payload, allow_redirects=False) as response,
            ):
                content = await _content(response)
                if response.status == 200:
                    return content
                raise self._error(response.status, content, response.headers, urlsplit(url).path)
        except aiohttp.ConnectionTimeoutError as error:
            raise _Retry(f"no connection in {self._connect_s:g} s", reached=False, open=False) from error
        except TimeoutError as error:
            raise _Retry(f"no answer in {self.spec.timeout_s:g} s", overload=True, reached=False) from error
        except (aiohttp.ClientError, OSError) as error:
            cause = error.os_error.strerror if isinstance(error, aiohttp.ClientConnectorError) else str(error)
            said = self._without_key(cause or str(error)) or type(error).__name__
            connected = not isinstance(error, aiohttp.ClientConnectorError)
            raise _Retry(said, reached=False, open=connected) from error

    def _error(self, status: int, content: bytes, headers: Mapping[str, str], path: str) -> Exception:
        """Sort a bad status: worth another attempt, the end of this call, or the end of the run."""
        said = f"HTTP {status}: {_in_a_line(self._without_key(_message_in(content)))}"
        if 300 <= status < 400:
            where = _in_a_line(self._without_key(headers.get("Location", "")))
            return EndpointDown(f"{self._place} sends elsewhere (HTTP {status}: {where}); set base_url to where it is")
        if status == 401 or (status == 403 and self._only_forbidden(said)):
            return self._key_refused(said)
        if status == 402 or (status == 429 and b"insufficient_quota" in content):
            return KeyRefused(f"{self._place} has no credit left ({said})")
        if status in (404, 405):
            where = "" if path.endswith("/chat/completions") else f" at {path}"
            return EndpointDown(
                f"{self._place} does not serve {self.spec.model!r}{where} ({said}); check base_url and model"
            )
        if status in _RETRIED:
            return _Retry(said, overload=status in _OVERLOADED, after_s=_seconds(headers.get("Retry-After")))
        return _Refused(said)

    def _only_forbidden(self, said: str) -> bool:
        """Whether a 403 is of the key: one among good answers is of its request, as moderation gives it."""
        self._forbidden, self._times_forbidden = said, self._times_forbidden + 1
        return not self.has_answered and self._times_forbidden >= _FORBIDDEN_BEFORE_STOP

    def _key_refused(self, said: str) -> KeyRefused:
        return KeyRefused(f"{self._place} refuses the key ({said}). {self._key_hint()}")

    def _count_failure(self, retry: _Retry) -> None:
        """Stop the run once nothing has come back for `patience_s`. An endpoint that is only busy is not down."""
        self._failed_attempts += 1
        self._last_failure = str(retry)
        if retry.reached and retry.overload:
            return
        self._failures += 1
        self._failing_since = self._failing_since or retry.started
        enough = self._failures >= _FAILURES_BEFORE_DOWN or not self.has_answered or not retry.open
        if enough and time.monotonic() - self._failing_since >= self.spec.patience_s:
            raise self._down(retry)

    def _down(self, retry: _Retry) -> EndpointDown:
        if self.has_answered:
            state = "has stopped answering"
        elif not retry.reached:
            state = "can not be reached"
        else:
            state = "only says that it is busy" if retry.overload else "gives no usable answer"
        return EndpointDown(
            f"{self._place} {state}: {retry}. What was paid for is kept; run the same command again when it is back"
        )

    @property
    def gave_nothing(self) -> StopRun | None:
        """What to end a run with that asked this endpoint and never had one good answer."""
        if self.has_answered or self._last_failure is None:
            return None
        if self._forbidden is not None:
            return self._key_refused(self._forbidden)
        return EndpointDown(f"{self._place} gave no good answer to anything; the last that came: {self._last_failure}")

    def _count_refusal(self, reason: str) -> None:
        self._refusals += 1
        self._last_failure = reason
        if not self.has_answered and self._refusals >= _REFUSALS_BEFORE_STOP:
            raise EndpointDown(f"{self._place} refused each of the first {self._refusals} requests: {reason}")

    async def _pause(self, attempt: int, after_s: float | None) -> None:
        """Wait before the next attempt: as long as the endpoint asks, or a random share of a doubling time."""
        assert self.stopped is not None
        pause = min(_FIRST_PAUSE_S * 2 ** (attempt - 1), _LONGEST_PAUSE_S) * random.uniform(0.5, 1)
        if after_s is not None:
            pause = max(pause, min(after_s, _LONGEST_PAUSE_S) * random.uniform(1, 1.1))
        elif self._failing_since is not None:
            pause = min(pause, max(self.spec.patience_s / 4, 0.05))
        await asyncio.wait([self.stopped], timeout=pause)
        if self.stopped.done():
            raise self.stopped.result()

    def check(self) -> None:
        """Raise `KeyRefused` or `MissingExtra` where it is plain beforehand that no call can succeed."""
        if isinstance(self.spec, EmbeddedModel):
            from triptych.models.embedded import check_runtime, find_weights

            find_weights(self.spec.path)
            check_runtime()
        elif isinstance(self.spec, ClassifierModel):
            from triptych.models.classifier import check_classifier

            check_classifier(self.spec)
        else:
            self._declared_key()

    def _declared_key(self) -> str | None:
        variable = getattr(self.spec, "key_variable", None)
        if variable is None:
            return None
        key = os.environ.get(variable)
        if not key:
            raise KeyRefused(f"model {self.name!r} takes its key from {variable}, which is not set in the environment")
        if not (key := key.strip()).isprintable():
            raise KeyRefused(f"the key in {variable} holds a line break or another character that can't be sent")
        return key

    def _key_hint(self) -> str:
        variable = getattr(self.spec, "key_variable", None)
        return f"Check {variable}" if variable else "Name the variable that holds the key in api_key_env"

    def _without_key(self, said: str) -> str:
        """Take the key out of what the endpoint says: it must not reach a log, a file or a screen.

        A key of a few characters, such as `EMPTY` for a server that wants none, is no secret but may be a word.
        """
        if not self._key or len(self._key) < _SHORTEST_SECRET:
            return said
        # As it is, and as JSON, Python and addresses spell it.
        inside = json.dumps(self._key)[1:-1], repr(self._key)[1:-1], quote(self._key), quote(self._key, safe="")
        for spelt in {self._key, *inside}:
            said = said.replace(spelt, "[key]")
        return said

    def _choice_without_key(self, choice: Choice) -> Choice:
        texts = (
            choice.text,
            choice.refusal,
            choice.finish_reason,
            *(f"{c.id} {c.name} {c.arguments}" for c in choice.tool_calls),
            "".join(token.token for token in choice.logprobs or ()),
        )
        if not any(text and self._without_key(text) != text for text in texts):
            return choice
        said = choice if choice.logprobs is None else msgspec.structs.replace(choice, logprobs=None)  # they spell it
        return msgspec.convert(_in_texts(msgspec.to_builtins(said), self._without_key), Choice)

    @property
    def _place(self) -> str:
        return f"the endpoint of model {self.name!r} ({self.address})"


def _message_in(content: bytes) -> str:
    """The sentence in an error's body, in any of the forms that servers use."""
    try:
        said = msgspec.json.decode(content)
        said = said.get("error", said) if isinstance(said, dict) else said
        said = said.get("message", said.get("detail", said)) if isinstance(said, dict) else said
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        said = content[:_LONGEST_SAID].decode(errors="replace")
    return str(said)


def _in_texts(value: Any, change: Callable[[str], str]) -> Any:
    """A value with all texts in it changed."""
    if isinstance(value, dict):
        return {name: _in_texts(inner, change) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_in_texts(inner, change) for inner in value]
    return change(value) if isinstance(value, str) else value


def _in_a_line(said: str) -> str:
    return " ".join(said.split())[:300] or "no message"


def _seconds(retry_after: str | None) -> float | None:
    """Read a Retry-After header: seconds, or a date."""
    if retry_after is None:
        return None
    try:
        seconds = float(retry_after)
        return max(seconds, 0.0) if math.isfinite(seconds) else None
    except ValueError:
        from email.utils import parsedate_to_datetime

        try:
            return max(parsedate_to_datetime(retry_after).timestamp() - time.time(), 0.0)
        except (ValueError, TypeError, OverflowError):
            return None


async def _content(response: aiohttp.ClientResponse) -> bytes:
    """The body of an answer. One that is packed or of unknown length is read piece by piece: it may be endless."""
    length = response.content_length
    if length is not None and length <= _MOST_BYTES and "Content-Encoding" not in response.headers:
        return await response.read()
    pieces, size = [], 0
    async for piece in response.content.iter_any():
        pieces.append(piece)
        size += len(piece)
        if size > _MOST_BYTES:
            raise _Refused(f"the answer is longer than {_MOST_BYTES // 2**20} MiB")
    return b"".join(pieces)


def _start_embedded(spec: EmbeddedModel) -> Any:
    from triptych.models.embedded import EmbeddedServer, find_weights

    server = EmbeddedServer(
        find_weights(spec.path), slots=spec.slots, context_tokens=spec.context_tokens, pooling=spec.pooling
    )
    server.start()
    return server
