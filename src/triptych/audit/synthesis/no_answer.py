"""Responses that never came (S10)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from triptych.audit.diagnostic import Share

if TYPE_CHECKING:
    import polars as pl

    from triptych.audit.data import Data


class ResponsesWithoutAnswer(Share):
    """Share of a model's responses that failed or were refused."""

    name = "responses_without_answer"
    failure_mode = "S10"
    good = (0.0, 0.05)
    error = (0.0, 0.5)
    by = ("model",)
    change = "read the errors of these rows; raise timeout_s or max_retries, or take another model"

    def rows(self, data: Data) -> pl.LazyFrame:
        """Each response, and whether it lacks an answer."""
        import polars as pl

        lost = pl.col("status") != "ok"
        return data.responses.with_columns(part=lost, whole=1, shows=lost)

    def say(self, model: str) -> tuple[str, str]:  # type: ignore[override]
        """Name the model."""
        return model, f"{model} failed or refused to answer in"
