"""Two audits side by side: what became of each finding."""

from __future__ import annotations

import msgspec

from triptych.audit.audit import Audit
from triptych.audit.finding import Finding


class Became(msgspec.Struct, frozen=True):
    """One statistic, before and after."""

    name: str
    failure_mode: str
    subject: str
    before: Finding | None
    """None where it could not be measured."""
    after: Finding | None


def side_by_side(before: Audit, after: Audit) -> list[Became]:
    """Put together what two audits say of the same: what either gives an alarm for, in the order of the first."""
    told: dict[tuple[str, str, str], list[Finding | None]] = {}
    for place, audit in enumerate((before, after)):
        for finding in audit.findings:
            key = (finding.name, finding.failure_mode, finding.subject)
            told.setdefault(key, [None, None])[place] = finding
    return [
        Became(*key, *both)
        for key, both in told.items()
        if any(finding is not None and finding.severity != "info" for finding in both)
    ]
