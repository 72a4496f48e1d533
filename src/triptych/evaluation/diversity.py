"""Diversity: how unlike the other responses to its prompt a response is. No model, no call."""

from __future__ import annotations

from statistics import fmean
from typing import Literal

from pydantic import Field

from triptych.models.chat import Ask
from triptych.operators import Case, Load, Operator, Outlook
from triptych.records import Judgement, content_id, make_judgement
from triptych.units import bare_words


class Diversity(Operator):
    """Scores each response by its mean distance from the others to the same prompt: rare ones score high.

    The distance of two texts is 1 less the Jaccard similarity of their sets of n-grams of words, in whatever case and
    without the marks around words: 0 for texts of the same n-grams, 1 for texts that share none. With `favour: common`
    the score is 1 less that: how much a response agrees with the others. A prompt's only response gets no judgement.
    """

    kind: Literal["diversity"] = "diversity"
    name: str | None = None
    """What judgements call the evaluator; its kind if not given."""
    criterion: str = "diversity"
    """The criterion that the scores count for; need not be defined in the objective."""
    favour: Literal["rare", "common"] = "rare"
    """Which responses score high: those unlike the others, or those like them."""
    ngram: int = Field(default=2, ge=1, le=8)
    """Words of an n-gram; of a text with fewer words, all its words are one."""

    async def judge(self, case: Case, ask: Ask) -> list[Judgement]:
        """Score the responses of status ok in one judgement, where there are at least two."""
        good = [response for response in case.responses if response.status == "ok"]
        if len(good) < 2:
            return []
        sets = [self._ngrams(response.text) for response in good]
        scores = [
            self._score(fmean(_distance(mine, other) for at, other in enumerate(sets) if at != place))
            for place, mine in enumerate(sets)
        ]
        declared = case.objective.criteria.get(self.criterion)
        return [
            make_judgement(
                prompt_id=case.prompt.id,
                response_ids=tuple(response.id for response in good),
                criterion=self.criterion,
                criterion_id=declared.id if declared else content_id("c", ["diversity", self.criterion]),
                evaluator=self.name or self.kind,
                evaluator_id=self.identity(),
                objective_version=case.objective.version,
                scores=tuple(round(score, 12) for score in scores),
                scale=(0.0, 1.0),
            )
        ]

    def forecast(self, outlook: Outlook) -> list[Load]:
        """Expect no call."""
        return []

    def _score(self, distance: float) -> float:
        return distance if self.favour == "rare" else 1 - distance

    def _ngrams(self, text: str) -> frozenset[tuple[str, ...]]:
        said = bare_words(text)
        return frozenset(tuple(said[at : at + self.ngram]) for at in range(max(len(said) - self.ngram + 1, 1)))


def _distance(one: frozenset[tuple[str, ...]], other: frozenset[tuple[str, ...]]) -> float:
    return 1 - len(one & other) / len(one | other)
