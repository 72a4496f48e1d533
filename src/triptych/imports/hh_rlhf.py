"""HH-RLHF: two transcripts of the same dialogue, as text (arXiv:2204.05862; github.com/anthropics/hh-rlhf, README).

`chosen` and `rejected` are whole dialogues with turns opened by a blank line and `Human:` or `Assistant:`. The prompt is
what both begin with, up to the last turn that they share.
"""

from __future__ import annotations

import re

from triptych.imports.fields import alternating, shared_prompt, text
from triptych.imports.item import Format, Item, Row, pair
from triptych.records import Message

_TURN = re.compile(r"\n\n(Human|Assistant):")
_ROLES = {"Human": "user", "Assistant": "assistant"}


def turns(transcript: str, name: str) -> tuple[Message, ...]:
    """The messages of a transcript; white space around what is said does not count."""
    before, *rest = _TURN.split(transcript)
    if before.strip() or not rest:
        raise ValueError(f"{name} does not begin with a turn of Human: or Assistant:")
    return tuple(
        Message(_ROLES[role], said.strip())  # type: ignore[arg-type]
        for role, said in zip(rest[::2], rest[1::2], strict=True)
    )


def _read(row: Row) -> Item:
    chosen, rejected = (turns(text(row, name), name) for name in ("chosen", "rejected"))
    for messages, name in ((chosen, "chosen"), (rejected, "rejected")):
        if not messages[-1].content:
            raise ValueError(f"{name} is empty: the last turn says nothing")
    messages, better, worse = shared_prompt(chosen, rejected)
    alternating((*messages, *better), "chosen")
    alternating((*messages, *worse), "rejected")
    return pair(messages, better, worse)


def _looks_like(row: Row) -> bool:
    return all(isinstance(row.get(name), str) and _TURN.match(row[name]) for name in ("chosen", "rejected"))


FORMAT = Format(
    name="hh-rlhf",
    about="two transcripts that begin alike: chosen, rejected",
    looks_like=_looks_like,
    reader=lambda setting: _read,
)
