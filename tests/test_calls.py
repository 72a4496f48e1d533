"""Calls: answered from the log or sent once, retried within bounds, stopped within seconds."""

import asyncio
import socket
import time
from contextlib import asynccontextmanager

import pytest

from endpoint import endpoint
from triptych.errors import BudgetReached, EndpointDown, KeyRefused
from triptych.models.budget import Budget, Ledger
from triptych.models.calls import Calls, Counts
from triptych.models.chat import CallFailed, ChatRequest, Reply
from triptych.models.spec import OpenAIModel
from triptych.records import Message
from triptych.store import call_log
from triptych.store.call_log import CallLog, _connect


def ask_for(number: int, **more) -> ChatRequest:
    return ChatRequest(
        messages=(Message("user", f"Say something about {number}."),), temperature=1.0, seed=number, **more
    )


@asynccontextmanager
async def calling(tmp_path, base_url, budget=None, **spec):
    log = CallLog(tmp_path / "calls.sqlite")
    spent = log.spent("run")
    model = OpenAIModel(model="m", base_url=base_url, **spec)
    ledger = Ledger(budget or Budget(), calls=spent.calls, tokens=spent.tokens, usd=spent.usd)
    async with Calls({"m": model}, log, ledger, "run") as calls:
        try:
            yield calls
        finally:
            await calls.drain()
            log.close()


async def answers(tmp_path, base_url, requests, **options):
    counts = Counts()
    async with calling(tmp_path, base_url, **options) as calls:
        got = await calls.ask(counts)("m", requests)
    return got, counts


def test_answers_come_in_order_with_tokens_and_money(tmp_path):
    with endpoint(latency_ms=1, latency_jitter=1.0) as server:
        price = {"input": 2.0, "output": 10.0}
        got, counts = asyncio.run(answers(tmp_path, server.base_url, [ask_for(i) for i in range(50)], price=price))
        again, recounts = asyncio.run(
            answers(tmp_path, server.base_url, [ask_for(i) for i in range(50)][::-1], price=price)
        )
        assert server.stats()["requests"] == 50
    assert all(isinstance(reply, Reply) for reply in got)
    assert again == got[::-1], "the log gives the same answers, in the order asked"
    assert (counts.sent, counts.cached, recounts.sent, recounts.cached) == (50, 0, 0, 50)
    for reply in got:
        assert reply.cost_usd == pytest.approx((2 * reply.prompt_tokens + 10 * reply.completion_tokens) / 1e6)
    assert counts.usd == pytest.approx(sum(reply.cost_usd for reply in got))
    assert recounts.usd == 0


def test_equal_requests_at_the_same_time_are_one_call(tmp_path):
    with endpoint(latency_ms=20) as server:
        got, _ = asyncio.run(answers(tmp_path, server.base_url, [ask_for(1), ask_for(2), ask_for(1)]))
        assert server.stats()["requests"] == 2
    assert got[0] == got[2] != got[1]


def test_equal_requests_are_answered_from_the_log_as_well(tmp_path):
    with endpoint() as server:
        first, _ = asyncio.run(answers(tmp_path, server.base_url, [ask_for(1), ask_for(1)]))
        again, counts = asyncio.run(answers(tmp_path, server.base_url, [ask_for(1), ask_for(1)]))
        more, recounts = asyncio.run(answers(tmp_path, server.base_url, [ask_for(1), ask_for(2), ask_for(1)]))
        assert server.stats()["requests"] == 2
    assert again == first == [more[0], more[2]]
    assert (counts.asked, counts.cached, counts.sent) == (2, 2, 0)
    assert (recounts.asked, recounts.cached, recounts.sent) == (3, 2, 1)


def test_another_declared_version_is_asked_anew_and_another_address_is_not(tmp_path):
    with endpoint() as server, endpoint() as moved:
        asyncio.run(answers(tmp_path, server.base_url, [ask_for(1)]))
        asyncio.run(answers(tmp_path, moved.base_url, [ask_for(1)]))
        assert moved.stats()["requests"] == 0
        asyncio.run(answers(tmp_path, moved.base_url, [ask_for(1)], version="round-2"))
        assert moved.stats()["requests"] == 1


