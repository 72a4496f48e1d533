"""Axolotl's `chat_template.default` for DPO: `messages`, and a message each for `chosen` and `rejected`.

As in github.com/axolotl-ai-cloud/axolotl, src/axolotl/prompt_strategies/dpo/chat_template.py: of a list of messages under
`chosen` or `rejected` the last one counts; text stands for a message of the assistant's.
"""

from __future__ import annotations

from typing import Any

from triptych.imports.fields import field, prompt, reply, tools
from triptych.imports.item import Format, Item, Row, pair
from triptych.records import Message


def _last(value: Any, name: str) -> tuple[Message, ...]:
    return reply(value[-1] if isinstance(value, list) and value else value, name)


def _read(row: Row) -> Item:
    chosen, rejected = (_last(field(row, name), name) for name in ("chosen", "rejected"))
    return pair(prompt(field(row, "messages")), chosen, rejected, about=tools(row))


FORMAT = Format(
    name="axolotl",
    about="chat_template.default: messages, chosen, rejected",
    looks_like=lambda row: {"messages", "chosen", "rejected"} <= row.keys() and isinstance(row["chosen"], dict | str),
    reader=lambda setting: _read,
)
