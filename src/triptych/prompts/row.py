"""From what a row holds to a prompt, the same way for every source; and setting aside rows that repeat."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import date
from decimal import Decimal
from typing import Any

import msgspec

from triptych.operators import REPEATS, BadRow, GivenResponse, PromptRow
from triptych.records import Message, Prompt, make_prompt, message_from_openai

NAMES = (
    "prompt",
    "system",
    "reference",
    "constraints",
    "criteria",
    "tools",
    "responses",
    "source",
    "tags",
    "parent_id",
    "family_id",
)
"""What Triptych wants of a row."""

_OBJECTS = ("constraints", "criteria", "tools")
_FREE_FORM = frozenset({"schema", "parameters", "arguments"})
"""Fields of constraints, tools and calls whose values are not Triptych's to change."""
_SHOWN = 2000
_SHAREGPT_ROLES = {
    "human": "user",
    "gpt": "assistant",
    "observation": "tool",
}
_PLAIN_ROLES = ("user", "assistant", "system")
_ENDS_WITH_ASSISTANT = "ends with an assistant message; a policy must have something to answer"


class Record(msgspec.Struct, frozen=True, gc=False):
    """A row that could be read, before anyone looks at what it means."""

    row: int
    """Its number in the source, from 1."""
    values: Mapping[str, Any]
    """Its cells by the names of their columns."""
    raw: bytes | None = None
    """The row as it stands in the source, where it is text."""
    from_table: bool = False
    """Whether nulls inside its cells fill the fields that an object does not have, as in Parquet and Arrow."""


def prompt_rows(
    records: Iterable[Record | BadRow],
    wanted: Callable[[Mapping[str, Any]], Mapping[str, Any]],
    source: str,
) -> Iterator[PromptRow | BadRow]:
    """Make prompts of records. What can't be a prompt, or repeats an earlier row, is a bad row and says why.

    `wanted` picks from a record's columns what Triptych wants, by the names in `NAMES`; it raises
    `ValueError` where it can't. `source` is where prompts come from that do not say so themselves.
    """
    # First 64 bits of a prompt's id -> row number: about 110 MB for each million rows, whatever their length.
    # Among 100 million rows the chance that any two different prompts share them is 0.03 %.
    first_rows: dict[int, int] = {}
    for record in records:
        if isinstance(record, BadRow):
            yield record
            continue
        try:
            picked = wanted(record.values)
            prompt, given = read_prompt(_unfilled(picked) if record.from_table else picked, source)
        except (ValueError, OverflowError, TypeError, RecursionError) as error:
            yield BadRow(record.row, str(error), _shown(record))
            continue
        first = first_rows.setdefault(int(prompt.id[2:18], 16), record.row)
        if first != record.row:
            lost = "; responses to one prompt belong into one row" if given else ""
            yield BadRow(record.row, f"{REPEATS}{first}{lost}", _shown(record))
            continue
        yield PromptRow(record.row, prompt, given)


def cut(raw: bytes) -> str:
    """Show a row's beginning to a person."""
    return raw[: 4 * _SHOWN].decode("utf-8", "replace").rstrip("\r\n")[:_SHOWN]


def read_prompt(wanted: Mapping[str, Any], source: str) -> tuple[Prompt, tuple[GivenResponse, ...]]:
    """Make a prompt, and the responses that come with it, of values under the names in `NAMES`.

    Only `prompt` must be there. Raises `ValueError` saying what is wrong.
    """
    fields: dict[str, Any] = {"source": read_text("source", wanted.get("source")) or source}
    for name in ("reference", "parent_id", "family_id"):
        if (value := wanted.get(name)) is not None and (text := read_text(name, value)):
            fields[name] = text
    for name in _OBJECTS:
        if (value := wanted.get(name)) is not None and (objects := read_objects(name, value)):
            fields[name] = objects
    if (tags := wanted.get("tags")) is not None:
        fields["tags"] = _tags(tags)
    messages = _with_system(read_text("system", wanted.get("system")), prompt_messages(wanted.get("prompt")))
    given = _responses(wanted.get("responses"))
    return make_prompt(messages, **fields), given


