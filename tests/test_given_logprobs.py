"""How likely a model finds a text that is given: tokens, where they stand, and values held against slower ways."""

import asyncio
import json
import math
import urllib.request
from importlib.util import find_spec

import pytest
from aiohttp import web
from hypothesis import given, settings
from hypothesis import strategies as st

import triptych as tp
from asking import Wire, ask_at, ask_of
from triptych.errors import MissingExtra
from triptych.models.chat import CallFailed, ChatRequest, GivenRequest, TextRequest, call_id
from triptych.models.embedded import EmbeddedServer, find_weights
from triptych.models.given import spelling
from triptych.records import Message

QUESTION = (Message("user", "What is the capital of France?"),)


def vllm(url):
    return tp.OpenAIModel(model="m", base_url=url, given_logprobs="vllm", max_retries=0)


def prompted(*tokens, first=5):
    """What vLLM says of a prompt: null, then for each token its id with what is said of it, and a likelier one."""
    told = [None]
    for place, (text, logprob) in enumerate(tokens[1:], first + 1):
        told.append(
            {
                str(place): {"logprob": logprob, "rank": 3, "decoded_token": text},
                "99": {"logprob": -0.01, "rank": 1, "decoded_token": "!"},
            }
        )
    return {
        "choices": [{"message": {"content": "x"}}],
        "prompt_logprobs": told,
        "prompt_token_ids": list(range(first, first + len(tokens))),
        "usage": {"prompt_tokens": len(tokens), "completion_tokens": 1},
    }


def asked_vllm(tmp_path, continuation, *tokens):
    wire = Wire(v1__chat__completions=lambda body: prompted(*tokens))
    request = GivenRequest(messages=QUESTION, continuation=continuation)
    (reply,) = asyncio.run(ask_at(tmp_path, wire, [request], vllm))
    return wire, reply


def test_vllm_is_asked_with_an_open_assistant_message_and_its_tokens_are_told_from_the_prompts(tmp_path):
    wire, reply = asked_vllm(
        tmp_path,
        "It is Paris.",
        ("<s>", 0),
        ("user", -9),
        ("\n", -8),
        ("It", -1),
        (" is", -0.5),
        (" Paris", -2),
        (".", -3),
    )
    ((path, body),) = wire.sent
    assert path == "/v1/chat/completions"
    assert body["messages"][-1] == {"role": "assistant", "content": "It is Paris."}
    assert (body["add_generation_prompt"], body["continue_final_message"]) == (False, True)
    assert (body["prompt_logprobs"], body["max_tokens"]) == (0, 1)
    assert [(t.start, t.end, t.logprob) for t in reply.tokens] == [(0, 2, -1), (2, 5, -0.5), (5, 11, -2), (11, 12, -3)]
    assert reply.prompt_tokens == 7


def test_a_token_that_reaches_over_the_beginning_of_the_response_is_no_answer(tmp_path):
    _, reply = asked_vllm(tmp_path, "It is.", ("<s>", 0), ("\nIt", -1), (" is", -1), (".", -1))
    assert isinstance(reply, CallFailed)
    assert "does not spell the response" in reply.error


def test_a_template_that_changes_the_response_is_no_answer(tmp_path):
    _, reply = asked_vllm(tmp_path, "It is.", ("<s>", 0), ("It", -1), (" was", -1), (".", -1))
    assert isinstance(reply, CallFailed)


def test_a_log_probability_that_is_no_number_is_no_answer(tmp_path):
    text = json.dumps(prompted(("<s>", 0), ("No", -12345))).replace("-12345", "-1e999")
    wire = Wire(v1__chat__completions=lambda body: web.Response(text=text, content_type="application/json"))
    (reply,) = asyncio.run(ask_at(tmp_path, wire, [GivenRequest(messages=QUESTION, continuation="No")], vllm))
    assert isinstance(reply, CallFailed)


def test_white_space_that_the_template_strips_is_not_scored_and_moves_nothing(tmp_path):
    _, reply = asked_vllm(tmp_path, "\n Yes. \n", ("<s>", 0), (">", -1), ("Yes", -2), (".", -3))
    assert [(t.start, t.end, t.logprob) for t in reply.tokens] == [(2, 5, -2), (5, 6, -3)]


def test_an_endpoint_without_prompt_logprobs_is_said_to_have_none(tmp_path):
    wire = Wire(v1__chat__completions=lambda body: {"choices": [{"message": {"content": "x"}}]})
    request = GivenRequest(messages=QUESTION, continuation="Yes.")
    (reply,) = asyncio.run(ask_at(tmp_path, wire, [request], vllm))
    assert "gives no prompt_logprobs" in reply.error


def test_characters_of_several_tokens_are_each_of_these_tokens(tmp_path):
    # an emoji of three tokens: as vLLM decodes parts by themselves, and as it mends them
    for parts in (["�", "�", "�"], ["", "", "😀"]):
        placed = spelling(["\n", "a", *parts, "b"], "a😀b")
        assert placed == [(0, 1), (1, 2), (1, 2), (1, 2), (2, 3)]


