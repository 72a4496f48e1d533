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


_GRAVITY = ("info", "warn", "error")


def _told_once(findings: Sequence[Finding], diagnostics: Sequence[Diagnostic]) -> list[Finding]:
    """Findings, of which those are no warnings that say what a warning as grave says already of the same subject.

    A subject may have a part of its own, such as `judge: tag` of `judge`.
    """
    told_by = {each.name: each.told_by for each in diagnostics if each.told_by}
    grave: dict[str, dict[str, int]] = {}
    for each in findings:
        of = grave.setdefault(each.name, {})
        of[each.subject] = max(of.get(each.subject, 0), _GRAVITY.index(each.severity))

    def known(each: Finding) -> bool:
        said = grave.get(told_by.get(each.name, ""), {})
        by = max((said.get(each.subject, 0), *(g for s, g in said.items() if each.subject.startswith(f"{s}: "))))
        return 0 < _GRAVITY.index(each.severity) <= by

    return [_as_figure(each, told_by[each.name]) if known(each) else each for each in findings]


def _as_figure(finding: Finding, by: str) -> Finding:
    """A finding for people to read that is no warning of its own."""
    said = f"{finding.message.removesuffix('.')}; {by} says so already."
    return msgspec.structs.replace(finding, severity="info", message=said, change="", edits={}, repair="")


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
        findings=tuple(by_severity(_told_once(findings, diagnostics))),
        unmeasured=tuple(unmeasured),
        seconds=round(time.monotonic() - started, 3),
    )