def test_faults_are_retried_and_no_call_is_lost(tmp_path):
    with endpoint(latency_ms=5, faults=0.3, fault_kinds="429,500,503,reset", retry_after=0.02, seed=3) as server:
        got, counts = asyncio.run(answers(tmp_path, server.base_url, [ask_for(i) for i in range(200)]))
        faults = server.stats()["requests"] - server.stats()["answered"]
    assert all(isinstance(reply, Reply) for reply in got)
    assert counts.retried == faults > 30
    assert counts.failed == 0


def test_a_time_out_is_retried(tmp_path):
    with endpoint(latency_ms=1, faults=0.2, fault_kinds="hang", seed=1) as server:
        got, counts = asyncio.run(answers(tmp_path, server.base_url, [ask_for(i) for i in range(30)], timeout_s=0.3))
    assert all(isinstance(reply, Reply) for reply in got)
    assert counts.retried > 0


def test_a_call_that_the_endpoint_refuses_fails_alone_and_is_asked_again_next_time(tmp_path):
    with endpoint(fail_body="about 3.:400") as server:
        got, counts = asyncio.run(answers(tmp_path, server.base_url, [ask_for(i) for i in range(6)]))
        assert [type(reply) for reply in got] == [Reply, Reply, Reply, CallFailed, Reply, Reply]
        assert "HTTP 400" in got[3].error
        assert counts.failed == 1
        before = server.stats()["requests"]
        _, recounts = asyncio.run(answers(tmp_path, server.base_url, [ask_for(i) for i in range(6)]))
        assert server.stats()["requests"] == before + 1
    assert recounts.cached == 5


def test_a_failing_call_is_given_up_after_its_retries(tmp_path):
    with endpoint(fail_body="about 3.:500") as server:
        requests = [ask_for(i) for i in range(6)]
        got, _counts = asyncio.run(answers(tmp_path, server.base_url, requests, max_retries=1))
        assert server.stats()["requests"] == 7
    assert isinstance(got[3], CallFailed)
    assert got[3].attempts == 2
    assert "after 2 attempts" in got[3].error


def test_a_refused_key_stops_at_once_and_is_never_shown(tmp_path, monkeypatch):
    monkeypatch.setenv("TEST_KEY", "sk-very-secret-0123")
    with endpoint(always_status=401) as server:
        begun = time.monotonic()
        with pytest.raises(KeyRefused, match="TEST_KEY") as raised:
            asyncio.run(answers(tmp_path, server.base_url, [ask_for(i) for i in range(200)], api_key_env="TEST_KEY"))
        assert time.monotonic() - begun < 5
        assert server.stats()["requests"] <= 65
    assert "sk-very-secret" not in str(raised.value)
    assert "[key]" in str(raised.value), "the endpoint echoes the key, so it must have been taken out"


def test_a_declared_key_that_is_not_set_is_said_before_anything_is_sent(tmp_path, monkeypatch):
    monkeypatch.delenv("TEST_KEY", raising=False)
    with endpoint() as server:
        with pytest.raises(KeyRefused, match="TEST_KEY, which is not set"):
            asyncio.run(answers(tmp_path, server.base_url, [ask_for(1)], api_key_env="TEST_KEY"))
        assert server.stats()["requests"] == 0


def test_a_key_with_a_line_break_in_it_is_said_and_not_shown(tmp_path, monkeypatch):
    monkeypatch.setenv("TEST_KEY", "sk-very\nsecret")
    with endpoint() as server, pytest.raises(KeyRefused, match="the key in TEST_KEY holds a line break") as raised:
        asyncio.run(answers(tmp_path, server.base_url, [ask_for(1)], api_key_env="TEST_KEY"))
    assert "sk-very" not in str(raised.value)


