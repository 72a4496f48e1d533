"""Rows of Parquet and Arrow files, and which files of a folder belong to a split."""

from __future__ import annotations

import glob
import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import msgspec

from triptych.errors import PromptError
from triptych.operators import BadRow
from triptych.prompts.columns import AsTheyStand, Picker
from triptych.prompts.row import Record

if TYPE_CHECKING:
    import polars as pl

_BATCH = 2000
_SHARD_NUMBER = re.compile(r"(?:^|[-_.])(?:\d{4,}.*|\d+)$")
_RECORD_BATCH = 3
_END_OF_STREAM = b"\xff\xff\xff\xff\0\0\0\0"


def table_records(shards: list[Path], picker: Picker | AsTheyStand, name: str) -> Iterator[Record | BadRow]:
    """Read shards one after another, 2,000 rows at a time; the row's number counts through all of them.

    Raises `PromptError` where a shard lacks a column, or can't be read from its beginning.
    """
    import polars as pl

    columns: list[list[str]] = []
    for shard in shards:
        try:
            there = _columns(shard)
        except (pl.exceptions.PolarsError, OSError, ValueError, struct.error) as error:
            raise PromptError(f"{_shown(shard, name)} can't be read: {_first_line(error)}") from error
        picker.check(there, _shown(shard, name))
        columns.append(picker.used(there))
    row = 0
    for shard, used in zip(shards, columns, strict=True):
        start = row
        try:
            for table in _tables(shard, used):
                for part in table.iter_slices(_BATCH):
                    for values in part.iter_rows(named=True):
                        row += 1
                        yield Record(row, values, from_table=True)
        except (pl.exceptions.PolarsError, OSError, ValueError, struct.error) as error:
            if row == start:
                raise PromptError(f"{_shown(shard, name)} can't be read: {_first_line(error)}") from error
            where = f"{_shown(shard, name)} can't be read from here ({_first_line(error)})"
            yield BadRow(row + 1, f"{where}; the rows before this one are kept", "")
            return


def count_rows(shards: list[Path]) -> int | None:
    """Count the rows that the files declare; None where they can't be read."""
    import polars as pl

    try:
        return sum(_height(shard) for shard in shards)
    except (pl.exceptions.PolarsError, OSError, ValueError, struct.error):
        return None


def find_shards(folder: Path, split: str | None, endings: tuple[str, ...], name: str) -> list[Path]:
    """Find the files of one split, in order: of a folder that `datasets` saved, or one that holds shards.

    Raises `PromptError` where there are none, or several splits and none is named.
    """
    if (folder / "dataset_dict.json").is_file() and ".arrow" in endings:
        splits = _read_json(folder / "dataset_dict.json").get("splits", [])
        chosen = _one_split({each: [] for each in splits}, split, name)
        return _saved_shards(folder / chosen, name)
    if (folder / "state.json").is_file() and ".arrow" in endings:
        own = _read_json(folder / "state.json").get("_split")
        if split is not None and split != own:
            raise PromptError(f"{name} has no split {split!r}; it is one data set{f', {own}' if own else ''}")
        return _saved_shards(folder, name)
    splits_found: dict[str, list[Path]] = {}
    for shard in sorted(path for path in folder.rglob("*") if path.suffix in endings and path.is_file()):
        inside = shard.relative_to(folder).parts
        if not any(part.startswith((".", "_")) for part in inside):
            splits_found.setdefault(_split_of(inside), []).append(shard)
    if not splits_found:
        raise PromptError(f"{name} is a folder that holds no {' or '.join(endings)} file")
    return splits_found[_one_split(splits_found, split, name)]


def _saved_shards(folder: Path, name: str) -> list[Path]:
    try:
        return [folder / file["filename"] for file in _read_json(folder / "state.json")["_data_files"]]
    except (KeyError, TypeError):
        raise PromptError(f"{name}: state.json does not list the data files") from None


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
    except (OSError, ValueError) as error:
        raise PromptError(f"{path} can't be read: {error}") from error


def _split_of(inside: tuple[str, ...]) -> str:
    """Name the split: train, for `train-00000-of-00002.parquet`, that in `data/`, or `train/0000.parquet`."""
    stem = _SHARD_NUMBER.sub("", inside[-1].rsplit(".", 1)[0])
    if len(inside) == 1 or (inside[:-1] == ("data",) and stem):
        return stem
    return "/".join(inside[:-1])


