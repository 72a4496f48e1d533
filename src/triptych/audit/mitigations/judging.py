"""Mitigations in evaluation: who judges, and how they are asked."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from triptych.audit.mitigations.mitigation import Edits, Mitigation, mitigation
from triptych.audit.mitigations.places import (
    added,
    called,
    criteria,
    judges,
    of_kind,
    panel,
    references,
    samplers,
    written,
)
from triptych.audit.principles.parts import family, generators

if TYPE_CHECKING:
    from triptych.audit.data import Data

WANTED_SD = 0.15
"""The standard error of a step's score, as a share, that is precise enough."""
_PAIRWISE = frozenset({"model", "criteria", "name", "system", "max_tokens"})
"""Settings of a judge of pairs that a judge of lists or of single responses has too."""


@mitigation
def both_orders(data: Data, subject: str) -> Edits:
    """Judge each pair in both orders."""
    return {
        f"{place}.both_orders": True
        for place, one in judges(data, subject).items()
        if getattr(one, "both_orders", None) is False
    }


@mitigation
def scored_too(data: Data, subject: str) -> Edits:
    """Have the same judge score each response by itself as well, where there is no order (`rubric`)."""
    if of_kind(data, "evaluation", "rubric"):
        return {}
    for one in judges(data, subject).values():
        if one.kind in ("pairwise", "listwise", "debate"):
            operator = {
                "kind": "rubric",
                "name": f"{called(one)}-scores",
                "model": one.model,
                "criteria": list(one.criteria),
            }
            return added(data, "evaluation", operator)
    return {}


@mitigation
def ranked_at_once(data: Data, subject: str) -> Edits:
    """Have the judge rank all responses at once (`listwise`)."""
    return {
        place: {"kind": "listwise"} | {name: value for name, value in written(one).items() if name in _PAIRWISE}
        for place, one in judges(data, subject).items()
        if one.kind == "pairwise"
    }


@mitigation
def finer_scale(data: Data, subject: str) -> Edits:
    """Score on a scale from 1 to 10."""
    return {
        f"{place}.scale": [1, 10]
        for place, one in judges(data, subject).items()
        if one.kind == "rubric" and one.scale[1] - one.scale[0] < 9
    }


@mitigation
def expected_scores(data: Data, subject: str) -> Edits:
    """Read verdicts from log-probabilities, which tell more than one word (`read: logprobs`)."""
    assert data.recipe is not None
    models = data.recipe.models
    return {
        f"{place}.read": "logprobs"
        for place, one in judges(data, subject).items()
        if getattr(one, "read", "") == "json" and models[one.model].logprobs and not getattr(one, "ties", False)
    }


@mitigation
def without_ties(data: Data, subject: str) -> Edits:
    """Ask for a choice without a tie."""
    return {
        f"{place}.ties": False for place, one in judges(data, subject).items() if getattr(one, "ties", False) is True
    }


@mitigation
def repeated(data: Data, subject: str) -> Edits:
    """Take the mean of three times as many verdicts."""
    edits: Edits = {}
    for place, one in judges(data, subject).items():
        if hasattr(one, "repeats"):
            edits[f"{place}.repeats"] = 3 * one.repeats
            if one.temperature == 0:
                edits[f"{place}.temperature"] = 0.7
    return edits


@mitigation
def cooler(data: Data, subject: str) -> Edits:
    """Judge at temperature 0."""
    hot = {place: one for place, one in judges(data, subject).items() if getattr(one, "temperature", 0) > 0}
    return {f"{place}.temperature": 0 for place, one in hot.items() if getattr(one, "repeats", 1) == 1}


@mitigation
def critique_first(data: Data, subject: str) -> Edits:
    """Have the judge write a critique of each response before it scores it (`critic`)."""
    return {
        f"{place}.critic": one.model
        for place, one in judges(data, subject).items()
        if one.kind == "rubric" and one.critic is None
    }


@mitigation
def debated(data: Data, subject: str) -> Edits:
    """Have an advocate argue for each of two responses before the judge decides (`debate`)."""
    return {
        place: written(one) | {"kind": "debate", "advocate": one.model}
        for place, one in judges(data, subject).items()
        if one.kind == "pairwise"
    }


