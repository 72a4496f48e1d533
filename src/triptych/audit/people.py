"""Who among the evaluators is a person."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import polars as pl

    from triptych.audit.data import Data


def by_people(data: Data) -> pl.LazyFrame:
    """Judgements of people: without a model, without a check, and not by an operator of the recipe that computes its verdicts."""
    import polars as pl

    made = data.recipe.evaluation if data.recipe is not None else ()
    programs = [getattr(one, "name", None) or one.kind for one in made if one.kind != "verdicts"]
    person = pl.col("model").is_null() & pl.col("check").is_null() & ~pl.col("evaluator").is_in(programs)
    return data.judgements.filter(person)
