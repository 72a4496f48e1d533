"""Reading the fields of a row: texts, numbers, chats. What is wrong is a `ValueError` for a person."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import takewhile
from typing import Any

from triptych.imports.item import Row
from triptych.prompts.row import (
    as_prompt,
    chat_message,
    kind_of,
    list_from_json,
    prompt_messages,
    read_objects,
    read_text,
)
from triptych.records import Message


def field(row: Row, name: str) -> Any:
    """A field that must be there. Null counts as absent."""
    value = row.get(name)
    if value is None:
        raise ValueError(f"{name} is missing" if name not in row else f"{name} is null")
    return value


def text(row: Row, name: str) -> str:
    """Text that must be there and say something."""
    value = field(row, name)
    if not isinstance(value, str):
        raise ValueError(f"{name} is {kind_of(value)}, not text")
    if not value.strip():
        raise ValueError(f"{name} is empty")
    return value


def name_of(row: Row, name: str) -> str | None:
    """Text that may be absent, such as who made a response."""
    return read_text(name, row.get(name))


def number(value: Any, name: str) -> float:
    """A finite number, also one that is written as text."""
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            raise ValueError(f"{name} is {value[:40]!r}, not a number") from None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{name} is {kind_of(value)}, not a number")
    if not math.isfinite(value):
        raise ValueError(f"{name} is {value}, not a finite number")
    return float(value)


def optional_number(row: Row, *names: str) -> float | None:
    """The number under the first of these names that is there."""
    found = next(((row[name], name) for name in names if row.get(name) is not None), None)
    return None if found is None else number(*found)


def rating(value: Any, name: str, scale: tuple[float, float]) -> float:
    """A number on a scale."""
    found, (low, high) = number(value, name), scale
    if not low <= found <= high:
        raise ValueError(
            f"{name} is {found:g}, which is not on the scale from {low:g} to {high:g}; another is set with scale"
        )
    return found


def flag(value: Any, name: str) -> bool:
    """True or false, as a boolean, as 1 and 0, or in words."""
    if isinstance(value, bool):
        return value
    if isinstance(value, int | float) and value in (0, 1):
        return bool(value)
    if isinstance(value, str) and value.strip().lower() in ("true", "false", "1", "0"):
        return value.strip().lower() in ("true", "1")
    raise ValueError(f"{name} is {value!r:.40}, which is neither true nor false")


def listed(value: Any, name: str) -> list[Any]:
    """A list, also one that a cell of CSV holds as JSON text."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        value = list_from_json(name, value)
    if not isinstance(value, list | tuple):
        raise ValueError(f"{name} is {kind_of(value)}, not a list")
    return list(value)


def prompt(value: Any) -> tuple[Message, ...]:
    """A prompt: text, or a chat that does not end with the assistant."""
    return prompt_messages(_unpacked(value, "the prompt"))


def chat(value: Any, name: str) -> tuple[Message, ...]:
    """A chat of one or more messages, in OpenAI's form or in ShareGPT's."""
    messages = listed(_unpacked(value, name), name)
    if not messages:
        raise ValueError(f"{name} is empty")
    return tuple(chat_message(place, message, name) for place, message in enumerate(messages, 1))


def reply(value: Any, name: str) -> tuple[Message, ...]:
    """What continues a prompt: text, one message of the assistant's, or a list of messages that ends with one."""
    if isinstance(value, str) and not is_chat(value):
        if not value.strip():
            raise ValueError(f"{name} is empty")
        return (Message("assistant", value),)
    messages = (chat_message(1, value, name),) if isinstance(value, Mapping) else chat(value, name)
    return as_reply(messages, name)


def as_reply(messages: tuple[Message, ...], name: str) -> tuple[Message, ...]:
    """Check that these messages are an answer."""
    if not messages:
        raise ValueError(f"{name} is empty")
    last = messages[-1]
    if messages[0].role not in ("assistant", "tool") or last.role not in ("assistant", "tool"):
        raise ValueError(f"{name} is not an answer: it goes from {messages[0].role} to {last.role}")
    if not last.content.strip() and not last.tool_calls:
        raise ValueError(f"{name} is empty")
    return messages


def conversation(value: Any, name: str) -> tuple[tuple[Message, ...], tuple[Message, ...]]:
    """A whole chat as the prompt and the last answer: the messages after the last one by the user."""
    messages = chat(value, name)
    after = len(list(takewhile(lambda message: message.role in ("assistant", "tool"), reversed(messages))))
    if after == 0:
        raise ValueError(f"{name} does not end with an answer")
    return as_prompt(messages[:-after]), as_reply(messages[-after:], name)


def shared_prompt(
    chosen: tuple[Message, ...], rejected: tuple[Message, ...]
) -> tuple[tuple[Message, ...], tuple[Message, ...], tuple[Message, ...]]:
    """Two whole chats as the prompt that both begin with, and how each goes on."""
    if chosen == rejected:
        raise ValueError("chosen and rejected say the same")
    same = 0
    for one, other in zip(chosen, rejected, strict=False):
        if one != other:
            break
        same += 1
    while same and chosen[same - 1].role in ("assistant", "tool"):  # that it is shared does not make it a question
        same -= 1
    if same == 0:
        raise ValueError("chosen and rejected begin differently, so that there is no prompt that both answer")
    answers = as_reply(chosen[same:], "chosen"), as_reply(rejected[same:], "rejected")
    return as_prompt(chosen[:same]), *answers


def is_chat(value: Any) -> bool:
    """Whether a value is meant as a list of messages, or as JSON text of one."""
    if isinstance(value, str):
        return value.lstrip().startswith(('[{"', "[ {")) and ('"role"' in value or '"from"' in value)
    first = value[0] if isinstance(value, list | tuple) and value else None
    return isinstance(first, dict) and ("role" in first or "from" in first)


def alternating(messages: Sequence[Message], name: str) -> None:
    """Check that user and assistant take turns, after a system message if there is one."""
    turns = messages[1:] if messages and messages[0].role == "system" else messages
    for place, message in enumerate(turns):
        if (message.role in ("user", "tool")) != (place % 2 == 0):
            before = turns[place - 1].role if place else "nothing"
            said = f"roles do not alternate: message {place + 1} of {name} is by {message.role}, after {before}"
            raise ValueError(said)


def tools(row: Row) -> dict[str, Any]:
    """The prompt's tools, if the row declares any."""
    value = row.get("tools")
    declared = read_objects("tools", value) if value not in (None, "", "[]") else ()
    return {"tools": declared} if declared else {}


def with_system(system: Any, messages: tuple[Message, ...]) -> tuple[Message, ...]:
    """The prompt after a system message, if there is one."""
    said = read_text("system", system)
    return (Message("system", said), *messages) if said and said.strip() else messages


def _unpacked(value: Any, name: str) -> Any:
    return list_from_json(name, value) if isinstance(value, str) and is_chat(value) else value
