"""Running recipes: tables, replay, resuming, budgets, faults, stopping."""

import asyncio
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import duckdb
import polars as pl
import pytest

import triptych as tp
from endpoint import endpoint
from runs import assert_same_tables, recipe, tables
from triptych.app.summary import summary
from triptych.errors import BudgetReached, EndpointDown, KeyRefused, OperatorFailed, PromptError, RunFolderError
from triptych.recipes.write import recipe_yaml
from triptych.store.run import read_manifest, write_whole


def test_a_run_gives_four_tables_whose_rows_point_back(tmp_path):
    with endpoint() as server:
        run = tp.run(recipe(server.base_url), tmp_path / "run")
        assert server.stats()["requests"] == 20 * 3 + 20 * 3 * 2
    got = tables(tmp_path / "run")
    assert got["prompts"].height == 20
    assert got["responses"].height == 60
    assert got["judgements"].height == 60 * 3
    assert run.manifest.status == "finished"
    prompts, responses = set(got["prompts"]["id"]), set(got["responses"]["id"])
    judgements = set(got["judgements"]["id"])
    assert set(got["responses"]["prompt_id"]) == prompts
    assert set(got["judgements"]["response_ids"].explode()) == responses
    assert set(got["examples"]["response_ids"].explode()) <= responses
    assert set(got["examples"]["judgement_ids"].explode()) <= judgements
    log = run.calls()
    known = set(log.find([*got["responses"]["call_ids"].explode()]))
    log.close()
    assert known == set(got["responses"]["call_ids"].explode())


def test_rows_stand_in_the_order_of_the_prompts(tmp_path):
    with endpoint(latency_ms=100, latency_jitter=1.0) as server:
        tp.run(recipe(server.base_url), tmp_path / "run")
    got = tables(tmp_path / "run")
    asked = got["prompts"]["messages"].list.first().struct.field("content").to_list()
    assert asked == [f"Write a note about number {i}." for i in range(20)]
    order = got["prompts"]["id"].to_list()
    assert got["responses"]["prompt_id"].unique(maintain_order=True).to_list() == order
    assert got["judgements"]["prompt_id"].unique(maintain_order=True).to_list() == order
    assert (
        got["responses"].group_by("prompt_id", maintain_order=True).agg("sample_index")["sample_index"].to_list()
        == [[0, 1, 2]] * 20
    )


def test_the_tables_open_in_polars_duckdb_and_datasets(tmp_path):
    from datasets import load_dataset

    with endpoint() as server:
        tp.run(recipe(server.base_url), tmp_path / "run")
    for name, rows in {table: frame.height for table, frame in tables(tmp_path / "run").items()}.items():
        file = str(tmp_path / "run" / f"{name}.parquet")
        assert pl.read_parquet(file).height == rows
        assert duckdb.sql(f"select count(*) from '{file}'").fetchall() == [(rows,)]
        assert load_dataset("parquet", data_files=file, cache_dir=str(tmp_path / "hf"))["train"].num_rows == rows


@pytest.mark.parametrize("prompts", [1, 5, 7, 20])
def test_tables_written_in_parts_are_the_same(tmp_path, monkeypatch, prompts):
    with endpoint() as server:
        tp.run(recipe(server.base_url), tmp_path / "whole")
        monkeypatch.setattr("triptych.store.writer.PROMPTS_A_PART", prompts)
        tp.run(recipe(server.base_url), tmp_path / "parts")
    assert_same_tables(tables(tmp_path / "whole"), tables(tmp_path / "parts"))


def test_a_second_run_asks_nothing_and_gives_the_same_bytes(tmp_path):
    with endpoint() as server:
        tp.run(recipe(server.base_url), tmp_path / "run")
        before = {file.name: file.read_bytes() for file in (tmp_path / "run").glob("*.parquet")}
        server.reset()
        again = tp.run(recipe(server.base_url), tmp_path / "run")
        assert server.stats()["requests"] == 0
    assert {file.name: file.read_bytes() for file in (tmp_path / "run").glob("*.parquet")} == before
    assert again.manifest.counts["synthesis"]["cached"] == 60
    assert again.manifest.counts["evaluation"]["cached"] == 120


@pytest.mark.parametrize("written_before", [0, 1, 2, 3])
def test_killed_while_it_writes_its_first_files_it_goes_on_in_its_folder(tmp_path, monkeypatch, written_before):
    """What is left then is a call log, perhaps half a file under another name, and perhaps a whole one."""

    class Killed(BaseException):
        pass

    def dying(file, content):
        if len(files) == written_before:
            file.with_name(f".{file.name}.new").write_bytes(content[:10])
            raise Killed
        files.append(file.name)
        write_whole(file, content)

    files: list[str] = []
    with endpoint() as server:
        with monkeypatch.context() as patch:
            patch.setattr("triptych.engines.local.write_whole", dying)
            patch.setattr("triptych.store.run.write_whole", dying)
            with pytest.raises(Killed):
                tp.run(recipe(server.base_url), tmp_path / "run")
        assert tp.run(recipe(server.base_url), tmp_path / "run").manifest.status == "finished"


def test_a_finished_run_replays_with_the_endpoint_gone(tmp_path):
    with endpoint() as server:
        tp.run(recipe(server.base_url), tmp_path / "run")
        before = tables(tmp_path / "run")
        same = recipe(server.base_url)
    tp.run(same, tmp_path / "run")
    assert_same_tables(before, tables(tmp_path / "run"))


