"""`triptych audit`: what is wrong with data, how sure that is, and what to change."""

from __future__ import annotations

import shlex
import textwrap
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path

import click
import msgspec

from triptych.app.gate import fail
from triptych.app.imports import telling
from triptych.app.text import clean, console, count, duration, many, one_line, say, usd
from triptych.audit.audit import Unmeasured, audit
from triptych.audit.baseline import read_baseline, write_baseline
from triptych.audit.data import Data
from triptych.audit.diagnostic import percent, short
from triptych.audit.finding import Finding, Severity
from triptych.audit.lineage import whole_recipe_text
from triptych.audit.report import Report, page, report_json, report_of
from triptych.audit.report.changes import as_option, mended
from triptych.audit.signal import Scoring
from triptych.engines.asking import Asked, full_data, read_tests
from triptych.engines.audit import is_run, opened
from triptych.errors import TriptychError
from triptych.models.calls import Counts
from triptych.recipes.load import find_recipe, load_recipe, parse_recipe
from triptych.store.run import Run, check_writable, write_whole

_WIDTH = 110
_SUBJECT, _NEED = 40, 130
_FEW = 2
"""Findings of one statistic that are told in words."""
_ALIKE: dict[Severity, int] = {"error": 4, "warn": 4, "info": 1}
"""Findings of one statistic that have a row, the worst first."""
_PLAIN_EVERY_S = 15.0
_MOST_LINES = 60
"""Of a diff."""
_STATES: dict[Severity, str] = {"error": "ERROR", "warn": "WARN", "info": ""}
_STAGES = ("synthesis", "evaluation", "instantiation", "loop", "principle")


def audit_command(
    data: str,
    as_: str | None,
    file_format: str | None,
    scale: tuple[float, float] | None,
    verdicts: str | None,
    gold: Sequence[str],
    asked: Asked,
    tests: Sequence[str],
    *,
    html: str | None,
    recipe: str | None,
    mended_to: str | None,
    fail_on: str,
    baseline: str | None,
    write_baseline_to: str | None,
    quiet: bool,
    as_json: bool,
) -> None:
    """Audit, show what was found, write what was asked for, and end with the exit code that was asked for."""
    known = read_baseline(baseline) if baseline is not None else None
    check_writable(html, write_baseline_to, mended_to)
    if mended_to is not None and not is_run(data):
        raise TriptychError(
            f"{data} was made by no recipe, so there is none to mend. Import it (triptych import ... --out DIR), audit DIR with "
            "--mended FILE, and make the examples anew: triptych instantiate DIR --recipe FILE --out NEW"
        )
    silent = quiet or as_json
    test_sets = tests_of(tests)
    if asked.anything and asked.calls is None and not is_run(data):
        asked = msgspec.structs.replace(asked, calls=_beside(data))
    with (
        telling(quiet=silent) as importing,
        opened(data, as_, file_format=file_format, scale=scale, verdicts=verdicts, progress=importing) as run,
    ):
        mine = _same_recipe(recipe, run) if recipe is not None else None
        looked_at = asking(run, asked, gold, test_sets, quiet=silent)
        with measuring(quiet=silent) as progress:
            audited = audit(looked_at, progress=progress)
        report = report_of(audited, looked_at, run, data, known, mine)
        if mended_to is not None:
            text = whole_recipe_text(run) if mine is None else mine.read_text(encoding="utf-8")
            write_whole(Path(mended_to), mended(text, report.findings).encode())
    if html is not None:
        write_whole(Path(html), page(report).encode())
    if write_baseline_to is not None:
        write_baseline(write_baseline_to, audited.findings)
    if as_json:
        click.echo(report_json(report))
    else:
        say(_head(report) if quiet else report_text(report))
        if not quiet and not asked.anything:
            say("This was the quick audit, which calls no model; --policy and --embeddings make it the full one.")
    fail(report.data, report.verdict.errors, report.verdict.warnings, fail_on, failed=report.verdict.failed)


def _beside(data: str) -> Path:
    """Where the calls about a file are kept."""
    if not Path(data).exists():
        raise TriptychError(f"{data} is no file or folder here, so say where to keep the calls: --calls FILE")
    return Path(data).with_name(f"{Path(data).name}.audit.sqlite")


def _same_recipe(file: str, run: Run) -> Path:
    """The file of a recipe as its user wrote it, if it is the recipe of a run."""
    if load_recipe(file).id != parse_recipe(whole_recipe_text(run), str(run.path)).id:
        raise TriptychError(f"{file} is not the recipe that made {run.path}; leave --recipe out, or give the file as it was then")
    return find_recipe(file)


def tests_of(named: Sequence[str]) -> dict[str, list[str]]:
    """Read the files of `--test-set NAME=FILE`; a file without a name is called after itself."""
    parts = [each.partition("=") if "=" in each else (Path(each).stem, "", each) for each in named]
    return {name: read_tests(file) for name, _, file in parts}


