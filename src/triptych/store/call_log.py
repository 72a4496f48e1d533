"""The call log: every answer that was paid for, under the hash of what was asked. The only durable state of a run.

One SQLite file in WAL mode. A writer thread commits in groups, each synced to the disk before anything uses the
answers in it, so neither a killed process nor a power cut loses an answer that a table rests on. Replies and requests
are plain JSON, which SQLite's own JSON functions read; only long requests are compressed.
"""

from __future__ import annotations

import asyncio
import os
import queue
import shutil
import sqlite3
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from triptych.errors import RunFolderError

FORMAT = 1
_LARGEST_GROUP = 256
_LINGER_S = 0.005
_SCHEMA = """
CREATE TABLE IF NOT EXISTS calls (
    call_id TEXT PRIMARY KEY,
    model TEXT NOT NULL,
    run TEXT NOT NULL,
    created_at REAL NOT NULL,
    prompt_tokens INTEGER NOT NULL,
    completion_tokens INTEGER NOT NULL,
    cost_usd REAL NOT NULL,
    reply TEXT NOT NULL,
    request NOT NULL
);
CREATE TABLE IF NOT EXISTS repeats (
    call_id TEXT NOT NULL,
    run TEXT NOT NULL,
    created_at REAL NOT NULL,
    prompt_tokens INTEGER NOT NULL,
    completion_tokens INTEGER NOT NULL,
    cost_usd REAL NOT NULL
);
"""
"""`repeats` holds what was paid beside the answers of `calls`: the same asked by two runs at the same time, and answers
that could not be read. Its cost counts."""
_COMPRESSED_FROM = 8192
"""Requests of so many bytes and more are kept as zlib-compressed BLOBs, shorter ones as TEXT."""
_BLOCK, _BLOCKS = 256, 16
"""Rows that are read at once, and how many such blocks are kept at hand."""
_LONG_REPLY = 16_384
_OPENING_S = 20
_BUSY_S = 60
"""How long another program may hold the file."""
_REST = 1000
_LEAST_ROOM = 65_536
"""Bytes on the disk without which no log can be begun."""
_ROWS_AT_ONCE = (64, 8, 1)
"""Rows of one INSERT. SQLite lets go of Python's lock once for each statement, and getting it back is what costs."""


