"""TRL's formats: a file for each kind of examples, in the form that its trainer reads."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import msgspec

from triptych.errors import TriptychError
from triptych.export.card import Part, card, recipe_of, tallies
from triptych.export.files import Written, write
from triptych.export.format import Format
from triptych.export.rows import Facts, facts, rarities
from triptych.export.trainer import settings_file, trainer_settings
from triptych.export.trl.group import GROUP
from triptych.export.trl.pair import PAIR
from triptych.export.trl.sft import SFT
from triptych.export.trl.stepwise import STEPWISE
from triptych.export.trl.unpaired import UNPAIRED
from triptych.store.replay import replayed
from triptych.store.run import Run

FORMATS = {each.kind: each for each in (PAIR, UNPAIRED, SFT, GROUP, STEPWISE)}
"""The kinds of examples that TRL has a format for."""
_OTHERS = {
    "ranking": "TRL has no format for rankings; `pairs` with choose: all_pairs or best_vs_rest makes pairs of them",
}


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

    def named(self) -> str:
        """How many rows of which kind, in words."""
        each = [(rows, FORMATS[kind].noun) for kind, rows in self.kinds.items()]
        return ", ".join(f"{rows:,} {noun}{'' if rows == 1 else 's'}" for rows, noun in each)


def export_trl(
    run: Run,
    out: Path,
    *,
    formats: Sequence[Literal["parquet", "jsonl"]] = ("parquet", "jsonl"),
    kinds: Sequence[str] | None = None,
) -> ExportResult:
    """Write a run's examples as `train.parquet` and `train.jsonl`, with the card `README.md`.

    Of a run with examples of several kinds, each kind has a folder of its name, which `datasets` knows as a
    configuration; `kinds` takes only some. Where the recipe's method names settings of TRL, they are written as
    `trl.yaml`. What columns there are the card says; messages have a role and a content; tool calls in OpenAI's form,
    call ids and names only where any message of the run has them. Where examples of earlier rounds are replayed, `run`
    names the folder of each row's run.

    Works through a few thousand rows at a time. The files get their names when they are whole. Raises
    `TriptychError` where there is no row of these kinds, or none that the format can hold, or no room.
    """
    unknown = set(formats) - {"parquet", "jsonl"}
    if unknown or not formats:
        raise TriptychError(f"can't write the formats {list(formats)}; there are: parquet, jsonl")
    if wrong := [kind for kind in kinds or () if kind not in FORMATS]:
        raise TriptychError(f"{_OTHERS.get(wrong[0], f'TRL has no format for {wrong[0]!r}')}; there are: {', '.join(FORMATS)}")
    parts = out / ".parts"
    try:
        out.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(parts, ignore_errors=True)
        parts.mkdir()
        result = _export(run, out, parts, [f".{form}" for form in ("parquet", "jsonl") if form in formats], kinds)
    except OSError as error:
        raise TriptychError(f"can't write {out}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(parts, ignore_errors=True)
    return result


def writable(run: Run) -> bool:
    """Whether a run has examples of a kind that TRL has a format for."""
    return any(kind in FORMATS and FORMATS[kind].refused(about) is None for kind, about in facts([run]).items())


def _export(run: Run, out: Path, parts: Path, endings: Sequence[str], kinds: Sequence[str] | None) -> ExportResult:
    runs = [run, *replayed(run)]
    known = facts(runs)
    chosen, lost = _chosen(known, kinds)
    rare, written = rarities(runs), dict[str, Written]()
    for form in chosen:
        folder = parts / form.kind
        folder.mkdir()
        written[form.kind] = write(runs, form, known[form.kind], rare, folder, endings)
    ties = written["pair"].left_out if "pair" in written else 0
    made = [form for form in chosen if written[form.kind].rows]
    if not made:
        raise TriptychError(_nothing(run, ties, kinds, lost))
    several = len(made) > 1
    about = [
        Part(form, written[form.kind].rows, [f"{form.kind}/train{end}" if several else f"train{end}" for end in endings],
             written[form.kind].columns)
        for form in made
    ]  # fmt: skip
    lost += [said for form in made for said in form.lost(known[form.kind])]
    lost += [f"{ties:,} pairs are ties, which this format can't hold, and are left out"] if ties else []
    texts = {"README.md": card(run, about, lost=lost, ties=ties)}
    if settings := trainer_settings(recipe_of(run)):
        texts["trl.yaml"] = settings_file(settings, out, [form.kind for form in made])
    names = [file for part in about for file in part.files]
    for part in about:
        for end, name in zip(endings, part.files, strict=True):
            (out / name).parent.mkdir(exist_ok=True)
            os.replace(parts / part.format.kind / f"train{end}", out / name)
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
    )


def _chosen(known: Mapping[str, Facts], kinds: Sequence[str] | None) -> tuple[list[Format], list[str]]:
    """The formats of the kinds that are asked for and there, and what is said of those that can't be written.

    Raises `TriptychError` where one can't be that is asked for by name.
    """
    wanted = [kind for kind in known if kinds is None or kind in kinds]
    no_format = {kind: _OTHERS.get(kind, f"TRL has no format for {kind}") for kind in wanted if kind not in FORMATS}
    refused = {kind: said for kind in wanted if kind in FORMATS and (said := FORMATS[kind].refused(known[kind]))}
    if kinds is not None and refused:
        raise TriptychError(next(iter(refused.values())))
    chosen = [FORMATS[kind] for kind in FORMATS if kind in wanted and kind not in refused]
    return chosen, [f"{known[kind].rows:,} examples of the kind {kind} are left out: {said}"
                    for kind, said in (no_format | refused).items()]  # fmt: skip


def _nothing(run: Run, ties: int, kinds: Sequence[str] | None, lost: Sequence[str]) -> str:
    """Say why there is nothing to export, and what to do."""
    import polars as pl

    what = f"{run.path} has no {' and no '.join(kinds) if kinds else 'example'} for TRL"
    if run.manifest.prompts == 0:
        return f"{what}: no prompt was complete ({run.manifest.status})"
    if ties:
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
