"""Rows of JSONL, JSON and CSV files, plain or compressed with gzip."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import re
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import msgspec

from triptych.errors import PromptError
from triptych.operators import BadRow
from triptych.prompts.row import Record, cut

LONGEST_ROW = 64 * 2**20
"""In bytes. Longer rows are bad, and are skipped without being held in memory."""

_BUFFER = 2**20
_COUNTED = 32 * 2**20
_BROKEN = (EOFError, OSError, zlib.error)
_UTF8_MARK, _UTF16_MARKS = b"\xef\xbb\xbf", (b"\xff\xfe", b"\xfe\xff")

Lines = Iterator[tuple[int, bytes] | BadRow]


@contextmanager
def open_bytes(path: Path) -> Iterator[IO[bytes]]:
    """Open a file for reading. Compression with gzip is known by the first bytes, whatever the name."""
    with io.BufferedReader(io.FileIO(path), _BUFFER) as file:
        yield _unpacked(file)


def _unpacked(file: io.BufferedReader[io.FileIO]) -> IO[bytes]:
    if file.peek(2)[:2] != b"\x1f\x8b":
        return file
    return io.BufferedReader(_Unpacked(file), _BUFFER)


class _Unpacked(io.RawIOBase):
    """The content of a gzip file; up to where the file is broken, all of it is given."""

    def __init__(self, file: IO[bytes]) -> None:
        self._content = gzip.GzipFile(fileobj=file)

    def readable(self) -> bool:
        """Say that it can be read."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read some of the content."""
        read = self._content.read1(len(buffer))
        buffer[: len(read)] = read
        return len(read)


def jsonl_records(stream: IO[bytes], name: str) -> Iterator[Record | BadRow]:
    """Read one object a line. Blank lines are skipped; the row's number is its line's."""
    decode = msgspec.json.Decoder().decode
    for line in _lines(stream, name):
        if isinstance(line, BadRow):
            yield line
            continue
        number, raw = line
        if raw.isspace():
            continue
        yield _object(number, raw, decode)


def json_records(stream: IO[bytes], name: str) -> Iterator[Record | BadRow]:
    """Read a list of objects, into memory whole; the row's number is its place in the list, from 1.

    Many files named `.json` are JSONL; they are read as such. Raises `PromptError` where the file is neither.
    """
    content = _whole(stream, name)
    if content.lstrip()[:1] == b"{" and _is_object(content.lstrip().split(b"\n", 1)[0]):
        yield from jsonl_records(io.BytesIO(content), name)
        return
    decode = msgspec.json.Decoder().decode
    for number, raw in enumerate(_items(content, name), 1):
        if len(memoryview(raw)) > LONGEST_ROW:
            yield _too_long(number, bytes(memoryview(raw)[:_BUFFER]))
        else:
            yield _object(number, bytes(raw), decode)


def csv_records(
    stream: IO[bytes], name: str, delimiter: str, check: Callable[[list[str]], None]
) -> Iterator[Record | BadRow]:
    """Read CSV with a header. The row's number is the line it starts on; quoted cells may span lines.

    `check` is told the header's columns before the first row.
    """
    csv.field_size_limit(max(csv.field_size_limit(), LONGEST_ROW))
    lines = _CsvLines(_lines(stream, name))
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    header: list[str] | None = None
    while True:
        lines.begin()
        trouble: str | None = None
        try:
            cells = next(reader)
        except StopIteration:
            yield from lines.aside
            return
        except csv.Error as error:
            trouble, cells = f"is not valid CSV: {error}", []
        start = lines.read[0][0] if lines.read else 0
        yield from lines.aside
        if any(bad.row > start for bad in lines.aside):
            trouble = f"a line inside it is longer than {_size(LONGEST_ROW)}"
        trouble = lines.trouble or trouble
        if header is None:
            if trouble:
                raise PromptError(f"{name}: the header, on line {start}, {trouble}")
            if cells:
                check(cells)
                header = cells
            continue
        if not cells and not trouble:
            continue
        raw = b"".join(line for _, line in lines.read)
        if not trouble and len(cells) != len(header):
            trouble = f"has {len(cells)} cells, and the header has {len(header)}"
        if trouble:
            yield BadRow(start, trouble, cut(raw))
        else:
            yield Record(start, dict(zip(header, cells, strict=True)), raw)


def count_lines(path: Path) -> int:
    """Count a file's lines; beyond the first 32 MB, by their mean length there."""
    lines, characters, last = 0, 0, b"\n"
    size = max(os.path.getsize(path), 1)
    with io.BufferedReader(io.FileIO(path), _BUFFER) as file:
        stream = _unpacked(file)
        try:
            while chunk := stream.read(_BUFFER):
                lines, characters, last = lines + chunk.count(b"\n"), characters + len(chunk), chunk[-1:]
                if characters >= _COUNTED:
                    return round(lines * max(size / file.tell(), 1))
        except _BROKEN:
            last = b"\n"
    return lines + (last != b"\n")


def count_json(stream: IO[bytes], name: str) -> int:
    """Count the rows of a JSON file."""
    content = _whole(stream, name)
    if content.lstrip()[:1] == b"{":
        return content.rstrip().count(b"\n") + 1
    return len(_items(content, name))


