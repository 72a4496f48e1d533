"""Running a recipe's table operators over whole prompts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from triptych.errors import OperatorFailed, TriptychError
from triptych.operators import Instantiator
from triptych.recipes.recipe import Recipe
from triptych.store.tables import schema
from triptych.store.writer import MakeExamples

if TYPE_CHECKING:
    import polars as pl


def example_makers(recipe: Recipe) -> tuple[MakeExamples, MakeExamples | None]:
    """What makes the examples of some prompts, and what makes those that need all prompts at once, if there is any."""
    within, across = within_and_across(recipe)
    return _maker(recipe, within, "in-memory"), _maker(recipe, across, "auto") if across else None


def within_and_across(recipe: Recipe) -> tuple[list[Instantiator], list[Instantiator]]:
    """The instantiations for which any whole prompts will do, and those that need all prompts at once."""
    across = [operator for operator in recipe.instantiation if getattr(operator, "across_prompts", False)]
    return [operator for operator in recipe.instantiation if operator not in across], across


def made_by(
    instantiations: Sequence[Instantiator],
    recipe: Recipe,
    tables: Mapping[str, pl.LazyFrame],
    engine: Literal["in-memory", "auto"] = "auto",
) -> pl.DataFrame:
    """The examples of the tables `prompts`, `responses` and `judgements` of some prompts, instantiation by instantiation.

    `engine` is Polars's: over tables that are in memory, `in-memory` takes half of the time. Raises `OperatorFailed` where one fails as it should not.
    """
    import polars as pl

    asked = tables["responses"], tables["judgements"], recipe.objective, recipe.seed
    more: dict[str, Any] = {"prompts": tables["prompts"], "judges": recipe.judges}
    empty = pl.LazyFrame(schema=schema("examples"))
    try:
        made = [
            operator.instantiate(*asked, **{name: more[name] for name in getattr(operator, "wants", ())})
            for operator in instantiations
        ]
        examples: pl.DataFrame = pl.concat([empty, *made]).collect(engine=engine)
    except TriptychError:
        raise
    except BaseException as error:  # a panic of Polars is no Exception
        raise OperatorFailed(f"an instantiation of the recipe failed with {type(error).__name__}: {error}") from error
    return examples


def _maker(
    recipe: Recipe, instantiations: Sequence[Instantiator], engine: Literal["in-memory", "auto"]
) -> MakeExamples:
    return lambda tables: made_by(instantiations, recipe, tables, engine)
