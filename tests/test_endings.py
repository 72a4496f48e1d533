"""Whatever goes wrong, a run ends, and in order: nothing is waited for without end, and good tables stay."""

from __future__ import annotations

import asyncio
import json
import threading
import time

import pytest

import triptych as tp
from triptych.engines import reader
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


@pytest.mark.parametrize("fatal", [SystemExit, KeyboardInterrupt, GeneratorExit])
def test_a_reading_thread_that_is_ended_is_not_waited_for(tmp_path, fatal, monkeypatch):
    monkeypatch.setattr(threading, "excepthook", lambda args: None)

    def rows():
        raise fatal
        yield

    async def take():
        news = asyncio.Event()
        one = PromptReader(rows(), Aside(tmp_path / "aside.jsonl"), 0, None)
        one.read_ahead(news)
        await asyncio.wait_for(news.wait(), 5)
        while (found := one.take()) is reader.NOT_YET:
            await asyncio.sleep(0.01)
        return found

    with pytest.raises(RuntimeError, match="was ended"):
        asyncio.run(take())


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
