"""Reward models behind endpoints: what each API is sent, and which number is read of its answer."""

import asyncio

import pytest
from aiohttp import web
from pydantic import ValidationError

import triptych as tp
from asking import Wire, ask_at
from triptych.errors import EndpointDown
from triptych.models.chat import CallFailed, ScoreRequest, call_id
from triptych.records import Message

CHAT = (Message("system", "Be kind."), Message("user", "Hi!"))
REQUEST = ScoreRequest(messages=CHAT, response=(Message("assistant", "Hello."),))
WHOLE = [
    {"role": "system", "content": "Be kind."},
    {"role": "user", "content": "Hi!"},
    {"role": "assistant", "content": "Hello."},
]
WRITTEN = "system: Be kind.\n\nuser: Hi!"
USAGE = {"prompt_tokens": 11, "total_tokens": 11}


def asked(tmp_path, wire, requests=(REQUEST,), **spec):
    def make(url):
        return tp.RewardModel(model="rm", base_url=url, max_retries=0, **spec)

    return asyncio.run(ask_at(tmp_path, wire, list(requests), make))


FORMS = {
    "pooling": (
        "/pooling",
        {"model": "rm", "messages": WHOLE},
        {"data": [{"index": 0, "data": [-3.5]}], "usage": USAGE},
    ),
    "classify": (
        "/classify",
        {"model": "rm", "messages": WHOLE},
        {"data": [{"index": 0, "label": None, "probs": [-3.5], "num_classes": 1}], "usage": USAGE},
    ),
    "score": (
        "/v1/score",
        {"model": "rm", "text_1": WRITTEN, "text_2": "Hello."},
        {"data": [{"index": 0, "object": "score", "score": -3.5}], "usage": USAGE},
    ),
    "rerank": (
        "/v1/rerank",
        {"model": "rm", "query": WRITTEN, "documents": ["Hello."]},
        {"results": [{"index": 0, "relevance_score": -3.5}], "usage": USAGE},
    ),
    "tei": ("/rerank", {"query": WRITTEN, "texts": ["Hello."], "raw_scores": True}, [{"index": 0, "score": -3.5}]),
}


@pytest.mark.parametrize("api", FORMS)
def test_each_api_is_sent_its_own_form_and_the_score_is_read(tmp_path, api):
    path, body, answer = FORMS[api]
    wire = Wire(**{path.strip("/").replace("/", "__"): lambda _: answer})
    (reply,) = asked(tmp_path, wire, api=api)
    assert wire.sent == [(path, body)]
    assert reply.scores == (-3.5,)
    assert (reply.prompt_tokens, reply.tokens_estimated) == ((11, False) if api != "tei" else (4, True))


@pytest.mark.parametrize(("given", "scores"), [([[0.1], [0.2], [0.7]], (0.7,)), ([0.1, 0.9], (0.1, 0.9))])
def test_of_one_vector_for_each_token_the_last_one_counts(tmp_path, given, scores):
    (reply,) = asked(tmp_path, Wire(pooling=lambda _: {"data": [{"data": given}]}))
    assert reply.scores == scores


def test_a_template_makes_one_text_of_the_conversation(tmp_path):
    wire = Wire(pooling=lambda _: {"data": [{"data": [1.0]}]})
    asked(tmp_path, wire, template="Q: {{ prompt }}\nA: {{ response }}", extra_body={"use_activation": False})
    ((_, body),) = wire.sent
    assert body == {"model": "rm", "input": f"Q: {WRITTEN}\nA: Hello.", "use_activation": False}


def test_a_response_with_template_marks_is_only_text(tmp_path):
    wire = Wire(pooling=lambda _: {"data": [{"data": [1.0]}]})
    request = ScoreRequest(messages=CHAT, response=(Message("assistant", "{{ prompt }}{% if %}"),))
    asked(tmp_path, wire, [request], template="A: {{ response }}")
    assert wire.sent[0][1]["input"] == "A: {{ prompt }}{% if %}"


