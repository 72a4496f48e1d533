"""Principle 5: preserve preference structure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from triptych.audit.principles.rule import Broken, Rule, gravity
from triptych.recipes.judged import OF_ANSWERS, fed, is_ours
from triptych.recipes.made import made_per_prompt

if TYPE_CHECKING:
    from triptych.recipes.recipe import Recipe

_SAFETY = re.compile(r"safe|harm(less|ful|$)|toxic", re.IGNORECASE)
_APART = frozenset({"stepwise", "conditioned"})


def _list_thrown_away(recipe: Recipe) -> Iterator[Broken]:
    made = made_per_prompt(recipe)
    instantiation: tuple[Any, ...] = recipe.instantiation
    for place, operator in enumerate(instantiation):
        one = operator.kind == "pairs" and is_ours(operator) and getattr(operator, "choose", "").startswith("best_vs_")
        if one and made is not None and made > 2 and getattr(operator, "choose", "") != "best_vs_rest":
            said = f"one pair is kept of the {made * (made - 1) // 2} that {made} responses to a prompt make"
            yield Broken("info", said, f"instantiation.{place}.choose")


def _safety_joined(recipe: Recipe) -> Iterator[Broken]:
    for place, operator, given in fed(recipe):
        safety = [name for name in sorted(given.criteria or ()) if _SAFETY.search(name)]
        joined = getattr(operator, "dimensions", "joined") == "joined" and not getattr(operator, "keep", ())
        others = len(given.criteria or ()) > len(safety)
        if safety and others and joined and operator.kind not in OF_ANSWERS | _APART:
            said = (
                f"{safety[0]} is one part of a score, so that being useful can make up for harm: keep it apart "
                "(dimensions: each or pareto), or set a least score for it (keep)"
            )
            yield Broken(gravity(recipe), said, place)


RULES = (
    Rule(
        id="R5.1",
        asks="criteria that disagree are not made one number",
        modes=("E11", "I2"),
        statistics=("criteria_conflict", "label_flips_under_weights", "pareto_incomparable_pairs"),
    ),
    Rule(
        id="R5.2",
        asks="the relations among several responses are kept",
        static=_list_thrown_away,
        modes=("I11",),
        statistics=("relations_kept", "responses_used"),
    ),
    Rule(
        id="R5.3",
        asks="margins that vary are used",
        modes=("I3",),
        statistics=("margin_variation", "weight_follows_margin"),
    ),
    Rule(id="R5.4", asks="safety is judged apart, and bounds usefulness", static=_safety_joined),
)
