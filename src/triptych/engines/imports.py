"""Importing data that others have made: rows become the tables of a run folder. Makes no call."""

from __future__ import annotations

import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import chain
from pathlib import Path
from typing import BinaryIO

import msgspec

import triptych
from triptych.engines.instantiate import examples_of_block
from triptych.engines.tables import within_and_across
from triptych.errors import PromptError, RunFolderError
from triptych.imports.formats import find_format, guess
from triptych.imports.item import MARGIN, PREFERENCE, Format, Gives, Item, Read, Setting, criterion
from triptych.imports.records import RecordMaker, Records
from triptych.operators import REPEATS, BadRow
from triptych.prompts.file import Format as FileFormat
from triptych.prompts.file import PromptFile
from triptych.prompts.row import Record, as_bad_row
from triptych.recipes.load import build_recipe
from triptych.recipes.recipe import Recipe
from triptych.recipes.write import recipe_file
from triptych.store.gather import GatheringWriter
from triptych.store.run import (
    MANIFEST,
    RECIPE,
    SET_ASIDE,
    Manifest,
    Run,
    claim,
    read_manifest,
    write_manifest,
    write_whole,
)

_GUESSED_BY = 100
_MOST_LOOKED_AT = 64 * 2**20
"""Of rows by which the format is guessed, in bytes."""
_TELL_EVERY_S = 0.2
_WRONG_WITH_A_ROW = (TypeError, OverflowError, RecursionError)


class ImportProgress(msgspec.Struct):
    """Where an import stands; one value, brought up to date as it goes on."""

    total: int | None
    """Rows in all, about, where the source can tell."""
    rows: int = 0
    """Rows read."""
    set_aside: int = 0
    prompts: int = 0
    """Prompts whose examples are made, once all rows are read."""


def import_data(
    path: str | Path,
    as_: str | None = None,
    *,
    out: str | Path,
    split: str | None = None,
    file_format: FileFormat | None = None,
    scale: tuple[float, float] | None = None,
    verdicts: str | Path | None = None,
    progress: Callable[[ImportProgress], None] | None = None,
) -> Run:
    """Import preference data into the run folder `out`: its prompts, responses, verdicts and examples.

    `as_` names the format (see `triptych.imports.formats`); if not given, it is guessed from the first 100 rows. `path` is
    a file or folder as `PromptFile` reads them, `file_format` and `split` are its `format` and `split`. `scale` is that of
    given scores where the format does not fix it: without it they are kept, but count for nothing. `verdicts` is a second
    file, for formats that keep verdicts apart.

    Rows of one prompt become one prompt with all its responses, wherever they stand. A row that can't be read, or that
    repeats an earlier one, is set aside with its number and the reason. Memory does not grow with the length of rows; ids
    take about 220 MB for each million rows.

    Raises `PromptError` where the file can't be read, where no format fits, or no row of it can be used, and
    `RunFolderError` where `out` can't be written or holds anything but an import of the same file.
    """
    source = PromptFile(path=str(path), format=file_format, split=split)
    place = Path(source.path).expanduser()
    records = _without_filling(source.records(Path()))
    ahead = _some(records, _GUESSED_BY if as_ is None else 1)
    form = find_format(as_) if as_ is not None else _guessed(ahead, source.path)
    read = form.reader(Setting(place, scale, None if verdicts is None else Path(verdicts)))
    told = "standard input" if source.path == "-" else str(place.resolve())
    name = _recipe_name(place)
    out = Path(out)
    progress_ = ImportProgress(None if progress is None else _count(source))
    with _claimed(out, name, f"{told} as {form.name}") as manifest:
        started = time.monotonic()
        work = _Import(form, read, "stdin" if source.path == "-" else place.name, out, progress_, progress)
        try:
            work.read_all(chain(ahead, records))
            recipe = _recipe(name, form, work.seen, source)
            work.finish(recipe)
        except BaseException:
            work.give_up()
            raise
        manifest.recipe_id, manifest.version = recipe.id, triptych.__version__
        manifest.status, manifest.calls = "imported", ""
        manifest.prompts, manifest.set_aside = work.prompts, work.progress.set_aside
        manifest.rows, manifest.repeated = work.progress.rows, work.repeated
        manifest.seconds = round(time.monotonic() - started, 3)
        write_whole(out / RECIPE, recipe_file(recipe, Path.cwd()))
        write_manifest(out, manifest)
    return Run(out, manifest)


