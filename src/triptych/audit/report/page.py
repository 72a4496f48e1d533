"""The report as one HTML page: nothing is fetched, no script is needed, and text from data is escaped."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from importlib.resources import files
from itertools import groupby
from typing import TYPE_CHECKING, Any

import msgspec
from markupsafe import Markup
from msgspec.structs import replace

from triptych.audit.audit import DIAGNOSTICS, Unmeasured
from triptych.audit.diagnostic import percent, short
from triptych.audit.finding import Finding
from triptych.audit.modes import MODES
from triptych.audit.principles import PRINCIPLES
from triptych.audit.report.plots import Line, lines, plot, readable
from triptych.audit.report.report import Definition, Report, definitions
from triptych.audit.report.shown import Shown
from triptych.audit.side_by_side import Became

if TYPE_CHECKING:
    from jinja2 import Template

_FEW = 3
"""Findings of one statistic that are told each in a sentence of its own; more are drawn together."""
_STAGES = ("synthesis", "evaluation", "instantiation", "loop", "principle")


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """Findings of one statistic and one severity."""

    name: str
    severity: str
    mode: str
    title: str
    findings: tuple[Finding, ...]
    definition: Definition | None
    changes: tuple[str, ...]
    diff: str
    repairs: tuple[str, ...]
    examples: tuple[Shown, ...]

    @property
    def told(self) -> Sequence[Finding]:
        """Those that are told in words."""
        return self.findings[:_FEW] if len(self.findings) <= _FEW else self.findings[:1]

    @property
    def picture(self) -> Markup:
        """Their values over what is expected."""
        return picture(self.findings, self.definition)


def page(report: Report) -> str:
    """Lay a report out as HTML."""
    told = [each for each in report.findings if each.severity != "info"]
    return template().render(
        report=report,
        style=read("report.css"),
        sections=[(severity, list(_groups(report, told, severity))) for severity in ("error", "warn")],
        fine=list(_groups(report, report.findings, "info")),
        stages=[(stage, _counts(report.findings, stage)) for stage in _STAGES],
        unmeasured=_by_need(report.unmeasured),
        used={each.name: report.definitions[each.name] for each in report.findings if each.name in report.definitions},
        modes=MODES,
        principles=[
            (told, [each for each in report.principles if each.principle == name]) for name, told in PRINCIPLES.items()
        ],
    )


def repair_page(source: str, counts: Mapping[str, int], examples: tuple[int, int], became: Sequence[Became]) -> str:
    """Lay out what a repair did: how much each repair changed, and each finding before and after.

    `examples` are their numbers before and after; `source` is what the user called the data.
    """
    defined = definitions(DIAGNOSTICS)
    rows = [(each, defined.get(each.name), _both(each, defined.get(each.name))) for each in became]
    return template("repair.html").render(
        source=source, counts=counts, examples=examples, rows=rows, style=read("report.css")
    )


def _both(became: Became, definition: Definition | None) -> Markup:
    sides = (("before", became.before), ("after", became.after))
    return picture([replace(each, subject=when) for when, each in sides if each is not None], definition)


def picture(findings: Iterable[Finding], definition: Definition | None) -> Markup:
    """Values with their intervals; nothing where there are none."""
    as_share = definition is not None and definition.unit == "share"
    rows = [
        Line(each.subject, each.value, each.low, each.high, each.severity)
        for each in findings
        if each.value is not None and each.low is not None and each.high is not None
    ]
    expected = (-math.inf, math.inf)
    if definition is not None:
        least, most = definition.range
        expected = (-math.inf if least is None else least, math.inf if most is None else most)
    return lines(rows, expected, as_share=as_share)


def _groups(report: Report, findings: Sequence[Finding], severity: str) -> Iterable[Group]:
    mine = sorted((each for each in findings if each.severity == severity), key=lambda each: _STAGES.index(each.stage))
    for (name, mode), group in groupby(mine, key=lambda each: (each.name, each.failure_mode)):
        alike = tuple(sorted(group, key=_distance, reverse=True))
        rows = _rows([[row for row in each.rows if row in report.examples] for each in alike])
        yield Group(
            name=name,
            severity=severity,
            mode=mode,
            title=MODES.get(mode, name.replace("_", " ")),
            findings=alike,
            definition=report.definitions.get(name),
            changes=tuple(dict.fromkeys(each.change for each in alike if each.change)),
            diff=report.diffs.get(name, ""),
            repairs=tuple(dict.fromkeys(each.repair for each in alike if each.repair)),
            examples=tuple(report.examples[row] for row in rows),
        )


def _distance(finding: Finding) -> float:
    """How far a value is from its threshold."""
    if finding.value is None or finding.threshold is None:
        return 0.0
    return abs(finding.value - finding.threshold)


def _rows(of_each: Sequence[Sequence[str]]) -> list[str]:
    """A few rows, of as many findings as there are."""
    several = [row for rows in of_each for row in rows[:1]]
    rest = [row for rows in of_each for row in rows[1:]]
    return list(dict.fromkeys([*several, *rest]))[:_FEW]


def _counts(findings: Sequence[Finding], stage: str) -> dict[str, int]:
    mine = [each.severity for each in findings if each.stage == stage]
    return {severity: mine.count(severity) for severity in ("error", "warn", "info")}


def _by_need(unmeasured: Sequence[Unmeasured]) -> list[tuple[str, str, list[Unmeasured]]]:
    """What could not be measured, by what it would need."""
    lacking: dict[tuple[str, str], list[Unmeasured]] = {}
    for each in unmeasured:
        lacking.setdefault((each.lacks, "" if each.how == "-" else each.how), []).append(each)
    return [(lacks, how, those) for (lacks, how), those in lacking.items()]


@cache
def template(name: str = "report.html") -> Template:
    """A template of this folder; all that goes into it is escaped."""
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    made = Environment(
        loader=FunctionLoader(read), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    filters: dict[str, Callable[..., Any]] = {
        "plot": plot,
        "picture": picture,
        "readable": readable,
        "number": _number,
        "many": _many,
    }
    made.filters |= filters
    return made.get_template(name)


def read(name: str) -> Any:
    """A file of this folder; the style sheet is put into the page as it is."""
    text = (files("triptych.audit.report") / name).read_text(encoding="utf-8")
    return Markup(text) if name.endswith(".css") else text


def _number(finding: Finding, definition: Definition | None) -> str:
    if finding.value is None or finding.low is None or finding.high is None:
        return ""
    write = percent if definition is not None and definition.unit == "share" else short
    return f"{write(finding.value)} ({write(finding.low)} to {write(finding.high)})"


def _many(number: float, noun: str) -> str:
    return f"{number:,} {noun}{'s' * (number != 1)}"
