"""Holding prompts out for evaluation, whole families of them, so that nothing of a test row is in a training row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from triptych.errors import TriptychError
from triptych.export.rows import examples
from triptych.instantiation.scored import with_draw
from triptych.store.run import Run

if TYPE_CHECKING:
    import polars as pl


def held_out(runs: Sequence[Run], share: float, seed: int) -> list[pl.Series]:
    """Which prompts of each run are held out: true or false for each row of its table of prompts.

    Of the families that have examples (a prompt without a family is its own) `share`, from 0 to 1, is held out, to the
    nearest whole number, but one at least, and one stays. A draw decides, by `seed` and the ids of the prompts alone.
    Raises `TriptychError` where there are fewer than two families.
    """
    import polars as pl

    family = pl.coalesce("family_id", "id").alias("family")
    used = pl.concat([examples(run).select(id="prompt_id") for run in runs]).unique()
    families = (
        pl.concat([run.prompts().select("id", family) for run in runs])
        .join(used, on="id", how="semi")
        .group_by("family")
        .agg(pl.col("id").min().alias("response_id"))
    )
    drawn = with_draw(families, seed).sort("drawn", "response_id").select("family").collect(engine="streaming")
    if drawn.height < 2:
        raise TriptychError(f"can't split the examples of {drawn.height} prompt family into two; leave out the split")
    count = min(max(round(share * drawn.height), 1), drawn.height - 1)
    out = drawn.head(count).with_columns(held_out=pl.lit(True)).lazy()
    return [
        run.prompts()
        .select(family)
        .join(out, on="family", how="left", maintain_order="left")
        .select(pl.col("held_out").fill_null(False))
        .collect()
        .to_series()
        for run in runs
    ]
