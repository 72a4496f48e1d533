"""`triptych repair`: a data set without what mitigations drop, and the audit before and after."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import msgspec

from triptych.app.audit import measuring, tests_of
from triptych.app.imports import telling
from triptych.app.text import count, json_text, many, one_line, say
from triptych.audit.audit import audit
from triptych.audit.data import Data
from triptych.audit.finding import Finding
from triptych.audit.repairs import REPAIRS
from triptych.audit.report import repair_page
from triptych.audit.side_by_side import Became, side_by_side
from triptych.engines.audit import opened
from triptych.engines.repair import LOG, Repaired, repair_run
from triptych.errors import TriptychError
from triptych.store.run import Run, check_writable, write_whole


class _Told(msgspec.Struct):
    """What is read of an audit's JSON."""

    findings: tuple[Finding, ...]


def repair_command(
    source: str,
    as_: str | None,
    out: str,
    findings: str | None,
    only: Sequence[str],
    gold: Sequence[str],
    tests: Sequence[str],
    *,
    html: str | None,
    quiet: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Repair a run or a file, and show what changed and what the audit says now."""
    silent = quiet or as_json
    check_writable(html)
    test_sets = tests_of(tests)
    with telling(quiet=silent) as importing, opened(source, as_, progress=importing, **options) as run:
        done, log, became = _repaired(run, out, findings, only, gold, test_sets, quiet=silent)
    if html is not None:
        examples = (log.examples_before, log.examples_after)
        write_whole(Path(html), repair_page(source, log.counts, examples, became).encode())
    if as_json:
        click.echo(json_text({"repaired": log, "findings": became}))
    elif not quiet:
        _say(done, log, became)


def _repaired(
    run: Run,
    out: str,
    findings: str | None,
    only: Sequence[str],
    gold: Sequence[str],
    test_sets: Mapping[str, Sequence[str]],
    *,
    quiet: bool,
) -> tuple[Run, Repaired, list[Became]]:
    data = Data.of(run, gold=gold or None, test_sets=test_sets)
    with measuring(quiet=quiet) as progress:
        before = audit(data, progress=progress)
    names = list(only) or repairs_of(_told(findings) if findings is not None else before.findings)
    if not names:
        raise TriptychError(
            "no finding here has a repair that needs no new call; `triptych audit` says what to change instead"
        )
    done, log = repair_run(run, out, names, gold=gold or None, test_sets=test_sets)
    with measuring(quiet=quiet) as progress:
        after = audit(Data.of(done, gold=gold or None, test_sets=test_sets), progress=progress)
    return done, log, side_by_side(before, after)


def repairs_of(findings: Collection[Finding]) -> list[str]:
    """The repairs that some findings name, in the order in which they are applied."""
    named = {finding.repair for finding in findings if finding.severity != "info"}
    return [name for name in REPAIRS if name in named]


def _told(file: str) -> tuple[Finding, ...]:
    """The findings in a file that `triptych audit --json` wrote."""
    try:
        return msgspec.json.decode(Path(file).read_bytes(), type=_Told).findings
    except OSError as error:
        raise TriptychError(f"can't read {file}: {error.strerror or error}") from error
    except msgspec.DecodeError as error:
        raise TriptychError(f"{file} is not what `triptych audit --json` writes: {error}") from error


def _say(run: Run, log: Repaired, became: Sequence[Became]) -> None:
    say(f"{run.path}: {count(log.examples_after)} of {many(log.examples_before, 'training example')} are left")
    if not any(log.counts.values()):
        say("  nothing was changed: its examples are those that were there before")
    for name, changed in log.counts.items():
        noun = "prompt" if name == "resplit" else "example"
        say(f"  {name:<20} changed {many(changed, noun)}")
    say(f"  {LOG} there tells each change and why")
    rows = [("finding", "of", "before", "after")]
    for each in became:
        name = f"{each.failure_mode} {each.name}"
        rows.append((name, one_line(each.subject, 40), _side(each.before), _side(each.after)))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    say("")
    for row in rows:
        say("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _side(finding: Finding | None) -> str:
    if finding is None:
        return "-"
    state = "" if finding.severity == "info" else f" {finding.severity}"
    if finding.value is None:
        return f"not known{state}"
    if finding.low is None or finding.high is None:
        return f"{finding.value:.3g} (no interval){state}"
    return f"{finding.value:.3g} ({finding.low:.3g} to {finding.high:.3g}){state}"
