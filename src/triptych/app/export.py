"""`triptych export`: training files from a run."""

from __future__ import annotations

import json

import click

from triptych.app.text import many, say
from triptych.store.run import open_run


def export_command(folder: str, target: str, out: str | None, *, as_json: bool) -> None:
    """Write the run as files for `target`, and say what was written."""
    from triptych.export import export_run

    result = export_run(open_run(folder), target, out)
    if as_json:
        click.echo(json.dumps({"path": str(result.path), "rows": result.rows, "files": [str(f) for f in result.files]}))
        return
    say(f"{many(result.rows, 'pair')} for TRL in {result.path}")
    for file in result.files:
        say(f"  {file.name}")
