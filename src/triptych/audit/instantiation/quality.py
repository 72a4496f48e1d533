"""Chosen responses that are only the best of a bad lot, or not even that (I8)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from triptych.audit.diagnostic import Diagnostic, Share
from triptych.audit.estimates import bounded_mean
from triptych.audit.finding import Finding
from triptych.audit.instantiation.strategies import each_strategy
from triptych.audit.mitigations import pairing
from triptych.audit.needs import LIBRARIES, PAIRS, SCORES

if TYPE_CHECKING:
    import polars as pl

    from triptych.audit.data import Data

FLOOR = 0.5
"""Of the scale from 0 to 1: its middle."""


class ChosenBelowFloor(Share):
    """Share of pairs whose chosen response scores less than half of the scale, where responses are scored by themselves.

    How good chosen responses are was found to matter most of all in preference data (arXiv:2508.18312): of two bad responses a
    policy learns to imitate a bad one.
    """

    name = "chosen_below_floor"
    failure_mode = "I8"
    needs = (PAIRS, SCORES)
    good = (0.0, 0.2)
    error = (0.0, 0.6)
    by = ("strategy", "strategy_id")
    change = "keep pairs whose chosen response is good by itself, or sample from a better source"
    repair = "drop_low_chosen"
    mitigations = (pairing.chosen_from(FLOOR),)

    def rows(self, data: Data) -> pl.LazyFrame:
        """Each pair with a scored chosen response, and whether its score is below the floor."""
        import polars as pl

        low = pl.col("score") < FLOOR
        return (
            data.pairs.lazy()
            .join(_absolute(data), left_on="chosen", right_on="response_id")
            .with_columns(part=low, whole=1, shows=low)
        )

    def say(self, strategy: str, _id: str) -> tuple[str, str]:  # type: ignore[override]
        """Name the strategy."""
        return strategy, f"The chosen response scores below {FLOOR:g} of the scale in {strategy} pairs for"


class ChosenShortfall(Diagnostic):
    """By how much chosen responses score less than the best response to their prompt, on the scale from 0 to 1, in the mean over
    pairs of prompts with three or more scored responses.

    0 where the best one is always chosen, as by `best_vs_worst`.
    """

    name = "chosen_shortfall"
    failure_mode = "I8"
    needs = (LIBRARIES, PAIRS, SCORES)
    counts = (
        "pairs of prompts with three or more scored responses",
        "sample n of 3 or more, and score all of them",
    )
    good = (-math.inf, 0.2)
    error = (-math.inf, 0.5)
    change = "choose the best response to each prompt"
    mitigations = (pairing.best_chosen,)

    def measure(self, data: Data) -> Iterator[Finding]:
        """Measure it for each strategy."""
        import polars as pl

        score = pl.col("score")
        pools = data.overall.with_columns(short=score.max().over("prompt_id") - score, size=pl.len().over("prompt_id"))
        placed = pools.filter(pl.col("size") > 2).select("response_id", "short")
        for strategy, pairs in each_strategy(data.pairs.join(placed, left_on="chosen", right_on="response_id")):
            found = bounded_mean(pairs, "short")
            if found is not None:
                said = f"Chosen responses of {strategy} pairs score less than the best one to their prompt by"
                shown = tuple(pairs.top_k(10, by="short").sort("id")["id"])
                yield self.found(found, said, subject=strategy, data=data, rows=shown)


def _absolute(data: Data) -> pl.LazyFrame:
    """The objective's score of responses that were scored by themselves. Columns: response_id, score."""
    alone = data.scored.lazy().select("response_id").unique()
    return data.overall.lazy().select("response_id", "score").join(alone, on="response_id", how="semi")
