"""Margins that the training rows do not pass on, or that are no more than noise (I3)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from triptych.audit.diagnostic import Diagnostic, Share
from triptych.audit.estimates import cluster_sums, correlation, smooth
from triptych.audit.finding import Finding, Histogram
from triptych.audit.instantiation.strategies import each_strategy
from triptych.audit.mitigations import judging, pairing
from triptych.audit.needs import LIBRARIES, MARGINS, Need
from triptych.instantiation.scores import verdicts

if TYPE_CHECKING:
    import polars as pl

    from triptych.audit.data import Data

_BINS = 20
_SURE = 2.0
"""Standard errors that a margin should be away from 0."""


def _repeated(data: Data) -> bool:
    import polars as pl

    counts = _alone(data).group_by("response_id", "criterion").agg(n=pl.len()).filter(pl.col("n") > 1)
    return counts.head(1).collect().height > 0


def _alone(data: Data) -> pl.LazyFrame:
    """Verdicts on responses that were judged by themselves."""
    import polars as pl

    return verdicts(data.judgements.filter(pl.col("response_ids").list.len() == 1))


REPEATS = Need(
    "two or more verdicts on a response and criterion", "judge with repeats, or with several evaluators", _repeated
)


class MarginVariation(Diagnostic):
    """How much margins vary that the rows do not pass on: the standard deviation of the margins over their mean, of pairs that all
    have the same weight and the same labels.

    Where it is 1 or more, as of exponentially distributed margins, a few pairs hold most of what the evaluators said, and the loss
    is told that all are alike. Where weights or labels vary with the pairs there is no finding.
    """

    name = "margin_variation"
    failure_mode = "I3"
    needs = (LIBRARIES, MARGINS)
    counts = (
        "margins of three pairs or more, of two prompts or more",
        "bring more pairs",
    )
    good = (-math.inf, 1.0)
    change = "pass margins on: soft_labels, weight: margin, or a loss that takes a margin; or keep those above a least margin"
    mitigations = (pairing.by_margin,)

    def measure(self, data: Data) -> Iterator[Finding]:
        """Measure it for each strategy that tells the loss nothing of margins."""
        import polars as pl

        told = data.examples.filter(pl.col("kind") == "pair").select("id", label=pl.col("labels").list.first())
        pairs = data.pairs.join(told.unique("id").collect(), on="id", how="left", maintain_order="left")
        for strategy, its in each_strategy(pairs):
            rows = its.filter(pl.col("margin").is_finite() & (pl.col("margin") > 0))
            if rows.height == 0 or max(rows["weight"].n_unique(), rows["label"].n_unique()) > 1:
                continue
            summed = rows.select("prompt_id", m="margin", mm=pl.col("margin") ** 2, one=1.0)
            found = smooth(cluster_sums(summed, ["m", "mm", "one"]), _variation, n=rows.height, within=(0.0, math.inf))
            if found is not None:
                said = (
                    f"The margins of {strategy} pairs, which the loss is told nothing of, vary (deviation over mean) by"
                )
                yield self.found(found, said, subject=strategy, data=data, rows=_least(rows), plot=_margins(rows))


class WeightFollowsMargin(Diagnostic):
    """Spearman's rank correlation of weights with margins, of pairs whose weights differ.

    Below 0 the loss heeds most what the evaluators were least sure of.
    """

    name = "weight_follows_margin"
    failure_mode = "I3"
    needs = (LIBRARIES, MARGINS)
    counts = (
        "pairs with margins and with weights that differ",
        "weigh pairs, such as weight: margin",
    )
    good = (0.0, 1.0)
    error = (-0.7, 1.0)
    change = "weigh pairs by their margins, or all alike"
    repair = "weight_by_margin"
    mitigations = (pairing.rather_by_margin,)

    def measure(self, data: Data) -> Iterator[Finding]:
        """Measure it for each strategy with weights."""
        import polars as pl

        for strategy, pairs in each_strategy(data.pairs):
            rows = pairs.filter(pl.col("margin").is_finite() & pl.col("weight").is_finite())
            found = correlation(rows, "weight", "margin", ranks=True) if rows["weight"].n_unique() > 1 else None
            if found is not None:
                said = f"The weights of {strategy} pairs follow their margins with a rank correlation of"
                yield self.found(found, said, subject=strategy, data=data, rows=_least(rows))


class PairsWithinNoise(Share):
    """Share of pairs whose margin is below twice its standard error, as it follows from how far verdicts on the same response and
    criterion lie apart.

    The variance of one verdict is pooled over all responses, for each criterion; the standard error of a response's score counts
    the verdicts on it and the criteria's weights. Only responses judged by themselves count.
    """

    name = "pairs_within_noise"
    failure_mode = "I3"
    needs = (MARGINS, REPEATS)
    good = (0.0, 0.3)
    error = (0.0, 0.6)
    by = ("strategy", "strategy_id")
    change = "keep pairs of greater margin or certainty, judge with more repeats, or pass the doubt on as soft labels"
    repair = "drop_within_noise"
    mitigations = (pairing.certain, judging.repeated)

    def rows(self, data: Data) -> pl.LazyFrame:
        """Each pair whose margin's standard error is known, and whether the margin is below twice that."""
        import polars as pl

        error = score_errors(data)
        within = pl.col("margin").abs() < _SURE * (pl.col("variance") + pl.col("variance_b")).sqrt()
        return (
            data.pairs.lazy()
            .filter(pl.col("margin").is_finite())
            .join(error, left_on="chosen", right_on="response_id")
            .join(error.rename({"variance": "variance_b"}), left_on="rejected", right_on="response_id")
            .with_columns(part=within, whole=1, shows=within)
        )

    def say(self, strategy: str, _id: str) -> tuple[str, str]:  # type: ignore[override]
        """Name the strategy."""
        return strategy, f"The margin of {strategy} pairs is below twice its standard error for"