def _one_split(splits: dict[str, list[Path]], split: str | None, name: str) -> str:
    there = ", ".join(each or "(without a name)" for each in splits)
    if split is not None:
        if split in splits:
            return split
        raise PromptError(f"{name} has no split {split!r}; there are: {there}")
    if len(splits) == 1:
        return next(iter(splits))
    raise PromptError(f"{name} has several splits; name one with split: ({there})")


def _shown(shard: Path, name: str) -> str:
    return name if shard.name == Path(name).name else f"{name}, file {shard.name}"


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _lazy(shard: Path) -> pl.LazyFrame | None:
    """The file as a lazy table; None for an Arrow stream, which is what `datasets` writes."""
    import polars as pl

    if shard.suffix != ".arrow":
        return pl.scan_parquet(shard, glob=False)
    with shard.open("rb") as file:
        return pl.scan_ipc(glob.escape(str(shard))) if file.read(6) == b"ARROW1" else None


def _columns(shard: Path) -> list[str]:
    import polars as pl

    lazy = _lazy(shard)
    if lazy is not None:
        return lazy.collect_schema().names()
    with shard.open("rb") as file:
        _, _, schema = next(_messages(file))
    return pl.read_ipc_stream(schema + _END_OF_STREAM).columns


def _tables(shard: Path, columns: list[str]) -> Iterator[pl.DataFrame]:
    lazy = _lazy(shard)
    if lazy is None:
        yield from _stream_tables(shard, columns)
        return
    lazy, offset, height = lazy.select(columns), 0, _height(shard)
    while offset < height:
        table: pl.DataFrame = lazy.slice(offset, _BATCH).collect()
        yield table
        offset += _BATCH


def _stream_tables(shard: Path, columns: list[str]) -> Iterator[pl.DataFrame]:
    """Read an Arrow stream one record batch at a time: Polars by itself would read all of it."""
    import polars as pl

    with shard.open("rb") as file:
        before = b""
        for kind, _, message in _messages(file):
            if kind == _RECORD_BATCH:
                yield pl.read_ipc_stream(before + message + _END_OF_STREAM, columns=columns)
            else:  # the schema, or a dictionary that later batches refer to
                before += message


def _height(shard: Path) -> int:
    import polars as pl

    lazy = _lazy(shard)
    if lazy is not None:
        height: int = lazy.select(pl.len()).collect().item()
        return height
    with shard.open("rb") as file:
        return sum(rows for _, rows, _ in _messages(file, bodies=False))


def _messages(file: IO[bytes], *, bodies: bool = True) -> Iterator[tuple[int, int, bytes]]:
    """Split an Arrow stream into its messages: kind, number of rows, and bytes.

    The framing is that of https://arrow.apache.org/docs/format/Columnar.html#encapsulated-message-format, and
    the metadata a FlatBuffer. Raises `ValueError` or `struct.error` where the file is none, or is cut off.
    """
    while prefix := file.read(8):
        mark, length = struct.unpack("<II", prefix)
        if mark != 0xFFFFFFFF:
            raise ValueError("it is not an Arrow stream")
        if length == 0:
            return
        metadata = file.read(length)
        message = struct.unpack_from("<I", metadata)[0]
        kind_at, header_at, body_at = (_field(metadata, message, field) for field in (1, 2, 3))
        kind = metadata[kind_at] if kind_at else 0
        body_length = struct.unpack_from("<q", metadata, body_at)[0] if body_at else 0
        rows = 0
        if kind == _RECORD_BATCH:
            header = header_at + struct.unpack_from("<I", metadata, header_at)[0]
            rows_at = _field(metadata, header, 0)
            rows = struct.unpack_from("<q", metadata, rows_at)[0] if rows_at else 0
        if not bodies:
            file.seek(body_length, 1)
            yield kind, rows, b""
            continue
        body = file.read(body_length)
        if len(body) < body_length:
            raise ValueError("the file ends early")
        yield kind, rows, prefix + metadata + body


def _field(buffer: bytes, table: int, field: int) -> int:
    """Where a field of a FlatBuffer's table stands; 0 where it is left out."""
    fields = table - struct.unpack_from("<i", buffer, table)[0]
    place = 4 + 2 * field
    if place >= struct.unpack_from("<H", buffer, fields)[0]:
        return 0
    offset: int = struct.unpack_from("<H", buffer, fields + place)[0]
    return table + offset if offset else 0