def test_no_key_is_sent_where_none_is_declared(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-very-secret-0123")
    with endpoint(always_status=401) as server, pytest.raises(KeyRefused) as raised:
        asyncio.run(answers(tmp_path, server.base_url, [ask_for(1)]))
    assert "[key]" not in str(raised.value)
    assert "sk-" not in str(raised.value)


def test_an_endpoint_that_is_not_there_stops_the_run_within_its_patience(tmp_path):
    with endpoint() as server:
        address = server.base_url
    begun = time.monotonic()
    with pytest.raises(EndpointDown, match="can not be reached"):
        asyncio.run(answers(tmp_path, address, [ask_for(i) for i in range(300)], patience_s=1))
    assert time.monotonic() - begun < 5


def test_an_address_that_never_connects_stops_the_run_long_before_the_time_out(tmp_path):
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        held = []
        for _ in range(8):  # until the queue of connections is full, and the next one hears nothing
            held.append(socket.socket())
            held[-1].setblocking(False)
            held[-1].connect_ex(full.getsockname())
        address = "http://{}:{}/v1".format(*full.getsockname())
        begun = time.monotonic()
        with pytest.raises(EndpointDown, match="can not be reached: no connection in 1 s"):
            asyncio.run(answers(tmp_path, address, [ask_for(i) for i in range(5)], patience_s=1, timeout_s=600))
        assert time.monotonic() - begun < 10
        for each in held:
            each.close()


def test_an_endpoint_that_goes_down_stops_the_run_and_what_it_answered_is_kept(tmp_path):
    with endpoint(latency_ms=5, down_after=40) as server, pytest.raises(EndpointDown, match="has stopped answering"):
        asyncio.run(answers(tmp_path, server.base_url, [ask_for(i) for i in range(300)], patience_s=1))
    log = CallLog(tmp_path / "calls.sqlite")
    assert 40 <= len(log) < 40 + 32, "all that came back before the end, and no more"
    log.close()


def test_a_server_without_the_model_stops_the_run(tmp_path):
    with endpoint(always_status=404) as server, pytest.raises(EndpointDown, match="does not serve 'm'"):
        asyncio.run(answers(tmp_path, server.base_url, [ask_for(1)]))


def test_requests_that_are_all_refused_stop_the_run(tmp_path):
    with endpoint(always_status=400) as server:
        with pytest.raises(EndpointDown, match="refused each of the first 20"):
            asyncio.run(answers(tmp_path, server.base_url, [ask_for(i) for i in range(500)], concurrency=4))
        assert server.stats()["requests"] < 40


@pytest.mark.parametrize("concurrency", [1, 8])
def test_the_budget_is_passed_by_no_more_than_the_calls_in_flight(tmp_path, concurrency):
    price = {"input": 0.0, "output": 1e6}  # a dollar a token
    with endpoint(latency_ms=5) as server:
        requests = [ask_for(i) for i in range(100)]
        options = {"price": price, "budget": Budget(usd=500), "concurrency": concurrency}
        with pytest.raises(BudgetReached, match="budget"):
            asyncio.run(answers(tmp_path, server.base_url, requests, **options))
        log = CallLog(tmp_path / "calls.sqlite")
        spent = log.spent("run")
        log.close()
        costs = spent.usd / spent.calls
        assert 500 <= spent.usd <= 500 + concurrency * costs * 2
        assert spent.calls == server.stats()["requests"]
        got, _ = asyncio.run(answers(tmp_path, server.base_url, requests, price=price, budget=Budget(usd=1e9)))
        assert server.stats()["repeated_bodies"] == 0
    assert len(got) == 100


@pytest.mark.parametrize("unit", ["calls", "tokens"])
def test_a_budget_of_calls_or_tokens_ends_where_it_is_spent_and_counts_what_earlier_sittings_paid(tmp_path, unit):
    with endpoint(latency_ms=5) as server:
        requests = [ask_for(i) for i in range(30)]
        for most in (40, 40, 400) if unit == "tokens" else (3, 3, 9):
            budget = Budget(**{unit: most})
            with pytest.raises(BudgetReached, match=f"of {most} {unit}"):
                asyncio.run(answers(tmp_path, server.base_url, requests, budget=budget, concurrency=1))
            log = CallLog(tmp_path / "calls.sqlite")
            spent, sizes = log.spent("run"), log._rows("SELECT prompt_tokens + completion_tokens FROM calls", ())
            log.close()
            # One at a time: the last call began while some of the budget was left.
            last = 1 if unit == "calls" else max(size for (size,) in sizes)
            assert most <= getattr(spent, unit) < most + last
            assert spent.calls == server.stats()["requests"]


def test_concurrency_shrinks_when_the_endpoint_refuses(tmp_path):
    with endpoint(latency_ms=30, capacity=10, retry_after=0.02) as server:
        got, counts = asyncio.run(
            answers(tmp_path, server.base_url, [ask_for(i) for i in range(300)], concurrency=200, max_retries=50)
        )
        stats = server.stats()
    assert all(isinstance(reply, Reply) for reply in got)
    assert stats["max_in_flight"] <= 64
    assert counts.retried < 300, "it must have learnt to send less"


def test_concurrency_steps_back_when_more_only_makes_answers_slower(tmp_path):
    async def go(server):
        counts = Counts()
        async with calling(tmp_path, server.base_url, concurrency=256) as calls:
            await calls.ask(counts)("m", [ask_for(i) for i in range(1500)])
            return calls._endpoints["m"].limiter.limit

    with endpoint(latency_ms=20, slow_after="32:5") as server:
        limit = asyncio.run(go(server))
    assert limit < 128, limit


def test_an_endpoint_without_usage_gives_estimates_that_say_so(tmp_path):
    with endpoint(no_usage=True) as server:
        got, _ = asyncio.run(answers(tmp_path, server.base_url, [ask_for(1)]))
    assert got[0].tokens_estimated
    assert got[0].completion_tokens == len(got[0].choices[0].text) // 4


def test_several_choices_and_log_probabilities_are_read(tmp_path):
    with endpoint() as server:
        got, _ = asyncio.run(answers(tmp_path, server.base_url, [ask_for(1, n=3, top_logprobs=5)]))
    choices = got[0].choices
    assert len(choices) == 3
    assert len({choice.text for choice in choices}) == 3
    assert all(len(token.top) == 5 and token.logprob <= 0 for choice in choices for token in choice.logprobs)


def test_calls_in_flight_at_a_stop_come_in_and_are_kept(tmp_path):
    async def stopped_early(base_url):
        async with calling(tmp_path, base_url, concurrency=8) as calls:
            asking = asyncio.create_task(calls.answer("m", [ask_for(number) for number in range(8)], Counts()))
            while calls.in_flight < 8:
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.1)  # all are out
            calls.stop(BudgetReached("enough"))
            asking.cancel()

    with endpoint(latency_ms=400) as server:
        asyncio.run(stopped_early(server.base_url))
        assert server.stats()["requests"] == 8
    log = CallLog(tmp_path / "calls.sqlite")
    assert len(log) == 8
    log.close()


