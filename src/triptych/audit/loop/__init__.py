"""Diagnostics of loops: what changes from round to round."""

from triptych.audit.diagnostic import Diagnostic
from triptych.audit.loop.drift import (
    AnchorRegression,
    BackwardTransfer,
    DivergenceFromReference,
    DiversityRatio,
    EvaluatorDrift,
    PolicyAge,
    RoundsSinceGold,
    ScoreShift,
)

DIAGNOSTICS: tuple[Diagnostic, ...] = (
    PolicyAge(),
    RoundsSinceGold(),
    DiversityRatio(),
    DivergenceFromReference(),
    EvaluatorDrift(),
    ScoreShift(),
    AnchorRegression(),
    BackwardTransfer(),
)
