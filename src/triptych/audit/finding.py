"""The finding: what a diagnostic says, how sure it is, which rows show it, and what to change."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

Severity = Literal["info", "warn", "error"]
Stage = Literal["synthesis", "evaluation", "instantiation", "loop", "principle"]

OURS = "Triptych's default"
"""Source of a threshold that no publication fixes."""
FEWEST_PROMPTS = 20
"""With fewer prompts a statistic says too little, whatever it is."""
FEWEST_EFFECTIVE = 10
"""With fewer prompts by their rows (see `Finding.effective_prompts`) intervals no longer hold what they promise."""

_STAGES: dict[str, Stage] = {"S": "synthesis", "E": "evaluation", "I": "instantiation", "L": "loop", "R": "principle"}


def too_few(prompts: int, effective: float | None) -> bool:
    """Whether there are too few prompts, or too few by their rows."""
    return prompts < FEWEST_PROMPTS or (effective is not None and effective < FEWEST_EFFECTIVE)


class Histogram(msgspec.Struct, frozen=True, tag="histogram"):
    """How often values fall between neighbouring edges."""

    edges: tuple[float, ...]
    counts: tuple[float, ...]
    axis: str
    """What the values are, with their unit."""


class Bars(msgspec.Struct, frozen=True, tag="bars"):
    """A number for each of a few names, with an interval where there is one."""

    labels: tuple[str, ...]
    values: tuple[float, ...]
    axis: str
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()


class Curve(msgspec.Struct, frozen=True, tag="curve"):
    """y over x, with an interval where there is one; `diagonal` draws what perfect calibration would be."""

    x: tuple[float, ...]
    y: tuple[float, ...]
    x_axis: str
    y_axis: str
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    diagonal: bool = False


Plot = Histogram | Bars | Curve


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One claim about data."""

    name: str
    """The statistic, such as `swap_consistency`."""
    failure_mode: str
    """The failure mode that it looks for, such as `E1` (position bias), or the rule, such as `R3.2`."""
    subject: str = ""
    """What it is about where a run has several: an evaluator, a model, a strategy."""
    value: float | None
    """None where it can't be measured on these data."""
    low: float | None
    """The 95 % interval, clustered by prompt, goes from here"""
    high: float | None
    """to here."""
    n: int
    """How many rows, pairs or prompts it is measured on."""
    prompts: int
    """How many prompts these come from."""
    effective_prompts: float | None = None
    """How many prompts with as many rows each tell as much: (sum n)^2 / sum n^2 for n rows of a prompt; null where not known."""
    threshold: float | None = None
    threshold_source: str = ""
    counted: bool = False
    """Whether all rows there are were counted, so that nothing is estimated and there is no interval."""
    severity: Severity = "info"
    """`warn` and `error` only where the whole interval lies beyond the threshold."""
    message: str
    """One sentence for a person."""
    rows: tuple[str, ...] = ()
    """Ids of some rows that show it."""
    change: str = ""
    """What to change in the recipe, in words."""
    edits: dict[str, Any] = {}
    """The same as settings of the recipe, by their dotted places: what `--set` takes (`evaluation.+` is past the end of the
    list). They belong together."""
    repair: str = ""
    """The repair that needs no new call (see `triptych.audit.repairs`)."""
    plot: Plot | None = None
    """What shows it to the eye."""

    @property
    def few(self) -> bool:
        """Whether it saw too few prompts to tell, or nearly all of its rows are those of a few."""
        return not self.counted and too_few(self.prompts, self.effective_prompts)

    @property
    def stage(self) -> Stage:
        """The stage at which it arises."""
        return _STAGES[self.failure_mode[0]]
