"""Uncertainty: how sure the policy was of what it said, by the log-probabilities kept with its responses. No call."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import accumulate
from statistics import fmean
from typing import Any, ClassVar, Literal

from pydantic import Field

from triptych.models.chat import Ask
from triptych.operators import Case, Load, Operator, Outlook
from triptych.parts import located
from triptych.records import Judgement, Response, StepLocator, content_id, make_judgement

_DECIMALS = 12


class Uncertainty(Operator):
    """Scores each response, or each of its parts, by how sure the policy was of its tokens: 1 is quite sure.

    `likelihood`: exp(-h) of the mean negative log-likelihood h of the tokens, which is the geometric mean of their
    probabilities. `entropy`: exp(-h) of the mean entropy h of what could have stood in each place, in nats, where all
    that is not among the kept alternatives counts as one more of them. `gap`: the mean distance of the probabilities
    of the two likeliest, as for the uncertain tokens of IUPO. `entropy` and `gap` need a generator with
    `top_logprobs`. A token counts for the part in which it begins. The judgement's rationale has h and the number of
    tokens. Responses without what is needed get a judgement of status `failed`, which says what is missing; those
    that no call brought, such as given ones, are passed over.
    """

    not_in_identity: ClassVar[frozenset[str]] = frozenset({"name", "max_parts"})

    kind: Literal["uncertainty"] = "uncertainty"
    name: str | None = None
    """What judgements call the evaluator; its kind if not given."""
    criterion: str = "certainty"
    """The criterion that the scores count for; need not be defined in the objective."""
    by: Literal["likelihood", "entropy", "gap"] = "likelihood"
    """What is taken for the certainty of a token."""
    unit: Literal["response", "step", "sentence"] = "response"
    """What is scored: the whole response, or each of its steps or sentences."""
    max_parts: int = Field(default=32, ge=1, le=1000)
    """Most steps or sentences of a response; the last one takes the rest of the text."""

    @property
    def needs(self) -> tuple[str, ...]:
        """What it needs of the generators, in words."""
        return (f"responses with {'log-probabilities' if self.by == 'likelihood' else 'top_logprobs'}",)

    async def judge(self, case: Case, ask: Ask) -> list[Judgement]:
        """Score the responses of status ok."""
        return [
            judgement
            for response in case.responses
            if response.status == "ok" and response.call_ids
            for judgement in self._judged(case, response)
        ]

    def forecast(self, outlook: Outlook) -> list[Load]:
        """Expect no call."""
        return []

    def _judged(self, case: Case, response: Response) -> Iterator[Judgement]:
        declared = case.objective.criteria.get(self.criterion)
        about: dict[str, Any] = {
            "prompt_id": case.prompt.id,
            "response_ids": (response.id,),
            "criterion": self.criterion,
            "criterion_id": declared.id if declared else content_id("c", ["uncertainty", self.criterion]),
            "evaluator": self.name or self.kind,
            "evaluator_id": self.identity(),
            "objective_version": case.objective.version,
        }
        if (missing := self._missing(response)) is not None:
            yield make_judgement(**about, status="failed", error=missing)
            return
        values = self._values(response)
        if self.unit == "response":
            yield make_judgement(**about, **self._verdict(values))
            return
        for step, some in _by_part(response, located(response, self.unit, self.max_parts), values):
            if some:
                yield make_judgement(**about, step=step, **self._verdict(some))

    def _missing(self, response: Response) -> str | None:
        """What the response lacks, in words."""
        if not response.token_logprobs:
            return "the response has no log-probabilities; its generator needs logprobs: true, and its model must give them"
        if self.by != "likelihood" and not response.token_top_logprobs:
            return f"the response has no alternatives to its tokens; {self.by} needs top_logprobs in its generator"
        if self.unit != "response" and "".join(response.tokens or ()) != response.text:
            return "the tokens do not spell the response, so it can't be told which of them belong to a part of it"
        return None

    def _values(self, response: Response) -> list[float]:
        """What is said of each token: its negative log-likelihood, its entropy, or its gap."""
        if self.by == "likelihood":
            return [-logprob for logprob in response.token_logprobs or ()]
        return [(_entropy if self.by == "entropy" else _gap)(tops) for tops in response.token_top_logprobs or ()]

    def _verdict(self, values: Sequence[float]) -> dict[str, Any]:
        mean = fmean(values)
        score = mean if self.by == "gap" else math.exp(-max(mean, 0.0))
        word = {"likelihood": "negative log-likelihood", "entropy": "entropy", "gap": "gap"}[self.by]
        unit = "" if self.by == "gap" else " nats a token"
        return {
            "scores": (round(score, _DECIMALS),),
            "scale": (0.0, 1.0),
            "rationale": f"mean {word} {mean:.6g}{unit} over {len(values)} tokens",
        }


def _entropy(tops: Sequence[float]) -> float:
    """The entropy over the alternatives and one more that has the rest of the probability, in nats."""
    chances = [math.exp(min(logprob, 0.0)) for logprob in tops]
    chances.append(max(1 - sum(chances), 0.0))
    whole = sum(chances)
    return -sum(chance / whole * math.log(chance / whole) for chance in chances if chance > 0)


def _gap(tops: Sequence[float]) -> float:
    """How far the likeliest is ahead of the next one, in probability; a lone one is as likely as it is."""
    first, second, *_ = (*(math.exp(min(logprob, 0.0)) for logprob in tops), 0.0)
    return first - second


def _by_part(
    response: Response, steps: Sequence[StepLocator], values: Sequence[float]
) -> Iterator[tuple[StepLocator, list[float]]]:
    """What is said of the tokens that begin in each part; those between two parts belong to the one before them."""
    starts = [0, *accumulate(map(len, response.tokens or ()))]
    for place, step in enumerate(steps):
        begin = 0 if place == 0 else step.start or 0
        end = steps[place + 1].start if place + 1 < len(steps) else len(response.text) + 1
        yield step, [value for value, at in zip(values, starts, strict=False) if begin <= at < (end or 0)]
