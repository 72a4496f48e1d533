"""Writing the rows of one kind as files, a few thousand at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from triptych.export.format import KEPT, Format
from triptych.export.rows import Facts, Rarities, chunks
from triptych.store.run import Run

if TYPE_CHECKING:
    import polars as pl

_ROWS_A_GROUP = 16_384


class Written(NamedTuple):
    """What came of it."""

    rows: int
    left_out: int
    """Rows that the format can't hold."""
    columns: tuple[str, ...]


def write(
    runs: Sequence[Run], form: Format, about: Facts, rare: Rarities, folder: Path, endings: Sequence[str]
) -> Written:
    """Write `train` with these endings, of `.parquet` and `.jsonl`, into `folder`; of several runs one after the other."""
    import polars as pl

    alike = not rare.message_fields and not rare.tools  # so that Polars can write the lines
    rows = left_out = 0
    columns: tuple[str, ...] = ()
    pieces: list[Path] = []
    with ExitStack() as open_files:
        lines = open_files.enter_context((folder / "train.jsonl").open("wb")) if ".jsonl" in endings else None
        for made in chain.from_iterable(_shaped(run, form, about, rare, named=len(runs) > 1) for run in runs):
            held = made.filter(KEPT).drop(KEPT) if KEPT in made.columns else made
            rows, left_out = rows + held.height, left_out + made.height - held.height
            columns = tuple(held.columns)
            if ".parquet" in endings and held.height:
                pieces.append(folder / f"{len(pieces):06d}.parquet")
                held.write_parquet(pieces[-1])
            if lines is not None:
                if alike:
                    held.write_ndjson(lines)
                else:
                    said = (msgspec.json.encode(_said(row)) for row in held.iter_rows(named=True))
                    lines.writelines(line + b"\n" for line in said)
    if pieces:
        pl.scan_parquet(pieces).sink_parquet(folder / "train.parquet", row_group_size=_ROWS_A_GROUP)
    return Written(rows, left_out, columns)


def _shaped(run: Run, form: Format, about: Facts, rare: Rarities, *, named: bool) -> Iterator[pl.DataFrame]:
    """A run's rows in the trainer's form; with the run's name or not."""
    import polars as pl

    own = [pl.lit(run.path.name).alias("run")] if named else []
    for rows in chunks(run, form.kind, rare.message_fields, continuations=form.continuations, steps=form.steps):
        yield form.shaped(rows, about, rare).with_columns(own).collect()


def _said(value: Any) -> Any:
    """A row without the fields that say nothing: lines of JSON need not be alike."""
    if isinstance(value, dict):
        return {key: _said(inner) for key, inner in value.items() if inner is not None}
    if isinstance(value, list):
        return [_said(inner) for inner in value]
    return value