class LoggedCall(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the call log."""

    call_id: str
    model: str
    run: str
    """The run that paid for the call."""
    created_at: float
    """Seconds since the epoch."""
    prompt_tokens: int
    completion_tokens: int
    cost_usd: float
    reply: str
    """The answer as JSON."""
    request: str
    """What was asked as JSON."""


class Spent(msgspec.Struct, frozen=True):
    """What a run has paid for so far."""

    calls: int
    tokens: int
    usd: float


class CallLog:
    """An open call log. Reads happen in the caller's thread, writes in one of their own.

    Raises `RunFolderError` where the file can't be opened or is no call log.
    """

    def __init__(self, path: Path, *, only_read: bool = False) -> None:
        """`only_read` opens it even where nothing can be written."""
        self.path = path
        try:
            self._reader = _opened_as_it_stands(path) if only_read and not _writable(path) else _opened(path)
            self._check_format()
        except sqlite3.Error as error:
            todo = _todo(path, error)
            raise RunFolderError(f"can't open the call log {path}: {error}{f'; {todo}' if todo else ''}") from error
        self._ahead = _ReadAhead()
        self._queue: queue.SimpleQueue[_Pending | None] = queue.SimpleQueue()
        self._failure: RunFolderError | None = None
        self._writer = threading.Thread(target=self._write_groups, name="call log", daemon=True)
        self._writer.start()

    def find(self, call_ids: Sequence[str]) -> dict[str, str]:
        """Look up the replies (JSON) of those calls that are in the log."""
        found = self._ahead.take(call_ids)
        if len(found) < len(call_ids):
            wanted = [call_id for call_id in call_ids if call_id not in found]
            marks = ",".join("?" * len(wanted))
            query = f"SELECT call_id, reply, rowid FROM calls WHERE call_id IN ({marks})"
            rows = self._rows(query, wanted)
            if rows:
                found.update(row[:2] for row in rows)
                _, reply, row = rows[0]
                self._ahead.fill(self._rows, row, reply)
        return found

    def get(self, call_id: str) -> LoggedCall | None:
        """Read one call with its request."""
        return next((call for call in self.beginning_with(call_id) if call.call_id == call_id), None)

    def beginning_with(self, start: str, most: int = 2) -> list[LoggedCall]:
        """Read up to `most` calls whose ids begin so, with their requests, in the order of their ids."""
        query = "SELECT * FROM calls WHERE call_id >= ? AND call_id < ? ORDER BY call_id LIMIT ?"
        rows = self._rows(query, (start, f"{start}~", most))  # ids are digits and letters
        return [_logged(row) for row in rows]

    def tokens(self, call_ids: Sequence[str]) -> dict[str, tuple[int, int]]:
        """Look up the tokens that went in and came out, of those calls that are in the log."""
        query = "SELECT call_id, prompt_tokens, completion_tokens FROM calls WHERE call_id IN (SELECT value FROM json_each(?))"
        rows = self._rows(query, (msgspec.json.encode(call_ids).decode(),))
        return {call_id: (prompt, completion) for call_id, prompt, completion in rows}

    def put(self, call: LoggedCall) -> asyncio.Future[str]:
        """Write a call; the future is done once the call is safe on the disk, and gives the reply that the log holds.

        That is another one where a run that shares the log was faster. The future raises `RunFolderError` where the
        call could not be written, as on a full disk.
        """
        loop = asyncio.get_running_loop()
        saved: asyncio.Future[str] = loop.create_future()
        self._queue.put((call, loop, saved))
        return saved

    def waste(self, call_id: str, run: str, prompt_tokens: int, completion_tokens: int, cost_usd: float) -> None:
        """Note down what was paid for an answer that can't be read. It is written with the calls that follow."""
        paid = LoggedCall(
            call_id=call_id,
            model="",
            run=run,
            created_at=time.time(),
            prompt_tokens=prompt_tokens,
            completion_tokens=completion_tokens,
            cost_usd=cost_usd,
            reply="",
            request="",
        )
        # Nobody waits for it: where it can't be written, no answer can either, and that is told.
        self.put(paid).add_done_callback(lambda done: done.cancelled() or done.exception())

    def spent(self, run: str) -> Spent:
        """Sum what `run` itself has paid for; calls that another run paid for are not counted."""
        query = """
            SELECT count(*), total(prompt_tokens + completion_tokens), total(cost_usd) FROM (
                SELECT prompt_tokens, completion_tokens, cost_usd FROM calls WHERE run = ?1
                UNION ALL SELECT prompt_tokens, completion_tokens, cost_usd FROM repeats WHERE run = ?1
            )
        """
        ((calls, tokens, usd),) = self._rows(query, (run,))
        return Spent(calls, int(tokens), usd)

    def __len__(self) -> int:
        """Count the calls in the log."""
        ((count,),) = self._rows("SELECT count(*) FROM calls", ())
        return int(count)

    def close(self) -> None:
        """Write what is waiting, and close the file."""
        self._queue.put(None)
        self._writer.join()
        self._reader.close()

    def _rows(self, query: str, values: Sequence[object]) -> list[tuple[Any, ...]]:
        try:
            return self._reader.execute(query, values).fetchall()
        except sqlite3.Error as error:
            raise RunFolderError(
                f"can't read the call log {self.path}: {error}; `sqlite3 LOG .recover` may save what it holds"
            ) from error

    def _check_format(self) -> None:
        (version,) = self._reader.execute("PRAGMA user_version").fetchone()
        if version == 0:
            self._reader.execute(f"PRAGMA user_version = {FORMAT}")
        elif version != FORMAT:
            raise RunFolderError(f"the call log {self.path} has format {version}; this Triptych reads format {FORMAT}")

    def _write_groups(self) -> None:
        connection: sqlite3.Connection | None = None
        for group in self._groups():
            earlier: dict[str, str] = {}
            if self._failure is None:
                try:
                    connection = connection or _connect(self.path)
                    earlier = _commit(connection, group)
                except Exception as error:  # whatever it is, those who wait for this thread must be told
                    self._failure = _unwritable(self.path, error)
            with suppress(RuntimeError):  # the loop was closed, so nobody waits any more
                group[0][1].call_soon_threadsafe(_settle, group, earlier, self._failure)
        if connection is not None:
            connection.close()

    def _groups(self) -> Iterator[list[_Pending]]:
        while (first := self._queue.get()) is not None:
            group = [first]
            try:
                while len(group) < _LARGEST_GROUP:
                    pending = self._queue.get(timeout=_LINGER_S)
                    if pending is None:
                        yield group
                        return
                    group.append(pending)
            except queue.Empty:
                pass
            yield group


class _ReadAhead:
    """Replies that stand near those just found: a run that is repeated asks in about the order of the first time.

    Whole blocks of rows are read at once, and the latest ones kept. Where most of a block was read for nothing, the
    next many look-ups read no more than they ask for.
    """

    def __init__(self) -> None:
        self._replies: dict[str, str] = {}
        self._blocks: dict[int, list[str]] = {}
        self._resting = 0

    def take(self, call_ids: Sequence[str]) -> dict[str, str]:
        """Hand out those replies that are at hand."""
        replies = self._replies
        return {call_id: replies.pop(call_id) for call_id in call_ids if call_id in replies}

    def fill(self, read: Callable[[str, Sequence[object]], list[tuple[str, str]]], row: int, reply: str) -> None:
        """Read the block that holds `row`, where a call was found that was not at hand."""
        block = row // _BLOCK
        if self._resting or len(reply) > _LONG_REPLY:
            self._resting = max(0, self._resting - 1)
        elif block not in self._blocks:
            query = "SELECT call_id, reply FROM calls WHERE rowid >= ? AND rowid < ?"
            replies = dict(read(query, (block * _BLOCK, (block + 1) * _BLOCK)))
            self._replies.update(replies)
            self._blocks[block] = list(replies)
            if len(self._blocks) > _BLOCKS:
                self._drop_oldest()

    def _drop_oldest(self) -> None:
        call_ids = self._blocks.pop(next(iter(self._blocks)))
        unused = [call_id for call_id in call_ids if self._replies.pop(call_id, None) is not None]
        if len(unused) > len(call_ids) // 2:
            self._resting = _REST


_Pending = tuple[LoggedCall, asyncio.AbstractEventLoop, "asyncio.Future[str]"]


def _logged(row: tuple[Any, ...]) -> LoggedCall:
    facts = dict(zip(LoggedCall.__struct_fields__, row, strict=True))
    if isinstance(facts["request"], bytes):
        facts["request"] = zlib.decompress(facts["request"]).decode()
    return LoggedCall(**facts)


def _opened(path: Path) -> sqlite3.Connection:
    """Connect, and make the tables where there are none. SQLite gives up at once where another does so just now."""
    give_up = time.monotonic() + _OPENING_S
    while True:
        connection = None
        try:
            connection = _connect(path)
            connection.executescript(_SCHEMA)
            return connection
        except sqlite3.OperationalError as error:
            if connection is not None:
                connection.close()
            if "locked" not in str(error) or time.monotonic() > give_up:
                raise
            time.sleep(0.02)


def _writable(path: Path) -> bool:
    return os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)