def _lines(stream: IO[bytes], name: str) -> Lines:
    """Read lines with their numbers, from 1. One that is too long, or where a broken file ends, is a bad row.

    Raises `PromptError` where not even the first line can be read.
    """
    number = 0
    while True:
        number += 1
        try:
            line = stream.readline(LONGEST_ROW + 1)
            too_long = len(line) > LONGEST_ROW
            if too_long:
                line = _skip_line(stream, line)
        except _BROKEN as error:
            if number == 1:
                raise PromptError(f"{name} can't be read: {_why_broken(error)}") from error
            yield BadRow(number, f"{_why_broken(error)}; the rows before this one are kept", "")
            return
        if number == 1:
            line = _without_mark(line, name)
        if too_long:
            yield _too_long(number, line)
        elif line:
            yield number, line
        else:
            return


def _skip_line(stream: IO[bytes], line: bytes) -> bytes:
    """Go past the rest of a line that is too long; its beginning is kept to be shown."""
    beginning, ended = line[:_BUFFER], line.endswith(b"\n")
    del line
    while not ended:
        more = stream.readline(_BUFFER)
        ended = not more or more.endswith(b"\n")
    return beginning


def _without_mark(text: bytes, name: str) -> bytes:
    if text.startswith(_UTF16_MARKS):
        raise PromptError(f"{name} is UTF-16 text; save it as UTF-8")
    return text.removeprefix(_UTF8_MARK)


def _why_broken(error: BaseException) -> str:
    if isinstance(error, EOFError):
        return "the file ends early: its compressed data are cut off here"
    if isinstance(error, zlib.error | gzip.BadGzipFile):
        return f"the file's compressed data are damaged here ({error})"
    return f"the file can't be read from here ({error})"


def _too_long(number: int, beginning: bytes) -> BadRow:
    return BadRow(number, f"is longer than {_size(LONGEST_ROW)}", cut(beginning))


def _size(length: int) -> str:
    return f"{length / 2**20:g} MB"


def _object(number: int, raw: bytes, decode: Callable[[bytes], Any]) -> Record | BadRow:
    try:
        values = decode(raw)
    except UnicodeDecodeError:
        return BadRow(number, _why_not_utf8(raw), cut(raw))
    except msgspec.ValidationError:  # any JSON is taken, but of numbers those that fit
        return BadRow(number, "holds a number that is too large", cut(raw))
    except (ValueError, RecursionError) as error:
        surrogate = _lone_surrogate(raw)
        if surrogate:
            return BadRow(number, f"holds a lone surrogate {surrogate}, which is no text", cut(raw))
        return BadRow(number, f"is not valid JSON: {_why_not_json(error, raw)}", cut(raw))
    if not isinstance(values, dict):
        return BadRow(number, f"is {_json_kind(values)}, not an object", cut(raw))
    return Record(number, values, raw)


def _why_not_utf8(raw: bytes) -> str:
    try:
        raw.decode()
    except UnicodeDecodeError as error:
        return f"is not valid UTF-8: byte 0x{raw[error.start]:02x} at position {error.start + 1}"
    return "is not valid UTF-8"


def _lone_surrogate(raw: bytes) -> str | None:
    """The first half of a surrogate pair that stands alone in JSON, if nothing else is wrong with it."""
    try:
        json.dumps(json.loads(raw), ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        return f"\\u{ord(error.object[error.start]):04x}"
    except (ValueError, RecursionError):
        pass
    return None


def _why_not_json(error: Exception, content: bytes) -> str:
    """Say what is wrong with JSON and in which column (and line, if there are several), from 1."""
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    said, end = str(error).removeprefix("JSON is malformed: "), len(content.rstrip())
    found = re.search(r" \(byte (\d+)\)$", said)
    offset = min(int(found[1]), end) if found else end
    said = "it ends early" if offset == end else said[: found.start() if found else None]
    before = content[:offset]
    line = before.count(b"\n") + 1
    column = len(before[before.rfind(b"\n") + 1 :].decode("utf-8", "replace")) + 1
    place = f"line {line}, column {column}" if line > 1 else f"column {column}"
    return f"{said}, at {place}"


def _json_kind(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case str():
            return "text"
        case list():
            return "a list"
    return "a number"


def _whole(stream: IO[bytes], name: str) -> bytes:
    try:
        return _without_mark(stream.read(), name)
    except _BROKEN as error:
        raise PromptError(f"{name} can't be read: {_why_broken(error)}") from error


def _is_object(line: bytes) -> bool:
    try:
        msgspec.json.decode(line, type=dict[str, msgspec.Raw])
        return True
    except (ValueError, RecursionError):
        return False


def _items(content: bytes, name: str) -> list[msgspec.Raw]:
    if not content or content.isspace():
        return []
    try:
        return msgspec.json.decode(content, type=list[msgspec.Raw])
    except msgspec.ValidationError:
        said = f"{name} is not a list of objects; for one object a line, set format: jsonl"
        raise PromptError(said) from None
    except (ValueError, RecursionError) as error:
        raise PromptError(f"{name} is not valid JSON: {_why_not_json(error, content)}") from None


class _CsvLines:
    """Feeds lines to the `csv` module and remembers what it took for the current row."""

    def __init__(self, lines: Lines) -> None:
        self._lines = lines
        self.begin()

    def begin(self) -> None:
        """A new row starts."""
        self.read: list[tuple[int, bytes]] = []
        self.aside: list[BadRow] = []
        self.trouble: str | None = None

    def __iter__(self) -> _CsvLines:
        return self

    def __next__(self) -> str:
        for line in self._lines:
            if isinstance(line, BadRow):
                self.aside.append(line)
                continue
            self.read.append(line)
            try:
                return line[1].decode()
            except UnicodeDecodeError:
                self.trouble = _why_not_utf8(line[1])
                return line[1].decode("utf-8", "replace")
        raise StopIteration
