"""What an example counts for in training, by how likely the policy finds its responses."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from triptych.instantiation.bands import of_both
from triptych.instantiation.rescale import raw_scores

if TYPE_CHECKING:
    import polars as pl


class Likelihood(BaseModel):
    """Weighs a pair by the policy's probability of both responses, exp(l_w + l_l), so that likely ones count as if drawn.

    l is the mean log-probability of a token: `implicit_reward` without a reference, with beta 1 and `normalise`. It is
    the weight of WPO (arXiv:2406.11827) before its alignment, which needs the whole distribution at every token. A pair
    without both log-probabilities is left out.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    likelihood: str
    """The criterion that holds the log-probabilities."""

    def weighed(self, pairs: pl.LazyFrame, judgements: pl.LazyFrame) -> pl.LazyFrame:
        """Add `likelihood`, in (0, 1]; pairs have response_id and response_id_b."""
        import polars as pl

        found = of_both(pairs, raw_scores(judgements, self.likelihood).rename({"raw": "logp"}), "logp")
        both = (pl.col("logp") + pl.col("logp_b")).exp().clip(0, 1).round(12)
        return found.drop_nulls(["logp", "logp_b"]).with_columns(likelihood=both)
