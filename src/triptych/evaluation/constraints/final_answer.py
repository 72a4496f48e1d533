"""The constraint that the final answer equals a given one, and where the final answer of a text is found."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import ConfigDict, StringConstraints

from triptych.evaluation.constraints.check import Check, Checkable
from triptych.evaluation.constraints.math_process import same_mathematics
from triptych.evaluation.constraints.numbers import NUMBER, lone_number, read_number, spelled_out

_LONGEST = 500
_LOOKED_AT = 100_000
# A dollar sign opens a formula only before a character and closes one only after a character and before no
# digit (Pandoc's rule), so that "$12 and $15" holds none.
_FORMULA = re.compile(
    r"\$\$(?P<display>[^$]+)\$\$|\\\((?P<round>.{1,500}?)\\\)|\\\[(?P<square>.{1,500}?)\\\]|"
    r"(?<![\\$\w])\$(?P<inline>(?=\S)(?:\\.|[^$\\\n]){1,500}?(?<=\S))\$(?![\d$])",
    re.DOTALL,
)
_TIME = re.compile(r"(?<![\w.^])\d++(?::\d++(?:\.\d++)?)+(?:\s?[ap]\.?m\b\.?)?", re.IGNORECASE)
_LEAD = re.compile(r"^\**(?:(?:the |my )?(?:final |correct )?answer(?: is)?\s*[:=]?\s*)?", re.IGNORECASE)
_ITEM_NUMBER = re.compile(r"^[^\S\n]*(?:#+ *)?(?:\*\*)?\d+[.)](?=\**\s+\S)", re.MULTILINE)


class FinalAnswer(Checkable):
    r"""The final answer is mathematically equal to a known one. Units and currencies are not compared.

    The final answer is the last `\boxed{}`; else the value that follows the last `####`; else the last
    number or formula,
    the numbers of list items left out, wherever it stands: "12 or 13" answers 13, and "12. It took 2 steps." answers 2.
    Only the last 100,000 characters are looked at. `1e3` and `2.5 million` are numbers; other numbers in words and
    decimal commas are not understood. A time or ratio such as `3:30` equals only what is written alike. Numbers are compared exactly (see `Number.equals`); all else needs the extra `verify`: math-verify
    compares it with SymPy, and what it can't decide in 5 seconds is taken for unequal.
    """

    model_config = ConfigDict(coerce_numbers_to_str=True)

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
            return Check(False, f"a final answer of {len(found):,} characters; {self.answer} wanted")
        return Check(equal_answers(self.answer, found), f"final answer {found}; {self.answer} wanted")

    def may_be_slow(self, text: str) -> bool:
        """Whether two formulas may have to be compared; finding that out costs more than a thread."""
        return True


def final_answer(text: str) -> str | None:
    """The final answer of a text as it is written there, or None."""
    text = text[-_LOOKED_AT:]
    boxed = _last_boxed(text)
    if boxed is not None:
        return boxed.strip() or None
    if (marked := _after_marks(text)) is not None:
        return marked
    return _last_number_or_formula(spelled_out(text))


def _after_marks(text: str) -> str | None:
    """The lone value on the line after the last `####`, as GSM8K writes its answers; other such lines are headings."""
    _, marks, after = text.rpartition("####")
    line = after.strip().splitlines()[0].strip() if after.strip() else ""
    if not marks or line.endswith(":") or _ITEM_NUMBER.match(line):
        return None
    value = _LEAD.sub("", line).strip("*. ")
    plain = value and (lone_number(_bare(value)) or _FORMULA.fullmatch(value) or _TIME.fullmatch(value))
    return value if plain else None


def _last_boxed(text: str) -> str | None:
    r"""What stands in the last `\boxed{...}`, if its braces are closed."""
    starts = [found.end() for found in re.finditer(r"\\f?boxed\s*\{", text)]
    if not starts:
        return None
    depth = 1
    for brace in re.finditer(r"(?<!\\)[{}]", text[starts[-1] :]):
        depth += 1 if brace[0] == "{" else -1
        if not depth:
            return text[starts[-1] : starts[-1] + brace.start()]
    return None


def _last_number_or_formula(text: str) -> str | None:
    formula = _last(_FORMULA, text)
    words = _blank(_FORMULA, text)
    # an answer such as "12. That is all" looks like the item of a list
    number = _last_number(_blank(_ITEM_NUMBER, words)) or _last_number(words)
    last = max(filter(None, (formula, number, _last(_TIME, words))), key=lambda found: found.start(), default=None)
    if last is None:
        return None
    return (next(inside for inside in last.groups() if inside) if last is formula else last[0]).strip()


def _last(pattern: re.Pattern[str], text: str) -> re.Match[str] | None:
    return next(reversed(list(pattern.finditer(text))), None)


def _last_number(text: str) -> re.Match[str] | None:
    return next((found for found in reversed(list(NUMBER.finditer(text))) if read_number(found)), None)


def _blank(pattern: re.Pattern[str], text: str) -> str:
    return pattern.sub(lambda found: " " * len(found[0]), text)


def equal_answers(answer: str, found: str) -> bool:
    """Whether two final answers say the same, as numbers, as times or as mathematics.

    Raises `MissingExtra` where one of the two is more than a number and math-verify is not installed.
    """
    if max(len(answer), len(found)) > _LONGEST:
        return answer == found
    wanted_time, given_time = _time(answer), _time(found)
    if wanted_time or given_time:
        return wanted_time == given_time
    wanted, given = lone_number(_bare(answer)), lone_number(_last_side(_bare(found)))
    if wanted and given:
        return wanted.equals(given)
    return same_mathematics(_as_latex(answer), _as_latex(found))


def _time(text: str) -> str | None:
    """A text that is a time or a ratio, in one way of writing: 3:30pm of "3:30 P.M."."""
    text = re.sub(r"\\text\{([^{}]*)\}", r"\1", _bare(text))
    text = " ".join(text.split()).strip("* ")
    return re.sub(r"\s|\.$|\.(?=m)", "", text.lower()) if _TIME.fullmatch(text.removesuffix(".")) else None


def _last_side(formula: str) -> str:
    """What an equation ends with: 12 of `x = 5 + 7 = 12`."""
    return re.split(r"(?<![<>!])=", formula)[-1]


def _bare(formula: str) -> str:
    """A formula without the dollar signs around it, if they are on both sides."""
    return formula.strip("$") if len(formula) > 2 and formula[0] == formula[-1] == "$" else formula


def _as_latex(formula: str) -> str:
    return re.sub(r"(?<!\\)%", r"\\%", _bare(formula.strip()).rstrip("."))
