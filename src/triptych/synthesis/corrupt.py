"""Corruption: worse versions of responses, made by one change to the text whose kind and place are recorded."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, ClassVar, Literal

from pydantic import Field

from triptych.models.chat import Ask
from triptych.operators import Case, Load, Operator, Outlook
from triptych.parts import Part, parts
from triptych.records import Message, Response, draw, make_response

Change = Literal["drop_sentence", "repeat_sentence", "swap_sentences", "change_number", "truncate"]
_NUMBER = re.compile(r"(?<![\w.,])\d+(?:[.,]\d+)*(?![\w])")


class Corrupt(Operator):
    """Makes a worse version of each response so far, as a negative whose fault is known.

    One change, drawn among `changes` that can be made to the text: a sentence dropped, said twice, or swapped with the
    one after it, a number changed, or the text cut off half-way. What was done and where stands in `params`; the
    response that was corrupted is the parent. A text to which none of the changes can be made gives no response.
    """

    not_in_identity: ClassVar[frozenset[str]] = frozenset({"name", "of", "n"})

    kind: Literal["corrupt"] = "corrupt"
    name: str | None = None
    """What responses call the generator; its kind if not given."""
    of: tuple[str, ...] | None = None
    """Names of the generators whose responses are corrupted; None takes all responses so far."""
    changes: tuple[Change, ...] = Field(
        default=("drop_sentence", "repeat_sentence", "swap_sentences", "change_number", "truncate"), min_length=1
    )
    """What may be done to a text."""
    n: int = Field(default=1, ge=1, le=100)
    """Corrupted versions of each response; fewer where there are not so many different ones."""

    async def respond(self, case: Case, ask: Ask) -> list[Response]:
        """Corrupt each response of status ok that is a single message. Makes no call."""
        return [
            corrupted
            for response in case.responses
            if response.status == "ok" and len(response.messages) == 1
            if self.of is None or response.generator in self.of
            for corrupted in self._versions(case, response)
        ]

    def forecast(self, outlook: Outlook) -> tuple[list[Load], Outlook]:
        """Expect no call, and as many responses again."""
        return [], outlook.with_responses(
            outlook.responses * self.n, outlook.response_tokens, outlook.longest_response_tokens
        )

    def _versions(self, case: Case, response: Response) -> list[Response]:
        text, seen = response.text, {response.text}
        found = []
        for index in range(self.n):
            # From a drawn start on, the first change in turn that makes a new text.
            start = draw(case.seed, "corrupt", response.id, index)
            for step in range(len(self.changes)):
                change = self.changes[(start + step) % len(self.changes)]
                changed, where = _CHANGES[change](text, draw(case.seed, change, response.id, index))
                if changed.strip() and changed not in seen:
                    seen.add(changed)
                    found.append(self._response(response, index, changed, {"change": change, "at": where}))
                    break
        return found

    def _response(self, parent: Response, index: int, text: str, params: dict[str, Any]) -> Response:
        return make_response(
            prompt_id=parent.prompt_id,
            generator=self.name or self.kind,
            generator_id=self.identity(),
            model=parent.model,
            model_version=parent.model_version,
            sample_index=index,
            parent_id=parent.id,
            params=params,
            messages=(Message("assistant", text),),
        )


def _drop_sentence(text: str, lot: int) -> tuple[str, int]:
    found = parts(text, "sentence")
    if len(found) < 2:
        return text, 0
    start, end = found[lot % len(found)]
    after = len(text[end:]) - len(text[end:].lstrip(" "))
    return text[:start] + text[end + after :], start


def _repeat_sentence(text: str, lot: int) -> tuple[str, int]:
    found = parts(text, "sentence")
    if not found:
        return text, 0
    start, end = found[lot % len(found)]
    return f"{text[:end]} {text[start:end]}{text[end:]}", end


def _swap_sentences(text: str, lot: int) -> tuple[str, int]:
    found = parts(text, "sentence")
    if len(found) < 2:
        return text, 0
    place = lot % (len(found) - 1)
    one, other = found[place], found[place + 1]
    said = [text[part.start : part.end] for part in (other, Part(one.end, other.start), one)]
    return text[: one.start] + "".join(said) + text[other.end :], one.start


def _change_number(text: str, lot: int) -> tuple[str, int]:
    """One digit of one number becomes another; a first digit never 0, so that it is as long as before."""
    found = list(_NUMBER.finditer(text))
    if not found:
        return text, 0
    number = found[lot % len(found)]
    digits = [place for place in range(number.start(), number.end()) if text[place].isdigit()]
    at = digits[(lot // len(found)) % len(digits)]
    others = [digit for digit in "0123456789" if digit != text[at] and (digit != "0" or at != digits[0])]
    return text[:at] + others[(lot // 1000) % len(others)] + text[at + 1 :], at


def _truncate(text: str, lot: int) -> tuple[str, int]:
    """Cut off after the middle of the words, between a third and two thirds of them."""
    ends = [found.end() for found in re.finditer(r"\S+", text)]
    if len(ends) < 3:
        return text, 0
    low, high = len(ends) // 3, 2 * len(ends) // 3
    at = ends[low + lot % (high - low + 1) - 1]
    return text[:at], at


_CHANGES: dict[str, Callable[[str, int], tuple[str, int]]] = {
    "drop_sentence": _drop_sentence,
    "repeat_sentence": _repeat_sentence,
    "swap_sentences": _swap_sentences,
    "change_number": _change_number,
    "truncate": _truncate,
}
