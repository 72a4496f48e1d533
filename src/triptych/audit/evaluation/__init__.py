"""Diagnostics of panel 2: judges, reward models, verifiers, people."""

from triptych.audit.diagnostic import Diagnostic
from triptych.audit.evaluation.length import JudgePrefersLonger
from triptych.audit.evaluation.position import FirstSlotRate, OrdersAsked, SwapConsistency
from triptych.audit.evaluation.statuses import JudgementsWithoutAnswer, UnparsedJudgements
from triptych.audit.evaluation.verifier import JudgeVerifierAgreement

DIAGNOSTICS: tuple[Diagnostic, ...] = (
    UnparsedJudgements(),
    JudgementsWithoutAnswer(),
    SwapConsistency(),
    OrdersAsked(),
    FirstSlotRate(),
    JudgeVerifierAgreement(),
    JudgePrefersLonger(),
)
