"""What goes over the wire: a request to bytes, bytes to choices, token counts and numbers.

Chat and text completions are here, in OpenAI's format; `given` and `rewards` hold the other forms.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol, TypeVar

import msgspec

from triptych.models.chat import ChatRequest, Choice, GivenToken, TextRequest, TokenLogprob
from triptych.models.spec import ModelSpec
from triptych.records.messages import Message, ToolCall, message_to_openai

_encode = msgspec.json.Encoder().encode
_MOST_TOKENS = 2**31
_Form = TypeVar("_Form")


def request_body(spec: ModelSpec, request: ChatRequest) -> bytes:
    """Write a request as the endpoint reads it."""
    body: dict[str, Any] = {"model": spec.model, "messages": [message_to_openai(m) for m in request.messages]}
    body |= _sampling(request)
    if request.tools:
        body["tools"] = request.tools
    if request.response_schema is not None:
        answer = {"name": "answer", "strict": True, "schema": request.response_schema}
        body["response_format"] = {"type": "json_schema", "json_schema": answer}
    if request.top_logprobs is not None:
        body["logprobs"] = True
        body["top_logprobs"] = max(request.top_logprobs, 1)  # with 0, llama.cpp gives no log-probabilities at all
    return _encode(body | spec.extra_body)


def text_body(spec: ModelSpec, request: TextRequest) -> bytes:
    """Write a request for a text completion."""
    return _encode({"model": spec.model} | spec.extra_body | {"prompt": request.prompt} | _sampling(request))


def _sampling(request: ChatRequest | TextRequest) -> dict[str, Any]:
    body: dict[str, Any] = {}
    for name in ("temperature", "top_p", "max_tokens", "seed"):
        if (value := getattr(request, name)) is not None:
            body[name] = value
    if request.stop:
        body["stop"] = request.stop
    if request.n != 1:
        body["n"] = request.n
    return body


class Usage(msgspec.Struct, frozen=True):
    """Token counts of one answer."""

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0
    estimated: bool = False


class Said(msgspec.Struct, frozen=True):
    """What an answer says, whatever was asked."""

    usage: Usage
    choices: tuple[Choice, ...] = ()
    tokens: tuple[GivenToken, ...] | None = None
    scores: tuple[float, ...] | None = None
    vector: tuple[float, ...] | None = None


Read = TypeVar("Read")


class Post(Protocol):
    """Sends one body to a path of the endpoint and reads the answer.

    A path that begins with a slash starts at the server's root, any other one at the declared address. `read` raises
    `ValueError` where the answer is none; then the whole attempt may be made anew.
    """

    def __call__(self, path: str, body: bytes, read: Callable[[bytes], Read]) -> Awaitable[Read]:
        """Send and read."""
        ...


class CantTell(Exception):
    """The endpoint answers, and what it says can't be what was asked for; asking again would not help."""


def read_text(body: bytes, request: TextRequest) -> tuple[tuple[Choice, ...], Usage]:
    """Read a text completion. Raises `ValueError` where the answer is none."""
    answer = decoded(body, _Texts, "no text completion")
    if not answer.choices:
        raise ValueError("the endpoint's answer has no choices")
    choices = tuple(Choice(text=choice.text, finish_reason=choice.finish_reason) for choice in answer.choices)
    written = sum(len(choice.text) for choice in choices)
    return choices, usage_in(answer.usage, len(request.prompt), written)


def decoded(body: bytes, form: type[_Form], lacking: str) -> _Form:
    """Decode an answer. Raises `ValueError` where it is not of the form."""
    try:
        return msgspec.json.decode(body, type=form)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"the endpoint's answer is {lacking}: {error}") from error


def read_answer(body: bytes, request: ChatRequest) -> tuple[tuple[Choice, ...], Usage]:
    """Read an endpoint's answer. Raises `ValueError` where it is not a chat completion."""
    try:
        answer = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"the endpoint's answer is no chat completion: {error}") from error
    if not answer.choices:
        raise ValueError("the endpoint's answer has no choices")
    places = [choice.index for choice in answer.choices]
    if len({*places} - {None}) == len(places):  # each says which it is
        answer.choices.sort(key=lambda choice: choice.index or 0)
    choices = tuple(_choice(choice, alternatives=request.top_logprobs != 0) for choice in answer.choices)
    return choices, _usage(_if_readable(answer.usage, _Usage), request.messages, choices)