def asking(run: Run, asked: Asked, gold: Sequence[str], test_sets: Mapping[str, Sequence[str]], *, quiet: bool) -> Data:
    """Take a run's data, and ask the models that are named; say what that is going to take, and what it took."""
    terminal = console(stderr=True)

    def tell(said: str) -> None:
        if not quiet:
            terminal.print(clean(said))

    if asked.policy is not None:
        models = " and ".join(each for each in (asked.policy, asked.reference) if each is not None)
        tell(f"Asking {models} how likely they find the responses: {_outlook(run, asked)}")
    if asked.embeddings is not None:
        tell(f"Asking {asked.embeddings} for embeddings of up to 8 responses to each of up to 1,500 prompts")

    def scored(now: Scoring) -> None:
        failed = f", {count(now.failed)} without an answer" if now.failed else ""
        tell(f"{count(now.done)} of {many(now.total, 'response')} scored{failed}; {_cost(now.counts)}")

    def embeds(now: Counts) -> None:
        tell(f"Embeddings: {_cost(now)}")

    return full_data(run, asked, gold=gold or None, test_sets=test_sets, scoring=scored, embedding=embeds)


_CHARS_A_TOKEN = 4
"""Of English text, about."""


def _outlook(run: Run, asked: Asked) -> str:
    """Calls and tokens that scoring all responses takes at most, what is in the call log included."""
    import polars as pl

    message = pl.element().struct.field("content").str.len_chars()
    chars = pl.col("messages").list.eval(message).list.sum().cast(pl.Int64)
    asks = run.prompts().select(prompt_id="id", asks=chars).unique("prompt_id")
    both = run.responses().unique("id").select("prompt_id", says=chars).join(asks, on="prompt_id")
    rows, total = both.select(pl.len(), (pl.col("asks") + pl.col("says")).sum()).collect().row(0)
    tokens = (total or 0) / _CHARS_A_TOKEN
    names = [name for name in (asked.policy, asked.reference) if name is not None]
    declared = parse_recipe(run.recipe_text(), run.called).models
    prices = [declared[name].price for name in names if name in declared]
    money = sum(price.usd(round(tokens), 0, 0) for price in prices if price is not None)
    return f"at most {many(rows * len(names), 'call')}, about {count(tokens * len(names))} tokens, {usd(money)}"


def _cost(counts: Counts) -> str:
    tokens = counts.prompt_tokens + counts.completion_tokens
    return (
        f"{many(counts.sent, 'call')}, {count(counts.cached)} from the log; {count(tokens)} tokens, {usd(counts.usd)}"
    )


@contextmanager
def measuring(*, quiet: bool) -> Iterator[Callable[[str, int, int], None] | None]:
    """Say what is being measured: on one line of a terminal that is written over, else in a line now and then."""
    terminal = console(stderr=True)
    if quiet:
        yield None
    elif terminal.is_terminal:
        with terminal.status("measuring") as status:
            yield lambda name, number, of: status.update(f"measuring {name}, {number + 1} of {of}")
    else:
        told = time.monotonic()

        def tell(name: str, number: int, of: int) -> None:
            nonlocal told
            if time.monotonic() - told >= _PLAIN_EVERY_S:
                told = time.monotonic()
                terminal.print(f"measuring {name}, {number + 1} of {of}")

        yield tell


def report_text(report: Report) -> str:
    """Lay a report out for people."""
    parts = [_head(report)]
    parts += [_stage(report, stage) for stage in _STAGES]
    parts += [_principles(report), _change(report), _accepted(report), _unmeasured(report.unmeasured)]
    took = f"Measured in {duration(report.seconds)}; the intervals are of 95 %, clustered by prompt."
    parts.append(f"{took}\n{report.verdict.said}")  # again, as a terminal shows the end
    return "\n\n".join(part for part in parts if part)


def _head(report: Report) -> str:
    rows = ", ".join(many(number, name.removesuffix("s")) for name, number in report.rows.items())
    return f"{one_line(report.data, 200)}: {report.verdict.said}\n  {rows}"


def _stage(report: Report, stage: str) -> str:
    findings = [each for each in report.findings if each.stage == stage]
    if not findings:
        return ""
    width = max(len(each.name) for each in findings)
    subjects = min(_SUBJECT, max(len(one_line(each.subject)) for each in findings))
    lines = [stage.capitalize()]
    for (severity, _), group in groupby(findings, key=lambda each: (each.severity, each.name)):
        alike = sorted(group, key=_beyond, reverse=True)
        few = _ALIKE[severity]
        lines += [_row(report, each, width, subjects) for each in alike[:few]]
        if len(alike) > few:
            lines.append(f"{'':8}and {len(alike) - few:,} more of {alike[0].name}; --json lists them all")
        if severity != "info":
            lines += _explained(alike)
    return "\n".join(lines)


