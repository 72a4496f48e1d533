"""Writing a run for a trainer: the files of each kind of examples, the card, and what is said of them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from triptych.errors import TriptychError
from triptych.export.card import card, tallies
from triptych.export.files import Written, write
from triptych.export.format import TIE, Format
from triptych.export.rows import Facts, facts, rarities
from triptych.export.split import held_out
from triptych.export.target import Part, Target
from triptych.export.trainer import trainer_settings
from triptych.store.replay import replayed
from triptych.store.run import Run


class ExportResult(msgspec.Struct, frozen=True):
    """What an export wrote."""

    path: Path
    """The folder."""
    rows: int
    files: tuple[Path, ...]
    ties: int = 0
    """Pairs left out since they are ties: this format has no way to say that neither response is better."""
    kinds: dict[str, int] = {}
    """The rows of each kind of examples that was written."""
    lost: tuple[str, ...] = ()
    """What of the examples these files don't hold, or the trainer does not read, in a sentence each."""
    nouns: dict[str, str] = {}
    """What a row of each kind is called."""
    tests: int = 0
    """How many of the rows are held out, in files named `test`."""
    title: str = ""
    """What the trainer calls itself."""
    pushed: str = ""
    """Where it was uploaded to."""

    def named(self) -> str:
        """How many rows of which kind, in words."""
        each = [(rows, self.nouns[kind]) for kind, rows in self.kinds.items()]
        return ", ".join(f"{rows:,} {noun}{'' if rows == 1 else 's'}" for rows, noun in each)


