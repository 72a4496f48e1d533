"""`triptych run`: run a recipe with live progress, and end with what came of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from triptych.app.plan import recipe_folder
from triptych.app.progress import showing_progress
from triptych.app.summary import summary, summary_json, summary_text
from triptych.app.text import clean, say
from triptych.engines.rounds import run
from triptych.errors import StopRun
from triptych.recipes.load import load_recipe
from triptych.recipes.recipe import Recipe
from triptych.store.run import Run, open_run, read_manifest


def run_command(
    source: str,
    out: str,
    changes: Sequence[str],
    limit: int | None,
    calls: str | None,
    *,
    quiet: bool,
    as_json: bool,
) -> None:
    """Run a recipe into a folder, and show the summary. What stops a run early is said after it."""
    recipe = load_recipe(source, changes)
    if not quiet and not as_json:
        _say_changes(recipe, Path(out))
    stopped: StopRun | None = None
    try:
        with showing_progress(quiet=quiet or as_json) as progress:
            run(recipe, out, limit=limit, calls=calls, folder=recipe_folder(source), progress=progress)
    except StopRun as error:
        stopped = error
    _show(open_run(out), quiet=quiet, as_json=as_json)
    if stopped is not None:
        raise stopped


def _show(done: Run, *, quiet: bool, as_json: bool) -> None:
    if as_json:
        click.echo(summary_json(summary(done)))
    elif not quiet:
        say(summary_text(summary(done)))


def _say_changes(recipe: Recipe, out: Path) -> None:
    """Say it where a folder's recipe has changed: its tables are about to be made anew."""
    before = read_manifest(out)
    if before is None or before.recipe != recipe.name:
        return
    if before.recipe_id != recipe.id:
        click.echo(
            f"the recipe has changed since the last run in {out}: only what it does not share is asked", err=True
        )
    for name, spec in recipe.models.items():
        old = before.addresses.get(name)
        if old not in (None, spec.address):
            moved = f"model {name} has moved from {old} to {spec.address}; its answers in the call log are used again. "
            click.echo(clean(f"{moved}If the weights are others, declare another version"), err=True)
