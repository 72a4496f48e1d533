"""Folders whose tables are made of another run's: what they share with it, and how they say so."""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection
from pathlib import Path

import triptych
from triptych.errors import RunFolderError
from triptych.store.run import RECIPE, Manifest, Run, read_manifest, write_manifest, write_whole


def not_in_place(run: Run, out: Path) -> None:
    """Refuse a folder that holds something else than what was made of `run`. Raises `RunFolderError`."""
    before = read_manifest(out)
    if out.resolve() == run.path.resolve() or (before is not None and not before.verdicts_of):
        what = "imported data" if run.manifest.imported else "a run that calls were made for"
        raise RunFolderError(f"{out} holds {what}; name another folder for the new examples")
    if before is not None and before.verdicts_of != run.origin:
        raise RunFolderError(f"{out} holds examples made of {before.verdicts_of}; name another folder")


def share_tables(run: Run, parts: Path, names: Collection[str]) -> None:
    """Put tables of `run` into the folder `parts`, as hard links where the disk has them.

    Raises `RunFolderError` where one is missing or damaged.
    """
    for name in names:
        run.table(name)
        source, place = run.path / f"{name}.parquet", parts / f"{name}.parquet"
        try:
            os.link(source, place)
        except OSError:  # another disk, or one without links
            shutil.copyfile(source, place)


def sign(run: Run, recipe_id: str, recipe_text: str, out: Path, manifest: Manifest) -> None:
    """Say what the folder holds, and what it was made of."""
    before = run.manifest
    manifest.recipe_id, manifest.version = recipe_id, triptych.__version__
    manifest.status, manifest.prompts, manifest.set_aside = before.status, before.prompts, before.set_aside
    manifest.addresses = before.addresses
    manifest.calls = "" if before.imported else str(run.calls_path.resolve())
    write_whole(out / RECIPE, recipe_text.encode())
    write_manifest(out, manifest)
