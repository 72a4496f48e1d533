"""Writing the tables of a run: rows come in prompt order, go to parts, and the parts become one file a table."""

from __future__ import annotations

import shutil
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from triptych.errors import RunFolderError, TriptychError
from triptych.records import Judgement, Prompt, Response
from triptych.store.run import place_tables
from triptych.store.tables import Record, frame

if TYPE_CHECKING:
    import polars as pl

PROMPTS_A_PART = 1024
"""Examples of several instantiations stand part by part."""
ROWS_A_GROUP = 16_384
_PARTS_BEHIND = 4

_MADE_OF = ("prompts", "responses", "judgements")
_TABLES = (*_MADE_OF, "examples")

MakeExamples = Callable[[Mapping[str, "pl.LazyFrame"]], "pl.DataFrame"]
"""From the tables `prompts`, `responses` and `judgements` of whole prompts to their examples. Raises `TriptychError`
where they can't be made."""


class TableWriter:
    """Collects rows in prompt order. Memory does not grow with the number of prompts.

    A part holds all rows of the same prompts in each table, so examples are made part by part; those that need all
    prompts at once (`make_across`) come last. A thread does the table work, most of which happens outside of Python,
    while calls go on; it is a few parts behind at most.
    """

    def __init__(self, folder: Path, make_examples: MakeExamples, make_across: MakeExamples | None = None) -> None:
        self.folder = folder
        self.prompts = 0
        self._make_examples = make_examples
        self._make_across = make_across
        self._parts = folder / ".parts"
        self._rows = no_rows()
        self._written = 0
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="tables")
        self._at_work: deque[Future[None]] = deque()
        self._failed: TriptychError | None = None
        self._broken: BaseException | None = None
        shutil.rmtree(self._parts, ignore_errors=True)

    def add(self, prompt: Prompt, responses: tuple[Response, ...], judgements: tuple[Judgement, ...]) -> None:
        """Take one prompt with all of its rows.

        Raises `RunFolderError` on a full disk, and what kept examples from being made, so that the run may end.
        """
        self._rows["prompts"].append(prompt)
        self._rows["responses"] += responses
        self._rows["judgements"] += judgements
        self.prompts += 1
        if len(self._rows["prompts"]) == PROMPTS_A_PART:
            self._hand_over()
        if self._failed is not None:
            raise self._failed

    def finish(self) -> TriptychError | None:
        """Put the parts together and give the tables their names, replacing those of an earlier sitting.

        Returns what kept examples from being made, if anything did; the tables then lack these alone. Raises
        `RunFolderError` on a full disk, also where that was seen before: without one part the rest is no table.
        """
        try:
            if self._broken is None:
                self._hand_over()
            while self._at_work:
                self._wait_for_a_part()
        finally:
            self._thread.shutdown()
        if self._broken is not None:
            raise self._broken
        if self._make_across is not None:
            self._keep("examples", self._made(self._make_across, {name: self._so_far(name) for name in _MADE_OF}))
        self._join()
        place_tables(self._parts, self.folder)
        shutil.rmtree(self._parts)
        return self._failed

    def give_up(self) -> None:
        """Leave the tables of an earlier sitting as they are."""
        self._thread.shutdown()
        shutil.rmtree(self._parts, ignore_errors=True)

    def _hand_over(self) -> None:
        rows, self._rows = self._rows, no_rows()
        self._at_work.append(self._thread.submit(self._write_part, rows))
        if len(self._at_work) > _PARTS_BEHIND:
            self._wait_for_a_part()

    def _wait_for_a_part(self) -> None:
        try:
            self._at_work.popleft().result()
        except BaseException as error:  # a panic of Polars is no Exception
            self._broken = error
            raise

    def _write_part(self, rows: dict[str, list[Record]]) -> None:
        part = {name: frame(name, some) for name, some in rows.items()}
        part["examples"] = self._made(self._make_examples, {name: table.lazy() for name, table in part.items()})
        for name, table in part.items():
            self._keep(name, table)
        self._written += 1

    def _made(self, make: MakeExamples, tables: Mapping[str, pl.LazyFrame]) -> pl.DataFrame:
        """The examples; none where they can't be made, so that all else is kept."""
        try:
            return make(tables)
        except TriptychError as error:
            self._failed = self._failed or error
            return frame("examples", [])

    def _keep(self, name: str, table: pl.DataFrame) -> None:
        import polars as pl

        folder = self._parts / name
        try:
            folder.mkdir(parents=True, exist_ok=True)
            table.write_ipc(folder / f"{self._written:06d}.arrow", compression="lz4")
        except (OSError, pl.exceptions.PolarsError) as error:  # Polars hides a full disk in one of its own
            raise _unwritable(self.folder, error) from error

    def _so_far(self, name: str) -> pl.LazyFrame:
        import polars as pl

        return pl.scan_ipc(self._parts / name / "*.arrow")

    def _join(self) -> None:
        import polars as pl

        try:
            pl.collect_all(
                self._so_far(name).sink_parquet(
                    self._parts / f"{name}.parquet", row_group_size=ROWS_A_GROUP, compression_level=1, lazy=True
                )
                for name in _TABLES
            )
        except (OSError, pl.exceptions.PolarsError) as error:
            raise _unwritable(self.folder, error) from error


def no_rows() -> dict[str, list[Record]]:
    """Empty lists for the rows of each table but that of examples."""
    return {name: [] for name in _MADE_OF}


def _unwritable(folder: Path, error: Exception) -> RunFolderError:
    return RunFolderError(
        f"can't write the tables in {folder}: {error}. "
        "What was paid for is kept in the call log; make room, then run the same command again"
    )
