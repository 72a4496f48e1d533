"""Repairing a data set: its examples without what a few mitigations drop, with a log of every change. Makes no call."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from triptych.audit.data import Data
from triptych.audit.repairs import REPAIRS, Repair, Resplit
from triptych.engines.derived import not_in_place, share_tables, sign
from triptych.errors import RunFolderError, TriptychError
from triptych.records import Example, make_example
from triptych.store.run import Run, claim, place_tables, write_manifest, write_whole
from triptych.store.tables import TABLES, frame, records
from triptych.store.writer import ROWS_A_GROUP

if TYPE_CHECKING:
    import polars as pl

LOG = "repair.json"


class Change(msgspec.Struct, frozen=True):
    """What became of one example, or of one prompt's family."""

    id: str
    """The example's id, or the prompt's."""
    repair: str
    """The repair that changed it."""
    why: str
    """The reason."""
    became: str | None = None
    """The id of the example that replaces it, where it was weighed anew; the prompt's new family; null of what was dropped."""
    weight: float | None = None
    """The new weight, of an example that was weighed anew."""


class Repaired(msgspec.Struct, frozen=True):
    """What a repair did."""

    of: str
    """The folder, or the file, that it was made of."""
    seed: int
    counts: dict[str, int]
    """How many examples (or prompts) each repair changed, in the order in which they were applied."""
    examples_before: int
    examples_after: int
    changes: tuple[Change, ...]


def repair_run(
    run: Run,
    out: str | Path,
    names: Sequence[str],
    *,
    gold: Sequence[str] | None = None,
    test_sets: Mapping[str, Sequence[str]] | None = None,
) -> tuple[Run, Repaired]:
    """Apply repairs, by their names, to a run's examples, into the run folder `out`, with a log of the changes there.

    They are applied in the order of `triptych.audit.repairs.REPAIRS`, each to what those before have left; draws come from
    the recipe's seed. `test_sets` are texts of tests, by name. Responses and judgements are shared with `run`. Raises `TriptychError` for an unknown name, and
    `RunFolderError` where `out` can't be written or nothing would be left.
    """
    out = Path(out)
    _known(names)
    not_in_place(run, out)
    data = Data.of(run, gold=gold, test_sets=test_sets)
    manifest, lock = claim(
        out, recipe=run.manifest.recipe, recipe_id=run.manifest.recipe_id, imported=run.manifest.imported
    )
    manifest.verdicts_of = run.origin
    try:
        write_manifest(out, manifest)
        parts = out / ".parts"
        shutil.rmtree(parts, ignore_errors=True)
        parts.mkdir()
        examples, prompts, done = _repaired(run, data, names)
        share_tables(
            run, parts, [name for name in TABLES if name != "examples" and (name != "prompts" or prompts is None)]
        )
        for name, table in (("examples", examples), ("prompts", prompts)):
            if table is not None:
                _write(table, parts / f"{name}.parquet")
        place_tables(parts, out)
        write_whole(out / LOG, msgspec.json.format(msgspec.json.encode(done), indent=1))
        manifest.repairs = tuple(done.counts)
        sign(run, run.manifest.recipe_id, run.recipe_text(), out, manifest)
    except OSError as error:
        raise RunFolderError(f"can't write to {out}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(out / ".parts", ignore_errors=True)
        lock.release()
    return Run(out, manifest), done


def _known(names: Sequence[str]) -> None:
    for name in names:
        if name not in REPAIRS:
            near = get_close_matches(name, REPAIRS, 1)
            meant = f"did you mean `{near[0]}`?" if near else f"there are {', '.join(REPAIRS)}"
            raise TriptychError(f"there is no repair `{name}`; {meant}")


def _repaired(run: Run, data: Data, names: Sequence[str]) -> tuple[pl.DataFrame, pl.DataFrame | None, Repaired]:
    """The examples and, where families changed, the prompts after all repairs."""
    seed = data.recipe.seed if data.recipe is not None else 0
    before = examples = run.examples().collect()
    prompts: pl.DataFrame | None = None
    changes: list[Change] = []
    counts: dict[str, int] = {}
    for name, repair in REPAIRS.items():
        if name not in names:
            continue
        if isinstance(repair, Resplit):
            prompts, changed = _with_families(run, data, repair)
        else:
            examples, changed = _applied(repair, data.with_examples(examples), examples, seed)
        counts[name] = len(changed)
        changes += changed
    if before.height and not examples.height:
        named = [name for name, number in counts.items() if number]
        less = "name fewer repairs" if len(named) > 1 else f"every row has what {named[0]} drops rows for"
        raise RunFolderError(f"nothing would be left: {less}")
    done = Repaired(run.origin, seed, counts, before.height, examples.height, tuple(changes))
    return examples, prompts, done


def _applied(repair: Repair, data: Data, examples: pl.DataFrame, seed: int) -> tuple[pl.DataFrame, list[Change]]:
    import polars as pl

    asked = repair.changes(data, seed).unique("id")
    placed = examples.with_row_index("place").join(asked.rename({"weight": "new_weight"}), on="id", how="left")
    gone = placed.filter(pl.col("why").is_not_null() & pl.col("new_weight").is_null())
    anew = placed.filter(pl.col("new_weight").is_not_null())
    kept = placed.filter(pl.col("why").is_null())
    weighed = [
        _weighed(row, weight)
        for row, weight in zip(
            records("examples", anew.select(examples.columns).iter_rows(named=True)), anew["new_weight"], strict=True
        )
    ]
    made = frame("examples", weighed).select(examples.columns).insert_column(0, anew["place"])
    changes = [Change(id, repair.name, why) for id, why in gone.select("id", "why").iter_rows()] + [
        Change(id, repair.name, why, one.id, one.weight)
        for (id, why), one in zip(anew.select("id", "why").iter_rows(), weighed, strict=True)
    ]
    return pl.concat([kept.select("place", *examples.columns), made]).sort("place").drop("place"), changes


def _weighed(example: object, weight: float) -> Example:
    """The same example with another weight: another row, with an id of its own."""
    assert isinstance(example, Example)
    fields = {name: getattr(example, name) for name in Example.__struct_fields__ if name != "id"}
    return make_example(**(fields | {"weight": weight}))


def _with_families(run: Run, data: Data, repair: Resplit) -> tuple[pl.DataFrame | None, list[Change]]:
    import polars as pl

    asked = repair.families(data)
    if not asked.height:
        return None, []
    changed = [Change(id, repair.name, repair.why, family) for id, family in asked.iter_rows()]
    new = asked.rename({"prompt_id": "id", "family_id": "new_family"})
    prompts = run.prompts().collect().join(new, on="id", how="left", maintain_order="left")
    return prompts.with_columns(family_id=pl.coalesce("new_family", "family_id")).drop("new_family"), changed


def _write(table: pl.DataFrame, place: Path) -> None:
    import polars as pl

    try:
        table.write_parquet(place, row_group_size=ROWS_A_GROUP, compression_level=1)
    except pl.exceptions.PolarsError as error:
        raise RunFolderError(f"can't write {place}: {error}") from error
