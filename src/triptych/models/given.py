"""Log-probabilities of a text that is given: one form for vLLM, one for llama.cpp's server.

vLLM: a chat completion with `prompt_logprobs: 0`, whose last message is the assistant's and is not closed
(`add_generation_prompt: false`, `continue_final_message: true`), and `max_tokens: 1`. The answer's `prompt_logprobs` is a
list with null for the first token of the prompt and, for each later one, an object that maps the token's id to
`{logprob, rank, decoded_token}`; `return_token_ids` adds `prompt_token_ids` (`ChatCompletionRequest` and
`ChatCompletionResponse` of https://docs.vllm.ai, vllm.entrypoints.openai.chat_completion.protocol). The continuation is
the end of the prompt, so its tokens are found from the last one backwards, by what they spell.

llama.cpp (https://github.com/ggml-org/llama.cpp, tools/server/README.md): `/apply-template` and `/tokenize` give the
tokens of the prompt and of the continuation, and `/completion` is made to write those and no others by a grammar over
token ids. `n_probs` then gives the log-probabilities before any grammar. A token that holds half a character can't be
written so; it is looked up in the whole distribution at its place, in a request of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

import msgspec

from triptych.models.chat import GivenRequest, GivenToken
from triptych.models.spec import EmbeddedModel, ModelSpec, OpenAIModel
from triptych.models.wire import CantTell, Post, Said, Usage, decoded, usage_in
from triptych.records.messages import message_to_openai

_encode = msgspec.json.Encoder().encode
_WHOLE_VOCABULARY = 10_000_000
_UNSPELT = "\ufffd"
"""What a decoder writes for the bytes of half a character."""


async def given_logprobs(spec: ModelSpec, request: GivenRequest, post: Post) -> Said:
    """Ask how likely the model finds a given continuation. Raises `CantTell` where the endpoint's answer can't be it."""
    if isinstance(spec, OpenAIModel) and spec.given_logprobs == "vllm":
        return await post("chat/completions", _vllm_body(spec, request), lambda body: _read_vllm(body, request))
    if isinstance(spec, EmbeddedModel) or getattr(spec, "given_logprobs", None) == "llamacpp":
        return await _forced(spec, request, post)
    raise CantTell("the model is not declared to give log-probabilities of given texts (given_logprobs)")


# --- vLLM


def _vllm_body(spec: ModelSpec, request: GivenRequest) -> bytes:
    messages = [message_to_openai(message) for message in request.messages]
    ours = {
        "messages": [*messages, {"role": "assistant", "content": request.continuation}],
        "add_generation_prompt": False,
        "continue_final_message": True,
        "prompt_logprobs": 0,
        "return_token_ids": True,
        "max_tokens": 1,
        "temperature": 0,
    }
    return _encode({"model": spec.model} | spec.extra_body | ours)


class _Prompted(msgspec.Struct):
    logprob: float
    decoded_token: str | None = None


class _Echo(msgspec.Struct):
    prompt_logprobs: list[dict[str, _Prompted] | None] | None = None
    prompt_token_ids: list[int] | None = None
    usage: msgspec.Raw = msgspec.Raw(b"null")


def _read_vllm(body: bytes, request: GivenRequest) -> Said:
    answer = decoded(body, _Echo, "no chat completion with prompt_logprobs")
    if not answer.prompt_logprobs:
        raise CantTell("the endpoint gives no prompt_logprobs; is it vLLM, and given_logprobs rightly declared?")
    ids: Sequence[int | None] = answer.prompt_token_ids or [None] * len(answer.prompt_logprobs)
    told = [_of_prompt(each, at) for each, at in zip(answer.prompt_logprobs, ids, strict=False)]
    spelt = _found([token.decoded_token or "" if token else None for token in told], request.continuation)
    if spelt is None:
        raise CantTell(
            "the end of what vLLM scored does not spell the response: its chat template changes the text, or a token "
            "reaches over its beginning"
        )
    tokens = tuple(
        GivenToken(start, end, token.logprob)
        for token, (start, end) in zip(told[len(told) - len(spelt) :], spelt, strict=True)
        if token is not None
    )
    return Said(usage_in(answer.usage, len(request.continuation)), tokens=tokens)


def _of_prompt(alternatives: dict[str, _Prompted] | None, token: int | None) -> _Prompted | None:
    """What is said of the prompt's own token, which stands first if its id is not known."""
    if not alternatives:
        return None
    return alternatives.get(str(token)) or next(iter(alternatives.values()))


