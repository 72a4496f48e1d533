"""`triptych export`: training files from a run."""

from __future__ import annotations

import json

import click

from triptych.app.text import say
from triptych.store.run import open_run


def export_command(folder: str, target: str, out: str | None, kinds: tuple[str, ...], *, as_json: bool) -> None:
    """Write the run as files for `target`, and say what was written."""
    from triptych.export import export_run

    result = export_run(open_run(folder), target, out, kinds=kinds or None)
    if as_json:
        said = {"path": str(result.path), "rows": result.rows, "kinds": result.kinds, "lost": result.lost}
        click.echo(json.dumps(said | {"files": [str(file) for file in result.files]}))
        return
    say(f"{result.named()} for TRL in {result.path}")
    for file in result.files:
        say(f"  {file.relative_to(result.path)}")
    for lost in result.lost:
        say(f"Note: {lost}.")
