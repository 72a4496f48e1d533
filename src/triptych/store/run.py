"""A run on disk: a folder with its recipe, its call log and its four tables."""

from __future__ import annotations

import os
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from triptych.errors import RunFolderError
from triptych.records import Objective
from triptych.store.call_log import CallLog

if TYPE_CHECKING:
    import polars as pl
    from filelock import BaseFileLock

MANIFEST = "run.json"
RECIPE = "recipe.yaml"
CALLS = "calls.sqlite"
SET_ASIDE = "set_aside.jsonl"
UNMADE = "unmade.jsonl"


class Manifest(msgspec.Struct, kw_only=True):
    """What a run folder says of itself in `run.json`."""

    run: str
    """The folder's own id: whose spending is whose in a shared call log."""
    recipe: str
    """The recipe's name."""
    recipe_id: str
    """Hash of all that the recipe says, apart from its description and its budget."""
    status: str = "running"
    """`running` (or killed), `finished`, `imported`, or `stopped: ` and why."""
    calls: str = CALLS
    """Where the call log is: in the folder, or a shared file's absolute path; empty for imported data, which has none."""
    prompts: int = 0
    """Prompts in the tables."""
    set_aside: int = 0
    """Rows that could not be prompts; they are in `set_aside.jsonl` with the reasons."""
    rows: int = 0
    """Rows read of imported data,"""
    repeated: int = 0
    """of which so many were set aside since they repeat an earlier one."""
    unmade: int = 0
    """Prompts that were to be made of others and did not come about; they are in `unmade.jsonl` with the reasons."""
    counts: dict[str, dict[str, Any]] = {}
    """Calls of each stage in the last sitting, and what became of them."""
    spent: dict[str, float] = {}
    """Calls, tokens and US dollars over all sittings."""
    seconds: float = 0.0
    """How long the last sitting took."""
    addresses: dict[str, str] = {}
    """Where each model was."""
    imported: str = ""
    """The file that the tables were imported from, and as which format; empty for a run."""
    verdicts_of: str = ""
    """The run folder whose verdicts the examples were made of anew; empty for a run that calls were made for."""
    repairs: tuple[str, ...] = ()
    """The repairs that its examples went through, in their order; `repair.json` tells what each changed."""
    version: str = ""
    """The Triptych that wrote the folder."""


class _WrittenRecipe(msgspec.Struct):
    """The form that a written recipe has in all versions, as far as anything is read of it."""

    description: str | None = None
    seed: int | None = None
    models: dict[str, dict[str, Any]] | None = None
    objective: dict[str, Any] | None = None
    evaluation: list[dict[str, Any]] | dict[str, Any] | None = None
    instantiation: list[dict[str, Any]] | dict[str, Any] | None = None


class Run:
    """A run folder, open for reading. The tables are lazy Polars frames."""

    def __init__(self, path: Path, manifest: Manifest, called: str | None = None) -> None:
        self.path = path
        self.manifest = manifest
        self.called: str = str(path) if called is None else called
        """What its user calls it: the folder, or the file that was imported into a folder for a while."""

    @property
    def origin(self) -> str:
        """Where it is, whole: the folder, or that file."""
        return self.called if self.called == "-" else str(Path(self.called).resolve())

    def table(self, name: str) -> pl.LazyFrame:
        """Read one of `prompts`, `responses`, `judgements`, `examples`."""
        import polars as pl

        file = self.path / f"{name}.parquet"
        if not file.exists() or not has_tables(self.path):
            todo = "import the file again" if self.manifest.imported else "run its recipe again"
            raise RunFolderError(f"{self.path} has no table of {name} yet; {todo} to complete it")
        try:
            pl.read_parquet_schema(file)
        except (OSError, pl.exceptions.PolarsError) as error:
            raise RunFolderError(f"{file} is damaged ({error}); run its recipe again to make it anew") from error
        return pl.scan_parquet(file)

    def prompts(self) -> pl.LazyFrame:
        """The prompts, in the order of their source."""
        return self.table("prompts")

    def responses(self) -> pl.LazyFrame:
        """The responses, in the order of their prompts."""
        return self.table("responses")

    def judgements(self) -> pl.LazyFrame:
        """The judgements, in the order of their prompts."""
        return self.table("judgements")

    def examples(self) -> pl.LazyFrame:
        """The training examples, in the order of their prompts."""
        return self.table("examples")

    @property
    def calls_path(self) -> Path:
        """The call log's file, which imported data does not have."""
        return self.path / (self.manifest.calls or CALLS)

    def calls(self) -> CallLog:
        """Open the run's call log to read it; close it after use. Raises `RunFolderError` where it is gone."""
        if self.manifest.imported:
            raise RunFolderError(f"{self.path} holds imported data, for which no call was made")
        if not self.calls_path.exists():
            raise RunFolderError(f"the call log {self.calls_path} is not there")
        return CallLog(self.calls_path, only_read=True)

    def recipe_text(self) -> str:
        """The recipe that was last run here, as YAML. Raises `RunFolderError` where it can't be read."""
        try:
            return (self.path / RECIPE).read_text(encoding="utf-8")
        except OSError as error:
            raise self._no_recipe(error.strerror or str(error)) from error
        except UnicodeDecodeError as error:
            raise self._no_recipe("it is not UTF-8 text") from error

    def recipe(self) -> dict[str, Any]:
        """The recipe that was last run here, as it was written, perhaps by another version of Triptych.

        Raises `RunFolderError` where it can't be read or is no recipe.
        """
        import yaml

        text = self.recipe_text()
        try:
            written: dict[str, Any] = yaml.safe_load(text)
            msgspec.convert(written, _WrittenRecipe)
            return written
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            raise self._no_recipe(" ".join(str(error).split())) from error

    def objective(self) -> Objective:
        """The objective of that recipe. Raises `RunFolderError` as `recipe` does."""
        written = self.recipe()
        try:
            return Objective.model_validate(written.get("objective") or {})
        except ValueError as error:
            raise self._no_recipe("its objective is not of a form that this Triptych knows") from error

    def _no_recipe(self, reason: str) -> RunFolderError:
        todo = "import the file again" if self.manifest.imported else "run its recipe again"
        return RunFolderError(f"{self.path / RECIPE} can't be read: {reason}; {todo} to have it back")


