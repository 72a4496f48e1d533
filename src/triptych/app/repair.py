"""`triptych repair`: a data set without what mitigations drop, and the audit before and after."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

import click
import msgspec
from rich.table import Table

from triptych.app.text import clean, console, count, json_text, many, one_line, say
from triptych.audit.audit import Audit, audit
from triptych.audit.data import Data
from triptych.audit.finding import Finding
from triptych.audit.repairs import REPAIRS
from triptych.audit.side_by_side import Became, side_by_side
from triptych.engines.repair import LOG, Repaired, repair_run
from triptych.errors import TriptychError
from triptych.store.run import Run, open_run


def repair_command(
    folder: str, out: str, findings: str | None, only: Sequence[str], gold: Sequence[str], *, quiet: bool, as_json: bool
) -> None:
    """Repair the run in a folder, and show what changed and what the audit says now."""
    run = open_run(folder)
    data = Data.of(run, gold=gold or None)
    before = audit(data)
    names = list(only) or repairs_of(_told(findings) if findings is not None else before.findings)
    if not names:
        raise TriptychError(
            "no finding here has a repair that needs no new call; `triptych audit` says what to change instead"
        )
    done, log = repair_run(run, out, names, gold=gold or None)
    after = audit(Data.of(done, gold=gold or None))
    became = side_by_side(before, after)
    if as_json:
        click.echo(json_text({"repaired": log, "findings": became}))
    elif not quiet:
        _say(done, log, became)


def repairs_of(findings: Collection[Finding]) -> list[str]:
    """The repairs that some findings name, in the order in which they are applied."""
    named = {finding.repair for finding in findings if finding.severity != "info"}
    return [name for name in REPAIRS if name in named]


def _told(file: str) -> tuple[Finding, ...]:
    """The findings in a file that `triptych audit --json` wrote."""
    try:
        return msgspec.json.decode(Path(file).read_bytes(), type=Audit).findings
    except OSError as error:
        raise TriptychError(f"can't read {file}: {error.strerror or error}") from error
    except msgspec.DecodeError as error:
        raise TriptychError(f"{file} is not what `triptych audit --json` writes: {error}") from error


def _say(run: Run, log: Repaired, became: Sequence[Became]) -> None:
    say(f"{run.path}: {count(log.examples_after)} of {many(log.examples_before, 'training example')} are left")
    for name, changed in log.counts.items():
        noun = "prompt" if name == "resplit" else "example"
        say(f"  {name:<20} changed {many(changed, noun)}")
    say(f"  {LOG} there tells each change and why")
    table = Table("finding", "of", "before", "after", box=None, pad_edge=False)
    for each in became:
        sides = [_side(each.before), _side(each.after)]
        table.add_row(f"{each.failure_mode} {each.name}", clean(one_line(each.subject, 40)), *sides)
    say("")
    console().print(table)


def _side(finding: Finding | None) -> str:
    if finding is None:
        return "-"
    state = "" if finding.severity == "info" else f" {finding.severity}"
    if finding.value is None or finding.low is None or finding.high is None:
        return f"not known{state}"
    return f"{finding.value:.3g} ({finding.low:.3g} to {finding.high:.3g}){state}"