def test_changing_one_criterion_asks_for_that_criterion_alone(tmp_path):
    criteria = {"helpful": {"text": "It helps.", "weight": 2}, "honest": {"text": "It never claims too much."}}
    with endpoint(record=True) as server:
        tp.run(recipe(server.base_url), tmp_path / "run")
        before = tables(tmp_path / "run")["judgements"]
        server.reset()
        already = len(server.requests())
        tp.run(recipe(server.base_url, objective={"criteria": criteria}), tmp_path / "run")
        asked = server.requests()[already:]
        assert server.stats()["requests"] == len(asked) == 60
    assert all("It never claims too much." in body["messages"][-1]["content"] for body in asked)
    after = tables(tmp_path / "run")["judgements"]
    kept = pl.col("criterion") != "honest"
    assert before.filter(kept).equals(after.filter(kept))
    assert not set(before.filter(~kept)["id"]) & set(after.filter(~kept)["id"])


def test_changing_a_weight_or_the_pairing_costs_no_call(tmp_path):
    criteria = {"helpful": {"text": "It helps.", "weight": 0.1}, "honest": {"text": "It is honest.", "weight": 5}}
    with endpoint() as server:
        tp.run(recipe(server.base_url), tmp_path / "run")
        before = tables(tmp_path / "run")["examples"]
        server.reset()
        tp.run(recipe(server.base_url, objective={"criteria": criteria}), tmp_path / "run")
        tp.run(recipe(server.base_url, instantiation={"kind": "pairs", "choose": "all_pairs"}), tmp_path / "run")
        assert server.stats()["requests"] == 0
    assert tables(tmp_path / "run")["examples"].height > before.height


def test_more_samples_pay_only_for_what_is_new(tmp_path):
    with endpoint() as server:
        tp.run(recipe(server.base_url, n=2), tmp_path / "run")
        before = set(tables(tmp_path / "run")["responses"]["id"])
        server.reset()
        tp.run(recipe(server.base_url, n=3), tmp_path / "run")
        assert server.stats()["requests"] == 20 + 20 * 2
    assert before < set(tables(tmp_path / "run")["responses"]["id"])


def test_two_designs_share_a_call_log_and_each_counts_its_own_spending(tmp_path):
    price = {"price": {"input": 1, "output": 1}}
    with endpoint() as server:
        first = tp.run(recipe(server.base_url, model=price), tmp_path / "a", calls=tmp_path / "shared.sqlite")
        server.reset()
        other = recipe(server.base_url, model=price, name="other", evaluation=[])
        second = tp.run(other, tmp_path / "b", calls=tmp_path / "shared.sqlite")
        assert server.stats()["requests"] == 0
    assert first.manifest.spent["calls"] == 180
    assert second.manifest.spent["calls"] == 0


def test_a_limit_takes_the_first_prompts_and_lifting_it_goes_on(tmp_path):
    with endpoint() as server:
        tp.run(recipe(server.base_url), tmp_path / "run", limit=5)
        assert tables(tmp_path / "run")["prompts"].height == 5
        tp.run(recipe(server.base_url), tmp_path / "run")
        assert server.stats()["repeated_bodies"] == 0
    assert tables(tmp_path / "run")["prompts"].height == 20


def test_faults_and_malformed_verdicts_lose_no_row(tmp_path):
    with endpoint() as server:
        tp.run(recipe(server.base_url, prompts=150), tmp_path / "calm")
    faults = {"faults": 0.1, "fault_kinds": "429,500,503,hang", "retry_after": 0.05, "malformed": 0.02, "seed": 5}
    with endpoint(**faults) as server:
        run = tp.run(recipe(server.base_url, prompts=150, model={"timeout_s": 1.0}), tmp_path / "rough")
    calm, rough = tables(tmp_path / "calm"), tables(tmp_path / "rough")
    assert_same_tables({"r": calm["responses"]}, {"r": rough["responses"]})
    assert calm["judgements"]["id"].equals(rough["judgements"]["id"])
    assert rough["judgements"]["status"].unique().to_list() == ["ok"]
    counts = run.manifest.counts
    assert counts["synthesis"]["retried"] > 20
    assert counts["evaluation"]["asked"] > 900, "some verdicts were asked for once more"
    assert counts["synthesis"]["failed"] == counts["evaluation"]["failed"] == 0
    twice = rough["judgements"].filter(pl.col("call_ids").list.len() == 2)
    assert 3 <= twice.height <= 60
    assert twice["scores"].null_count() == 0


def test_what_stays_malformed_is_unparsed_with_its_text_and_no_score(tmp_path):
    with endpoint(malformed=0.1, malformed_always=True) as server:
        run = tp.run(recipe(server.base_url), tmp_path / "run")
        asked = server.stats()["requests"]
    judged = run.judgements().filter(pl.col("evaluator") == "rubric").collect()
    bad = judged.filter(pl.col("status") == "unparsed")
    assert judged.height == 120
    assert 3 <= bad.height <= 30
    assert bad["scores"].null_count() == bad.height
    assert all("[asked again: " in raw for raw in bad["raw"])
    assert asked == 60 + 120 + bad.height


