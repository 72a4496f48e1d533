"""The report on judges as one HTML page, made like that of the audit."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from markupsafe import Markup

from triptych.audit.diagnostic import percent, short
from triptych.audit.intervals import Estimate
from triptych.audit.judges import OVERVIEW, Column, Figure, Judge, Judges, figures
from triptych.audit.report.page import read, template
from triptych.audit.report.plots import Line, lines


class Drawn(msgspec.Struct, frozen=True):
    """A figure of all judges that have it."""

    name: str
    figure: Figure
    judges: int
    picture: Markup


class Group(msgspec.Struct, frozen=True):
    """Figures about the same."""

    about: str
    figures: tuple[Drawn, ...]


def judges_page(found: Judges, source: str) -> str:
    """Lay out how good judges are. `source` is what the user called the data."""
    defined = figures()
    abouts = dict.fromkeys(each.about for each in defined.values())
    groups = [Group(about, tuple(_drawn(found.judges, about))) for about in abouts]
    columns = [column for column in OVERVIEW if any(each.shown(column) for each in found.judges)]
    return template("judges.html").render(
        found=found,
        source=source,
        style=read("report.css"),
        verdicts=sum(each.verdicts for each in found.judges),
        columns=[(column, _names(found.judges, column)) for column in columns],
        rows=[(each, [_cell(each, column) for column in columns]) for each in found.judges],
        groups=[group for group in groups if group.figures],
        two=sorted(found.two, key=lambda each: -each.kappa.value),
        expected={name: each.expected for name, each in defined.items()},
        told=_told,
    )


def _names(told: Sequence[Judge], column: Column) -> list[str]:
    return list(dict.fromkeys(name for each in told if (name := each.shown(column)) is not None))


def _cell(judge: Judge, column: Column) -> tuple[str, str]:
    """The value with its mark, and how grave it is."""
    name = judge.shown(column)
    if name is None:
        return "", ""
    value = judge.measures[name].value
    said = f"{100 * value:.0f} %" if figures()[name].unit == "share" else f"{round(value, 2) + 0:.2f}"
    return f"{said} {judge.mark(name)}".rstrip(), judge.beyond.get(name, "")


def _drawn(told: Sequence[Judge], about: str) -> list[Drawn]:
    """The figures of a group, each judge's value below the other's."""
    found = []
    for name, figure in figures().items():
        mine = [each for each in told if name in each.measures] if figure.about == about else []
        rows = [Line(each.name, *_ends(each.measures[name]), each.beyond.get(name, "info")) for each in mine]
        if rows:
            drawn = lines(rows, figure.good, as_share=figure.unit == "share")
            found.append(Drawn(name, figure, len(rows), drawn))
    return found


def _ends(found: Estimate) -> tuple[float, float, float]:
    return found.value, found.low, found.high


def _told(found: Estimate, as_share: bool = False) -> str:
    write = percent if as_share else short
    return f"{write(found.value)} ({write(found.low)} to {write(found.high)})"
