"""Examples of earlier rounds that a round's training files hold as well: which they are, and where they stand."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from triptych.errors import RunFolderError
from triptych.store.run import Run, read_manifest

if TYPE_CHECKING:
    import polars as pl

REPLAY = "replay.parquet"


class Replayed(Run):
    """An earlier run, of whose examples only those are looked at that are replayed."""

    def __init__(self, run: Run, examples: pl.Series) -> None:
        super().__init__(run.path, run.manifest)
        self._examples = examples

    def table(self, name: str) -> pl.LazyFrame:
        """Read a table; that of the examples holds the replayed ones alone, in their order."""
        import polars as pl

        found = super().table(name)
        return found.filter(pl.col("id").is_in(self._examples.implode())) if name == "examples" else found


def replay(run: Run, examples: Mapping[Path, pl.Series]) -> None:
    """Write down which examples of which other runs go with those of a run; nothing where there are none.

    The file has a row for each: `run`, the folder as seen from the run's own, and `example_id`.
    """
    import polars as pl

    file = run.path / REPLAY
    file.unlink(missing_ok=True)
    rows = [
        pl.DataFrame({"example_id": ids}).select(run=pl.lit(os.path.relpath(folder, run.path)), example_id="example_id")
        for folder, ids in examples.items()
        if len(ids)
    ]
    if rows:
        new = file.with_name(f".{REPLAY}.new")
        pl.concat(rows).write_parquet(new)
        new.replace(file)


def replayed(run: Run) -> list[Replayed]:
    """The earlier runs whose examples go with those of a run, from the earliest. Raises `RunFolderError`."""
    import polars as pl

    file = run.path / REPLAY
    if not file.exists():
        return []
    found = pl.read_parquet(file)
    return [
        Replayed(_earlier(run.path / str(folder)), ids["example_id"])
        for (folder,), ids in found.partition_by("run", maintain_order=True, as_dict=True).items()
    ]


def _earlier(folder: Path) -> Run:
    folder = folder.resolve()
    manifest = read_manifest(folder)
    if manifest is None:
        raise RunFolderError(f"examples of the run in {folder} are to be replayed, and there is no run; put it back")
    return Run(folder, manifest)
