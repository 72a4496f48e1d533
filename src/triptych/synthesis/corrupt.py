"""Corruption: worse versions of responses, made by one change to the text whose kind and place are recorded."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from triptych.models.chat import Ask
from triptych.operators import Case, Load, Operator, Outlook
from triptych.parts import Part, parts
from triptych.records import Message, Response, draw, make_response
from triptych.synthesis._fields import Shot

Change = Literal[
    "drop_sentence", "repeat_sentence", "swap_sentences", "change_number", "truncate",
    "wrong_step", "swap_names", "insert_fact", "mismatch",
]  # fmt: skip
_NUMBER = re.compile(r"(?<![\w.,])\d+(?:[.,]\d+)*(?![\w])")
_STEP_LABEL = re.compile(r"[\W_]*(?:step[ \t]+)?\d+[ \t]*[.:)]", re.IGNORECASE)
_WORD = re.compile(r"[^\W\d_][\w'’-]*")
_POOLS = {"insert_fact": "facts", "mismatch": "others"}
"""The changes that take something from a pool, and the field that it is."""


class Corrupt(Operator):
    """Makes a worse version of each response so far, as a negative whose fault is known.

    One change, drawn among `changes` that can be made to the text. A sentence is dropped, said twice, or swapped with the
    one after it; the text is cut off half-way (`truncate`). A digit of a number becomes another: anywhere
    (`change_number`), or in a step before the last, after which the other steps go on as they were (`wrong_step`). A name
    is exchanged for another one of the text, the prompt or the other responses (`swap_names`); names are words with a
    capital inside of a sentence, so that scripts without capitals have none, and German has too many. One of the `facts`
    is put in (`insert_fact`); they are yours to make false. The answer to another prompt, one of the `others`, takes its
    place (`mismatch`).

    What was done and where stands in `params`; the response that was corrupted, or whose place is taken, is the parent.
    A text to which none of the changes can be made gives no response.
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
    facts: tuple[str, ...] = ()
    """For `insert_fact`: sentences that no good response says."""
    others: tuple[Shot, ...] = ()
    """For `mismatch`: other prompts with answers to them. That of the prompt at hand is never taken."""
    n: int = Field(default=1, ge=1, le=100)
    """Corrupted versions of each response; fewer where there are not so many different ones."""

    @model_validator(mode="after")
    def _pools_fit(self) -> Corrupt:
        for change, field in _POOLS.items():
            if (change in self.changes) != bool(getattr(self, field)):
                raise ValueError(f"the change {change} takes one of {field}: give both, or neither")
        return self

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
                changed, told = self._changed(change, case, text, draw(case.seed, change, response.id, index))
                if changed.strip() and changed not in seen:
                    seen.add(changed)
                    found.append(self._response(response, index, changed, {"change": change} | told))
                    break
        return found

    def _changed(self, change: Change, case: Case, text: str, lot: int) -> tuple[str, dict[str, Any]]:
        """The text after a change, and what to record of it; the text as it was where the change can't be made."""
        if change == "swap_names":
            return _swap_names(text, lot, _names_known(case))
        if change == "insert_fact":
            return _insert_fact(text, lot, [fact for fact in self.facts if fact not in text])
        if change == "mismatch":
            return _mismatch(text, lot, [one for one in self.others if one.prompt.strip() != case.prompt.text.strip()])
        if change == "wrong_step":
            return _wrong_step(text, lot)
        changed, where = _CHANGES[change](text, lot)
        return changed, {"at": where}

    def _response(self, parent: Response, index: int, text: str, params: dict[str, Any]) -> Response:
        own = params["change"] != "mismatch"
        return make_response(
            prompt_id=parent.prompt_id,
            generator=self.name or self.kind,
            generator_id=self.identity(),
            model=parent.model if own else "given",
            model_version=parent.model_version if own else "",
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


def _wrong_step(text: str, lot: int) -> tuple[str, dict[str, Any]]:
    """A number of one step before the last, not that of the step itself, has another digit."""
    steps = parts(text, "step")[:-1]
    for turn in range(len(steps)):
        place = (lot + turn) % len(steps)
        start, end = steps[place]
        label = _STEP_LABEL.match(text, start, end)
        begin = label.end() if label else start
        changed, at = _change_number(text[begin:end], lot // len(steps))
        if changed != text[begin:end]:
            return text[:begin] + changed + text[end:], {"at": begin + at, "step": place}
    return text, {}


def _swap_names(text: str, lot: int, known: list[str]) -> tuple[str, dict[str, Any]]:
    """One name of the text and another that is known change places, wherever they stand."""
    there = [name for name in known if re.search(rf"\b{re.escape(name)}\b", text)]
    if not there:
        return text, {}
    one = there[lot % len(there)]
    others = [name for name in known if name not in one and one not in name]
    if not others:
        return text, {}
    other = others[(lot // len(there)) % len(others)]
    either = re.compile(rf"\b(?:{re.escape(one)}|{re.escape(other)})\b")
    found = either.search(text)
    at = found.start() if found else 0
    return either.sub(lambda name: other if name[0] == one else one, text), {"at": at, "names": [one, other]}


def _names_known(case: Case) -> list[str]:
    """The names in the prompt and in all responses to it, each once."""
    texts = [*(message.content for message in case.prompt.messages), *(one.text for one in case.responses)]
    return list(dict.fromkeys(name for text in texts for name in _names(text)))


def _names(text: str) -> Iterator[str]:
    """Words with a capital that begin no sentence; those that follow one another are one name."""
    for start, end in parts(text, "sentence"):
        words = list(_WORD.finditer(text, start, end))[1:]
        name: list[re.Match[str]] = []
        for word in words:
            capital = word[0][0].isupper() and not re.match(r"I(?:\b|['’])", word[0])
            if name and not (capital and text[name[-1].end() : word.start()] == " "):
                yield text[name[0].start() : name[-1].end()]
                name = []
            if capital:
                name.append(word)
        if name:
            yield text[name[0].start() : name[-1].end()]


def _insert_fact(text: str, lot: int, facts: list[str]) -> tuple[str, dict[str, Any]]:
    found = parts(text, "sentence")
    if not found or not facts:
        return text, {}
    after, fact = found[lot % len(found)].end, facts[(lot // len(found)) % len(facts)]
    return f"{text[:after]} {fact}{text[after:]}", {"at": after + 1, "fact": fact}


def _mismatch(text: str, lot: int, others: list[Shot]) -> tuple[str, dict[str, Any]]:
    if not others:
        return text, {}
    taken = others[lot % len(others)]
    return taken.response, {"at": 0, "answers": taken.prompt}


_CHANGES: dict[str, Callable[[str, int], tuple[str, int]]] = {
    "drop_sentence": _drop_sentence,
    "repeat_sentence": _repeat_sentence,
    "swap_sentences": _swap_sentences,
    "change_number": _change_number,
    "truncate": _truncate,
}
