"""Whether a judge takes length for quality (E2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from triptych.audit.diagnostic import Share
from triptych.audit.needs import JUDGED

if TYPE_CHECKING:
    import polars as pl

    from triptych.audit.data import Data


class JudgePrefersLonger(Share):
    """Share of a judge's clear preferences that go to the longer response, in characters of what the assistant says.

    Clear: the same winner in every order asked, or different mean scores. Pairs of equal length do not count.
    """

    name = "judge_prefers_longer"
    failure_mode = "E2"
    needs = (JUDGED,)
    good = (0.0, 0.65)
    error = (0.0, 0.9)
    by = ("evaluator", "evaluator_id")
    change = "tell the judge to disregard length, or pair responses of like length"

    def rows(self, data: Data) -> pl.LazyFrame:
        """Each clear preference, and whether it goes to the longer response."""
        import polars as pl

        longer = (pl.col("chars") - pl.col("chars_b")).sign()
        chars = data.chars.lazy()
        return (
            data.preferences.lazy()
            .join(chars, left_on="a", right_on="response_id")
            .join(chars.rename({"chars": "chars_b"}), left_on="b", right_on="response_id")
            .filter(longer != 0)
            .with_columns(
                part=longer == pl.col("prefers"), whole=1, id="judgement_id", shows=longer == pl.col("prefers")
            )
        )

    def say(self, evaluator: str, _id: str) -> tuple[str, str]:  # type: ignore[override]
        """Name the judge."""
        return evaluator, f"{evaluator} prefers the longer of two responses in"
