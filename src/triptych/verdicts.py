"""What judgements say of responses, as one number each, for operators that run an evaluator themselves."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from statistics import fmean

from triptych.records import Judgement, Objective


def mean_verdicts(judgements: Iterable[Judgement], objective: Objective) -> dict[str, float]:
    """The mean verdict on each response over its criteria, in [0, 1], weighted as the objective declares.

    A score counts as its place on its scale; of k responses shown, rank r counts as (k - r) / (k - 1). Within a
    criterion, verdicts count by the weights of their judgements. Responses without any verdict are left out.
    """
    said: defaultdict[str, defaultdict[str, list[tuple[float, float]]]] = defaultdict(lambda: defaultdict(list))
    for judgement in judgements:
        for response_id, verdict in zip(judgement.response_ids, _verdicts(judgement), strict=False):
            said[response_id][judgement.criterion].append((verdict, judgement.weight))
    found = {}
    for response_id, by_criterion in said.items():
        weights = {
            name: objective.criteria[name].weight if name in objective.criteria else 1.0 for name in by_criterion
        }
        whole = sum(weights.values())
        if whole:
            found[response_id] = sum(weights[name] * _mean(told) for name, told in by_criterion.items()) / whole
    return found


def _mean(told: list[tuple[float, float]]) -> float:
    """The mean verdict by weight; the plain one where all weigh nothing."""
    verdicts, weights = zip(*told, strict=True)
    return fmean(verdicts, weights if any(weights) else None)


def _verdicts(judgement: Judgement) -> list[float]:
    if judgement.status != "ok" or judgement.step is not None or judgement.about:
        return []
    if judgement.scores is not None and judgement.scale is not None:
        low, high = judgement.scale
        return [min(max((score - low) / (high - low), 0.0), 1.0) for score in judgement.scores]
    ranks = judgement.ranks or ()
    return [(len(ranks) - _shared_rank(ranks, rank)) / (len(ranks) - 1) for rank in ranks] if len(ranks) > 1 else []


def _shared_rank(ranks: tuple[int, ...], rank: int) -> float:
    """The mean of the places that responses of this rank take up."""
    return sum(other < rank for other in ranks) + (sum(other == rank for other in ranks) + 1) / 2
