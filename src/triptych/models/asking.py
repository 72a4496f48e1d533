"""Asking for answers of a set form: parse what is said, ask once more where that fails, and never make an answer up."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Generic, TypeVar

import msgspec

from triptych.models.chat import Ask, CallFailed, ChatRequest, Choice, Reply
from triptych.records import JudgementStatus, Message

Verdict = TypeVar("Verdict")
_ALONE = re.compile(r"(?:[^}]*\n|[^}]*```(?:json)?)?[ \t]*")
"""What may stand before the object of an answer."""
_HALF = re.compile(r"\\u[dD][89a-fA-F]|[\ud800-\udfff]")
"""What halves of characters are written as; two of them may make a whole one."""


class Unparsable(Exception):
    """What the judge said is no verdict; the message says why, in words that the judge can act on."""


class Asked(msgspec.Struct, Generic[Verdict], frozen=True, kw_only=True):
    """What came of one question."""

    verdict: Verdict | None = None
    status: JudgementStatus = "ok"
    error: str | None = None
    raw: str | None = None
    """All that was said, where no verdict could be read from it."""
    call_ids: tuple[str, ...] = ()
    cost_usd: float = 0.0
    created_at: datetime | None = None

    def fields(self) -> dict[str, Any]:
        """What a judgement records of it."""
        return {
            "status": self.status,
            "error": self.error,
            "raw": self.raw,
            "call_ids": self.call_ids,
            "cost_usd": self.cost_usd,
            "created_at": self.created_at,
        }


def answer_schema(**verdict: dict[str, Any]) -> dict[str, Any]:
    """The JSON Schema of an answer: a rationale, then the verdict."""
    return {
        "type": "object",
        "properties": {"rationale": {"type": "string"}, **verdict},
        "required": ["rationale", *verdict],
        "additionalProperties": False,
    }


async def ask_parsed(
    ask: Ask, model: str, requests: Sequence[ChatRequest], parse: Callable[[Choice], Verdict], wanted: str
) -> list[Asked[Verdict]]:
    """Put questions to a model. An answer that `parse` refuses is asked for once more, with the reason."""
    replies = await ask(model, requests)
    asked = [_read(*each, parse) for each in zip(requests, replies, strict=True)]
    again = [place for place, one in enumerate(asked) if one.status == "unparsed"]
    if again:
        repairs = [_ask_again(requests[place], asked[place], wanted) for place in again]
        for place, reply in zip(again, await ask(model, repairs), strict=True):
            asked[place] = _joined(asked[place], _read(requests[place], reply, parse))
    return asked


def json_object(choice: Choice) -> dict[str, Any]:
    """Read the JSON object that an answer is, or that it ends with on a line of its own, in a code fence or not.

    Nothing else will do: an object among words may be one that the judge quotes, such as a verdict that the response
    holds ready for it. Raises `Unparsable`.
    """
    thought, end_of_thought, said = choice.text.partition("</think>")
    text = (said if end_of_thought else thought).strip()
    start = text.find("{")
    if start < 0:
        raise Unparsable("it holds no JSON object" if text else "it is empty")
    before, body = text[:start], text[start:].removesuffix("```")
    if not _ALONE.fullmatch(before) or (before and choice.finish_reason == "length"):
        raise Unparsable("it does not end with a JSON object on a line of its own, with nothing after it")
    try:
        value: dict[str, Any] = _decode(body)
        if _HALF.search(body):
            json.dumps(value, ensure_ascii=False).encode()
    except RecursionError:
        raise Unparsable("it nests JSON too deeply") from None
    except UnicodeEncodeError:  # no table and no request can hold it
        raise Unparsable("it holds half of a character, a surrogate without its other half") from None
    except ValueError as error:  # no JSON, something after it, or a number too long
        raise Unparsable(f"what begins with a brace is not one JSON object: {str(error)[:100]}") from None
    return value


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise Unparsable("its JSON names a field twice")
    return found


_decode = json.JSONDecoder(object_pairs_hook=_without_repeats).decode


def rationale_in(answer: dict[str, Any]) -> str | None:
    """The judge's reasons, where it gave any."""
    said = answer.get("rationale")
    return said if isinstance(said, str) and said.strip() else None


def _read(request: ChatRequest, reply: Reply | CallFailed, parse: Callable[[Choice], Verdict]) -> Asked[Verdict]:
    if isinstance(reply, CallFailed):
        return Asked(status="failed", error=reply.error)
    choice = reply.choices[0]
    paid: dict[str, Any] = {"call_ids": (reply.call_id,), "cost_usd": reply.cost_usd, "created_at": reply.created_at}
    if choice.refused:
        return Asked(status="refused", error="the judge refused", raw=choice.refusal or choice.text, **paid)
    try:
        verdict = parse(choice)
        if request.top_logprobs is None and _quoted(choice.text, request):
            raise Unparsable("its JSON object stands word for word in what was shown; say it in words of your own")
        return Asked(verdict=verdict, **paid)
    except (Unparsable, ValueError, ArithmeticError, RecursionError) as error:  # text from a model can be anything
        short = (
            choice.finish_reason == "length" and request.top_logprobs is None
        )  # of log-probabilities one token will do
        cut = " (the answer was cut at max_tokens)" if short else ""
        return Asked(status="unparsed", error=f"{error}{cut}", raw=choice.text, **paid)


def _quoted(said: str, request: ChatRequest) -> bool:
    """Whether the object that an answer ends with is one that the material holds: then the judge may only quote it."""
    object_said = "".join(said[said.find("{", said.rfind("</think>") + 1) :].removesuffix("```").split())
    shown = (message.content for message in request.messages if message.role != "assistant")
    # No object stands outside of the first and the last brace, and much of what is shown has none.
    return any(object_said in "".join(text[text.find("{") : text.rfind("}") + 1].split()) for text in shown)


def _ask_again(request: ChatRequest, first: Asked[Any], wanted: str) -> ChatRequest:
    correction = f"That answer can't be used: {first.error}. {wanted}"
    messages = (*request.messages, Message("assistant", first.raw or ""), Message("user", correction))
    return msgspec.structs.replace(request, messages=messages)


def _joined(first: Asked[Verdict], second: Asked[Verdict]) -> Asked[Verdict]:
    """Two askings as one: the second's outcome, and the cost of both."""
    raw = None if second.status == "ok" else f"{first.raw}\n\n[asked again: {first.error}]\n\n{second.raw or ''}"
    return msgspec.structs.replace(
        second,
        raw=raw,
        call_ids=first.call_ids + second.call_ids,
        cost_usd=first.cost_usd + second.cost_usd,
        created_at=second.created_at or first.created_at,
    )
