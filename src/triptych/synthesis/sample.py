"""Sampling: n responses from each of several models, with temperatures, system prompts and drawn principles."""

from __future__ import annotations

import asyncio
from functools import cached_property
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

from pydantic import BeforeValidator, Field, PlainSerializer

from triptych.models.chat import Ask, CallFailed, ChatRequest, Reply
from triptych.models.spec import ModelSpec
from triptych.operators import Case, Load, Operator, Outlook, estimate_tokens
from triptych.records import Message, Prompt, Response, draw, make_response

_USUAL_TOKENS = 300


def _as_tuple(value: object) -> object:
    return value if isinstance(value, list | tuple) else (value,)


def _as_written(value: tuple[object, ...]) -> object:
    return value[0] if len(value) == 1 else list(value)


_Serialise = PlainSerializer(_as_written)
_OneOrMoreTexts = BeforeValidator(_as_tuple, json_schema_input_type=str | list[str])
Names = Annotated[tuple[str, ...], Field(min_length=1), _OneOrMoreTexts, _Serialise]
Texts = Annotated[tuple[str, ...], _OneOrMoreTexts, _Serialise]
Temperature = Annotated[float, Field(ge=0, le=2)]
Temperatures = Annotated[
    tuple[Temperature, ...],
    Field(min_length=1),
    BeforeValidator(_as_tuple, json_schema_input_type=Temperature | list[Temperature]),
    _Serialise,
]


