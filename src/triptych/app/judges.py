"""`triptych judges`: how good the judges of a run or an import are."""

from __future__ import annotations

from collections.abc import Iterator

import click
import msgspec

from triptych.app.text import say
from triptych.audit.data import Data
from triptych.audit.intervals import Estimate
from triptych.audit.judges import GROUPS, Judges, judges
from triptych.audit.needs import LIBRARIES
from triptych.errors import TriptychError
from triptych.store.run import open_run

_EXTRA = {
    "order": ("positional_agreement",),
    "gold": ("accuracy_as_listed", "accuracy_turned", "kappa_as_listed", "kappa_turned", "gold_ac1"),
    "calibration": ("expected_calibration_error", "brier"),
    "other judges": ("kappa_with_other_judges",),
}


def judges_command(folder: str, gold: tuple[str, ...], *, as_json: bool) -> None:
    """Measure the judges of a folder and print their figures."""
    data = Data.of(open_run(folder), gold=gold or None)
    if not LIBRARIES.met(data):
        raise TriptychError(f"the report on judges needs {LIBRARIES.what}: {LIBRARIES.how}")
    found = judges(data)
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(found), indent=2).decode())
    else:
        say("\n".join(_lines(found)))


def _lines(found: Judges) -> Iterator[str]:
    if not found.judges:
        yield "No model judged anything here."
    groups = {name: [each.name for each in group] for name, group in GROUPS.items()}
    for name, more in _EXTRA.items():
        groups.setdefault(name, []).extend(more)
    for judge in found.judges:
        yield f"{judge.name}  {judge.verdicts:,} verdicts"
        for group, names in groups.items():
            told = [name for name in names if name in judge.measures]
            for number, name in enumerate(told):
                yield f"  {group if number == 0 else '':<13} {name:<32} {_value(judge.measures[name])}"
        yield ""
    if found.among:
        yield "Among the judges"
        yield from (f"  {'':<13} {name:<32} {_value(value)}" for name, value in found.among.items())


def _value(estimate: Estimate) -> str:
    few = f"{estimate.prompts} prompts, too few to tell" if estimate.prompts < 20 else f"n {estimate.n:,}"
    return f"{estimate.value:6.3f}  ({estimate.low:.3f} to {estimate.high:.3f}; {few})"