def test_calls_that_fail_for_good_are_rows_and_are_tried_again_next_time(tmp_path):
    with endpoint(fail_body=["number 7.:500"]) as server:
        run = tp.run(recipe(server.base_url, model={"max_retries": 1}), tmp_path / "run")
        responses = run.responses().collect()
        failed = responses.filter(pl.col("status") == "failed")
        assert responses.height == 60
        assert failed.height == 3
        assert all("HTTP 500" in error for error in failed["error"])
        assert run.manifest.counts["synthesis"]["failed"] == 3
        server.reset()
        tp.run(recipe(server.base_url, model={"max_retries": 0}), tmp_path / "run")
        assert server.stats()["requests"] == 3


def test_an_endpoint_that_goes_down_stops_the_run_in_order_and_it_resumes(tmp_path):
    with endpoint() as server:
        tp.run(recipe(server.base_url), tmp_path / "calm")
    with endpoint(latency_ms=5, down_after=100) as server, pytest.raises(EndpointDown):
        tp.run(recipe(server.base_url, model={"patience_s": 0.5}), tmp_path / "run")
    status = tp.open_run(tmp_path / "run").manifest.status
    assert status.startswith("stopped: the endpoint of model 'm'")
    with endpoint() as server:
        tp.run(recipe(server.base_url), tmp_path / "run")
        assert server.stats()["requests"] <= 180 - 100 + 1
    assert_same_tables(tables(tmp_path / "calm"), tables(tmp_path / "run"))


def test_a_budget_ends_the_run_in_order_and_a_larger_one_goes_on(tmp_path):
    price = {"price": {"input": 0, "output": 1000}, "concurrency": 4}
    with endpoint(latency_ms=2) as server:
        calm = tp.run(recipe(server.base_url, model=price), tmp_path / "calm")
        total = calm.manifest.spent["usd"]
        server.reset()
        with pytest.raises(BudgetReached):
            tp.run(recipe(server.base_url, model=price, budget={"usd": total / 2}), tmp_path / "run")
        stopped = tp.open_run(tmp_path / "run")
        dearest = max(calm.responses().collect()["cost_usd"].max(), calm.judgements().collect()["cost_usd"].max())
        assert total / 2 <= stopped.manifest.spent["usd"] <= total / 2 + 4 * dearest
        assert 0 < stopped.prompts().collect().height < 20
        spent = stopped.manifest.spent["usd"]
        with pytest.raises(BudgetReached):
            tp.run(recipe(server.base_url, model=price, budget={"usd": total / 2}), tmp_path / "run")
        assert tp.open_run(tmp_path / "run").manifest.spent["usd"] == pytest.approx(spent), (
            "the same budget buys no more"
        )
        tp.run(recipe(server.base_url, model=price, budget={"usd": total * 1.01}), tmp_path / "run")
        assert server.stats()["repeated_bodies"] == 0
    assert_same_tables(tables(tmp_path / "calm"), tables(tmp_path / "run"))


def test_a_sitting_that_stops_at_once_keeps_the_tables_of_the_one_before(tmp_path, monkeypatch):
    """They cost nothing to make again, but nothing of them would be left to look at."""
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    with endpoint() as server:
        tp.run(recipe(server.base_url), tmp_path / "run")
        before, text = tables(tmp_path / "run"), tp.open_run(tmp_path / "run").recipe_text()
        changed = {"criteria": {"helpful": {"text": "It is of help."}, "honest": {"text": "It is honest."}}}
        keyless = {"api_key_env": "NO_SUCH_KEY"}
        with pytest.raises(KeyRefused):
            tp.run(recipe(server.base_url, objective=changed, model=keyless), tmp_path / "run")
        stopped = tp.open_run(tmp_path / "run")
        assert_same_tables(before, tables(tmp_path / "run"))
        assert stopped.recipe_text() == text, "the recipe in the folder is that of its tables"
        assert stopped.manifest.status.endswith("the tables are of the sitting before)")
        assert stopped.manifest.spent["calls"] == 180
        tp.run(recipe(server.base_url, objective=changed), tmp_path / "run")
    assert "It is of help." in tp.open_run(tmp_path / "run").recipe_text()


def test_a_run_keeps_to_its_call_log(tmp_path):
    with endpoint() as server:
        tp.run(recipe(server.base_url), tmp_path / "run", calls=tmp_path / "shared.sqlite", limit=5)
        server.reset()
        tp.run(recipe(server.base_url), tmp_path / "run", limit=5)
        assert server.stats()["requests"] == 0, "the log that was named at first is used again"
        with pytest.raises(RunFolderError, match=r"are in .*shared.sqlite, not in .*other.sqlite"):
            tp.run(recipe(server.base_url), tmp_path / "run", calls=tmp_path / "other.sqlite")
        (tmp_path / "shared.sqlite").rename(tmp_path / "moved.sqlite")
        moved = tp.run(recipe(server.base_url), tmp_path / "run", calls=tmp_path / "moved.sqlite", limit=5)
        assert server.stats()["requests"] == 0
    assert moved.manifest.spent["calls"] == 45
    (tmp_path / "moved.sqlite").unlink()
    with pytest.raises(RunFolderError, match=r"moved\.sqlite, which is not there"):
        tp.run(recipe(server.base_url), tmp_path / "run", limit=5)
    assert not (tmp_path / "moved.sqlite").exists()


def test_a_run_inside_a_running_loop_as_in_a_notebook(tmp_path):
    async def cell():
        return tp.run(recipe(server.base_url), tmp_path / "run", limit=3)

    with endpoint() as server:
        assert asyncio.run(cell()).prompts().collect().height == 3


