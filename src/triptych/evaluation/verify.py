"""The verifier: programs check what a prompt demands of its answers. No model, no call."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import msgspec
from pydantic import Field, TypeAdapter, ValidationError

from triptych.errors import PromptError
from triptych.evaluation._slowly import beside_others, slowly
from triptych.evaluation.constraints import Check, Constraint
from triptych.evaluation.constraints.code_process import RunWith
from triptych.evaluation.constraints.unit_tests import NOT_SAID, UnitTests
from triptych.models.chat import Ask
from triptych.models.spec import ModelSpec
from triptych.operators import Case, Load, Operator, Outlook
from triptych.records import Judgement, Objective, Prompt, canonical_json, content_id, make_judgement

_ADAPTER: TypeAdapter[Constraint] = TypeAdapter(Constraint)


class Verify(Operator):
    """Checks each response against the prompt's own constraints, and against those given here.

    One judgement of score 0 or 1 for each response and check. A constraint that is no valid constraint gives
    judgements of status `failed`, never a pass.
    """

    not_in_identity: ClassVar[frozenset[str]] = frozenset({"run_with"})

    kind: Literal["verify"] = "verify"
    name: str | None = None
    """What judgements call the evaluator; its kind if not given."""
    criterion: str = "constraints"
    """The criterion that the checks count for; need not be defined in the objective."""
    constraints: tuple[Constraint, ...] = ()
    """Checks for every response, beside those of its prompt."""
    use_prompt: bool = True
    """Whether to check the prompt's own constraints."""
    final_answer: bool = False
    """Whether to check that the final answer equals the prompt's reference, as a number or formula."""
    run_with: Annotated[RunWith, Field(min_length=1)] | None = None
    """How `unit_tests` runs code that a model wrote: a command that starts Python apart from all else, such as
    `[docker, run, --rm, -i, --network, none, "python:3.12", python]`, or `unsafe`: as the user, on this machine."""

    @property
    def needs(self) -> tuple[str, ...]:
        """What it needs of prompts, in words."""
        if self.final_answer:
            return ("prompts with a reference",)
        return ("prompts with constraints",) if self.use_prompt and not self.constraints else ()

    def problems(self, models: Mapping[str, ModelSpec], objective: Objective) -> Iterator[tuple[str, str]]:
        """Say what does not fit: code to run, and not how it is kept apart."""
        if self.run_with is None and any(isinstance(each, UnitTests) for each in self.constraints):
            yield "run_with", NOT_SAID

    def lacking(self, prompt: Prompt) -> str | None:
        """Say that a prompt's answers are code to run, where nothing says how it is kept apart."""
        runs = self.use_prompt and any(each.get("kind") == "unit_tests" for each in prompt.constraints)
        return NOT_SAID if runs and self.run_with is None else None

    def prepare(self, folder: Path) -> None:
        """Look for the command that runs code. Raises `PromptError` where there is none."""
        if isinstance(self.run_with, tuple) and shutil.which(self.run_with[0]) is None:
            raise PromptError(f"run_with: there is no command {self.run_with[0]!r} on this machine")

    async def judge(self, case: Case, ask: Ask) -> list[Judgement]:
        """Check all responses of status ok."""
        declared = case.objective.criteria.get(self.criterion)
        about: dict[str, Any] = {
            "prompt_id": case.prompt.id,
            "evaluator_id": self.identity(),
            "criterion_id": declared.id if declared else content_id("c", ["verify", self.criterion]),
            "criterion": self.criterion,
            "evaluator": self.name or self.kind,
            "objective_version": case.objective.version,
            "scale": (0.0, 1.0),
        }
        checks = self._checks(case)
        return [
            make_judgement(
                **about, response_ids=(response.id,), check=label, **await self._outcome(check, response.text)
            )
            for response in case.responses
            if response.status == "ok"
            for label, check in checks
        ]

    def forecast(self, outlook: Outlook) -> list[Load]:
        """Expect no call."""
        return []

    async def _outcome(self, check: Constraint | str, text: str) -> dict[str, Any]:
        if isinstance(check, str):
            return {"status": "failed", "error": check}
        try:
            result = await self._checked(check, text)
        except (ValueError, ArithmeticError, RecursionError) as error:  # prompts and responses can be anything
            return {"status": "failed", "error": f"{check.kind} can't be checked: {error}"[:500]}
        score = result.share if result.share is not None else float(result.passed)
        return {"scores": (score,), "rationale": result.found}

    async def _checked(self, check: Constraint, text: str) -> Check:
        if isinstance(check, UnitTests) and self.run_with is not None:
            return await beside_others(check.run, text, self.run_with)
        return await slowly(check.check, text) if check.may_be_slow(text) else check.check(text)

    def _checks(self, case: Case) -> list[tuple[str, Constraint | str]]:
        """All checks of a prompt, each under a label of its own; a text says why one can't be made."""
        checks: list[Constraint | str] = list(self.constraints)
        if self.use_prompt:
            checks += [_parsed(canonical_json(written)) for written in case.prompt.constraints]
        if self.final_answer and case.prompt.reference is not None:
            checks.append(_parsed(canonical_json({"kind": "final_answer", "answer": case.prompt.reference})))
        seen: Counter[str] = Counter()
        labelled = []
        for check in checks:
            label = "invalid" if isinstance(check, str) else check.kind
            seen[label] += 1
            labelled.append((label if seen[label] == 1 else f"{label}#{seen[label]}", check))
        return labelled


@lru_cache(maxsize=4096)
def _parsed(written: bytes) -> Constraint | str:
    try:
        return _ADAPTER.validate_python(msgspec.json.decode(written))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        return f"the prompt's constraint {written.decode()[:200]} can't be checked: {place}: {first['msg']}"