def export_to(
    run: Run,
    target: Target,
    out: Path,
    *,
    kinds: Sequence[str] | None = None,
    split: float | None = None,
    endings: Sequence[str] | None = None,
) -> ExportResult:
    """Write a run's examples as the target's files, with the card `README.md` and the target's configuration.

    Of a run with examples of several kinds, each kind has a folder of its name, which `datasets` knows as a
    configuration; `kinds` takes only some. `split` is the share of prompt families, more than 0 and less than 1, that
    goes into files named `test` (see `triptych.export.split.held_out`); the seed is the recipe's. `endings` takes only
    some of the target's files. What columns there are the card says; messages have a role and a content; tool calls in
    OpenAI's form, call ids and names only where any message of the run has them. Where examples of earlier rounds are
    replayed, `run` names the folder of each row's run.

    Works through a few thousand rows at a time. The files get their names when they are whole. Raises
    `TriptychError` where there is no row of these kinds, or none that the format can hold, or no room.
    """
    if wrong := [kind for kind in kinds or () if kind not in target.formats]:
        raise TriptychError(f"{target.no_format(wrong[0])}; there are: {', '.join(target.formats)}")
    if split is not None and not 0 < split < 1:
        raise TriptychError(f"the share that is held out must be more than 0 and less than 1, not {split:g}")
    parts, new = out / ".parts", not out.exists()
    try:
        out.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(parts, ignore_errors=True)
        parts.mkdir()
        return _export(run, target, out, parts, endings or target.endings, kinds, split)
    except OSError as error:
        raise TriptychError(f"can't write {out}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(parts, ignore_errors=True)
        if new:
            with suppress(OSError):  # it holds the export
                out.rmdir()


def writable(run: Run, target: Target) -> bool:
    """Whether a run has examples of a kind that the target has a format for."""
    known, formats = facts([run]), target.formats
    return any(kind in formats and formats[kind].refused(about) is None for kind, about in known.items())


def _export(
    run: Run,
    target: Target,
    out: Path,
    parts: Path,
    endings: Sequence[str],
    kinds: Sequence[str] | None,
    split: float | None,
) -> ExportResult:
    runs = [run, *replayed(run)]
    known = facts(runs)
    chosen, lost = _chosen(target, known, kinds)
    recipe = run.recipe()
    tests = held_out(runs, split, recipe.get("seed") or 0) if split is not None and chosen else ()
    rare, written = rarities(runs), dict[str, Written]()
    known = {kind: about._replace(tools=rare.tools) for kind, about in known.items()}
    for form in chosen:
        (parts / form.kind).mkdir()
        written[form.kind] = write(runs, form, known[form.kind], rare, parts / form.kind, endings, tests)
    lost += [
        f"{count:,} {form.noun}s {reason}, and are left out"
        for form in chosen
        for reason, count in written[form.kind].left_out.items()
    ]
    ties = sum(made.left_out.get(TIE, 0) for made in written.values())
    made = [form for form in chosen if written[form.kind].files["train"]]
    if not made:
        raise TriptychError(_nothing(run, target, ties, kinds, lost))
    lost += [
        f"all {form.noun}s that can be held fall to those held out, and are left out"
        for form in chosen
        if form not in made and sum(written[form.kind].rows.values()) > 0
    ]
    lost += [said for form in made for said in form.lost(known[form.kind])] + target.lost(rare)
    about = [_part(form, written[form.kind], several=len(made) > 1) for form in made]
    settings = trainer_settings(recipe)
    texts = {"README.md": card(run, target, about, lost=lost, ties=ties)} | dict(target.texts(about, settings, out))
    names = _moved(parts, out, about, written, endings)
    for name, content in texts.items():
        (parts / name).write_text(content, encoding="utf-8")
        os.replace(parts / name, out / name)
    return ExportResult(
        out,
        sum(part.rows for part in about),
        tuple(out / name for name in (*names, *texts)),
        ties,
        {part.format.kind: part.rows for part in about},
        tuple(lost),
        {part.format.kind: part.format.noun for part in about},
        sum(part.test_rows for part in about),
        target.title,
    )


def _part(form: Format, written: Written, *, several: bool) -> Part:
    before = f"{form.kind}/" if several else ""
    train, test = ([before + file for file in written.files.get(name, ())] for name in ("train", "test"))
    return Part(form, sum(written.rows.values()), train, written.columns, test, written.rows.get("test", 0))


def _moved(
    parts: Path, out: Path, about: Sequence[Part], written: Mapping[str, Written], endings: Sequence[str]
) -> list[str]:
    """Give the files their names, and take away what an earlier export left of them."""
    names: list[str] = []
    for part in about:
        here = [file for files in written[part.format.kind].files.values() for file in files]
        there = [*part.files, *part.tests]
        folder = (out / there[0].removesuffix(here[0])).resolve()
        for split in ("train", "test"):
            if ".arrow" in endings:
                shutil.rmtree(folder / split, ignore_errors=True)
            for end in endings:
                (folder / f"{split}{end}").unlink(missing_ok=True)
        for file, name in zip(here, there, strict=True):
            (out / name).parent.mkdir(parents=True, exist_ok=True)
            os.replace(parts / part.format.kind / file, out / name)
        names += there
    return names


def _chosen(target: Target, known: Mapping[str, Facts], kinds: Sequence[str] | None) -> tuple[list[Format], list[str]]:
    """The formats of the kinds that are asked for and there, and what is said of those that can't be written.

    Raises `TriptychError` where one can't be that is asked for by name.
    """
    formats = target.formats
    wanted = [kind for kind in known if kinds is None or kind in kinds]
    no_format = {kind: target.no_format(kind) for kind in wanted if kind not in formats}
    refused = {kind: said for kind in wanted if kind in formats and (said := formats[kind].refused(known[kind]))}
    if kinds is not None and refused:
        raise TriptychError(next(iter(refused.values())))
    chosen = [formats[kind] for kind in formats if kind in wanted and kind not in refused]
    return chosen, [f"{known[kind].rows:,} examples of the kind {kind} are left out: {said}"
                    for kind, said in (no_format | refused).items()]  # fmt: skip


def _nothing(run: Run, target: Target, ties: int, kinds: Sequence[str] | None, lost: Sequence[str]) -> str:
    """Say why there is nothing to export, and what to do."""
    import polars as pl

    what = f"{run.path} has no {' and no '.join(kinds) if kinds else 'example'} for {target.title}"
    if run.manifest.prompts == 0:
        return f"{what}: no prompt was complete ({run.manifest.status})"
    if ties and len(lost) == 1:
        return f"{what}: all {ties:,} are ties, which its format can't hold"
    if lost:
        return f"{what}: {'; '.join(lost)}"
    there = run.examples().select(pl.col("kind").unique().sort()).collect(engine="streaming")["kind"].to_list()
    if there:
        return f"{what}: its examples are of the kind {', '.join(there)}"
    reasons = [
        f"{row['prompts']:,} {'prompts' if row['prompts'] != 1 else 'prompt'}: {row['outcome']}"
        for row in tallies(run).filter(pl.col("prompts") > 0).iter_rows(named=True)
    ]
    return what + (f" ({'; '.join(reasons)})" if reasons else "; its instantiations made none")