class Sample(Operator):
    """Draws `n` responses to each prompt from each model.

    Lists of temperatures and of system prompts are gone through in turn: response i takes entry i of each, from the
    start again after the last. Principles are drawn at random for each response (as in UltraFeedback,
    arXiv:2310.01377), by the recipe's seed.
    """

    not_in_identity: ClassVar[frozenset[str]] = frozenset({"name", "n", "samples_per_call", "logprobs"})

    kind: Literal["sample"] = "sample"
    name: str | None = None
    """What responses call the generator; its kind if not given."""
    model: Names
    """A model's name, or several: each gives `n` responses."""
    n: int = Field(default=4, ge=1)
    """Responses from each model."""
    temperature: Temperatures = (1.0,)
    """One, or several that are gone through in turn."""
    top_p: float | None = Field(default=None, gt=0, le=1)
    """Nucleus sampling: the share of the probability that is drawn from."""
    max_tokens: int = Field(default=1024, ge=1)
    """Longest answer, in tokens."""
    stop: Texts = ()
    """Texts at which the model ends its answer."""
    system: Texts = ()
    """System prompts. They come before the prompt's own system message, where it has one."""
    principles: Texts = ()
    """Sentences of which one is drawn for each response and added to its system prompt."""
    logprobs: bool = False
    """Whether to keep the log-probability of each token, where the model is declared to give them."""
    samples_per_call: int = Field(default=1, ge=1)
    """Responses asked for in one call (`n` of the endpoint). Cheaper where prompts are long and the endpoint has it;
    only responses of equal temperature, system prompt and principle share a call."""

    async def respond(self, case: Case, ask: Ask) -> list[Response]:
        """Make `n` responses from each model, in the order of the models and of the sample index."""
        if len(self.model) == 1:
            return await self._from(self.model[0], case, ask)
        per_model = await asyncio.gather(*(self._from(model, case, ask) for model in self.model))
        return [response for responses in per_model for response in responses]

    def forecast(self, outlook: Outlook) -> tuple[list[Load], Outlook]:
        """Expect each response to take its `max_tokens`, or 300 tokens where it may be longer."""
        calls = self.n if self.principles else len(self._same)
        instructions = max(map(estimate_tokens, self.system), default=0) + max(
            map(estimate_tokens, self.principles), default=0
        )
        length = min(self.max_tokens, _USUAL_TOKENS)
        asked = calls * (outlook.prompt_tokens + instructions)
        loads = [
            Load(
                model=model,
                calls=calls,
                prompt_tokens=asked,
                completion_tokens=self.n * length,
                most_calls=calls,
                most_prompt_tokens=asked,
                most_completion_tokens=self.n * self.max_tokens,
            )
            for model in self.model
        ]
        return loads, outlook.with_responses(self.n * len(self.model), length, self.max_tokens)

    async def _from(self, model: str, case: Case, ask: Ask) -> list[Response]:
        spec = ask.model(model)
        groups = self._groups([self._draw(case, index) for index in range(self.n)]) if self.principles else self._same
        start = draw(case.seed, case.prompt.id) if spec.send_seed else None
        requests = [self._request(case.prompt, group, spec, start) for group in groups]
        outcomes = await ask(model, requests)
        maker: dict[str, Any] = {
            "prompt_id": case.prompt.id,
            "generator": self.name or self.kind,
            "generator_id": self.identity(spec),
            "model": spec.model,
            "model_version": spec.version,
        }
        responses = [
            self._response(maker, drawn, outcome, place, request)
            for group, outcome, request in zip(groups, outcomes, requests, strict=True)
            for place, drawn in enumerate(group)
        ]
        return responses if self.samples_per_call == 1 else sorted(responses, key=lambda made: made.sample_index)

    def _draw(self, case: Case, index: int) -> _Draw:
        """Settle what is particular to response `index`."""
        principle = self.principles[draw(case.seed, case.prompt.id, "principle", index) % len(self.principles)]
        return self._particular(index, principle)

    @cached_property
    def _same(self) -> list[list[_Draw]]:
        """Without principles, what is particular to each response is the same for all prompts."""
        return self._groups([self._particular(index) for index in range(self.n)])

    def _particular(self, index: int, principle: str = "") -> _Draw:
        own = self.system[index % len(self.system)] if self.system else ""
        system = f"{own}\n\n{principle}" if own and principle else own or principle
        return _Draw(index, self.temperature[index % len(self.temperature)], system)

    def _groups(self, draws: list[_Draw]) -> list[list[_Draw]]:
        """Put together the draws that one call can answer."""
        if self.samples_per_call == 1:
            return [[drawn] for drawn in draws]
        alike: dict[tuple[float, str], list[list[_Draw]]] = {}
        for drawn in draws:
            calls = alike.setdefault(drawn[1:], [[]])
            if len(calls[-1]) == self.samples_per_call:
                calls.append([])
            calls[-1].append(drawn)
        return [group for calls in alike.values() for group in calls]

    def _request(self, prompt: Prompt, group: list[_Draw], spec: ModelSpec, start: int | None) -> ChatRequest:
        """What asks for the responses of one group. The seeds of a prompt's responses follow on one another."""
        place, temperature, system = group[0]
        messages = prompt.messages
        return ChatRequest(
            messages=(Message("system", system), *messages) if system else messages,
            temperature=temperature,
            top_p=self.top_p,
            max_tokens=self.max_tokens,
            stop=self.stop,
            seed=(start + place) % 2**31 if start is not None and temperature > 0 else None,
            n=len(group),
            sample_index=place,
            tools=prompt.tools,
            top_logprobs=0 if self.logprobs and spec.logprobs else None,
        )

    def _response(
        self, maker: dict[str, Any], drawn: _Draw, outcome: Reply | CallFailed, place: int, request: ChatRequest
    ) -> Response:
        params: dict[str, Any] = {"temperature": drawn.temperature, "max_tokens": self.max_tokens}
        if request.top_p is not None:
            params["top_p"] = request.top_p
        if request.seed is not None:
            params["seed"] = request.seed
        if drawn.system:
            params["system"] = drawn.system
        answered = _answered(outcome, place)
        return make_response(**maker, sample_index=drawn.place, params=params, **answered)


class _Draw(NamedTuple):
    """What is particular to one response."""

    place: int
    """Its sample index."""
    temperature: float
    system: str


def _answered(reply: Reply | CallFailed, place: int) -> dict[str, Any]:
    """What a call says of the response: its text, its log-probabilities, its share of the call's cost."""
    if isinstance(reply, CallFailed):
        return {"messages": (), "status": "failed", "error": reply.error}
    if place >= len(reply.choices):
        error = f"the endpoint gave only {len(reply.choices)} of the choices asked for; set samples_per_call: 1"
        return {"call_ids": (reply.call_id,), "messages": (), "status": "failed", "error": error}
    choice = reply.choices[place]
    logprobs = tuple(token.logprob for token in choice.logprobs) if choice.logprobs else None
    shares = len(reply.choices)
    return {
        "messages": (Message("assistant", choice.refusal or choice.text, choice.tool_calls),),
        "finish_reason": choice.finish_reason,
        "status": "refused" if choice.refused else "ok",
        "prompt_tokens": reply.prompt_tokens,
        "completion_tokens": len(logprobs) if logprobs and shares > 1 else reply.completion_tokens // shares,
        "logprob": sum(logprobs) if logprobs else None,
        "token_logprobs": logprobs,
        "cost_usd": reply.cost_usd / shares,
        "call_ids": (reply.call_id,),
        "created_at": reply.created_at,
    }
