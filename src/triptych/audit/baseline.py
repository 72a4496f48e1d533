"""The baseline: findings that are known and accepted, so that only new and graver ones are told."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import msgspec

from triptych.audit.finding import Finding, Severity
from triptych.errors import TriptychError
from triptych.store.run import write_whole

_GRAVITY = {"info": 0, "warn": 1, "error": 2}


class Accepted(msgspec.Struct, frozen=True, kw_only=True):
    """A finding as it was when it was accepted."""

    name: str
    failure_mode: str
    subject: str = ""
    severity: Severity
    value: float | None = None
    threshold: float | None = None
    reason: str = ""
    """Why it is accepted: for people to fill in."""

    def covers(self, finding: Finding) -> bool:
        """Whether a finding is this one, and has not grown worse.

        It has where the whole interval now lies beyond the accepted value, further from the threshold; where it lies on the
        other side of the expected range; or, of what has no value, where it is graver.
        """
        if (self.name, self.failure_mode, self.subject) != (finding.name, finding.failure_mode, finding.subject):
            return False
        known = self.value is not None and self.threshold is not None
        if not known or finding.value is None or finding.threshold is None:
            return _GRAVITY[finding.severity] <= _GRAVITY[self.severity]
        assert self.value is not None
        assert self.threshold is not None
        low = finding.value if finding.low is None else finding.low
        high = finding.value if finding.high is None else finding.high
        if self.value < self.threshold:
            return finding.value < finding.threshold and high >= self.value
        return finding.value >= finding.threshold and low <= self.value


class Baseline(msgspec.Struct, frozen=True, kw_only=True):
    """A file of accepted findings."""

    accepted: tuple[Accepted, ...] = ()

    def covers(self, finding: Finding) -> bool:
        """Whether a finding that would be told is known and accepted."""
        return finding.severity != "info" and any(each.covers(finding) for each in self.accepted)


def read_baseline(path: str | Path) -> Baseline:
    """Read a baseline. Raises `TriptychError` where it can't be read."""
    try:
        return msgspec.json.decode(Path(path).read_bytes(), type=Baseline)
    except OSError as error:
        raise TriptychError(f"the baseline {path} can't be read: {error.strerror or error}") from error
    except msgspec.DecodeError as error:
        raise TriptychError(f"{path} is no baseline, as --write-baseline writes it: {error}") from error


def write_baseline(path: str | Path, findings: Iterable[Finding]) -> int:
    """Accept the findings that are warnings or errors, and say how many. The file is for people to read, too."""
    told = [each for each in findings if each.severity != "info"]
    accepted = tuple(
        Accepted(
            name=each.name,
            failure_mode=each.failure_mode,
            subject=each.subject,
            severity=each.severity,
            value=each.value,
            threshold=each.threshold,
        )
        for each in told
    )
    content = msgspec.json.format(msgspec.json.encode(Baseline(accepted=accepted)), indent=2)
    write_whole(Path(path), content + b"\n")
    return len(accepted)