def test_a_source_that_breaks_in_the_middle_keeps_what_was_paid_for(tmp_path, monkeypatch):
    good = tp.InlinePrompts.rows

    def breaking(self, folder):
        for place, row in enumerate(good(self, folder)):
            if place == 60:
                raise PromptError("the file ends in the middle of row 61")
            yield row

    monkeypatch.setattr(tp.InlinePrompts, "rows", breaking)
    with endpoint(latency_ms=50) as server:
        with pytest.raises(PromptError, match="row 61"):
            tp.run(recipe(server.base_url, prompts=100), tmp_path / "run")
        sent = server.stats()["requests"]
    assert sent == tp.open_run(tmp_path / "run").manifest.spent["calls"] > 0


def test_an_instantiation_that_fails_costs_the_examples_and_nothing_else(tmp_path, monkeypatch):
    def failing(self, responses, judgements, objective, seed):
        raise ZeroDivisionError("by the margin")

    with endpoint(latency_ms=5) as server:
        with monkeypatch.context() as patch:
            patch.setattr(tp.Pairs, "instantiate", failing)
            with pytest.raises(OperatorFailed, match=r"an instantiation .* ZeroDivisionError: by the margin"):
                tp.run(recipe(server.base_url), tmp_path / "run")
        got = tables(tmp_path / "run")
        assert {name: frame.height for name, frame in got.items()} == {
            "prompts": 20,
            "responses": 60,
            "judgements": 180,
            "examples": 0,
        }
        assert tp.open_run(tmp_path / "run").manifest.status.startswith("stopped: an instantiation")
        server.reset()
        tp.run(recipe(server.base_url), tmp_path / "run")
        assert server.stats()["requests"] == 0
    assert tables(tmp_path / "run")["examples"].height > 0


def test_whatever_goes_wrong_where_tables_are_written_ends_the_run_in_order(tmp_path, monkeypatch):
    def failing(name, rows):
        raise MemoryError

    with endpoint(latency_ms=20) as server:
        with monkeypatch.context() as patch:
            patch.setattr("triptych.store.writer.PROMPTS_A_PART", 2)
            patch.setattr("triptych.store.writer.frame", failing)
            with pytest.raises(OperatorFailed, match="writing the tables failed with MemoryError"):
                tp.run(recipe(server.base_url, prompts=80, model={"concurrency": 8}), tmp_path / "run")
        answered = server.stats()["answered"]
        assert answered == paid(tmp_path / "run") < 80 * 9, "calls in flight come in, and nothing more is sent"
        assert read_manifest(tmp_path / "run").status.startswith("stopped: writing the tables")
        assert not (tmp_path / "run" / ".parts").exists()
        tp.run(recipe(server.base_url, prompts=80, model={"concurrency": 8}), tmp_path / "run")
        assert server.stats()["repeated_bodies"] == 0
    assert tables(tmp_path / "run")["prompts"].height == 80


def test_a_damaged_table_is_one_clear_error_and_made_anew(tmp_path):
    with endpoint() as server:
        before = tp.run(recipe(server.base_url), tmp_path / "run").responses().collect()
        file = tmp_path / "run" / "responses.parquet"
        file.write_bytes(file.read_bytes()[:200])
        with pytest.raises(RunFolderError, match=r"responses\.parquet is damaged .* run its recipe again"):
            tp.open_run(tmp_path / "run").responses()
        tp.run(recipe(server.base_url), tmp_path / "run")
    assert tp.open_run(tmp_path / "run").responses().collect().equals(before)


def test_a_folder_of_another_recipe_or_of_strangers_is_left_alone(tmp_path):
    with endpoint() as server:
        tp.run(recipe(server.base_url), tmp_path / "run", limit=2)
        with pytest.raises(RunFolderError, match="holds a run of the recipe 'test', not 'other'"):
            tp.run(recipe(server.base_url, name="other"), tmp_path / "run")
        (tmp_path / "home").mkdir()
        (tmp_path / "home" / "letter.txt").write_text("dear")
        with pytest.raises(RunFolderError, match=r"something else \(letter.txt\)"):
            tp.run(recipe(server.base_url), tmp_path / "home")
    assert tables(tmp_path / "run")["prompts"].height == 2


@pytest.mark.parametrize("left", [None, b"\xff", b"a: [", b"- a", b"models: [1]", b"objective: {criteria: [3]}"])
def test_a_run_folder_without_a_readable_recipe_says_so(tmp_path, left):
    with endpoint() as server:
        run = tp.run(recipe(server.base_url), tmp_path / "run", limit=2)
        (tmp_path / "run" / "recipe.yaml").unlink()
        if left is not None:
            (tmp_path / "run" / "recipe.yaml").write_bytes(left)
        others = (
            lambda: summary(run),
            lambda: tp.export_run(run, to="trl", out=tmp_path / "out"),
            lambda: tp.instantiate(run, recipe(server.base_url), tmp_path / "out"),
        )
        for read in others:
            with pytest.raises(RunFolderError, match=r"recipe.yaml can't be read: .*; run its recipe again") as raised:
                read()
            assert "\n" not in str(raised.value)
            assert not (tmp_path / "out").exists()
        tp.run(recipe(server.base_url), tmp_path / "run", limit=2)
    assert summary(run).examples > 0


