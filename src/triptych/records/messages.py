"""Chat messages in OpenAI's form, from which prompts, responses and whole trajectories are made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

Role = Literal["system", "developer", "user", "assistant", "tool"]


class ToolCall(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """One call of a tool that an assistant message asks for."""

    id: str
    """Joins the call to the tool message that answers it."""
    name: str
    """The tool's name."""
    arguments: str
    """The arguments as the model wrote them: JSON text, possibly broken."""


class Message(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """One message of a chat or of a trajectory."""

    role: Role
    content: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    """Only in assistant messages."""
    tool_call_id: str | None = None
    """Only in tool messages: the call that this message answers."""
    name: str | None = None


def message_from_openai(message: Mapping[str, Any]) -> Message:
    """Read one message as OpenAI's chat API writes it.

    Raises `ValueError` saying what is wrong with it.
    """
    role = message.get("role")
    if role not in ("system", "developer", "user", "assistant", "tool"):
        raise ValueError(f"message has role {role!r}; it must be system, developer, user, assistant or tool")
    content = message.get("content")
    if isinstance(content, list):
        content = _join_text_parts(content)
    if content is not None and not isinstance(content, str):
        raise ValueError(f"message content is {type(content).__name__}, not text")
    return Message(
        role=role,
        content=content or "",
        tool_calls=tuple(_tool_call(call) for call in message.get("tool_calls") or ()),
        tool_call_id=message.get("tool_call_id"),
        name=message.get("name"),
    )


def message_to_openai(message: Message) -> dict[str, Any]:
    """Write one message as OpenAI's chat API reads it."""
    written: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.tool_calls:
        written["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in message.tool_calls
        ]
    if message.tool_call_id is not None:
        written["tool_call_id"] = message.tool_call_id
    if message.name is not None:
        written["name"] = message.name
    return written


def _join_text_parts(parts: list[Any]) -> str:
    texts: list[str] = []
    for part in parts:
        if not (isinstance(part, Mapping) and part.get("type") == "text" and isinstance(part.get("text"), str)):
            raise ValueError("message content has a part that is not text; only text is supported")
        texts.append(part["text"])
    return "".join(texts)


def _tool_call(call: Any) -> ToolCall:
    function = call.get("function", call) if isinstance(call, Mapping) else None
    if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
        raise ValueError("a tool call has no function name")
    arguments = function.get("arguments", "{}")
    if not isinstance(arguments, str):
        arguments = msgspec.json.encode(arguments, order="sorted").decode()
    return ToolCall(id=str(call.get("id", "")), name=function["name"], arguments=arguments)
