"""Instantiation in plain Python, row by row: the oracle of the tests, and what the benchmark is held against."""

from __future__ import annotations

from collections import defaultdict
from math import fsum
from statistics import fmean

from triptych.records import Example, Judgement, Objective, Response, draw, make_example

_32 = 0xFFFFFFFF


def plain_verdict(judgement: Judgement) -> list[float]:
    """What it says of each response, in [0, 1]."""
    k = len(judgement.response_ids)
    if judgement.scores is not None:
        low, high = judgement.scale
        return [(score - low) / (high - low) for score in judgement.scores]
    ranks = judgement.ranks
    average = [fmean(p for p, other in enumerate(sorted(ranks), 1) if other == rank) for rank in ranks]
    return [(k - rank) / (k - 1) for rank in average]


def half_of(judgement: Judgement) -> object:
    """What a judgement is a half of: a verifier's checks of a response, or a choice between two in both orders."""
    if len(judgement.response_ids) == 2:
        return judgement.evaluator_id, judgement.criterion, frozenset(judgement.response_ids)
    if len(judgement.response_ids) == 1 and judgement.check is not None:
        return judgement.evaluator_id, judgement.criterion, judgement.response_ids[0]
    return None


def plain_scores(
    responses: list[Response],
    judgements: list[Judgement],
    objective: Objective,
    criteria: tuple[str, ...] | None = None,
    evaluators: tuple[str, ...] | None = None,
) -> dict[str, tuple[float | None, list[str]]]:
    """Response id -> (score or None, judgement ids), of the responses whose status is ok."""
    weights = {name: c.weight for name, c in objective.criteria.items()}
    shown = {r.id: r.prompt_id for r in responses if r.status == "ok"}
    said = defaultdict(lambda: defaultdict(lambda: defaultdict(list)))
    ids = defaultdict(list)
    halves = {half_of(j) for j in judgements if j.status != "ok"} - {None}
    for j in judgements:
        if (
            j.status != "ok"
            or j.step is not None
            or weights.get(j.criterion, 1) == 0
            or (halves and half_of(j) in halves)
        ):
            continue
        if (criteria and j.criterion not in criteria) or (evaluators and j.evaluator not in evaluators):
            continue
        for response_id, verdict in zip(j.response_ids, plain_verdict(j), strict=True):
            if response_id in shown:
                said[response_id][j.criterion][j.evaluator_id].append(verdict)
                ids[response_id].append(j.id)
    asked = defaultdict(set)
    for response_id, by_criterion in said.items():
        asked[shown[response_id]] |= set(by_criterion)
    found = {}
    for response_id, prompt in shown.items():
        per = {c: sum(sum(v) / len(v) for v in by.values()) / len(by) for c, by in said[response_id].items()}
        if not per or set(per) != asked[prompt]:
            found[response_id] = (None, ids[response_id])
        else:
            total = sum(weights.get(c, 1) for c in per)
            found[response_id] = (sum(per[c] * weights.get(c, 1) for c in per) / total, ids[response_id])
    return found


def drawn(response_id: str, seed: int) -> int:
    """The number by which responses of equal score are put in order."""
    start = draw(seed, "pairs")
    text = response_id[-12:].encode().hex()
    h = start & _32
    for word in (*(int(text[8 * i : 8 * i + 8] or "0", 16) for i in range(3)), start >> 32):
        h ^= word
        h ^= h >> 16
        h = h * 0x85EBCA6B & _32
        h ^= h >> 13
        h = h * 0xC2B2AE35 & _32
        h ^= h >> 16
    return h


def plain_examples(
    form, responses: list[Response], judgements: list[Judgement], objective: Objective, seed: int = 0
) -> list[Example]:
    """What `Pairs()`, `Groups()` and `Unpaired()` make, with no other settings."""
    scores = plain_scores(responses, judgements, objective)
    by_prompt = defaultdict(list)
    for response in responses:
        score, rests_on = scores.get(response.id, (None, []))
        if score is not None:
            by_prompt[response.prompt_id].append((response, round(score, 12), rests_on))
    make = {"pairs": _pair, "groups": _group, "unpaired": _unpaired}[form.kind]
    strategy = {"pairs": "best_vs_worst", "groups": "mean_std", "unpaired": "against_scale"}[form.kind]
    shared = {
        "strategy": strategy,
        "strategy_id": form.identity(),
        "objective_version": objective.version,
    }
    return [
        make_example(prompt_id=prompt, **shared, **fields)
        for prompt, scored in by_prompt.items()
        for fields in make(scored, seed)
    ]


def _pair(scored, seed):
    best = max(score for _, score, _ in scored)
    couples = [
        (chosen, rejected)
        for chosen in scored
        for rejected in scored
        if chosen[1] == best > rejected[1] and chosen[0].messages != rejected[0].messages
    ]
    if not couples:
        return
    worst = min(rejected[1] for _, rejected in couples)
    order = [couple for couple in couples if couple[1][1] == worst]
    chosen, rejected = min(order, key=lambda couple: (drawn(couple[0][0].id, seed), -drawn(couple[1][0].id, seed)))
    yield {
        "kind": "pair",
        "response_ids": (chosen[0].id, rejected[0].id),
        "scores": (chosen[1], rejected[1]),
        "labels": (1.0, 0.0),
        "margin": round(chosen[1] - rejected[1], 12),
        "weight": 1.0,
        "judgement_ids": tuple(dict.fromkeys(chosen[2] + rejected[2])),
    }


def _group(scored, seed):
    scores = [score for _, score, _ in scored]
    if len(scores) < 2 or max(scores) == min(scores):
        return
    middle = fmean(scores)
    spread = (fsum((score - middle) ** 2 for score in scores) / (len(scores) - 1)) ** 0.5
    yield {
        "kind": "group",
        "response_ids": tuple(response.id for response, _, _ in scored),
        "scores": tuple(scores),
        "labels": tuple(round((score - middle) / spread, 12) for score in scores),
        "margin": round(max(scores) - min(scores), 12),
        "weight": 1.0,
        "judgement_ids": tuple(dict.fromkeys(j for _, _, rests_on in scored for j in rests_on)),
    }


def _unpaired(scored, seed):
    for response, score, rests_on in scored:
        yield {
            "kind": "unpaired",
            "response_ids": (response.id,),
            "scores": (score,),
            "labels": (float(score >= 0.5),),
            "margin": None,
            "weight": 1.0,
            "judgement_ids": tuple(rests_on),
        }
