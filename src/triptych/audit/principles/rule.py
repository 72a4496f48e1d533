"""The rule: one thing that a principle asks of a recipe or of its data, and what came of looking."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from triptych.audit.finding import Finding, Severity
from triptych.audit.modes import MODES

if TYPE_CHECKING:
    from triptych.recipes.recipe import Recipe

State = Literal["holds", "broken", "unmeasured", "unchecked"]
PRINCIPLES: dict[str, str] = {
    "P1": "the pipeline defines the optimisation signal",
    "P2": "coverage precedes optimisation",
    "P3": "evaluation fidelity sets the upper bound",
    "P4": "granularity enables credit assignment",
    "P5": "preserve preference structure",
    "P6": "alignment is a closed loop",
    "P7": "hygiene of the data, which all principles presuppose",
}
"""The six principles of the survey (arXiv:2605.26442), and what they take for granted."""

BY_RECIPE = "rule_broken_by_recipe"
"""The name of findings about a recipe alone."""


class Broken(msgspec.Struct, frozen=True):
    """How a recipe breaks a rule."""

    severity: Severity
    message: str
    place: str = ""
    """In the recipe, dotted."""
    edits: dict[str, Any] = {}
    """Settings that would have it hold, by their dotted places."""


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """One rule. What can't be checked says why."""

    id: str
    """Such as `R3.2`; the figure before the point is the principle's."""
    asks: str
    """What should be so."""
    static: Callable[[Recipe], Iterable[Broken]] | None = None
    """What it finds in a recipe."""
    modes: tuple[str, ...] = ()
    """The failure modes that it guards against, on data."""
    statistics: tuple[str, ...] = ()
    """The statistics of these modes that decide it: those that measure what it asks, and no others."""
    refused: str = ""
    """Where a recipe that breaks it can't be read at all: what is refused."""
    limits: str = ""
    """What of it can't be looked at, or why it is no graver."""
    unchecked: str = ""
    """Why it is not checked."""

    @property
    def principle(self) -> str:
        """Its principle's id, such as `P3`."""
        return f"P{self.id[1:].partition('.')[0]}"


class Ruling(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a rule."""

    rule: str
    principle: str
    asks: str
    state: State
    """`holds`, `broken`, `unmeasured` (the data do not tell), or `unchecked` (Triptych does not look)."""
    severity: Severity
    """Of what breaks it; `info` otherwise."""
    evidence: tuple[str, ...] = ()
    """A sentence for each thing that breaks it, or why it could not be told."""
    rests_on: tuple[str, ...] = ()
    """The statistics that decided it."""
    places: tuple[str, ...] = ()
    """Where in the recipe it is broken."""


_GRAVITY: tuple[Severity, ...] = ("info", "warn", "error")
_MOST = 5
"""Sentences of evidence."""


def on_recipe(rule: Rule, recipe: Recipe) -> Ruling | None:
    """Rule on a recipe alone; None for rules about data."""
    if rule.static is None:
        return None
    broken = list(rule.static(recipe))
    return _ruling(
        rule,
        "broken" if broken else "holds",
        _gravest([each.severity for each in broken]),
        [each.message for each in broken],
        places=tuple(each.place for each in broken if each.place),
    )


def on_data(rule: Rule, recipe: Recipe | None, findings: Sequence[Finding]) -> Ruling:
    """Rule on a recipe and on what was found in the data."""
    if rule.unchecked:
        return _ruling(rule, "unchecked", "info", [rule.unchecked])
    broken = [] if rule.static is None or recipe is None else list(rule.static(recipe))
    mine = [each for each in findings if each.failure_mode in rule.modes and each.name in rule.statistics]
    told = [each for each in mine if each.severity != "info"]
    sure = [each for each in mine if not each.few]
    by_recipe = [BY_RECIPE] * any(each.severity != "info" for each in broken)
    rests_on = tuple(dict.fromkeys([*by_recipe, *(each.name for each in mine)]))
    if broken or told:
        severity = _gravest([*(each.severity for each in broken), *(each.severity for each in told)])
        said = [*(each.message for each in broken), *(each.message for each in told)]
        places = tuple(each.place for each in broken if each.place)
        return _ruling(rule, "broken", severity, said, rests_on=rests_on, places=places)
    if rule.refused:
        return _ruling(rule, "holds", "info", [rule.refused])
    if sure or (rule.static is not None and recipe is not None and not rule.modes):
        return _ruling(rule, "holds", "info", [], rests_on=rests_on)
    looked_for = ", ".join(MODES.get(mode, mode) for mode in rule.modes) or "a recipe, which is not there"
    lacking = "there are too few prompts to tell" if mine else f"nothing was measured of {looked_for}"
    return _ruling(rule, "unmeasured", "info", [lacking], rests_on=rests_on)


def _ruling(
    rule: Rule,
    state: State,
    severity: Severity,
    said: Sequence[str],
    *,
    rests_on: tuple[str, ...] = (),
    places: tuple[str, ...] = (),
) -> Ruling:
    more = (f"and {len(said) - _MOST} more",) if len(said) > _MOST else ()
    return Ruling(
        rule=rule.id,
        principle=rule.principle,
        asks=rule.asks,
        state=state,
        severity=severity,
        evidence=(*said[:_MOST], *more),
        rests_on=rests_on,
        places=places,
    )


def _gravest(severities: Sequence[Severity]) -> Severity:
    return max(severities, key=_GRAVITY.index, default="info")


def gravity(recipe: Recipe) -> Severity:
    """How grave it is to break a rule that is an error by itself: where a published method does it, a warning."""
    return "error" if recipe.method is None else "warn"