@mitigation
def another_judge(data: Data, subject: str) -> Edits:
    """Have a declared model of another family judge as well."""
    recipe = data.recipe
    assert recipe is not None
    asked = {one.model for one in judges(data, "").values()}
    answer = generators(recipe)
    near = {family(recipe, name) for name in asked | answer}
    able = (name for name, spec in recipe.models.items() if "chat" in spec.answers and name not in asked | answer)
    other = next((name for name in able if family(recipe, name) not in near | {None}), None)
    told = judges(data, subject).values() or judges(data, "").values()
    first = next((one for one in told if one.kind in ("rubric", "pairwise", "listwise")), None)
    if other is None or first is None:
        return {}
    return added(data, "evaluation", written(first) | {"model": other, "name": f"{called(first)}-{other}"})


@mitigation
def verified_too(data: Data, subject: str) -> Edits:
    """Have a program check the final answer as well, of prompts that have a number for a reference (`verify`)."""
    judging = panel(data, "evaluation").values()
    checked = any(getattr(one, "final_answer", False) for one in judging)
    if not judging or checked or not references(data):  # imported verdicts are of no evaluator, and a run would drop them
        return {}
    on = next(iter(criteria(data)), "answer")
    operator = {"kind": "verify", "name": "checked", "criterion": on, "use_prompt": False, "final_answer": True}
    return added(data, "evaluation", operator)


@mitigation
def final_answer_checked(data: Data, subject: str) -> Edits:
    """Check the final answer against the reference, where the verifier does not."""
    if not references(data):
        return {}
    return {
        f"{place}.final_answer": True
        for place, one in of_kind(data, "evaluation", "verify").items()
        if called(one) == subject and not one.final_answer
    }


@mitigation
def judged_by_steps_too(data: Data, subject: str) -> Edits:
    """Judge each step (`rubric` with `unit: step`), and make rows of steps."""
    steps = [
        one
        for one in panel(data, "evaluation").values()
        if getattr(one, "unit", "") == "step" or one.kind == "rollouts"
    ]
    first = next((one for one in judges(data, "").values() if getattr(one, "criteria", None)), None)
    if steps or first is None:
        return {}
    by = {"kind": "rubric", "name": "steps", "model": first.model, "criteria": list(first.criteria), "unit": "step"}
    return {"evaluation.+": by, "instantiation.+": {"kind": "stepwise", "evaluators": ["steps"]}}


@mitigation
def by_rollouts(data: Data, subject: str) -> Edits:
    """Score a step by how often the policy comes to a right end from it (`rollouts`), and not by opinion."""
    verifiers = of_kind(data, "evaluation", "verify").values()
    check = next((written(one) for one in verifiers), None)
    if check is None and references(data):
        check = {"kind": "verify", "use_prompt": False, "final_answer": True}
    sampler = next(iter(samplers(data).values()), None)
    if check is None or sampler is None:
        return {}
    model = sampler.model if isinstance(sampler.model, str) else sampler.model[0]
    return {
        place: {"kind": "rollouts", "name": called(one), "criterion": one.criteria[0], "model": model, "check": check}
        for place, one in judges(data, subject).items()
        if one.kind == "rubric" and one.unit == "step"
    }


@mitigation
def more_rollouts(data: Data, subject: str) -> Edits:
    """Continue each step as often as a share of one half needs."""
    enough = math.ceil(0.25 / WANTED_SD**2)
    return {
        f"{place}.n": enough
        for place, one in judges(data, subject).items()
        if one.kind == "rollouts" and one.n < enough
    }


@mitigation
def longer_verdicts(data: Data, subject: str) -> Edits:
    """Allow verdicts twice as many tokens."""
    return {
        f"{place}.max_tokens": 2 * one.max_tokens
        for place, one in judges(data, subject).items()
        if hasattr(one, "max_tokens") and getattr(one, "read", "json") == "json"
    }


@mitigation
def patient(data: Data, subject: str) -> Edits:
    """Wait twice as long for the judge's answers, and try twice as often."""
    assert data.recipe is not None
    edits: Edits = {}
    for one in judges(data, subject).values():
        spec: Any = data.recipe.models[one.model]
        edits[f"models.{one.model}.timeout_s"] = 2 * spec.timeout_s
        edits[f"models.{one.model}.max_retries"] = 2 * spec.max_retries
    return edits


def told(sentence: str, does: str) -> Mitigation:
    """Tell the judge something."""

    def of(data: Data, subject: str) -> Edits:
        return {
            f"{place}.system": sentence
            for place, one in judges(data, subject).items()
            if hasattr(one, "template") and getattr(one, "system", "") is None
        }

    return Mitigation(does, of)


disregard_length = told(
    "Judge what a response says. How long it is counts neither for it nor against it.",
    "Tell the judge to disregard length",
)
disregard_form = told(
    "Judge what a response says. Headings, lists and bold text count neither for it nor against it.",
    "Tell the judge to disregard form",
)
