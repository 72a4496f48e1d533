"""Sampling: n responses from each of several models, with temperatures, system prompts and drawn principles."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from functools import cached_property
from itertools import takewhile
from typing import Any, ClassVar, Literal, NamedTuple

from pydantic import Field, field_validator, model_validator

from triptych.models.chat import Ask, CallFailed, ChatRequest, Reply
from triptych.models.spec import ModelSpec
from triptych.operators import Case, Load, Operator, Outlook, estimate_tokens
from triptych.records import Message, Prompt, Response, draw, make_response
from triptych.synthesis._answers import answered
from triptych.synthesis._fields import Names, Shares, Shot, Temperatures, Texts
from triptych.templates import checked_template, render

_USUAL_TOKENS = 300


class Sample(Operator):
    """Draws `n` responses to each prompt from each model.

    Lists of temperatures and of system prompts are gone through in turn: response i takes entry i of each, from the
    start again after the last. Principles are drawn at random for each response (as in UltraFeedback,
    arXiv:2310.01377), by the recipe's seed. With `shares` the `n` responses are a mixture: the model of each is drawn.
    """

    not_in_identity: ClassVar[frozenset[str]] = frozenset(
        {"name", "n", "shares", "samples_per_call", "logprobs", "top_logprobs"}
    )

    kind: Literal["sample"] = "sample"
    name: str | None = None
    """What responses call the generator; its kind if not given."""
    model: Names
    """A model's name, or several: each gives `n` responses."""
    n: int = Field(default=4, ge=1, le=10_000)
    """Responses from each model; with `shares`, from all together."""
    first: int = Field(default=0, ge=0)
    """The sample index of the first response. Generators of one model and equal settings give the same responses to the
    same indices, so that a second one that is to draw anew starts after those of the first."""
    shares: Shares = ()
    """The chance of each model to be the one that makes a response, in the order of `model`; they add up to 1."""
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
    shots: tuple[Shot, ...] = ()
    """Prompts with good responses that are shown before the prompt, as turns of the chat."""
    template: str | None = None
    """A Jinja template that the text of the last user message is put into, as `prompt`: for a chain of thought, or
    for attributes that the response should have. The response still belongs to the prompt as it was."""
    logprobs: bool = False
    """Whether to keep the log-probability of each token, where the model is declared to give them."""
    top_logprobs: int = Field(default=0, ge=0, le=20)
    """With `logprobs`: of how many alternatives to each token the log-probabilities are kept as well."""
    samples_per_call: int = Field(default=1, ge=1)
    """Responses asked for in one call (`n` of the endpoint). Cheaper where prompts are long and the endpoint has it;
    only responses of equal temperature, system prompt and principle share a call."""

    @model_validator(mode="after")
    def _shares_of_models(self) -> Sample:
        if self.shares and (len(self.shares) != len(self.model) or abs(sum(self.shares) - 1) > 1e-6):
            raise ValueError(f"shares must give one number for each of the {len(self.model)} models, adding up to 1")
        if self.top_logprobs and not self.logprobs:
            raise ValueError("top_logprobs: alternatives are kept with logprobs: true alone")
        return self

    @field_validator("template")
    @classmethod
    def _usable(cls, template: str | None) -> str | None:
        return template if template is None else checked_template(template, {"prompt": "p"})

    async def respond(self, case: Case, ask: Ask) -> list[Response]:
        """Make `n` responses from each model, in the order of the models and of the sample index."""
        return await self.some(case, ask)

    async def some(
        self,
        case: Case,
        ask: Ask,
        places: range | None = None,
        maker: Operator | None = None,
        most: int | None = None,
    ) -> list[Response]:
        """Make the responses of these sample indices, of all `n` if none are named; as the work of `maker`, if given.

        Who goes beyond `n` says how many there are at `most`, so that the seeds of one model do not run into the next's.
        """
        if len(self.model) == 1:
            return await self._from(self.model[0], case, ask, self._groups_for(case, places), maker, most)
        if self.shares:
            drawn = {index: self._drawn_model(case, index) for index in places or range(self.n)}
            wanted = [[i for i, name in drawn.items() if name == model] for model in self.model]
            groups = [self._groups_for(case, some) for some in wanted]
        else:
            groups = [self._groups_for(case, places)] * len(self.model)
        asked = [
            self._from(name, case, ask, some, maker, most)
            for name, some in zip(self.model, groups, strict=True)
            if some
        ]
        return [response for responses in await asyncio.gather(*asked) for response in responses]

    def forecast(self, outlook: Outlook) -> tuple[list[Load], Outlook]:
        """Expect each response to take its `max_tokens`, or 300 tokens where it may be longer."""
        most = self.n if self.principles else len(self._same)
        asked = outlook.prompt_tokens + self._instructions
        length = min(self.max_tokens, _USUAL_TOKENS)
        loads = [
            Load(
                model=model,
                calls=most * share,
                prompt_tokens=most * share * asked,
                completion_tokens=self.n * share * length,
                most_calls=most,
                most_prompt_tokens=most * asked,
                most_completion_tokens=self.n * self.max_tokens,
            )
            for model, share in zip(self.model, self.shares or (1,) * len(self.model), strict=True)
        ]
        made = self.n if self.shares else self.n * len(self.model)
        return loads, outlook.with_responses(made, length, self.max_tokens)

    @property
    def _instructions(self) -> float:
        """Tokens that are put before each prompt or around it."""
        shown = (text for shot in self.shots for text in (shot.prompt, shot.response))
        longest = (max(map(estimate_tokens, texts), default=0) for texts in (self.system, self.principles))
        return sum(longest) + sum(map(estimate_tokens, shown)) + estimate_tokens(self.template or "")

    def _drawn_model(self, case: Case, index: int) -> str:
        lot = draw(case.seed, case.prompt.id, "model", index) / 2**63
        for name, share in zip(self.model, self.shares, strict=True):
            lot -= share
            if lot < 0:
                return name
        return self.model[-1]

    async def _from(
        self,
        model: str,
        case: Case,
        ask: Ask,
        groups: list[list[_Draw]],
        maker: Operator | None,
        most: int | None,
    ) -> list[Response]:
        spec = ask.model(model)
        messages = self._messages(case.prompt)
        # In a pool, so that models of the same weights do not say the same.
        turn = 0 if self.shares else self.model.index(model) * (most or self.n)
        start = draw(case.seed, case.prompt.id) + turn if spec.send_seed else None
        requests = [self._request(case.prompt, messages, group, spec, start) for group in groups]
        outcomes = await ask(model, requests)
        maker = maker or self
        made_by: dict[str, Any] = {
            "prompt_id": case.prompt.id,
            "generator": getattr(maker, "name", None) or getattr(maker, "kind", ""),
            "generator_id": maker.identity(spec, held=maker.held(case.objective, ask.model)),
            "model": spec.model,
            "model_version": spec.version,
        }
        responses = [
            self._response(made_by, drawn, outcome, place, request)
            for group, outcome, request in zip(groups, outcomes, requests, strict=True)
            for place, drawn in enumerate(group)
        ]
        return responses if self.samples_per_call == 1 else sorted(responses, key=lambda made: made.sample_index)

    def _messages(self, prompt: Prompt) -> tuple[Message, ...]:
        """The chat to be continued, with what is shown before the prompt and put around it."""
        messages = prompt.messages
        if self.template is not None:
            last = max((i for i, message in enumerate(messages) if message.role == "user"), default=None)
            if last is not None:
                text = render(self.template, {"prompt": messages[last].content})
                messages = (*messages[:last], Message("user", text), *messages[last + 1 :])
        if self.shots:
            head = sum(1 for _ in takewhile(lambda message: message.role in ("system", "developer"), messages))
            turns = [turn for shot in self.shots for turn in shot.turns()]
            messages = (*messages[:head], *turns, *messages[head:])
        return messages

    def _groups_for(self, case: Case, places: Iterable[int] | None) -> list[list[_Draw]]:
        """What is asked for in each call, for the responses of these sample indices or for all `n`."""
        if places is None and not self.principles:
            return self._same
        wanted = range(self.n) if places is None else places
        return self._groups([self._draw(case, i) if self.principles else self._particular(i) for i in wanted])

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
        return _Draw(self.first + index, self.temperature[index % len(self.temperature)], system)

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

    def _request(
        self,
        prompt: Prompt,
        messages: tuple[Message, ...],
        group: list[_Draw],
        spec: ModelSpec,
        start: int | None,
    ) -> ChatRequest:
        """What asks for the responses of one group. The seeds of a prompt's responses follow on one another."""
        place, temperature, system = group[0]
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
            top_logprobs=self.top_logprobs if self.logprobs and spec.logprobs else None,
        )

    def _response(
        self, made_by: dict[str, Any], drawn: _Draw, outcome: Reply | CallFailed, place: int, request: ChatRequest
    ) -> Response:
        params: dict[str, Any] = {"temperature": drawn.temperature, "max_tokens": self.max_tokens}
        if request.top_p is not None:
            params["top_p"] = request.top_p
        if request.seed is not None:
            params["seed"] = request.seed
        if drawn.system:
            params["system"] = drawn.system
        if self.shots:
            params["shots"] = len(self.shots)
        said = answered(outcome, place)
        return make_response(**made_by, sample_index=drawn.place, params=params, **said)


class _Draw(NamedTuple):
    """What is particular to one response."""

    place: int
    """Its sample index."""
    temperature: float
    system: str
