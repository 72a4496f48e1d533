"""Running a recipe: once, or in the rounds of its loop with the policy refreshed in between."""

from __future__ import annotations

import os
import shlex
import subprocess
import time
from collections.abc import Callable, Mapping
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from triptych.engines.local import Progress, run_once
from triptych.errors import AwaitsPolicy, Interrupted, RunFolderError, TrainingFailed
from triptych.export.trl import export_trl, writable
from triptych.instantiation.scored import with_draw
from triptych.recipes.loop import Loop, filled_in, places_of
from triptych.recipes.recipe import Recipe
from triptych.recipes.write import recipe_file
from triptych.store.replay import replay, replayed
from triptych.store.run import CALLS, RECIPE, Run, read_manifest, write_whole

if TYPE_CHECKING:
    import polars as pl

_TRAINED = "trained.json"


def run(
    recipe: Recipe,
    out: str | Path,
    *,
    limit: int | None = None,
    calls: str | Path | None = None,
    folder: str | Path = ".",
    progress: Callable[[Progress], None] | None = None,
) -> Run:
    """Run a recipe and write its tables to the folder `out`; with a loop, to a folder for each round in `out`.

    What the call log already answers is not asked again, so running once more resumes, or replays at no cost.

    `limit` takes only the first prompts (of each round); `calls` names a call log to share with other runs; `folder`
    is where relative paths in the recipe start; `progress` is called about five times a second, and once at the end.

    Returns the run, of a loop that of its last round. Raises `RunFolderError`, `PromptError`, `KeyRefused` or
    `MissingExtra` before anything is spent where the fault is plain beforehand, and `StopRun` where the run ended
    early (its tables then hold the prompts that were complete); of a loop that is `AwaitsPolicy` where the next round
    has no policy yet, and `TrainingFailed` where its command failed.
    """
    if not isinstance(recipe, Recipe):
        raise TypeError(f"recipe is a {type(recipe).__name__}, not a Recipe; triptych.load_recipe reads one")
    if limit is not None and limit < 1:
        raise ValueError(f"limit is {limit}; it must be 1 or more, or None for all prompts")
    out, folder = Path(out), Path(folder)
    if recipe.loop is None:
        return run_once(recipe, out, limit=limit, calls=calls, folder=folder, progress=progress)
    if read_manifest(out) is not None:
        raise RunFolderError(f"{out} holds a run without rounds; choose another --out")
    done: Run | None = None
    loop, memory = recipe.loop, dict[Path, "pl.Series"]()
    for number in range(1, loop.rounds + 1):
        here = _of_round(recipe, loop, out, number, done)
        done = run_once(
            here,
            out / f"round-{number}",
            limit=_fewer(limit, loop.prompts_per_round),
            skip=0 if loop.prompts else (loop.prompts_per_round or 0) * (number - 1),
            calls=calls if calls is not None else out / CALLS,
            folder=folder,
            progress=progress,
        )
        write_whole(out / RECIPE, recipe_file(recipe, folder))
        replay(done, memory)
        if loop.replay:
            memory[done.path] = _remembered(done, loop.replay, recipe.seed)
    assert done is not None
    return done


def _fewer(limit: int | None, per_round: int | None) -> int | None:
    return min((count for count in (limit, per_round) if count is not None), default=None)


def _of_round(recipe: Recipe, loop: Loop, out: Path, number: int, before: Run | None) -> Recipe:
    """What is run in a round: the recipe without its loop, with that round's policy and what is left of the budget."""
    fields = dict(recipe) | {"loop": None, "budget": _left(recipe, out, number)}
    if before is not None:
        places = places_of(out, number - 1)
        if loop.train is not None:
            _train(loop.train, before, places)
        policy = loop.policy(number, recipe.models[loop.refresh], places)
        if policy is None:
            raise AwaitsPolicy(
                f"round {number - 1} of {loop.rounds} is complete, in {before.path}; train the policy on it "
                f"(`triptych export {before.path} --to trl`), add the new one to loop.next, "
                "and run the same command again to go on"
            )
        fields["models"] = recipe.models | {loop.refresh: policy}
        fields["prompts"] = loop.source(number, places) or recipe.prompts
        if loop.evolution is not None:
            fields["evolution"] = loop.evolution
    return Recipe(**fields)


def _remembered(run: Run, share: float, seed: int) -> pl.Series:
    """The ids of a share of a run's examples, rounded to the nearest: the same ones in every later round."""
    import polars as pl

    ids = run.examples().select(pl.col("id").alias("response_id"), pl.col("id")).with_row_index("place")
    some = (pl.len() * share + 0.5).floor().cast(pl.Int64)
    drawn = with_draw(ids, seed).sort("drawn", "place").filter(pl.int_range(pl.len()) < some)
    return drawn.sort("place").collect()["id"]


def _left(recipe: Recipe, out: Path, number: int) -> object:
    """The budget less what the other rounds have spent."""
    spent = {"usd": 0.0, "calls": 0.0, "tokens": 0.0}
    for other in range(1, (recipe.loop.rounds if recipe.loop else 0) + 1):
        manifest = read_manifest(out / f"round-{other}") if other != number else None
        for name in spent:
            spent[name] += manifest.spent.get(name, 0) if manifest else 0
    whole = recipe.budget
    left = {name: max(limit - type(limit)(spent[name]), 0) for name, limit in whole if limit is not None}
    return whole.model_copy(update=left)


def _train(command: str, before: Run, places: Mapping[str, str]) -> None:
    """Run the training command, unless it ran to its end on the same examples."""
    done, key = before.path / _TRAINED, _what_is_trained(command, before)
    if _trained_as(done) == key:
        return
    if any(writable(one) for one in (before, *replayed(before))):
        export_trl(before, Path(places["export"]))
    Path(places["trained"]).mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    _to_its_end(shlex.split(filled_in(command, places)), before.path / "train.log", places)
    said = {"key": key, "command": command, "seconds": round(time.monotonic() - started, 3)}
    write_whole(done, msgspec.json.encode(said))


def _to_its_end(command: list[str], log: Path, places: Mapping[str, str]) -> None:
    names = {f"TRIPTYCH_{name.upper()}": value for name, value in places.items()}
    try:
        with log.open("wb") as said:
            ended = subprocess.run(
                command, stdout=said, stderr=subprocess.STDOUT, env=os.environ | names, check=False
            ).returncode
    except OSError as error:
        raise TrainingFailed(f"the training command can't be started: {error}") from error
    except KeyboardInterrupt:
        raise Interrupted("training stopped by Ctrl-C; run the same command again to train anew") from None
    if ended:
        raise TrainingFailed(
            f"the training command ended with {ended}; what it said is in {log}. The round is complete: "
            "mend the command and run the same again to go on from there"
        )


def _what_is_trained(command: str, before: Run) -> str:
    """Hash of the command and of the ids of all examples, so that other data are trained on anew."""
    digest = blake2b(command.encode(), digest_size=12)
    for one in (before, *replayed(before)):
        for piece in one.examples().select("id").collect(engine="streaming")["id"]:
            digest.update(piece.encode())
    return digest.hexdigest()


def _trained_as(file: Path) -> str | None:
    if not file.exists():
        return None
    try:
        said = msgspec.json.decode(file.read_bytes())
    except (OSError, msgspec.DecodeError):
        return None
    return said.get("key") if isinstance(said, dict) else None
