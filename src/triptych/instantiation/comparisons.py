"""Which of several judgements of one response is the best and which the worst, from comparisons of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import polars as pl


def judgement_pairs(judgements: pl.LazyFrame, *, weigh_positions: bool) -> pl.LazyFrame:
    """The judgement that wins most of its comparisons against the one that wins fewest, of each response that has any.

    A win in the first position counts by the share of wins in the second one over all comparisons of one evaluator, and
    the other way round (arXiv:2407.19594), or with `weigh_positions` false as half a win in either; a tie gives half
    to each. Comparisons whose other order could not be read do not count. A judgement's share is what it won of what it
    could have won. The paper takes Elo scores: where every two judgements are compared in both orders, with the same
    outcome, the order is the same.

    Columns: chosen, rejected, share, share_b (ids and shares of the two), comparison_ids.
    """
    import polars as pl

    battles = _battles(judgements, weigh_positions)
    first, second = (pl.col("about").list.get(place) for place in (0, 1))
    sides = [
        battles.select("group", "place", "id", "weight", judgement=one, won=pl.col("weight") * won)
        for one, won in ((first, pl.col("first_won")), (second, 1 - pl.col("first_won")))
    ]
    shares = (
        pl.concat(sides)
        .sort("place")
        .group_by("group", "judgement", maintain_order=True)
        .agg((pl.col("won").sum() / pl.col("weight").sum()).round(12).alias("share"), pl.first("place"))
        .filter(pl.col("share").is_finite())
    )
    best = shares.sort("share", "place", descending=[True, False]).unique("group", keep="first", maintain_order=True)
    worst = shares.sort("share", "place").unique("group", keep="first", maintain_order=True)
    ids = battles.group_by("group", maintain_order=True).agg(pl.col("id").alias("comparison_ids"))
    return (
        best.join(worst, on="group", suffix="_b")
        .filter(pl.col("share") > pl.col("share_b"))
        .join(ids, on="group")
        .select("share", "share_b", "comparison_ids", chosen="judgement", rejected="judgement_b")
    )


def _battles(judgements: pl.LazyFrame, weigh_positions: bool) -> pl.LazyFrame:
    """The comparisons that count, with their weight, and what the first judgement shown won of it: 1, 0.5 or 0."""
    import polars as pl

    of_two = judgements.with_row_index("place").filter(pl.col("about").list.len() == 2)
    each = ["evaluator_id", "criterion_id"]
    both = pl.col("about").list.sort().list.join(" ").alias("both")
    halves = of_two.filter(pl.col("status") != "ok").select(*each, both)
    ranks = [pl.col("ranks").list.get(place, null_on_oob=True) for place in (0, 1)]
    won = pl.when(ranks[0] == ranks[1]).then(0.5).otherwise((ranks[0] < ranks[1]).cast(pl.Float64))
    told = (
        of_two.filter(pl.col("status") == "ok")
        .with_columns(both, first_won=won)
        .join(halves, on=[*each, "both"], how="anti", maintain_order="left")
        .with_columns(group=pl.struct(*each, pl.col("response_ids").list.first()).rank("dense"))
    )
    weight = pl.lit(0.5)
    if weigh_positions:
        decided = pl.when(pl.col("first_won") != 0.5).then(pl.col("first_won"))
        first_wins = decided.mean().over("evaluator_id").fill_null(0.5)
        weight = pl.when(decided == 1).then(1 - first_wins).when(decided == 0).then(first_wins).otherwise(0.5)
    return (
        told.with_columns(weight=weight).select("place", "id", "about", "group", "first_won", "weight").collect().lazy()
    )
