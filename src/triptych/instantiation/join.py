"""How a response's scores on several criteria become one: their mean, the least, in order of weight, or under constraints."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from triptych.records import Objective

if TYPE_CHECKING:
    import polars as pl

Join = Literal["mean", "min", "lexicographic", "constrained"]
MET = 0.5
"""From here up a hard criterion counts as met."""


def joined(per_criterion: pl.LazyFrame, how: Join, objective: Objective) -> pl.LazyFrame:
    """One score in [0, 1] of each response, from its scores on the criteria.

    Takes columns row, prompt, criterion, score, weight, one row for each response and criterion; gives row, score, and
    judged_on, the number of criteria. `mean` weighs by the objective. `min` takes the worst. `lexicographic` compares by
    the weightiest criterion, by the next one where that is equal, and so on (equal weights by name); the score is the share of the
    prompt's other responses that come after, ties counting half. `constrained` puts every response that meets all
    hard criteria above every one that does not: 0.5 + half of the mean of the soft ones, against half of the least of
    the hard ones.
    """
    import polars as pl

    score, weight = pl.col("score"), pl.col("weight")
    if how == "lexicographic":
        return _lexicographic(per_criterion)
    if how == "min":
        one = score.min()
    elif how == "mean":
        one = (score * weight).sum() / weight.sum()
    else:
        names = [name for name, criterion in objective.criteria.items() if criterion.kind == "hard"]
        hard = pl.col("criterion").cast(pl.String).is_in(names)
        soft = (score * weight).filter(~hard).sum() / weight.filter(~hard).sum()
        met = (score.filter(hard) >= MET).all()
        one = pl.when(met).then(0.5 + soft.fill_nan(1.0) / 2).otherwise(score.filter(hard).min() / 2)
    return per_criterion.group_by("row").agg(one.alias("score"), pl.len().alias("judged_on"))


def _lexicographic(per_criterion: pl.LazyFrame) -> pl.LazyFrame:
    import polars as pl

    by_weight = per_criterion.with_columns(criterion=pl.col("criterion").cast(pl.String)).sort(
        "weight", "criterion", descending=[True, False]
    )
    told = by_weight.group_by("row").agg(
        pl.first("prompt"), pl.col("score").alias("scores"), pl.len().alias("judged_on")
    )
    # Lists have no order in Polars, so the places are found criterion by criterion: equal ones share a place.
    most = told.select(pl.col("judged_on").max()).collect().item() or 0
    place = pl.lit(0, dtype=pl.UInt32)
    ranked = told.with_columns(place=place)
    for turn in range(most):
        key = pl.struct("place", pl.col("scores").list.get(turn, null_on_oob=True).fill_null(-1.0).alias("score"))
        ranked = ranked.with_columns(place=key.rank("dense").over("prompt").cast(pl.UInt32)).collect().lazy()
    below = pl.col("place").rank("average").over("prompt") - 1
    others = pl.len().over("prompt") - 1
    score = pl.when(others > 0).then(below / others).otherwise(0.5)
    return ranked.select("row", score.alias("score"), "judged_on")