def as_bad_row(record: Record, reason: str) -> BadRow:
    """Set a row aside that could be read, but is not what it should be."""
    return BadRow(record.row, reason, _shown(record))


def _shown(record: Record) -> str:
    if record.raw is not None:
        return cut(record.raw)
    return msgspec.json.encode(record.values, enc_hook=str).decode("utf-8", "replace")[:_SHOWN]


def kind_of(value: object) -> str:
    """What a value is, in words."""
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int() | float():
            return "a number"
        case str():
            return "text"
        case list() | tuple():
            return "a list"
        case Mapping():
            return "an object"
    return type(value).__name__


def read_text(name: str, value: Any) -> str | None:
    """Read optional text. Numbers are taken as they are written: ids and answers often are numbers."""
    if value is None or isinstance(value, str):
        return value or None
    if isinstance(value, float) and math.isnan(value):
        raise ValueError(f"{name} is NaN, which is no text")
    if isinstance(value, int | float | Decimal) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, date):
        return value.isoformat()
    raise ValueError(f"{name} is {kind_of(value)}, not text")


def prompt_messages(prompt: Any) -> tuple[Message, ...]:
    """Read a prompt: text, or a list of chat messages. Raises `ValueError` where it is none."""
    if isinstance(prompt, str):
        if not prompt or prompt.isspace():
            raise ValueError("the prompt is empty")
        return (Message("user", prompt),)
    if not isinstance(prompt, list | tuple):
        raise ValueError(f"the prompt is {kind_of(prompt)}, neither text nor a list of chat messages")
    return as_prompt(tuple(chat_message(place, message) for place, message in enumerate(prompt, 1)))


def as_prompt(messages: tuple[Message, ...]) -> tuple[Message, ...]:
    """Check that a policy can answer these messages. Raises `ValueError`."""
    if not messages:
        raise ValueError("the prompt is empty: it has no messages")
    if not any(message.role == "user" for message in messages):
        raise ValueError("the prompt has no user message")
    for place, message in enumerate(messages, 1):
        if message.role == "user" and not message.content.strip():
            raise ValueError(f"message {place} of the prompt, by the user, is empty")
    if messages[-1].role == "assistant":
        raise ValueError(_ENDS_WITH_ASSISTANT)
    return messages


def chat_message(place: int, message: Any, of: str = "the prompt") -> Message:
    """Read a chat message in OpenAI's form, or in ShareGPT's (`from` and `value`). Raises `ValueError`."""
    if type(message) is dict and len(message) == 2:  # most messages; the long way costs many times more
        role, content = message.get("role"), message.get("content")
        if role in _PLAIN_ROLES and type(content) is str:
            return Message(role, content)
    if not isinstance(message, Mapping):
        raise ValueError(f"message {place} of {of} is {kind_of(message)}, not an object")
    said = _without_nulls(message)
    if "role" not in said and "from" in said:
        role = said["from"]
        said = {
            "role": _SHAREGPT_ROLES.get(role, role) if isinstance(role, str) else role,
            "content": said.get("value"),
        }
    for field in ("name", "tool_call_id"):
        if not isinstance(said.get(field, ""), str):
            raise ValueError(f"message {place} of {of}: {field} is {kind_of(said[field])}, not text")
    try:
        return message_from_openai(said)
    except (ValueError, TypeError) as error:
        raise ValueError(f"message {place} of {of}: {error}") from None


def _with_system(system: str | None, messages: tuple[Message, ...]) -> tuple[Message, ...]:
    if system is None:
        return messages
    if messages[0].role not in ("system", "developer"):
        return (Message("system", system), *messages)
    if messages[0].content != system:
        raise ValueError("there is a system message both in the prompt and under system, and they differ")
    return messages


