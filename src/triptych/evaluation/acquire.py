"""Active learning: of a prompt's responses only those are judged whose verdict is most worth having."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from statistics import NormalDist, fmean
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple

import msgspec
from pydantic import Field

from triptych.models.chat import Ask
from triptych.operators import Case, Evaluator, Load, Operator, Outlook, nested
from triptych.records import Judgement, Response, draw
from triptych.verdicts import Estimate, estimated

if TYPE_CHECKING:
    _Evaluation = Evaluator
else:
    _Evaluation = nested("evaluation")

_QUANTILES = [NormalDist().inv_cdf((place + 0.5) / 64) for place in range(64)]
"""A standard normal distribution as 64 points of equal weight."""


class _Pair(NamedTuple):
    one: Response
    other: Response
    value: float
    """What its verdict is worth, by the rule."""


class Acquire(Operator):
    """Has cheap evaluators score all responses to a prompt, and an evaluator judge the pairs most worth asking about.

    What a pair is worth is told by the mean and the standard error of the cheap scores of the two, by the rule `by`:

    - `certainty`: how far the means are apart. So APL (arXiv:2402.08114) takes the pairs that the implicit preference
      model is surest of.
    - `uncertainty`: the entropy, in nats, of the choice that the scores foretell, greatest where the means are equal:
      a judge of more cost for what a cheap one can't tell.
    - `information`: how much of that entropy the errors of the scores make, which a verdict would remove: the mutual
      information of BALD (arXiv:1112.5745).
    - `delta_ucb`: the greatest gap that the errors allow, upper bound less lower bound; `thompson`: for each pair, a
      score of each response is drawn evenly between its bounds, the highest is taken, and against it the lowest of
      another draw (double reverse Thompson sampling). Both are of ActiveUltraFeedback (arXiv:2603.09692).

    Bounds are `beta` standard errors from the mean, of repeats and of several cheap evaluators; a response with a
    single cheap verdict counts as if its score were known. The probability of a choice is 1 / (1 + exp(-gap /
    temperature)). Scores count from 0 to 1 by their place on their scale; where no cheap score has a scale, as those of
    a reward model, they count as they come, and `min_value` and `temperature` are in their unit: at temperature 1 the
    choice is then that of a Bradley-Terry model.

    Papers rank the pairs of a batch of prompts, and ask about its top share. Here each prompt is decided by itself,
    so `min_value` and `min_entropy` stand for that share. The cheap verdicts steer and are not kept; list the cheap
    evaluators in the recipe as well to have them, at no further call. Judgements are those of `evaluator`, and, where
    the cheap ones say too little to choose a pair, what went wrong with theirs.
    """

    not_in_identity: ClassVar[frozenset[str]] = frozenset(
        {"name", "cheap", "by", "pairs", "min_value", "min_entropy", "beta", "temperature"}
    )

    kind: Literal["acquire"] = "acquire"
    name: str | None = None
    """What judgements call the evaluator; its kind if not given."""
    evaluator: _Evaluation
    """The evaluator whose verdicts are wanted; of each pair it sees the two responses alone."""
    cheap: tuple[_Evaluation, ...] = Field(min_length=1)
    """Evaluators whose scores tell what to ask about."""
    by: Literal["certainty", "uncertainty", "information", "thompson", "delta_ucb"] = "certainty"
    """What makes a pair worth asking about."""
    pairs: int = Field(default=1, ge=1)
    """Most pairs of a prompt that are asked about."""
    min_value: float | None = None
    """Least worth of a pair, by the rule; one of less is not asked about. None asks about the best whatever it is."""
    min_entropy: float | None = Field(default=None, ge=0)
    """Least predictive entropy of a prompt: the mean negative log-likelihood of its responses, in nats a token. Of
    prompts with less nothing is asked, and neither of those whose responses have no log-probabilities."""
    beta: float = Field(default=1.0, ge=0)
    """With `thompson` and `delta_ucb`: standard errors from the mean to its bounds."""
    temperature: float = Field(default=0.25, gt=0)
    """With `uncertainty` and `information`: the difference of scores at which the odds are e to 1."""

    @property
    def needs(self) -> tuple[str, ...]:
        """What it needs of the generators, in words."""
        return () if self.min_entropy is None else ("responses with log-probabilities",)

    @property
    def inner(self) -> dict[str, Operator]:
        """The evaluator that is wanted, and the cheap ones."""
        cheap = {f"cheap.{place}": one for place, one in enumerate(self.cheap)}
        return {"evaluator": self.evaluator, **cheap}  # type: ignore[dict-item]

    @property
    def _held(self) -> dict[str, Operator]:
        """The evaluator alone: what told that a pair be asked about is no part of what is said of it."""
        return {"evaluator": self.evaluator}  # type: ignore[dict-item]

    async def judge(self, case: Case, ask: Ask) -> list[Judgement]:
        """Judge the pairs that are worth it. A response in two of them is not asked about twice."""
        good = [response for response in case.responses if response.status == "ok"]
        if len(good) < 2 or (self.min_entropy is not None and not _predictive_entropy(good) >= self.min_entropy):
            return []
        cheap = [said for one in self.cheap for said in await one.judge(case, ask)]
        known = estimated(cheap, case.objective)
        scored = [response for response in good if response.id in known]
        found = [said for said in cheap if said.status != "ok"] if len(scored) < 2 else []
        for pair in self._worth_asking(case, scored, known):
            here = msgspec.structs.replace(case, responses=(pair.one, pair.other))
            found += await self.evaluator.judge(here, ask)
        called = self.name or self.kind
        return [msgspec.structs.replace(said, evaluator=called) for said in {one.id: one for one in found}.values()]

    def forecast(self, outlook: Outlook) -> list[Load]:
        """Expect the cheap evaluators on all responses, and the evaluator on `pairs` of them, if there are so many."""
        loads = [load for one in self.cheap for load in one.forecast(outlook)]
        count = min(float(self.pairs), max(outlook.responses * (outlook.responses - 1) / 2, 0.0))
        two = self.evaluator.forecast(msgspec.structs.replace(outlook, responses=2.0))
        return [*loads, *(_times(load, count) for load in two)]

    def _worth_asking(self, case: Case, good: Sequence[Response], known: Mapping[str, Estimate]) -> list[_Pair]:
        """The pairs to ask about, in sample order within each; two that say the same are no pair."""
        candidates = [_Pair(one, other, 0.0) for one, other in combinations(good, 2) if one.messages != other.messages]
        if self.by == "thompson":
            ranked = self._drawn(case.seed, candidates, known)
        else:
            value = self._value()
            valued = [pair._replace(value=value(known[pair.one.id], known[pair.other.id])) for pair in candidates]
            ranked = sorted(valued, key=lambda pair: -round(pair.value, 12))
        return [pair for pair in ranked[: self.pairs] if self.min_value is None or pair.value >= self.min_value - 1e-12]

    def _value(self) -> Callable[[Estimate, Estimate], float]:
        match self.by:
            case "uncertainty":
                return lambda one, other: _entropy(self._chance(one.mean - other.mean))
            case "information":
                return self._information
            case "delta_ucb":
                return lambda one, other: abs(one.mean - other.mean) + self.beta * (one.error + other.error)
            case _:
                return lambda one, other: abs(one.mean - other.mean)

    def _information(self, one: Estimate, other: Estimate) -> float:
        """The entropy of the mean chance less the mean entropy, over what the gap may be by the errors."""
        gap, error = one.mean - other.mean, math.hypot(one.error, other.error)
        chances = [self._chance(gap + error * point) for point in _QUANTILES]
        return _entropy(fmean(chances)) - fmean(map(_entropy, chances))

    def _chance(self, gap: float) -> float:
        return (1 + math.tanh(gap / self.temperature / 2)) / 2  # the same as 1 / (1 + exp(-x)), of any size of x

    def _drawn(self, seed: int, candidates: Sequence[_Pair], known: Mapping[str, Estimate]) -> list[_Pair]:
        """Pairs by draws, each once: as many draws as pairs are wanted."""
        found: dict[frozenset[str], _Pair] = {}
        if not candidates:
            return []
        for turn in range(self.pairs):
            high, low = (self._draws(seed, candidates, known, side, turn) for side in ("high", "low"))
            first = max(high, key=lambda name: high[name])
            against = [pair for pair in candidates if first in (pair.one.id, pair.other.id)]
            if against:  # all others may say what it says
                pair = min(against, key=lambda pair: low[pair.other.id if pair.one.id == first else pair.one.id])
                second = pair.other.id if pair.one.id == first else pair.one.id
                found.setdefault(frozenset((first, second)), pair._replace(value=high[first] - low[second]))
        return list(found.values())

    def _draws(
        self, seed: int, candidates: Sequence[_Pair], known: Mapping[str, Estimate], side: str, turn: int
    ) -> dict[str, float]:
        """A score of each response, between its bounds."""
        names = dict.fromkeys(one.id for pair in candidates for one in (pair.one, pair.other))
        lots = {name: 2 * draw(seed, "acquire", side, turn, name) / 2**63 - 1 for name in names}
        return {name: known[name].mean + self.beta * lots[name] * known[name].error for name in names}


def _entropy(chance: float) -> float:
    """Of a choice between two, in nats."""
    return -sum(share * math.log(share) for share in (chance, 1 - chance) if share > 0)


def _predictive_entropy(responses: Sequence[Response]) -> float:
    """The mean over the responses of their negative log-likelihoods, in nats a token; not a number where one has none."""
    likely = [one.token_logprobs for one in responses]
    return -fmean(fmean(some) for some in likely if some) if all(likely) else math.nan


def _times(load: Load, count: float) -> Load:
    numbers = [name for name in Load.__struct_fields__ if name != "model"]
    return msgspec.structs.replace(load, **{name: getattr(load, name) * count for name in numbers})
