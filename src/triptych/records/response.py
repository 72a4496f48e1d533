"""The response: what a policy said to a prompt, who made it and how."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

import msgspec

from triptych.records.ids import content_id
from triptych.records.messages import Message

ResponseStatus = Literal["ok", "refused", "failed"]


class Response(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One response: an assistant message, or a trajectory of assistant and tool messages."""

    id: str
    """Hash of its content."""
    prompt_id: str
    """The prompt that it belongs to."""
    messages: tuple[Message, ...]
    """The continuation of the prompt's messages; empty where the call failed."""
    generator: str
    """The operator that made it, such as `sample`, or `given` for responses that came with the prompts."""
    generator_id: str
    """Hash of the generator's settings and its model's identity."""
    model: str
    """The model's name, or the source that a given response declares."""
    model_version: str = ""
    """The declared version of the policy, such as its round."""
    params: dict[str, Any] = {}
    """Sampling parameters, system prompt and drawn principle of this one response."""
    sample_index: int = 0
    """Which of the generator's responses to this prompt, from 0."""
    parent_id: str | None = None
    """The response that this one revises or branches from."""
    parent_step: int | None = None
    """The message of the parent, from 0, after which this one goes its own way."""
    finish_reason: str | None = None
    """Why the model ended, as the endpoint says: `stop`, `length`, `tool_calls` ..."""
    prompt_tokens: int | None = None
    """Tokens of the prompt, as the endpoint counts them. Responses that one call gave (`samples_per_call`) share them."""
    completion_tokens: int | None = None
    """Tokens of the response. Of responses that one call gave, an equal share, unless log-probabilities tell."""
    logprob: float | None = None
    """Sum of the log-probabilities of the response's tokens, in nats, where the back end gives them."""
    token_logprobs: tuple[float, ...] | None = None
    """The log-probability of each token, in nats."""
    tokens: tuple[str, ...] | None = None
    """The text of each token, where there are log-probabilities: together the response, unless a character is cut."""
    token_top_logprobs: tuple[tuple[float, ...], ...] | None = None
    """For each token, the log-probabilities of what could have stood there, the likeliest first, in nats, where the
    generator asked for such alternatives. The token that was drawn is among them."""
    cost_usd: float = 0.0
    """What its calls cost, in US dollars."""
    call_ids: tuple[str, ...] = ()
    """The calls in the call log that paid for it."""
    status: ResponseStatus = "ok"
    """`ok`, `refused` or `failed`."""
    error: str | None = None
    """What went wrong, where the status is not `ok`."""
    created_at: datetime | None = None
    """When the answer came in (UTC)."""

    @property
    def text(self) -> str:
        """The last assistant message's text."""
        return next((m.content for m in reversed(self.messages) if m.role == "assistant"), "")


def make_response(
    *, prompt_id: str, generator_id: str, sample_index: int, messages: tuple[Message, ...], **fields: Any
) -> Response:
    """Build a response, with its id from prompt, generator, sample index, parent and content."""
    identity = [prompt_id, generator_id, sample_index, messages, fields.get("parent_id"), fields.get("parent_step")]
    return Response(
        id=content_id("r", identity),
        prompt_id=prompt_id,
        generator_id=generator_id,
        sample_index=sample_index,
        messages=messages,
        **fields,
    )
