"""`triptych init`: a commented recipe to start from."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import click

from triptych.errors import RunFolderError


def init_recipe(file: str, *, force: bool) -> None:
    """Write the commented recipe to `file`."""
    path = Path(file)
    if path.exists() and not force:
        raise RunFolderError(f"{path} exists; choose another name, or --force to replace it")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text((files("triptych.recipes") / "starter.yaml.txt").read_text(encoding="utf-8"), encoding="utf-8")
    except OSError as error:
        raise RunFolderError(f"can't write {path}: {error.strerror or error}") from error
    click.echo(f"wrote {path}; next: triptych plan {path}, then triptych run {path} --out runs/first")
