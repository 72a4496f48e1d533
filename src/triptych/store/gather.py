"""Writing the tables of rows whose prompts come in any order: in the end all rows of a prompt stand together."""

from __future__ import annotations

import shutil
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from triptych.errors import RunFolderError
from triptych.records import Judgement, Prompt, Response
from triptych.store.run import place_tables
from triptych.store.tables import Record, frame
from triptych.store.writer import PROMPTS_A_PART, ROWS_A_GROUP, no_rows

if TYPE_CHECKING:
    import polars as pl

PROMPTS_A_BUCKET = 8 * PROMPTS_A_PART
"""Prompts whose rows are in memory together, as tables, when they are put in order."""
_MOST_ROWS = 32_768
"""Rows in memory as records."""
_PARTS_BEHIND = 4
_GATHERED = ("prompts", "responses", "judgements")
_TABLES = (*_GATHERED, "examples")

MakeBlock = Callable[[dict[str, "pl.LazyFrame"]], "pl.DataFrame"]
"""From the prompts, responses and judgements of a block to its examples."""


class GatheringWriter:
    """Collects rows of prompts that may come back later, and puts each to those of its prompt.

    Prompts are numbered as they first come and go to buckets by their numbers. Rows that come to a bucket which is past
    are kept aside and added when all are there. A row whose id its prompt has already is the same row. Held in memory:
    a number for each prompt's id (some 110 MB for each million prompts), a few thousand rows, in the end one bucket.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._parts = folder / ".parts"
        self._numbers: dict[int, int] = {}
        self._bucket = 0
        self._last = -1
        self._rows = no_rows()
        self._late: dict[int, dict[str, list[Record]]] = {}
        self._late_rows = 0
        self._met_again: set[int] = set()
        self._written: dict[int, dict[str, list[Path]]] = {}
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="tables")
        self._at_work: deque[Future[None]] = deque()
        shutil.rmtree(self._parts, ignore_errors=True)
        try:
            self._parts.mkdir(parents=True)
        except OSError as error:
            raise _unwritable(folder, error) from error

    @property
    def prompts(self) -> int:
        """How many prompts there are."""
        return len(self._numbers)

    def add(self, prompt: Prompt, responses: Sequence[Response], judgements: Sequence[Judgement]) -> None:
        """Take some rows of a prompt. Raises `RunFolderError` on a full disk."""
        number = self._numbers.setdefault(int(prompt.id[2:18], 16), len(self._numbers))
        bucket = number // PROMPTS_A_BUCKET
        if number > self._last:
            if number and number % PROMPTS_A_PART == 0:
                self._hand_over()
            self._bucket, self._last = bucket, number
            self._rows["prompts"].append(prompt)
        else:
            self._met_again.add(bucket)
        if bucket == self._bucket:
            rows = self._rows
        else:
            rows = self._late.setdefault(bucket, no_rows())
            self._late_rows += len(responses) + len(judgements)
        rows["responses"] += responses
        rows["judgements"] += judgements
        if self._late_rows >= _MOST_ROWS:
            self._hand_over_late()
        if len(self._rows["responses"]) + len(self._rows["judgements"]) >= _MOST_ROWS:
            self._hand_over()

    def finish(self, make_examples: MakeBlock, progress: Callable[[int], None] | None = None) -> None:
        """Put each bucket in order, make its examples, and give the tables their names.

        `progress` is told how many prompts are done. Raises `RunFolderError` on a full disk.
        """
        self._hand_over()
        self._hand_over_late()
        while self._at_work:
            self._at_work.popleft().result()
        self._thread.shutdown()
        done: dict[str, list[Path]] = {name: [] for name in _TABLES}
        for bucket in sorted(self._written):
            for name, files in self._finished(bucket, make_examples).items():
                done[name] += files
            if progress is not None:
                progress(min((bucket + 1) * PROMPTS_A_BUCKET, self.prompts))
        self._join(done)
        shutil.rmtree(self._parts)

    def give_up(self) -> None:
        """Leave the folder as it was."""
        self._thread.shutdown()
        shutil.rmtree(self._parts, ignore_errors=True)

    def _hand_over(self) -> None:
        rows, self._rows = self._rows, no_rows()
        self._submit(self._bucket, rows)

    def _hand_over_late(self) -> None:
        late, self._late, self._late_rows = self._late, {}, 0
        for bucket, rows in late.items():
            self._submit(bucket, rows)

    def _submit(self, bucket: int, rows: dict[str, list[Record]]) -> None:
        files = self._written.setdefault(bucket, {name: [] for name in _GATHERED})
        places = {name: self._parts / f"{name}-{bucket:06d}-{len(files[name]):06d}.arrow" for name in rows}
        for name, place in places.items():
            files[name].append(place)
        self._at_work.append(self._thread.submit(self._write, rows, places))
        if len(self._at_work) > _PARTS_BEHIND:
            self._at_work.popleft().result()

    def _write(self, rows: dict[str, list[Record]], places: dict[str, Path]) -> None:
        for name, some in rows.items():
            self._keep(frame(name, some), places[name])

    def _keep(self, table: pl.DataFrame, place: Path) -> None:
        import polars as pl

        try:
            table.write_ipc(place, compression="lz4")
        except (OSError, pl.exceptions.PolarsError) as error:  # Polars hides a full disk in one of its own
            raise _unwritable(self.folder, error) from error

    def _finished(self, bucket: int, make_examples: MakeBlock) -> dict[str, list[Path]]:
        """The files of a bucket's tables, with all rows of a prompt together, and its examples."""
        import polars as pl

        files = self._written[bucket]
        block = {name: pl.scan_ipc(files[name]).collect() for name in _GATHERED}
        if bucket in self._met_again:
            for name in ("responses", "judgements"):
                block[name] = _in_order(block[name], block["prompts"])
                files[name] = [self._parts / f"{name}-{bucket:06d}.arrow"]
                self._keep(block[name], files[name][0])
        lazy = {name: table.lazy() for name, table in block.items()}
        examples = self._parts / f"examples-{bucket:06d}.arrow"
        self._keep(make_examples(lazy), examples)
        return {**files, "examples": [examples]}

    def _join(self, done: dict[str, list[Path]]) -> None:
        import polars as pl

        try:
            pl.collect_all(
                pl.scan_ipc(done[name]).sink_parquet(
                    self._parts / f"{name}.parquet", row_group_size=ROWS_A_GROUP, compression_level=1, lazy=True
                )
                for name in _TABLES
            )
            place_tables(self._parts, self.folder)
        except (OSError, pl.exceptions.PolarsError) as error:
            raise _unwritable(self.folder, error) from error


def _in_order(rows: pl.DataFrame, prompts: pl.DataFrame) -> pl.DataFrame:
    """Rows in the order of their prompts, and of one prompt as they came; of rows of one id the first."""
    import polars as pl

    numbered = prompts.select(prompt_id="id").with_row_index("prompt")
    return (
        rows.lazy()
        .unique("id", keep="first", maintain_order=True)
        .join(numbered.lazy(), on="prompt_id", how="left", maintain_order="left")
        .sort("prompt", maintain_order=True)
        .drop("prompt")
        .select(pl.col(rows.columns))
        .collect()
    )


def _unwritable(folder: Path, error: Exception) -> RunFolderError:
    return RunFolderError(f"can't write the tables in {folder}: {error}. Make room, then run the same command again")
