"""What a call says of the response that it brought."""

from __future__ import annotations

from typing import Any

from triptych.models.chat import CallFailed, Reply, TokenLogprob
from triptych.records import Message


def answered(reply: Reply | CallFailed, place: int) -> dict[str, Any]:
    """What a call says of the response: its text, its log-probabilities, its share of the call's cost."""
    if isinstance(reply, CallFailed):
        return {"messages": (), "status": "failed", "error": reply.error}
    if place >= len(reply.choices):
        error = f"the endpoint gave only {len(reply.choices)} of the choices asked for; set samples_per_call: 1"
        return {"call_ids": (reply.call_id,), "messages": (), "status": "failed", "error": error}
    choice = reply.choices[place]
    logprobs = tuple(token.logprob for token in choice.logprobs) if choice.logprobs else None
    tops = tuple(map(_alternatives, choice.logprobs)) if choice.logprobs and choice.logprobs[0].top else None
    shares = len(reply.choices)
    return {
        "messages": (Message("assistant", choice.refusal or choice.text, choice.tool_calls),),
        "finish_reason": choice.finish_reason,
        "status": "refused" if choice.refused else "ok",
        "prompt_tokens": _share(reply.prompt_tokens, shares, place),
        "completion_tokens": len(logprobs)
        if logprobs and shares > 1
        else _share(reply.completion_tokens, shares, place),
        "logprob": sum(logprobs) if logprobs else None,
        "token_logprobs": logprobs,
        "tokens": tuple(token.token for token in choice.logprobs) if choice.logprobs else None,
        "token_top_logprobs": tops,
        "cost_usd": reply.cost_usd / shares,
        "call_ids": (reply.call_id,),
        "created_at": reply.created_at,
    }


def _alternatives(token: TokenLogprob) -> tuple[float, ...]:
    """Log-probabilities of what could have stood there, the token itself among them, the likeliest first."""
    return tuple(sorted((dict(token.top) | {token.token: token.logprob}).values(), reverse=True))


def _share(whole: int, shares: int, place: int) -> int:
    """An equal share of a whole number; the first ones have one more where there is a rest."""
    return whole // shares + (place < whole % shares)
