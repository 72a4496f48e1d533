"""Endpoints that answer oddly, or not at all: what was paid for counts, and nothing looks like a success that is none."""

import asyncio
import gzip
import json
import time
from collections import Counter

import aiohttp.web
import pytest
from pydantic import ValidationError

import triptych as tp
from runs import run_against
from triptych.errors import BudgetReached, EndpointDown, KeyRefused
from triptych.models import endpoint as endpoint_module
from triptych.models.chat import ChatRequest
from triptych.models.endpoint import _seconds
from triptych.models.limiter import Limiter
from triptych.models.wire import read_answer
from triptych.records import Message

REQUEST = ChatRequest(messages=(Message("user", "x" * 40),), top_logprobs=2)
USAGE = {"prompt_tokens": 7, "completion_tokens": 3}


def says(text="fine", **more):
    return aiohttp.web.json_response({"choices": [{"message": {"content": text}}], "usage": USAGE, **more})


async def html(request):
    return aiohttp.web.Response(text="<html>Sign in</html>", content_type="text/html")


async def refuses(request):
    return aiohttp.web.json_response({"error": {"message": "no such parameter"}}, status=400)


async def busy(request):
    return aiohttp.web.json_response({"error": {"message": "busy"}}, status=429, headers={"Retry-After": "0"})


async def empty(request):
    return aiohttp.web.json_response({"choices": []})


@pytest.mark.parametrize("chat", [html, refuses, busy, empty])
@pytest.mark.parametrize("max_retries", [0, 1, 4])
def test_an_endpoint_that_never_gives_a_good_answer_is_no_finished_run(tmp_path, chat, max_retries):
    with pytest.raises(EndpointDown, match="of model 'm'"):
        asyncio.run(run_against(chat, tmp_path, max_retries=max_retries, patience_s=3))
    assert tp.open_run(tmp_path / "run").manifest.status.startswith("stopped: ")


@pytest.mark.parametrize("max_retries", [0, 2])
def test_an_endpoint_that_is_not_there_never_makes_a_finished_run(tmp_path, max_retries):
    gone = tp.OpenAIModel(model="m", base_url="http://127.0.0.1:9/v1", max_retries=max_retries, patience_s=60)
    prompts = tp.InlinePrompts(prompts=["one", "two"])
    recipe = tp.Recipe(name="gone", models={"m": gone}, prompts=prompts, synthesis=[tp.Sample(model="m", n=1)])
    with pytest.raises(EndpointDown):
        tp.run(recipe, tmp_path / "run")


def test_one_prompt_that_always_fails_is_a_failed_row_also_when_the_rest_is_in_the_log(tmp_path):
    async def chat(request):
        asked = (await request.json())["messages"][-1]["content"]
        return await refuses(request) if "3" in asked else says()

    for _ in range(2):
        run = asyncio.run(run_against(chat, tmp_path))
        assert run.manifest.status == "finished"
        assert run.responses().collect()["status"].to_list().count("failed") == 1


def test_an_endpoint_that_takes_connections_and_says_nothing_stops_at_the_first_time_out(tmp_path):
    async def chat(request):
        await asyncio.sleep(60)

    start = time.monotonic()
    with pytest.raises(EndpointDown, match=r"no answer in 1\.5 s"):
        asyncio.run(run_against(chat, tmp_path, timeout_s=1.5, patience_s=1))
    assert time.monotonic() - start < 4


def test_a_redirect_is_told_and_not_followed(tmp_path):
    followed = False

    async def chat(request):
        nonlocal followed
        followed |= "again" in request.query
        raise aiohttp.web.HTTPTemporaryRedirect(f"{request.path}?again=1")

    with pytest.raises(EndpointDown, match=r"sends elsewhere \(HTTP 307: .*again=1\); set base_url"):
        asyncio.run(run_against(chat, tmp_path))
    assert not followed


