"""Whatever goes wrong, a run ends, and in order: nothing is waited for without end, and good tables stay."""

from __future__ import annotations

import asyncio
import json
import threading
import time

import polars as pl
import pytest

import triptych as tp
from endpoint import endpoint
from runs import recipe as sampled
from triptych.app import cli
from triptych.engines.reader import Aside, PromptReader
from triptych.errors import Interrupted, OperatorFailed, PromptError, RecipeError
from triptych.models import endpoint as endpoints
from triptych.models.budget import Budget, Ledger
from triptych.models.calls import Calls, Counts
from triptych.models.chat import ChatRequest
from triptych.models.spec import EmbeddedModel, OpenAIModel
from triptych.models.wire import read_usage
from triptych.records import Message
from triptych.store.call_log import CallLog


def recipe(path):
    return tp.Recipe(
        name="endings",
        prompts=tp.PromptFile(path=str(path)),
        synthesis=tp.Given(),
        evaluation=tp.Verify(),
        instantiation=tp.Pairs(),
    )


def test_a_source_without_one_good_row_ends_the_run_and_keeps_the_tables_before(tmp_path):
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text(json.dumps({"prompt": "Say yes.", "responses": ["yes", "no"]}) + "\n")
    tp.run(recipe(prompts), tmp_path / "run")
    prompts.write_text('{"prompt": 5}\n{"prompt": ""}\n')
    with pytest.raises(PromptError, match="none of the 2 rows is a prompt"):
        tp.run(recipe(prompts), tmp_path / "run")
    run = tp.open_run(tmp_path / "run")
    assert run.responses().collect().height == 2
    assert run.manifest.status.startswith("stopped")


def test_a_source_that_breaks_in_a_way_that_nobody_foresaw_ends_the_run_in_order(tmp_path, monkeypatch):
    def rows(self, folder):
        yield from list(_rows(self, folder))[:2]
        raise ValueError("no more")

    _rows = tp.InlinePrompts.rows
    monkeypatch.setattr(tp.InlinePrompts, "rows", rows)
    prompts = [{"prompt": f"Say {n}.", "responses": ["a", "b"]} for n in range(5)]
    one = recipe("x").model_copy(update={"prompts": tp.InlinePrompts(prompts=prompts)})
    with pytest.raises(OperatorFailed, match="reading the prompts failed with ValueError: no more"):
        tp.run(one, tmp_path / "run")
    run = tp.open_run(tmp_path / "run")
    assert run.manifest.status.startswith("stopped: reading the prompts failed")
    assert run.prompts().collect().height == 2


class Panic(BaseException):
    """What a panic of Polars is to Python: no Exception."""


def raising(error):
    def failing(*_, **__):
        raise error

    return failing


def many(prompts=60):
    return [{"prompt": f"Say {n}.", "responses": ["a", "b"]} for n in range(prompts)]


@pytest.mark.parametrize("fatal", [ValueError, SystemExit, KeyboardInterrupt, GeneratorExit, Panic])
def test_what_ends_a_reading_thread_is_told_to_the_one_who_takes(tmp_path, fatal):
    def rows():
        raise fatal("told")
        yield

    async def take():
        news = asyncio.Event()
        one = PromptReader(rows(), Aside(tmp_path / "aside.jsonl"), 0, None)
        one.read_ahead(news)
        await asyncio.wait_for(news.wait(), 5)
        return one.take()

    with pytest.raises(fatal, match="told"):
        asyncio.run(take())


@pytest.mark.parametrize("counted", [True, False], ids=["a file", "a pipe"])
def test_a_source_that_panics_ends_the_run_in_order(tmp_path, monkeypatch, counted):
    def rows(self, folder):
        yield from list(_rows(self, folder))[:2]
        raise Panic("of a table")

    _rows = tp.InlinePrompts.rows
    monkeypatch.setattr(tp.InlinePrompts, "rows", rows)
    if not counted:  # then it is read in a thread of its own
        monkeypatch.setattr(tp.InlinePrompts, "count", lambda self, folder: None)
    with pytest.raises(OperatorFailed, match="reading the prompts failed with Panic: of a table"):
        tp.run(recipe("x").model_copy(update={"prompts": tp.InlinePrompts(prompts=many())}), tmp_path / "run")
    run = tp.open_run(tmp_path / "run")
    assert run.manifest.status.startswith("stopped: reading the prompts failed")
    assert run.prompts().collect().height == 2


