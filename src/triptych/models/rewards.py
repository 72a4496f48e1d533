"""Scores of a response by a reward model behind an endpoint: the request and the answer of each API.

- `pooling`: vLLM's `POST /pooling` with `{model, messages}` or `{model, input}`; the answer's `data[0].data` is a list of
  numbers, or one list for each token, of which the last token's counts.
- `classify`: vLLM's `POST /classify` with the same; `data[0].probs`. Both apply the model's activation unless
  `use_activation: false` is among the `extra_body`.
- `score`: vLLM's `POST /v1/score` with `{model, text_1, text_2}`; `data[0].score`.
- `rerank`: `POST /v1/rerank` with `{model, query, documents}`; `results[0].relevance_score`. So have it Cohere, Jina, vLLM
  and llama.cpp's server when started with `--reranking`.
- `tei`: Text Embeddings Inference's `POST /rerank` with `{query, texts, raw_scores: true}`; a list of `{index, score}`.

A model that compares two responses is sent the texts that its `pair` templates make, one or two as its API takes.

The forms are those of vllm.entrypoints.pooling (https://docs.vllm.ai), https://docs.cohere.com/reference/rerank,
https://jina.ai/reranker, llama.cpp's tools/server/README.md and https://huggingface.github.io/text-embeddings-inference.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from triptych.models.chat import ScoreRequest
from triptych.models.spec import ClassifierModel, RewardModel
from triptych.models.wire import CantTell, Post, Said, decoded, usage_in
from triptych.records.messages import Message, message_to_openai
from triptych.templates import render, transcript

_encode = msgspec.json.Encoder().encode


async def rewards(spec: RewardModel, request: ScoreRequest, post: Post) -> Said:
    """Ask a reward model for what it gives a response, or two. Raises `CantTell` of one that takes the other number."""
    path, body = _asked(spec, request)
    length = sum(len(message.content) for message in (*request.messages, *request.response, *request.other))
    return await post(path, _encode(spec.extra_body | body), lambda said: _read(spec, said, length))


def texts(spec: RewardModel | ClassifierModel, request: ScoreRequest) -> tuple[str, ...]:
    """The texts that the model's templates make of a prompt and one response or two; none where it has no templates.

    Raises `CantTell` of a model that is asked for a comparison and makes none, or the other way round.
    """
    if bool(spec.pair) != bool(request.other):
        raise CantTell(f"the model {'compares two responses' if spec.pair else 'scores one response at a time'}")
    prompt, response = transcript(request.messages), transcript(request.response)
    if spec.pair:
        shown = {"prompt": prompt, "response_a": response, "response_b": transcript(request.other)}
        return tuple(render(text, shown) for text in spec.pair)
    return () if spec.template is None else (render(spec.template, {"prompt": prompt, "response": response}),)


def _asked(spec: RewardModel, request: ScoreRequest) -> tuple[str, dict[str, Any]]:
    """The path and the body of a request. What begins with a slash is asked at the server's root, beside `/v1`."""
    model, shown = {"model": spec.model}, texts(spec, request)
    if spec.api in ("pooling", "classify"):
        return f"/{spec.api}", model | ({"input": shown[0]} if shown else {"messages": as_openai(request)})
    first, second = shown or (transcript(request.messages), transcript(request.response))
    if spec.api == "score":
        return "score", model | {"text_1": first, "text_2": second}
    if spec.api == "rerank":
        return "rerank", model | {"query": first, "documents": [second]}
    return "/rerank", {"query": first, "texts": [second], "raw_scores": True}


def as_openai(request: ScoreRequest) -> list[dict[str, Any]]:
    """The whole conversation that is judged, as chat messages."""
    whole: Sequence[Message] = (*request.messages, *request.response)
    return [message_to_openai(message) for message in whole]


class _Pooled(msgspec.Struct):
    data: list[float | list[float]]


class _Classified(msgspec.Struct):
    probs: list[float]


class _Scored(msgspec.Struct):
    score: float


class _Ranked(msgspec.Struct):
    relevance_score: float


class _Pooling(msgspec.Struct):
    data: list[_Pooled]
    usage: msgspec.Raw = msgspec.Raw(b"null")


class _Classes(msgspec.Struct):
    data: list[_Classified]
    usage: msgspec.Raw = msgspec.Raw(b"null")


class _Scores(msgspec.Struct):
    data: list[_Scored]
    usage: msgspec.Raw = msgspec.Raw(b"null")


class _Ranks(msgspec.Struct):
    results: list[_Ranked]
    usage: msgspec.Raw = msgspec.Raw(b"null")


def _read(spec: RewardModel, body: bytes, length: int) -> Said:
    """Read the numbers of one response. Raises `ValueError` where there are none, or those of more than one."""
    usage = msgspec.Raw(b"null")
    found: Sequence[Any]
    if spec.api == "tei":
        found = decoded(body, list[_Scored], "no list of scores")
    elif spec.api == "rerank":
        ranks = decoded(body, _Ranks, "no reranking")
        found, usage = ranks.results, ranks.usage
    else:
        forms: dict[str, type[_Pooling | _Classes | _Scores]]
        forms = {"pooling": _Pooling, "classify": _Classes, "score": _Scores}
        answer = decoded(body, forms[spec.api], f"none to /{spec.api}")
        found, usage = answer.data, answer.usage
    if len(found) != 1:
        raise ValueError(f"the endpoint scored {len(found)} responses and was given one")
    scores = _numbers(found[0])
    if not scores:
        raise ValueError("the endpoint's answer holds no score")
    return Said(usage_in(usage, length), scores=scores)


def _numbers(one: _Pooled | _Classified | _Scored | _Ranked) -> tuple[float, ...]:
    if isinstance(one, _Scored):
        return (one.score,)
    if isinstance(one, _Ranked):
        return (one.relevance_score,)
    if isinstance(one, _Classified):
        return tuple(one.probs)
    last = one.data[-1] if one.data else ()
    vector = last if isinstance(last, list) else one.data
    return tuple(number for number in vector if isinstance(number, float | int))
