"""The finding: what a diagnostic says, how sure it is, which rows show it, and what to change."""

from __future__ import annotations

from typing import Literal

import msgspec

from triptych.audit.intervals import Share

Severity = Literal["info", "warn", "error"]

OURS = "Triptych's default"
"""Source of a threshold that no publication fixes."""
FEWEST_PROMPTS = 20
"""With fewer prompts a share says too little, whatever it is."""


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One claim about data."""

    name: str
    """The statistic, such as `swap_consistency`."""
    failure_mode: str
    """The failure mode that it looks for, such as `E1` (position bias)."""
    subject: str = ""
    """What it is about where a run has several: an evaluator, a model, a strategy."""
    value: float | None
    """None where it can't be measured on these data."""
    low: float | None
    """The 95 % interval, clustered by prompt, goes from here"""
    high: float | None
    """to here."""
    n: int
    """How many rows, pairs or prompts it is a share of."""
    prompts: int
    """How many prompts these come from."""
    threshold: float | None = None
    threshold_source: str = ""
    severity: Severity = "info"
    """`warn` and `error` only where the whole interval lies beyond the threshold."""
    message: str
    """One sentence for a person."""
    rows: tuple[str, ...] = ()
    """Ids of some rows that show it."""
    change: str = ""
    """What to change in the recipe."""


def share_finding(
    share: Share,
    *,
    name: str,
    failure_mode: str,
    subject: str,
    said: str,
    good: tuple[float, float],
    error: tuple[float, float] = (0.0, 1.0),
    source: str = OURS,
    rows: tuple[str, ...] = (),
    change: str,
) -> Finding:
    """Say what a share means. `good` is the range that it should lie in, `error` the one that it must lie in.

    `said` is the sentence's beginning, up to the number.
    """
    least, most = good
    fine = share.high - share.low < 0.02
    value, low, high = (_percent(each, fine) for each in (share.value, share.low, share.high))
    number = f"{value} of {share.n:,} (95 % interval {low} to {high})"
    wanted = _range(least, most)
    few = share.prompts < FEWEST_PROMPTS
    outside = not least <= share.value <= most
    severity: Severity = "info"
    if few:
        verdict = f"from {share.prompts} prompt{'s' * (share.prompts != 1)}, too few to tell"
    elif share.high < least or share.low > most:
        severity = "error" if share.high < error[0] or share.low > error[1] else "warn"
        verdict = f"where {wanted} is expected"
    else:
        verdict = f"{'perhaps not' if outside else 'as expected:'} {wanted}"
    return Finding(
        name=name,
        failure_mode=failure_mode,
        subject=subject,
        value=share.value,
        low=share.low,
        high=share.high,
        n=share.n,
        prompts=share.prompts,
        threshold=least if most >= 1 or share.value < least else most,
        threshold_source=source,
        severity=severity,
        message=f"{said} {number}, {verdict}.",
        rows=rows if outside else (),
        change=change if outside else "",
    )


def _percent(value: float, fine: bool = False) -> str:
    return f"{100 * value:.2g} %" if value < 0.0995 else f"{100 * value:.{1 if fine else 0}f} %"


def _range(least: float, most: float) -> str:
    if most >= 1:
        return f"at least {_percent(least)}"
    return f"at most {_percent(most)}" if least <= 0 else f"{_percent(least)} to {_percent(most)}"
