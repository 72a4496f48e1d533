"""The constraint that the final answer equals a given one, and where the final answer of a text is found."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, StringConstraints

from triptych.evaluation.constraints.check import Check
from triptych.evaluation.constraints.math_process import same_mathematics
from triptych.evaluation.constraints.numbers import NUMBER, lone_number, read_number, spelled_out

_LONGEST = 500
_LATEX = re.compile(
    r"\$\$(?P<display>[^$]+)\$\$|\\\((?P<round>.+?)\\\)|\\\[(?P<square>.+?)\\\]|"
    # a dollar sign opens a formula only before a character and closes it only after one: "$12 and $15" has none
    r"(?<![\\$\w])\$(?P<inline>(?=\S)(?:\\.|[^$\\\n])+?(?<=\S))\$(?![\d$])",
    re.DOTALL,
)
_ITEM_NUMBER = re.compile(r"^[^\S\n]*(?:#+ *)?(?:\*\*)?\d+[.)](?=\**\s+\S)", re.MULTILINE)


class FinalAnswer(BaseModel):
    """The final answer is mathematically equal to a known one. Units and currencies are not compared.

    The final answer is the last `\\boxed{}`; else what follows the last `####`; else the last number or formula of the
    text, the numbers of list items apart. So "12 or 13" answers 13, and "12, since 5 + 7 is 12" answers 12. Numbers
    in words, and decimal commas, are not understood. Numbers are compared exactly (see `numbers.Number.equals`), all else by math-verify with SymPy, which
    counts as unequal what it can't decide within 5 seconds.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", coerce_numbers_to_str=True)

    kind: Literal["final_answer"] = "final_answer"
    answer: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=_LONGEST)]
    """A number such as `12`, `1,200`, `3/4` or `12%`, or LaTeX."""

    def check(self, text: str) -> Check:
        """Find the final answer and compare it.

        Raises `MissingExtra` where one of the two is more than a number and math-verify is not installed.
        """
        found = final_answer(text)
        if found is None:
            return Check(False, f"no final answer; {self.answer} wanted")
        if len(found) > _LONGEST:
            return Check(False, f"the final answer has {len(found):,} characters; {self.answer} wanted")
        return Check(_equal(self.answer, found), f"final answer {found}; {self.answer} wanted")


def final_answer(text: str) -> str | None:
    """The final answer of a text as it is written there, or None."""
    boxed = _last_boxed(text)
    if boxed is not None:
        return boxed.strip() or None
    if "####" in text:
        after = text.rsplit("####", 1)[1].strip()
        return after.splitlines()[0] if after else None
    return _last_number_or_formula(text)


def _last_boxed(text: str) -> str | None:
    r"""What is in the last `\boxed{...}` whose braces are closed."""
    for start in reversed([found.end() for found in re.finditer(r"\\f?boxed\s*\{", text)]):
        depth = 1
        for place in range(start, len(text)):
            depth += {"{": 1, "}": -1}.get(text[place], 0) if text[place - 1] != "\\" else 0
            if not depth:
                return text[start:place]
    return None


def _last_number_or_formula(text: str) -> str | None:
    text = spelled_out(text)
    formulas = list(_LATEX.finditer(text))
    without_formulas = _LATEX.sub(lambda found: " " * len(found[0]), text)
    without_items = _ITEM_NUMBER.sub(lambda found: " " * len(found[0]), without_formulas)
    # an answer such as "12. That is all" looks like an item of a list
    numbers = list(NUMBER.finditer(without_items)) or list(NUMBER.finditer(without_formulas))
    number = next((found for found in reversed(numbers) if read_number(found)), None)
    if formulas and (number is None or formulas[-1].start() > number.start()):
        return next(inside for inside in formulas[-1].groups() if inside).strip()
    return number[0].strip() if number else None


def _equal(answer: str, found: str) -> bool:
    wanted, given = lone_number(answer), lone_number(_right_side(found))
    if wanted and given:
        return wanted.equals(given)
    return same_mathematics(_bare(answer), _bare(found))


def _right_side(formula: str) -> str:
    """What an equation ends with: 12 of `x = 5 + 7 = 12`."""
    return re.split(r"(?<![<>!])=", formula)[-1]


def _bare(formula: str) -> str:
    r"""A formula without the dollar signs around it, and with % as LaTeX writes it."""
    return re.sub(r"(?<!\\)%", r"\\%", formula.strip().strip("$").rstrip("."))
