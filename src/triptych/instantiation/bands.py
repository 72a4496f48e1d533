"""Which pairs are kept: bands on what can be said of a pair, as values or as quantiles over all pairs."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import model_validator

from triptych.bounds import Bounds

if TYPE_CHECKING:
    import polars as pl

_OF_ONE_SCORE = ("margin", "chosen", "rejected")
_OF_TWO_MARGINS = ("potential", "fused")
_OF_VARIANCES = ("noise", "certainty")
_DECIMALS = 10
"""Two less than scores have: their differences are off by as much as scores are, and equal margins must be equal."""


class Band(Bounds):
    """Keeps the pairs of which something lies within bounds; a pair of which it is not known is dropped.

    `potential` is the margin less the margin on `criterion`: what judges say and the policy does not know yet, where
    the criterion holds implicit rewards (arXiv:2503.01864). `fused` joins the two as independent witnesses
    (arXiv:2502.14560): with p = (1 + margin) / 2 and q alike, pq / (pq + (1 - p)(1 - q)).
    `noise` is the standard error of the margin: the root of the summed variances of the mean verdicts on the two.
    `certainty` is the chance that the margin is above 0 if it is off by a normal error of that size (as UPO drops and
    weighs pairs by how sure an estimator is of them, arXiv:2409.11212); of neither is anything known where a response
    has one verdict alone.
    """

    of_what: ClassVar[str] = "pair"

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
        "certainty",
    ]
    """What is held to the bounds: scores and margins in [0, 1], lengths in characters (the difference is chosen less
    rejected)."""
    criterion: str | None = None
    """The one criterion whose score is meant, as it enters the objective's score; None takes the objective's score. `potential` and `fused` need one."""

    @model_validator(mode="after")
    def _makes_sense(self) -> Band:
        if self.of in _OF_TWO_MARGINS and self.criterion is None:
            raise ValueError(f"{self.of} needs the criterion whose margin is held against the objective's")
        if self.criterion is not None and self.of not in (*_OF_ONE_SCORE, *_OF_TWO_MARGINS):
            raise ValueError(f"{self.of} does not depend on a criterion; leave criterion out")
        return self

    @property
    def of_all_pairs(self) -> bool:
        """Whether it depends on the pairs of all prompts."""
        return self.min_quantile is not None or self.max_quantile is not None

    @property
    def of_variances(self) -> bool:
        """Whether it rests on the standard error of the margin."""
        return self.of in _OF_VARIANCES

    def fits(self) -> pl.Expr:
        """Whether a pair lies within the bounds; pairs have the columns that `with_features` adds for this band."""
        import polars as pl

        return self.within(pl.col(self.column))

    @property
    def column(self) -> str:
        """The column that holds what is bounded."""
        return f"{self.of}:{self.criterion or ''}"


def with_features(
    pairs: pl.LazyFrame,
    bands: tuple[Band, ...],
    responses: pl.LazyFrame,
    said: Callable[[], pl.LazyFrame],
    on_criterion: Callable[[str], pl.LazyFrame],
) -> pl.LazyFrame:
    """Add a column for each band. Pairs have row, row_b, response_id, response_id_b, score, score_b and margin.

    `said` gives the verdicts that the margins come of, `on_criterion` the scores on one criterion as id and score.
    """
    import polars as pl

    wanted = {band.column: band for band in bands}
    if any(band.of.endswith(("length", "difference")) for band in bands):
        characters = pl.col("messages").list.eval(pl.element().struct.field("content").str.len_chars()).list.sum()
        lengths = responses.select(pl.col("id"), characters.alias("length"))
        pairs = of_both(pairs, lengths, "length")
    if any(band.of_variances for band in bands):
        pairs = of_both(pairs, _variances(said()), "variance")
    for name in {band.criterion for band in bands if band.criterion is not None}:
        pairs = of_both(pairs, on_criterion(name).rename({"score": name}), name)
    return pairs.with_columns(_value(band).alias(column) for column, band in wanted.items())


def of_both(pairs: pl.LazyFrame, of_each: pl.LazyFrame, name: str) -> pl.LazyFrame:
    """Add what is known of each response, as `name` for the chosen and `name`_b for the rejected one."""
    found = of_each.unique("id", keep="first", maintain_order=True)
    return pairs.join(found, left_on="response_id", right_on="id", how="left", maintain_order="left").join(
        found, left_on="response_id_b", right_on="id", how="left", suffix="_b", maintain_order="left"
    )


def _variances(said: pl.LazyFrame) -> pl.LazyFrame:
    """The variance of the mean verdict on each response; null where there is one verdict alone."""
    import polars as pl

    return (
        said.sort("row", "judgement")
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
            value = _noise()
        case "certainty":
            value = _chance_above_zero(margin, _noise())
        case "potential":
            value = pl.col("margin") - margin
        case "fused":
            p, q = (1 + pl.col("margin")) / 2, (1 + margin) / 2
            value = p * q / (p * q + (1 - p) * (1 - q))
    return value.round(_DECIMALS)


def _noise() -> pl.Expr:
    """The standard error of the margin."""
    import polars as pl

    return (pl.col("variance") + pl.col("variance_b")).sqrt()


def with_certainty(pairs: pl.LazyFrame, said: pl.LazyFrame) -> pl.LazyFrame:
    """Add `certainty`: the chance that the margin is above 0; null where a response has one verdict alone.

    `said` are the verdicts that the margins come of.
    """
    import polars as pl

    spread = _variances(said).rename({"variance": "spread"})
    pairs = of_both(pairs, spread, "spread")
    noise = (pl.col("spread") + pl.col("spread_b")).sqrt()
    chance = _chance_above_zero(pl.col("margin"), noise).round(_DECIMALS)
    return pairs.with_columns(certainty=chance).drop("spread", "spread_b")


def _chance_above_zero(margin: pl.Expr, error: pl.Expr) -> pl.Expr:
    """The chance that a number is above 0 that is estimated as `margin` with a normal error: the normal distribution
    function of margin / error, to 1.5e-7 by a rational approximation (M. Abramowitz and I. Stegun, 1964, 7.1.26).

    Without any error it is 1 or 0 by the sign, and 0.5 where the margin is 0 as well.
    """
    import polars as pl

    z = (margin / error).abs() / 2**0.5
    t = 1 / (1 + 0.3275911 * z)
    tail = pl.lit(0.0)
    for coefficient in (1.061405429, -1.453152027, 1.421413741, -0.284496736, 0.254829592):
        tail = (tail + coefficient) * t  # Horner's scheme
    above = 1 - tail * (-(z**2)).exp() / 2
    by_sign = (1 + margin.sign()) / 2
    return (
        pl.when(error.is_null()).then(None)
        .when((error == 0) | (margin == 0)).then(by_sign)
        .when(margin > 0).then(above)
        .otherwise(1 - above)
    )  # fmt: skip