@pytest.mark.parametrize("left", ["letter.txt", "run.json"])
def test_a_folder_that_is_refused_is_left_as_it_is(tmp_path, left):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / left).write_text('{"run": "1", "recipe": "other", "recipe_id": "2"}')
    with pytest.raises(RunFolderError):
        tp.run(recipe("http://127.0.0.1:9/v1"), tmp_path / "home")
    assert [entry.name for entry in (tmp_path / "home").iterdir()] == [left]


def test_a_folder_that_can_not_be_made_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    with endpoint() as server:
        with pytest.raises(RunFolderError, match="can't write to"):
            tp.run(recipe(server.base_url), tmp_path / "file" / "run")
        assert server.stats()["requests"] == 0


# The rest runs the command line in a process of its own.


def start(recipe_file: Path, out: Path, *more: str, **options) -> subprocess.Popen:
    command = [sys.executable, "-m", "triptych", "run", str(recipe_file), "--out", str(out), *more]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


def triptych(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "triptych", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def written(tmp_path: Path, value: tp.Recipe) -> Path:
    file = tmp_path / "recipe.yaml"
    file.write_text(recipe_yaml(value))
    return file


def paid(out: Path) -> int:
    try:
        with closing(sqlite3.connect(f"file:{out / 'calls.sqlite'}?mode=ro", uri=True)) as log:
            return log.execute("select count(*) from calls").fetchone()[0]
    except sqlite3.Error:
        return 0


def test_killed_twenty_times_at_random_it_ends_as_if_undisturbed(tmp_path):
    concurrency, seed = 16, random.Random(11)
    with endpoint(latency_ms=30) as server:
        value = recipe(server.base_url, prompts=150, model={"concurrency": concurrency})
        tp.run(value, tmp_path / "calm")
        calls = tp.open_run(tmp_path / "calm").manifest.spent["calls"]
        server.reset()
        file, kills = written(tmp_path, value), 0
        for _ in range(20):
            process = start(file, tmp_path / "run", "--quiet")
            target = paid(tmp_path / "run") + seed.randint(0, 90)
            deadline = time.monotonic() + seed.uniform(0.1, 4)
            while process.poll() is None and time.monotonic() < deadline and paid(tmp_path / "run") <= target:
                time.sleep(0.005)
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
                kills += 1
            process.communicate()
        done = start(file, tmp_path / "run", "--quiet")
        assert done.communicate()[1] == ""
        assert done.returncode == 0
        stats = server.stats()
    assert kills >= 10, "too few of the kills came while it ran"
    assert stats["requests"] - calls <= kills * concurrency
    assert stats["repeated_answers"] <= kills * concurrency
    assert_same_tables(tables(tmp_path / "calm"), tables(tmp_path / "run"))


KILLED_BEFORE_A_TABLE_HAS_ITS_NAME = """
import os, signal, sys
import triptych as tp
from runs import recipe
again, left = os.replace, [int(sys.argv[3])]
def dying(source, target):
    if str(target).endswith(".parquet"):
        if not left[0]:
            os.kill(os.getpid(), signal.SIGKILL)
        left[0] -= 1
    again(source, target)
os.replace = dying
run = tp.open_run(sys.argv[2])
if sys.argv[1] == "instantiate":
    tp.instantiate(run, recipe("http://127.0.0.1:9/v1", instantiation={"kind": "sft"}), sys.argv[4])
else:
    tp.run(recipe(sys.argv[1], n=3, prompts=5), sys.argv[2])
"""


def killed_while_tables_get_their_names(*arguments: object) -> None:
    command = [sys.executable, "-c", KILLED_BEFORE_A_TABLE_HAS_ITS_NAME, *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)])}
    assert subprocess.run(command, env=environment, check=False).returncode == -signal.SIGKILL


@pytest.mark.parametrize("named_before", [0, 1, 3])
def test_killed_while_the_tables_get_their_names_old_and_new_ones_are_never_mixed(tmp_path, named_before):
    with endpoint() as server:
        after = tp.run(recipe(server.base_url, prompts=5), tmp_path / "calm")
        tp.run(recipe(server.base_url, n=2, prompts=5), tmp_path / "run", calls=after.calls_path)
        killed_while_tables_get_their_names(server.base_url, tmp_path / "run", named_before)
        for table in ("prompts", "responses", "judgements", "examples"):
            with pytest.raises(RunFolderError, match=f"no table of {table} yet; run its recipe again"):
                tp.open_run(tmp_path / "run").table(table)
        server.reset()
        with pytest.raises(BudgetReached):  # there are no tables of a sitting before to keep
            tp.run(recipe(server.base_url, prompts=6, budget={"calls": 0}), tmp_path / "run")
        assert tables(tmp_path / "run")["prompts"].height == 5
        tp.run(recipe(server.base_url, prompts=5), tmp_path / "run")
        assert server.stats()["requests"] == 0
    assert_same_tables(tables(tmp_path / "calm"), tables(tmp_path / "run"))