@contextmanager
def _claimed(out: Path, name: str, imported: str) -> Iterator[Manifest]:
    """A folder for an import, alone. It is marked as such at once, so that one that was killed can be begun again; what
    an import ended by an error leaves is what was there before."""
    before = read_manifest(out) if out.exists() else None
    manifest, lock = claim(out, recipe=name, recipe_id="", imported=imported)
    try:
        write_manifest(out, manifest)
        try:
            yield manifest
        except BaseException:
            if before is None:
                (out / MANIFEST).unlink()
            else:
                write_manifest(out, before)
            raise
    except OSError as error:
        raise RunFolderError(f"can't write to {out}: {error.strerror or error}") from error
    finally:
        lock.release()


@contextmanager
def imported_run(path: str | Path, as_: str | None = None, **options: object) -> Iterator[Run]:
    """A run folder of imported data that lasts as long as it is needed, for going on to an export."""
    folder = Path(tempfile.mkdtemp(prefix="triptych-"))
    try:
        run = import_data(path, as_, out=folder / "run", **options)  # type: ignore[arg-type]
        yield Run(run.path, run.manifest, str(path))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class _Seen:
    """What the rows hold, as far as the recipe of the folder must know it."""

    def __init__(self) -> None:
        self.gives: dict[Gives, int] = {}
        self.criteria: dict[str, None] = {}

    def note(self, item: Item) -> None:
        self.gives[item.gives] = self.gives.get(item.gives, 0) + 1
        for said in item.verdicts:
            self.criteria.setdefault(said.criterion)


class _Import:
    """One import at work."""

    def __init__(
        self,
        form: Format,
        read: Read,
        source: str,
        out: Path,
        progress: ImportProgress,
        tell: Callable[[ImportProgress], None] | None,
    ) -> None:
        self.seen = _Seen()
        self.progress = progress
        self._form = form
        self._read = read
        self._made = RecordMaker(form, source)
        self._writer = GatheringWriter(out)
        self._aside = out / SET_ASIDE
        self._new = out / f".{SET_ASIDE}.new"
        self._tell = tell
        self._told = 0.0
        # The hash of what a row says -> its number: about 110 MB for each million rows, whatever their length.
        self._first_rows: dict[int, int] = {}
        self._first_bad: BadRow | None = None
        self.repeated = 0

    @property
    def prompts(self) -> int:
        return self._writer.prompts

    def read_all(self, records: Iterator[Record | BadRow]) -> None:
        """Read all rows. Raises `PromptError` where none can be used."""
        with self._new.open("wb") as aside:
            for record in records:
                found = record if isinstance(record, BadRow) else self._understood(record)
                if isinstance(found, BadRow):
                    self._set_aside(found, aside)
                else:
                    self._writer.add(*found)
                self.progress.rows += 1
                self._now_and_then()
        if self._writer.prompts == 0:
            assert self._first_bad is not None  # a source without any row has raised by itself
            bad = self._first_bad
            raise PromptError(
                f"none of the {self.progress.rows:,} rows can be read as {self._form.name}; row {bad.row}: {bad.reason}"
            )
        self._new.replace(self._aside)

    def finish(self, recipe: Recipe) -> None:
        """Put the rows in order and make the examples."""
        within, _ = within_and_across(recipe)
        self._writer.finish(lambda block: examples_of_block(block, within, recipe), self._done)

    def give_up(self) -> None:
        """Leave nothing behind that looks like an import."""
        self._writer.give_up()
        self._new.unlink(missing_ok=True)

    def _understood(self, record: Record) -> Records | BadRow:
        try:
            item = self._read(record.values)
            made = self._made(item)
        except ValueError as error:
            return as_bad_row(record, str(error))
        except _WRONG_WITH_A_ROW as error:
            return as_bad_row(record, f"is not of the form that {self._form.name} has: {error}")
        prompt, responses, judgements = made
        says = hash((prompt.id, *(one.id for one in responses), *(one.id for one in judgements)))
        first = self._first_rows.setdefault(says, record.row)
        if first != record.row:
            self.repeated += 1
            return as_bad_row(record, f"{REPEATS}{first}")
        self.seen.note(item)
        return made

    def _set_aside(self, bad: BadRow, aside: BinaryIO) -> None:
        self._first_bad = self._first_bad or bad
        self.progress.set_aside += 1
        aside.write(msgspec.json.encode(bad) + b"\n")

    def _done(self, prompts: int) -> None:
        self.progress.prompts = prompts
        if self._tell is not None:
            self._tell(self.progress)

    def _now_and_then(self) -> None:
        if self._tell is not None and self.progress.rows % 256 == 0 and time.monotonic() - self._told > _TELL_EVERY_S:
            self._told = time.monotonic()
            self._tell(self.progress)


