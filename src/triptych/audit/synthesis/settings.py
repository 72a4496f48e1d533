"""Where in a recipe a setting of synthesis or of pairing stands: what edits are made of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from triptych.audit.data import Data


def operators(data: Data, panel: str, kind: str) -> dict[str, Any]:
    """The recipe's operators of a kind in a panel, by their dotted places."""
    made = getattr(data.recipe, panel) if data.recipe is not None else ()
    return {f"{panel}.{place}": one for place, one in enumerate(made) if getattr(one, "kind", "") == kind}


def models_of(data: Data, operator: Any) -> set[str]:
    """The names, as responses give them, of the models that an operator asks."""
    names = getattr(operator, "model", ())
    models = data.recipe.models if data.recipe is not None else {}
    return {models[name].model for name in ([names] if isinstance(names, str) else names) if name in models}


def hotter(data: Data) -> dict[str, Any]:
    """Sample at temperature 1 where it is done at lower ones."""
    return {
        f"{place}.temperature": 1.0
        for place, one in operators(data, "synthesis", "sample").items()
        if max(one.temperature) < 1
    }
