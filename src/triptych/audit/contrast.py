"""Whether the responses to one prompt differ at all (failure modes S2 and S4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from triptych.audit.diagnostic import Diagnostic
from triptych.audit.finding import Finding, share_finding
from triptych.audit.intervals import Share
from triptych.instantiation.scores import verdicts

if TYPE_CHECKING:
    import polars as pl


def unique_answers(responses: pl.LazyFrame) -> Diagnostic:
    """Different answers over all answers, of prompts with two or more whose status is ok (S2)."""
    import polars as pl

    says = pl.struct("messages").struct.json_encode()
    per_prompt = (
        responses.filter(pl.col("status") == "ok")
        .select("prompt_id", says.alias("says"))
        .group_by("prompt_id")
        .agg(pl.col("says").n_unique().alias("part"), pl.len().alias("whole"))
        .filter(pl.col("whole") > 1)
    )
    rows = per_prompt.with_columns(id="prompt_id", shows=pl.col("part") < pl.col("whole"), all=pl.lit("responses"))

    def say(share: Share, shown: tuple[str, ...], _all: str) -> Finding:
        return share_finding(
            share,
            name="unique_answers",
            failure_mode="S2",
            subject="",
            said="Responses that differ from their siblings make up",
            good=(0.5, 1.0),
            rows=shown,
            change="raise the temperature, or sample from several models, system prompts or principles",
        )

    return Diagnostic(rows, ("all",), say)


def verifier_contrast(judgements: pl.LazyFrame) -> Diagnostic:
    """Share of prompts all of whose responses a verifier scores alike, so that no pair has a contrast (S4).

    Counts prompts with two or more verified responses. The threshold is the share of groups that DAPO's
    dynamic sampling is meant for (arXiv:2503.14476), in our number.
    """
    import polars as pl

    rows = (
        verdicts(judgements.filter(pl.col("check").is_not_null()))
        .group_by("evaluator", "evaluator_id", "prompt_id", "response_id")
        .agg(pl.col("verdict").mean().round(9))
        .group_by("evaluator", "evaluator_id", "prompt_id")
        .agg(pl.len(), pl.col("verdict").n_unique().alias("levels"))
        .filter(pl.col("len") > 1)
        .with_columns(part=pl.col("levels") == 1, whole=1, id="prompt_id", shows=pl.col("levels") == 1)
    )

    def say(share: Share, shown: tuple[str, ...], evaluator: str, _id: str) -> Finding:
        return share_finding(
            share,
            name="no_contrast",
            failure_mode="S4",
            subject=evaluator,
            said=f"{evaluator} scores all responses alike for",
            good=(0.0, 0.3),
            error=(0.0, 0.9),
            rows=shown,
            change="choose prompts that the policy solves sometimes, or sample more responses to each",
        )

    return Diagnostic(rows, ("evaluator", "evaluator_id"), say)