def _without_filling(records: Iterator[Record | BadRow]) -> Iterator[Record | BadRow]:
    """Rows of tables without the columns that are null in them, which rows of another kind may have."""
    for record in records:
        if isinstance(record, Record) and record.from_table:
            there = {name: value for name, value in record.values.items() if value is not None}
            record = Record(record.row, there, from_table=True)
        yield record


def _some(records: Iterator[Record | BadRow], wanted: int) -> list[Record | BadRow]:
    """The first rows: so many that could be read, if they are not very long or very many."""
    found: list[Record | BadRow] = []
    good = size = 0
    for record in records:
        found.append(record)
        if isinstance(record, Record):
            good, size = good + 1, size + len(record.raw or b"")
        if good >= wanted or size > _MOST_LOOKED_AT or len(found) == 10 * _GUESSED_BY:
            break
    return found


def _guessed(ahead: list[Record | BadRow], file: str) -> Format:
    rows = [record.values for record in ahead if isinstance(record, Record)]
    if not rows:
        bad = next(record for record in ahead if isinstance(record, BadRow))
        raise PromptError(f"{file}: no row can be read; row {bad.row}: {bad.reason}")
    return guess(rows, file)


def _count(source: PromptFile) -> int | None:
    with suppress(PromptError):
        return source.count(Path())
    return None


def _recipe_name(path: Path) -> str:
    """A recipe's name made of a file's."""
    plain = re.sub(r"(\.(jsonl?|ndjson|csv|tsv|parquet|arrow))?(\.gz)?$", "", path.name.lower())
    return re.sub(r"[^A-Za-z0-9._-]+", "-", plain).strip("-._")[:80] or "imported"


def _recipe(name: str, form: Format, seen: _Seen, source: PromptFile) -> Recipe:
    """The recipe of an import: it says where the data is from, what its criteria mean, and how examples are made of it."""
    criteria = {}
    for each in seen.criteria:
        meant = criterion(form, each)
        criteria[each] = {"text": meant.text} | ({} if meant.weight == 1 else {"weight": meant.weight})
    prompts = {"kind": "imported", "path": source.path, "format": form.name}
    prompts |= {"split": source.split} if source.split else {}
    prompts |= {"file_format": source.format} if source.format else {}
    content = {
        "name": name,
        "description": f"Imported from {Path(source.path).name} as {form.name}: {form.about}.",
        "prompts": prompts,
        "synthesis": {"kind": "given"},
        "objective": {"criteria": criteria},
        "instantiation": list(_instantiations(form, seen)),
    }
    return build_recipe(content, name)


def _instantiations(form: Format, seen: _Seen) -> Iterator[dict[str, object]]:
    """What becomes of the rows, by what they hold: pairs as they are, others as the field makes them."""
    if "pairs" in seen.gives:
        margins = {"margins": MARGIN} if MARGIN in seen.criteria else {}
        yield {
            "kind": "compared_pairs",
            "criteria": [PREFERENCE],
            "evaluators": [form.name],
            "contradictions": "keep",
            **margins,
        }
    elif "ratings" in seen.gives:
        yield {"kind": "pairs", "choose": "best_vs_worst", "evaluators": [form.name]}
    if "labels" in seen.gives:
        yield {"kind": "unpaired", "criteria": ["label"]}
    if "steps" in seen.gives:
        yield {"kind": "stepwise", "criteria": ["step"]}
    if "demonstrations" in seen.gives:
        yield {"kind": "sft", "criteria": ["demonstration"], "keep": None}
