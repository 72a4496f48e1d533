"""Diagnostics of panel 2: judges, reward models, verifiers, people."""

from triptych.audit.diagnostic import Diagnostic
from triptych.audit.evaluation.annotators import AnnotatorAlpha, AnnotatorDistance
from triptych.audit.evaluation.coarseness import LabelDensity, StepScoreError
from triptych.audit.evaluation.criteria import CriteriaConflict, CriterionDominance
from triptych.audit.evaluation.drift import GoldCoverageAuc, GoldCoverageIndex
from triptych.audit.evaluation.hacking import (
    DisagreementAtTheTop,
    ProxyFollowsBullets,
    ProxyFollowsFlattery,
    ProxyFollowsHedges,
    ProxyFollowsLength,
)
from triptych.audit.evaluation.length import JudgePrefersLonger
from triptych.audit.evaluation.position import FirstSlotRate, OrdersAsked, SwapConsistency
from triptych.audit.evaluation.repeats import ScoreReliability
from triptych.audit.evaluation.statuses import JudgementsWithoutAnswer, UnparsedJudgements
from triptych.audit.evaluation.steps import OutcomeAucFromSteps, WrongEndsWithoutBadStep
from triptych.audit.evaluation.verifier import JudgeVerifierAgreement
from triptych.audit.evaluation.verifier_leaks import (
    PlantedRightFailed,
    PlantedWrongPassed,
    VerifierFalseNegatives,
    VerifierFalsePositives,
)

DIAGNOSTICS: tuple[Diagnostic, ...] = (
    UnparsedJudgements(),
    JudgementsWithoutAnswer(),
    SwapConsistency(),
    OrdersAsked(),
    FirstSlotRate(),
    JudgeVerifierAgreement(),
    JudgePrefersLonger(),
    ScoreReliability(),
    GoldCoverageAuc(),
    GoldCoverageIndex(),
    ProxyFollowsLength(),
    ProxyFollowsBullets(),
    ProxyFollowsHedges(),
    ProxyFollowsFlattery(),
    DisagreementAtTheTop(),
    CriteriaConflict(),
    CriterionDominance(),
    LabelDensity(),
    StepScoreError(),
    OutcomeAucFromSteps(),
    WrongEndsWithoutBadStep(),
    VerifierFalsePositives(),
    VerifierFalseNegatives(),
    PlantedWrongPassed(),
    PlantedRightFailed(),
    AnnotatorAlpha(),
    AnnotatorDistance(),
)
