"""`triptych convert`: from other people's data to a trainer's files, in one step."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

from triptych.app.export import say_what_was_written
from triptych.app.imports import telling
from triptych.app.text import say
from triptych.engines.imports import import_data
from triptych.errors import TriptychError
from triptych.export import export_run, find_target
from triptych.export.hub import hub
from triptych.store.run import SET_ASIDE


def convert_command(
    file: str,
    as_: str | None,
    target: str,
    out: str,
    kinds: tuple[str, ...],
    file_format: str | None,
    scale: tuple[float, float] | None,
    split: float | None,
    push: str | None,
    *,
    quiet: bool,
    as_json: bool,
) -> None:
    """Import the file into a run folder within `out`, export it, and leave the training files and the rows set aside."""
    folder = Path(out)
    between, new = folder / ".imported", not folder.exists()
    find_target(target)
    if push:
        hub()  # the import may take long, and would be for nothing without a token
    try:
        folder.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(between, ignore_errors=True)  # of a conversion that was killed
        with telling(quiet=quiet or as_json) as progress:
            run = import_data(
                file, as_, out=between, file_format=cast(Any, file_format), scale=scale, progress=progress
            )
        result = export_run(run, target, folder, kinds=kinds or None, split=split, push=push)
        if run.manifest.set_aside:
            os.replace(between / SET_ASIDE, folder / SET_ASIDE)
    except OSError as error:
        raise TriptychError(f"can't write {folder}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(between, ignore_errors=True)
        if new:
            with suppress(OSError):  # it holds the export
                folder.rmdir()
    if as_json or not quiet:
        say_what_was_written(result, as_json=as_json)
    if run.manifest.set_aside and not (quiet or as_json):
        say(f"{run.manifest.set_aside:,} rows were set aside, see {SET_ASIDE}")