@settings(deadline=None)
@given(st.lists(st.text(st.characters(codec="utf-8"), min_size=1, max_size=4), min_size=1, max_size=8))
def test_any_cut_of_a_text_is_found_again_behind_another_text(pieces):
    pieces = [piece for piece in pieces if "�" not in piece] or ["a"]
    places = spelling(["<|im_start|>", "\x00\x00prompt", *pieces], "".join(pieces))
    assert ["".join(pieces)[start:end] for start, end in places] == pieces


def test_spaces_that_decoding_lost_are_given_to_the_token_after_them():
    assert spelling(["\n", "It", "is", "Paris", "."], "It is Paris.") == [(0, 2), (2, 5), (5, 11), (11, 12)]


def test_a_text_completion_is_asked_as_it_stands(tmp_path):
    answer = {
        "choices": [{"text": " there", "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 2, "completion_tokens": 1},
    }
    wire = Wire(v1__completions=lambda body: answer)
    request = TextRequest(prompt="<|user|>\n", max_tokens=9, temperature=0.7, stop=("<",))
    (reply,) = asyncio.run(ask_at(tmp_path, wire, [request], vllm))
    (sent,) = wire.sent
    assert sent == (
        "/v1/completions",
        {"model": "m", "prompt": "<|user|>\n", "max_tokens": 9, "temperature": 0.7, "stop": ["<"]},
    )
    assert (reply.choices[0].text, reply.prompt_tokens) == (" there", 2)


def test_a_request_of_one_sort_never_has_the_key_of_another_and_those_of_chats_are_as_ever():
    identity = b'{"model":"m","version":""}'
    keys = {
        call_id(identity, ChatRequest(messages=QUESTION)),
        call_id(identity, GivenRequest(messages=QUESTION, continuation="")),
        call_id(identity, TextRequest(prompt="")),
    }
    assert len(keys) == 3
    # of a log written before there were other requests
    assert call_id(identity, ChatRequest(messages=(Message("user", "Hello"),), temperature=0.7)) == KEY_OF_BEFORE


KEY_OF_BEFORE = "80607976685a7cadf047a24040d9ac76"


# --- llama.cpp

HARD = 'A 😀\n\n"<|im_end|>" naïve 北京.'


@pytest.fixture(scope="module")
def small():
    if find_spec("xllamacpp") is None:
        pytest.skip("needs triptych[embedded]")
    try:
        find_weights()
    except MissingExtra as missing:
        pytest.skip(str(missing))
    return tp.EmbeddedModel(slots=2, context_tokens=512)


@pytest.mark.embedded
def test_the_embedded_models_values_are_those_of_its_whole_distribution_at_each_place(tmp_path, small):
    request = GivenRequest(messages=QUESTION, continuation=HARD)
    (reply,) = asyncio.run(ask_of(tmp_path, small, [request]))
    expected = one_by_one(HARD)
    assert len(reply.tokens) == len(expected)
    for token, (piece, logprob) in zip(reply.tokens, expected, strict=True):
        assert token.logprob == pytest.approx(logprob, abs=0.01)
        if isinstance(piece, str):
            assert HARD[token.start : token.end] == piece
    assert min(token.start for token in reply.tokens) == 0
    assert max(token.end for token in reply.tokens) == len(HARD)


@pytest.mark.embedded
def test_a_given_text_is_asked_once_and_then_answered_from_the_log(tmp_path, small):
    from triptych.models.calls import Counts

    requests = [GivenRequest(messages=QUESTION, continuation=text) for text in ("Paris.", "Rome.", "Paris.")]
    first, second = Counts(), Counts()
    said = asyncio.run(ask_of(tmp_path, small, requests, first))
    again = asyncio.run(ask_of(tmp_path, small, requests, second))
    assert (first.sent, second.sent) == (2, 0)
    assert [reply.tokens for reply in said] == [reply.tokens for reply in again]
    assert sum(t.logprob for t in said[0].tokens) > sum(t.logprob for t in said[1].tokens)  # it does know its capitals


def one_by_one(text):
    """Every token by itself: all probabilities after all that comes before it, and of these the token's."""
    server = EmbeddedServer(find_weights(), slots=1, context_tokens=512)
    server.start()

    def post(path, **body):
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {server.api_key}"}
        url = f"{server.base_url.removesuffix('/v1')}/{path}"
        with urllib.request.urlopen(
            urllib.request.Request(url, json.dumps(body).encode(), headers), timeout=120
        ) as answer:
            return json.load(answer)

    try:
        chat = post("apply-template", messages=[{"role": "user", "content": QUESTION[0].content}])["prompt"]
        before = [
            t["id"]
            for t in post("tokenize", content=chat, add_special=True, parse_special=True, with_pieces=True)["tokens"]
        ]
        found = []
        for token in post("tokenize", content=text, with_pieces=True, parse_special=False)["tokens"]:
            said = post(
                "completion", prompt=before, n_predict=1, n_probs=10**6, grammar='root ::= "a"', cache_prompt=True
            )
            (place,) = said["completion_probabilities"]
            logprobs = {each["id"]: each["logprob"] for each in place["top_logprobs"]}
            assert math.fsum(map(math.exp, logprobs.values())) == pytest.approx(1, abs=1e-3)
            found.append((token["piece"], logprobs[token["id"]]))
            before.append(token["id"])
        return found
    finally:
        server.close()
