"""What never came, or came and could not be read (failure modes S10 and E4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from triptych.audit.diagnostic import Diagnostic
from triptych.audit.finding import Finding, share_finding
from triptych.audit.intervals import Share

if TYPE_CHECKING:
    import polars as pl


def without_answer(responses: pl.LazyFrame) -> Diagnostic:
    """Share of responses that failed or were refused, for each model (S10)."""
    import polars as pl

    lost = pl.col("status") != "ok"
    rows = responses.with_columns(part=lost, whole=1, shows=lost)

    def say(share: Share, shown: tuple[str, ...], model: str) -> Finding:
        return share_finding(
            share,
            name="responses_without_answer",
            failure_mode="S10",
            subject=model,
            said=f"{model} failed or refused to answer in",
            good=(0.0, 0.05),
            error=(0.0, 0.5),
            rows=shown,
            change="read the errors of these rows; raise timeout_s or max_retries, or take another model",
        )

    return Diagnostic(rows, ("model",), say)


def unparsed(judgements: pl.LazyFrame) -> Diagnostic:
    """Share of judgements that said something which can't be read as a verdict, for each evaluator (E4)."""
    return _lost(
        judgements,
        ("unparsed",),
        name="unparsed_judgements",
        said="gave no readable verdict in",
        change="declare json_schema if the endpoint has it, raise max_tokens, or take another judge",
    )


def unjudged(judgements: pl.LazyFrame) -> Diagnostic:
    """Share of judgements that failed or were refused, for each evaluator (E4)."""
    return _lost(
        judgements,
        ("failed", "refused"),
        name="judgements_without_answer",
        said="failed or refused to judge in",
        change="read the errors of these rows; raise timeout_s or max_retries, or take another judge",
    )


def _lost(judgements: pl.LazyFrame, statuses: tuple[str, ...], *, name: str, said: str, change: str) -> Diagnostic:
    import polars as pl

    lost = pl.col("status").is_in(statuses)
    rows = judgements.with_columns(part=lost, whole=1, shows=lost)

    def say(share: Share, shown: tuple[str, ...], evaluator: str, _id: str) -> Finding:
        return share_finding(
            share,
            name=name,
            failure_mode="E4",
            subject=evaluator,
            said=f"{evaluator} {said}",
            good=(0.0, 0.05),
            error=(0.0, 0.5),
            rows=shown,
            change=change,
        )

    return Diagnostic(rows, ("evaluator", "evaluator_id"), say)