def _opened_as_it_stands(path: Path) -> sqlite3.Connection:
    """Connect to a log beside which SQLite can't put the files that it otherwise needs even to read."""
    rest = path.with_name(f"{path.name}-wal")
    if rest.exists() and rest.stat().st_size:
        raise RunFolderError(
            f"can't read the call log {path}: its process was ended before all was in that file, and putting it there "
            "needs a folder that can be written; copy the run there"
        )
    return sqlite3.connect(f"{path.resolve().as_uri()}?immutable=1", uri=True, check_same_thread=False)


def _todo(path: Path, error: Exception) -> str:
    """What to do where SQLite could not do its work; empty where that is not known."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return "another program holds it, end that one"
    with suppress(OSError):  # SQLite has several names for a full disk
        if code == sqlite3.SQLITE_FULL or shutil.disk_usage(path.parent).free < _LEAST_ROOM:
            return "the disk is full, make room"
    return ""


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    return connection


def _commit(connection: sqlite3.Connection, group: list[_Pending]) -> dict[str, str]:
    """Write a group. Returns the replies that the log held already, by call id."""
    calls = [call for call, _, _ in group if call.reply]
    with connection:
        connection.execute("BEGIN IMMEDIATE")
        for call, _, _ in group:
            if not call.reply:
                _note(connection, call)
        before = connection.total_changes
        _insert(connection, [_row(call) for call in calls])
        if connection.total_changes - before == len(calls):
            return {}
        return _repeated(connection, calls)


def _repeated(connection: sqlite3.Connection, calls: list[LoggedCall]) -> dict[str, str]:
    """Note down what the calls cost that were in the log already, and find the replies there."""
    earlier = {}
    for call in calls:
        run, created_at, reply = connection.execute(
            "SELECT run, created_at, reply FROM calls WHERE call_id = ?", (call.call_id,)
        ).fetchone()
        if (run, created_at, reply) != (call.run, call.created_at, call.reply):
            earlier[call.call_id] = reply
            _note(connection, call)
    return earlier


def _note(connection: sqlite3.Connection, call: LoggedCall) -> None:
    """Note down what was paid for a call that is not kept."""
    paid = (call.call_id, call.run, call.created_at, call.prompt_tokens, call.completion_tokens, call.cost_usd)
    connection.execute("INSERT INTO repeats VALUES (?, ?, ?, ?, ?, ?)", paid)


def _unwritable(path: Path, error: Exception) -> RunFolderError:
    said = str(error) if isinstance(error, sqlite3.Error) else f"{type(error).__name__}: {error}"
    todo = _todo(path, error) or "mend that"
    return RunFolderError(
        f"can't write to the call log {path}: {said}. What was paid for before is kept; "
        f"{todo}, then run the same command again"
    )


def _insert(connection: sqlite3.Connection, rows: list[tuple[object, ...]]) -> None:
    place = "(?, ?, ?, ?, ?, ?, ?, ?, ?)"
    while rows:
        size = next(size for size in _ROWS_AT_ONCE if size <= len(rows))
        values = [value for row in rows[:size] for value in row]
        connection.execute(f"INSERT OR IGNORE INTO calls VALUES {', '.join([place] * size)}", values)
        rows = rows[size:]


def _row(call: LoggedCall) -> tuple[object, ...]:
    *facts, request = msgspec.structs.astuple(call)
    return (*facts, zlib.compress(request.encode(), 1) if len(request) >= _COMPRESSED_FROM else request)


def _settle(group: list[_Pending], earlier: dict[str, str], failure: RunFolderError | None) -> None:
    for call, _, saved in group:
        if saved.done():  # its waiter has gone away
            continue
        if failure is None:
            saved.set_result(earlier.get(call.call_id, call.reply))
        else:
            saved.set_exception(failure)
