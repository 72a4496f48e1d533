"""A scripted judge, for testing evaluators without an endpoint."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from triptych.models.chat import CallFailed, ChatRequest, Choice, Reply, TokenLogprob
from triptych.models.spec import OpenAIModel
from triptych.operators import Case
from triptych.records import Criterion, Judgement, Message, Objective, make_prompt, make_response

WHEN = datetime(2026, 1, 2, tzinfo=UTC)


class Scripted:
    """An `Ask` that answers by a function of the request, and remembers what it was asked."""

    def __init__(self, says: Callable[[ChatRequest], str | Choice | CallFailed], **spec: object) -> None:
        self.says = says
        self.spec = OpenAIModel(model="judge-1", **{"logprobs": True, "version": "v9"} | spec)
        self.batches: list[list[ChatRequest]] = []

    @property
    def requests(self) -> list[ChatRequest]:
        return [request for batch in self.batches for request in batch]

    def model(self, name: str) -> OpenAIModel:
        assert name == "judge"
        return self.spec

    async def __call__(self, model: str, requests: Sequence[ChatRequest]) -> list[Reply | CallFailed]:
        self.batches.append(list(requests))
        return [self._reply(request) for request in requests]

    def _reply(self, request: ChatRequest) -> Reply | CallFailed:
        said = self.says(request)
        if isinstance(said, CallFailed):
            return said
        choice = Choice(text=said, finish_reason="stop") if isinstance(said, str) else said
        number = f"call-{sum(map(len, self.batches))}-{hash(getattr(request, 'messages', request))}"
        return Reply(
            call_id=number, choices=(choice,), prompt_tokens=10, completion_tokens=5, cost_usd=0.5, created_at=WHEN
        )


def tokens(**logprobs: float) -> Choice:
    """A one-token answer with these log-probabilities for the alternatives; the first is the one said."""
    top = tuple(logprobs.items())
    return Choice(text=top[0][0], finish_reason="length", logprobs=(TokenLogprob(top[0][0], top[0][1], top),))


def case(*texts: str, prompt: str = "Say hi.", criteria: dict[str, str] | None = None, **about: object) -> Case:
    """A prompt with these responses."""
    asked = make_prompt((Message("user", prompt),), **about)
    responses = tuple(
        make_response(
            prompt_id=asked.id,
            generator_id="o_1",
            sample_index=index,
            messages=(Message("assistant", text),),
            generator="sample",
            model="secret-model-name",
        )
        for index, text in enumerate(texts)
    )
    criteria = criteria or {"helpful": "It helps.", "honest": "It is honest."}
    objective = Objective(criteria={name: Criterion(text=text) for name, text in criteria.items()})
    return Case(prompt=asked, responses=responses, objective=objective, seed=5)


def judged(evaluator: object, case: Case, ask: Scripted | None = None) -> list[Judgement]:
    """What an evaluator says of a case."""
    return asyncio.run(evaluator.judge(case, ask))  # type: ignore[attr-defined]