@pytest.mark.parametrize("packed", [False, True])
def test_an_answer_without_end_fails_alone(tmp_path, monkeypatch, packed):
    monkeypatch.setattr(endpoint_module, "_MOST_BYTES", 200_000)

    async def chat(request):
        asked = (await request.json())["messages"][-1]["content"]
        if "3" not in asked:
            return says()
        endless = json.dumps({"choices": [{"message": {"content": "x" * 1_000_000}}]}).encode()
        if packed:
            return aiohttp.web.Response(body=gzip.compress(endless), headers={"Content-Encoding": "gzip"})
        response = aiohttp.web.StreamResponse()
        await response.prepare(request)
        for start in range(0, len(endless), 10_000):
            await response.write(endless[start : start + 10_000])
        return response

    run = asyncio.run(run_against(chat, tmp_path))
    (error,) = run.responses().collect()["error"].drop_nulls()
    assert "is longer than" in error


@pytest.mark.parametrize(
    "quirk",
    [
        {"usage": USAGE | {"prompt_tokens_details": {"cached_tokens": 0.5}}},
        {"usage": USAGE | {"prompt_tokens_details": []}},
        {"usage": {"prompt_tokens": "7", "completion_tokens": "3"}},
    ],
)
def test_counts_in_an_odd_form_are_read(quirk):
    body = json.dumps({"choices": [{"message": {"content": "hi"}}], **quirk}).encode()
    _, usage = read_answer(body, REQUEST)
    assert (usage.prompt_tokens, usage.completion_tokens, usage.estimated) == (7, 3, False)


@pytest.mark.parametrize("usage", [[], "none", {"prompt_tokens": {}}])
def test_counts_that_can_not_be_read_are_estimated(usage):
    _, found = read_answer(
        json.dumps({"choices": [{"message": {"content": "hello"}}], "usage": usage}).encode(), REQUEST
    )
    assert found.estimated


@pytest.mark.parametrize(
    ("logprobs", "kept"),
    [
        ({"content": [{"token": "a", "logprob": -1, "top_logprobs": None}]}, True),
        ({"content": [{"token": "a", "logprob": None}]}, False),
        ({"tokens": ["a"]}, False),
        ([], False),
    ],
)
def test_log_probabilities_in_an_odd_form_lose_no_answer(logprobs, kept):
    body = json.dumps({"choices": [{"message": {"content": "a"}, "logprobs": logprobs}], "usage": USAGE}).encode()
    (choice,), _ = read_answer(body, REQUEST)
    assert choice.text == "a"
    assert (choice.logprobs is not None) == kept


def test_tool_calls_in_an_odd_form_are_read():
    calls = [{"id": None, "function": {"name": "look", "arguments": {"x": 1}}}, {"id": 5, "function": {"name": "go"}}]
    body = json.dumps({"choices": [{"message": {"content": None, "tool_calls": calls}}]}).encode()
    (choice,), _ = read_answer(body, REQUEST)
    assert [(call.id, call.name, json.loads(call.arguments)) for call in choice.tool_calls] == [
        ("", "look", {"x": 1}),
        ("5", "go", {}),
    ]


def test_choices_stand_in_the_order_of_their_indices():
    many = [{"index": place, "message": {"content": str(place)}} for place in (2, 0, 1)]
    choices, _ = read_answer(json.dumps({"choices": many}).encode(), REQUEST)
    assert [choice.text for choice in choices] == ["0", "1", "2"]


def test_an_answer_that_can_not_be_read_is_paid_for_all_the_same(tmp_path):
    async def chat(request):
        asked = (await request.json())["messages"][-1]["content"]
        return says() if "3" not in asked else aiohttp.web.json_response({"choices": [], "usage": USAGE})

    run = asyncio.run(run_against(chat, tmp_path, max_retries=1, price={"input": 1e6, "output": 0}))
    assert run.manifest.spent["usd"] == 7 * (5 + 2)
    counts = run.manifest.counts["synthesis"]
    assert (counts["prompt_tokens"], counts["completion_tokens"]) == (7 * (5 + 2), 3 * (5 + 2))
    assert run.manifest.spent["tokens"] == (7 + 3) * (5 + 2)