@pytest.mark.parametrize("fatal", [Panic("of a table"), SystemExit(3), pl.exceptions.PanicException("of a table")])
@pytest.mark.parametrize(
    ("place", "prompts", "examples", "said"),
    [
        ("triptych.instantiation.pairs.Pairs.instantiate", 60, 0, "an instantiation of the recipe failed"),
        ("triptych.evaluation.verify.Verify.judge", 0, 0, "the evaluator 'verify' failed"),
        ("triptych.synthesis.given.Given.respond", 0, 0, "the generator 'given' failed"),
    ],
)
def test_a_panic_in_an_operator_ends_the_run_in_order(tmp_path, monkeypatch, fatal, place, prompts, examples, said):
    monkeypatch.setattr(place, raising(fatal))
    with pytest.raises(OperatorFailed, match=said):
        tp.run(recipe("x").model_copy(update={"prompts": tp.InlinePrompts(prompts=many())}), tmp_path / "run")
    run = tp.open_run(tmp_path / "run")
    assert run.manifest.status.startswith(f"stopped: {said}")
    assert run.prompts().collect().height == prompts
    assert run.examples().collect().height == examples


@pytest.mark.parametrize("place", ["frame", "TableWriter._keep", "TableWriter._join"])
def test_a_panic_where_tables_are_written_lets_come_in_what_is_paid_for(tmp_path, monkeypatch, place):
    with endpoint(latency_ms=20) as server:
        value = sampled(server.base_url, prompts=40, model={"concurrency": 8})
        with monkeypatch.context() as patch:
            patch.setattr("triptych.store.writer.PROMPTS_A_PART", 2)
            patch.setattr(f"triptych.store.writer.{place}", raising(Panic("of a table")))
            with pytest.raises(OperatorFailed, match="writing the tables failed with Panic: of a table"):
                tp.run(value, tmp_path / "run")
        run = tp.open_run(tmp_path / "run")
        assert run.manifest.status == "stopped: writing the tables failed with Panic: of a table"
        assert run.manifest.spent["calls"] == server.stats()["answered"] > 0
        assert tp.run(value, tmp_path / "run").prompts().collect().height == 40
        assert server.stats()["repeated_bodies"] == 0


@pytest.mark.parametrize("fatal", [ValueError("too wide"), Panic("too wide"), KeyboardInterrupt("too wide")])
@pytest.mark.parametrize("at", [1, 3])
def test_a_progress_that_raises_ends_the_run_in_order(tmp_path, fatal, at):
    told = []

    def progress(now):
        told.append(now.done)
        if len(told) == at:
            raise fatal

    with endpoint(latency_ms=100) as server:
        value = sampled(server.base_url, prompts=40, evaluation=[], model={"concurrency": 4})
        with pytest.raises(OperatorFailed, match=r"telling the progress failed with \w+: too wide"):
            tp.run(value, tmp_path / "run", progress=progress)
        run = tp.open_run(tmp_path / "run")
        assert run.manifest.status.startswith("stopped: telling the progress failed")
        assert run.manifest.spent["calls"] == server.stats()["answered"] < 40 * 3
        assert len(told) == at
        tp.run(value, tmp_path / "run", limit=4)
        assert server.stats()["repeated_bodies"] == 0


def test_a_progress_that_raises_at_the_very_end_costs_nothing(tmp_path):
    def progress(now):
        if now.done == 60:
            raise ValueError("too wide")

    with pytest.raises(OperatorFailed, match="telling the progress failed"):
        tp.run(
            recipe("x").model_copy(update={"prompts": tp.InlinePrompts(prompts=many())}),
            tmp_path / "run",
            progress=progress,
        )
    run = tp.open_run(tmp_path / "run")
    assert run.manifest.status.startswith("stopped: telling the progress failed")
    assert run.prompts().collect().height == 60


