"""Whether length tells chosen from rejected (I5)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from triptych.audit.diagnostic import Share
from triptych.audit.needs import PAIRS

if TYPE_CHECKING:
    import polars as pl

    from triptych.audit.data import Data


class ChosenLonger(Share):
    """Share of pairs whose chosen response is the longer one, in characters of what the assistant says.

    Ties are left out, and pairs of equal length.
    """

    name = "chosen_longer"
    failure_mode = "I5"
    needs = (PAIRS,)
    good = (0.0, 0.65)
    error = (0.0, 0.8)
    by = ("strategy", "strategy_id")
    change = "pair responses of like length, or train with a loss that normalises length"
    repair = "length_match"

    def rows(self, data: Data) -> pl.LazyFrame:
        """Each pair, and whether its chosen response is the longer one."""
        import polars as pl

        chars, longer = data.chars.lazy(), pl.col("chars") > pl.col("chars_b")
        return (
            data.pairs.lazy()
            .join(chars, left_on="chosen", right_on="response_id")
            .join(chars.rename({"chars": "chars_b"}), left_on="rejected", right_on="response_id")
            .filter(pl.col("chars") != pl.col("chars_b"))
            .with_columns(part=longer, whole=1, shows=longer)
        )

    def say(self, strategy: str, _id: str) -> tuple[str, str]:  # type: ignore[override]
        """Name the strategy."""
        return strategy, f"The chosen response is the longer one in {strategy} pairs for"
