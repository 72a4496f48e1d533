"""What judgements say of responses, as numbers, for operators that run an evaluator themselves."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from statistics import fmean, variance
from typing import NamedTuple

from triptych.records import Judgement, Objective


class Estimate(NamedTuple):
    """What verdicts say of one response."""

    mean: float
    """The mean verdict over its criteria: in [0, 1], or, where no score has a scale, as the scores came."""
    error: float
    """The standard error of that mean; 0 where no criterion has two verdicts, which is no estimate of it."""


def estimated(judgements: Iterable[Judgement], objective: Objective) -> dict[str, Estimate]:
    """The mean verdict on each response, as `mean_verdicts` has it with `as_they_come`, with its standard error.

    The error is from the spread of the verdicts within each criterion, such as those of repeats and of several judges,
    as if they were independent: the variance of a mean of n is that of a sample (n - 1) over n.
    """
    judgements = list(judgements)
    said, found = _told(judgements, as_they_come=True), {}
    for response_id, mean in mean_verdicts(judgements, objective, as_they_come=True).items():
        by_criterion = said[response_id]
        weights = {name: _weight(name, objective) for name in by_criterion}
        whole = sum(weights.values())
        errors = (
            (weights[name] / whole) ** 2 * variance([verdict for verdict, _ in told]) / len(told)
            for name, told in by_criterion.items()
            if len(told) > 1
        )
        found[response_id] = Estimate(mean, sum(errors) ** 0.5)
    return found


def mean_verdicts(
    judgements: Iterable[Judgement], objective: Objective, *, as_they_come: bool = False
) -> dict[str, float]:
    """The mean verdict on each response over its criteria, in [0, 1], weighted as the objective declares.

    A score counts as its place on its scale. One without a scale, such as a reward r, counts as (1 + r / (1 + |r|)) / 2:
    its order is kept, however large it is, and 0 is the middle. Of k responses shown, rank r counts as (k - r) / (k - 1).
    Within a criterion, verdicts count by the weights of their judgements. Responses without any verdict are left out.

    `as_they_come` is for who asks how far apart two are: where all verdicts are scores without a scale, they count
    unchanged. Beside verdicts on a scale, or ranks, they have no common unit, and count as above.
    """
    found = {}
    for response_id, by_criterion in _told(judgements, as_they_come=as_they_come).items():
        weights = {name: _weight(name, objective) for name in by_criterion}
        whole = sum(weights.values())
        if whole:
            found[response_id] = sum(weights[name] * _mean(told) for name, told in by_criterion.items()) / whole
    return found


_Told = dict[str, dict[str, list[tuple[float, float]]]]
"""Verdicts with their weights, by response and criterion."""


def _told(judgements: Iterable[Judgement], *, as_they_come: bool) -> _Told:
    said: _Told = defaultdict(lambda: defaultdict(list))
    whole = [one for one in judgements if one.status == "ok" and one.step is None and not one.about]
    unchanged = as_they_come and all(one.scores is not None and one.scale is None for one in whole)
    for judgement in whole:
        verdicts = (judgement.scores or ()) if unchanged else _verdicts(judgement)
        for response_id, verdict in zip(judgement.response_ids, verdicts, strict=False):
            said[response_id][judgement.criterion].append((verdict, judgement.weight))
    return said


def _weight(criterion: str, objective: Objective) -> float:
    return objective.criteria[criterion].weight if criterion in objective.criteria else 1.0


def _mean(told: list[tuple[float, float]]) -> float:
    """The mean verdict by weight; the plain one where all weigh nothing."""
    verdicts, weights = zip(*told, strict=True)
    return fmean(verdicts, weights if any(weights) else None)


def _verdicts(judgement: Judgement) -> list[float]:
    if judgement.scores is not None and judgement.scale is not None:
        low, high = judgement.scale
        return [min(max((score - low) / (high - low), 0.0), 1.0) for score in judgement.scores]
    if judgement.scores is not None:
        return [(1 + score / (1 + abs(score))) / 2 for score in judgement.scores]
    ranks = judgement.ranks or ()
    return [(len(ranks) - _shared_rank(ranks, rank)) / (len(ranks) - 1) for rank in ranks] if len(ranks) > 1 else []


def _shared_rank(ranks: tuple[int, ...], rank: int) -> float:
    """The mean of the places that responses of this rank take up."""
    return sum(other < rank for other in ranks) + (sum(other == rank for other in ranks) + 1) / 2
