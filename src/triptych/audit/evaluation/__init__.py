"""Diagnostics of panel 2: judges, reward models, verifiers, people."""

from triptych.audit.diagnostic import Diagnostic
from triptych.audit.evaluation.annotators import AnnotatorAlpha, GroupsOfAnnotators
from triptych.audit.evaluation.calibration import CalibrationError, CalibrationSlope
from triptych.audit.evaluation.gold import GoldAccuracy, GoldAccuracyBySlice, GoldAlpha, GoldKappa
from triptych.audit.evaluation.hacking import DisagreementAtTheTop, ExcessWithSigns, ProxyWithoutGold
from triptych.audit.evaluation.leaks import (
    VerifierFalseNegatives,
    VerifierFalsePositives,
    VerifierSplitsLikeAnswers,
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
from triptych.audit.evaluation.saturation import ScoreLevels, ScoresAtTheEnds, TiedPairs, TiedScores
from triptych.audit.evaluation.self_preference import OwnFamilyAgainstOtherJudges, SelfPreferenceGap
from triptych.audit.evaluation.several_aims import CriteriaConflict, DominantCriterion, StrictOnIncomparable
from triptych.audit.evaluation.shift import ConfidenceDrop, JudgedOutsideGold
from triptych.audit.evaluation.stability import RepeatAgreement, WordingAgreement
from triptych.audit.evaluation.statuses import JudgementsWithoutAnswer, UnparsedJudgements
from triptych.audit.evaluation.steps import (
    ErrorsLocated,
    RewardByNumberOfSteps,
    StepsAndOutcome,
    StepValueError,
)
from triptych.audit.evaluation.transitivity import CyclicTriads
from triptych.audit.evaluation.verifier import JudgeVerifierAgreement

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
    WordingAgreement(),
    CyclicTriads(),
    CalibrationSlope(),
    CalibrationError(),
    ScoresAtTheEnds(),
    TiedScores(),
    TiedPairs(),
    ScoreLevels(),
    JudgedOutsideGold(),
    ConfidenceDrop(),
    ExcessWithSigns(),
    ProxyWithoutGold(),
    DisagreementAtTheTop(),
    CriteriaConflict(),
    StrictOnIncomparable(),
    DominantCriterion(),
    ErrorsLocated(),
    StepValueError(),
    StepsAndOutcome(),
    RewardByNumberOfSteps(),
    EffectiveJudges(),
    VerifierFalsePositives(),
    VerifierFalseNegatives(),
    VerifierSplitsLikeAnswers(),
    AnnotatorAlpha(),
    GroupsOfAnnotators(),
)
