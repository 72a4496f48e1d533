"""What operators give back, looked at before it goes into a table: anybody may have written them."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from math import inf, isfinite
from sys import float_info
from typing import Any, TypeVar

from triptych.errors import OperatorFailed, TriptychError
from triptych.models.chat import Ask
from triptych.operators import Case, Evaluator, Evolver, Generator, Unmade
from triptych.records import Judgement, Prompt, Response

_Out = TypeVar("_Out")
_ROUNDING = 1e-9
"""By which part of its scale a score may miss the scale."""
_SURROGATE = re.compile("[\ud800-\udfff]")
_ANY = (-float_info.max, float_info.max)


async def evolved(operator: Evolver, case: Case, ask: Ask) -> list[Prompt | Unmade]:
    """What an evolver makes of a prompt. Raises `OperatorFailed`, which names it, where it fails or that is none."""
    who = f"the evolution operator {_called(operator)}"
    made = await _awaited(who, lambda: operator.evolve(case, ask))
    for one in _list(who, made, "prompts"):
        if not isinstance(one, Prompt | Unmade):
            raise OperatorFailed(f"{who} gave {_shown(one)}, which is neither a Prompt nor an Unmade")
    return made


async def responded(operator: Generator, case: Case, ask: Ask) -> list[Response]:
    """What a generator makes for a prompt. Raises `OperatorFailed`, which names it, where it fails or that is none."""
    who = f"the generator {_called(operator)}"
    made = await _awaited(who, lambda: operator.respond(case, ask))
    known = {response.id for response in case.responses}
    for one in _list(who, made, "responses"):
        if not isinstance(one, Response):
            raise OperatorFailed(f"{who} gave {_shown(one)}, which is no Response")
        if one.prompt_id != case.prompt.id:
            raise OperatorFailed(f"{who} gave the response {one.id} of another prompt, {_shown(one.prompt_id)}")
        if one.id in known:
            raise OperatorFailed(f"{who} gave the response {one.id}, which is there already")
        known.add(one.id)
    return made


async def judged(operator: Evaluator, case: Case, ask: Ask) -> list[Judgement]:
    """What an evaluator says of a prompt's responses.

    Raises `OperatorFailed`, which names it, where it fails, or says what can't stand in the table: a judgement of what
    it was not shown, the same one twice, or scores and ranks that are none.
    """
    who = f"the evaluator {_called(operator)}"
    said = await _awaited(who, lambda: operator.judge(case, ask))
    known, seen = {response.id for response in case.responses}, set[str]()
    for one in _list(who, said, "judgements"):
        if not isinstance(one, Judgement):
            raise OperatorFailed(f"{who} gave {_shown(one)}, which is no Judgement")
        if (wrong := _wrong(one, case.prompt.id, known, seen)) is not None:
            raise OperatorFailed(f"{who} gave the judgement {one.id} {wrong}")
        seen.add(one.id)
    return said


async def _awaited(who: str, work: Callable[[], Awaitable[_Out]]) -> _Out:
    try:
        return await work()
    except TriptychError:
        raise
    except (asyncio.CancelledError, GeneratorExit):
        raise
    except BaseException as error:  # a panic of Polars, or sys.exit(): neither is an Exception
        raise OperatorFailed(f"{who} failed with {type(error).__name__}: {error}") from error


def _called(operator: Any) -> str:
    return repr(getattr(operator, "name", None) or operator.kind)


def _list(who: str, made: Any, what: str) -> Sequence[Any]:
    if not isinstance(made, list | tuple):
        raise OperatorFailed(f"{who} gave {_shown(made)}, which is no list of {what}")
    return made


def _shown(value: Any) -> str:
    return ascii(value)[:100]


def _wrong(one: Judgement, prompt_id: str, known: set[str], seen: set[str]) -> str | None:
    """What is wrong with a judgement, as the end of a sentence."""
    if one.prompt_id != prompt_id:
        return f"of another prompt, {_shown(one.prompt_id)}"
    if one.id in seen:
        return "twice"
    if not known.issuperset(one.response_ids):
        strange = next(response for response in one.response_ids if response not in known)
        return f"of the response {_shown(strange)}, which is none of the prompt's"
    verdicts: Sequence[Any] | None = one.scores
    if verdicts is not None and not _are_scores(verdicts, one.scale):
        wrong = _wrong_scores(verdicts, one.scale)
        if wrong is not None:
            return wrong
    if one.ranks is not None:
        verdicts = one.ranks
        if not all(isinstance(rank, int) and rank > 0 for rank in verdicts):
            return f"with the ranks {_shown(verdicts)}, which are not whole numbers from 1"
    for text in (one.rationale, one.raw, one.error):
        if text and not text.isascii() and (half := _SURROGATE.search(text)):
            return f"with half a character, {_shown(half[0])}, which is no text"
    shown = one.about or one.response_ids
    if verdicts is not None and len(verdicts) != len(shown):
        return f"with {len(verdicts)} verdicts on {len(shown)} shown"
    return None


def _are_scores(scores: Sequence[Any], scale: tuple[float, float] | None) -> bool:
    """Whether they are so at first sight, as nearly all are."""
    try:
        low, high = scale or _ANY
        for score in scores:
            if not low <= score <= high:
                return False
        return scale is None or -inf < low < high < inf
    except (TypeError, ValueError):
        return False


def _wrong_scores(scores: Sequence[Any], scale: tuple[float, float] | None) -> str | None:
    """What is wrong with scores; nothing, where rounding alone puts them off their scale."""
    try:
        for score in scores:
            if not isfinite(score):
                return f"with the score {score}, which is no finite number"
        if scale is not None:
            low, high = scale
            if not (isfinite(low) and isfinite(high) and low < high):
                return f"with the scale {_shown(scale)}, which does not rise from one finite number to another"
            room = (high - low) * _ROUNDING
            for score in scores:
                if not low - room <= score <= high + room:
                    return f"with the score {score:g}, which is not on its scale from {low:g} to {high:g}"
    except (TypeError, ValueError, OverflowError):
        return f"with the scores {_shown(scores)} on the scale {_shown(scale)}, which are no numbers"
    return None