def test_at_a_stop_calls_that_wait_for_a_place_are_turned_away_though_others_are_out(tmp_path):
    async def stopped(server):
        async with calling(tmp_path, server.base_url, concurrency=1) as calls:
            out = asyncio.create_task(calls.answer("m", [ask_for(1)], Counts()))
            waiting = asyncio.create_task(calls.answer("m", [ask_for(2)], Counts()))
            while server.stats()["in_flight"] == 0:
                await asyncio.sleep(0.01)
            calls.stop(BudgetReached("enough"))
            with pytest.raises(BudgetReached):
                await waiting
            assert server.stats()["answered"] == 0, "the first is still out"
            (reply,) = await out
            assert isinstance(reply, Reply)

    with endpoint(latency_ms=1500) as server:
        asyncio.run(stopped(server))
        assert server.stats()["requests"] == 1


def test_at_a_stop_calls_that_wait_for_another_attempt_are_turned_away(tmp_path):
    async def stopped(server):
        async with calling(tmp_path, server.base_url) as calls:
            asking = asyncio.create_task(calls.answer("m", [ask_for(1)], Counts()))
            while server.stats()["requests"] == 0:
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.2)
            calls.stop(BudgetReached("enough"))
            with pytest.raises(BudgetReached):
                await asyncio.wait_for(asking, 5)

    with endpoint(faults=1.0, fault_kinds="429", retry_after=20) as server:
        asyncio.run(stopped(server))
        assert server.stats()["requests"] == 1


def test_a_disk_that_is_slow_to_write_slows_down_the_sending(tmp_path, monkeypatch):
    """A kill loses what is not safe yet: that must not grow with the slowness of the disk."""
    unsaved, saved = [], 0

    def slowly(connection, group):
        nonlocal saved
        time.sleep(0.3)
        unsaved.append(server.stats()["answered"] - saved)
        saved += len(group)
        return commit(connection, group)

    commit = call_log._commit
    monkeypatch.setattr(call_log, "_commit", slowly)
    with endpoint() as server:
        got, _ = asyncio.run(answers(tmp_path, server.base_url, [ask_for(i) for i in range(60)], concurrency=4))
    assert len(got) == saved == 60
    assert 4 < max(unsaved) <= 8


def test_the_call_log_is_synced_to_the_disk(tmp_path):
    connection = _connect(tmp_path / "calls.sqlite")
    assert connection.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()
