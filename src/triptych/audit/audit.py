"""The audit: every diagnostic on a data set, what they found, and what could not be measured."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import msgspec

from triptych.audit import evaluation, instantiation, loop, principles, signal, synthesis
from triptych.audit.data import Data
from triptych.audit.diagnostic import Diagnostic
from triptych.audit.finding import Finding
from triptych.audit.run import by_severity

DIAGNOSTICS: tuple[Diagnostic, ...] = (
    *synthesis.DIAGNOSTICS,
    *evaluation.DIAGNOSTICS,
    *instantiation.DIAGNOSTICS,
    *loop.DIAGNOSTICS,
    *signal.DIAGNOSTICS,
    *principles.DIAGNOSTICS,
)


class Unmeasured(msgspec.Struct, frozen=True):
    """A diagnostic that said nothing."""

    name: str
    failure_mode: str
    lacks: str
    """What it would need."""
    how: str
    """How to get that."""
    defect: bool = False
    """Whether it failed, which is a defect in Triptych, and says nothing about the data."""


class Audit(msgspec.Struct, frozen=True, kw_only=True):
    """What an audit found."""

    rows: dict[str, int]
    """How many rows each table has."""
    findings: tuple[Finding, ...]
    """The gravest first."""
    unmeasured: tuple[Unmeasured, ...]
    seconds: float


def audit(
    data: Data,
    diagnostics: Sequence[Diagnostic] | None = None,
    *,
    progress: Callable[[str, int, int], None] | None = None,
) -> Audit:
    """Run diagnostics on data. `progress` is told which begins, its number from 0, and how many there are.

    If no diagnostics are given, all are run, and what the recipe breaks of the principles is among the findings.
    A diagnostic that fails takes nothing else with it: it is listed as unmeasured, as the defect that it is.
    """
    import polars as pl

    started = time.monotonic()
    findings: list[Finding] = []
    if diagnostics is None:
        diagnostics = DIAGNOSTICS
        findings += principles.found_in_recipe(data.recipe) if data.recipe is not None else ()
    unmeasured: list[Unmeasured] = []
    for number, each in enumerate(diagnostics):
        if progress is not None:
            progress(each.name, number, len(diagnostics))
        try:
            lacks = each.lacks(data)
            found = [] if lacks is not None else list(each.measure(data))
        except Exception as error:
            said = f"{type(error).__name__}: {error}"
            unmeasured.append(Unmeasured(each.name, each.failure_mode, said[:300], "please report it", defect=True))
            continue
        findings += found
        if lacks is not None:
            unmeasured.append(Unmeasured(each.name, each.failure_mode, lacks.what, lacks.how))
        elif not found:
            unmeasured.append(Unmeasured(each.name, each.failure_mode, *each.nothing_to_count()))
    tables = {name: getattr(data, name) for name in ("prompts", "responses", "judgements", "examples")}
    heights = pl.collect_all([table.select(pl.len()) for table in tables.values()])
    return Audit(
        rows={name: height.item() for name, height in zip(tables, heights, strict=True)},
        findings=tuple(by_severity(findings)),
        unmeasured=tuple(unmeasured),
        seconds=round(time.monotonic() - started, 3),
    )
