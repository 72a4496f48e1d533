"""The embedding of a text, as OpenAI-compatible endpoints give it: `POST /v1/embeddings` with `{model, input}`.

The answer's `data[0].embedding` is a list of numbers. vLLM, llama.cpp's server (started with `--embeddings` and a pooling),
Text Embeddings Inference and OpenAI (https://platform.openai.com/docs/api-reference/embeddings) have it so.
"""

from __future__ import annotations

import math

import msgspec

from triptych.models.chat import EmbedRequest
from triptych.models.spec import EmbeddedModel, ModelSpec, OpenAIModel
from triptych.models.wire import CantTell, Post, Said, decoded, usage_in

_encode = msgspec.json.Encoder().encode


class _Embedding(msgspec.Struct):
    embedding: list[float]


class _Embeddings(msgspec.Struct):
    data: list[_Embedding]
    usage: msgspec.Raw = msgspec.Raw(b"null")


async def embedding(spec: ModelSpec, request: EmbedRequest, post: Post) -> Said:
    """Ask for the vector of a text. Raises `CantTell` where the model is none that gives any."""
    if not isinstance(spec, OpenAIModel | EmbeddedModel):
        raise CantTell("the model is no model of embeddings")
    if isinstance(spec, EmbeddedModel) and spec.pooling is None:
        raise CantTell("declare a pooling for the embedded model, so that it gives embeddings")
    body = _encode(spec.extra_body | {"model": spec.model, "input": request.text, "encoding_format": "float"})
    return await post("embeddings", body, lambda said: _read(said, len(request.text)))


def _read(body: bytes, length: int) -> Said:
    answer = decoded(body, _Embeddings, "no embeddings")
    if len(answer.data) != 1 or not answer.data[0].embedding:
        raise ValueError("the endpoint's answer does not hold the embedding of one text")
    vector = tuple(answer.data[0].embedding)
    if not all(map(math.isfinite, vector)):
        raise ValueError("the embedding holds what is no finite number")
    return Said(usage_in(answer.usage, length), vector=vector)
