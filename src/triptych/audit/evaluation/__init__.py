"""Diagnostics of panel 2: judges, reward models, verifiers, people."""

from triptych.audit.diagnostic import Diagnostic
from triptych.audit.evaluation.annotators import AnnotatorAlpha, AnnotatorDistance
from triptych.audit.evaluation.calibration import CalibrationError, CalibrationSlope
from triptych.audit.evaluation.coarseness import LabelDensity, StepScoreError
from triptych.audit.evaluation.criteria import CriteriaConflict, CriterionDominance
from triptych.audit.evaluation.drift import GoldCoverageAuc, GoldCoverageIndex
from triptych.audit.evaluation.gold import GoldAccuracy, GoldAccuracyBySlice, GoldAlpha, GoldKappa
from triptych.audit.evaluation.hacking import (
    DisagreementAtTheTop,
    ProxyFollowsBullets,
    ProxyFollowsFlattery,
    ProxyFollowsHedges,
    ProxyFollowsLength,
)
from triptych.audit.evaluation.length import (
    AccuracyGapByLength,
    JudgePrefersLonger,
    LengthCoefficient,
    MarkupCoefficient,
    ScoreLengthCorrelation,
)
from triptych.audit.evaluation.panel import EffectiveJudges
from triptych.audit.evaluation.position import (
    FirstSlotInContradictions,
    FirstSlotRate,
    OrdersAsked,
    SwapConsistency,
)
from triptych.audit.evaluation.repeats import ScoreReliability
from triptych.audit.evaluation.saturation import ScoreLevels, ScoresAtTheEnds, TiedPairs, TiedScores
from triptych.audit.evaluation.self_preference import OwnFamilyAgainstOtherJudges, SelfPreferenceGap
from triptych.audit.evaluation.stability import RepeatAgreement, WordingAgreement
from triptych.audit.evaluation.statuses import JudgementsWithoutAnswer, UnparsedJudgements
from triptych.audit.evaluation.steps import OutcomeAucFromSteps, WrongEndsWithoutBadStep
from triptych.audit.evaluation.transitivity import CyclicTriads
from triptych.audit.evaluation.verifier import JudgeVerifierAgreement
from triptych.audit.evaluation.verifier_leaks import (
    PlantedRightFailed,
    PlantedWrongPassed,
    VerifierFalseNegatives,
    VerifierFalsePositives,
)
from triptych.audit.evaluation.versions import ProxyWithoutGold

DIAGNOSTICS: tuple[Diagnostic, ...] = (
    UnparsedJudgements(),
    JudgementsWithoutAnswer(),
    SwapConsistency(),
    OrdersAsked(),
    FirstSlotRate(),
    FirstSlotInContradictions(),
    JudgePrefersLonger(),
    LengthCoefficient(),
    MarkupCoefficient(),
    AccuracyGapByLength(),
    ScoreLengthCorrelation(),
    SelfPreferenceGap(),
    OwnFamilyAgainstOtherJudges(),
    JudgeVerifierAgreement(),
    GoldAccuracy(),
    GoldAccuracyBySlice(),
    GoldKappa(),
    GoldAlpha(),
    RepeatAgreement(),
    ScoreReliability(),
    WordingAgreement(),
    CyclicTriads(),
    CalibrationSlope(),
    CalibrationError(),
    ScoresAtTheEnds(),
    TiedScores(),
    TiedPairs(),
    ScoreLevels(),
    GoldCoverageAuc(),
    GoldCoverageIndex(),
    ProxyFollowsLength(),
    ProxyFollowsBullets(),
    ProxyFollowsHedges(),
    ProxyFollowsFlattery(),
    DisagreementAtTheTop(),
    ProxyWithoutGold(),
    CriteriaConflict(),
    CriterionDominance(),
    LabelDensity(),
    StepScoreError(),
    OutcomeAucFromSteps(),
    WrongEndsWithoutBadStep(),
    EffectiveJudges(),
    VerifierFalsePositives(),
    VerifierFalseNegatives(),
    PlantedWrongPassed(),
    PlantedRightFailed(),
    AnnotatorAlpha(),
    AnnotatorDistance(),
)