def read_usage(body: bytes) -> Usage | None:
    """Read the token counts of an answer that can't be read otherwise, if it has any."""
    answer = _if_readable(body, _Bill)
    if answer is None or (usage := _if_readable(answer.usage, _Usage)) is None or not _is_sound(usage):
        return None
    return _usage(usage, (), ())


_Loose = msgspec.Raw
"""What an answer can do without: where it is of no known form, it counts as absent."""


class _Function(msgspec.Struct):
    name: str
    arguments: _Loose = _Loose(b'"{}"')


class _ToolCall(msgspec.Struct):
    function: _Function
    id: str | int | None = None


class _Part(msgspec.Struct):
    text: str = ""


class _Message(msgspec.Struct):
    content: str | list[_Part] | None = None
    refusal: str | None = None
    tool_calls: list[_ToolCall] | None = None


class _Top(msgspec.Struct):
    token: str
    logprob: float


class _Token(msgspec.Struct):
    token: str
    logprob: float
    top_logprobs: list[_Top] | None = None


class _Logprobs(msgspec.Struct):
    content: list[_Token] | None = None


class _Choice(msgspec.Struct):
    message: _Message
    index: int | None = None
    finish_reason: str | None = None
    logprobs: _Loose = _Loose(b"null")


class _Cached(msgspec.Struct):
    cached_tokens: int | None = 0


class _Usage(msgspec.Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = 0
    prompt_tokens_details: _Loose = _Loose(b"null")


class _Bill(msgspec.Struct):
    usage: _Loose = _Loose(b"null")


class _Answer(_Bill):
    choices: list[_Choice] = []


class _Text(msgspec.Struct):
    text: str
    finish_reason: str | None = None


class _Texts(_Bill):
    choices: list[_Text] = []


_decode = msgspec.json.Decoder(_Answer).decode


def _choice(choice: _Choice, *, alternatives: bool) -> Choice:
    message = choice.message
    content = message.content
    return Choice(
        text="".join(part.text for part in content) if isinstance(content, list) else content or "",
        finish_reason=choice.finish_reason,
        refusal=message.refusal or None,  # some write an empty one beside every answer
        tool_calls=tuple(_tool_call(call) for call in message.tool_calls or ()),
        logprobs=_token_logprobs(_if_readable(choice.logprobs, _Logprobs), alternatives=alternatives),
    )


def _tool_call(call: _ToolCall) -> ToolCall:
    """A call of a tool; arguments that are an object and not its text become text."""
    arguments = msgspec.json.decode(call.function.arguments)
    written = arguments if isinstance(arguments, str) else bytes(call.function.arguments).decode()
    return ToolCall("" if call.id is None else str(call.id), call.function.name, written)


def _if_readable(said: bytes | msgspec.Raw, form: type[_Form]) -> _Form | None:
    try:
        return msgspec.json.decode(said, type=form, strict=False)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _token_logprobs(logprobs: _Logprobs | None, *, alternatives: bool) -> tuple[TokenLogprob, ...] | None:
    if logprobs is None or logprobs.content is None:
        return None
    return tuple(
        TokenLogprob(
            token.token,
            token.logprob,
            tuple((top.token, top.logprob) for top in token.top_logprobs or ()) if alternatives else (),
        )
        for token in logprobs.content
    )


def usage_in(said: msgspec.Raw, asked: int, answered: int = 0) -> Usage:
    """Read the token counts that an answer has, or estimate them from so many characters."""
    usage = _if_readable(said, _Usage)
    if usage is None or not _is_sound(usage):
        return Usage(asked // 4, answered // 4, estimated=True)
    return _usage(usage, (), ())


def _usage(usage: _Usage | None, messages: Sequence[Message], choices: Sequence[Choice]) -> Usage:
    if usage is None or not _is_sound(usage):
        prompt = sum(len(m.content) for m in messages) // 4
        return Usage(prompt, sum(len(c.text) for c in choices) // 4, estimated=True)
    details = _if_readable(usage.prompt_tokens_details, _Cached)
    cached = details and details.cached_tokens
    return Usage(usage.prompt_tokens or 0, usage.completion_tokens or 0, cached if cached and _counts(cached) else 0)


def _is_sound(usage: _Usage) -> bool:
    return _counts(usage.prompt_tokens) and _counts(usage.completion_tokens)


def _counts(tokens: int | None) -> bool:
    """Whether a number can be a count of tokens: endpoints have been seen to send null, and worse."""
    return tokens is not None and 0 <= tokens < _MOST_TOKENS