def test_calls_that_nobody_waits_for_any_more_come_in_before_the_run_ends(tmp_path, monkeypatch):
    """A judge is still out when a verifier of the same prompt fails, and with it all work on that prompt."""

    async def failing(self, case, ask):
        while server.stats()["answered"] < 3 or server.stats()["in_flight"] == 0:
            await asyncio.sleep(0.02)
        raise ValueError("no")

    with endpoint(latency_ms=400) as server:
        value = sampled(server.base_url, prompts=1)
        with monkeypatch.context() as patch:
            patch.setattr("triptych.evaluation.verify.Verify.judge", failing)
            with pytest.raises(OperatorFailed, match="the evaluator 'verify' failed"):
                tp.run(value, tmp_path / "run")
        assert tp.open_run(tmp_path / "run").manifest.spent["calls"] == server.stats()["answered"] == 9
        tp.run(value, tmp_path / "run")
        assert server.stats()["repeated_bodies"] == 0


def test_a_panic_in_a_command_is_said_without_a_traceback(monkeypatch, capsys):
    monkeypatch.setattr("triptych.app.cli.cli.main", raising(Panic("of a table")))
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 70
    assert capsys.readouterr().err.startswith("error: this is a defect in Triptych: Panic: of a table\n")


def test_a_model_that_takes_long_to_open_is_not_waited_for_once_the_run_is_to_end(tmp_path, monkeypatch):
    opening = threading.Event()

    def start(spec):
        opening.set()
        time.sleep(3)
        raise AssertionError("it was waited for")

    monkeypatch.setattr(endpoints, "_start_embedded", start)
    monkeypatch.setattr(endpoints.Endpoint, "check", lambda self: None)

    async def ask():
        log = CallLog(tmp_path / "calls.sqlite")
        async with Calls({"m": EmbeddedModel()}, log, Ledger(Budget(), calls=0, tokens=0, usd=0.0), "run") as calls:
            request = ChatRequest(messages=(Message("user", "Hello"),))
            asked = asyncio.create_task(calls.answer("m", [request], Counts()))
            await asyncio.to_thread(opening.wait, 5)
            began = time.monotonic()
            calls.stop(Interrupted("stopped"))
            with pytest.raises(Interrupted):
                await asked
            await calls.drain()
            took = time.monotonic() - began
        log.close()
        return took

    assert asyncio.run(ask()) < 1


def test_the_tokens_of_an_answer_that_nests_too_deeply_are_not_known():
    assert read_usage(b'{"choices": ' + b"[" * 50_000 + b"]" * 50_000 + b', "usage": {"prompt_tokens": 3}}') is None


def test_a_recipe_of_few_lines_that_stands_for_more_than_fits_anywhere_is_refused(tmp_path):
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 9)]
    (tmp_path / "bomb.yaml").write_text("\n".join(lines))
    began = time.monotonic()
    with pytest.raises(RecipeError, match="with its aliases written out"):
        tp.load_recipe(tmp_path / "bomb.yaml")
    assert time.monotonic() - began < 5


def test_a_key_that_an_endpoint_spells_as_in_an_address_is_taken_out(monkeypatch):
    monkeypatch.setenv("ODD_KEY", 'sk-Secret+/=Key"0123456789')
    spec = OpenAIModel(model="m", base_url="http://127.0.0.1:9/v1", api_key_env="ODD_KEY")
    one = endpoints.Endpoint("m", spec)
    one._key = one._declared_key()
    for said in ("sk-Secret%2B/%3DKey%220123456789", "sk-Secret%2B%2F%3DKey%220123456789"):
        assert one._without_key(f"bad key {said}!") == "bad key [key]!"


@pytest.mark.embedded
def test_an_embedded_model_that_is_closed_as_soon_as_it_is_open_ends():
    pytest.importorskip("xllamacpp", reason="needs triptych[embedded]")
    from triptych.models.embedded import EmbeddedServer, find_weights

    def again():
        for _ in range(3):
            server = EmbeddedServer(find_weights(), slots=2, context_tokens=512)
            server.start()
            server.close()

    thread = threading.Thread(target=again, daemon=True)
    thread.start()
    thread.join(60)
    assert not thread.is_alive()
