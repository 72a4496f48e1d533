"""What each round of a recipe works on, as far as it can be told beforehand."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from triptych.operators import Evolver, Outlook, PromptSource
from triptych.recipes.loop import Loop, filled_in
from triptych.recipes.recipe import Recipe

LookAt = Callable[[PromptSource, Path], tuple[int, Outlook]]
"""Looks at a source: how many prompts to expect of it, and what they are like."""


class Round(NamedTuple):
    """A round, or the whole of a recipe without rounds."""

    rows: float
    """Prompts that its source gives."""
    outlook: Outlook
    """What one of them is like."""
    evolution: tuple[Evolver, ...]
    """What makes prompts of them."""
    place: str
    """Where that stands in the recipe."""

    @property
    def evolved(self) -> Outlook:
        """What the prompts are like that come out, and how many there are of each."""
        outlook = self.outlook
        for evolver in self.evolution:
            _, outlook = evolver.forecast(outlook)
        return outlook


def rounds_of(
    recipe: Recipe, given: int, outlook: Outlook, limit: int | None, look_at: LookAt, folder: Path
) -> Iterator[Round]:
    """All rounds of a recipe whose source gives so many prompts; one where it has no loop."""
    loop = recipe.loop
    per_round = None if loop is None else loop.prompts_per_round
    most = min((bound for bound in (limit, per_round) if bound is not None), default=None)

    def some(rows: float) -> float:
        return max(rows if most is None else min(rows, most), 0)

    now = Round(some(given), outlook, recipe.evolution, "evolution")
    yield now
    if loop is None:
        return
    later = (recipe.evolution, "evolution") if loop.evolution is None else (loop.evolution, "loop.evolution")
    for number in range(2, loop.rounds + 1):
        if loop.prompts:
            rows, outlook = _of_its_own(loop, number, now, look_at, folder)
        else:
            rows = given - (loop.prompts_per_round or 0) * (number - 1)
        now = Round(some(rows), outlook, *later)
        yield now


def _of_its_own(loop: Loop, number: int, before: Round, look_at: LookAt, folder: Path) -> tuple[float, Outlook]:
    """What a round's own source gives: of the round before, which is not there yet, the share that it declares."""
    source: Any = loop.prompts[min(number - 2, len(loop.prompts) - 1)]
    written = source.model_dump(mode="json")
    if filled_in(written, {"run": ""}) == written:
        return look_at(source, folder)
    made = before.evolved
    new = msgspec.structs.replace(made, prompts=1.0, given=0.0, given_tokens=0.0)
    return before.rows * made.prompts * getattr(source, "share", 1.0), new
