"""LLaMA-Factory's data sets, in Alpaca's and in ShareGPT's form: pairs, thumbs and answers to imitate.

Which column is what stands in `dataset_info.json` beside the file (github.com/hiyouga/LLaMA-Factory,
src/llamafactory/data/parser.py and converter.py); without one the names are those of its documentation. As there, an
instruction and its input are joined by a line break, roles must alternate, and the chat of a pair ends with the user.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from triptych.errors import PromptError
from triptych.imports.fields import alternating, as_reply, field, flag, listed, reply, text, with_system
from triptych.imports.item import Format, Item, Read, Row, Setting, demonstration, labelled, pair
from triptych.prompts.row import as_prompt, read_objects
from triptych.records import Message


class _Tags(msgspec.Struct, frozen=True):
    """How a chat in ShareGPT's form names its fields and roles."""

    role_tag: str = "from"
    content_tag: str = "value"
    user_tag: str = "human"
    assistant_tag: str = "gpt"
    observation_tag: str = "observation"
    function_tag: str = "function_call"
    system_tag: str = "system"

    def message(self, value: Any, name: str) -> Message:
        """Read one message."""
        if not isinstance(value, dict):
            raise ValueError(f"{name} is not an object with {self.role_tag} and {self.content_tag}")
        roles = {
            self.user_tag: "user",
            self.assistant_tag: "assistant",
            self.observation_tag: "tool",
            self.function_tag: "assistant",
            self.system_tag: "system",
        }
        named = value.get(self.role_tag)
        role = roles.get(named) if isinstance(named, str) else None
        said = value.get(self.content_tag)
        if role is None or not isinstance(said, str):
            raise ValueError(f"{name} has no known role under {self.role_tag} or no text under {self.content_tag}")
        return Message(role, said)  # type: ignore[arg-type]


class _Columns(msgspec.Struct, frozen=True):
    """Which column is what."""

    prompt: str | None = "instruction"
    query: str | None = "input"
    response: str | None = "output"
    history: str | None = "history"
    messages: str | None = "conversations"
    system: str | None = "system"
    tools: str | None = "tools"
    chosen: str | None = "chosen"
    rejected: str | None = "rejected"
    kto_tag: str | None = "kto_tag"


class _Entry(msgspec.Struct, frozen=True):
    """A data set's entry in `dataset_info.json`."""

    file_name: str = ""
    formatting: str = ""
    columns: _Columns = _Columns()
    tags: _Tags = _Tags()


def _read(row: Row, entry: _Entry) -> Item:
    columns = entry.columns
    sharegpt = entry.formatting == "sharegpt" or (not entry.formatting and columns.messages in row)
    about = _tools(row, columns.tools)
    if sharegpt:
        return _read_sharegpt(row, entry, about)
    messages = with_system(row.get(columns.system or ""), _asked(row, columns))
    if row.get(columns.kto_tag or "") is not None:
        said = reply(field(row, columns.response or "output"), "output")
        return labelled(messages, said, good=flag(row[columns.kto_tag or ""], columns.kto_tag or ""), **about)
    if columns.chosen in row or columns.rejected in row:
        chosen, rejected = ((name or "", text(row, name or "")) for name in (columns.chosen, columns.rejected))
        return pair(messages, reply(chosen[1], chosen[0]), reply(rejected[1], rejected[0]), about=about)
    return demonstration(messages, reply(field(row, columns.response or "output"), "output"), **about)


def _asked(row: Row, columns: _Columns) -> tuple[Message, ...]:
    messages: list[Message] = []
    for turn in listed(row.get(columns.history or "") or [], columns.history or "history"):
        if not (isinstance(turn, list | tuple) and len(turn) == 2 and all(isinstance(said, str) for said in turn)):
            raise ValueError(f"{columns.history} is not a list of an instruction and a response each")
        messages += [Message("user", turn[0]), Message("assistant", turn[1])]
    said = [
        row[name] for name in (columns.prompt, columns.query) if name and isinstance(row.get(name), str) and row[name]
    ]
    if not said:
        raise ValueError(f"{columns.prompt} is missing or empty")
    return as_prompt((*messages, Message("user", "\n".join(said))))


def _read_sharegpt(row: Row, entry: _Entry, about: dict[str, Any]) -> Item:
    columns, tags = entry.columns, entry.tags
    name = columns.messages or "conversations"
    messages = tuple(
        tags.message(message, f"message {place} of {name}")
        for place, message in enumerate(listed(field(row, name), name), 1)
    )
    if not messages:
        raise ValueError(f"{name} is empty")
    alternating(messages, name)
    messages = messages if messages[0].role == "system" else with_system(row.get(columns.system or ""), messages)
    if columns.chosen in row or columns.rejected in row:
        if messages[-1].role not in ("user", "tool"):
            raise ValueError(f"{name} ends with {messages[-1].role}; before a pair it must end with the user")
        better, worse = (_answer(row, named or "", tags) for named in (columns.chosen, columns.rejected))
        return pair(as_prompt(messages), better, worse, about=about)
    asked, said = as_prompt(messages[:-1]), as_reply(messages[-1:], name)
    if row.get(columns.kto_tag or "") is not None:
        return labelled(asked, said, good=flag(row[columns.kto_tag or ""], columns.kto_tag or ""), **about)
    return demonstration(asked, said, **about)


def _answer(row: Row, name: str, tags: _Tags) -> tuple[Message, ...]:
    return as_reply((tags.message(field(row, name), name),), name)


def _tools(row: Row, column: str | None) -> dict[str, Any]:
    value = row.get(column or "")
    declared = read_objects("tools", value) if value not in (None, "", "[]") else ()
    return {"tools": declared} if declared else {}


def _reader(setting: Setting) -> Read:
    entry = _entry(setting.path)
    return lambda row: _read(row, entry)


def _entry(path: Path) -> _Entry:
    """What `dataset_info.json` says of a file; the names of the documentation where there is none.

    It stands beside the file, or a folder above it.
    """
    names = {path.parent: path.name, path.parent.parent: f"{path.parent.name}/{path.name}"}
    folder = next((each for each in names if (each / "dataset_info.json").is_file()), None)
    if folder is None:
        return _Entry()
    about = folder / "dataset_info.json"
    try:
        entries = msgspec.json.decode(about.read_bytes(), type=dict[str, dict[str, Any]])
        named = next((entry for entry in entries.values() if entry.get("file_name") == names[folder]), None)
        return _Entry() if named is None else msgspec.convert(named, _Entry)
    except (OSError, ValueError) as error:
        raise PromptError(f"{about} can't be read: {error}") from error


def _looks_like(row: Row) -> bool:
    names = row.keys()
    if {"messages", "kto_tag"} <= names:
        return True
    kinds = {"chosen", "rejected"} <= names or "kto_tag" in names or "output" in names
    if "conversations" in names:
        chat = row["conversations"]
        return (
            isinstance(chat, list)
            and bool(chat)
            and isinstance(chat[0], dict)
            and bool({"from", "role"} & chat[0].keys())
        )
    return "instruction" in names and kinds and "generations" not in names and "output_1" not in names


FORMAT = Format(
    name="llama-factory",
    about="Alpaca's and ShareGPT's forms of pairs, thumbs (kto_tag) and answers; dataset_info.json names the columns",
    looks_like=_looks_like,
    reader=_reader,
)
