"""A pool of annotators: for each question one of several judges is drawn, and now and then errs on purpose."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

import msgspec
from pydantic import Field

from triptych.models.chat import Ask
from triptych.operators import Case, Evaluator, Load, Operator, Outlook, nested
from triptych.records import Judgement, Response, content_id, draw

if TYPE_CHECKING:
    _Evaluation = Evaluator
else:
    _Evaluation = nested("evaluation")


class _Question(NamedTuple):
    """One or two responses that one annotator is asked about."""

    about: tuple[Response, ...]
    judge: int
    """Which of the judges answers, from 0."""
    flipped: bool


class Annotators(Operator):
    """Asks a judge that is drawn from a pool about each pair, or each response, and flips some of the verdicts.

    So AlpacaFarm (arXiv:2305.14387) simulates people: its annotators differ from one another, and a quarter of their
    labels is flipped, since learning from labels without noise does not over-optimise as learning from people's does.
    A flipped verdict is the opposite one: a choice for the other response, a score mirrored on its scale. Its
    rationale says so, and what the judge really said. Each judge counts as an evaluator of its own; its name, or its
    number in the pool from 1, follows after a colon. The recipe's seed draws judges and flips.
    """

    not_in_identity: ClassVar[frozenset[str]] = frozenset({"name", "pool"})

    kind: Literal["annotators"] = "annotators"
    name: str | None = None
    """What judgements call the evaluator; its kind if not given."""
    pool: tuple[_Evaluation, ...] = Field(min_length=1)
    """Evaluators of which one answers each question."""
    about: Literal["pair", "response"] = "pair"
    """What a question is about: two responses, for judges that compare, or one, for those that score."""
    flip: float = Field(default=0.25, ge=0, le=1)
    """The chance that a question's verdicts are flipped."""

    def called(self, place: int) -> str:
        """What judgements call the judge at a place in the pool, from 0."""
        return f"{self.name or self.kind}:{getattr(self.pool[place], 'name', None) or place + 1}"

    @property
    def inner(self) -> dict[str, Operator]:
        """The judges of the pool."""
        return {f"pool.{place}": judge for place, judge in enumerate(self.pool)}  # type: ignore[misc]

    async def judge(self, case: Case, ask: Ask) -> list[Judgement]:
        """Ask all questions side by side. Two responses that say the same are no question."""
        good = [response for response in case.responses if response.status == "ok"]
        questions = [self._question(case.seed, some) for some in self._abouts(good)]
        answers = await asyncio.gather(*(self._asked(case, ask, question) for question in questions))
        return [
            self._told(judgement, question)
            for question, said in zip(questions, answers, strict=True)
            for judgement in said
        ]

    def forecast(self, outlook: Outlook) -> list[Load]:
        """Expect each judge to answer its share of the questions; at most, one of them answers all."""
        count, size = outlook.responses, 1.0 if self.about == "response" else 2.0
        questions = count if size == 1 else max(count * (count - 1) / 2, 0.0)
        one = msgspec.structs.replace(outlook, responses=size)
        return [
            _share(load, questions, len(self.pool))
            for judge in self.pool
            for load in (judge.forecast(one) if questions else [])
        ]

    def _abouts(self, good: Sequence[Response]) -> list[tuple[Response, ...]]:
        if self.about == "response":
            return [(one,) for one in good]
        return [pair for pair in combinations(good, 2) if pair[0].messages != pair[1].messages]

    def _question(self, seed: int, about: tuple[Response, ...]) -> _Question:
        names = [one.id for one in about]
        chosen = draw(seed, "annotator", *names) % len(self.pool)
        return _Question(about, chosen, draw(seed, "flip", *names) / 2**63 < self.flip)

    async def _asked(self, case: Case, ask: Ask, question: _Question) -> list[Judgement]:
        here = msgspec.structs.replace(case, responses=question.about)
        return await self.pool[question.judge].judge(here, ask)

    def _told(self, judgement: Judgement, question: _Question) -> Judgement:
        """The verdict as the annotator's own. Its id tells the share of flips as well, since that bears on what it is."""
        evaluator_id = content_id("o", ["annotators", judgement.evaluator_id, self.flip])
        return msgspec.structs.replace(
            judgement,
            id=content_id("j", [evaluator_id, judgement.id]),
            evaluator=self.called(question.judge),
            evaluator_id=evaluator_id,
            **(_flipped(judgement) if question.flipped and judgement.status == "ok" else {}),
        )


def _flipped(judgement: Judgement) -> dict[str, Any]:
    """The opposite verdict, and a rationale that says that it is one."""
    changes: dict[str, Any] = {}
    if judgement.ranks is not None:
        changes["ranks"] = tuple(max(judgement.ranks) + min(judgement.ranks) - rank for rank in judgement.ranks)
    if judgement.scores is not None and judgement.scale is not None:
        changes["scores"] = tuple(sum(judgement.scale) - score for score in judgement.scores)
    if judgement.probability is not None:
        changes["probability"] = 1 - judgement.probability
    own = {name: getattr(judgement, name) for name in changes}
    said = ", ".join(f"{name} {value}" for name, value in own.items())
    reasons = f" {judgement.rationale}" if judgement.rationale else ""
    return changes | {"rationale": f"[flipped on purpose; the judge said: {said}]{reasons}"}


def _share(load: Load, questions: float, pool: int) -> Load:
    """A judge's share of the calls; its bounds are those of all."""
    usual = {name: getattr(load, name) * questions / pool for name in ("calls", "prompt_tokens", "completion_tokens")}
    most = {
        name: getattr(load, name) * questions for name in ("most_calls", "most_prompt_tokens", "most_completion_tokens")
    }
    return msgspec.structs.replace(load, **usual, **most)
