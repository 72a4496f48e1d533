"""Branching: a response goes another way from one of its steps on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

import msgspec
from pydantic import Field, model_validator

from triptych.continuation import Continuing, joined, with_text
from triptych.models.chat import Ask
from triptych.operators import Case, Evaluator, Load, Operator, Outlook, nested
from triptych.parts import located, usual_parts
from triptych.records import Judgement, Response, StepLocator, make_response
from triptych.synthesis._answers import answered

if TYPE_CHECKING:
    _Evaluation = Evaluator
else:
    _Evaluation = nested("evaluation")

_USUAL_TOKENS = 200
_WRONG = 0.5
_MOST_PARTS = 1000


class Branch(Continuing):
    """Writes responses anew from a step on: all before it is kept, `n` continuations follow.

    `at: first_error` takes the first step that an evaluator of steps finds wrong (a mean verdict of 0.5 or less), as
    Step-DPO does (arXiv:2406.18629); a response without one gets no branch. `at: every_step` branches before every step
    but the first. A branch names the response as its parent, and in its `params` how many characters they share
    (`prefix`) and the number of the step that it replaces (`step`), so that the two can be paired.
    """

    not_in_identity: ClassVar[frozenset[str]] = frozenset({"name", "of", "n", "at", "evaluator", "max_parts"})

    kind: Literal["branch"] = "branch"
    name: str | None = None
    """What responses call the generator; its kind if not given."""
    of: tuple[str, ...] | None = None
    """Names of the generators whose responses are branched; None takes all responses so far."""
    at: Literal["first_error", "every_step"] = "first_error"
    """Before which steps."""
    evaluator: _Evaluation | None = None
    """With `first_error`: an evaluator of steps, such as `rollouts` or a `rubric` with `unit: step`. Its verdicts
    steer and are not kept."""
    n: int = Field(default=4, ge=1, le=1000)
    """Continuations from each place."""
    max_parts: int = Field(default=32, ge=1, le=_MOST_PARTS)
    """Most steps of a response; the last one takes the rest of the text."""

    @model_validator(mode="after")
    def _knows_errors(self) -> Branch:
        if (self.at == "first_error") != (self.evaluator is not None):
            raise ValueError("at: first_error needs an evaluator of steps, and at: every_step none")
        return self

    @property
    def inner(self) -> dict[str, Operator]:
        """The evaluator of steps, where there is one."""
        return {} if self.evaluator is None else {"evaluator": self.evaluator}  # type: ignore[dict-item]

    async def respond(self, case: Case, ask: Ask) -> list[Response]:
        """Branch the responses of status ok; all continuations are asked for at once."""
        whole = [
            response
            for response in case.responses
            if response.status == "ok" and (self.of is None or response.generator in self.of)
        ]
        places = await self._places(case, whole, ask)
        spec = ask.model(self.model)
        # Of each parent anew, though two may begin alike: their branches are to differ.
        requests = [
            self.continuing(case, spec, place.beginning, place.parent.id, index)
            for place in places
            for index in range(self.n)
        ]
        replies = iter(await ask(self.model, requests))
        shared: dict[str, Any] = {
            "prompt_id": case.prompt.id,
            "generator": self.name or self.kind,
            "generator_id": self.identity(spec),
            "model": spec.model,
            "model_version": spec.version,
        }
        return [
            self._response(shared, place, index, answered(next(replies), 0))
            for place in places
            for index in range(self.n)
        ]

    def forecast(self, outlook: Outlook) -> tuple[list[Load], Outlook]:
        """Expect a branch of every response, or one at each of its usual steps."""
        loads: list[Load] = [] if self.evaluator is None else self.evaluator.forecast(outlook)
        usual, most = 1.0, 1.0
        if self.at == "every_step":
            usual, most = usual_parts(outlook.response_tokens, "step", self.max_parts) - 1, self.max_parts - 1.0
        calls, most_calls = (outlook.responses * places * self.n for places in (usual, most))
        around = outlook.prompt_tokens + len(self.continue_template) / 4
        length = min(self.max_tokens, _USUAL_TOKENS)
        load = Load(
            model=self.model,
            calls=calls,
            prompt_tokens=calls * (around + outlook.response_tokens / 2),
            completion_tokens=calls * length,
            most_calls=most_calls,
            most_prompt_tokens=most_calls * (around + outlook.longest_response_tokens),
            most_completion_tokens=most_calls * self.max_tokens,
        )
        longest = outlook.longest_response_tokens + self.max_tokens
        return [*loads, load], outlook.with_responses(calls, outlook.response_tokens, longest)

    async def _places(self, case: Case, whole: list[Response], ask: Ask) -> list[_Place]:
        if self.evaluator is None:
            steps = {one.id: located(one, "step", self.max_parts)[1:] for one in whole}
        else:
            here = msgspec.structs.replace(case, responses=tuple(whole), judgements=())
            wrong = first_wrong_steps(await self.evaluator.judge(here, ask) if whole else [])
            steps = {one.id: [wrong[one.id]] if one.id in wrong else [] for one in whole}
        return [_Place(one, step) for one in whole for step in steps[one.id]]

    def _response(self, shared: dict[str, Any], place: _Place, index: int, said: dict[str, Any]) -> Response:
        params = {
            "temperature": self.temperature,
            "max_tokens": self.max_tokens,
            "prefix": len(place.beginning),
            "step": place.step.index,
        }
        if said["messages"]:
            text = joined(place.beginning, said["messages"][-1].content, "")
            said["messages"] = with_text(place.parent, place.step.message, text).messages
        number = index * _MOST_PARTS + place.step.index  # of no other branch, and the same whatever n is
        return make_response(**shared, sample_index=number, parent_id=place.parent.id, params=params, **said)


class _Place(NamedTuple):
    parent: Response
    step: StepLocator
    """The step that is written anew."""

    @property
    def beginning(self) -> str:
        """All that stands before the step."""
        return self.parent.messages[self.step.message].content[: self.step.start]


def first_wrong_steps(judgements: list[Judgement]) -> dict[str, StepLocator]:
    """The first step of each response that is found wrong: by the mean place of its scores on their scales."""
    said: dict[str, dict[int, list[float]]] = {}
    steps: dict[tuple[str, int], StepLocator] = {}
    for one in judgements:
        if one.status == "ok" and one.step is not None and one.scores and one.scale is not None:
            (response_id,), (low, high) = one.response_ids, one.scale
            said.setdefault(response_id, {}).setdefault(one.step.index, []).append((one.scores[0] - low) / (high - low))
            steps[response_id, one.step.index] = one.step
    found = {}
    for response_id, by_step in said.items():
        wrong = [index for index, scores in by_step.items() if sum(scores) / len(scores) <= _WRONG]
        if wrong:
            found[response_id] = steps[response_id, min(wrong)]
    return found