def test_killed_while_examples_made_anew_get_their_names_they_are_never_mixed_with_old_ones(tmp_path):
    with endpoint() as server:
        run = tp.run(recipe(server.base_url, prompts=5), tmp_path / "run")
    sft = recipe("http://127.0.0.1:9/v1", instantiation={"kind": "sft"})
    tp.instantiate(run, recipe("http://127.0.0.1:9/v1"), tmp_path / "anew")
    killed_while_tables_get_their_names("instantiate", tmp_path / "run", 2, tmp_path / "anew")
    with pytest.raises(RunFolderError, match="no table of examples yet"):
        tp.open_run(tmp_path / "anew").examples()
    again = tp.instantiate(run, sft, tmp_path / "anew").examples().collect()
    assert set(again["kind"]) == {"sft"}


@pytest.mark.parametrize(("sent", "told"), [(signal.SIGINT, "Ctrl-C"), (signal.SIGTERM, "SIGTERM")])
def test_ctrl_c_and_sigterm_end_in_order_and_the_run_goes_on_later(tmp_path, sent, told):
    with endpoint(latency_ms=50) as server:
        value = recipe(server.base_url, prompts=40, model={"concurrency": 8})
        process = start(written(tmp_path, value), tmp_path / "run")
        while paid(tmp_path / "run") < 30:
            time.sleep(0.02)
        process.send_signal(sent)
        _out, err = process.communicate(timeout=20)
        assert process.returncode == 130
        assert f"stopped by {told}; " in err
        assert "Traceback" not in err
        assert read_manifest(tmp_path / "run").status.startswith(f"stopped: stopped by {told}")
        assert paid(tmp_path / "run") == server.stats()["answered"], "calls in flight were let come in"
        tp.run(value, tmp_path / "run")
        assert server.stats()["repeated_bodies"] == 0


def test_prompts_that_are_slow_to_come_keep_nobody_waiting(tmp_path):
    """The first prompts of a pipe are asked while the next ones have not been written."""
    with endpoint() as server:
        value = recipe(server.base_url).model_copy(update={"prompts": tp.PromptFile(path="-")})
        process = start(written(tmp_path, value), tmp_path / "run", "--quiet", stdin=subprocess.PIPE)
        process.stdin.write('{"prompt": "Say hi."}\n')
        process.stdin.flush()
        for _ in range(100):
            if server.stats()["answered"] == 9:
                break
            time.sleep(0.1)
        else:
            pytest.fail("the first prompt was not worked on while the second was awaited")
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
    assert process.returncode == 130, err
    assert "Fatal" not in err
    assert tables(tmp_path / "run")["prompts"].height == 1


def test_a_second_ctrl_c_ends_at_once(tmp_path):
    with endpoint(latency_ms=20_000) as server:
        process = start(written(tmp_path, recipe(server.base_url)), tmp_path / "run")
        while server.stats()["in_flight"] == 0:
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        time.sleep(0.3)
        assert process.poll() is None, "it waits for the calls in flight"
        process.send_signal(signal.SIGINT)
        begun = time.monotonic()
        process.communicate(timeout=20)
        assert time.monotonic() - begun < 3
    assert process.returncode == 130


@pytest.mark.parametrize("presses", [1, 2])
def test_ctrl_c_while_the_tables_are_put_together(tmp_path, presses):
    """Once nothing is left but to finish, it finishes; the second time it ends at once."""
    script = """
import sys, time
import triptych as tp
from runs import recipe
from triptych.store.writer import TableWriter
join = TableWriter._join
def slowly(self):
    print("joining", flush=True)
    end = time.monotonic() + 1.5
    while time.monotonic() < end:
        time.sleep(0.02)
    join(self)
TableWriter._join = slowly
tp.run(recipe(sys.argv[1]), sys.argv[2])
"""
    with endpoint() as server:
        command = [sys.executable, "-c", script, server.base_url, str(tmp_path / "run")]
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)])
        }
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
        assert process.stdout.readline() == "joining\n"
        begun = time.monotonic()
        for _ in range(presses):
            process.send_signal(signal.SIGINT)
            time.sleep(0.2)
        _, err = process.communicate(timeout=20)
    assert "Traceback" not in err
    if presses == 1:
        assert process.returncode == 0
        assert read_manifest(tmp_path / "run").status == "finished"
    else:
        assert process.returncode == 130
        assert time.monotonic() - begun < 2