def _found(tokens: Sequence[str | None], text: str) -> list[tuple[int, int]] | None:
    """Where each of the text's tokens stands in it; many chat templates strip the white space around a message."""
    found = spelling(tokens, text)
    if found is not None or text.strip() == text:
        return found
    before = len(text) - len(text.lstrip())
    stripped = spelling(tokens, text.strip())
    return stripped and [(start + before, end + before) for start, end in stripped]


def spelling(tokens: Sequence[str | None], text: str) -> list[tuple[int, int]] | None:
    """Where in a text each of the last tokens stands that spell it; None where no number of them does.

    A token in which half a character is decoded as U+FFFD, or as nothing, stands for a part of one character. All ways
    to read the tokens are followed, from the end of the text; if there is none, then also those in which a space before
    a token was lost in decoding.
    """
    return _spelt(tokens, text, lost=False) or _spelt(tokens, text, lost=True)


def _spelt(tokens: Sequence[str | None], text: str, *, lost: bool) -> list[tuple[int, int]] | None:
    reach = [{len(text)}]  # where the tokens after this one may begin
    for token in reversed(tokens):
        if 0 in reach[-1] and not _is_part(token):
            break
        starts = set() if token is None else {at for end in reach[-1] for at in _starts(token, text, end, lost)}
        if not starts:
            break
        reach.append(starts)
    if 0 not in reach[-1]:
        return None
    count = len(reach) - 1
    return _placed([token or "" for token in tokens[len(tokens) - count :]], text, reach[::-1], lost)


def _is_part(token: str | None) -> bool:
    return token is not None and token.strip(_UNSPELT) == ""


def _starts(token: str, text: str, end: int, lost: bool) -> set[int]:
    """Where a token may begin that ends at `end`: each half character in it stands for one or none,
    and no ASCII character has halves."""
    starts = {end}
    for piece in reversed(token):
        if piece == _UNSPELT:
            starts |= {at - 1 for at in starts if at > 0 and not text[at - 1].isascii()}
        else:
            starts = {at - 1 for at in starts if at > 0 and text[at - 1] == piece}
    if not lost or not token or token.startswith(" "):
        return starts
    return starts | {at - 1 for at in starts if at > 0 and text[at - 1] == " "}


def _placed(tokens: list[str], text: str, reach: list[set[int]], lost: bool) -> list[tuple[int, int]]:
    """Where each token stands. One that ends within a character reaches to the end of the next one."""
    places: list[tuple[int, int]] = []
    at = 0
    for token, ends in zip(tokens, reach[1:], strict=True):
        end = min(end for end in ends if at in _starts(token, text, end, lost))
        places.append((at, end))
        at = end
    for place in range(len(places) - 2, -1, -1):
        start, end = places[place]
        token = tokens[place]
        if (not token or token.endswith(_UNSPELT)) and end - start == len(token.replace(_UNSPELT, "")):
            places[place] = (start, places[place + 1][1])
    return places


# --- llama.cpp


class _Piece(msgspec.Struct):
    id: int
    piece: str | list[int]

    @property
    def bytes(self) -> bytes:
        return self.piece.encode() if isinstance(self.piece, str) else bytes(self.piece)


class _Tokens(msgspec.Struct):
    tokens: list[_Piece]


class _Template(msgspec.Struct):
    prompt: str


