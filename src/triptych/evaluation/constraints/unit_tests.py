"""The constraint that the code of an answer passes tests. It runs what a model wrote."""

from __future__ import annotations

import re
import secrets
import signal
from collections.abc import Iterator
from textwrap import dedent
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from triptych.evaluation.constraints.check import Check, Checkable
from triptych.evaluation.constraints.code_process import MOST_OUTPUT, Ran, RunWith, run_apart
from triptych.evaluation.constraints.code_worker import BROKEN_TESTS, NO_MEMORY, TIME_IS_UP

NOT_SAID = (
    "unit_tests runs code that a model wrote. Say in `run_with` what keeps it apart: a command that starts Python, such as "
    "[docker, run, --rm, -i, --network, none, 'python:3.12', python]; or `unsafe`: it may do what you may do here"
)
_PYTHON = ("python", "py", "python3")
_LINE = 300
_FUTURE = re.compile(r"^from __future__ import [\w, ]+", re.MULTILINE)


class CodeCase(BaseModel):
    """What a program reads, and what it is to write then."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    input: str = ""
    """What it is given on standard input."""
    output: str
    """What it has to write to standard output; white space at the ends of lines and of the whole makes no difference."""


class UnitTests(Checkable):
    """The Python code of the answer passes tests: `tests`, which are run after it, or `cases` of what it reads and writes.

    The code is the last fenced block marked as Python, else the last one without a mark, else the whole text. A test is a
    script that raises where it fails, as those of MBPP (arXiv:2108.07732) and, with `entry_point`, of HumanEval
    (arXiv:2107.03374); cases are as in APPS (arXiv:2105.09938). Needs the `run_with` of `verify`.
    """

    kind: Literal["unit_tests"] = "unit_tests"
    tests: tuple[Annotated[str, StringConstraints(min_length=1)], ...] = ()
    """Scripts, run one after the other with the names that the answer defines."""
    cases: tuple[CodeCase, ...] = ()
    """Each an `input` on standard input and the `output` it asks for; the answer is run as a program for each."""
    setup: str = ""
    """Code that stands before the answer's, such as imports or the beginning of a function."""
    entry_point: str | None = Field(default=None, pattern=r"^[^\W\d]\w*$")
    """The function that each test's `check` is called with, as in HumanEval."""
    seconds: float = Field(default=5.0, gt=0, le=60)
    """How long all tests, or each case, may take."""
    memory_mb: int = Field(default=1024, ge=64, le=16_384)
    """How much memory, in MiB."""
    share: bool = False
    """Whether the score is the share that passed; otherwise it is 1 where all pass, and 0."""

    @model_validator(mode="after")
    def _one_kind(self) -> UnitTests:
        if bool(self.tests) == bool(self.cases):
            raise ValueError("needs tests or cases, and not both")
        if self.entry_point is not None and not self.tests:
            raise ValueError("entry_point is what tests call; cases run the whole program")
        return self

    def check(self, text: str) -> Check:
        """Raise `ValueError`: it takes more than a text to run code."""
        raise ValueError(NOT_SAID)

    def run(self, text: str, run_with: RunWith) -> Check:
        """Run the code of a text. Raises `ValueError` where it can't be run, or the tests are no Python."""
        code = python_of(text)
        if not code.strip():
            return Check(False, "no code")
        if self.setup:  # what is of the future has to stand above it
            code = "\n".join((*_FUTURE.findall(code), self.setup, _FUTURE.sub("", code)))
        return self._tested(code, run_with) if self.tests else self._tried(code, run_with)

    def _tested(self, code: str, run_with: RunWith) -> Check:
        called = f"\ncheck({self.entry_point})" if self.entry_point else ""
        word = secrets.token_hex(16).encode()
        job = self._job(code) | {"tests": [test + called for test in self.tests]}
        ran = run_apart(run_with, job, word)
        said = ran.out.rpartition(b"\n")[2]
        if not said.startswith(word) or ran.code > 128:  # what goes on when its keeper was killed is no answer
            return Check(False, self._end(ran, said) or "it ended before the tests")
        passed, _, wrong = _text(said[len(word) :]).strip().partition(" ")
        if ran.code == BROKEN_TESTS:
            raise ValueError(f"a test is no Python: {wrong}")
        return self._outcome(int(passed), len(self.tests), wrong, "tests")

    def _tried(self, code: str, run_with: RunWith) -> Check:
        passed, wrong = 0, ""
        for number, case in enumerate(self.cases, 1):
            ran = run_apart(run_with, self._job(code) | {"tests": [], "input": case.input})
            said = ran.err.rpartition(b"\n")[2]
            fault = self._end(ran, said) or _difference(_text(ran.out), case.output)
            passed += not fault
            wrong = wrong or (f"case {number}: {fault}" if fault else "")
            if fault and not self.share:
                break
        return self._outcome(passed, len(self.cases), wrong, "cases")

    def _job(self, code: str) -> dict[str, object]:
        code = code.encode("utf-8", "replace").decode()
        return {"code": code, "seconds": self.seconds, "memory_mb": self.memory_mb}

    def _end(self, ran: Ran, said: bytes) -> str:
        """What was wrong with the way it ended; nothing, where it ended well."""
        if ran.too_much:
            return f"wrote more than {MOST_OUTPUT:,} bytes"
        if ran.code in (TIME_IS_UP, 128 + signal.SIGXCPU):
            return f"took longer than {self.seconds:g} s"
        if ran.code == NO_MEMORY:
            return f"needed more than {self.memory_mb:,} MiB of memory"
        if ran.code > 128:
            return f"was ended by signal {ran.code - 128}"
        return (_text(said) or f"exited with {ran.code}") if ran.code else ""

    def _outcome(self, passed: int, of: int, wrong: str, what: str) -> Check:
        said = f"{passed} of {of} {what} passed{'; ' if wrong else ''}{wrong}"
        return Check(passed == of, said, passed / of if self.share else None)


def python_of(text: str) -> str:
    """The Python code of an answer: its last fenced block marked as Python, else its last unmarked one, else all of it."""
    blocks = list(_blocks(text))
    for marks in (_PYTHON, ("",)):
        fitting = [code for mark, code in blocks if mark in marks]
        if fitting:
            return dedent(fitting[-1])
    return "" if blocks else text


def _blocks(text: str) -> Iterator[tuple[str, str]]:
    """Fenced blocks, each with the word after its fence; one that is never closed goes to the end."""
    mark, code = None, list[str]()
    for line in text.split("\n"):
        fence = line.strip()
        if mark is None and fence.startswith("```"):
            mark, code = (fence[3:].split() or [""])[0].lower(), []
        elif mark is not None and fence == "```":
            yield mark, "\n".join(code)
            mark = None
        else:
            code.append(line)
    if mark is not None:
        yield mark, "\n".join(code)


def _difference(written: str, wanted: str) -> str:
    """How what was written differs from what was wanted."""
    found, right = _lines(written), _lines(wanted)
    if found == right:
        return ""
    at = next((place for place, (one, other) in enumerate(zip(found, right, strict=False)) if one != other), None)
    if at is None:
        return f"wrote {len(found)} lines; {len(right)} wanted"
    return f"wrote {found[at][:100]!r} in line {at + 1}; {right[at][:100]!r} wanted"


def _lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.strip().splitlines()]


def _text(said: bytes) -> str:
    return said.decode("utf-8", "replace").strip()[:_LINE]
