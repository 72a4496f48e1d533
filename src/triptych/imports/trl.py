"""TRL's data sets: preference, unpaired preference, prompt and completion, messages, prompts, steps.

The types and their columns are those of huggingface.co/docs/trl/dataset_formats; `margin` is that of the reward trainer.
Text that is no chat is taken as what a user says and how an assistant goes on. Files that Triptych has written itself
say more (`weight`, scores between 0 and 1), and are read back as they were.
"""

from __future__ import annotations

from typing import Any

from triptych.imports.fields import (
    as_reply,
    chat,
    conversation,
    field,
    flag,
    is_chat,
    listed,
    name_of,
    optional_number,
    prompt,
    reply,
    shared_prompt,
    text,
    tools,
)
from triptych.imports.item import Format, Item, Read, Row, Setting, demonstration, labelled, pair, stepwise
from triptych.records import Message

_REFERENCES = ("reference", "solution", "answer", "ground_truth")


def preference(row: Row, scale: tuple[float, float] | None) -> Item:
    """A pair, with its prompt apart or in both."""
    messages, chosen, rejected = _parts(row)
    ours = "example_id" in row and "strategy" in row
    return pair(
        messages,
        chosen,
        rejected,
        models=[name_of(row, name) for name in ("chosen_model", "rejected_model")],
        scores=[optional_number(row, name, other) for name, other in _SCORES],
        scale=(0.0, 1.0) if ours else scale,
        margin=optional_number(row, "margin"),
        weight=optional_number(row, "weight") if ours and row.get("weight") is not None else 1.0,  # type: ignore[arg-type]
        about=tools(row),
    )


_SCORES = (("score_chosen", "chosen_score"), ("score_rejected", "rejected_score"))


def _parts(row: Row) -> tuple[tuple[Message, ...], tuple[Message, ...], tuple[Message, ...]]:
    chosen, rejected = field(row, "chosen"), field(row, "rejected")
    if is_chat(chosen) != is_chat(rejected):
        raise ValueError("of chosen and rejected one is text and the other a chat")
    if row.get("prompt") is None:
        if is_chat(chosen):
            return shared_prompt(chat(chosen, "chosen"), chat(rejected, "rejected"))
        return _shared_text(text(row, "chosen"), text(row, "rejected"))
    asked = prompt(row["prompt"])
    return asked, _continued(asked, chosen, "chosen"), _continued(asked, rejected, "rejected")


def _continued(asked: tuple[Message, ...], value: Any, name: str) -> tuple[Message, ...]:
    """How the prompt goes on; some data repeats it before the answer."""
    if not is_chat(value):
        return reply(value, name)
    messages = chat(value, name)
    return as_reply(messages[len(asked) :] if messages[: len(asked)] == asked else messages, name)


def _shared_text(chosen: str, rejected: str) -> tuple[tuple[Message, ...], tuple[Message, ...], tuple[Message, ...]]:
    """Two texts as the beginning that they share, up to a space, and how each goes on."""
    if chosen == rejected:
        raise ValueError("chosen and rejected say the same")
    differ = (place for place, (one, other) in enumerate(zip(chosen, rejected, strict=False)) if one != other)
    same = next(differ, min(len(chosen), len(rejected)))
    same = same - 1 if same and chosen[same - 1] == " " else same
    if not chosen[:same].strip():
        raise ValueError("chosen and rejected begin differently, so that there is no prompt that both answer")
    return prompt(chosen[:same]), reply(chosen[same:], "chosen"), reply(rejected[same:], "rejected")


def _read(row: Row, scale: tuple[float, float] | None) -> Item:
    if row.get("chosen") is not None or "rejected" in row:
        return preference(row, scale)
    if "completions" in row and "labels" in row:
        steps = [step if isinstance(step, str) else str(step) for step in listed(row["completions"], "completions")]
        labels = [float(flag(label, "a label")) for label in listed(field(row, "labels"), "labels")]
        if len(labels) != len(steps):
            raise ValueError(f"there are {len(labels)} labels for {len(steps)} completions")
        return stepwise(prompt(field(row, "prompt")), steps, labels, (0.0, 1.0))
    if "completion" in row:
        asked = prompt(field(row, "prompt"))
        said = _continued(asked, field(row, "completion"), "completion")
        if row.get("label") is None:
            return demonstration(asked, said, **tools(row))
        return labelled(asked, said, good=flag(row["label"], "label"), **tools(row))
    if "messages" in row:
        messages, said = conversation(row["messages"], "messages")
        return demonstration(messages, said, **tools(row))
    if "prompt" in row:
        reference = next((found for name in _REFERENCES if (found := _reference(row, name))), None)
        about = {"reference": reference} if reference else {}
        return Item(messages=prompt(row["prompt"]), gives="prompts", about=about | tools(row))
    raise ValueError("has none of TRL's columns: prompt, chosen and rejected, completion, messages")


def _reference(row: Row, name: str) -> str | None:
    value = row.get(name)
    return str(value) if isinstance(value, str | int | float) and not isinstance(value, bool) and value != "" else None


def _reader(setting: Setting) -> Read:
    return lambda row: _read(row, setting.scale)


def _looks_like(row: Row) -> bool:
    names = row.keys()
    whole = {"chosen", "rejected"} <= names or is_chat(row.get("messages"))
    return (
        whole
        or ("prompt" in names and (names <= {"prompt", *_REFERENCES, "tools"} or "completion" in names))
        or ({"prompt", "completions", "labels"} <= names)
    )


FORMAT = Format(
    name="trl",
    about="preference, unpaired preference, prompt and completion, messages, prompts, steps",
    looks_like=_looks_like,
    reader=_reader,
)
