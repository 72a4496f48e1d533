"""UltraFeedback: completions with ratings of several aspects (arXiv:2310.01377; github.com/OpenBMB/UltraFeedback, README).

Also the form in pairs (huggingface.co/datasets/HuggingFaceH4/ultrafeedback_binarized): `prompt`, and `chosen` and
`rejected` as whole chats, with `score_chosen` and `score_rejected` from 1 to 10.
"""

from __future__ import annotations

from typing import Any

from triptych.imports.fields import (
    chat,
    field,
    is_chat,
    listed,
    name_of,
    optional_number,
    prompt,
    rating,
    reply,
    shared_prompt,
    text,
)
from triptych.imports.item import Answer, Format, Item, Read, Row, Setting, Verdict, pair
from triptych.records import Criterion

_ASPECTS, _OVERALL = (1.0, 5.0), (1.0, 10.0)
_ANNOTATOR = "gpt-4"
_NO_RATING = ("n/a", "na", "none", "")


def _read_completions(row: Row) -> Item:
    answers: list[Answer] = []
    verdicts: list[Verdict] = []
    for place, completion in enumerate(listed(field(row, "completions"), "completions")):
        if not isinstance(completion, dict):
            raise ValueError(f"completion {place + 1} is not an object")
        where = f"the response of completion {place + 1}"
        params = {"system": said} if (said := name_of(completion, "custom_system_prompt")) else {}
        answers.append(
            Answer(reply(field(completion, "response"), where), name_of(completion, "model") or "given", params)
        )
        verdicts += _verdicts(place, completion)
    if not answers:
        raise ValueError("completions is empty")
    about = {"source": source} if (source := name_of(row, "source")) else {}
    given = row.get("correct_answers")
    correct = [said for said in given if isinstance(said, str)] if isinstance(given, list) else []
    if correct and correct[0] not in ("None", ""):
        about["reference"] = correct[0]
    messages = prompt(text(row, "instruction"))
    return Item(messages=messages, answers=tuple(answers), verdicts=tuple(verdicts), gives="ratings", about=about)


def _verdicts(place: int, completion: Row) -> list[Verdict]:
    found = []
    annotations = completion.get("annotations") or {}
    if not isinstance(annotations, dict):
        raise ValueError(f"the annotations of completion {place + 1} are not an object")
    for aspect, said in annotations.items():
        if isinstance(said, dict):  # tables fill the aspects that a row does not have with nulls
            found.append(_aspect(place, aspect, said))
    overall = optional_number(completion, "overall_score")
    if overall is not None:
        rationale = name_of(completion, "critique")
        found.append(
            Verdict(
                of=(place,),
                criterion="overall",
                scores=(overall,),
                scale=_OVERALL,
                rationale=rationale,
                model=_ANNOTATOR,
            )
        )
    return found


def _aspect(place: int, aspect: str, said: dict[str, Any]) -> Verdict:
    """One rating; where the annotator gave none, as the data says with N/A, the verdict could not be read."""
    value = said.get("Rating")
    reasons = [said.get(name) for name in ("Rationale", "Rationale For Rating")]
    rationale = "\n".join(reason for reason in reasons if isinstance(reason, str) and reason) or None
    shared: dict[str, Any] = {
        "of": (place,),
        "criterion": aspect,
        "rationale": rationale,
        "scale": _ASPECTS,
        "model": _ANNOTATOR,
    }
    if value is None or (isinstance(value, str) and value.strip().lower() in _NO_RATING):
        return Verdict(**shared, status="unparsed", raw=str(value), error="the data has no rating here")
    return Verdict(**shared, scores=(rating(value, f"the rating of {aspect} of completion {place + 1}", _ASPECTS),))


def _read_pair(row: Row, scale: tuple[float, float]) -> Item:
    chats = (chat(field(row, name), name) for name in ("chosen", "rejected"))
    names = ("score_chosen", "score_rejected")
    scores = [None if row.get(name) is None else rating(row[name], name, scale) for name in names]
    return pair(*shared_prompt(*chats), scores=scores, scale=scale, score="overall", judge=_ANNOTATOR)


def _reader(setting: Setting) -> Read:
    return lambda row: _read_pair(row, setting.scale or _OVERALL) if "chosen" in row else _read_completions(row)


def _looks_like(row: Row) -> bool:
    completions = row.get("completions")
    if isinstance(completions, list) and completions and isinstance(completions[0], dict):
        return "instruction" in row and {"response", "annotations"} <= completions[0].keys()
    chosen = row.get("chosen")
    whole = is_chat(chosen) and isinstance(chosen, list) and chosen[0].get("role") in ("user", "system")
    asked = isinstance(row.get("prompt"), str)
    return whole and asked and "score_chosen" in row and "score_rejected" in row


FORMAT = Format(
    name="ultrafeedback",
    about="completions with annotations of aspects; also in pairs with score_chosen, score_rejected",
    looks_like=_looks_like,
    reader=_reader,
    criteria={
        "instruction_following": Criterion(text="How well the response does what the instruction asks."),
        "honesty": Criterion(text="Whether the response says what it knows and how sure it is of it."),
        "truthfulness": Criterion(text="Whether the response is free of errors of fact and of inventions."),
        "helpfulness": Criterion(text="How useful the response is to who asked."),
        # Given beside the aspects: one number for all of them, from another question to the same annotator.
        "overall": Criterion(text="How good the response is, all in all.", weight=0),
    },
)
