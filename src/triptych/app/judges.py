"""`triptych judges`: how good the judges of a run, or of preference data, are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

import click

from triptych.app.audit import wrapped
from triptych.app.imports import telling
from triptych.app.text import count, many, one_line, say
from triptych.audit.data import Data
from triptych.audit.diagnostic import short
from triptych.audit.finding import FEWEST_PROMPTS
from triptych.audit.intervals import Estimate
from triptych.audit.judges import OVERVIEW, Column, Judge, Judges, figures, judges
from triptych.audit.needs import LIBRARIES
from triptych.audit.report import judges_page, report_json
from triptych.engines.audit import opened
from triptych.errors import TriptychError
from triptych.operators import suggestion
from triptych.store.run import write_whole

_NAME = 40
_MOST_ROWS = 100
_MOST_IN_MATRIX = 8


def judges_command(
    data: str,
    as_: str | None,
    file_format: str | None,
    scale: tuple[float, float] | None,
    verdicts: str | None,
    gold: Sequence[str],
    *,
    judge: str | None,
    baseline: str | None,
    html: str | None,
    as_json: bool,
) -> None:
    """Measure the judges of a run or a file, and show them side by side, or one of them whole."""
    with (
        telling(quiet=as_json) as importing,
        opened(data, as_, file_format=file_format, scale=scale, verdicts=verdicts, progress=importing) as run,
    ):
        looked_at = Data.of(run, gold=gold or None)
        if not LIBRARIES.met(looked_at):
            raise TriptychError(f"the report on judges needs {LIBRARIES.what}: {LIBRARIES.how}")
        found = judges(looked_at, baseline=baseline)
    if baseline is not None and not found.win_rates:
        raise TriptychError(f"no judge here compares a response of {baseline!r} with one of another model")
    if judge is not None:
        found = _only(found, judge)
    if html is not None:
        write_whole(Path(html), judges_page(found, data).encode())
    if as_json:
        click.echo(report_json(found))
    elif judge is not None:
        say("\n".join(_whole(found.judges[0])))
    else:
        say("\n".join(_lines(found, data)))


def _only(found: Judges, name: str) -> Judges:
    """What is known of one judge."""
    from msgspec.structs import replace

    mine = tuple(each for each in found.judges if each.name == name)
    if not mine:
        raise TriptychError(f"no judge here is called {name!r}{suggestion(name, [each.name for each in found.judges])}")
    return replace(
        found,
        judges=mine,
        two=tuple(each for each in found.two if name in (each.one, each.other)),
        win_rates=tuple(each for each in found.win_rates if each.evaluator == name),
    )


def _lines(found: Judges, source: str) -> Iterator[str]:
    verdicts = sum(each.verdicts for each in found.judges)
    gold = f"gold: {one_line(', '.join(found.gold), 80)}" if found.gold else "no gold labels"
    yield f"{one_line(source, 200)}: {many(len(found.judges), 'judge')}, {many(verdicts, 'verdict')}; {gold}"
    if not found.judges:
        yield "No model judged anything here."
        return
    yield ""
    yield from _overview(found.judges)
    if found.two:
        yield ""
        yield from _between(found)
    if found.win_rates:
        yield ""
        yield from _won(found)
    yield ""
    yield "The intervals are of 95 %, clustered by prompt. --judge NAME shows all figures of one, --json those of all."


def _overview(told: Sequence[Judge]) -> Iterator[str]:
    """A row for each judge; a column for each figure that any of them has."""
    columns = [column for column in OVERVIEW if any(each.shown(column) for each in told)]
    rows = told[:_MOST_ROWS]
    cells = [
        ["judge", "verdicts", *(column.head for column in columns)],
        *([one_line(each.name, _NAME), count(each.verdicts), *(_cell(each, c) for c in columns)] for each in rows),
    ]
    yield from _table(cells)
    if len(told) > len(rows):
        yield f"  and {len(told) - len(rows):,} more; --json and --html have them all"
    yield ""
    defined = figures()
    width = max((len(column.head) for column in columns), default=1)
    for column in columns:
        names = dict.fromkeys(name for each in told if (name := each.shown(column)) is not None)
        expected = {defined[name].expected for name in names} - {"any"}
        in_per_cent = "in % of " if any(defined[name].unit == "share" for name in names) else ""
        wanted = f"; expected {expected.pop()}" if len(expected) == 1 else ""
        yield f"  {column.head:<{width}}  {in_per_cent}{column.what} ({', '.join(names)}){wanted}"
    if any(each.beyond for each in told):
        yield f"  {'!':<{width}}  the whole interval lies beyond what is expected; !! far beyond"
    if any("?" in cell for row in cells for cell in row):
        yield f"  {'?':<{width}}  from fewer than {FEWEST_PROMPTS} prompts, too few to tell"


def _cell(judge: Judge, column: Column) -> str:
    name = judge.shown(column)
    if name is None:
        return "-"
    found = judge.measures[name]
    mark = judge.mark(name)
    if figures()[name].unit != "share":
        return f"{round(found.value, 2) + 0:.2f}{mark}"
    reach = f" ({100 * found.low:.0f}-{100 * found.high:.0f})" if column.head in ("accuracy", "swaps") else ""
    return f"{100 * found.value:.0f}{reach}{mark}"


def _table(cells: Sequence[Sequence[str]]) -> Iterator[str]:
    """Columns as wide as they must be, the first one to the left."""
    widths = [max(len(row[place]) for row in cells) for place in range(len(cells[0]))]
    for row in cells:
        rest = "  ".join(f"{cell:>{width}}" for cell, width in zip(row[1:], widths[1:], strict=True))
        yield f"  {row[0]:<{widths[0]}}  {rest}".rstrip()


def _between(found: Judges) -> Iterator[str]:
    """How far judges agree, in few figures; of a few judges, every two."""
    import statistics

    names = found.compared
    of_more = f", the {len(names)} with the most verdicts" if len(found.judges) > len(names) else ""
    yield f"Between the judges{of_more}"
    means = {
        "alpha": "Krippendorff's alpha of what they prefer",
        "ac1": "Gwet's AC1 of it",
        "effective_judges": f"independent ones, for their errors, of {_panel(found)}",
    }
    for name, what in means.items():
        if name in found.among:
            yield f"  {name:<17} {_value(found.among[name])}  {what}"
    kappas = sorted(found.two, key=lambda each: each.kappa.value)
    if len(names) <= _MOST_IN_MATRIX:
        yield "  Cohen's kappa of every two"
        known = {frozenset((each.one, each.other)): f"{each.kappa.value:.2f}" for each in kappas}
        numbers = [f"{place}" for place in range(1, len(names) + 1)]
        rows = [
            [f"{number} {one_line(one, _NAME)}", *(known.get(frozenset((one, other)), "-") for other in names)]
            for number, one in zip(numbers, names, strict=True)
        ]
        yield from (f"  {line}" for line in _table([["", *numbers], *rows]))
        return
    middle = statistics.median(each.kappa.value for each in kappas)
    yield f"  {'kappa of two':<17} {middle:.3f} in the median of {len(kappas):,}"
    for said, each in (("most alike", kappas[-1]), ("least alike", kappas[0])):
        yield f"  {said:<17} {each.kappa.value:.3f} {one_line(each.one, _NAME)} and {one_line(each.other, _NAME)}"


def _panel(found: Judges) -> str:
    of_more = found.effective_of < len(found.judges)
    return f"the {found.effective_of} with the most verdicts beside gold" if of_more else f"{found.effective_of}"


def _won(found: Judges) -> Iterator[str]:
    """Win rates, the highest at equal length first."""
    groups = groupby(found.win_rates, key=lambda each: (each.evaluator, each.baseline))
    for (evaluator, baseline), group in groups:
        yield f"Win rates in % against {one_line(baseline, 60)}, by {one_line(evaluator, 60)}"
        told = sorted(group, key=lambda each: (-(each.length_controlled or 0.0), -each.win_rate.value, each.model))
        rows = [
            [
                one_line(each.model, 40),
                f"{100 * each.win_rate.value:.1f} ({100 * each.win_rate.low:.1f}-{100 * each.win_rate.high:.1f})",
                "-" if each.length_controlled is None else f"{100 * each.length_controlled:.1f}",
                count(each.win_rate.n),
            ]
            for each in told[:_MOST_ROWS]
        ]
        yield from _table([["model", "win rate", "at equal length", "n"], *rows])
        if len(told) > len(rows):
            yield f"  and {len(told) - len(rows):,} more; --json and --html have them all"
    yield from wrapped("At equal length: by a logistic model after AlpacaEval's (arXiv:2404.04475), without interval.", "  ")


def _whole(judge: Judge) -> Iterator[str]:
    """Every figure of a judge, with its interval."""
    yield f"{one_line(judge.name)}: {many(judge.verdicts, 'verdict')}"
    defined = figures()
    width = max((len(name) for name in judge.measures), default=0)
    told = ""
    for name, figure in defined.items():
        if name in judge.measures:
            expected = "" if figure.expected == "any" else f"  expected {figure.expected}"
            head = figure.about if figure.about != told else ""
            told = figure.about
            yield f"  {head:<13} {name:<{width}}  {_value(judge.measures[name])}  {judge.mark(name):<2}{expected}".rstrip()


def _value(estimate: Estimate) -> str:
    few = "too few to tell" if estimate.few else f"n {estimate.n:,}"
    prompts = f"{few}, {many(estimate.prompts, 'prompt')}"
    return f"{estimate.value:6.3f}  ({short(estimate.low)} to {short(estimate.high)}; {prompts})"