def test_tokens_that_were_cached_cost_their_own_price(tmp_path):
    async def chat(request):
        return says(usage={"prompt_tokens": 10, "completion_tokens": 0, "prompt_tokens_details": {"cached_tokens": 8}})

    run = asyncio.run(run_against(chat, tmp_path, price={"input": 1e6, "output": 0, "cached_input": 1e5}))
    assert run.manifest.spent["usd"] == pytest.approx(6 * (2 + 0.8))


def test_a_key_in_the_id_of_a_tool_call_is_taken_out(tmp_path, monkeypatch):
    monkeypatch.setenv("TEST_KEY", "sk-secret-in-an-id")

    async def chat(request):
        call = {"id": "call-sk-secret-in-an-id", "type": "function", "function": {"name": "look", "arguments": "{}"}}
        message = {"content": "Looking.", "tool_calls": [call]}
        return aiohttp.web.json_response({"choices": [{"message": message}], "usage": USAGE})

    run = asyncio.run(run_against(chat, tmp_path, api_key_env="TEST_KEY"))
    assert "sk-secret-in-an-id" not in str(run.responses().collect().to_dicts())
    assert b"sk-secret-in-an-id" not in (tmp_path / "run" / "calls.sqlite").read_bytes()


@pytest.mark.parametrize("name", ["sk-abcdefghijklmnop1234567890", "hf_abcdefghijklmnop", "MY KEY", "Bearer x", ""])
def test_a_key_in_place_of_the_name_of_its_variable_is_refused_and_not_repeated(name):
    with pytest.raises(ValueError, match="no name of an environment variable") as raised:
        tp.OpenAIModel(model="m", api_key_env=name)
    assert not name or name not in str(raised.value).split("[type=")[0]


def test_a_retry_waits_as_long_as_it_is_asked_to(tmp_path):
    asked = []

    async def chat(request):
        asked.append(time.monotonic())
        if len(asked) == 2:
            return aiohttp.web.json_response({}, status=429, headers={"Retry-After": "1.2"})
        return says()

    asyncio.run(run_against(chat, tmp_path, concurrency=1))
    assert asked[-1] - asked[1] >= 1.2


def test_what_may_pass_is_asked_again_and_what_will_not_is_asked_once(tmp_path):
    passing = [408, 409, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524, 529]
    lasting = [400, 410, 413, 415, 422, 451, 501]
    asked = Counter()

    async def chat(request):
        status = int((await said_to(request)).removeprefix("status "))
        asked[status] += 1
        if status == 200 or (status in passing and asked[status] > 1):
            return says()
        return aiohttp.web.json_response({"error": {"message": "not now"}}, status=status)

    prompts = [f"status {status}" for status in (200, *passing, *lasting)]
    run = asyncio.run(run_against(chat, tmp_path, prompts=prompts))
    assert asked == {200: 1} | dict.fromkeys(passing, 2) | dict.fromkeys(lasting, 1)
    assert run.responses().collect()["status"].to_list() == ["ok"] * (1 + len(passing)) + ["failed"] * len(lasting)
    counts = run.manifest.counts["synthesis"]
    assert (counts["retried"], counts["failed"]) == (len(passing), len(lasting))


@pytest.mark.parametrize("said", ["nan", "inf", "-inf", "soon", "Mon, 99 Foo 2026", "", "0x10"])
def test_a_pause_that_is_no_time_is_not_kept(said):
    assert _seconds(said) is None


def test_lone_refusals_do_not_shrink_the_limit_and_many_do():
    async def outcomes(refused_every):
        limiter = Limiter(128)
        for number in range(600):
            started = await limiter.acquire()
            limiter.refused(started) if number % refused_every == 0 else limiter.answered(started)
        return limiter.limit

    assert asyncio.run(outcomes(30)) >= 64
    assert asyncio.run(outcomes(2)) < 16


async def said_to(request):
    return (await request.json())["messages"][-1]["content"]


