"""The call log keeps what it says it keeps."""

import asyncio
import random
import sqlite3
import subprocess
import sys
import time

import msgspec
import pytest

from triptych.errors import RunFolderError
from triptych.models.chat import ChatRequest, GivenRequest, ScoreRequest, TextRequest, call_id
from triptych.models.spec import OpenAIModel
from triptych.records import Message
from triptych.store.call_log import CallLog, LoggedCall


def call(number: int, run: str = "run") -> LoggedCall:
    return LoggedCall(
        call_id=f"{number:032x}",
        model="m",
        run=run,
        created_at=1.5,
        prompt_tokens=10,
        completion_tokens=5,
        cost_usd=0.25,
        reply=f'{{"text": "réply {number}"}}',
        request=f'["asked {number}"]' if number != 7 else '["a long one"]' + " " * 20_000,
    )


def put_all(log: CallLog, calls: list[LoggedCall]) -> None:
    async def put() -> None:
        async with asyncio.timeout(20):
            await asyncio.gather(*map(log.put, calls))

    asyncio.run(put())


def test_what_was_put_is_found_again_after_opening_anew(tmp_path):
    log = CallLog(tmp_path / "calls.sqlite")
    put_all(log, [call(number) for number in range(1000)])
    log.close()
    log = CallLog(tmp_path / "calls.sqlite")
    assert len(log) == 1000
    assert log.find([f"{7:032x}", f"{999:032x}", "absent"]) == {
        f"{7:032x}": call(7).reply,
        f"{999:032x}": call(999).reply,
    }
    assert log.get(f"{7:032x}") == call(7)
    assert log.get("absent") is None
    log.close()


@pytest.mark.parametrize("order", ["as_written", "backwards", "at_random", "the_same_again"])
def test_every_call_is_found_in_whatever_order_it_is_looked_up(tmp_path, order):
    """Look-ups read ahead in the order of writing; that must never show in what they find."""
    numbers = list(range(10_000))
    log = CallLog(tmp_path / "calls.sqlite")
    put_all(log, [call(number) for number in numbers])
    asked = {
        "as_written": numbers,
        "backwards": numbers[::-1],
        "at_random": random.Random(0).sample(numbers, 10_000),
        "the_same_again": [number for number in numbers[:3000] for _ in range(3)],
    }[order]
    for start in range(0, len(asked), 3):
        some = asked[start : start + 3]
        absent = f"absent {start}"
        found = log.find([*(f"{number:032x}" for number in some), absent])
        assert found == {f"{number:032x}": call(number).reply for number in some}
    log.close()


def test_a_call_written_after_its_neighbours_were_read_is_found(tmp_path):
    log = CallLog(tmp_path / "calls.sqlite")
    put_all(log, [call(number) for number in range(0, 100, 2)])
    assert len(log.find([f"{0:032x}", f"{1:032x}"])) == 1
    put_all(log, [call(number) for number in range(1, 100, 2)])
    assert len(log.find([f"{number:032x}" for number in range(100)])) == 100
    log.close()


def test_spending_is_summed_by_the_run_that_paid(tmp_path):
    log = CallLog(tmp_path / "calls.sqlite")
    put_all(log, [call(1, "a"), call(2, "a"), call(3, "b"), call(1, "b")])
    assert (log.spent("a").calls, log.spent("a").tokens, log.spent("a").usd) == (2, 30, 0.5)
    assert log.spent("b").calls == 2  # one of them for what "a" had asked at the same time
    assert len(log) == 3
    assert log.spent("nobody").usd == 0
    log.close()


def test_replies_can_be_read_with_sqlite_alone(tmp_path):
    log = CallLog(tmp_path / "calls.sqlite")
    put_all(log, [call(4)])
    log.close()
    with sqlite3.connect(tmp_path / "calls.sqlite") as anybody:
        assert anybody.execute("select json_extract(reply, '$.text') from calls").fetchone() == ("réply 4",)


