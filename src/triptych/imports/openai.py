"""OpenAI's preference fine-tuning (developers.openai.com/api/docs/guides/direct-preference-optimization).

A row has `input` with `messages` (and `tools`), `preferred_output` and `non_preferred_output`.
"""

from __future__ import annotations

from triptych.imports.fields import field, prompt, reply, tools
from triptych.imports.item import Format, Item, Row, pair


def _read(row: Row) -> Item:
    given = field(row, "input")
    if not isinstance(given, dict):
        raise ValueError("input is not an object with messages")
    return pair(
        prompt(field(given, "messages")),
        reply(field(row, "preferred_output"), "preferred_output"),
        reply(field(row, "non_preferred_output"), "non_preferred_output"),
        about=tools(given),
    )


FORMAT = Format(
    name="openai",
    about="preference fine-tuning: input, preferred_output, non_preferred_output",
    looks_like=lambda row: {"preferred_output", "non_preferred_output"} <= row.keys(),
    reader=lambda setting: _read,
)
