"""Looking at a run some prompts at a time gives what looking at all of it gives, and takes no more room."""

from __future__ import annotations

import itertools
import json
import random
import shutil
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

import triptych as tp
from endpoint import endpoint
from runs import recipe
from triptych.app.summary import summary, summary_json
from triptych.audit.run import findings_of_blocks
from triptych.export import export_run
from triptych.export.card import tallies
from triptych.export.trl import export_trl
from triptych.instantiation.pairs import Pairs
from triptych.records import Message, Objective, make_judgement, make_prompt, make_response
from triptych.store.blocks import blocks
from triptych.store.run import Manifest, Run, open_run, write_manifest
from triptych.store.tables import frame

TABLES = ("responses", "judgements", "examples")
STRATEGIES = [{"kind": "pairs"}, {"kind": "pairs", "choose": "all_pairs", "evaluators": ["verify"], "min_margin": 0.6}]


def write_run(folder: Path, tables: dict[str, list]) -> Run:
    """A run folder of these rows; its examples stand strategy by strategy, all prompts of the first one first."""
    frames = {name: frame(name, rows) for name, rows in tables.items()}
    made = [
        Pairs.model_validate(each).instantiate(frames["responses"].lazy(), frames["judgements"].lazy(), Objective(), 0)
        for each in STRATEGIES
    ]
    frames["examples"] = pl.concat(made).collect()
    folder.mkdir()
    for name, table in frames.items():
        table.write_parquet(folder / f"{name}.parquet", row_group_size=50)
    (folder / "recipe.yaml").write_text(json.dumps({"name": "drawn", "instantiation": STRATEGIES}))
    write_manifest(folder, Manifest(run="x", recipe="drawn", recipe_id="y", prompts=len(tables["prompts"])))
    return open_run(folder)


def drawn_run(folder: Path, seed: int, prompts: int = 60, most: int = 4) -> Run:
    """Prompts with none to four responses; judges that fail, ask in one order or both, and repeat themselves."""
    rng = random.Random(seed)
    tables: dict[str, list] = {"prompts": [], "responses": [], "judgements": []}
    for number in range(prompts):
        prompt = make_prompt((Message("user", f"Number {number}?"),))
        made = [
            make_response(
                prompt_id=prompt.id,
                generator="g",
                generator_id="o",
                model=rng.choice("mn"),
                sample_index=index,
                messages=(Message("assistant", "x" * rng.randint(1, most)),),
                status=rng.choice(["ok"] * 9 + ["failed"]),
            )
            for index in range(rng.randint(0, 4))
        ]
        tables["prompts"].append(prompt)
        tables["responses"] += made
        tables["judgements"] += drawn_judgements(rng, made)
    return write_run(folder, tables)


def drawn_judgements(rng: random.Random, made: list) -> list:
    said = []
    for one in made:
        said.append(judgement([one], "verify", model=None, check="words", scores=(float(rng.randint(0, 1)),)))
        if rng.random() < 0.8:
            status = rng.choice(["ok", "ok", "unparsed", "failed"])
            said.append(judgement([one], "rubric", scores=(rng.random(),) if status == "ok" else None, status=status))
    for shown in itertools.permutations(made, 2):
        said += [
            judgement(shown, judge, ranks=rng.choice([(1, 2), (2, 1), (1, 1)]), repeat=repeat)
            for judge in ("pairwise", "one_order")
            for repeat in range(rng.randint(0, 2))
            if judge == "pairwise" or shown[0].id < shown[1].id
        ]
    return said


def judgement(shown, by: str, **more):
    return make_judgement(
        prompt_id=shown[0].prompt_id,
        response_ids=tuple(one.id for one in shown),
        criterion="good",
        criterion_id="c",
        evaluator=by,
        evaluator_id=f"o_{by}",
        scale=(0.0, 1.0) if more.get("scores") else None,
        **({"model": "big"} | more),
    )


