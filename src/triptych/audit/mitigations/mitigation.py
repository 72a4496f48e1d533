"""The mitigation: what it does in words, and the settings of a recipe that do it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from typing import TYPE_CHECKING, Any, NamedTuple

from triptych.errors import RecipeError

if TYPE_CHECKING:
    from triptych.audit.data import Data

Edits = dict[str, Any]
"""Settings by their dotted places, as `--set` takes them: `evaluation.+` is past the end of the list."""


class Mitigation(NamedTuple):
    """One change of a recipe."""

    does: str
    """In words, as a command."""
    of: Callable[[Data, str], Edits]
    """The settings, for the data and the subject of a finding; none where the recipe has nothing to change, or has it so."""


def mitigation(of: Callable[[Data, str], Edits]) -> Mitigation:
    """Make one of a function; its docstring says what it does."""
    return Mitigation((inspect.getdoc(of) or "").rstrip("."), of)


def proposed(mitigations: Sequence[Mitigation], data: Data, subject: str) -> Mapping[str, Any]:
    """What the first of some mitigations changes that changes anything, and with which the recipe loads."""
    if data.whole_recipe is None:
        return {}
    if data.recipe is not data.whole_recipe:
        data = copy(data)
        data.recipe = data.whole_recipe
    for each in mitigations:
        edits = each.of(data, subject)
        if edits and _loads(data, edits):
            return edits
    return {}


def _loads(data: Data, edits: Edits) -> bool:
    from triptych.recipes.load import build_recipe, set_in

    assert data.recipe is not None
    content = data.recipe.model_dump(mode="json", exclude_unset=True)
    try:
        for place, value in edits.items():
            set_in(content, place, value)
        return build_recipe(content) != data.recipe
    except (RecipeError, LookupError, ValueError, TypeError):
        return False
