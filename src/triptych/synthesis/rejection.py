"""Statistical rejection sampling: of many drawn responses those are kept that a better policy might have drawn."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import msgspec
from pydantic import Field

from triptych.models.chat import Ask
from triptych.operators import Case, Evaluator, Load, Operator, Outlook, nested
from triptych.records import Response, draw
from triptych.synthesis.sample import Sample
from triptych.verdicts import mean_verdicts

if TYPE_CHECKING:
    _Evaluation = Evaluator
else:
    _Evaluation = nested("evaluation")


class Rejection(Operator):
    """Draws `n` responses of the sampler, has them scored, and keeps `keep` of them by rejection sampling.

    So does RSO (arXiv:2309.06657). What is kept comes from about the policy that best trades the score against its
    distance from the sampler: in rounds, each response that is left is taken with probability exp((score - best) /
    beta), where `best` is the best score of those left, until there are enough or none is left. A small `beta` keeps
    the best ones, as best-of-n does; a great one keeps what was drawn first. Of responses that say the same only the
    first is drawn for. The score, the round in which it was taken and out of how many stand in the response's `params`.
    """

    not_in_identity: ClassVar[frozenset[str]] = frozenset({"name"})

    kind: Literal["rejection"] = "rejection"
    name: str | None = None
    """What responses call the generator; its kind if not given."""
    sampler: Sample
    """A `sample` operator; of its responses some are kept."""
    evaluator: _Evaluation
    """An evaluator; its verdicts are not kept."""
    keep: int = Field(default=8, ge=1)
    """Responses that are kept, in the order in which they were taken."""
    beta: float = Field(default=0.5, gt=0)
    """The weight of the distance from the sampler, in scores from 0 to 1 by their place on their scale, or, where none
    has a scale, as rewards, in scores as they come."""

    @property
    def inner(self) -> dict[str, Operator]:
        """The sampler and the evaluator."""
        return {"sampler": self.sampler, "evaluator": self.evaluator}  # type: ignore[dict-item]

    async def respond(self, case: Case, ask: Ask) -> list[Response]:
        """Keep some of what was drawn. Where nothing could be judged, all that failed is told, and nothing kept."""
        drawn = await self.sampler.some(case, ask, None, self)
        here = msgspec.structs.replace(case, responses=tuple(drawn))
        found = mean_verdicts(await self.evaluator.judge(here, ask), case.objective, as_they_come=True)
        by_text: dict[object, Response] = {}
        for response in drawn:
            if response.id in found:
                by_text.setdefault(response.messages, response)
        judged = list(by_text.values())
        if not judged:
            return [response for response in drawn if response.status != "ok"]
        taken = self._taken(case.seed, judged, [found[response.id] for response in judged])
        return [self._told(judged[place], found[judged[place].id], turn, len(judged)) for place, turn in taken]

    def forecast(self, outlook: Outlook) -> tuple[list[Load], Outlook]:
        """Expect the sampler's calls and the evaluator's, and `keep` responses where so many are drawn."""
        sampled, many = self.sampler.forecast(msgspec.structs.replace(outlook, responses=0.0))
        kept = min(float(self.keep), many.responses)
        loads = [*sampled, *self.evaluator.forecast(many)]
        return loads, outlook.with_responses(kept, many.response_tokens, many.longest_response_tokens)

    def _taken(self, seed: int, judged: Sequence[Response], scores: Sequence[float]) -> list[tuple[int, int]]:
        """The places of those that are taken, with the round; each round takes at least the best of what is left."""
        taken: list[tuple[int, int]] = []
        left = list(range(len(judged)))
        turn = 0
        while left and len(taken) < self.keep:
            best = max(scores[place] for place in left)
            accepted = [
                place
                for place in left
                if draw(seed, "rejection", judged[place].id, turn) / 2**63
                < math.exp((scores[place] - best) / self.beta)
            ]
            taken += [(place, turn) for place in accepted]
            left = [place for place in left if place not in {*accepted}]
            turn += 1
        return taken[: self.keep]

    def _told(self, response: Response, score: float, turn: int, of: int) -> Response:
        params: dict[str, Any] = response.params | {"score": round(score, 12), "round": turn, "of": of}
        return msgspec.structs.replace(response, params=params)