@pytest.mark.parametrize("size", [1, 7, 59, 4096])
@pytest.mark.parametrize("seed", range(3))
def test_findings_over_blocks_are_those_over_the_whole_tables(tmp_path, monkeypatch, seed, size):
    run = drawn_run(tmp_path / "run", seed)
    whole = findings_of_blocks([{name: run.table(name).collect().lazy() for name in TABLES}])
    monkeypatch.setattr("triptych.store.blocks._PROMPTS_A_BLOCK", size)
    seen = list(blocks(run, *TABLES))
    assert len(seen) == -(-60 // size)
    assert findings_of_blocks(seen) == whole  # values, intervals, rows and words
    assert {"swap_consistency", "first_slot_rate", "judge_verifier_agreement", "no_contrast", "chosen_longer"} <= {
        finding.name for finding in whole
    }
    assert any(finding.value is None for finding in whole)


def test_blocks_hold_each_row_once_and_all_rows_of_their_prompts(tmp_path, monkeypatch):
    run = drawn_run(tmp_path / "run", seed=5)
    monkeypatch.setattr("triptych.store.blocks._PROMPTS_A_BLOCK", 7)
    for name in TABLES:
        parts = [block[name].select("id", "prompt_id").collect() for block in blocks(run, name)]
        assert sorted(pl.concat(parts)["id"]) == sorted(run.table(name).collect()["id"])
        assert all(part["prompt_id"].n_unique() <= 7 for part in parts)
        seen = [prompt for part in parts for prompt in part["prompt_id"].unique()]
        assert len(seen) == len(set(seen))


@pytest.mark.parametrize("size", [1, 7, 4096])
def test_what_became_of_the_prompts_is_counted_over_blocks(tmp_path, monkeypatch, size):
    run = drawn_run(tmp_path / "run", seed=4)
    whole = [run.table(name).collect().lazy() for name in ("responses", "judgements")]
    told = [Pairs.model_validate(each).tally(*whole, Objective(), 0) for each in STRATEGIES]
    monkeypatch.setattr("triptych.store.blocks._PROMPTS_A_BLOCK", size)
    assert tallies(run).rows() == pl.concat(told).rows()


def test_the_summary_and_the_export_of_a_run_do_not_depend_on_the_blocks(tmp_path, monkeypatch):
    with endpoint() as server:
        run = tp.run(recipe(server.base_url, prompts=30), tmp_path / "run")
    said, files = summary_json(summary(run)), export_run(run).files
    monkeypatch.setattr("triptych.store.blocks._PROMPTS_A_BLOCK", 4)
    monkeypatch.setattr("triptych.export.rows._ROWS_AT_ONCE", 3)
    assert summary_json(summary(run)) == said
    again = export_trl(run, tmp_path / "again").files
    assert [file.read_bytes() for file in again] == [file.read_bytes() for file in files]


@pytest.mark.slow
@pytest.mark.parametrize("command", [["show"], ["show", "1"], ["export", "--to", "trl"]], ids=" ".join)
def test_memory_of_the_command_line_hardly_grows_with_the_number_of_prompts(tmp_path, command):
    run = drawn_run(tmp_path / "run", seed=6, prompts=500, most=200)
    few, many = (peak_mb(command, repeated(run, tmp_path / f"{times}", times)) for times in (10, 100))
    assert many < 1.4 * few


def repeated(run: Run, folder: Path, times: int) -> Path:
    """The same run with every prompt so many times, under other ids."""
    folder.mkdir()
    for name in ("prompts", *TABLES):
        once = run.table(name)
        ids = [column for column in ("id", "prompt_id") if column in once.collect_schema()]
        lists = [column for column in ("response_ids", "judgement_ids") if column in once.collect_schema()]
        parts = [
            once.with_columns(
                pl.col(ids) + f"_{number}",
                *(pl.col(column).list.eval(pl.element() + f"_{number}") for column in lists),
            )
            for number in range(times)
        ]
        pl.concat(parts).sink_parquet(folder / f"{name}.parquet", row_group_size=16_384)
    for name in ("run.json", "recipe.yaml"):
        shutil.copy(run.path / name, folder)
    return folder


def peak_mb(command: list[str], folder: Path) -> float:
    """The peak resident memory of a command on a folder, in a process of its own."""
    code = "import resource, runpy, sys, atexit; atexit.register(lambda: print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)); runpy.run_module('triptych', run_name='__main__')"
    done = subprocess.run(
        [sys.executable, "-c", code, command[0], folder, *command[1:]], check=True, capture_output=True, text=True
    )
    return int(done.stderr.split()[-1]) / 1024
