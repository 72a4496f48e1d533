"""Scores without a scale, such as those of reward models, put between 0 and 1."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import polars as pl

Rescale = Literal["sigmoid", "standard", "rank"]
_DECIMALS = 12


def unscaled() -> pl.Expr:
    """Whether a judgement has good scores of whole responses, and no scale."""
    import polars as pl

    whole = pl.col("step").struct.field("index").is_null()
    has_scores = pl.col("scores").list.len().fill_null(0) > 0
    return ((pl.col("status") == "ok") & whole & has_scores & pl.col("scale").is_null()).fill_null(False)


def rescaled(judgements: pl.LazyFrame, how: Rescale | None) -> pl.LazyFrame:
    """Put scores without a scale between 0 and 1, by what one evaluator says on one criterion.

    Order is kept; by a sigmoid, rewards far from 0 (beyond 27) can't be told apart any more.

    `sigmoid`: 1 / (1 + exp(-r)), the chance that a Bradley-Terry model gives a response of reward r against one of
    reward 0. `standard`: the sigmoid of (r - mean) / standard deviation (of a sample, n - 1), over the responses to all
    prompts. `rank`: the share of the other responses to the prompt that score lower, ties counting half; a lone
    response has no place, and stays without a scale. None leaves all as it is.
    """
    import polars as pl

    if how is None:
        return judgements
    rows = judgements.with_row_index("_row")
    each = rows.filter(unscaled()).select("_row", "prompt_id", "evaluator_id", "criterion", "scores").explode("scores")
    made = (
        _placed(each, how)
        .with_columns(pl.col("value").round(_DECIMALS))
        .group_by("_row", maintain_order=True)
        .agg(pl.col("value"), placed=pl.col("value").is_not_null().all())
        .filter("placed")
        .drop("placed")
    )
    placed = pl.col("value").is_not_null()
    return (
        rows.join(made, on="_row", how="left", maintain_order="left")
        .with_columns(
            scores=pl.when(placed).then("value").otherwise("scores"),
            scale=pl.when(placed).then(pl.lit([0.0, 1.0])).otherwise("scale"),
        )
        .drop("_row", "value")
    )


def _placed(each: pl.LazyFrame, how: Rescale) -> pl.LazyFrame:
    """Add `value`: each score's place, of all that one evaluator says on one criterion."""
    import polars as pl

    score, by = pl.col("scores"), ["evaluator_id", "criterion"]
    if how == "rank":
        among = [*by, "prompt_id"]
        others = score.count().over(among) - 1
        return each.with_columns(value=pl.when(others > 0).then((score.rank("average").over(among) - 1) / others))
    if how == "standard":
        differ = score.max().over(by) > score.min().over(by)  # rounding gives equal scores a spread of its own
        small = score / score.abs().max().over(by)  # so that no sum or square is too large or too small for a float
        standard = (pl.col("small") - pl.col("small").mean().over(by)) / pl.col("small").std().over(by)
        each = each.with_columns(small=small, differ=differ)
        score = pl.when("differ").then(standard).otherwise(0.0)
    return each.with_columns(value=1 / (1 + (-score).exp()))


def raw_scores(judgements: pl.LazyFrame, criterion: str) -> pl.LazyFrame:
    """The scores without a scale on one criterion: the mean over evaluators of their mean over what they say.

    Columns: id (of the response), raw. In no set order.
    """
    import polars as pl

    return (
        judgements.filter(unscaled() & (pl.col("criterion") == criterion))
        .select("evaluator_id", "scores", pl.col("response_ids").alias("id"))
        .explode("id", "scores")
        .group_by("id", "evaluator_id")
        .agg(pl.col("scores").mean())
        .group_by("id")
        .agg(pl.col("scores").mean().alias("raw"))
    )
