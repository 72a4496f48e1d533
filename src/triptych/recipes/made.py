"""How many responses to a prompt a recipe makes, and what can't be made of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from triptych.operators import Outlook
from triptych.recipes.judged import is_ours

if TYPE_CHECKING:
    from triptych.recipes.recipe import Recipe

_BRANCHES = frozenset({"branch", "search"})
_UNCOUNTED = _BRANCHES | {"given"}
"""Generators of which what they meet tells how many responses they make."""
_OF_SEVERAL = frozenset({"pairs", "compared_pairs", "diverse_pairs", "groups", "rankings"})


def made_per_prompt(recipe: Recipe) -> int | None:
    """The responses to each prompt, if all calls succeed; None where it can't be told beforehand."""
    if any(not is_ours(generator) or generator.kind in _UNCOUNTED for generator in recipe.synthesis):
        return None
    outlook = Outlook(prompt_tokens=100)
    for generator in recipe.synthesis:
        _, outlook = generator.forecast(outlook)
    return round(outlook.responses)


def too_few(recipe: Recipe) -> Iterator[tuple[str, str]]:
    """Instantiations of several responses where one is made, and of branches where none are: (field, what is wrong)."""
    made = made_per_prompt(recipe)
    branched = any(not is_ours(generator) or generator.kind in _UNCOUNTED for generator in recipe.synthesis)
    instantiation: tuple[Any, ...] = recipe.instantiation
    for place, operator in enumerate(instantiation):
        if not is_ours(operator):
            continue
        if made is not None and made < 2 and operator.kind in _OF_SEVERAL:
            yield (
                f"instantiation.{place}",
                f"{operator.kind} need two responses to a prompt, and the synthesis makes {made}. Sample more (n), add "
                "another generator, or make unpaired or sft rows of single ones",
            )
        if getattr(operator, "within", "prompt") == "prefix" and not branched:
            yield (
                f"instantiation.{place}.within",
                "prefix pairs branches of one response, and the synthesis makes none. Add branch or search, or leave "
                "within out",
            )
