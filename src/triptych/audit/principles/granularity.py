"""Principle 4: granularity enables credit assignment."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from triptych.audit.principles.rule import Broken, Rule
from triptych.recipes.judged import fed

if TYPE_CHECKING:
    from triptych.recipes.recipe import Recipe


def _folded(recipe: Recipe) -> Iterator[Broken]:
    for place, operator, _ in fed(recipe):
        fold = getattr(operator, "fold", None)
        if fold is not None:
            said = f"verdicts on steps become one score by their {fold}, which loses where a response went wrong"
            yield Broken("warn", said, f"{place}.fold")


RULES = (
    Rule(
        id="R4.1",
        asks="verdicts are at least as fine as what the loss learns from",
        modes=("I1",),
        statistics=("fine_labels_without_verdicts",),
        refused="rows of steps without verdicts on steps, and the like, are refused when a recipe is read",
    ),
    Rule(
        id="R4.2", asks="responses of many steps have verdicts on steps", modes=("E12",), statistics=("label_density",)
    ),
    Rule(
        id="R4.3",
        asks="verdicts on steps are kept apart",
        static=_folded,
        modes=("I1",),
        statistics=("steps_folded_into_label",),
    ),
    Rule(
        id="R4.4",
        asks="the value of a step is known well enough: sqrt(p(1-p)/m) of at most 0.15",
        modes=("E12",),
        statistics=("step_score_error",),
    ),
)
