"""The parts of a response that can be judged by themselves: steps and sentences, by where they stand in its text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Literal, NamedTuple

import msgspec

from triptych.records import Response, StepLocator
from triptych.units import sentences

Unit = Literal["step", "sentence"]

_STEP = re.compile(r"^[ \t>#*_]*step[ \t]+\d+\b", re.IGNORECASE | re.MULTILINE)
_BLANK_LINE = re.compile(r"\n[^\S\n]*\n\s*")
_FIRST_WORDS = 12
_LINE_END = re.compile(r"\n\s*")


class Part(NamedTuple):
    """A stretch of a text: `text[start:end]`."""

    start: int
    end: int


def parts(text: str, unit: Unit) -> list[Part]:
    """The parts of a text in their order; they hold no white space at their ends, and none is empty.

    Steps begin with lines that say "Step 1", "Step 2" and so on, and what stands before the first belongs to it; where
    there are no such lines they are the text's paragraphs, and where there is but one, its lines.
    """
    return list(_sentences(text)) if unit == "sentence" else _steps(text)


def located(response: Response, unit: Unit, most: int) -> list[StepLocator]:
    """The parts of a response's last assistant message; beyond `most` of them the last takes the rest of the text."""
    place = max((at for at, message in enumerate(response.messages) if message.role == "assistant"), default=None)
    if place is None:
        return []
    found = parts(response.messages[place].content, unit)
    if len(found) > most:
        found = [*found[: most - 1], Part(found[most - 1].start, found[-1].end)]
    return [
        StepLocator(unit=unit, index=index, message=place, start=start, end=end)
        for index, (start, end) in enumerate(found)
    ]


def usual_parts(tokens: float, unit: Unit, most: int) -> float:
    """How many parts to expect of a response of so many tokens: sentences of 20 tokens, steps of 40."""
    return min(max(tokens / (20 if unit == "sentence" else 40), 1.0), most)


def up_to(response: Response, step: StepLocator) -> Response:
    """The response cut off where a part of it ends."""
    message = response.messages[step.message]
    cut = msgspec.structs.replace(message, content=message.content[: step.end])
    return msgspec.structs.replace(response, messages=(*response.messages[: step.message], cut))


def _sentences(text: str) -> Iterator[Part]:
    at = 0
    for sentence in sentences(text):
        # Line breaks of other systems are not kept in a sentence, so its words are looked for: the first ones for its
        # beginning, the others one by one, since a pattern of them all would take long to make of a long sentence.
        words = sentence.split()
        found = re.compile(r"\s+".join(map(re.escape, words[:_FIRST_WORDS]))).search(text, at)
        if found is not None:
            at = found.end()
            for word in words[_FIRST_WORDS:]:
                at = text.index(word, at) + len(word)
            yield Part(found.start(), at)


def _steps(text: str) -> list[Part]:
    starts = [found.start() for found in _STEP.finditer(text)]
    if len(starts) > 1:
        return _stripped(text, [0, *starts[1:], len(text)])
    for between in (_BLANK_LINE, _LINE_END):
        cuts = [0, *(found.end() for found in between.finditer(text)), len(text)]
        found = _stripped(text, cuts)
        if len(found) > 1:
            return found
    return _stripped(text, [0, len(text)])


def _stripped(text: str, cuts: list[int]) -> list[Part]:
    """The stretches between cuts, without white space at their ends."""
    found = []
    for start, end in pairwise(cuts):
        piece = text[start:end]
        if piece.strip():
            found.append(Part(start + len(piece) - len(piece.lstrip()), start + len(piece.rstrip())))
    return found
