"""All diagnostics of a run's tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from triptych.audit.agreement import first_slot_rate, judge_verifier_agreement, orders_asked, swap_consistency
from triptych.audit.contrast import unique_answers, verifier_contrast
from triptych.audit.diagnostic import Diagnostic, measure
from triptych.audit.finding import Finding
from triptych.audit.length import chosen_longer, judge_prefers_longer
from triptych.audit.statuses import unjudged, unparsed, without_answer

if TYPE_CHECKING:
    import polars as pl


def findings(
    *, responses: pl.LazyFrame, judgements: pl.LazyFrame, examples: pl.LazyFrame | None = None
) -> list[Finding]:
    """Run every diagnostic on the tables of a run; the gravest findings come first."""
    tables = {"responses": responses, "judgements": judgements}
    return findings_of_blocks([tables if examples is None else tables | {"examples": examples}])


def findings_of_blocks(blocks: Iterable[Mapping[str, pl.LazyFrame]]) -> list[Finding]:
    """The same of tables that come some whole prompts at a time; memory is that of one block."""
    found = measure(_diagnostics(**block) for block in blocks)
    return sorted(found, key=lambda finding: ("error", "warn", "info").index(finding.severity))


def _diagnostics(
    responses: pl.LazyFrame, judgements: pl.LazyFrame, examples: pl.LazyFrame | None = None
) -> list[Diagnostic]:
    return [
        without_answer(responses),
        unique_answers(responses),
        verifier_contrast(judgements),
        unparsed(judgements),
        unjudged(judgements),
        swap_consistency(judgements),
        orders_asked(judgements),
        first_slot_rate(judgements),
        judge_verifier_agreement(judgements),
        judge_prefers_longer(responses, judgements),
        *([chosen_longer(responses, examples)] if examples is not None else ()),
    ]