class _Written(msgspec.Struct):
    id: int
    logprob: float
    top_logprobs: list[_Written] = []


class _Completion(msgspec.Struct):
    completion_probabilities: list[_Written] = []


async def _forced(spec: ModelSpec, request: GivenRequest, post: Post) -> Said:
    """Have llama.cpp's server write the continuation, token by token, and say how likely each was."""
    messages = [message_to_openai(message) for message in request.messages]
    templated = await post(
        "/apply-template",
        _encode(spec.extra_body | {"messages": messages}),
        lambda body: decoded(body, _Template, "no templated chat"),
    )
    prompt = [token.id for token in await _tokens(post, templated.prompt, special=True)]
    wanted = await _tokens(post, request.continuation, special=False)
    if b"".join(token.bytes for token in wanted) != request.continuation.encode():
        raise CantTell("the tokens of the response do not spell it: the model's tokenizer changes texts")
    if not wanted:
        return Said(Usage(0, 0), tokens=())
    logprobs = await _logprobs(post, prompt, wanted)
    tokens = tuple(GivenToken(*place, logprob) for place, logprob in zip(_offsets(wanted), logprobs, strict=True))
    return Said(Usage(len(prompt), len(wanted)), tokens=tokens)


async def _tokens(post: Post, text: str, *, special: bool) -> list[_Piece]:
    """Tokens of a text; in the prompt marks of the template count as such, in a response they are only text."""
    body = {"content": text, "add_special": special, "parse_special": special, "with_pieces": True}
    return (await post("/tokenize", _encode(body), lambda said: decoded(said, _Tokens, "no tokens"))).tokens


async def _complete(post: Post, prompt: list[int], body: dict[str, Any]) -> list[_Written]:
    ours = {"prompt": prompt, "temperature": 0, "cache_prompt": True} | body
    done = await post("/completion", _encode(ours), lambda said: decoded(said, _Completion, "no completion"))
    return done.completion_probabilities


async def _logprobs(post: Post, prompt: list[int], wanted: list[_Piece]) -> list[float]:
    """How likely each token is after the prompt and the tokens before it."""
    found: list[float] = []
    for whole, run in groupby(wanted, key=lambda token: isinstance(token.piece, str)):
        ids = [token.id for token in run]
        before = prompt + [token.id for token in wanted[: len(found)]]
        if whole:
            found += await _written(post, before, ids)
        else:
            found += [await _looked_up(post, before + ids[:place], token) for place, token in enumerate(ids)]
    return found


async def _written(post: Post, before: list[int], ids: list[int]) -> list[float]:
    """Have the server write these tokens and no others, which are of whole characters each."""
    grammar = "root ::= " + " ".join(f"<[{token}]>" for token in ids)
    said = await _complete(post, before, {"grammar": grammar, "n_predict": len(ids), "n_probs": 1})
    if [each.id for each in said] != ids:
        raise CantTell("the server wrote other tokens than those it was held to; its llama.cpp may be too old")
    return [each.logprob for each in said]


async def _looked_up(post: Post, before: list[int], token: int) -> float:
    """The log-probability of one token, from all that could come at its place."""
    any_letter = {"grammar": "root ::= [ -~]", "n_predict": 1, "n_probs": _WHOLE_VOCABULARY}
    said = await _complete(post, before, any_letter)
    found = [each.logprob for each in (said[0].top_logprobs if said else []) if each.id == token]
    if not found:
        raise CantTell(f"the server does not say how likely the token {token} is")
    return found[0]


def _offsets(tokens: list[_Piece]) -> list[tuple[int, int]]:
    """Where each token stands, in characters: from the first that it has a byte of to the last."""
    places, begun = [], 0
    for token in tokens:
        follows = [byte & 0xC0 == 0x80 for byte in token.bytes]  # bytes within a character
        start = begun - (1 if follows and follows[0] else 0)
        begun += follows.count(False)
        places.append((start, begun))
    return places