def _beyond(finding: Finding) -> float:
    """How far a value lies from what is expected; the nearest to it, where it lies within."""
    if finding.value is None or finding.threshold is None:
        return 0.0
    far = abs(finding.value - finding.threshold)
    return far if finding.severity != "info" else -far


def _explained(alike: list[Finding]) -> list[str]:
    """What a few findings of one statistic mean in words, and what to do about them."""
    telling = [each.message for each in alike if each.value is None or len(alike) <= _FEW]
    lines = [line for message in telling[:_FEW] for line in wrapped(message, " " * 8)]
    changes = dict.fromkeys(each.change for each in alike if each.change)
    lines += [line for change in changes for line in wrapped(change, " " * 8 + "-> ")]
    settings = dict.fromkeys(as_option(each) for finding in alike for each in finding.edits.items())
    return [*lines, *(f"{'':11}--set {shlex.quote(one_line(setting, 2 * _WIDTH))}" for setting in settings)]


def _row(report: Report, finding: Finding, width: int, subjects: int) -> str:
    defined = report.definitions.get(finding.name)
    expected = defined.expected if defined is not None and finding.value is not None else ""
    value, reach = _numbers(finding, defined is not None and defined.unit == "share")
    subject = one_line(finding.subject, _SUBJECT)
    told = "" if expected in ("", "any") else f"  expected {expected}"
    if finding.value is not None and finding.few:
        told = f"  too few to tell: {many(finding.prompts, 'prompt')}"
    line = (
        f"  {_STATES[finding.severity]:<5} {finding.failure_mode:<4} {finding.name:<{width}}  {subject:<{subjects}}  "
        f"{value:>8}  {reach:<18}{told}"
    )
    return line.rstrip()


def _numbers(finding: Finding, as_share: bool) -> tuple[str, str]:
    if finding.value is None:
        return "", ""
    write = percent if as_share else short
    if finding.low is None or finding.high is None:
        return write(finding.value), "(counted)" if finding.counted else "(no interval)"
    return write(finding.value), f"({write(finding.low)} to {write(finding.high)})"


def _principles(report: Report) -> str:
    """The rules that are broken; what findings say already is only named."""
    lines = []
    for each in report.principles:
        if each.state != "broken":
            continue
        lines += wrapped(f"{each.rule} does not hold: {each.asks}", f"  {_STATES[each.severity] or 'INFO':<5} ")
        by_recipe = each.evidence if not each.rests_on else ()
        lines += [line for said in by_recipe for line in wrapped(said, " " * 8)]
        lines += wrapped(f"see {', '.join(each.rests_on)}", " " * 8) if each.rests_on else []
    return "\n".join(["Principles broken", *lines]) if lines else ""


def _change(report: Report) -> str:
    """The diff of the recipe, in which all findings have a part that go together."""
    if report.change is None:
        return ""
    lines = [clean(line, 2 * _WIDTH) for line in report.change.diff.splitlines()]
    more = [f"... and {len(lines) - _MOST_LINES} more lines; --html and --json have all"] * (len(lines) > _MOST_LINES)
    refused = [
        line for setting, why in report.change.refused.items() for line in wrapped(f"left out: {setting} ({why})", "  ")
    ]
    told = "The change to the recipe, which --mended FILE makes"
    if report.imported:
        told = "The change to the recipe of an imported folder, which --mended FILE makes and triptych instantiate takes"
    return "\n".join([told, *(f"  {line}" for line in [*lines[:_MOST_LINES], *more]), *refused])


def _accepted(report: Report) -> str:
    if not report.accepted:
        return ""
    names = ", ".join(f"{each.name} {one_line(each.subject, 40)}".strip() for each in report.accepted)
    return "\n".join(["Accepted by the baseline", *wrapped(names, "  ")])


def _unmeasured(unmeasured: Sequence[Unmeasured]) -> str:
    """What could not be measured: how many statistics want which thing, those wanted most first; what failed by name."""
    if not unmeasured:
        return ""
    wanted = Counter((each.lacks, each.how) for each in unmeasured if not each.defect)
    lines = [f"Not measured: {many(len(unmeasured), 'statistic')}; --json and --html name them, and what each needs"]
    for (lacks, how), number in wanted.most_common():
        to_get = f" ({how})" if how not in ("", "-") else ""
        lines.append(f"  {number:>3} for want of {one_line(lacks + to_get, _NEED)}")
    for each in unmeasured:
        if each.defect:
            lines += wrapped(f"{each.name} ({each.failure_mode}): {each.lacks}; {each.how}", "  ")
    return "\n".join(lines)


def wrapped(text: str, indent: str) -> list[str]:
    """A text in lines, the first after `indent`, the others after as much space."""
    return textwrap.wrap(one_line(text, 2000), _WIDTH, initial_indent=indent, subsequent_indent=" " * len(indent))
