"""Mitigations that need no new call."""

from triptych.audit.repairs.balance import BalanceLabels, DropZeroGroups
from triptych.audit.repairs.contradictions import BreakCycles, DropAgainstScores, DropContradictions, SwapAverage
from triptych.audit.repairs.defective import DropDefective
from triptych.audit.repairs.duplicates import CapPerPrompt, DropDuplicates
from triptych.audit.repairs.families import Resplit
from triptych.audit.repairs.length_match import LengthMatch
from triptych.audit.repairs.margins import (
    DropLowChosen,
    DropNearIdentical,
    DropSmallMargins,
    DropWithinNoise,
    WeightByMargin,
)
from triptych.audit.repairs.prompts import DropCopiedPrompts, DropNoisyPrompts, DropTestPrompts
from triptych.audit.repairs.repair import Repair

REPAIRS: dict[str, Repair | Resplit] = {
    repair.name: repair
    for repair in (
        DropDefective(),
        DropTestPrompts(),
        DropCopiedPrompts(),
        DropNoisyPrompts(),
        DropDuplicates(),
        DropContradictions(),
        BreakCycles(),
        DropAgainstScores(),
        DropNearIdentical(),
        SwapAverage(),
        DropSmallMargins(),
        DropWithinNoise(),
        DropLowChosen(),
        CapPerPrompt(),
        LengthMatch(),
        DropZeroGroups(),
        BalanceLabels(),
        WeightByMargin(),
        Resplit(),
    )
}
"""By their names, in the order in which they are applied: what drops rows for themselves comes before what balances."""

__all__ = ["REPAIRS", "Repair", "Resplit"]
