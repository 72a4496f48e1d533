"""Principle 3: evaluation fidelity sets the upper bound."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from triptych.audit.principles.parts import family, generators, has_anchors, judges, operators
from triptych.audit.principles.rule import Broken, Rule, gravity

if TYPE_CHECKING:
    from triptych.recipes.recipe import Recipe


def _without_gold(recipe: Recipe) -> Iterator[Broken]:
    asked = list(judges(recipe))
    if asked and not has_anchors(recipe):
        said = (
            "models judge, and nothing says how often they are right: add verdicts of people ({kind: verdicts}) or of a "
            "program ({kind: verify}) on some prompts"
        )
        yield Broken("warn", said, asked[0][0])


def _one_order(recipe: Recipe) -> Iterator[Broken]:
    for place, judge in operators(recipe, "evaluation"):
        if getattr(judge, "both_orders", True) is False:
            said = (
                f"{judge.kind} sees each pair in one order only, so its position bias is unknown: set both_orders: true"
            )
            yield Broken(gravity(recipe), said, f"{place}.both_orders", {f"{place}.both_orders": True})


def _same_family(recipe: Recipe) -> Iterator[Broken]:
    answering, asked = generators(recipe), list(judges(recipe))
    heard = {family(recipe, name) for _, _, names in asked for name in names}
    ours = {family(recipe, name) for name in answering} - {None}
    for place, _, names in asked:
        own = [name for name in names if name in answering]
        if own and len({name for _, _, those in asked for name in those}) == 1:
            severity = "warn" if has_anchors(recipe) else gravity(recipe)
            without = "" if has_anchors(recipe) else ", and nothing else has a say"
            yield Broken(severity, f"{own[0]} judges responses that it made itself{without}", f"{place}.model")
            continue
        near = [name for name in names if name not in own and family(recipe, name) in ours]
        if near and len(heard - {None}) < 2:
            said = f"{near[0]} judges responses of a model of its own family, {family(recipe, near[0])}"
            yield Broken("warn", f"{said}; take a judge of another family, or several", f"{place}.model")


def _single_judge(recipe: Recipe) -> Iterator[Broken]:
    asked = list(judges(recipe))
    if recipe.budget.usd is None or len(asked) != 1 or has_anchors(recipe):
        return
    place, judge, names = asked[0]
    if len(names) == 1 and getattr(judge, "repeats", 1) == 1:
        said = (
            f"the budget is limited, and all rests on {names[0]} asked once: several cheap judges, or repeats, err less"
        )
        yield Broken("warn", said, place)


RULES = (
    Rule(
        id="R3.1",
        asks="judges are compared with gold verdicts, and stand the comparison",
        static=_without_gold,
        modes=("E4", "E7"),
        statistics=(
            "gold_accuracy",
            "gold_accuracy_by_slice",
            "judge_verifier_agreement",
            "calibration_slope",
            "calibration_error",
        ),
        limits=(
            "without gold verdicts it is a warning and no error, since the judge may be right all the same; a judge that "
            "gold contradicts is an error by E4"
        ),
    ),
    Rule(
        id="R3.2",
        asks="pairs are judged in both orders, and the order does not decide",
        static=_one_order,
        modes=("E1",),
        statistics=("swap_consistency", "first_slot_rate", "first_slot_in_contradictions"),
    ),
    Rule(
        id="R3.3",
        asks="length does not decide what a judge prefers",
        modes=("E2", "E10"),
        statistics=(
            "judge_prefers_longer",
            "length_coefficient",
            "accuracy_gap_by_length",
            "score_length_correlation",
            "proxy_follows_length",
        ),
    ),
    Rule(
        id="R3.4",
        asks="the judge is of another family than the models that answer, or one of several, and does not favour its own",
        static=_same_family,
        modes=("E3",),
        statistics=("self_preference_gap", "own_family_against_other_judges"),
    ),
    Rule(id="R3.5", asks="judges of a panel do not err together", modes=("E14",), statistics=("effective_judges",)),
    Rule(
        id="R3.6",
        asks="verifiers were tried on answers known to be right and wrong",
        modes=("E15",),
        statistics=(
            "verifier_false_positives",
            "verifier_false_negatives",
            "planted_wrong_passed",
            "planted_right_failed",
        ),
        limits=(
            "the audit itself tries `verify` on planted answers that are numbers; that other checks were not tried is no "
            "error, since of them no answer is known to be right or wrong"
        ),
    ),
    Rule(id="R3.7", asks="with little to spend, more than one opinion counts", static=_single_judge),
)
