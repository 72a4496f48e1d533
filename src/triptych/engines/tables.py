"""Running a recipe's table operators over whole prompts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from triptych.recipes.recipe import Recipe
from triptych.store.tables import schema
from triptych.store.writer import MakeExamples

if TYPE_CHECKING:
    import polars as pl


def example_maker(recipe: Recipe) -> MakeExamples:
    """Join the instantiations of a recipe to one function from responses and judgements to examples."""

    def make(responses: pl.DataFrame, judgements: pl.DataFrame) -> pl.DataFrame:
        import polars as pl

        made = [
            operator.instantiate(responses.lazy(), judgements.lazy(), recipe.objective, recipe.seed)
            for operator in recipe.instantiation
        ]
        empty = pl.LazyFrame(schema=schema("examples"))
        examples: pl.DataFrame = pl.concat([empty, *made]).collect()
        return examples

    return make
