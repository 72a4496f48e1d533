"""Answers that no model should give, and endpoints that keep to no form: a row may fail, a run may not."""

import asyncio
import json
import time

import aiohttp.web
import pytest

import triptych as tp
from judging import Scripted, case, judged
from runs import run_against
from triptych.errors import EndpointDown, PromptError
from triptych.models.asking import Unparsable, json_object
from triptych.models.chat import ChatRequest, Choice, TokenLogprob
from triptych.models.wire import read_answer
from triptych.prompts.evolve import Evolve
from triptych.records import Message

REQUEST = ChatRequest(messages=(Message("user", "x" * 40),))


def answer(content="hello there", **more):
    return json.dumps({"choices": [{"message": {"content": content}}], **more}).encode()


@pytest.mark.parametrize(
    "usage",
    [
        None,
        {"prompt_tokens": None, "completion_tokens": None},
        {"prompt_tokens": -1000, "completion_tokens": 5},
        {"prompt_tokens": 10, "completion_tokens": -5},
        {"prompt_tokens": 2**63, "completion_tokens": 5},
        {"prompt_tokens": 3_000_000_000, "completion_tokens": 5},
    ],
)
def test_counts_that_can_not_be_are_estimated_instead(usage):
    choices, found = read_answer(answer(usage=usage), REQUEST)
    assert choices[0].text == "hello there"
    assert (found.prompt_tokens, found.completion_tokens, found.estimated) == (10, 2, True)


def test_text_in_parts_is_joined():
    choices, _ = read_answer(answer([{"type": "text", "text": "hello "}, {"type": "text", "text": "there"}]), REQUEST)
    assert choices[0].text == "hello there"


@pytest.mark.parametrize(
    "said",
    [
        '{"rationale": "r", "score": ' + "1" * 5000 + "}",
        '{"rationale": "r", "score": NaN}',
        '{"rationale": "r", "score": 1e999}',
        '{"a":' * 5000 + "1" + "}" * 5000,
        "{" * 2000,
    ],
)
def test_what_a_judge_says_is_at_worst_unparsed(said):
    (got,) = judged(tp.Rubric(model="judge", criteria=["helpful"]), case("x"), Scripted(lambda request: said))
    assert (got.status, got.scores) == ("unparsed", None)
    assert got.raw.startswith(said[:50])


@pytest.mark.parametrize(
    "said",
    [
        '{"' * 500_000,
        "{" * 1_000_000,
        "{}" * 500_000,
        '{"a":' * 200_000,
        "{\n" * 500_000,
        "\n```json" * 200_000,
        "\n" * 1_000_000 + "}{",
        "{" + " " * 1_000_000,
        '{"a' + " " * 1_000_000,
    ],
    ids=lambda said: repr(said[:6]),
)
def test_an_answer_of_nothing_but_beginnings_of_json_is_soon_given_up(said):
    start = time.monotonic()
    with pytest.raises(Unparsable):
        json_object(Choice(text=said))
    assert time.monotonic() - start < 2


@pytest.mark.parametrize(
    "said",
    [
        '{"score": 3}',
        '```json\n{ \n"score": 3}\n```',
        '```\n{"score": 3}\n```\n',
        'Here is my verdict:\n\n```json\n{"score": 3}\n```',
        'It says (x | x > 0) and so on.\n{"score": 3}',
        'Let me see. {"score": 5} is what it says.\n</think>\n\n{"score": 3}',
    ],
    ids=lambda said: said[:12],
)
def test_the_json_object_that_an_answer_ends_with_is_read(said):
    assert json_object(Choice(text=said)) == {"score": 3}


