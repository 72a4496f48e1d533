"""Instantiation at scale: pairs, groups and unpaired rows of millions of judgements, against the same in plain Python.

Each form runs in a process of its own, from the Parquet tables of a run to its `examples.parquet`. The baseline is the
oracle of the tests, which goes row by row; it reads the same columns and writes the same table, is timed on a share of
the prompts, and both are compared by judgements a second. `--times 10` runs a table of ten times the prompts as well, to show that memory does not grow with them.

    python benchmarks/instantiation.py [--prompts 250000] [--times 10]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import msgspec
import polars as pl

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

import triptych as tp
from plain import plain_examples
from triptych.recipes.write import recipe_yaml
from triptych.records import Criterion, Objective
from triptych.store.run import Manifest, open_run, write_manifest
from triptych.store.tables import TABLES, frame, records, schema

FORMS = {"pairs": tp.Pairs, "groups": tp.Groups, "unpaired": tp.Unpaired}
WEIGHTS = {"honesty": 1.0, "helpfulness": 2.0, "truthfulness": 1.0, "instructions": 1.0}
OBJECTIVE = Objective(criteria={name: Criterion(text=name, weight=weight) for name, weight in WEIGHTS.items()})
RESPONSES, WANTED_S, WANTED_MB, WANTED_RATIO = 4, 10, 4096, 20
_PROMPTS_A_PIECE = 50_000
_PROMPTS_OF_BASELINE = 10_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompts", type=int, default=250_000)
    parser.add_argument("--times", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        return report_one(options.one, Path(options.folder))
    with tempfile.TemporaryDirectory() as scratch:
        write_run(Path(scratch) / "run", options.prompts)
        for form in FORMS:
            compare(form, Path(scratch), options)
        if options.times > 1:
            write_run(Path(scratch) / "large", options.prompts * options.times)
            for form in FORMS:
                told = in_a_process(form, Path(scratch) / "large")
                print(f"{form}, {options.times} x the prompts: {told['seconds']:.1f} s, {told['cpu']:.1f} s of processors, peak {told['mb']:,.0f} MB")


def compare(form: str, scratch: Path, options: argparse.Namespace) -> None:
    """Time a form and its baseline in turn, and print the medians and their ratio."""
    told = sorted((in_a_process(form, scratch / "run") for _ in range(options.rounds)), key=lambda one: one["seconds"])
    mid = told[len(told) // 2]
    plain = baseline(form, scratch / "run", min(options.prompts, _PROMPTS_OF_BASELINE))
    judgements = options.prompts * RESPONSES * len(WEIGHTS)
    rate = judgements / mid["seconds"]
    print(
        f"{form}: {judgements:,} judgements to {mid['rows']:,} rows in {mid['seconds']:.1f} s (wanted {WANTED_S}), "
        f"{mid['cpu']:.1f} s of processors, "
        f"peak {mid['mb']:,.0f} MB (wanted {WANTED_MB:,}); {rate:,.0f} judgements/s, plain Python {plain:,.0f}/s, "
        f"ratio {rate / plain:.1f} (wanted {WANTED_RATIO})",
        flush=True,
    )


def baseline(form: str, folder: Path, prompts: int) -> float:
    """Judgements a second of the oracle: the same columns from Parquet, and the same table of examples to Parquet."""
    run = open_run(folder)
    begun = time.perf_counter()
    responses = records("responses", rows(form, "responses", run.responses().head(prompts * RESPONSES)))
    judgements = records("judgements", rows(form, "judgements", run.judgements().head(prompts * RESPONSES * len(WEIGHTS))))
    made = plain_examples(FORMS[form](), responses, judgements, OBJECTIVE)
    frame("examples", made).write_parquet(folder.with_name("plain.parquet"), compression_level=1)
    return len(judgements) / (time.perf_counter() - begun)


def rows(form: str, name: str, table: pl.LazyFrame):
    """What Triptych reads of the table as well, and what a record can't be without."""
    needed = {field.name for field in msgspec.structs.fields(TABLES[name]) if field.required}
    columns = FORMS[form]().reads[name] | needed
    return table.select(column for column in schema(name) if column in columns).collect().iter_rows(named=True)


def in_a_process(form: str, folder: Path) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, __file__, "--one", form, "--folder", str(folder)], capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


def report_one(form: str, folder: Path) -> None:
    begun = time.perf_counter()
    anew = tp.instantiate(open_run(folder), recipe_of(form), folder.with_name(f"{folder.name}-{form}"))
    seconds = time.perf_counter() - begun
    made = anew.examples().select(pl.len()).collect().item()
    assert made > 0, "nothing was made: the figure would mean nothing"
    spent = os.times()
    print(json.dumps({"seconds": seconds, "cpu": spent.user + spent.system, "rows": made, "mb": peak_mb()}))


