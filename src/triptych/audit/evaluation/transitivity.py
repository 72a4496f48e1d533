"""Whether a judge's preferences go in circles (E6)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from triptych.audit.diagnostic import Share
from triptych.audit.mitigations import judging
from triptych.audit.needs import SEVERAL_RESPONSES

if TYPE_CHECKING:
    import polars as pl

    from triptych.audit.data import Data


class CyclicTriads(Share):
    """Share of triads of responses, all three pairs of which a judge decides, whose preferences go in a circle.

    A judge that throws a coin makes a circle of one triad in four (Kendall and Babington Smith, Biometrika 31, 1940).
    """

    name = "cyclic_triads"
    failure_mode = "E6"
    needs = (SEVERAL_RESPONSES,)
    counts = (
        "three responses to a prompt that a judge compared in all three pairs",
        "use `pairwise` on three responses or more to a prompt",
    )
    good = (0.0, 0.05)
    error = (0.0, 0.15)
    by = ("evaluator", "evaluator_id")
    change = "let the judge rank the list at once, or judge each criterion by itself"
    mitigations = (judging.ranked_at_once,)

    def rows(self, data: Data) -> pl.LazyFrame:
        """Each triad of responses to a prompt."""
        import polars as pl

        once = pl.coalesce("a_first", "b_first")
        clear = (once == pl.coalesce("b_first", "a_first")) & (once != 0)
        key = ["prompt_id", "evaluator", "evaluator_id", "criterion"]
        pairs = data.duels.lazy().filter(clear).select(*key, "a", "b", "judgement_id", said=once)
        second = pairs.select(*key, b="a", c="b", bc="said")
        third = pairs.select(*key, "a", c="b", ac="said")
        circle = (pl.col("said") == pl.col("bc")) & (pl.col("bc") != pl.col("ac"))
        return (
            pairs.join(second, on=[*key, "b"])
            .join(third, on=[*key, "a", "c"])
            .with_columns(part=circle, whole=1, id="judgement_id", shows=circle)
        )

    def say(self, evaluator: str, _id: str) -> tuple[str, str]:  # type: ignore[override]
        """Name the judge."""
        return evaluator, f"The preferences of {evaluator} go in a circle in"
