"""Adaptive sampling: responses are drawn until an evaluator tells a good one from a bad one."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

import msgspec
from pydantic import Field, model_validator

from triptych.models.chat import Ask
from triptych.operators import Case, Evaluator, Load, Operator, Outlook, nested
from triptych.records import Response
from triptych.synthesis.sample import Sample
from triptych.verdicts import mean_verdicts

if TYPE_CHECKING:
    _Evaluation = Evaluator
else:
    _Evaluation = nested("evaluation")


_MOST = 10_000
"""How far apart the seeds of a pool's models lie: not by `most`, so that raising it asks for no earlier response anew."""


class UntilContrast(Operator):
    """Draws responses a few at a time until two of them are apart by `spread`, or until there are `most`.

    It has the aim of DAPO's dynamic sampling (arXiv:2503.14476), which goes on to other problems where the answers to one
    are all right or all wrong; here the same prompt is tried on. The evaluator's verdicts steer and are not kept. Where
    the recipe has the same evaluator in its second panel, its calls are answered from the call log there, so that
    nothing is paid for twice.
    """

    not_in_identity: ClassVar[frozenset[str]] = frozenset({"name", "most", "spread", "evaluator"})

    kind: Literal["until_contrast"] = "until_contrast"
    name: str | None = None
    """What responses call the generator; its kind if not given."""
    sampler: Sample
    """A `sample` operator; its `n` is how many responses are drawn at a time."""
    evaluator: _Evaluation
    """An evaluator; it sees all responses that there are so far."""
    spread: float = Field(default=0.5, gt=0, le=1)
    """How far apart the best and the worst must be, in scores between 0 and 1."""
    most: int = Field(default=16, ge=2, le=_MOST)
    """Most responses of a model."""

    @model_validator(mode="after")
    def _room_for_more(self) -> UntilContrast:
        if self.most < self.sampler.n:
            raise ValueError(f"most is {self.most}, less than the {self.sampler.n} that the sampler draws at a time")
        return self

    @property
    def inner(self) -> dict[str, Operator]:
        """The sampler and the evaluator."""
        return {"sampler": self.sampler, "evaluator": self.evaluator}  # type: ignore[dict-item]

    async def respond(self, case: Case, ask: Ask) -> list[Response]:
        """Draw, have it judged, and draw again while there is no contrast; earlier responses stay."""
        made: list[Response] = []
        for start in range(0, self.most, self.sampler.n):
            places = range(start, min(start + self.sampler.n, self.most))
            made += await self.sampler.some(case, ask, places, self, _MOST)
            here = msgspec.structs.replace(case, responses=tuple(made))
            found = mean_verdicts(await self.evaluator.judge(here, ask), case.objective).values()
            if found and max(found) - min(found) >= self.spread - 1e-9:
                break
        return made

    def forecast(self, outlook: Outlook) -> tuple[list[Load], Outlook]:
        """Expect the first draw to do; at most, all `most` are drawn, and judged each time anew with those before."""
        alone = msgspec.structs.replace(outlook, responses=0.0)
        sampled, drawn = self.sampler.forecast(alone)
        judged = self.evaluator.forecast(drawn)
        draws = -(-self.most // self.sampler.n)
        later = [
            self.evaluator.forecast(msgspec.structs.replace(drawn, responses=drawn.responses * number))
            for number in range(1, draws + 1)
        ]
        loads = [_at_most(load, [load] * draws) for load in sampled]
        loads += [_at_most(load, [loads[place] for loads in later]) for place, load in enumerate(judged)]
        made = self.sampler.forecast(outlook)[1]
        return loads, made


def _at_most(usual: Load, all_told: list[Load]) -> Load:
    return msgspec.structs.replace(
        usual,
        most_calls=sum(load.most_calls for load in all_told),
        most_prompt_tokens=sum(load.most_prompt_tokens for load in all_told),
        most_completion_tokens=sum(load.most_completion_tokens for load in all_told),
    )