def score_errors(data: Data) -> pl.LazyFrame:
    """The sampling variance of each response's score. Columns: response_id, variance.

    What a program says has no noise. Responses that a model judged on a criterion of which no response was judged twice are left
    out.
    """
    import polars as pl

    criteria = data.recipe.objective.criteria if data.recipe is not None else {}
    declared = {name: one.weight for name, one in criteria.items()}
    each = (
        _alone(data)
        .group_by("response_id", "criterion")
        .agg(n=pl.len(), variance=pl.col("verdict").var(), programs=pl.col("model").is_null().all())
    )
    freedom = pl.col("n") - 1
    pooled = (pl.col("variance").fill_null(0.0) * freedom).sum().over("criterion") / freedom.sum().over("criterion")
    weight = pl.col("criterion").replace_strict(declared, default=1.0, return_dtype=pl.Float64)
    return (
        each.with_columns(pooled=pl.when("programs").then(0.0).otherwise(pooled), weight=weight)
        .filter(pl.col("weight") > 0)
        .group_by("response_id")
        .agg(variance=(pl.col("weight") ** 2 * pl.col("pooled") / pl.col("n")).sum() / pl.col("weight").sum() ** 2)
        .filter(pl.col("variance").is_finite())
    )


def _variation(s: Any) -> Any:
    m, mm, n = (s[..., i] for i in range(3))
    return ((mm - m**2 / n) / (n - 1)).clip(0) ** 0.5 / (m / n)


def _least(pairs: pl.DataFrame) -> tuple[str, ...]:
    return tuple(pairs.bottom_k(10, by="margin").sort("id")["id"])


def _margins(pairs: pl.DataFrame) -> Histogram:
    import numpy as np

    counts, edges = np.histogram(pairs["margin"].to_numpy(), bins=_BINS)
    return Histogram(tuple(map(float, edges)), tuple(map(float, counts)), "margin")
