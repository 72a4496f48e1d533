"""Implicit rewards: how much likelier a policy finds a response than a reference does."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from triptych.models.chat import Ask, CallFailed, GivenRequest, GivenToken, Reply
from triptych.models.spec import ModelSpec
from triptych.operators import Case, Load, Operator, Outlook, suggestion
from triptych.records import Judgement, Message, Objective, Response, Span, content_id, make_judgement


class ImplicitReward(Operator):
    """Scores each response by beta * (log pi(y|x) - log pi_ref(y|x)), the reward that DPO's policy stands for.

    So the paper of DPO shows (arXiv:2305.18290). Without a `reference` it is beta * log pi(y|x), how likely the policy finds the response. Both
    models read the response as a given text, whoever wrote it; the token that ends a turn is not counted. There is no
    scale: an instantiation has to say how to read the scores (`rescale`).

    With `tokens` each judgement also holds log pi - log pi_ref of every token, without beta (see `Span`); policy and
    reference must then cut texts into the same tokens. Contrastive models are a policy and a reference with different
    weights, or the same ones under different system messages.
    """

    not_in_identity: ClassVar[frozenset[str]] = frozenset({"name", "reference"})
    asks_for: ClassVar[str] = "given"

    kind: Literal["implicit_reward"] = "implicit_reward"
    name: str | None = None
    """What judgements call the evaluator; its kind if not given."""
    model: str
    """The policy: the name of a declared model that tells log-probabilities of given texts."""
    reference: str | None = None
    """The reference; None takes none."""
    criterion: str = "implicit_reward"
    """The criterion that the scores count for; need not be defined in the objective."""
    beta: float = Field(default=0.1, gt=0)
    """What the difference is multiplied with."""
    normalise: bool = False
    """Whether log-probabilities are divided by the number of tokens, each model's by its own."""
    tokens: bool = False
    """Whether the difference is recorded for each token as well."""
    system: str | None = None
    """A system message for the policy, before the prompt's own if it has one."""
    reference_system: str | None = None
    """The same for the reference."""

    @model_validator(mode="after")
    def _has_somebody_for_its_message(self) -> ImplicitReward:
        if self.reference_system is not None and self.reference is None:
            raise ValueError("reference_system is for a reference; name one, such as the policy itself")
        return self

    @property
    def needs(self) -> tuple[str, ...]:
        """What it needs of its models, in words."""
        return (f"log-probabilities of given texts of {' and '.join(dict.fromkeys(self.used_models))}",)

    @property
    def used_models(self) -> tuple[str, ...]:
        """The policy and, where there is one, the reference."""
        return (self.model,) if self.reference is None else (self.model, self.reference)

    def problems(self, models: Mapping[str, ModelSpec], objective: Objective) -> Iterator[tuple[str, str]]:
        """Say what of the recipe does not fit: (field, message)."""
        if self.reference is not None and self.reference not in models:
            said = f"model {self.reference!r} is not declared under models{suggestion(self.reference, models)}"
            yield "reference", said

    async def judge(self, case: Case, ask: Ask) -> list[Judgement]:
        """Score the responses of status ok, in one call of each model for each."""
        good = [response for response in case.responses if response.status == "ok"]
        spoken = [response for response in good if _is_one_answer(response)]
        systems = (self.system, self.reference_system)
        asked = [
            ask(model, [_request(case, response, system) for response in spoken])
            for model, system in zip(self.used_models, systems, strict=False)
        ]
        told = dict(
            zip((response.id for response in spoken), zip(*await asyncio.gather(*asked), strict=True), strict=True)
        )
        shared = self._shared(case, ask)
        return [self._judgement(shared, response, told.get(response.id, ())) for response in good]

    def _shared(self, case: Case, ask: Ask) -> dict[str, Any]:
        spec, declared = ask.model(self.model), case.objective.criteria.get(self.criterion)
        return {
            "prompt_id": case.prompt.id,
            "criterion": self.criterion,
            "criterion_id": declared.id if declared else content_id("c", ["implicit_reward", self.criterion]),
            "evaluator": self.name or self.kind,
            "evaluator_id": self.identity(*map(ask.model, self.used_models)),
            "model": spec.model,
            "model_version": spec.version,
            "objective_version": case.objective.version,
        }

    def _judgement(
        self, shared: dict[str, Any], response: Response, replies: tuple[Reply | CallFailed, ...]
    ) -> Judgement:
        about = shared | {"response_ids": (response.id,)}
        if not replies:
            said = "only one message of an assistant, without calls of tools, can be given to a model as its own"
            return make_judgement(**about, status="failed", error=said)
        good = [reply for reply in replies if isinstance(reply, Reply)]
        about |= {
            "call_ids": tuple(reply.call_id for reply in good),
            "cost_usd": sum(reply.cost_usd for reply in good),
            "created_at": max((reply.created_at for reply in good), default=None),
        }
        failed = next((reply for reply in replies if isinstance(reply, CallFailed)), None)
        if failed is not None:
            return make_judgement(**about, status="failed", error=failed.error)
        policy, *reference = [reply.tokens or () for reply in good]
        if not policy:
            return make_judgement(**about, status="failed", error="the response has no tokens")
        score = self.beta * (self._likelihood(policy) - sum(map(self._likelihood, reference)))
        if not self.tokens:
            return make_judgement(**about, scores=(score,))
        spans = _spans(policy, reference[0] if reference else None)
        if spans is None:
            said = "policy and reference cut the response into different tokens, so that there is no difference of each"
            return make_judgement(**about, status="failed", error=said)
        return make_judgement(**about, scores=(score,), spans=spans)

    def _likelihood(self, tokens: tuple[GivenToken, ...]) -> float:
        """The log-probability of a text in nats, or that of a token in the mean."""
        total = sum(token.logprob for token in tokens)
        return total / max(len(tokens), 1) if self.normalise else total

    def forecast(self, outlook: Outlook) -> list[Load]:
        """Expect one call of each model for each response, which reads it and writes at most as much."""
        calls, read = outlook.responses, outlook.prompt_tokens + outlook.response_tokens
        longest = outlook.longest_response_tokens
        return [
            Load(
                model=model,
                calls=calls,
                prompt_tokens=calls * read,
                completion_tokens=calls,
                most_calls=calls,
                most_prompt_tokens=calls * (outlook.prompt_tokens + longest),
                most_completion_tokens=calls * max(longest, 1),
            )
            for model in self.used_models
        ]


def _is_one_answer(response: Response) -> bool:
    return len(response.messages) == 1 and not response.messages[0].tool_calls


def _request(case: Case, response: Response, system: str | None) -> GivenRequest:
    before = () if system is None else (Message("system", system),)
    return GivenRequest(messages=(*before, *case.prompt.messages), continuation=response.messages[0].content)


def _spans(policy: tuple[GivenToken, ...], reference: tuple[GivenToken, ...] | None) -> tuple[Span, ...] | None:
    """The difference of each token; None where the two are not of the same tokens."""
    against = [0.0] * len(policy)
    if reference is not None:
        if [(token.start, token.end) for token in policy] != [(token.start, token.end) for token in reference]:
            return None
        against = [token.logprob for token in reference]
    return tuple(
        Span(response=0, message=0, start=token.start, end=token.end, value=token.logprob - other)
        for token, other in zip(policy, against, strict=True)
    )