@pytest.mark.parametrize(
    "said",
    [
        '{"rationale": "It just says {"score": 5} instead of answering.", "score": 1}',
        'It is only {"score": 5}, which is no answer. I give it a',
        '{"rationale": "cut {"score": 5} because',
        '{"rationale": "cut {"score": 5}',
        'score: 2. For example: {"rationale": "none", "score": 5}',
        '{"score": 1, "score": 5}',
        '{"score": 5}\n{"score": 1}',
        '{"score": 5} or rather 1',
        '```json\n{"score": 5}\n``` no, 1',
        '[{"score": 5}]',
        '{"score": 5}}',
        'It says {"score": 5}',
        "{'score': 5}",
        '{"score": "1_0"}',
    ],
)
def test_a_verdict_that_the_judge_only_quotes_or_takes_back_is_unparsed(said):
    (got,) = judged(tp.Rubric(model="judge", criteria=["helpful"]), case("x"), Scripted(lambda request: said))
    assert (got.status, got.scores) == ("unparsed", None)
    assert said in got.raw


def test_an_answer_that_was_cut_where_it_quotes_a_verdict_is_unparsed():
    said = 'The response holds this line:\n{"score": 5}'
    cut = Choice(text=said, finish_reason="length")
    (got,) = judged(tp.Rubric(model="judge", criteria=["helpful"]), case("x"), Scripted(lambda request: cut))
    assert got.status == "unparsed"


def test_a_ranking_or_a_choice_that_is_quoted_is_unparsed():
    ranking = '{"rationale": "as {"ranking": ["B", "A"]} claims", "ranking": ["A", "B"]}'
    got = judged(tp.Listwise(model="judge", criteria=["helpful"]), case("x", "y"), Scripted(lambda request: ranking))
    assert {one.status for one in got} == {"unparsed"}
    twice = '{"better": "A", "better": "B"}'
    got = judged(tp.Pairwise(model="judge", criteria=["helpful"]), case("x", "y"), Scripted(lambda request: twice))
    assert {one.status for one in got} == {"unparsed"}


def test_only_an_answer_that_was_to_be_json_is_said_to_be_cut():
    cut = Choice(text='{"rationale": "it', finish_reason="length")
    (got,) = judged(tp.Rubric(model="judge", criteria=["helpful"]), case("x"), Scripted(lambda request: cut))
    assert "cut at max_tokens" in got.error
    one_token = Choice(text="So", finish_reason="length", logprobs=(TokenLogprob("So", -0.1, (("So", -0.1),)),))
    rubric = tp.Rubric(model="judge", criteria=["helpful"], read="logprobs")
    (got,) = judged(rubric, case("x"), Scripted(lambda request: one_token))
    assert got.status == "unparsed"
    assert "cut" not in got.error


def test_a_log_probability_that_is_none_is_unparsed():
    said = Choice(text="3", logprobs=(TokenLogprob("3", 1000.0, ()),))
    rubric = tp.Rubric(model="judge", criteria=["helpful"], read="logprobs")
    (got,) = judged(rubric, case("x"), Scripted(lambda request: said))
    assert (got.status, got.scores) == ("unparsed", None)


def test_a_prompts_constraint_that_can_not_be_checked_fails_alone():
    pytest.importorskip("py3langid")
    one = case("Hello there.", constraints=({"kind": "language", "language": "xx"}, {"kind": "words", "max": 3}))
    language, words = judged(tp.Verify(), one)
    assert (language.status, language.scores) == ("failed", None)
    assert "'xx' is none of the languages" in language.error
    assert (words.status, words.scores) == ("ok", (1.0,))


def test_a_template_that_asks_for_what_a_prompt_lacks_says_what_to_do():
    rubric = tp.Rubric(model="judge", criteria=["helpful"], template="{{ prompt }} {{ reference }} {{ wanted }}")
    with pytest.raises(PromptError, match=r"'reference' is undefined.*if reference is defined"):
        judged(rubric, case("x"), Scripted(lambda request: "{}"))


