"""Monte-Carlo values of steps: how often a policy that goes on from a step comes to a right end."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

import msgspec
from pydantic import Field

from triptych.continuation import Continuing, joined, with_text
from triptych.models.chat import Ask, CallFailed, Reply
from triptych.operators import Case, Evaluator, Load, Operator, Outlook, nested
from triptych.parts import located, usual_parts
from triptych.records import Judgement, Response, StepLocator, content_id, make_judgement
from triptych.verdicts import mean_verdicts

if TYPE_CHECKING:
    _Evaluation = Evaluator
else:
    _Evaluation = nested("evaluation")

_USUAL_TOKENS = 200
_RIGHT = 0.5


class Rollouts(Continuing):
    """Scores each step of a response by the share of its continuations that another evaluator finds right.

    `find: all_steps` is Math-Shepherd's estimate (arXiv:2312.08935): `n` continuations from each step; `soft` scores
    are their share of right ones, `hard` ones are 1 if any is right. `find: first_error` looks for the first step from
    which none comes right by bisection, as OmegaPRM does (arXiv:2406.06592), in about log2 of the steps; the steps
    before it score 1, it scores 0, and those after it get no judgement. In a response whose end is right no error is
    looked for. The last step is not continued: it is as right as the response. Continuations are no rows of the run.
    """

    not_in_identity: ClassVar[frozenset[str]] = frozenset({"name", "max_parts"})

    kind: Literal["rollouts"] = "rollouts"
    name: str | None = None
    """What judgements call the evaluator; its kind if not given."""
    criterion: str = "step"
    """The criterion that the scores count for; need not be defined in the objective."""
    check: _Evaluation
    """An evaluator that tells right ends from wrong ones: right is a mean verdict above 0.5."""
    n: int = Field(default=8, ge=1, le=1000)
    """Continuations from a step."""
    estimate: Literal["soft", "hard"] = "soft"
    """What the continuations of a step make of its score, with `all_steps`."""
    find: Literal["all_steps", "first_error"] = "all_steps"
    """Which steps are continued."""
    max_parts: int = Field(default=32, ge=1, le=1000)
    """Most steps of a response; the last one takes the rest of the text."""

    @property
    def inner(self) -> dict[str, Operator]:
        """The evaluator of ends."""
        return {"check": self.check}  # type: ignore[dict-item]

    async def judge(self, case: Case, ask: Ask) -> list[Judgement]:
        """Judge the steps of all responses of status ok."""
        good = [response for response in case.responses if response.status == "ok"]
        solutions = [_Solution(one, steps) for one in good if (steps := located(one, "step", self.max_parts))]
        if not solutions:
            return []
        ends = await self._ends(case, [solution.response for solution in solutions], ask)
        if self.find == "all_steps":
            found = await self._all(case, solutions, ends, ask)
        else:
            found = await self._first_errors(case, solutions, ends, ask)
        return [
            self._judgement(case, ask, solution, place, value)
            for solution, values in zip(solutions, found, strict=True)
            for place, value in enumerate(values)
        ]

    def forecast(self, outlook: Outlook) -> list[Load]:
        """Expect a step for every 40 tokens; at most `max_parts` of them."""
        usual = self._probes(usual_parts(outlook.response_tokens, "step", self.max_parts))
        calls, most = (outlook.responses * probes * self.n for probes in (usual, self._probes(self.max_parts)))
        around = outlook.prompt_tokens + len(self.continue_template) / 4
        length = min(self.max_tokens, _USUAL_TOKENS)
        load = Load(
            model=self.model,
            calls=calls,
            prompt_tokens=calls * (around + outlook.response_tokens / 2),
            completion_tokens=calls * length,
            most_calls=most,
            most_prompt_tokens=most * (around + outlook.longest_response_tokens),
            most_completion_tokens=most * self.max_tokens,
        )
        longest = outlook.longest_response_tokens + self.max_tokens
        expected, at_most = (
            self.check.forecast(outlook.with_responses(ends, outlook.response_tokens, longest))
            for ends in (calls, most)
        )
        return [load, *(one.at_most(bound) for one, bound in zip(expected, at_most, strict=True))]

    def _probes(self, steps: float) -> float:
        """Steps that are continued of so many."""
        return max(steps - 1, 0) if self.find == "all_steps" else math.ceil(math.log2(max(steps, 1)))

    async def _all(self, case: Case, solutions: list[_Solution], ends: list[_Value], ask: Ask) -> list[list[_Value]]:
        probes = [(solution, place) for solution in solutions for place in range(len(solution.steps) - 1)]
        found = iter(await self._values(case, probes, ask))
        return [
            [*(next(found) for _ in solution.steps[1:]), end] for solution, end in zip(solutions, ends, strict=True)
        ]

    async def _first_errors(
        self, case: Case, solutions: list[_Solution], ends: list[_Value], ask: Ask
    ) -> list[list[_Value]]:
        """All responses side by side: in each round one step of each is continued."""
        searches = [
            _Search(solution, 0, len(solution.steps) - 1)
            for solution, end in zip(solutions, ends, strict=True)
            if end.score("hard") == 0
        ]
        paid: dict[str, list[_Value]] = {search.solution.response.id: [] for search in searches}
        while open_ones := [search for search in searches if search.low < search.high]:
            middles = [(search.low + search.high) // 2 for search in open_ones]
            values = await self._values(
                case, [(search.solution, at) for search, at in zip(open_ones, middles, strict=True)], ask
            )
            moved = []
            for search, middle, value in zip(open_ones, middles, values, strict=True):
                paid[search.solution.response.id].append(value)
                moved.append(search.after(middle, value))
            done = [search for search in searches if search.low >= search.high]
            searches = done + moved
        errors = {search.solution.response.id: search.low for search in searches}
        return [
            _labelled(solution, errors.get(solution.response.id), end, paid.get(solution.response.id, []))
            for solution, end in zip(solutions, ends, strict=True)
        ]

    async def _values(self, case: Case, probes: Sequence[tuple[_Solution, int]], ask: Ask) -> list[_Value]:
        """What comes of going on from each of these steps."""
        spec = ask.model(self.model)
        asked = [
            self.continuing(case, spec, solution.up_to(place), index)
            for solution, place in probes
            for index in range(self.n)
        ]
        replies = iter(await ask(self.model, asked))
        tried: list[list[Reply | CallFailed]] = [[next(replies) for _ in range(self.n)] for _ in probes]
        whole = [
            (number, solution.completed(place, reply.choices[0].text, f"{number}-{index}"))
            for number, ((solution, place), some) in enumerate(zip(probes, tried, strict=True))
            for index, reply in enumerate(some)
            if isinstance(reply, Reply)
        ]
        ended: list[list[_Value]] = [[] for _ in probes]
        for (number, _), end in zip(whole, await self._ends(case, [one for _, one in whole], ask), strict=True):
            ended[number].append(end)
        return [_value(some, ends) for some, ends in zip(tried, ended, strict=True)]

    async def _ends(self, case: Case, responses: list[Response], ask: Ask) -> list[_Value]:
        """Whether each ends right, where the evaluator says so, and what it cost to tell."""
        here = msgspec.structs.replace(case, responses=tuple(responses), judgements=())
        judgements = await self.check.judge(here, ask) if responses else []
        said = mean_verdicts(judgements, case.objective)
        about: dict[str, list[Judgement]] = {one.id: [] for one in responses}
        for judgement in judgements:
            about[judgement.response_ids[0]].append(judgement)
        return [
            _Value((int(said[one.id] > _RIGHT),) if one.id in said else ()).after(about[one.id]) for one in responses
        ]

    def _judgement(self, case: Case, ask: Ask, solution: _Solution, place: int, value: _Value) -> Judgement:
        spec, declared = ask.model(self.model), case.objective.criteria.get(self.criterion)
        score = value.score("hard" if self.find == "first_error" else self.estimate)
        outcome: dict[str, Any] = {"scores": (score,), "scale": (0.0, 1.0), "rationale": value.told()}
        if score is None:
            outcome = {"status": "failed", "error": value.error or "the check said nothing of any end"}
        return make_judgement(
            prompt_id=case.prompt.id,
            response_ids=(solution.response.id,),
            step=solution.steps[place],
            criterion=self.criterion,
            criterion_id=declared.id if declared else content_id("c", ["rollouts", self.criterion]),
            evaluator=self.name or self.kind,
            evaluator_id=self.identity(spec, held=self.held(case.objective, ask.model)),
            model=spec.model,
            model_version=spec.version,
            objective_version=case.objective.version,
            call_ids=value.call_ids,
            cost_usd=value.cost_usd,
            created_at=value.created_at,
            **outcome,
        )


class _Solution(NamedTuple):
    response: Response
    steps: list[StepLocator]

    def up_to(self, place: int) -> str:
        step = self.steps[place]
        return self.response.messages[step.message].content[: step.end]

    def completed(self, place: int, said: str, which: str) -> Response:
        """The response with another end; the name makes it one of its own while it is checked."""
        step, after = self.steps[place], self.steps[place + 1]
        between = self.response.messages[step.message].content[step.end : after.start]
        text = joined(self.up_to(place), said, between)
        return with_text(self.response, step.message, text, id=f"{self.response.id}-{which}")


class _Value(NamedTuple):
    """How the continuations of a step ended, and what they cost."""

    right: tuple[int, ...]
    call_ids: tuple[str, ...] = ()
    cost_usd: float = 0.0
    created_at: datetime | None = None
    """When the last answer came in."""
    error: str | None = None
    known: float | None = None
    """A score that follows from other steps."""

    def after(self, others: Iterable[Reply | Judgement | _Value]) -> _Value:
        """The same, found out with what others cost as well."""
        paid = list(others)
        calls = [(one.call_id,) if isinstance(one, Reply) else one.call_ids for one in paid]
        times = [time for one in (self, *paid) if (time := one.created_at) is not None]
        return self._replace(
            call_ids=(*self.call_ids, *(call for some in calls for call in some)),
            cost_usd=self.cost_usd + sum(one.cost_usd for one in paid),
            created_at=max(times, default=None),
        )

    def score(self, estimate: str) -> float | None:
        if self.known is not None:
            return self.known
        if not self.right:
            return None
        return float(any(self.right)) if estimate == "hard" else sum(self.right) / len(self.right)

    def told(self) -> str | None:
        return f"{sum(self.right)} of {len(self.right)} ends are right" if self.right else None


def _value(replies: list[Reply | CallFailed], ends: list[_Value]) -> _Value:
    """What the continuations of a step come to; a call that failed counts neither as right nor as wrong."""
    failed = next((reply.error for reply in replies if isinstance(reply, CallFailed)), None)
    right = tuple(each for end in ends for each in end.right)
    return _Value(right, error=failed).after([*(reply for reply in replies if isinstance(reply, Reply)), *ends])


class _Search(NamedTuple):
    """Where the first error can be: no earlier than `low`, no later than `high`."""

    solution: _Solution
    low: int
    high: int

    def after(self, middle: int, value: _Value) -> _Search:
        score = value.score("hard")
        if score is None:
            return self._replace(low=len(self.solution.steps), high=-1)  # not to be found out
        return self._replace(low=middle + 1) if score > 0 else self._replace(high=middle)


def _labelled(solution: _Solution, error: int | None, end: _Value, paid: list[_Value]) -> list[_Value]:
    """Scores up to the first error; the first of them bears what the search cost."""
    if end.score("hard") is None or (error is not None and error >= len(solution.steps)):
        values = [_Value((), error="a step could not be continued, so the first error is not known")]
    elif error is None:
        values = [_Value((), known=1.0) for _ in solution.steps]
    else:
        values = [_Value((), known=1.0)] * error + [_Value((), known=0.0)]
    return [values[0].after([end, *paid]), *values[1:]]
