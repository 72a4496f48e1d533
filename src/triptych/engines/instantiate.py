"""Instantiating anew: other examples of the verdicts of a run that is there. Makes no call."""

from __future__ import annotations

import shutil
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from triptych.engines.derived import not_in_place, share_tables, sign
from triptych.engines.tables import made_by, within_and_across
from triptych.errors import Problem, RecipeError, RunFolderError
from triptych.operators import Instantiator
from triptych.recipes.recipe import Recipe
from triptych.recipes.write import recipe_yaml
from triptych.store.blocks import blocks
from triptych.store.run import Run, claim, place_tables, write_manifest
from triptych.store.tables import schema
from triptych.store.writer import PROMPTS_A_PART, ROWS_A_GROUP

if TYPE_CHECKING:
    import polars as pl

_PROMPTS_A_BLOCK = 16 * PROMPTS_A_PART
_AT_ONCE = 2
_SHARED = ("prompts", "responses", "judgements")


def instantiate(
    run: Run,
    recipe: Recipe,
    out: str | Path,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> Run:
    """Make the examples of a run anew, by another instantiation, into the run folder `out`.

    Of `recipe`, the instantiation, the weights of the objective and the seed count. The tables of prompts, responses and
    judgements are those of `run` (as hard links, where the disk has them); examples come out as a run of the recipe would
    make them. `progress` is told how many prompts are done, of how many.

    Works through 16,384 prompts at a time, but for instantiations that need the verdicts on all prompts at once. Raises
    `RecipeError` where a criterion says something else than what was judged, and `RunFolderError` where `out` can't be
    written or holds anything but examples that were made so.
    """
    out = Path(out)
    _as_it_was_judged(run, recipe)
    not_in_place(run, out)
    manifest, lock = claim(out, recipe=recipe.name, recipe_id=recipe.id, imported=run.manifest.imported)
    manifest.verdicts_of = run.origin
    try:
        write_manifest(out, manifest)  # first: by it the folder is known, should we be killed
        parts = out / ".parts"
        shutil.rmtree(parts, ignore_errors=True)
        parts.mkdir()
        share_tables(run, parts, _SHARED)
        _write_examples(run, recipe, parts, progress)
        place_tables(parts, out)
        sign(run, recipe.id, recipe_yaml(recipe), out, manifest)
    except OSError as error:
        raise RunFolderError(f"can't write to {out}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(out / ".parts", ignore_errors=True)
        lock.release()
    return Run(out, manifest)


def _as_it_was_judged(run: Run, recipe: Recipe) -> None:
    """Refuse criteria whose text is not that which the run's judgements are about."""
    before = run.objective().criteria
    said = "has another text than the one that was judged; run the recipe to have it judged anew"
    problems = [
        Problem(said, f"objective.criteria.{name}")
        for name, criterion in recipe.objective.criteria.items()
        if name in before and criterion.id != before[name].id
    ]
    if problems:
        raise RecipeError(recipe.name, problems)


def _write_examples(run: Run, recipe: Recipe, parts: Path, progress: Callable[[int, int], None] | None) -> None:
    """Write the examples as they are made, row group by row group."""
    import polars as pl
    from polars.io.plugins import register_io_source

    failed: list[BaseException] = []

    def made(*_: object) -> Iterator[pl.DataFrame]:
        try:
            yield from _made(run, recipe, progress)
        except BaseException as error:
            failed.append(error)
            raise

    try:
        register_io_source(made, schema=schema("examples")).sink_parquet(
            parts / "examples.parquet", row_group_size=ROWS_A_GROUP, compression_level=1
        )
    except pl.exceptions.PolarsError as error:  # Polars hides in one of its own what went wrong, and a full disk
        if failed:
            raise failed[0] from None
        raise RunFolderError(f"can't write the examples in {parts.parent}: {error}") from error


def _made(run: Run, recipe: Recipe, progress: Callable[[int, int], None] | None) -> Iterator[pl.DataFrame]:
    """The examples, some prompts at a time, in the order of a run; two blocks are worked on at once."""
    within, across = within_and_across(recipe)
    if within:
        done, total = 0, run.manifest.prompts
        for examples in _two_at_once(_blocks(run, within), lambda block: examples_of_block(block, within, recipe)):
            yield examples
            done = min(done + _PROMPTS_A_BLOCK, total)
            if progress is not None:
                progress(done, total)
    if across:
        yield made_by(across, recipe, {name: run.table(name) for name in _SHARED})


def _blocks(run: Run, instantiations: Sequence[Instantiator]) -> Iterator[dict[str, pl.LazyFrame]]:
    reads = [getattr(operator, "reads", {}) for operator in instantiations]
    asked = any("prompts" in getattr(operator, "wants", ()) for operator in instantiations)
    columns: dict[str, Collection[str] | None] = {
        name: None if any(name not in each for each in reads) else frozenset().union(*(each[name] for each in reads))
        for name in ("responses", "judgements")
    }
    columns["prompts"] = None if asked else ("id",)
    return blocks(run, "prompts", "responses", "judgements", prompts=_PROMPTS_A_BLOCK, columns=columns)


def examples_of_block(
    block: dict[str, pl.LazyFrame], instantiations: Sequence[Instantiator], recipe: Recipe
) -> pl.DataFrame:
    """The examples of a block: of as many prompts as a run makes them of at once, instantiation by instantiation."""
    import polars as pl

    examples = made_by(instantiations, recipe, block, "in-memory")
    if len(instantiations) == 1:
        return examples
    part = block["prompts"].with_row_index("part").select(prompt_id="id", part=pl.col("part") // PROMPTS_A_PART)
    placed = examples.lazy().join(part, on="prompt_id", how="left", maintain_order="left")
    return placed.sort("part", maintain_order=True).drop("part").collect()


def _two_at_once(
    blocks: Iterator[dict[str, pl.LazyFrame]], make: Callable[[dict[str, pl.LazyFrame]], pl.DataFrame]
) -> Iterator[pl.DataFrame]:
    """While one block is in Polars, ids of another are hashed in Python."""
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        queue: deque[Future[pl.DataFrame]] = deque()
        for block in blocks:
            queue.append(threads.submit(make, block))
            if len(queue) == _AT_ONCE:
                yield queue.popleft().result()
        while queue:
            yield queue.popleft().result()
