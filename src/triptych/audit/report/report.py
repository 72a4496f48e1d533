"""What a report says: one value, of which the HTML page, the JSON and the terminal's table are views."""

from __future__ import annotations

import inspect
import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal

import msgspec

import triptych
from triptych.audit.audit import DIAGNOSTICS, Audit, Unmeasured
from triptych.audit.baseline import Baseline
from triptych.audit.data import Data
from triptych.audit.diagnostic import Diagnostic
from triptych.audit.finding import FEWEST_PROMPTS, Finding, Severity
from triptych.audit.judges import Judges
from triptych.audit.lineage import whole_recipe_text
from triptych.audit.modes import MODES
from triptych.audit.principles import Ruling, rulings
from triptych.audit.report.changes import Change, change
from triptych.audit.report.panels import Panels, panels
from triptych.audit.report.shown import Shown, shown
from triptych.operators import REPEATS, BadRow
from triptych.store.run import RECIPE, SET_ASIDE, Run


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """The whole of it in a line."""

    severity: Severity | Literal["unknown"]
    """That of the gravest finding that no baseline accepts; `unknown` where nothing could be measured, or on too few
    prompts alone."""
    errors: int
    warnings: int
    accepted: int
    """Warnings and errors that the baseline accepts."""
    measured: int
    """Diagnostics that found something to look at,"""
    diagnostics: int
    """of how many there are."""
    failed: int = 0
    """Diagnostics that failed, which is a defect in Triptych."""
    said: str
    """A sentence."""


class Definition(msgspec.Struct, frozen=True, kw_only=True):
    """How a number was computed."""

    what: str
    failure_mode: str
    needs: tuple[str, ...]
    unit: Literal["share", "number"]
    range: tuple[float | None, float | None]
    """Where the value should lie; null where that end is open."""
    expected: str
    """The same in words."""
    error: str
    """The range beyond which it is an error."""
    source: str
    """Where the ranges come from."""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """An audit, told. Findings come gravest first."""

    triptych: str
    """The version that made it."""
    data: str
    """What was audited, as it was named."""
    imported: str
    """The file and the format where it was imported; empty for a run."""
    recipe: str
    """The recipe's name."""
    verdict: Verdict
    """In a line: `said`, the gravest `severity`, how many `errors`, `warnings` and `accepted` ones, how many of the
    `diagnostics` were `measured`, and how many `failed`."""
    rows: dict[str, int]
    """How many each table has."""
    findings: tuple[Finding, ...]
    """Those that no baseline accepts."""
    accepted: tuple[Finding, ...]
    """Those that the baseline accepts."""
    unmeasured: tuple[Unmeasured, ...]
    """Diagnostics that said nothing, with what each `lacks` and `how` to get it."""
    principles: tuple[Ruling, ...]
    """What came of each rule of the six principles, on the recipe and on what was found."""
    change: Change | None
    """All settings that the findings would change, and the recipe's diff."""
    diffs: dict[str, str]
    """What each statistic by itself would change, by its name."""
    examples: dict[str, Shown]
    """Rows that show warnings and errors, by their ids, with their texts shortened."""
    panels: Panels
    """Who answered, who judged, what was made of it: counts of the tables, the largest first."""
    definitions: dict[str, Definition]
    """How each statistic is computed, by its name."""
    seconds: float
    """How long it took to measure."""


def report_json(report: Report | Judges) -> str:
    """Write a report, or that on judges, as JSON, in ASCII alone; what is not finite is null."""
    return json.dumps(json.loads(msgspec.json.encode(report)))


_EXAMPLES = 3
"""Rows that are shown of a finding."""
_WITH_EXAMPLES = 3
"""Findings of one statistic and severity whose rows are shown."""


def report_of(
    audited: Audit, data: Data, run: Run, called: str, baseline: Baseline | None = None, recipe: Path | None = None
) -> Report:
    """Tell an audit of a run's data. `called` is what the user called it; changes are made in the file `recipe`, or else in
    the run's own copy."""
    known = baseline or Baseline()
    accepted = tuple(each for each in audited.findings if known.covers(each))
    told = tuple(each for each in audited.findings if not known.covers(each))
    grave = tuple(each for each in told if each.severity != "info")
    text = whole_recipe_text(run) if recipe is None else recipe.read_text(encoding="utf-8")
    file = RECIPE if recipe is None else recipe.name
    return Report(
        triptych=triptych.__version__,
        data=called,
        imported=run.manifest.imported,
        recipe=run.manifest.recipe,
        verdict=_verdict(audited, told, len(accepted), _left_out(run)),
        rows=audited.rows,
        findings=told,
        accepted=accepted,
        unmeasured=audited.unmeasured,
        principles=rulings(data.recipe, audited.findings),
        change=change(text, grave, file),
        diffs=_diffs(text, grave, file),
        examples=shown(data, _telling(grave)),
        panels=panels(data),
        definitions=definitions(DIAGNOSTICS),
        seconds=audited.seconds,
    )


def _diffs(text: str, findings: Sequence[Finding], file: str) -> dict[str, str]:
    """The diff of each statistic that would change a setting."""
    with_edits = [each for each in findings if each.edits]
    names = dict.fromkeys(each.name for each in with_edits)
    found = {name: change(text, [each for each in with_edits if each.name == name], file) for name in names}
    return {name: made.diff for name, made in found.items() if made is not None and made.diff}


