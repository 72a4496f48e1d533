"""Self-consistency: how many of the other responses come to the same final answer. No model, no call."""

from __future__ import annotations

from typing import Literal

from triptych.evaluation._slowly import slowly
from triptych.evaluation.constraints.final_answer import equal_answers, final_answer
from triptych.models.chat import Ask
from triptych.operators import Case, Load, Operator, Outlook
from triptych.records import Judgement, content_id, make_judgement


class Consistency(Operator):
    """Scores each response by the share of the others to the same prompt that give its final answer.

    A label without a reference: the answer that most samples agree on is likely the right one (arXiv:2203.11171).
    Final answers are found and compared as by the constraint `final_answer`. A response without one agrees with none.
    """

    kind: Literal["consistency"] = "consistency"
    name: str | None = None
    """What judgements call the evaluator; its kind if not given."""
    criterion: str = "consistency"
    """The criterion that the scores count for; need not be defined in the objective."""

    async def judge(self, case: Case, ask: Ask) -> list[Judgement]:
        """Score the responses of status ok in one judgement, where there are at least two."""
        good = [response for response in case.responses if response.status == "ok"]
        if len(good) < 2:
            return []
        answers = [final_answer(response.text) for response in good]
        alike = await slowly(_agreeing, answers)
        declared = case.objective.criteria.get(self.criterion)
        return [
            make_judgement(
                prompt_id=case.prompt.id,
                response_ids=tuple(response.id for response in good),
                criterion=self.criterion,
                criterion_id=declared.id if declared else content_id("c", ["consistency", self.criterion]),
                evaluator=self.name or self.kind,
                evaluator_id=self.identity(),
                objective_version=case.objective.version,
                scores=tuple(round((count - 1) / (len(good) - 1), 12) if count else 0.0 for count in alike),
                scale=(0.0, 1.0),
                rationale="final answers: "
                + "; ".join("none" if answer is None else answer[:60] for answer in answers),
            )
        ]

    def forecast(self, outlook: Outlook) -> list[Load]:
        """Expect no call."""
        return []


def _agreeing(answers: list[str | None]) -> list[int]:
    """How many answers are equal to each, itself among them; 0 where there is none.

    Each is compared with one of every kind found so far, since equality is taken for transitive.
    """
    kinds: list[tuple[str, list[int]]] = []
    for place, answer in enumerate(answers):
        if answer is None:
            continue
        for first, places in kinds:
            if answer == first or equal_answers(first, answer):
                places.append(place)
                break
        else:
            kinds.append((answer, [place]))
    counts = [0] * len(answers)
    for _, places in kinds:
        for place in places:
            counts[place] = len(places)
    return counts