def recipe_of(form: str) -> tp.Recipe:
    return tp.Recipe(
        name="scale",
        prompts=tp.InlinePrompts(prompts=["p"]),
        synthesis=tp.Given(),
        objective=OBJECTIVE,
        instantiation=FORMS[form](),
    )


def peak_mb() -> float:
    """The most memory that this process held; what it inherited from its parent does not count."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0]) / 1024


def write_run(folder: Path, prompts: int) -> None:
    """Make the tables of a run: drawn scores, ids of the usual length, and a sentence for each text."""
    folder.mkdir()
    for start in range(0, prompts, _PROMPTS_A_PIECE):
        for name, table in tables(start, min(_PROMPTS_A_PIECE, prompts - start)).items():
            (folder / name).mkdir(exist_ok=True)
            table.write_parquet(folder / name / f"{start:09d}.parquet")
    for name in ("prompts", "responses", "judgements"):
        pieces = pl.scan_parquet(folder / name / "*.parquet")
        pieces.sink_parquet(folder / f"{name}.parquet", row_group_size=16_384, compression_level=1)
    (folder / "examples.parquet").touch()
    (folder / "recipe.yaml").write_text(recipe_yaml(recipe_of("pairs")))
    write_manifest(folder, Manifest(run="scale", recipe="scale", recipe_id="", status="finished", prompts=prompts))


def tables(start: int, prompts: int) -> dict[str, pl.DataFrame]:
    prompt = pl.DataFrame({"p": pl.int_range(start, start + prompts, eager=True)}).with_columns(prompt_id=id_of("p"))
    shown = prompt.join(pl.DataFrame({"k": range(RESPONSES)}), how="cross")
    shown = shown.with_columns(r=pl.col("p") * RESPONSES + pl.col("k"))
    shown = shown.with_columns(response_id=id_of("r"))
    said = shown.join(pl.DataFrame({"criterion": list(WEIGHTS), "c": range(len(WEIGHTS))}), how="cross")
    said = said.with_columns(j=pl.col("r") * len(WEIGHTS) + pl.col("c"))
    text = pl.format("Response {} says a few things about topic {}, in one sentence.", "k", "p")
    rarer = [
        pl.lit(None, dtype=field.dtype).alias(field.name)
        for field in schema("responses")["messages"].inner.fields
        if field.name not in ("role", "content")
    ]
    message = pl.struct(pl.lit("assistant").alias("role"), text.alias("content"), *rarer)
    return {
        "prompts": laid_out("prompts", prompt, id="prompt_id"),
        "responses": laid_out(
            "responses",
            shown,
            id="response_id",
            prompt_id="prompt_id",
            messages=pl.concat_list(message),
            **{name: pl.lit("g") for name in ("generator", "generator_id", "model")},
        ),
        "judgements": laid_out(
            "judgements",
            said,
            id=id_of("j"),
            prompt_id="prompt_id",
            response_ids=pl.concat_list("response_id"),
            criterion="criterion",
            criterion_id=pl.col("criterion").replace_strict({n: c.id for n, c in OBJECTIVE.criteria.items()}),
            evaluator=pl.lit("rubric"),
            evaluator_id=pl.lit("o_0123456789abcdef01234567"),
            model=pl.lit("judge"),
            rationale=pl.format("Of response {}: it does what is asked on the whole.", "r"),
            scores=pl.concat_list(1.0 + pl.col("j").hash(seed=3) % 5),
            scale=pl.lit([1.0, 5.0]),
            weight=pl.lit(1.0),
        ),
    }


def id_of(name: str) -> pl.Expr:
    number = pl.col(name)
    digits = [(number.hash(seed=seed) % 10**12).cast(pl.String).str.zfill(12) for seed in (1, 2)]
    return pl.concat_str(pl.lit(f"{name}_"), *digits)


def laid_out(table: str, rows: pl.DataFrame, **given: object) -> pl.DataFrame:
    """The columns of a table; those that are not given say nothing."""
    given = {"status": pl.lit("ok"), "params": pl.lit("{}"), "tools": pl.lit("[]")} | given
    return rows.select(
        pl.lit(None, dtype=dtype).alias(name)
        if name not in given
        else (pl.col(given[name]) if isinstance(given[name], str) else given[name]).cast(dtype).alias(name)
        for name, dtype in schema(table).items()
    )


if __name__ == "__main__":
    main()
