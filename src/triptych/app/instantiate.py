"""`triptych instantiate`: other examples of a run's verdicts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import click

from triptych.app.summary import summary, summary_json, summary_text
from triptych.app.text import console, count, say
from triptych.engines.instantiate import instantiate
from triptych.recipes.load import load_recipe
from triptych.store.run import RECIPE, open_run


def instantiate_command(
    folder: str, out: str, source: str | None, changes: Sequence[str], *, quiet: bool, as_json: bool
) -> None:
    """Make the examples anew, and show the summary of what came out."""
    run = open_run(folder)
    recipe = load_recipe(source if source is not None else str(run.path / RECIPE), changes)
    with _counting(quiet=quiet or as_json) as progress:
        done = instantiate(run, recipe, out, progress=progress)
    if as_json:
        click.echo(summary_json(summary(done)))
    elif not quiet:
        say(summary_text(summary(done)))


@contextmanager
def _counting(*, quiet: bool) -> Iterator[Callable[[int, int], None] | None]:
    """Say how many prompts are done, on one line of a terminal that is written over."""
    terminal = console(stderr=True)
    if quiet or not terminal.is_terminal:
        yield None
        return
    with terminal.status("making examples") as status:
        yield lambda done, total: status.update(f"making examples: {count(done)} of {count(total)} prompts")