def test_a_trajectory_is_judged_with_all_of_its_messages(tmp_path):
    wire = Wire(pooling=lambda _: {"data": [{"data": [1.0]}]})
    said = (Message("assistant", "Wait."), Message("user", "Well?"), Message("assistant", "Yes."))
    asked(tmp_path, wire, [ScoreRequest(messages=CHAT, response=said)])
    assert [message["content"] for message in wire.sent[0][1]["messages"]] == [
        "Be kind.",
        "Hi!",
        "Wait.",
        "Well?",
        "Yes.",
    ]


@pytest.mark.parametrize(
    "answer",
    [
        {"data": []},
        {"data": [{"data": [1.0]}, {"data": [2.0]}]},
        {"data": [{"data": []}]},
        {"data": [{"data": "AAAA"}]},
        {"data": [{"data": [True]}]},
        {"results": []},
        web.Response(text='{"data": [{"data": [1e999]}]}', content_type="application/json"),
        web.Response(text='{"data": [{"data": [NaN]}]}', content_type="application/json"),
    ],
)
def test_what_is_no_single_finite_score_never_becomes_one(tmp_path, answer):
    fine = {"data": [{"data": [1.0]}]}
    wire = Wire(pooling=lambda body: fine if body["messages"][-1]["content"] == "Fine." else answer)
    others = [REQUEST, ScoreRequest(messages=CHAT, response=(Message("assistant", "Fine."),))]
    bad, good = asked(tmp_path, wire, others)
    assert isinstance(bad, CallFailed)
    assert good.scores == (1.0,)


def test_scores_are_asked_once_and_a_busy_reward_model_is_asked_again(tmp_path):
    busy = [True]

    def answer(body):
        if busy:
            busy.pop()
            return web.json_response({"error": "busy"}, status=503)
        return {"data": [{"data": [2.0]}]}

    def make(url):
        return tp.RewardModel(model="rm", base_url=url)

    wire = Wire(pooling=answer)
    (first,) = asyncio.run(ask_at(tmp_path, wire, [REQUEST], make))
    (again,) = asyncio.run(ask_at(tmp_path, wire, [REQUEST], make))
    assert (first.scores, first.attempts, again) == ((2.0,), 2, first)
    assert len(wire.sent) == 2


def test_how_a_reward_model_is_asked_is_part_of_the_key():
    models = [
        tp.RewardModel(model="rm"),
        tp.RewardModel(model="rm", api="classify"),
        tp.RewardModel(model="rm", template="{{ response }}"),
        tp.OpenAIModel(model="rm"),
    ]
    assert len({call_id(model.identity, REQUEST) for model in models}) == 4
    assert call_id(models[0].identity, REQUEST) == call_id(
        tp.RewardModel(model="rm", base_url="http://a/v1").identity, REQUEST
    )


def test_a_template_that_would_not_be_used_or_may_do_more_than_templates_may_is_an_error():
    with pytest.raises(ValidationError, match="no use for a template"):
        tp.RewardModel(model="rm", api="rerank", template="{{ response }}")
    with pytest.raises(ValidationError, match="holds what templates may not"):
        tp.RewardModel(model="rm", template="{% for x in response %}{% endfor %}")


def test_a_chat_model_gives_no_scores_and_a_reward_model_says_nothing(tmp_path):
    wire = Wire(v1__chat__completions=lambda _: {"choices": []})
    (reply,) = asyncio.run(ask_at(tmp_path, wire, [REQUEST], lambda url: tp.OpenAIModel(model="m", base_url=url)))
    assert "is no reward model" in reply.error
    assert wire.sent == []


def test_a_recipe_that_asks_a_model_for_what_it_can_not_do_is_an_error():
    models = {"rm": {"backend": "reward", "model": "rm"}}
    content = {"name": "r", "models": models, "prompts": {"kind": "inline", "prompts": ["a"]}}
    with pytest.raises(ValidationError, match="sample can't use model 'rm', which writes no answers"):
        tp.Recipe.model_validate(content | {"synthesis": {"kind": "sample", "model": "rm"}})


def test_a_server_without_the_api_is_said_with_the_path(tmp_path):
    with pytest.raises(EndpointDown, match=r"does not serve 'rm' at /classify .*404"):
        asked(tmp_path, Wire(), api="classify")
