"""What is asked of a language model and what comes back: one call, its key, its answer."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from datetime import datetime
from hashlib import blake2b
from typing import Any, Protocol

import msgspec

from triptych.models.spec import ModelSpec
from triptych.records.ids import canonical_json
from triptych.records.messages import Message, ToolCall


class ChatRequest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """All that determines an answer, apart from the model. Equal requests to one model are one call."""

    messages: tuple[Message, ...]
    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None
    n: int = 1
    """Choices asked for in this one call."""
    sample_index: int = 0
    """Tells apart calls that are meant to be drawn anew; not sent."""
    response_schema: dict[str, Any] | None = None
    """JSON Schema that the answer must follow, where the endpoint can hold a model to one."""
    top_logprobs: int | None = None
    """Ask for log-probabilities: of the tokens (0), and of so many alternatives to each."""
    tools: tuple[dict[str, Any], ...] = ()


def call_id(identity: bytes, request: ChatRequest) -> str:
    """Key of a call in the call log: the hash of the model's identity (JSON) and the request."""
    return blake2b(asked(identity, request), digest_size=16).hexdigest()


def asked(identity: bytes, request: ChatRequest) -> bytes:
    """What was asked of which model, as JSON."""
    return canonical_json([msgspec.Raw(identity), request])


class TokenLogprob(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """One generated token, its log-probability in nats, and its likeliest alternatives."""

    token: str
    logprob: float
    top: tuple[tuple[str, float], ...] = ()


class Choice(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """One answer of a call."""

    text: str
    finish_reason: str | None = None
    refusal: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    logprobs: tuple[TokenLogprob, ...] | None = None

    @property
    def refused(self) -> bool:
        """Whether the model, or a filter before it, declined to answer."""
        return self.refusal is not None or self.finish_reason == "content_filter"


class Reply(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """What one call brought, and what it cost. This is the value that the call log keeps."""

    call_id: str
    choices: tuple[Choice, ...]
    prompt_tokens: int
    completion_tokens: int
    """Summed over the choices."""
    cached_tokens: int = 0
    """Prompt tokens that the endpoint says it had cached."""
    tokens_estimated: bool = False
    """True where the endpoint gave no usage and the counts are a quarter of the characters."""
    cost_usd: float = 0.0
    latency_s: float = 0.0
    attempts: int = 1
    created_at: datetime


class CallFailed(msgspec.Struct, frozen=True, kw_only=True):
    """A call that brought no answer after all retries. It is not kept, so running again asks again."""

    call_id: str
    error: str
    attempts: int


class Ask(Protocol):
    """How an operator asks for calls. The engine answers from the call log where it can."""

    def model(self, name: str) -> ModelSpec:
        """Look up the declared model of that name."""
        ...

    def __call__(self, model: str, requests: Sequence[ChatRequest]) -> Awaitable[list[Reply | CallFailed]]:
        """Answer the requests, in their order. Ask for all that can be asked at once in one call."""
        ...