def test_an_answer_whose_put_is_done_survives_a_kill(tmp_path):
    script = f"""
import asyncio, os, signal, sys
sys.path.insert(0, {str(__import__("pathlib").Path(__file__).parent)!r})
from pathlib import Path
from test_call_log import call, CallLog
async def main():
    log = CallLog(Path({str(tmp_path / "calls.sqlite")!r}))
    for number in range(50):
        await log.put(call(number))
    os.kill(os.getpid(), signal.SIGKILL)
asyncio.run(main())
"""
    assert subprocess.run([sys.executable, "-c", script]).returncode == -9
    log = CallLog(tmp_path / "calls.sqlite")
    assert len(log) == 50
    log.close()


def test_another_format_and_another_file_are_refused(tmp_path):
    (tmp_path / "text").write_text("not a database, but long enough to be looked at as one" * 10)
    with pytest.raises(RunFolderError, match="can't open the call log"):
        CallLog(tmp_path / "text")
    log = CallLog(tmp_path / "calls.sqlite")
    log.close()
    with sqlite3.connect(tmp_path / "calls.sqlite") as later:
        later.execute("PRAGMA user_version = 99")
    with pytest.raises(RunFolderError, match="format 99"):
        CallLog(tmp_path / "calls.sqlite")


def test_a_write_that_fails_is_told_to_whoever_waits_for_it(tmp_path):
    log = CallLog(tmp_path / "calls.sqlite")
    put_all(log, [call(1)])
    with sqlite3.connect(tmp_path / "calls.sqlite") as other:
        other.execute("DROP TABLE calls")
    with pytest.raises(RunFolderError, match="can't write to the call log"):
        put_all(log, [call(2)])
    log.close()


def test_whatever_goes_wrong_in_the_writers_thread_is_told_and_hangs_nobody(tmp_path):
    log = CallLog(tmp_path / "calls.sqlite")
    odd = msgspec.structs.replace(call(1), request=object())
    with pytest.raises(RunFolderError, match=r"can't write to the call log .*TypeError"):
        put_all(log, [odd])
    with pytest.raises(RunFolderError, match="can't write to the call log"):
        put_all(log, [call(2)])
    log.close()


def test_a_new_log_is_opened_by_many_at_once(tmp_path):
    script = "import sys; from pathlib import Path; from triptych.store.call_log import CallLog; sys.stdin.read(1); "
    script += f"CallLog(Path({str(tmp_path / 'new.sqlite')!r})).close()"
    many = [subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE) for _ in range(6)]
    time.sleep(2)
    for each in many:
        each.stdin.close()
    assert [each.wait(30) for each in many] == [0] * 6


OTHER_VALUES = {
    "messages": (Message("user", "Hello?"),),
    "response": (Message("assistant", "Bye."),),
    "other": (Message("assistant", "So long."),),
    "prompt": "Hello?",
    "continuation": "Bye.",
    "temperature": 0.5,
    "top_p": 0.9,
    "max_tokens": 7,
    "stop": ("\n",),
    "seed": 3,
    "n": 2,
    "sample_index": 1,
    "response_schema": {"type": "object"},
    "top_logprobs": 0,
    "tools": ({"type": "function", "function": {"name": "add"}},),
}


@pytest.mark.parametrize(
    "request_",
    [
        ChatRequest(messages=(Message("user", "Hello"),)),
        TextRequest(prompt="Hello"),
        GivenRequest(messages=(Message("user", "Hello"),), continuation="Hi."),
        ScoreRequest(messages=(Message("user", "Hello"),), response=(Message("assistant", "Hi."),)),
    ],
    ids=lambda request: type(request).__name__,
)
def test_all_that_a_request_says_is_in_its_key(request_):
    identity = OpenAIModel(model="m").identity
    fields = request_.__struct_fields__
    others = [msgspec.structs.replace(request_, **{name: OTHER_VALUES[name]}) for name in fields]
    assert len({call_id(identity, one) for one in (request_, *others)}) == 1 + len(fields)


def test_all_that_makes_a_model_another_one_is_in_the_key_of_its_calls():
    request = ChatRequest(messages=(Message("user", "Hello"),))
    models = [
        OpenAIModel(model="m"),
        OpenAIModel(model="n"),
        OpenAIModel(model="m", version="2"),
        OpenAIModel(model="m", extra_body={"top_k": 5}),
        OpenAIModel(model="m", extra_body={"top_k": 6}),
    ]
    assert len({call_id(model.identity, request) for model in models}) == len(models)