def _telling(findings: Iterable[Finding]) -> Iterator[str]:
    """Ids of a few rows of the first few findings of each statistic."""
    told: Counter[tuple[str, str]] = Counter()
    for each in findings:
        told[each.name, each.severity] += 1
        if told[each.name, each.severity] <= _WITH_EXAMPLES:
            yield from each.rows[:_EXAMPLES]


def _closed(ends: tuple[float, float]) -> tuple[float | None, float | None]:
    return (None if ends[0] == -math.inf else ends[0], None if ends[1] == math.inf else ends[1])


def _verdict(audited: Audit, told: tuple[Finding, ...], accepted: int, left_out: str) -> Verdict:
    errors = sum(each.severity == "error" for each in told)
    warnings = sum(each.severity == "warn" for each in told)
    estimated = [each for each in audited.findings if not each.counted]
    number = len({each.name for each in estimated})
    measured = len(DIAGNOSTICS) - len({each.name for each in audited.unmeasured})
    severity: Severity | Literal["unknown"] = "error" if errors else "warn" if warnings else "info"
    sure = {each.name for each in estimated if each.value is None or not each.few}
    unsure = {each.name for each in estimated} - sure
    severity = "unknown" if severity == "info" and len(unsure) == number else severity
    failed = [each.name for each in audited.unmeasured if each.defect]
    said = _sentence(severity, errors, warnings, accepted, measured, _of_what(told)) + _too_few(len(unsure), number)
    return Verdict(
        severity=severity,
        errors=errors,
        warnings=warnings,
        accepted=accepted,
        measured=measured,
        diagnostics=len(DIAGNOSTICS),
        failed=len(failed),
        said=said + _failed(failed) + left_out,
    )


def _too_few(unsure: int, of: int) -> str:
    """How many statistics say nothing, since they rest on too few prompts."""
    if not unsure:
        return ""
    which = "All statistics rest" if unsure == of else f"{unsure} of {of} statistics rest{'s' * (unsure == 1)}"
    return f" {which} on fewer than {FEWEST_PROMPTS} prompts, too few to tell."


_MOST_FAILED = 3
"""Diagnostics that failed that the verdict names."""


def _failed(names: Sequence[str]) -> str:
    """What could not be looked at, as Triptych failed."""
    if not names:
        return ""
    more = f" and {len(names) - _MOST_FAILED} more" if len(names) > _MOST_FAILED else ""
    named = f"{', '.join(names[:_MOST_FAILED])}{more}"
    return f" {_many(len(names), 'diagnostic')} failed, which is a defect in Triptych: {named}."


def _left_out(run: Run) -> str:
    """How many rows could not be read, and what was wrong with the first; those that repeat another are a finding."""
    manifest = run.manifest
    unread = manifest.set_aside - manifest.repeated
    file = run.path / SET_ASIDE
    if unread <= 0 or not file.is_file():
        return ""
    with file.open("rb") as lines:
        bad = (msgspec.json.decode(line, type=BadRow) for line in lines)
        first = next((each for each in bad if not each.reason.startswith(REPEATS)), None)
    if first is None:
        return ""
    of = f" of {manifest.rows:,}" if manifest.rows else ""
    return f" {unread:,}{of} rows could not be used and are not in this; row {first.row}: {first.reason[:200]}."


_MOST_MODES = 4
"""Failure modes that the verdict names."""


def _of_what(told: tuple[Finding, ...]) -> str:
    """The failure modes that are found, the gravest first."""
    grave = dict.fromkeys(each.failure_mode for each in told if each.severity != "info")
    names = [MODES.get(mode, mode) for mode in grave]
    more = [f"{len(names) - _MOST_MODES} more"] if len(names) > _MOST_MODES else []
    return ", ".join([*names[:_MOST_MODES], *more])


def _sentence(severity: str, errors: int, warnings: int, accepted: int, measured: int, of: str) -> str:
    if severity == "unknown" and not measured:
        return "Nothing could be measured on these data."
    if severity == "unknown":
        return f"Nothing can be said with fewer than {FEWEST_PROMPTS} prompts."
    counts = [_many(errors, "error")] * bool(errors) + [_many(warnings, "warning")] * bool(warnings)
    known = f"; {accepted} more accepted by the baseline" if accepted else ""
    if counts:
        return f"{' and '.join(counts)}: {of}{known}."
    return f"Nothing wrong found by the {measured} of {len(DIAGNOSTICS)} diagnostics that could be measured{known}."


def _many(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"


def definitions(diagnostics: Iterable[Diagnostic]) -> dict[str, Definition]:
    """How diagnostics compute their numbers, by their names."""
    return {
        each.name: Definition(
            what=" ".join((inspect.getdoc(each) or "").split()),
            failure_mode=each.failure_mode,
            needs=tuple(need.what for need in each.needs),
            unit=each.unit,
            range=_closed(each.good),
            expected=each.range_of(each.good),
            error=each.range_of(each.error),
            source=each.source,
        )
        for each in diagnostics
    }