def read_objects(name: str, value: Any) -> tuple[dict[str, Any], ...]:
    """Read a list of objects, or JSON text of one. A field that is null is as if absent, but for those inside of what
    is free in form: there `{"const": null}` means something."""
    value = list_from_json(name, value) if isinstance(value, str) and value.strip() else value or ()
    if not isinstance(value, list | tuple):
        raise ValueError(f"{name} is {kind_of(value)}, not a list of objects")
    for place, each in enumerate(value, 1):
        if not isinstance(each, Mapping):
            raise ValueError(f"{name} {place} is {kind_of(each)}, not an object")
        if name == "constraints" and not isinstance(each.get("kind"), str):
            raise ValueError(f"constraint {place} has no kind")
    return tuple(_without_nulls(each) for each in value)


def _unfilled(picked: Mapping[str, Any]) -> dict[str, Any]:
    """Take a table's filling out of what was picked from its row, so that the row is the same prompt in every format."""
    nested = {name: _without_nulls(picked[name], kept=frozenset()) for name in ("prompt", *_OBJECTS) if name in picked}
    return {**picked, **nested}


def _without_nulls(value: Any, kept: frozenset[str] = _FREE_FORM) -> Any:
    """Drop fields that are null, but for those inside of fields that are kept."""
    if isinstance(value, Mapping):
        return {
            key: inner if key in kept else _without_nulls(inner, kept)
            for key, inner in value.items()
            if inner is not None
        }
    if isinstance(value, list | tuple):
        return [_without_nulls(inner, kept) for inner in value]
    return value


def list_from_json(name: str, text: str) -> Any:
    """Read a list that a cell holds as JSON text. Raises `ValueError` naming the cell."""
    try:
        return msgspec.json.decode(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{name} is text that is not valid JSON: {error}") from None


def _tags(tags: Any) -> tuple[str, ...]:
    if isinstance(tags, str):
        return (tags,) if tags else ()
    if isinstance(tags, list | tuple) and all(isinstance(tag, str) for tag in tags):
        return tuple(tags)
    raise ValueError(f"tags is {kind_of(tags)}, not a list of texts")


def _responses(responses: Any) -> tuple[GivenResponse, ...]:
    if responses is None:
        return ()
    if not isinstance(responses, list | tuple) or _are_messages(responses):
        responses = [responses]
    read = (_response(place, response) for place, response in enumerate(responses, 1))
    return tuple(response for response in read if response is not None)


def _response(place: int, response: Any) -> GivenResponse | None:
    """Read one response: text, a list of messages, or an object that holds one of them and a source."""
    source: str | None = None
    if isinstance(response, Mapping):
        source = read_text("source", _first(response, "source", "model"))
        name = f"response {place}" if source is None else f"the response of {source!r}"
        if not {"text", "content", "response"} & response.keys():
            raise ValueError(f"{name} has none of the fields text, content, response")
        response = _first(response, "text", "content", "response")
    else:
        name = f"response {place}"
    if isinstance(response, list | tuple) and _are_messages(response):
        response = _last_assistant_text(name, response)
    if response is None:
        return None
    if not isinstance(response, str):
        raise ValueError(f"{name} is {kind_of(response)}, neither text nor a list of chat messages")
    return GivenResponse(response) if source is None else GivenResponse(response, source)


def _first(value: Mapping[str, Any], *names: str) -> Any:
    return next((value[name] for name in names if value.get(name) is not None), None)


def _are_messages(value: Any) -> bool:
    return bool(value) and all(isinstance(each, Mapping) and {"role", "from"} & each.keys() for each in value)


def _last_assistant_text(name: str, messages: Any) -> str:
    for place, message in reversed(list(enumerate(messages, 1))):
        read = chat_message(place, message)
        if read.role == "assistant":
            if not read.content:
                raise ValueError(f"the last assistant message of {name} has no text")
            return read.content
    raise ValueError(f"{name} is a list of messages, none of them an assistant's")
