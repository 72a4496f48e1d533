"""The final answer to a maths problem: equal as a number or formula, however it is written."""

from __future__ import annotations

import logging
import re
from functools import lru_cache
from typing import Any, Literal

from pydantic import Field

from triptych.errors import MissingExtra
from triptych.evaluation.constraints.check import Check, Checkable

_NUMBER = re.compile(r"[-−]?\$?\d(?:[\d,]*\d)?(?:\.\d+)?(?:\s?/\s?\d+)?%?")
_BOXED = re.compile(r"\\boxed\s*\{((?:[^{}]|\{[^{}]*\})*)\}")
_AFTER_MARK = re.compile(r"####\s*(.+)")
_LONGEST = 400


class FinalAnswer(Checkable):
    """Ends in this answer. Needs the extra `verify`.

    What counts as the text's answer: what stands in the last \\boxed{}, else after ####, else the last number.
    """

    kind: Literal["final_answer"] = "final_answer"
    answer: str = Field(min_length=1, max_length=_LONGEST)
    """The correct answer: a number, fraction or formula (LaTeX allowed); in a worked one, what stands after ####."""

    def check(self, text: str) -> Check:
        """Compare mathematically, by math-verify; code in the text is never run."""
        said = _said(text)
        if said is None:
            return Check(False, "no answer found")
        return Check(_equal(_said(self.answer) or self.answer, said), f"answers {said[:60]!r}")


def _said(text: str) -> str | None:
    for marked in (_BOXED, _AFTER_MARK):
        if found := marked.findall(text):
            return str(found[-1]).strip()[:_LONGEST] or None
    numbers = _NUMBER.findall(text)
    if numbers:
        return str(numbers[-1])
    return text.strip() if 0 < len(text.strip()) <= 40 else None


@lru_cache(maxsize=65536)
def _equal(wanted: str, said: str) -> bool:
    exact = _number(wanted), _number(said)
    if None not in exact:
        return exact[0] == exact[1]
    parse, verify = _math_verify()
    # Without time limits of its own: those use signals, which only work in the main thread.
    options = {"parsing_timeout": None, "raise_on_error": False}
    gold, answer = parse(f"${_plain(wanted)}$", **options), parse(f"${_plain(said)}$", **options)
    return bool(gold and answer and verify(gold, answer, timeout_seconds=None, raise_on_error=False))


def _plain(text: str) -> str:
    return text.strip().strip("$").replace("−", "-").rstrip(".")


def _number(text: str) -> Any:
    """Read a plain number or fraction exactly; None where it is something else. A per cent sign is kept apart."""
    from fractions import Fraction

    plain = re.sub(r"[,$\s]", "", _plain(text))
    try:
        value = Fraction(plain.removesuffix("%"))
    except (ValueError, ZeroDivisionError):
        return None
    return value


@lru_cache(maxsize=1)
def _math_verify() -> tuple[Any, Any]:
    try:
        from math_verify import parse, verify
    except ImportError as error:
        raise MissingExtra("the constraint final_answer needs: pip install 'triptych[verify]'") from error
    logging.getLogger("math_verify").setLevel(logging.ERROR)
    return parse, verify