def test_a_second_process_on_one_folder_is_told_so(tmp_path):
    with endpoint(latency_ms=60_000) as server:
        file = written(tmp_path, recipe(server.base_url))
        first = start(file, tmp_path / "run")
        while server.stats()["in_flight"] == 0:
            time.sleep(0.02)
        second = start(file, tmp_path / "run")
        _, err = second.communicate(timeout=40)
        assert second.returncode == 3
        assert "another process is running in" in err
        assert len(err.strip().splitlines()) == 1
        assert first.poll() is None, "the first goes on"
        first.kill()
        first.communicate(timeout=20)
        third = start(file, tmp_path / "run")  # a lock does not outlive its process
        while third.poll() is None and server.stats()["requests"] == 32:
            time.sleep(0.02)
        assert third.poll() is None
        third.kill()
        third.communicate(timeout=20)


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Callable[[], None]]:
    """A folder that is a disk of that size; what it gives makes room on it."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small disk needs root")
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]).returncode != 0:
        pytest.skip("this machine does not let us mount a small disk")
    try:
        yield lambda: subprocess.run(["mount", "-o", "remount,size=60m", str(folder)], check=True)
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_is_said_and_what_was_paid_for_is_kept(tmp_path):
    disk = tmp_path / "disk"
    with small_disk(disk, "600k") as make_room, endpoint() as server:
        file = written(tmp_path, recipe(server.base_url, prompts=300))
        process = start(file, disk / "run")
        _, err = process.communicate(timeout=60)
        assert process.returncode == 3
        assert "make room, then run the same command again" in err
        assert "Traceback" not in err
        kept, answered = paid(disk / "run"), server.stats()["answered"]
        assert 0 < kept <= answered <= kept + 2 * 32, "what is in flight comes in, and nothing more is sent"
        assert answered < 300 * 9
        make_room()
        again = start(file, disk / "run")
        again.communicate(timeout=60)
        assert again.returncode == 0
        assert server.stats()["answered"] == answered + 300 * 9 - kept


@pytest.mark.parametrize("size", ["4k", "80k", "300k"])
def test_a_disk_that_is_full_when_the_tables_are_written(tmp_path, size):
    """The call log is on another one."""
    disk = tmp_path / "disk"
    with small_disk(disk, size) as make_room, endpoint() as server:
        file, log = written(tmp_path, recipe(server.base_url, prompts=150)), ("--calls", str(tmp_path / "log.sqlite"))
        process = start(file, disk / "run", "--quiet", *log)
        _, err = process.communicate(timeout=60)
        assert process.returncode == 3
        assert len(err.splitlines()) == 1, err
        assert "No space left on device" in err
        if size != "4k":
            assert read_manifest(disk / "run").status.startswith("stopped: can't write the tables")
        make_room()
        server.reset()
        again = start(file, disk / "run", "--quiet", *log)
        assert again.communicate(timeout=60)[1] == ""
        assert server.stats()["requests"] == (150 * 9 if size == "4k" else 0)
        assert tables(disk / "run")["responses"].height == 450


@pytest.mark.parametrize(
    ("size", "said"),
    [
        ("4k", "can't open the call log"),
        ("12k", "the disk is full, make room"),
        ("200k", "what is set aside"),
    ],
)
def test_a_disk_that_is_full_before_anything_or_of_bad_rows(tmp_path, size, said):
    (tmp_path / "p.jsonl").write_text('{"prompt": "a", "responses": ["b"]}\n' + f'{{"prompt": {"x" * 1500}\n' * 300)
    (tmp_path / "r.yaml").write_text("name: bad\nprompts: {kind: file, path: p.jsonl}\nsynthesis: {kind: given}\n")
    with small_disk(tmp_path / "disk", size) as make_room:
        process = start(tmp_path / "r.yaml", tmp_path / "disk" / "run", "--quiet")
        _, err = process.communicate(timeout=60)
        assert process.returncode == 3
        assert len(err.splitlines()) == 1, err
        assert said in err
        make_room()
        again = start(tmp_path / "r.yaml", tmp_path / "disk" / "run", "--quiet")
        assert again.communicate(timeout=60)[1] == ""
        assert len((tmp_path / "disk" / "run" / "set_aside.jsonl").read_text().splitlines()) == 300


@contextmanager
def only_to_be_read(folder: Path) -> Iterator[None]:
    if os.geteuid() != 0:
        folder.chmod(0o555)
        yield
        folder.chmod(0o755)
    else:  # who may write whatever the mode says
        subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
        yield
        subprocess.run(["mount", "-o", "remount,rw", str(folder)], check=True)


def test_a_run_is_shown_where_nothing_can_be_written(tmp_path):
    with endpoint() as server, small_disk(tmp_path / "disk", "60m"):
        run = tp.run(recipe(server.base_url, prompts=2), tmp_path / "disk" / "run")
        call_id = run.responses().collect()["call_ids"][0][0]
        with only_to_be_read(tmp_path / "disk"):
            for arguments in ((), ("1",), (call_id,)):
                shown = triptych("show", tmp_path / "disk" / "run", *arguments)
                assert (shown.returncode, shown.stderr) == (0, "")
            assert "tokens not known" not in triptych("show", tmp_path / "disk" / "run", "1").stdout
            refused = triptych("run", written(tmp_path, recipe(server.base_url)), "--out", tmp_path / "disk" / "run")
            assert refused.returncode == 3
            assert "can't write to" in refused.stderr
        (tmp_path / "disk" / "run" / "calls.sqlite-wal").write_bytes(b"what a kill leaves")
        with only_to_be_read(tmp_path / "disk"):
            cut = triptych("show", tmp_path / "disk" / "run", call_id)
            assert cut.returncode == 3
            assert "needs a folder that can be written" in cut.stderr


def test_a_call_log_that_another_program_holds_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr("triptych.store.call_log._BUSY_S", 0.1)
    monkeypatch.setattr("triptych.store.call_log._OPENING_S", 0.1)
    with endpoint() as server, closing(sqlite3.connect(tmp_path / "log.sqlite", isolation_level=None)) as other:
        value, log = recipe(server.base_url, prompts=5), tmp_path / "log.sqlite"
        run = tp.run(value, tmp_path / "run", calls=log, limit=1)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(RunFolderError, match=r"database is locked.* another program holds it, end that one, then run"):
            tp.run(value, tmp_path / "run", calls=log)
        assert tp.open_run(run.path).manifest.status.startswith("stopped: can't write to the call log")
        other.execute("ROLLBACK")
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(RunFolderError, match=r"can't open the call log .*; another program holds it, end that one"):
            tp.run(value, tmp_path / "run", calls=log)
        other.execute("ROLLBACK")


def test_progress_and_json_for_machines(tmp_path):
    with endpoint() as server:
        process = start(written(tmp_path, recipe(server.base_url)), tmp_path / "run", "--json")
        out, err = process.communicate(timeout=60)
    summary = json.loads(out)
    assert err == ""
    assert summary["manifest"]["spent"]["calls"] == 180
    assert summary["responses"] == {"ok": 60}


def test_keys_reach_no_file_and_no_screen(tmp_path, monkeypatch):
    monkeypatch.setenv("SECRET_KEY_OF_TEST", "sk-4a5f-very-secret")
    with endpoint(api_key="sk-4a5f-very-secret") as server:
        value = recipe(server.base_url, model={"api_key_env": "SECRET_KEY_OF_TEST"})
        process = start(written(tmp_path, value), tmp_path / "run")
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0
        tp.export_run(tp.open_run(tmp_path / "run"), to="trl")
    assert "very-secret" not in out + err
    files = [file for file in (tmp_path / "run").rglob("*") if file.is_file()]
    assert len(files) > 7
    assert not [file for file in files if b"very-secret" in file.read_bytes()]


@pytest.mark.parametrize(
    "judge",
    [
        {"kind": "rubric", "model": "m", "criteria": ["helpful", "honest"], "max_tokens": 60},
        {"kind": "pairwise", "model": "m", "criteria": ["helpful"], "max_tokens": 60},
        {"kind": "listwise", "model": "m", "criteria": ["honest"], "orders": 3, "max_tokens": 60},
    ],
    ids=lambda judge: judge["kind"],
)
def test_a_judge_whose_every_verdict_is_useless_costs_at_most_what_the_plan_says(tmp_path, judge):
    with endpoint(malformed=1.0, malformed_always=True) as server:
        priced = {"price": {"input": 1, "output": 10}}
        asked = recipe(server.base_url, prompts=5, model=priced, evaluation=judge, instantiation=[])
        planned, run = tp.plan(asked), tp.run(asked, tmp_path / "run")
    assert set(run.judgements().collect()["status"]) == {"unparsed"}
    spent = run.manifest.spent
    assert spent["calls"] == planned.most_calls > planned.calls
    assert spent["usd"] <= planned.most_usd


def test_a_template_that_asks_for_a_reference_stops_before_anything_is_paid(tmp_path):
    judge = {"kind": "rubric", "model": "m", "criteria": ["helpful"], "template": "{{ reference }} {{ response }}"}
    prompts = tp.InlinePrompts(prompts=[{"prompt": "one", "reference": "1"}, "two"])
    with endpoint() as server:
        asked = recipe(server.base_url, evaluation=judge).model_copy(update={"prompts": prompts})
        assert (
            "row 2 can't be worked on: evaluation.0: its template asks for a reference" in tp.plan(asked).not_ready[0]
        )
        with pytest.raises(PromptError, match=r"row 2 .* asks for a reference"):
            tp.run(asked, tmp_path / "run")
        assert server.stats()["requests"] == 0


@pytest.mark.parametrize("limit", [0, -1])
def test_a_limit_below_one_is_refused(tmp_path, limit):
    with pytest.raises(ValueError, match="limit is"):
        tp.run(recipe("http://127.0.0.1:9/v1"), tmp_path / "run", limit=limit)


def test_a_recipe_that_is_only_named_is_refused(tmp_path):
    with pytest.raises(TypeError, match="load_recipe"):
        tp.run("recipe.yaml", tmp_path / "run")


def test_a_damaged_call_log_is_one_clear_error(tmp_path):
    with endpoint() as server:
        tp.run(recipe(server.base_url, prompts=200), tmp_path / "run")
        log = tmp_path / "run" / "calls.sqlite"
        content = bytearray(log.read_bytes())
        content[8192 : len(content) - 4096] = b"\xff" * (len(content) - 12288)
        log.write_bytes(content)
        with pytest.raises(RunFolderError, match="call log"):
            tp.run(recipe(server.base_url, prompts=200), tmp_path / "run")


def test_tokens_of_a_call_with_several_responses_add_up(tmp_path):
    with endpoint() as server:
        sample = {"kind": "sample", "model": "m", "n": 5, "samples_per_call": 3, "max_tokens": 80}
        run = tp.run(recipe(server.base_url, prompts=4, synthesis=sample, evaluation=[]), tmp_path / "run")
    responses = run.responses().collect()
    paid = run.manifest.counts["synthesis"]
    assert responses["prompt_tokens"].sum() == paid["prompt_tokens"]
    assert responses["completion_tokens"].sum() == paid["completion_tokens"]


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_ctrl_c_inside_of_a_running_loop_ends_in_order(tmp_path):
    script = """
import asyncio, sys
import triptych as tp
from runs import recipe
async def main():
    tp.run(recipe(sys.argv[1], prompts=2000, model={"concurrency": 2}), sys.argv[2], progress=lambda p: print("on", flush=True))
asyncio.run(main())
"""
    with endpoint(latency_ms=50) as server:
        arguments = [sys.executable, "-c", script, server.base_url, str(tmp_path / "run")]
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)])
        }
        going = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
        for _ in range(4):
            going.stdout.readline()
        going.send_signal(signal.SIGINT)
        _, said = going.communicate(timeout=20)
    assert "Interrupted" in said
    assert tp.open_run(tmp_path / "run").manifest.status.startswith("stopped: ")
