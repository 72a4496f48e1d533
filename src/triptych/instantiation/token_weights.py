"""Weights of single tokens, from what two models' log-probabilities say of each: spans of examples."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field, model_validator

from triptych.store.tables import schema

if TYPE_CHECKING:
    import polars as pl

_DECIMALS = 12


class TokenWeights(BaseModel):
    """A weight for every token of a pair, by how much likelier one of two contrastive models finds it.

    With d = log pi+ - log pi- of a token, as `implicit_reward` with `tokens` finds it, the weight is
    scale * exp(mu * clip(d, low, high)) in the chosen response and scale * exp(-mu * clip(d, low, high)) in the rejected
    one, as TIS-DPO estimates the importance of tokens (arXiv:2410.04350). A pair of which one response has no such
    tokens is left out.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    criterion: str
    """The criterion whose judgements hold the differences."""
    low: float = -0.5
    """Least difference that counts, in nats."""
    high: float = 1.5
    """Greatest difference that counts."""
    mu: float = Field(default=1.0, gt=0)
    """How steeply weights follow differences."""
    scale: float = Field(default=1.0, gt=0)
    """The weight of a token that both models find equally likely."""

    @model_validator(mode="after")
    def _low_is_below_high(self) -> TokenWeights:
        if self.low >= self.high:
            raise ValueError(f"low {self.low:g} is not below high {self.high:g}: all tokens would weigh the same")
        return self

    def weighed(self, pairs: pl.LazyFrame, judgements: pl.LazyFrame) -> pl.LazyFrame:
        """Add `spans` to the pairs that have tokens; they have response_id and response_id_b."""
        tokens = token_differences(judgements, self.criterion)
        return (
            pairs.join(tokens.rename({"id": "response_id"}), on="response_id", how="inner", maintain_order="left")
            .join(
                tokens.rename({"id": "response_id_b"}),
                on="response_id_b",
                how="inner",
                suffix="_b",
                maintain_order="left",
            )
            .with_columns(spans=self._spans("tokens", 0).list.concat(self._spans("tokens_b", 1)))
            .drop("tokens", "tokens_b")
        )

    def _spans(self, column: str, response: int) -> pl.Expr:
        import polars as pl

        difference = pl.element().struct.field("value").clip(self.low, self.high)
        weight = self.scale * ((-self.mu if response else self.mu) * difference).exp()
        return pl.col(column).list.eval(_span(weight, response))


class TokenRewards(BaseModel):
    """A reward for every token of a response: beta * (log pi - log pi_ref), as `implicit_reward` with `tokens` finds it.

    With a policy trained by DPO this is the token-wise reward of RTO (arXiv:2404.18922). A group of which one response
    has no such tokens is left out.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    criterion: str
    """The criterion whose judgements hold the differences."""
    beta: float = Field(default=0.1, gt=0)
    """What each difference is multiplied with."""

    def rewarded(self, groups: pl.LazyFrame, judgements: pl.LazyFrame) -> pl.LazyFrame:
        """Add `spans` to the groups whose responses all have tokens; groups have prompt and response_ids."""
        import polars as pl

        members = groups.select("prompt", "response_ids").with_columns(
            place=pl.int_ranges(pl.col("response_ids").list.len(), dtype=pl.Int64)
        )
        value = self.beta * pl.element().struct.field("value")
        spans = (
            members.explode("response_ids", "place")
            .join(token_differences(judgements, self.criterion), left_on="response_ids", right_on="id", how="left")
            .with_columns(spans=pl.col("tokens").list.eval(_span(value, 0)))
            .sort("prompt", "place")
            .group_by("prompt", maintain_order=True)
            .agg(
                pl.col("tokens").is_null().any().alias("lacking"),
                pl.col("place").repeat_by(pl.col("tokens").list.len().fill_null(0)).explode().alias("place"),
                pl.col("spans").explode(),
            )
            .filter(~pl.col("lacking"))
            .explode("place", "spans")
            .with_columns(pl.col("spans").struct.with_fields(pl.col("place").alias("response")))
            .group_by("prompt", maintain_order=True)
            .agg("spans")
        )
        return groups.join(spans, on="prompt", how="inner", maintain_order="left")


def token_differences(judgements: pl.LazyFrame, criterion: str) -> pl.LazyFrame:
    """What is said of the tokens of each response on one criterion; the first judgement that says anything counts.

    Columns: id (of the response), tokens (spans, as judged).
    """
    import polars as pl

    ids = pl.col("response_ids")
    if "spans" not in judgements.collect_schema().names():  # tables of before
        judgements = judgements.with_columns(spans=pl.lit(None, dtype=schema("judgements")["spans"]))
    return (
        judgements.filter(
            (pl.col("criterion") == criterion)
            & (pl.col("status") == "ok")
            & (ids.list.len() == 1)
            & (pl.col("spans").list.len().fill_null(0) > 0)
        )
        .select(ids.list.first().alias("id"), pl.col("spans").alias("tokens"))
        .unique("id", keep="first", maintain_order=True)
    )


def _span(value: pl.Expr, response: int) -> pl.Expr:
    """A span at the place of an element, of another response and another value."""
    import polars as pl

    field = pl.element().struct.field
    number = pl.lit(response, dtype=pl.Int64)
    return pl.struct(
        number.alias("response"), field("message"), field("start"), field("end"), value.round(_DECIMALS).alias("value")
    )
