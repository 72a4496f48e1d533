"""Writing the rows of one kind as files, a few thousand at a time."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

import msgspec

from triptych.export.format import LEFT_OUT, Format
from triptych.export.rows import HELD_OUT, Facts, Rarities, chunks
from triptych.store.run import Run

if TYPE_CHECKING:
    import polars as pl

_ROWS_A_GROUP = 16_384
_PIECES_A_SHARD = 16
_SPLITS = ("train", "test")


class Written(NamedTuple):
    """What came of it."""

    rows: Mapping[str, int]
    """Rows of each split."""
    files: Mapping[str, Sequence[str]]
    """The files of each split, from the folder: one for each ending, or more for `.arrow`."""
    left_out: Mapping[str, int]
    """How many rows the format can't hold, by the reason."""
    columns: tuple[str, ...]


def write(
    runs: Sequence[Run],
    form: Format,
    about: Facts,
    rare: Rarities,
    folder: Path,
    endings: Sequence[str],
    tests: Sequence[pl.Series] = (),
) -> Written:
    """Write `train` with these endings, of `.parquet`, `.jsonl` and `.arrow`, into `folder`; of several runs one after the other.

    Rows of the prompts that `tests` marks in each run's table go into `test`.
    """
    lost: Counter[str] = Counter()
    columns: tuple[str, ...] = ()
    with ExitStack() as open_files:
        splits = {name: _Split(name, folder, form, rare, endings, open_files) for name in _SPLITS[: 2 if tests else 1]}
        for run, marks in zip_longest(runs, tests):
            for made in _shaped(run, form, about, rare, marks, folder, named=len(runs) > 1):
                if LEFT_OUT in made.columns:
                    lost.update(made[LEFT_OUT].drop_nulls().to_list())
                    made = made.filter(made[LEFT_OUT].is_null()).drop(LEFT_OUT)
                columns = tuple(name for name in made.columns if name != HELD_OUT)
                if not tests:
                    splits["train"].add(made)
                    continue
                for name, split in splits.items():
                    split.add(made.filter(made[HELD_OUT] == (name == "test")).drop(HELD_OUT))
    return Written(
        {name: split.rows for name, split in splits.items()},
        {name: split.finish() for name, split in splits.items()},
        lost,
        columns,
    )


class _Split:
    """The files of one split."""

    def __init__(
        self, name: str, folder: Path, form: Format, rare: Rarities, endings: Sequence[str], open_files: ExitStack
    ) -> None:
        self.name, self.folder, self.form, self.endings = name, folder, form, endings
        self.rows = 0
        self._alike = not (rare.message_fields or rare.tools)  # so that Polars can write the lines
        self._pieces: list[Path] = []
        jsonl = folder / f"{name}.jsonl"
        self._lines = open_files.enter_context(jsonl.open("wb")) if ".jsonl" in endings else None

    def add(self, rows: pl.DataFrame) -> None:
        """Write some rows."""
        if not rows.height:
            return
        self.rows += rows.height
        if ".parquet" in self.endings or ".arrow" in self.endings:
            self._pieces.append(self.folder / f"{self.name}-{len(self._pieces):06d}.piece")
            rows.write_parquet(self._pieces[-1])
        if self._lines is not None:
            self._write_lines(rows, self._lines)

    def _write_lines(self, rows: pl.DataFrame, lines: BinaryIO) -> None:
        if self._alike:
            rows.write_ndjson(lines)
            return
        said = (msgspec.json.encode(_said(self._with_json(row))) for row in rows.iter_rows(named=True))
        lines.writelines(line + b"\n" for line in said)

    def _with_json(self, row: dict[str, Any]) -> dict[str, Any]:
        decoded = {name: msgspec.Raw(row[name].encode()) for name in self.form.json if row.get(name)}
        return row | decoded

    def finish(self) -> list[str]:
        """Put the pieces together; the names of the files, in the order of the endings."""
        import polars as pl

        if not self.rows:
            return []
        if ".parquet" in self.endings:
            file = self.folder / f"{self.name}.parquet"
            pl.scan_parquet(self._pieces).sink_parquet(file, row_group_size=_ROWS_A_GROUP)
        by_ending = [self._shards() if end == ".arrow" else [f"{self.name}{end}"] for end in self.endings]
        return [file for files in by_ending for file in files]

    def _shards(self) -> list[str]:
        """The pieces as `datasets.load_from_disk` reads them: Arrow streams, with a state that names them."""
        import polars as pl

        folder = self.folder / self.name
        folder.mkdir()
        shards = [
            self._pieces[start : start + _PIECES_A_SHARD] for start in range(0, len(self._pieces), _PIECES_A_SHARD)
        ]
        names = [f"data-{place:05d}-of-{len(shards):05d}.arrow" for place in range(len(shards))]
        for pieces, name in zip(shards, names, strict=True):
            pl.read_parquet(pieces).write_ipc_stream(folder / name, compat_level=pl.CompatLevel.oldest())
        state: dict[str, Any] = {
            "_data_files": [{"filename": name} for name in names],
            "_fingerprint": "triptych",
            "_format_columns": None,
            "_format_kwargs": {},
            "_format_type": None,
            "_output_all_columns": False,
            "_split": self.name,
        }
        (folder / "state.json").write_text(json.dumps(state), encoding="utf-8")
        (folder / "dataset_info.json").write_text("{}", encoding="utf-8")
        return [f"{self.name}/{name}" for name in (*names, "state.json", "dataset_info.json")]


def _shaped(
    run: Run, form: Format, about: Facts, rare: Rarities, marks: pl.Series | None, scratch: Path, *, named: bool
) -> Iterator[pl.DataFrame]:
    """A run's rows in the trainer's form; with the run's name or not, and the mark of those that are held out."""
    import polars as pl

    own = [pl.lit(run.path.name).alias("run")] if named else []
    texts = chunks(
        run,
        form.kind,
        rare.message_fields,
        continuations=form.continuations,
        scratch=scratch,
        steps=form.steps,
        marks=marks,
    )
    for rows in texts:
        if marks is None:
            yield form.shaped(rows, about, rare).with_columns(own).collect()
        else:
            held = rows.collect()
            made = form.shaped(held.lazy(), about, rare).with_columns(own).collect()
            yield made.with_columns(held[HELD_OUT])


def _said(value: Any) -> Any:
    """A row without the fields that say nothing: lines of JSON need not be alike."""
    if isinstance(value, dict):
        return {key: _said(inner) for key, inner in value.items() if inner is not None}
    if isinstance(value, list):
        return [_said(inner) for inner in value]
    return value
