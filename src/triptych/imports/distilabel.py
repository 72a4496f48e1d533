"""distilabel and Argilla: generations with ratings and rationales, or the pair made of them.

The columns are those of distilabel's UltraFeedback task and of its step FormatTextGenerationDPO
(github.com/argilla-io/distilabel, src/distilabel/steps/formatting/dpo.py).
"""

from __future__ import annotations

from typing import Any

from triptych.imports.fields import (
    chat,
    field,
    is_chat,
    listed,
    name_of,
    prompt,
    rating,
    reply,
    shared_prompt,
    with_system,
)
from triptych.imports.item import Answer, Format, Item, Read, Row, Setting, Verdict, pair
from triptych.prompts.row import read_text
from triptych.records import Message

_SCALE = (1.0, 5.0)
_PAIR_RATINGS = (("chosen_rating", "rejected_rating"), ("chosen_avg_rating", "rejected_avg_rating"))


def _messages(row: Row) -> tuple[Message, ...]:
    name = next(
        (name for name in ("instruction", "messages", "prompt", "input") if row.get(name) is not None), "instruction"
    )
    asked = prompt(field(row, name))
    return with_system(row.get("system_prompt") or row.get("system"), asked) if asked[0].role != "system" else asked


def _read_generations(row: Row, scale: tuple[float, float]) -> Item:
    said = listed(field(row, "generations"), "generations")
    ratings = listed(field(row, "ratings" if "ratings" in row else "rating"), "ratings")
    if len(said) != len(ratings):
        raise ValueError(f"there are {len(ratings)} ratings for {len(said)} generations")
    models, rationales = (_beside(row, name, len(said)) for name in ("generation_models", "rationales"))
    answers = tuple(
        Answer(reply(text, f"generation {place + 1}"), read_text("generation_models", models[place]) or "given")
        for place, text in enumerate(said)
    )
    verdicts = tuple(
        _verdict(place, value, rationales[place], scale, name_of(row, "model_name"))
        for place, value in enumerate(ratings)
    )
    return Item(messages=_messages(row), answers=answers, verdicts=verdicts, gives="ratings")


def _verdict(place: int, value: Any, rationale: Any, scale: tuple[float, float], judge: str | None) -> Verdict:
    shared: dict[str, Any] = {
        "of": (place,),
        "criterion": "rating",
        "scale": scale,
        "rationale": read_text(f"rationale {place + 1}", rationale),
        "model": judge,
    }
    if value is None:  # the task could not read what the judge said
        return Verdict(**shared, status="unparsed", raw="null", error="the data has no rating here")
    return Verdict(**shared, scores=(rating(value, f"rating {place + 1}", scale),))


def _beside(row: Row, name: str, length: int) -> list[Any]:
    """A list beside the generations, if there is one of their length."""
    found = row.get(name)
    return found if isinstance(found, list) and len(found) == length else [None] * length


def _read_pair(row: Row, scale: tuple[float, float]) -> Item:
    names = next((names for names in _PAIR_RATINGS if names[0] in row), _PAIR_RATINGS[0])
    scores = [None if row.get(name) is None else rating(row[name], name, scale) for name in names]
    chosen, rejected = (row.get(name, row.get(f"{name}_response")) for name in ("chosen", "rejected"))
    models = [name_of(row, name) for name in ("chosen_model", "rejected_model")]
    shared: dict[str, Any] = {"scores": scores, "scale": scale, "score": "rating", "models": models}
    if is_chat(chosen) and is_chat(rejected):
        whole = chat(chosen, "chosen"), chat(rejected, "rejected")
        if whole[0][0].role not in ("assistant", "tool"):
            return pair(*shared_prompt(*whole), **shared)
    for value, name in ((chosen, "chosen"), (rejected, "rejected")):
        if value is None:
            raise ValueError(f"{name} is missing")
    return pair(_messages(row), reply(chosen, "chosen"), reply(rejected, "rejected"), **shared)


def _reader(setting: Setting) -> Read:
    scale = setting.scale or _SCALE
    return lambda row: (
        _read_generations(row, scale) if "generations" in row and "chosen" not in row else _read_pair(row, scale)
    )


def _looks_like(row: Row) -> bool:
    if isinstance(row.get("generations"), list) and ("ratings" in row or "rating" in row):
        return True
    return any(set(names) <= row.keys() for names in _PAIR_RATINGS)


FORMAT = Format(
    name="distilabel",
    about="generations with ratings and rationales, or the pair made of them with its ratings (also Argilla's)",
    looks_like=_looks_like,
    reader=_reader,
)
