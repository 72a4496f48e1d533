"""Principle 6: alignment is a closed-loop design problem."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from triptych.audit.principles.parts import calibrated, generators, judges, policy
from triptych.audit.principles.rule import Broken, Rule

if TYPE_CHECKING:
    from triptych.recipes.recipe import Recipe


def _never_refreshed(recipe: Recipe) -> Iterator[Broken]:
    trained = policy(recipe)
    if trained is not None and trained in generators(recipe) and recipe.loop is None:
        said = f"{trained} answers once: after training the data are of a policy that is no more. A loop refreshes them"
        yield Broken("info", said, "loop")


def _never_recalibrated(recipe: Recipe) -> Iterator[Broken]:
    if recipe.loop is not None and any(judges(recipe)) and not calibrated(recipe):
        said = "the policy changes from round to round, and the judge is calibrated in none of them: set calibrate"
        yield Broken("warn", said, "instantiation")


RULES = (
    Rule(
        id="R6.1",
        asks="data are refreshed as the policy changes",
        static=_never_refreshed,
        modes=("L1",),
        statistics=("policy_age",),
    ),
    Rule(
        id="R6.2",
        asks="the evaluator is calibrated anew as responses change",
        static=_never_recalibrated,
        modes=("E9", "L3", "L1"),
        statistics=(
            "gold_coverage_auc",
            "gold_coverage_index",
            "evaluator_drift_auc",
            "score_stability_index",
            "rounds_since_gold",
        ),
    ),
    Rule(
        id="R6.3",
        asks="diversity lasts from round to round, and proxy and gold rise together",
        modes=("L2", "E10", "S7"),
        statistics=("diversity_ratio", "novelty", "entropy_ratio", "proxy_without_gold"),
    ),
    Rule(
        id="R6.4",
        asks="what must not change does not get worse from round to round",
        modes=("L4", "S6"),
        statistics=("anchor_criterion_change", "backward_transfer", "anchor_gold_change"),
    ),
)
