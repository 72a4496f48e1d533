"""What is asked of a model and what comes back: one call, its key, its answer.

Beside a chat completion, a model may be asked for a text completion, for the log-probabilities of an answer that is
given, or for the score of one. All are calls like any other: memoised, counted, retried and priced.
"""

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


class TextRequest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False, tag="text"):
    """Asks for the continuation of a raw text, as it stands: no chat template is put around it."""

    prompt: str
    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None
    n: int = 1
    """Choices asked for in this one call."""
    sample_index: int = 0
    """Tells apart calls that are meant to be drawn anew; not sent."""


class GivenRequest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False, tag="given_logprobs"):
    """Asks how likely a model finds an assistant's message that is given: the log-probability of each of its tokens.

    The token that ends a turn is not among them.
    """

    messages: tuple[Message, ...]
    """The chat that the message answers."""
    continuation: str
    """The text of the assistant's message."""


class ScoreRequest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False, tag="score"):
    """Asks a reward model what it makes of one response to a prompt, or how that compares with another one."""

    messages: tuple[Message, ...]
    """The chat that is answered."""
    response: tuple[Message, ...]
    """The messages of the response: one of an assistant, or a trajectory."""
    other: tuple[Message, ...] = ()
    """Those of the response shown after it, to a model that compares two; none where it is scored by itself."""


Request = ChatRequest | TextRequest | GivenRequest | ScoreRequest
"""All that can be asked. A chat request says no type in its key, since it was there before there were others."""


def call_id(identity: bytes, request: Request) -> str:
    """Key of a call in the call log: the hash of the model's identity (JSON) and the request."""
    return blake2b(asked(identity, request), digest_size=16).hexdigest()


def asked(identity: bytes, request: Request) -> bytes:
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


class GivenToken(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One token of a text that was given, by where it stands in it."""

    start: int
    """First character."""
    end: int
    """One past its last character. Tokens that share a character, as of an emoji, overlap there."""
    logprob: float
    """Its log-probability after all that comes before it, in nats."""


class Reply(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """What one call brought, and what it cost. This is the value that the call log keeps."""

    call_id: str
    choices: tuple[Choice, ...] = ()
    """Of a completion: what the model says."""
    tokens: tuple[GivenToken, ...] | None = None
    """Of a given continuation: its tokens, in their order."""
    scores: tuple[float, ...] | None = None
    """Of a reward model: what it gives the response, one number or one for each of its outputs."""
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

    def __call__(self, model: str, requests: Sequence[Request]) -> Awaitable[list[Reply | CallFailed]]:
        """Answer the requests, in their order. Ask for all that can be asked at once in one call."""
        ...
