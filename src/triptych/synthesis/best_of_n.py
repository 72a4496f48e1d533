"""Best-of-n: of many drawn responses only the best is kept, and the worst too where it is wanted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

import msgspec

from triptych.models.chat import Ask
from triptych.operators import Case, Evaluator, Load, Operator, Outlook, nested
from triptych.records import Response
from triptych.synthesis.sample import Sample
from triptych.verdicts import mean_verdicts

if TYPE_CHECKING:
    _Evaluation = Evaluator
else:
    _Evaluation = nested("evaluation")


class BestOfN(Operator):
    """Draws `n` responses of the sampler, has them judged, and keeps the best, or the best and the worst.

    The score that it was kept for stands in the response's `params`, and out of how many. Of equally good ones the
    first is kept. What is not kept was paid for all the same: the run's spending has it, no row has.
    """

    not_in_identity: ClassVar[frozenset[str]] = frozenset({"name"})

    kind: Literal["best_of_n"] = "best_of_n"
    name: str | None = None
    """What responses call the generator; its kind if not given."""
    sampler: Sample
    """A `sample` operator; of its responses the best is kept."""
    evaluator: _Evaluation
    """An evaluator; its verdicts are not kept."""
    worst: bool = False
    """Whether the worst is kept as well, where it is worse than the best."""

    @property
    def inner(self) -> dict[str, Operator]:
        """The sampler and the evaluator."""
        return {"sampler": self.sampler, "evaluator": self.evaluator}  # type: ignore[dict-item]

    async def respond(self, case: Case, ask: Ask) -> list[Response]:
        """Keep the best of what was drawn. Where nothing could be judged, all that failed is told, and nothing kept."""
        drawn = await self.sampler.some(case, ask, None, self)
        here = msgspec.structs.replace(case, responses=tuple(drawn))
        found = mean_verdicts(await self.evaluator.judge(here, ask), case.objective)
        judged = [response for response in drawn if response.id in found]
        if not judged:
            return [response for response in drawn if response.status != "ok"]
        best = max(judged, key=lambda response: found[response.id])
        kept = [best]
        least = min(judged, key=lambda response: found[response.id])
        if self.worst and found[least.id] < found[best.id]:
            kept.append(least)
        return [self._told(response, found[response.id], len(judged)) for response in kept]

    def forecast(self, outlook: Outlook) -> tuple[list[Load], Outlook]:
        """Expect the sampler's calls and the evaluator's, and one response, or two."""
        sampled, many = self.sampler.forecast(msgspec.structs.replace(outlook, responses=0.0))
        loads = [*sampled, *self.evaluator.forecast(many)]
        fewer = outlook.with_responses(1 + self.worst, many.response_tokens, many.longest_response_tokens)
        return loads, fewer

    def _told(self, response: Response, score: float, of: int) -> Response:
        params: dict[str, Any] = response.params | {"score": round(score, 12), "of": of}
        return msgspec.structs.replace(response, params=params)
