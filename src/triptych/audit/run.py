"""The few diagnostics that every run is looked at with when it ends: some whole prompts at a time, without an extra."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from triptych.audit.data import Data
from triptych.audit.diagnostic import Share, measure_blocks
from triptych.audit.evaluation.length import JudgePrefersLonger
from triptych.audit.evaluation.position import FirstSlotRate, OrdersAsked, SwapConsistency
from triptych.audit.evaluation.statuses import JudgementsWithoutAnswer, UnparsedJudgements
from triptych.audit.evaluation.verifier import JudgeVerifierAgreement
from triptych.audit.finding import Finding
from triptych.audit.instantiation.length import ChosenLonger
from triptych.audit.synthesis.contrast import NoContrast, UniqueAnswers
from triptych.audit.synthesis.no_answer import ResponsesWithoutAnswer

if TYPE_CHECKING:
    import polars as pl

AT_THE_END: tuple[Share, ...] = (
    ResponsesWithoutAnswer(),
    UniqueAnswers(),
    NoContrast(),
    UnparsedJudgements(),
    JudgementsWithoutAnswer(),
    SwapConsistency(),
    OrdersAsked(),
    FirstSlotRate(),
    JudgeVerifierAgreement(),
    JudgePrefersLonger(),
    ChosenLonger(),
)


def findings_of_blocks(blocks: Iterable[Mapping[str, pl.LazyFrame]]) -> list[Finding]:
    """Look at a run's tables, given some whole prompts at a time (see `triptych.store.blocks`); the gravest come first."""
    found = measure_blocks(AT_THE_END, (Data(block) for block in blocks))
    return by_severity(found)


def by_severity(findings: Iterable[Finding]) -> list[Finding]:
    """Put the gravest first."""
    return sorted(findings, key=lambda finding: ("error", "warn", "info").index(finding.severity))