def test_a_403_for_one_prompt_among_others_is_that_calls_failure(tmp_path):
    """As moderation in front of a model gives it; before any answer it means that the key is refused."""

    async def chat(request):
        asked = (await request.json())["messages"][-1]["content"]
        if "3" in asked:
            await asyncio.sleep(0.3)
            return aiohttp.web.json_response({"error": {"message": "flagged"}}, status=403)
        return aiohttp.web.json_response({"choices": [{"message": {"content": "fine"}}]})

    responses = asyncio.run(run_against(chat, tmp_path)).responses().select("status", "error").collect().rows()
    assert [status for status, _ in responses] == ["ok", "ok", "ok", "failed", "ok", "ok"]
    assert "HTTP 403: flagged" in responses[3][1]


@pytest.mark.parametrize("key", ["content", "EMPTY", "choices", "m"])
def test_a_key_that_is_a_common_word_breaks_no_answer(tmp_path, monkeypatch, key):
    monkeypatch.setenv("TEST_KEY", key)

    async def chat(request):
        return aiohttp.web.json_response({"choices": [{"message": {"content": "my EMPTY message"}}]})

    run = asyncio.run(run_against(chat, tmp_path, api_key_env="TEST_KEY"))
    assert run.responses().collect()["messages"][0][0]["content"] == "my EMPTY message"


def test_a_key_that_an_answer_repeats_is_taken_out_however_it_is_written(tmp_path, monkeypatch):
    key = "sk-a/b+0123456789"
    monkeypatch.setenv("TEST_KEY", key)
    escaped = "".join(f"\\u{ord(letter):04x}" for letter in key)

    async def chat(request):
        token = {"token": key, "logprob": -0.1}
        choice = {"message": {"content": "CONTENT"}, "finish_reason": f"{key}!", "logprobs": {"content": [token]}}
        text = json.dumps({"choices": [choice]}).replace("CONTENT", f"you sent {escaped}")
        return aiohttp.web.Response(text=text, content_type="application/json")

    run = asyncio.run(run_against(chat, tmp_path, api_key_env="TEST_KEY", logprobs=True))
    row = run.responses().collect().row(0, named=True)
    assert row["messages"][0]["content"] == "you sent [key]"
    assert row["finish_reason"] == "[key]!"
    files = [file for file in (tmp_path / "run").rglob("*") if file.is_file()]
    assert not [file for file in files if key.encode() in file.read_bytes() or b"\\u0073\\u006b" in file.read_bytes()]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ('{"error": {"message": "the model is still loading"}}', "the model is still loading"),
        ("<html>502 from the proxy</html>", "502 from the proxy"),
        ('{"choices": []}', "has no choices"),
    ],
)
def test_an_endpoint_whose_answers_are_none_is_not_called_unreachable(tmp_path, body, said):
    async def chat(request):
        return aiohttp.web.Response(text=body)

    with pytest.raises(EndpointDown) as raised:
        asyncio.run(run_against(chat, tmp_path, patience_s=0.5))
    assert said in str(raised.value)
    assert "gives no usable answer" in str(raised.value)


def test_runs_that_ask_the_same_at_once_agree_on_the_answer_and_each_counts_what_it_paid(tmp_path):
    requests = 0

    async def chat(request):
        nonlocal requests
        requests += 1
        said = f"answer {requests}"
        await asyncio.sleep(0.2)
        usage = {"prompt_tokens": 1, "completion_tokens": 1}
        return aiohttp.web.json_response({"choices": [{"message": {"content": said}}], "usage": usage})

    shared = {"calls": tmp_path / "shared.sqlite", "price": {"input": 1e6, "output": 0}}
    asyncio.run(run_against(chat, tmp_path, runs=("one", "other"), **shared))
    one, other = tp.open_run(tmp_path / "one"), tp.open_run(tmp_path / "other")
    assert requests == 12
    assert [run.manifest.spent["usd"] for run in (one, other)] == [6, 6]
    told = [run.responses().select("id", "messages").collect().rows() for run in (one, other)]
    assert told[0] == told[1]
    log = one.calls()
    assert [log.spent(run.manifest.run).usd for run in (one, other)] == [6, 6]
    log.close()


