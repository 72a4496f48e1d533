"""The optimisation signal: what a training algorithm would get from the data under a given policy."""

from triptych.audit.diagnostic import Diagnostic
from triptych.audit.signal.ches import Ches, ches
from triptych.audit.signal.dpo import (
    GradientOnNearIdentical,
    GradientSampleSize,
    GradientWeight,
    ImplicitAccuracy,
    ImplicitFollowsExplicit,
    RankingAccuracy,
    dpo,
)
from triptych.audit.signal.groups import ZeroAdvantageGroups
from triptych.audit.signal.scoring import Scoring, score_responses

__all__ = ["DIAGNOSTICS", "Scoring", "ches", "dpo", "score_responses"]

DIAGNOSTICS: tuple[Diagnostic, ...] = (
    ImplicitAccuracy(),
    RankingAccuracy(),
    GradientWeight(),
    GradientSampleSize(),
    ImplicitFollowsExplicit(),
    GradientOnNearIdentical(),
    Ches(),
    ZeroAdvantageGroups(),
)
