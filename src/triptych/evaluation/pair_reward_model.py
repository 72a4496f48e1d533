"""Pair reward models: which of two responses is better, from a model that was trained to compare them."""

from __future__ import annotations

import math
from typing import Any, ClassVar, Literal

from pydantic import Field

from triptych.evaluation._pairs import Which, pair_count, pairs_of
from triptych.models.chat import Ask, CallFailed, Reply, ScoreRequest
from triptych.operators import Case, Load, Operator, Outlook
from triptych.records import Judgement, Response, content_id, make_judgement

_ROUNDING = 1e-3
"""By how much two probabilities may miss a sum of 1: they may come from half precision."""


class PairRewardModel(Operator):
    """Compares responses two by two by a reward model that is shown both at once.

    The first of these was PairRM (arXiv:2306.02561). Each order of a pair is a judgement of its own, with the
    probability that the first one shown is better; where the two orders disagree, both verdicts stay. The model says how
    it is shown a pair with `pair` (see its declaration). It gives one number, of the first response against the second,
    or one for each of the two.
    """

    not_in_identity: ClassVar[frozenset[str]] = frozenset({"name", "pairs", "max_pairs", "both_orders"})
    asks_for: ClassVar[str] = "preference"

    kind: Literal["pair_reward_model"] = "pair_reward_model"
    name: str | None = None
    """What judgements call the evaluator; its kind if not given."""
    model: str
    """The name of a declared model, of `backend: reward` or `classifier`, with `pair`."""
    gives: Literal["logit", "probability"]
    """What the model's numbers are: log-odds, of which the second's are taken from the first's where there are two; or
    probabilities, as servers give them that apply a sigmoid or softmax."""
    criterion: str = "reward"
    """The criterion that the verdicts count for; need not be defined in the objective."""
    pairs: Which = "all"
    """All pairs of a prompt's responses, or only those that follow one another in sample order."""
    max_pairs: int | None = Field(default=None, ge=1)
    """Most pairs of a prompt, drawn by the recipe's seed."""
    both_orders: bool = True
    """Whether each pair is asked in both orders, or only in sample order."""

    async def judge(self, case: Case, ask: Ask) -> list[Judgement]:
        """Compare the responses of status ok. Two of the same text are not compared."""
        good = [response for response in case.responses if response.status == "ok"]
        shown = [
            order
            for pair in pairs_of(good, self.pairs, self.max_pairs, case.seed)
            for order in ((pair, pair[::-1]) if self.both_orders else (pair,))
        ]
        messages = case.prompt.messages
        asked = [ScoreRequest(messages=messages, response=one.messages, other=two.messages) for one, two in shown]
        replies = await ask(self.model, asked)
        shared = self._shared(case, ask)
        return [self._judgement(shared, *each) for each in zip(shown, replies, strict=True)]

    def _shared(self, case: Case, ask: Ask) -> dict[str, Any]:
        spec, declared = ask.model(self.model), case.objective.criteria.get(self.criterion)
        return {
            "prompt_id": case.prompt.id,
            "criterion": self.criterion,
            "criterion_id": declared.id if declared else content_id("c", [self.kind, self.criterion]),
            "evaluator": self.name or self.kind,
            "evaluator_id": self.identity(spec),
            "model": spec.model,
            "model_version": spec.version,
            "objective_version": case.objective.version,
        }

    def _judgement(self, shared: dict[str, Any], shown: tuple[Response, ...], reply: Reply | CallFailed) -> Judgement:
        about = shared | {"response_ids": tuple(response.id for response in shown)}
        if isinstance(reply, CallFailed):
            return make_judgement(**about, status="failed", error=reply.error)
        about |= {"call_ids": (reply.call_id,), "cost_usd": reply.cost_usd, "created_at": reply.created_at}
        numbers = reply.scores or ()
        said = ", ".join(f"{number:g}" for number in numbers)
        try:
            first = self._first(numbers)
        except ValueError as error:
            return make_judgement(**about, status="unparsed", error=str(error), raw=said)
        ranks = (1, 2) if first > 0.5 else (2, 1) if first < 0.5 else (1, 1)
        return make_judgement(**about, ranks=ranks, probability=first, rationale=f"the model gave {said}")

    def _first(self, numbers: tuple[float, ...]) -> float:
        """The probability that the first response is the better one. Raises `ValueError` where nothing says it."""
        if len(numbers) not in (1, 2):
            raise ValueError(
                f"the model gives {len(numbers)} numbers; one that compares two responses gives one or two"
            )
        if self.gives == "logit":
            return _sigmoid(numbers[0] - (numbers[1] if len(numbers) == 2 else 0))
        if not all(0 <= number <= 1 for number in numbers) or (
            len(numbers) == 2 and not math.isclose(sum(numbers), 1, abs_tol=_ROUNDING)
        ):
            raise ValueError("the model's numbers are no probabilities; are they log-odds (gives: logit)?")
        return numbers[0] if len(numbers) == 1 else numbers[0] / sum(numbers)

    def forecast(self, outlook: Outlook) -> list[Load]:
        """Expect a call for each pair and order, which reads prompt and responses and writes nothing."""
        calls = pair_count(outlook.responses, self.pairs, self.max_pairs) * (1 + self.both_orders)
        return [
            Load(
                model=self.model,
                calls=calls,
                prompt_tokens=calls * (outlook.prompt_tokens + 2 * outlook.response_tokens),
                completion_tokens=0,
                most_calls=calls,
                most_prompt_tokens=calls * (outlook.prompt_tokens + 2 * outlook.longest_response_tokens),
                most_completion_tokens=0,
            )
        ]


def _sigmoid(log_odds: float) -> float:
    """Without overflow on either side."""
    small = math.exp(-abs(log_odds))
    return 1 / (1 + small) if log_odds >= 0 else small / (1 + small)
