"""Which pairs are kept: bands on what can be said of a pair, as values or as quantiles over all pairs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from triptych.instantiation.scores import criterion_scores, verdicts

if TYPE_CHECKING:
    import polars as pl

Share = Annotated[float, Field(ge=0, le=1)]
_OF_ONE_SCORE = ("margin", "chosen", "rejected")
_OF_TWO_MARGINS = ("potential", "fused")
_DECIMALS = 12


class Band(BaseModel):
    """Keeps the pairs of which something lies within bounds; a pair of which it is not known is dropped.

    `potential` is the margin less the margin on `criterion`: what judges say and the policy does not know yet, where
    the criterion holds implicit rewards (arXiv:2503.01864). `fused` joins the two as independent witnesses
    (arXiv:2502.14560): with p = (1 + margin) / 2 and q alike, pq / (pq + (1 - p)(1 - q)).
    `noise` is the standard error of the margin: the root of the summed variances of the mean verdicts on the two.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    of: Literal[
        "margin",
        "chosen",
        "rejected",
        "chosen_length",
        "rejected_length",
        "length_difference",
        "potential",
        "fused",
        "noise",
    ]
    """What is held to the bounds: scores and margins in [0, 1], lengths in characters (the difference is chosen less
    rejected)."""
    criterion: str | None = None
    """The one criterion whose score is meant; None takes the objective's score. `potential` and `fused` need one."""
    min: float | None = None
    """Least value, inclusive."""
    max: float | None = None
    """Greatest value, inclusive."""
    min_quantile: Share | None = None
    """Least value as a quantile over all pairs that the bands before this one left: 0.9 keeps the greatest tenth."""
    max_quantile: Share | None = None
    """Greatest value as a quantile."""

    @model_validator(mode="after")
    def _makes_sense(self) -> Band:
        if self.of in _OF_TWO_MARGINS and self.criterion is None:
            raise ValueError(f"{self.of} needs the criterion whose margin is held against the objective's")
        if self.criterion is not None and self.of not in (*_OF_ONE_SCORE, *_OF_TWO_MARGINS):
            raise ValueError(f"{self.of} does not depend on a criterion; leave criterion out")
        if (self.min, self.max, self.min_quantile, self.max_quantile) == (None,) * 4:
            raise ValueError("has no bound; give min, max, min_quantile or max_quantile")
        for low, high in ((self.min, self.max), (self.min_quantile, self.max_quantile)):
            if low is not None and high is not None and low > high:
                raise ValueError(f"its least bound {low:g} is above its greatest {high:g}: no pair fits")
        return self

    @property
    def of_all_pairs(self) -> bool:
        """Whether it depends on the pairs of all prompts."""
        return self.min_quantile is not None or self.max_quantile is not None

    def kept(self, pairs: pl.LazyFrame) -> pl.LazyFrame:
        """The pairs within the bounds; they have the columns that `with_features` adds for this band."""
        import polars as pl

        value = pl.col(self.column)
        fits = value.is_not_null()
        if self.min is not None:
            fits &= value >= self.min
        if self.max is not None:
            fits &= value <= self.max
        if self.min_quantile is not None:
            fits &= value >= value.quantile(self.min_quantile, "nearest")
        if self.max_quantile is not None:
            fits &= value <= value.quantile(self.max_quantile, "nearest")
        return pairs.filter(fits)

    @property
    def column(self) -> str:
        """The column that holds what is bounded."""
        return f"{self.of}:{self.criterion or ''}"


def with_features(
    pairs: pl.LazyFrame,
    bands: tuple[Band, ...],
    responses: pl.LazyFrame,
    judgements: pl.LazyFrame,
    criteria: tuple[str, ...] | None,
    evaluators: tuple[str, ...] | None,
) -> pl.LazyFrame:
    """Add a column for each band. Pairs have row, row_b, response_id, response_id_b, score, score_b and margin."""
    import polars as pl

    wanted = {band.column: band for band in bands}
    if any(band.of.endswith(("length", "difference")) for band in bands):
        characters = pl.col("messages").list.eval(pl.element().struct.field("content").str.len_chars()).list.sum()
        lengths = responses.select(pl.col("id"), characters.alias("length"))
        pairs = of_both(pairs, lengths, "length")
    if any(band.of == "noise" for band in bands):
        pairs = of_both(pairs, _variances(judgements, criteria, evaluators), "variance")
    for name in {band.criterion for band in bands if band.criterion is not None}:
        scores = criterion_scores(judgements, (name,), evaluators)
        pairs = of_both(pairs, scores.select(pl.col("response_id").alias("id"), pl.col("score").alias(name)), name)
    return pairs.with_columns(_value(band).alias(column) for column, band in wanted.items())


def of_both(pairs: pl.LazyFrame, of_each: pl.LazyFrame, name: str) -> pl.LazyFrame:
    """Add what is known of each response, as `name` for the chosen and `name`_b for the rejected one."""
    found = of_each.unique("id", keep="first", maintain_order=True)
    return pairs.join(found, left_on="response_id", right_on="id", how="left", maintain_order="left").join(
        found, left_on="response_id_b", right_on="id", how="left", suffix="_b", maintain_order="left"
    )


def _variances(
    judgements: pl.LazyFrame, criteria: tuple[str, ...] | None, evaluators: tuple[str, ...] | None
) -> pl.LazyFrame:
    """The variance of the mean verdict on each response; null where there is one verdict alone."""
    import polars as pl

    return (
        verdicts(judgements, criteria, evaluators)
        .group_by("response_id", maintain_order=True)
        .agg((pl.col("verdict").var() / pl.len()).alias("variance"))
        .rename({"response_id": "id"})
    )


def _value(band: Band) -> pl.Expr:
    import polars as pl

    name = band.criterion
    chosen, rejected = (pl.col("score"), pl.col("score_b")) if name is None else (pl.col(name), pl.col(f"{name}_b"))
    margin = pl.col("margin") if name is None else chosen - rejected
    match band.of:
        case "margin":
            value = margin
        case "chosen":
            value = chosen
        case "rejected":
            value = rejected
        case "chosen_length":
            return pl.col("length")
        case "rejected_length":
            return pl.col("length_b")
        case "length_difference":
            return pl.col("length").cast(pl.Int64) - pl.col("length_b").cast(pl.Int64)
        case "noise":
            value = (pl.col("variance") + pl.col("variance_b")).sqrt()
        case "potential":
            value = pl.col("margin") - margin
        case "fused":
            p, q = (1 + pl.col("margin")) / 2, (1 + margin) / 2
            value = p * q / (p * q + (1 - p) * (1 - q))
    return value.round(_DECIMALS)
