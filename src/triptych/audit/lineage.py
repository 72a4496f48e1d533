"""Where a run stands among others: the rounds before it, the recipe of its loop; and who judged in it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from triptych.errors import RecipeError, TriptychError
from triptych.recipes.load import parse_recipe
from triptych.store.run import MANIFEST, RECIPE, Run, open_run

_MOST_NAMES = 20
"""Evaluators that an error names."""


def whole_recipe_text(run: Run) -> str:
    """The recipe that findings change, as YAML: that of the loop that a run is a round of, else the run's own."""
    own, loop = run.recipe_text(), run.path.parent / RECIPE
    if not _is_round(run) or not loop.is_file():
        return own
    text = loop.read_text(encoding="utf-8")
    with suppress(RecipeError):  # of what stands there for another reason
        if (whole := parse_recipe(text)).loop is not None and whole.name == run.manifest.recipe:
            return text
    return own


def _is_round(run: Run) -> bool:
    head, _, number = run.path.name.rpartition("-")
    return head == "round" and number.isdecimal()


def _evaluators(run: Run) -> list[str]:
    """The names of those who judged anything in a run."""
    import polars as pl

    return sorted(run.judgements().select(pl.col("evaluator").unique()).collect()["evaluator"].drop_nulls())


def evaluators_there(run: Run, gold: Sequence[str] | None) -> Sequence[str] | None:
    """The evaluators of `gold` that judged anything in a run: in an earlier round they need not all have."""
    if gold is None:
        return None
    there = _evaluators(run)
    return [name for name in gold if name in there]


def judged_here(run: Run, gold: Sequence[str]) -> None:
    """Refuse evaluators that judged nothing: what is compared with nobody is silently not measured."""
    names = _evaluators(run) if gold else []
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    there = f"there are {', '.join(names[:_MOST_NAMES])}{more}" if names else "nobody judged anything"
    for name in gold:
        if name not in names:
            raise TriptychError(f"no evaluator here is called {name!r}; {there}")


def rounds_before(run: Run) -> list[Run]:
    """The rounds of the same loop before a run, in their order: of `round-3` those in `round-1` and `round-2`."""
    if not _is_round(run):
        return []
    number = int(run.path.name.rpartition("-")[2])
    folders = [run.path.parent / f"round-{earlier}" for earlier in range(1, number)]
    return [open_run(folder) for folder in folders if (folder / MANIFEST).exists()]
