"""The six principles as rules: what they ask of a recipe before it runs, and of the data after."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from triptych.audit.finding import Finding
from triptych.audit.principles import closed_loop, coverage, fidelity, granularity, hygiene, signal, structure
from triptych.audit.principles.rule import BY_RECIPE, PRINCIPLES, Broken, Rule, Ruling, on_data, on_recipe

if TYPE_CHECKING:
    from triptych.recipes.recipe import Recipe

RULES: tuple[Rule, ...] = (
    *signal.RULES,
    *coverage.RULES,
    *fidelity.RULES,
    *granularity.RULES,
    *structure.RULES,
    *closed_loop.RULES,
    *hygiene.RULES,
)
DIAGNOSTICS = (*signal.DIAGNOSTICS, *coverage.DIAGNOSTICS)

__all__ = ["DIAGNOSTICS", "PRINCIPLES", "RULES", "Broken", "Rule", "Ruling", "broken_by", "found_in_recipe", "rulings"]


def broken_by(recipe: Recipe) -> tuple[Ruling, ...]:
    """The rules that a recipe breaks before anything is run."""
    told = [on_recipe(rule, recipe) for rule in RULES]
    return tuple(each for each in told if each is not None and each.state == "broken")


def found_in_recipe(recipe: Recipe) -> tuple[Finding, ...]:
    """What a recipe breaks that is a warning or an error, as findings: of the rule's id, and without a value."""
    return tuple(
        Finding(
            name=BY_RECIPE,
            failure_mode=rule.id,
            subject=each.place,
            value=None,
            low=None,
            high=None,
            n=0,
            prompts=0,
            severity=each.severity,
            message=each.message,
            edits=each.edits,
        )
        for rule in RULES
        if rule.static is not None
        for each in rule.static(recipe)
        if each.severity != "info"
    )


def rulings(recipe: Recipe | None, findings: Sequence[Finding]) -> tuple[Ruling, ...]:
    """Rule on all that is known: a recipe, and what an audit found."""
    return tuple(on_data(rule, recipe, findings) for rule in RULES)
