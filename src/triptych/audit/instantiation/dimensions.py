"""What is lost where several criteria become one label (I2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from triptych.audit.diagnostic import Share
from triptych.audit.mitigations import pairing
from triptych.audit.needs import PAIRS, SEVERAL_CRITERIA

if TYPE_CHECKING:
    import polars as pl

    from triptych.audit.data import Data

_CHANGE = "keep pairs whose chosen response is on no criterion the worse, or make pairs for each criterion by itself"
_DECIMALS = 9


class _OfCriteria(Share):
    failure_mode = "I2"
    needs = (PAIRS, SEVERAL_CRITERIA)
    by = ("strategy", "strategy_id")
    change = _CHANGE


class LabelFlipsUnderWeights(_OfCriteria):
    """Share of pairs whose label would turn round if the criteria's weights were off by a factor of two: each halved or doubled,
    whichever speaks most against the label.

    With weights w and differences of scores d, that is where 4 times the sum of w |d| over the criteria on which the rejected
    response is better exceeds the sum over those on which the chosen one is. Pairs that one criterion decides are left out.
    """

    name = "label_flips_under_weights"
    counts = (
        "pairs both of whose responses are scored on two criteria or more",
        "score every response on all criteria, and make pairs of the scores",
    )
    good = (0.0, 0.15)
    error = (0.0, 0.5)
    mitigations = (pairing.pareto,)

    def rows(self, data: Data) -> pl.LazyFrame:
        """Each pair, and whether its label turns round."""
        import polars as pl

        turned = 4 * pl.col("against") > pl.col("for")
        return _criteria_apart(data).with_columns(part=turned, whole=1, shows=turned)

    def say(self, strategy: str, _id: str) -> tuple[str, str]:  # type: ignore[override]
        """Name the strategy."""
        return strategy, f"Halving and doubling weights of criteria turns the label of {strategy} pairs round for"


class ParetoIncomparablePairs(_OfCriteria):
    """Share of pairs whose rejected response is the better one on some criterion, so that the label turns round for some weights
    of all that there could be. Pairs that one criterion decides are left out."""

    name = "pareto_incomparable_pairs"
    counts = (
        "pairs both of whose responses are scored on two criteria or more",
        "score every response on all criteria, and make pairs of the scores",
    )
    good = (0.0, 0.3)
    error = (0.0, 0.7)
    mitigations = (pairing.pareto,)

    def rows(self, data: Data) -> pl.LazyFrame:
        """Each pair, and whether its rejected response is better on some criterion."""
        import polars as pl

        better = pl.col("against") > 0
        return _criteria_apart(data).with_columns(part=better, whole=1, shows=better)

    def say(self, strategy: str, _id: str) -> tuple[str, str]:  # type: ignore[override]
        """Name the strategy."""
        return strategy, f"The rejected response of {strategy} pairs is better on some criterion for"


def _criteria_apart(data: Data) -> pl.LazyFrame:
    """Pairs of which both responses are scored on the same two criteria or more; `for` and `against` are the weighted sums of how
    much better the chosen and the rejected response are, over the criteria on which they are."""
    import polars as pl

    criteria = data.recipe.objective.criteria if data.recipe is not None else {}
    declared = {name: one.weight for name, one in criteria.items()}
    weight = pl.col("criterion").replace_strict(declared, default=1.0, return_dtype=pl.Float64)
    scores = data.scored.lazy().group_by("response_id", "criterion").agg(pl.col("score").mean()).filter(weight > 0)
    apart = ((pl.col("score") - pl.col("score_b")).round(_DECIMALS)) * pl.col("weight_")
    both = (
        data.pairs.lazy()
        .filter(~pl.col("strategy").fill_null("").str.contains("/", literal=True))
        .join(scores, left_on="chosen", right_on="response_id")
        .join(scores, left_on=["rejected", "criterion"], right_on=["response_id", "criterion"], suffix="_b")
        .with_columns(weight_=weight)
    )
    return (
        both.group_by("id", "prompt_id", "strategy", "strategy_id")
        .agg(pl.len(), apart.clip(0, None).sum().alias("for"), (-apart).clip(0, None).sum().alias("against"))
        .filter((pl.col("len") > 1) & (pl.col("for") + pl.col("against") > 0))
    )
