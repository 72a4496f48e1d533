"""Rejected responses that are worse than anything the policy needs to be told (I7)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from triptych.audit.diagnostic import Diagnostic
from triptych.audit.estimates import mean
from triptych.audit.finding import Bars, Finding
from triptych.audit.instantiation.strategies import each_strategy
from triptych.audit.mitigations import pairing
from triptych.audit.needs import LIBRARIES, PAIRS, Need

if TYPE_CHECKING:
    import polars as pl

    from triptych.audit.data import Data

_FEWEST = 4
_SIZES = (4, 6, 8, 16, 32, 64)


def _has_pools(data: Data) -> bool:
    return bool((data.overall.group_by("prompt_id").len()["len"] >= _FEWEST).any())


POOLS = Need("four or more scored responses to a prompt", "sample n of 4 or more, and score all of them", _has_pools)


class RejectedZScore(Diagnostic):
    """How far below the others rejected responses score: (score - mean) / standard deviation over the scored responses to the
    prompt (n - 1), in the mean over pairs of prompts with four or more responses of which some differ.

    Of many samples the worst lies ever farther out, and was found a poorer choice than the one near two standard deviations
    below the mean (arXiv:2502.16825). The plot shows it by the number of responses.
    """

    name = "rejected_z_score"
    failure_mode = "I7"
    needs = (LIBRARIES, PAIRS, POOLS)
    good = (-2.0, math.inf)
    error = (-3.5, math.inf)
    source = "arXiv:2502.16825"
    change = "reject the response nearest to two standard deviations below the mean: choose: best_vs_low"
    mitigations = (pairing.not_the_worst,)

    def measure(self, data: Data) -> Iterator[Finding]:
        """Measure it for each strategy."""
        import polars as pl

        pools = data.overall.with_columns(
            mean=pl.col("score").mean().over("prompt_id"),
            spread=pl.col("score").std().over("prompt_id"),
            size=pl.len().over("prompt_id"),
        ).filter((pl.col("size") >= _FEWEST) & (pl.col("spread") > 1e-9))
        placed = pools.select("response_id", "size", z=(pl.col("score") - pl.col("mean")) / pl.col("spread"))
        rejected = data.pairs.join(placed, left_on="rejected", right_on="response_id", how="inner")
        for strategy, pairs in each_strategy(rejected):
            found = mean(pairs, "z")
            if found is not None:
                said = f"Rejected responses of {strategy} pairs score, in standard deviations of their prompt from its mean,"
                shown = tuple(pairs.bottom_k(10, by="z").sort("id")["id"])
                yield self.found(found, said, subject=strategy, data=data, rows=shown, plot=_by_size(pairs))


def _by_size(pairs: pl.DataFrame) -> Bars:
    """The mean by how many responses the prompt has."""
    import polars as pl

    size = pl.col("size")
    up_to = pl.lit(1)
    for least in _SIZES:
        up_to = pl.when(size >= least).then(least).otherwise(up_to)
    rows = pairs.group_by(least=up_to).agg(pl.col("z").mean()).sort("least")
    axis = "standard deviations from the prompt's mean, by the least number of responses"
    return Bars(tuple(f"from {least}" for least in rows["least"]), tuple(map(float, rows["z"])), axis)