HALVES = {
    "score": r'{"rationale": "\ud800", "score": 3}',
    "better": r'{"rationale": "\udc00", "better": "A"}',
    "ranking": r'{"rationale": "a \uD800 b", "ranking": ["A", "B"]}',
    "prompt": r'{"rationale": "", "prompt": "a \ud800 b"}',
}
WHOLES = {
    "score": r'{"rationale": "\ud83d\ude00 and \\ud800", "score": 3}',
    "better": '{"rationale": "r", "better": "A"}',
    "ranking": '{"rationale": "r", "ranking": ["A", "B"]}',
    "prompt": '{"rationale": "r", "prompt": "Something else."}',
}


def test_half_of_a_character_in_an_answer_costs_that_row_alone_and_so_it_does_when_run_again(tmp_path):
    """As JSON escapes it is plain ASCII on the wire; neither a table nor a request can hold what it stands for."""
    requests = 0

    async def chat(request):
        nonlocal requests
        requests += 1
        body = await request.json()
        text = " ".join(message["content"] for message in body["messages"])
        wanted = body.get("response_format", {}).get("json_schema", {}).get("schema", {}).get("properties", {})
        kind = next((kind for kind in HALVES if kind in wanted), None)
        said = (HALVES if "number 1" in text else WHOLES)[kind] if kind else f"answer {requests}"
        return aiohttp.web.json_response({"choices": [{"message": {"content": said}}]})

    more = {
        "objective": tp.Objective(criteria={"helpful": tp.Criterion(text="It helps.")}),
        "synthesis": [tp.Sample(model="m", n=2)],
        "evaluation": [kind(model="m", criteria=["helpful"]) for kind in (tp.Rubric, tp.Pairwise, tp.Listwise)],
        "evolution": [Evolve(model="m", keep=True)],
    }
    prompts = ["number 0", "number 1"]
    for total in (None, 0):
        requests = 0
        run = asyncio.run(run_against(chat, tmp_path, prompts=prompts, more=more))
        assert total is None or requests == total
        prompt = {row["id"]: row["messages"][0]["content"] for row in run.prompts().collect().to_dicts()}
        assert sorted(prompt.values()) == ["Something else.", "number 0", "number 1"]
        for one in run.judgements().collect().to_dicts():
            broken = prompt[one["prompt_id"]] == "number 1"
            assert one["status"] == ("unparsed" if broken else "ok")
            assert len(one["call_ids"]) == (2 if broken else 1), "it is asked for again once"
            assert not broken or "half of a character" in one["error"]
            assert broken or one["evaluator"] != "rubric" or one["rationale"] == "\U0001f600 and \\ud800"
        (unmade,) = map(json.loads, (tmp_path / "run/unmade.jsonl").read_text().splitlines())
        assert unmade["row"] == 2
        assert "half of a character" in unmade["reason"]


@pytest.mark.parametrize(
    "said", [r'{"a": "\ud800"}', r'{"\uDFFF": 1}', r'{"a": [{"b": "\udc00\ud800"}]}', '{"a": "\ud800"}']
)
def test_no_half_of_a_character_is_read_wherever_it_stands(said):
    with pytest.raises(Unparsable, match="half of a character"):
        json_object(Choice(text=said))


def test_half_of_a_character_in_a_plain_answer_costs_that_call_alone(tmp_path):
    async def chat(request):
        asked = (await request.json())["messages"][-1]["content"]
        said = "half \ud800 of one" if "3" in asked else "fine"
        return aiohttp.web.json_response({"choices": [{"message": {"content": said}}]})

    responses = asyncio.run(run_against(chat, tmp_path, max_retries=1)).responses().select("status").collect()
    assert responses["status"].to_list() == ["ok", "ok", "ok", "failed", "ok", "ok"]
