"""`triptych export`: training files from a run."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from triptych.app.text import say
from triptych.store.run import open_run

if TYPE_CHECKING:
    from triptych.export.export import ExportResult


def export_command(
    folder: str,
    target: str,
    out: str | None,
    kinds: tuple[str, ...],
    split: float | None,
    push: str | None,
    *,
    as_json: bool,
) -> None:
    """Write the run as files for `target`, and say what was written."""
    from triptych.export import export_run

    result = export_run(open_run(folder), target, out, kinds=kinds or None, split=split, push=push)
    say_what_was_written(result, as_json=as_json)


def say_what_was_written(result: ExportResult, *, as_json: bool) -> None:
    """Say it in words, or as JSON."""
    if as_json:
        said = {"path": str(result.path), "rows": result.rows, "kinds": result.kinds, "lost": result.lost}
        more = {"tests": result.tests, "pushed": result.pushed}
        click.echo(json.dumps(said | more | {"files": [str(file) for file in result.files]}))
        return
    held_out = f", {result.tests:,} of them held out," if result.tests else ""
    say(f"{result.named()}{held_out} for {result.title} in {result.path}")
    for file in result.files:
        say(f"  {file.relative_to(result.path)}")
    for lost in result.lost:
        say(f"Note: {lost}.")
    if result.pushed:
        say(f"Uploaded to {result.pushed}")
