"""All diagnostics of a run's tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from triptych.audit.agreement import first_slot_rate, judge_verifier_agreement, swap_consistency
from triptych.audit.contrast import unique_answers, verifier_contrast
from triptych.audit.finding import Finding
from triptych.audit.length import chosen_longer, judge_prefers_longer
from triptych.audit.statuses import unjudged, unparsed, without_answer

if TYPE_CHECKING:
    import polars as pl


def findings(
    *, responses: pl.LazyFrame, judgements: pl.LazyFrame, examples: pl.LazyFrame | None = None
) -> list[Finding]:
    """Run every diagnostic on the tables of a run; the gravest findings come first."""
    found = [
        *without_answer(responses),
        *unique_answers(responses),
        *verifier_contrast(judgements),
        *unparsed(judgements),
        *unjudged(judgements),
        *swap_consistency(judgements),
        *first_slot_rate(judgements),
        *judge_verifier_agreement(judgements),
        *judge_prefers_longer(responses, judgements),
        *(chosen_longer(responses, examples) if examples is not None else ()),
    ]
    return sorted(found, key=lambda finding: ("error", "warn", "info").index(finding.severity))
