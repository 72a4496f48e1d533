"""OpenRLHF's data: pairs, thumbs, steps (github.com/OpenRLHF/OpenRLHF, openrlhf/datasets).

Its keys are flags; these are read: `prompt`, `chosen`, `rejected` and `margin` (without a prompt, all but the last
message of the whole chats is the prompt, as its DPO takes it); `prompt` or `instruction` with `output` or `response` and
`label`, or with `response` and `score`, 1 or 0; those with `output` and no `label`, to imitate; and for process rewards `input` or `inputs`, a text with the mark ки after each step, with
`labels`, `label` or `values`, a list of + and - or of numbers from 0 to 1.
"""

from __future__ import annotations

from typing import Any

from triptych.imports.fields import (
    chat,
    conversation,
    field,
    flag,
    is_chat,
    listed,
    optional_number,
    prompt,
    rating,
    reply,
)
from triptych.imports.item import Format, Item, Read, Row, Setting, demonstration, labelled, pair, stepwise
from triptych.imports.trl import preference

_MARK = "ки"
_WORDS = {"+": 1.0, "-": 0.0}
_UNIT = (0.0, 1.0)


def _read(row: Row, scale: tuple[float, float] | None) -> Item:
    if "chosen" in row or "rejected" in row:
        return _pair(row, scale)
    if (name := _input(row)) is not None:
        return _steps(row, name)
    if row.get("label") is None and row.get("output") is not None:
        return demonstration(prompt(row.get("prompt", row.get("instruction"))), reply(row["output"], "output"))
    return _thumb(row)


def _pair(row: Row, scale: tuple[float, float] | None) -> Item:
    chosen, rejected = field(row, "chosen"), field(row, "rejected")
    if row.get("prompt") is not None or not (is_chat(chosen) and is_chat(rejected)):
        return preference(row, scale)
    better, worse = chat(chosen, "chosen"), chat(rejected, "rejected")
    if better[:-1] != worse[:-1]:
        raise ValueError("chosen and rejected differ before the last message, where the prompt is")
    asked = [{"role": message.role, "content": message.content} for message in better[:-1]]
    margin = optional_number(row, "margin")
    last = (chosen[-1], "chosen"), (rejected[-1], "rejected")
    return pair(prompt(asked), *(reply(said, name) for said, name in last), margin=margin)


def _thumb(row: Row) -> Item:
    said = row.get("output", row.get("response"))
    good = flag(row["label"], "label") if row.get("label") is not None else flag(field(row, "score"), "score")
    if said is None:
        raise ValueError("output is missing")
    asked = row.get("prompt", row.get("instruction"))
    if asked is None and is_chat(said):
        messages, answer = conversation(said, "output")
        return labelled(messages, answer, good=good)
    return labelled(prompt(asked), reply(said, "output"), good=good)


def _steps(row: Row, name: str) -> Item:
    first, *rest = str(row[name]).split(_MARK)
    asked, found, begins = first.rpartition("Step 1")
    if not asked.strip():
        raise ValueError(f"{name} has no question before Step 1")
    steps = [step.strip() for step in (found + begins, *rest) if step.strip()]
    labels = [_label(label) for label in listed(_labels(row), "labels")]
    if len(labels) != len(steps):
        raise ValueError(f"there are {len(labels)} labels for {len(steps)} steps")
    return stepwise(prompt(asked.strip()), steps, labels, _UNIT)


def _input(row: Row) -> str | None:
    names = (name for name in ("input", "inputs") if isinstance(row.get(name), str) and _MARK in row[name])
    return next(names, None)


def _labels(row: Row) -> Any:
    return next((row[name] for name in ("labels", "label", "values", "value") if row.get(name) is not None), None)


def _label(label: Any) -> float:
    return _WORDS[label] if isinstance(label, str) and label in _WORDS else rating(label, "a label", _UNIT)


def _reader(setting: Setting) -> Read:
    return lambda row: _read(row, setting.scale)


def _looks_like(row: Row) -> bool:
    if _input(row) is not None and isinstance(_labels(row), list):
        return True
    return ("output" in row and not row.keys().isdisjoint({"prompt", "label"})) or {"instruction", "response", "score"} <= row.keys()


FORMAT = Format(
    name="openrlhf",
    about="pairs, outputs with a label 1 or 0 or to imitate, texts with a mark after each step",
    looks_like=_looks_like,
    reader=_reader,
)
