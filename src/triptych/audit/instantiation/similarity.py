"""Pairs whose two responses are nearly the same, which drag the chosen one down too (I4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from triptych.audit.diagnostic import Share
from triptych.audit.mitigations import pairing, sampling, training
from triptych.audit.needs import PAIRS

if TYPE_CHECKING:
    import polars as pl

    from triptych.audit.data import Data

_CHANGE = "drop pairs that hardly differ, add a term for the likelihood of the chosen response to the loss, or sample more diversely"
NEAR = 0.95


class IdenticalPairs(Share):
    """Share of pairs whose chosen and rejected response say the same, apart from case and white space: there is nothing to learn."""

    name = "identical_pairs"
    failure_mode = "I4"
    needs = (PAIRS,)
    good = (0.0, 0.005)
    error = (0.0, 0.05)
    by = ("strategy", "strategy_id")
    change = "drop them"
    repair = "drop_near_identical"
    mitigations = (pairing.distinct,)

    def rows(self, data: Data) -> pl.LazyFrame:
        """Each pair, and whether its two texts are the same."""
        import polars as pl

        same = pl.col("chosen_alike") == pl.col("rejected_alike")
        return data.pair_features.lazy().with_columns(part=same, whole=1, shows=same)

    def say(self, strategy: str, _id: str) -> tuple[str, str]:  # type: ignore[override]
        """Name the strategy."""
        return strategy, f"Chosen and rejected response of {strategy} pairs say the same for"


class NearIdenticalPairs(Share):
    """Share of pairs of which chosen and rejected response share at least 95 % of their words, in their order.

    The share of words in common is estimated from sets of pairs of neighbouring words as (2J / (1 + J))^(1/2), where J is
    Jaccard's index (the estimate of Mash, B. Ondov et al., Genome Biology 17, 2016, with words in place of bases). The first
    20,000 characters of each text count, of at most 10,000 pairs, those with the least ids. Such pairs lower the likelihood of
    the chosen response with that of the rejected (arXiv:2402.13228, arXiv:2410.08847).
    """

    name = "near_identical_pairs"
    failure_mode = "I4"
    needs = (PAIRS,)
    good = (0.0, 0.05)
    error = (0.0, 0.3)
    by = ("strategy", "strategy_id")
    change = _CHANGE
    repair = "drop_near_identical"
    mitigations = (sampling.hotter, training.likelihood_term, sampling.verbalized_too)

    def rows(self, data: Data) -> pl.LazyFrame:
        """Each pair, and whether it is nearly the same text twice."""
        import polars as pl

        near = pl.col("similarity") >= NEAR
        return data.pairs.join(data.similarity, on="id").lazy().with_columns(part=near, whole=1, shows=near)

    def say(self, strategy: str, _id: str) -> tuple[str, str]:  # type: ignore[override]
        """Name the strategy."""
        return strategy, f"Chosen and rejected response of {strategy} pairs share nearly all their words for"

