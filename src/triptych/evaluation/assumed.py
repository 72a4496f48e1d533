"""Scores by where a response comes from, for methods that assume one source to be better than another."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from triptych.models.chat import Ask
from triptych.operators import Case, Load, Operator, Outlook
from triptych.records import Judgement, content_id, make_judgement

Score = Annotated[float, Field(ge=0, le=1)]


class Assumed(Operator):
    """Gives each response the score that its generator or its model is declared to be worth. Makes no call.

    So does SPIN (arXiv:2401.01335), which takes the answer of the data set to be better than the policy's own; RLCD
    (arXiv:2307.12950), where the prompt's polarity is the label; and pairs of an original and its revision. Nobody
    looked at the responses: it is an assumption, and the judgements are marked as such by their evaluator.
    """

    kind: Literal["assumed"] = "assumed"
    name: str | None = None
    """What judgements call the evaluator; its kind if not given."""
    criterion: str = "source"
    """The criterion that the scores count for; need not be defined in the objective."""
    scores: Annotated[dict[str, Score], Field(min_length=1)]
    """Score in [0, 1] by the name of a generator, or of a model or declared source. A generator's name goes first;
    responses of others get no judgement."""

    async def judge(self, case: Case, ask: Ask) -> list[Judgement]:
        """Score the responses of status ok whose origin is declared."""
        declared = case.objective.criteria.get(self.criterion)
        judgements = []
        for response in case.responses:
            origin = response.generator if response.generator in self.scores else response.model
            if response.status == "ok" and origin in self.scores:
                judgements.append(
                    make_judgement(
                        prompt_id=case.prompt.id,
                        response_ids=(response.id,),
                        criterion=self.criterion,
                        criterion_id=declared.id if declared else content_id("c", ["assumed", self.criterion]),
                        evaluator=self.name or self.kind,
                        evaluator_id=self.identity(),
                        objective_version=case.objective.version,
                        scores=(self.scores[origin],),
                        scale=(0.0, 1.0),
                        rationale=f"comes from {origin}",
                    )
                )
        return judgements

    def forecast(self, outlook: Outlook) -> list[Load]:
        """Expect no call."""
        return []