def test_what_was_paid_for_nothing_counts_in_the_sittings_to_come(tmp_path):
    """Two unreadable answers at 2 dollars reach the budget of 3; the same command again sends nothing more."""
    sent = 0

    async def chat(request):
        nonlocal sent
        sent += 1
        usage = {"prompt_tokens": 1000, "completion_tokens": 1000}
        return aiohttp.web.json_response({"choices": [], "usage": usage})

    price = tp.Price(input=1000, output=1000)
    for sitting in range(3):
        with pytest.raises(BudgetReached):
            asyncio.run(run_against(chat, tmp_path, price=price, concurrency=1, budget=tp.Budget(usd=3)))
        if sitting == 0:
            paid = sent
    assert sent == paid
    assert tp.open_run(tmp_path / "run").manifest.spent["usd"] == pytest.approx(2 * paid)


@pytest.mark.parametrize("status", [400, 403, 500])
def test_a_run_whose_failures_last_can_be_run_again(tmp_path, status):
    """Most prompts are refused for good; all else is in the log."""

    async def chat(request):
        if "0" in await said_to(request):
            return says()
        return aiohttp.web.json_response({"error": {"message": "not this one"}}, status=status)

    for _ in range(2):
        run = asyncio.run(run_against(chat, tmp_path, max_retries=1, patience_s=5))
        assert run.manifest.status == "finished"
        assert run.responses().collect()["status"].to_list().count("failed") == 5


def test_one_prompt_that_moderation_forbids_is_a_failed_row_even_if_it_comes_first(tmp_path):
    async def chat(request):
        if "3" in await said_to(request):
            return aiohttp.web.json_response({"error": {"message": "flagged"}}, status=403)
        await asyncio.sleep(0.2)
        return says()

    run = asyncio.run(run_against(chat, tmp_path))
    assert run.responses().collect()["status"].to_list().count("failed") == 1


def test_a_key_that_is_refused_with_403_stops_the_run(tmp_path):
    async def chat(request):
        return aiohttp.web.json_response({"error": {"message": "forbidden"}}, status=403)

    with pytest.raises(KeyRefused, match="refuses the key"):
        asyncio.run(run_against(chat, tmp_path))


def test_a_busy_endpoint_is_waited_for_though_it_says_to_come_back_at_once(tmp_path):
    began = None

    async def chat(request):
        nonlocal began
        began = began or time.monotonic()
        if 0.05 < time.monotonic() - began < 2:
            return await busy(request)
        await asyncio.sleep(0.1)
        return says()

    run = asyncio.run(run_against(chat, tmp_path, concurrency=1, max_retries=1))
    assert {*run.responses().collect()["status"]} == {"ok"}


def test_an_endpoint_that_dies_in_mid_run_is_no_finished_run(tmp_path):
    answered = 0

    async def chat(request):
        nonlocal answered
        answered += 1
        if answered > 3:
            request.transport.close()
        return says()

    with pytest.raises(EndpointDown, match="has stopped answering"):
        asyncio.run(
            run_against(
                chat, tmp_path, concurrency=4, max_retries=1, patience_s=2, prompts=[f"p {i}" for i in range(40)]
            )
        )


def test_a_body_that_nests_too_deeply_fails_alone(tmp_path):
    async def chat(request):
        if "3" in await said_to(request):
            return aiohttp.web.Response(body=b"[" * 200_000, content_type="application/json")
        return says()

    run = asyncio.run(run_against(chat, tmp_path, max_retries=1))
    assert run.responses().collect()["status"].to_list().count("failed") == 1


def test_an_empty_refusal_is_none():
    body = json.dumps({"choices": [{"message": {"content": "hi", "refusal": ""}}]}).encode()
    (choice,), _ = read_answer(body, REQUEST)
    assert not choice.refused


@pytest.mark.parametrize(
    "fields",
    [
        {"api-key": "x"},
        {"headers": {"X-Goog-Api-Key": "x"}},
        {"token": "x"},
        {"auth": "x"},
        {"a": "gsk_0123456789abcdef"},
    ],
)
def test_more_names_of_secrets_are_known(fields):
    with pytest.raises(ValidationError, match="looks like a secret"):
        tp.OpenAIModel(model="m", extra_body=fields)


def test_what_the_recipe_settles_is_not_settled_again():
    with pytest.raises(ValidationError, match="'temperature' is settled"):
        tp.OpenAIModel(model="m", extra_body={"top_k": 5, "temperature": 0})
