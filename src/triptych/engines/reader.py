"""Reading a run's prompts: bad rows are set aside, and a source that is slow to give keeps nobody waiting."""

from __future__ import annotations

import asyncio
import os
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from enum import Enum
from pathlib import Path
from typing import Final, Literal

import msgspec

from triptych.errors import RunFolderError
from triptych.operators import BadRow, PromptRow

_READ_AHEAD = 64


class _State(Enum):
    NOT_YET = "not yet"


NotYet = Literal[_State.NOT_YET]
NOT_YET: Final = _State.NOT_YET
"""There may be another prompt later: the one who writes to our input has not said."""


class Aside:
    """Writes what is set aside to a file, each with its reason, under another name until it is to be kept.

    A context manager: the file is open, and empty at first, within it.
    """

    def __init__(self, path: Path) -> None:
        self.rows = 0
        self._path = path
        self._new = path.with_name(f".{path.name}.new")

    def __enter__(self) -> Aside:
        """Open the file. Raises `RunFolderError`."""
        try:
            self._file = self._new.open("wb", buffering=0)
        except OSError as error:
            raise self._unwritable(error) from error
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self._file.close()

    def write(self, row: BadRow) -> None:
        """Write one row. Raises `RunFolderError`."""
        try:
            self._file.write(msgspec.json.encode(row) + b"\n")
        except OSError as error:
            raise self._unwritable(error) from error
        self.rows += 1

    def keep(self) -> None:
        """Give the file its name, replacing that of an earlier sitting."""
        with suppress(FileNotFoundError):  # it was never opened
            os.replace(self._new, self._path)

    def _unwritable(self, error: OSError) -> RunFolderError:
        return RunFolderError(f"can't write what is set aside to {self._path}: {error.strerror or error}")


class PromptReader:
    """Hands out the good rows of a source in their order, and writes the bad ones to a file with their reasons."""

    def __init__(self, rows: Iterator[PromptRow | BadRow], aside: Aside, skip: int, limit: int | None) -> None:
        self._aside = aside
        self._rows = self._good(rows, skip, limit)
        self._ahead: deque[PromptRow | BaseException | None] | None = None
        self._room = threading.Semaphore(_READ_AHEAD)

    def read_ahead(self, news: asyncio.Event) -> None:
        """Read in a thread of its own from now on, and set `news` for each row: for pipes and standard input."""
        self._ahead = deque()
        # A daemon: while nothing comes, nothing can end it, and the run must be able to end.
        threading.Thread(
            target=self._fill, args=(self._ahead, asyncio.get_running_loop(), news), name="prompts", daemon=True
        ).start()

    def take(self) -> PromptRow | NotYet | None:
        """Take the next good row; None after the last.

        Raises what the source raises, and `RunFolderError` where a bad row can't be written down.
        """
        if self._ahead is None:
            return next(self._rows, None)
        if not self._ahead:
            return NOT_YET
        found = self._ahead.popleft()
        self._room.release()
        if isinstance(found, BaseException):
            raise found
        return found

    def _fill(
        self, ahead: deque[PromptRow | BaseException | None], loop: asyncio.AbstractEventLoop, news: asyncio.Event
    ) -> None:
        last: BaseException | None = None
        try:
            for row in self._rows:
                self._room.acquire()
                ahead.append(row)
                loop.call_soon_threadsafe(news.set)
        except BaseException as error:  # told to the one who takes, who must not wait for more; a panic is no Exception
            last = error
        ahead.append(last)
        with suppress(RuntimeError):  # the run has ended without us
            loop.call_soon_threadsafe(news.set)

    def _good(self, rows: Iterator[PromptRow | BadRow], skip: int, limit: int | None) -> Iterator[PromptRow]:
        taken = -skip
        with self._aside as aside:
            for row in rows:
                if isinstance(row, BadRow):
                    aside.write(row)
                    continue
                taken += 1
                if taken > 0:
                    yield row
                if taken == limit:
                    return
