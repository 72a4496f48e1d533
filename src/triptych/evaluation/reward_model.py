"""Reward models: a number for each response, from a model that was trained to give one."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator

from triptych.models.chat import Ask, CallFailed, Reply, ScoreRequest
from triptych.operators import Case, Load, Operator, Outlook
from triptych.records import Judgement, Response, content_id, make_judgement


class RewardScores(Operator):
    """Scores each response by a reward model: one behind an endpoint, or a classifier in this process.

    The scores are recorded as they come. Most reward models know no least and no greatest score, and only differences
    within a prompt mean anything; then there is no scale, and an instantiation has to say how to read them (`rescale`).
    Models that compare a pair are asked by `pair_reward_model`.
    """

    not_in_identity: ClassVar[frozenset[str]] = frozenset({"name"})
    asks_for: ClassVar[str] = "score"

    kind: Literal["reward_model"] = "reward_model"
    name: str | None = None
    """What judgements call the evaluator; its kind if not given."""
    model: str
    """The name of a declared model, of `backend: reward` or `classifier`."""
    criterion: str = "reward"
    """The criterion that the scores count for; need not be defined in the objective."""
    output: int | None = Field(default=None, ge=0)
    """Which of the model's numbers counts, from 0, where it gives several; None takes the only one."""
    scale: tuple[float, float] | None = None
    """Lowest and highest score, where the model has such: (0, 1) for one that gives probabilities."""

    @field_validator("scale")
    @classmethod
    def _rises(cls, scale: tuple[float, float] | None) -> tuple[float, float] | None:
        if scale is not None and scale[0] >= scale[1]:
            raise ValueError("the lowest score has to be below the highest")
        return scale

    async def judge(self, case: Case, ask: Ask) -> list[Judgement]:
        """Score the responses of status ok, each in a call of its own."""
        good = [response for response in case.responses if response.status == "ok"]
        requests = [ScoreRequest(messages=case.prompt.messages, response=response.messages) for response in good]
        replies = await ask(self.model, requests)
        spec, declared = ask.model(self.model), case.objective.criteria.get(self.criterion)
        shared = {
            "prompt_id": case.prompt.id,
            "criterion": self.criterion,
            "criterion_id": declared.id if declared else content_id("c", ["reward_model", self.criterion]),
            "evaluator": self.name or self.kind,
            "evaluator_id": self.identity(spec),
            "model": spec.model,
            "model_version": spec.version,
            "objective_version": case.objective.version,
        }
        return [self._judgement(shared, *each) for each in zip(good, replies, strict=True)]

    def _judgement(self, shared: dict[str, Any], response: Response, reply: Reply | CallFailed) -> Judgement:
        about = shared | {"response_ids": (response.id,)}
        if isinstance(reply, CallFailed):
            return make_judgement(**about, status="failed", error=reply.error)
        about |= {"call_ids": (reply.call_id,), "cost_usd": reply.cost_usd, "created_at": reply.created_at}
        scores, place = reply.scores or (), self.output or 0
        if place >= len(scores) or (self.output is None and len(scores) > 1):
            said = f"the model gives {len(scores)} numbers; say which with output, from 0 to {len(scores) - 1}"
            return make_judgement(**about, status="unparsed", error=said, raw=str(list(scores)))
        if self.scale is not None and not self.scale[0] <= scores[place] <= self.scale[1]:
            said = f"the score {scores[place]:g} is not on the declared scale {self.scale[0]:g} to {self.scale[1]:g}"
            return make_judgement(**about, status="unparsed", error=said, raw=str(list(scores)))
        return make_judgement(**about, scores=(scores[place],), scale=self.scale)

    def forecast(self, outlook: Outlook) -> list[Load]:
        """Expect one call for each response, which reads prompt and response and writes nothing."""
        calls, read = outlook.responses, outlook.prompt_tokens + outlook.response_tokens
        return [
            Load(
                model=self.model,
                calls=calls,
                prompt_tokens=calls * read,
                completion_tokens=0,
                most_calls=calls,
                most_prompt_tokens=calls * (outlook.prompt_tokens + outlook.longest_response_tokens),
                most_completion_tokens=0,
            )
        ]
