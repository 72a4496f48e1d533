"""What the rules ask of a recipe: who answers, who judges, and whether the two are of one family."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from triptych.operators import with_inner

if TYPE_CHECKING:
    from triptych.recipes.recipe import Recipe

_GENERIC = frozenset({"m", "my", "model", "judge", "policy", "big", "small", "the", "local", "test", "base"})
"""First words of names that say nothing of a family."""


def operators(recipe: Recipe, panel: str) -> Iterator[tuple[str, Any]]:
    """The operators of a panel and all that they hold, each with its place."""
    for place, operator in enumerate(getattr(recipe, panel)):
        yield from with_inner(f"{panel}.{place}", operator)


def models_of(operator: Any) -> tuple[str, ...]:
    """The names of the models that an operator uses."""
    used = getattr(operator, "used_models", None) or getattr(operator, "model", None) or ()
    return (used,) if isinstance(used, str) else tuple(used)


def generators(recipe: Recipe) -> set[str]:
    """The names of the models that answer."""
    own = [operator for _, operator in operators(recipe, "synthesis") if not hasattr(operator, "judge")]
    return {name for operator in own for name in models_of(operator)}


def judges(recipe: Recipe) -> Iterator[tuple[str, Any, tuple[str, ...]]]:
    """The evaluators that ask a model for its opinion, with their places and models."""
    for place, operator in operators(recipe, "evaluation"):
        if models_of(operator) and getattr(operator, "asks_for", "chat") == "chat" and hasattr(operator, "judge"):
            yield place, operator, models_of(operator)


def has_anchors(recipe: Recipe) -> bool:
    """Whether anything but a model has a say: people, programs, or verdicts that are gold for a calibration."""
    without_model = any(not models_of(each) and each.kind in ("verify", "verdicts") for each in recipe.evaluation)
    return without_model or calibrated(recipe)


def calibrated(recipe: Recipe) -> bool:
    """Whether verdicts are calibrated on gold ones."""
    return any(getattr(each, "calibrate", None) is not None for each in recipe.instantiation)


def policy(recipe: Recipe) -> str | None:
    """The name of the model that is to be trained, where the recipe tells."""
    if recipe.loop is not None:
        return recipe.loop.refresh
    return "policy" if "policy" in recipe.models else None


def family(recipe: Recipe, name: str) -> str | None:
    """The family of a model by its name, such as `qwen` of `Qwen/Qwen2.5-7B-Instruct`; None where it can't be told.

    The embedded model stands for any other one while a recipe is tried out, and is of no family.
    """
    spec = recipe.models.get(name)
    if spec is None or getattr(spec, "backend", "") == "embedded":
        return None
    last = str(getattr(spec, "model", "") or getattr(spec, "path", "")).rstrip("/").rpartition("/")[2].lower()
    first = re.match(r"(?:meta-)?([a-z]+)", last)
    return None if first is None or first[1] in _GENERIC or len(first[1]) < 2 else first[1]
