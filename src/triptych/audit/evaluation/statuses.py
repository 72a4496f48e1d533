"""Verdicts that never came, or came and could not be read (E4)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from triptych.audit.diagnostic import Share
from triptych.audit.mitigations import judging

if TYPE_CHECKING:
    import polars as pl

    from triptych.audit.data import Data


class _Lost(Share):
    failure_mode = "E4"
    good = (0.0, 0.05)
    error = (0.0, 0.5)
    by = ("evaluator", "evaluator_id")
    statuses: ClassVar[tuple[str, ...]]
    did: ClassVar[str]

    def rows(self, data: Data) -> pl.LazyFrame:
        """Each judgement, and whether it is lost."""
        import polars as pl

        lost = pl.col("status").is_in(self.statuses)
        return data.judgements.with_columns(part=lost, whole=1, shows=lost)

    def say(self, evaluator: str, _id: str) -> tuple[str, str]:  # type: ignore[override]
        """Name the evaluator."""
        return evaluator, f"{evaluator} {self.did}"


class UnparsedJudgements(_Lost):
    """Share of an evaluator's judgements that say something which can't be read as a verdict."""

    name = "unparsed_judgements"
    statuses = ("unparsed",)
    did = "gave no readable verdict in"
    change = "declare json_schema if the endpoint has it, raise max_tokens, or take another judge"
    mitigations = (judging.longer_verdicts,)


class JudgementsWithoutAnswer(_Lost):
    """Share of an evaluator's judgements that failed or were refused."""

    name = "judgements_without_answer"
    statuses = ("failed", "refused")
    did = "failed or refused to judge in"
    change = "read the errors of these rows; raise timeout_s or max_retries, or take another judge"
    mitigations = (judging.patient,)
