"""Whether the responses to one prompt differ at all (S2 and S4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from triptych.audit.diagnostic import Share
from triptych.audit.needs import SEVERAL_RESPONSES
from triptych.instantiation.scores import verdicts

if TYPE_CHECKING:
    import polars as pl

    from triptych.audit.data import Data


class UniqueAnswers(Share):
    """Different answers over all answers, of prompts with two or more whose status is ok. Answers differ if their texts do."""

    name = "unique_answers"
    failure_mode = "S2"
    needs = (SEVERAL_RESPONSES,)
    good = (0.5, 1.0)
    change = "raise the temperature, or sample from several models, system prompts or principles"

    def rows(self, data: Data) -> pl.LazyFrame:
        """Each prompt: how many different answers, of how many."""
        import polars as pl

        says = pl.col("messages").hash()
        return (
            data.responses.filter(pl.col("status") == "ok")
            .select("prompt_id", says.alias("says"))
            .group_by("prompt_id")
            .agg(pl.col("says").n_unique().alias("part"), pl.len().alias("whole"))
            .filter(pl.col("whole") > 1)
            .with_columns(id="prompt_id", shows=pl.col("part") < pl.col("whole"))
        )

    def say(self) -> tuple[str, str]:  # type: ignore[override]
        """About all responses."""
        return "", "Responses that differ from their siblings make up"


class NoContrast(Share):
    """Share of prompts all of whose responses a verifier scores alike, so that no pair has a contrast.

    Counts prompts with two or more verified responses. The threshold is the share of groups that DAPO's dynamic sampling
    is meant for (arXiv:2503.14476), in our number.
    """

    name = "no_contrast"
    failure_mode = "S4"
    needs = (SEVERAL_RESPONSES,)
    good = (0.0, 0.3)
    error = (0.0, 0.9)
    by = ("evaluator", "evaluator_id")
    change = "choose prompts that the policy solves sometimes, or sample more responses to each"

    def rows(self, data: Data) -> pl.LazyFrame:
        """Each prompt of each verifier, and whether all its responses score alike."""
        import polars as pl

        return (
            verdicts(data.judgements.filter(pl.col("check").is_not_null()))
            .group_by("evaluator", "evaluator_id", "prompt_id", "response_id")
            .agg(pl.col("verdict").mean().round(9))
            .group_by("evaluator", "evaluator_id", "prompt_id")
            .agg(pl.len(), pl.col("verdict").n_unique().alias("levels"))
            .filter(pl.col("len") > 1)
            .with_columns(part=pl.col("levels") == 1, whole=1, id="prompt_id", shows=pl.col("levels") == 1)
        )

    def say(self, evaluator: str, _id: str) -> tuple[str, str]:  # type: ignore[override]
        """Name the verifier."""
        return evaluator, f"{evaluator} scores all responses alike for"
