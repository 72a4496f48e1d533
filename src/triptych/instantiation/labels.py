"""What a pair's loss is told of it: 1 and 0, or how sure one may be that the chosen response is the better one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from triptych.instantiation.bands import of_both
from triptych.instantiation.rescale import raw_scores

if TYPE_CHECKING:
    import polars as pl


Share = Annotated[float, Field(ge=0, le=1)]


class SoftLabels(BaseModel):
    """Labels between 0 and 1 for the chosen and the rejected response; they add up to 1.

    `sigmoid` takes the chance that a Bradley-Terry model gives to the margin, 1 / (1 + exp(-margin / temperature)), as
    MMPO does (arXiv:2410.03145). `judged` takes the mean probability that judges asked for log-probabilities gave to
    the chosen response, over both orders, as RLAIF does (arXiv:2309.00267); a pair without any is left out. `reward`
    takes the chance that a Bradley-Terry model gives to the difference of two rewards as they came, without a scale:
    1 / (1 + exp(-(r_w - r_l) / temperature)), whose differences are log-odds by the way that reward models are trained
    (arXiv:2203.02155); a pair without both is left out. `certain` takes 1.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    by: Literal["sigmoid", "judged", "reward", "certain"] = "sigmoid"
    """Where the chance comes from."""
    temperature: float | None = Field(default=None, gt=0)
    """The difference at which the odds are e to 1: with `sigmoid` of scores between 0 and 1 (0.25 if not given), with
    `reward` of rewards as they came (1 if not given)."""
    criterion: str | None = None
    """With `reward`: the criterion of the rewards."""
    smoothing: float = Field(default=0.0, ge=0, lt=0.5)
    """The rate at which labels are taken to be flipped: p becomes (1 - 2 * smoothing) * p + smoothing."""

    clamp: tuple[Share, Share] | None = None
    """The least and the greatest label, which others are held to, after smoothing: [0.4, 0.6] is what Constitutional AI
    takes where its judge reasons first, and so is too sure (arXiv:2212.08073)."""

    @model_validator(mode="after")
    def _says_something(self) -> SoftLabels:
        if self.by == "certain" and self.smoothing == 0 and self.clamp is None:
            raise ValueError("by: certain without smoothing gives 1 and 0; leave soft_labels out")
        if self.clamp is not None and not self.clamp[0] <= 0.5 <= self.clamp[1]:
            raise ValueError("clamp holds 0.5, the label of two that are alike; such as [0.4, 0.6]")
        if (self.by == "reward") != (self.criterion is not None):
            raise ValueError("by: reward needs the criterion of the rewards, and the other ways take none")
        return self

    def labelled(self, pairs: pl.LazyFrame, judgements: pl.LazyFrame) -> pl.LazyFrame:
        """Add `chance`, the label of the chosen response; pairs have response_id, response_id_b and margin."""
        import polars as pl

        if self.by == "judged":
            pairs = pairs.join(
                _judged(judgements), on=["response_id", "response_id_b"], how="inner", maintain_order="left"
            )
        if self.criterion is not None:
            pairs = of_both(pairs, raw_scores(judgements, self.criterion), "raw").drop_nulls(["raw", "raw_b"])
        match self.by:
            case "sigmoid":
                chance = 1 / (1 + (-pl.col("margin") / (self.temperature or 0.25)).exp())
            case "reward":
                chance = 1 / (1 + ((pl.col("raw_b") - pl.col("raw")) / (self.temperature or 1.0)).exp())
            case "judged":
                chance = pl.col("judged")
            case "certain":
                chance = pl.when(pl.col("margin") == 0).then(0.5).otherwise(1.0)
        smooth = (1 - 2 * self.smoothing) * chance + self.smoothing
        return pairs.with_columns(chance=smooth.clip(*(self.clamp or (0, 1))).round(12))


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