def open_run(path: str | Path) -> Run:
    """Open a run folder for reading; of a loop's folder, the last round. Raises `RunFolderError` where it is none."""
    path = _last_round(Path(path))
    manifest = read_manifest(path)
    if manifest is None:
        raise RunFolderError(
            f"{path} is not a run folder (it has no {MANIFEST}); `triptych run RECIPE --out {path}` makes one"
        )
    return Run(path, manifest)


def _last_round(path: Path) -> Path:
    """The last round that a loop has begun in a folder; the folder itself where there are no rounds."""
    rounds = {int(name): folder for folder in path.glob("round-*") if (name := folder.name[6:]).isdecimal()}
    return rounds[max(rounds)] if rounds and not (path / MANIFEST).exists() else path


def read_manifest(folder: Path) -> Manifest | None:
    """Read a folder's manifest, if it has one."""
    file = folder / MANIFEST
    if not file.exists():
        return None
    try:
        return msgspec.json.decode(file.read_bytes(), type=Manifest)
    except (OSError, msgspec.DecodeError) as error:
        raise RunFolderError(f"{file} can't be read: {error}") from error


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write a folder's manifest at once, so that a reader never sees half of it."""
    write_whole(folder / MANIFEST, msgspec.json.format(msgspec.json.encode(manifest), indent=2))


def has_tables(folder: Path) -> bool:
    """Whether an earlier sitting left its tables in the folder."""
    return (folder / "prompts.parquet").exists()


def place_tables(parts: Path, folder: Path) -> None:
    """Give new tables their names in the folder, in place of those that it has.

    By its table of prompts a folder is known to have tables, so that one goes first and comes last: a process that is
    killed in between leaves a folder without tables, never old and new ones together.
    """
    (folder / "prompts.parquet").unlink(missing_ok=True)
    for name in ("responses", "judgements", "examples", "prompts"):
        os.replace(parts / f"{name}.parquet", folder / f"{name}.parquet")


def check_writable(*files: str | Path | None) -> None:
    """Raise `RunFolderError` where a file can't be written, before what is to be written there is worked for."""
    for file in (Path(each) for each in files if each is not None):
        new = file.with_name(f".{file.name}.new")
        try:
            new.touch()
            new.unlink()
        except OSError as error:
            raise RunFolderError(f"can't write {file}: {error.strerror or error}") from error


def write_whole(file: Path, content: bytes) -> None:
    """Write a file under another name, then give it its own."""
    new = file.with_name(f".{file.name}.new")
    try:
        new.write_bytes(content)
        os.replace(new, file)
    except OSError as error:
        raise RunFolderError(f"can't write {file}: {error.strerror or error}") from error


def claim(folder: Path, *, recipe: str, recipe_id: str, imported: str = "") -> tuple[Manifest, BaseFileLock]:
    """Take a folder for a run of the recipe, alone; or for what is imported from somewhere.

    Raises `RunFolderError` where it can't be written, another process is at work in it, or it is another recipe's.
    """
    from filelock import FileLock, Timeout

    try:
        if folder.is_dir():  # a folder that is refused is left as it is
            _manifest_for(folder, recipe, recipe_id, imported)
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / ".lock")
        lock.acquire(timeout=0)
    except Timeout as error:
        raise RunFolderError(f"another process is running in {folder}; wait for it, or choose another --out") from error
    except OSError as error:
        raise RunFolderError(f"can't write to {folder}: {error.strerror or error}") from error
    try:
        return _manifest_for(folder, recipe, recipe_id, imported), lock
    except BaseException:
        lock.release()
        raise


def _manifest_for(folder: Path, recipe: str, recipe_id: str, imported: str) -> Manifest:
    manifest = read_manifest(folder)
    if manifest is None:
        # Of a run that was killed before its manifest was written.
        ours = {".lock", CALLS, f"{CALLS}-wal", f"{CALLS}-shm", f".{MANIFEST}.new"}
        strangers = [entry.name for entry in folder.iterdir() if entry.name not in ours]
        if strangers:
            raise RunFolderError(f"{folder} holds something else ({sorted(strangers)[0]}); choose another --out")
        return Manifest(run=uuid.uuid4().hex, recipe=recipe, recipe_id=recipe_id, imported=imported)
    if manifest.imported != imported:
        holds = f"data imported from {manifest.imported}" if manifest.imported else "a run"
        raise RunFolderError(f"{folder} holds {holds}; choose another --out")
    if manifest.recipe != recipe:
        raise RunFolderError(
            f"{folder} holds a run of the recipe {manifest.recipe!r}, not {recipe!r}; choose another --out"
        )
    return manifest
