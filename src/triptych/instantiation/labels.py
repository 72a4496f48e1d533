"""What a pair's loss is told of it: 1 and 0, or how sure one may be that the chosen response is the better one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

if TYPE_CHECKING:
    import polars as pl


class SoftLabels(BaseModel):
    """Labels between 0 and 1 for the chosen and the rejected response; they add up to 1.

    `sigmoid` takes the chance that a Bradley-Terry model gives to the margin, 1 / (1 + exp(-margin / temperature)), as
    MMPO does (arXiv:2410.03145). `judged` takes the mean probability that judges asked for log-probabilities gave to
    the chosen response, over both orders, as RLAIF does (arXiv:2309.00267); a pair without any is left out. `certain`
    takes 1.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    by: Literal["sigmoid", "judged", "certain"] = "sigmoid"
    """Where the chance comes from."""
    temperature: float = Field(default=0.25, gt=0)
    """With `sigmoid`: the margin at which the odds are e to 1, in scores between 0 and 1."""
    smoothing: float = Field(default=0.0, ge=0, lt=0.5)
    """The rate at which labels are taken to be flipped: p becomes (1 - 2 * smoothing) * p + smoothing."""

    @model_validator(mode="after")
    def _says_something(self) -> SoftLabels:
        if self.by == "certain" and self.smoothing == 0:
            raise ValueError("by: certain without smoothing gives 1 and 0; leave soft_labels out")
        return self

    def labelled(self, pairs: pl.LazyFrame, judgements: pl.LazyFrame) -> pl.LazyFrame:
        """Add `chance`, the label of the chosen response; pairs have response_id, response_id_b and margin."""
        import polars as pl

        if self.by == "judged":
            pairs = pairs.join(
                _judged(judgements), on=["response_id", "response_id_b"], how="inner", maintain_order="left"
            )
        match self.by:
            case "sigmoid":
                chance = 1 / (1 + (-pl.col("margin") / self.temperature).exp())
            case "judged":
                chance = pl.col("judged")
            case "certain":
                chance = pl.when(pl.col("margin") == 0).then(0.5).otherwise(1.0)
        smooth = (1 - 2 * self.smoothing) * chance + self.smoothing
        return pairs.with_columns(chance=smooth.round(12))


def _judged(judgements: pl.LazyFrame) -> pl.LazyFrame:
    """The mean probability that one response is better than another, from both orders: each counts the same."""
    import polars as pl

    asked = judgements.filter(
        (pl.col("status") == "ok") & (pl.col("response_ids").list.len() == 2) & pl.col("probability").is_not_null()
    ).select(
        pl.col("response_ids").list.get(0).alias("response_id"),
        pl.col("response_ids").list.get(1).alias("response_id_b"),
        pl.col("probability").alias("judged"),
    )
    turned = asked.select(
        pl.col("response_id_b").alias("response_id"),
        pl.col("response_id").alias("response_id_b"),
        (1 - pl.col("judged")).alias("judged"),
    )
    both = pl.concat([asked.with_columns(turned=pl.lit(False)), turned.with_columns(turned=pl.lit(True))])
    one_order = both.group_by("response_id", "response_id_b", "turned").agg(pl.col("judged").mean())
    return one_order.group_by("response_id", "response_id_b").agg(pl.col("judged").mean())
