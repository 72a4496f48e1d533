"""Mitigations in synthesis: who answers, how often, and how differently."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from triptych.audit.mitigations.mitigation import Edits, mitigation
from triptych.audit.mitigations.places import added, of_kind, panel, samplers, written
from triptych.audit.principles.parts import policy
from triptych.recipes.judged import OF_JUDGEMENTS, REWARDS

if TYPE_CHECKING:
    from triptych.audit.data import Data

_MARKS = ("<|im_end|>", "<|im_start|>", "<|eot_id|>", "[INST]")
"""Ends and beginnings of turns in the templates that are most used; endpoints take four at most."""
_IN_THEIR_LANGUAGE = "Answer in the language in which you are asked."
_END = "End with the final answer on a line of its own, after the words: The answer is"
_MOST = 64
_NO_JUDGES = REWARDS | OF_JUDGEMENTS | {"assumed", "diversity"}
"""Evaluators that can't say of some responses whether one is good and another bad."""


def _names(sampler: Any) -> tuple[str, ...]:
    return (sampler.model,) if isinstance(sampler.model, str) else tuple(sampler.model)


def _answer_as(data: Data, subject: str) -> dict[str, Any]:
    """The samplers that ask the model of this name, as responses give it."""
    assert data.recipe is not None
    known = data.recipe.models
    return {
        place: one
        for place, one in samplers(data).items()
        if not subject or any(known[name].model == subject for name in _names(one))
    }


@mitigation
def hotter(data: Data, subject: str) -> Edits:
    """Sample at temperature 1, where it is done at lower ones."""
    return {f"{place}.temperature": 1.0 for place, one in samplers(data).items() if max(one.temperature) < 1}


@mitigation
def verbalized_too(data: Data, subject: str) -> Edits:
    """Have several different responses written in one call as well (`verbalized`)."""
    if of_kind(data, "synthesis", "verbalized"):
        return {}
    asked = next((_names(one)[0] for one in samplers(data).values()), None)
    return {} if asked is None else added(data, "synthesis", {"kind": "verbalized", "model": asked, "n": 4})


@mitigation
def more_samples(data: Data, subject: str) -> Edits:
    """Sample twice as many responses to each prompt."""
    return {f"{place}.n": 2 * one.n for place, one in samplers(data).items() if 2 * one.n <= _MOST}


@mitigation
def until_contrast(data: Data, subject: str) -> Edits:
    """Sample until the evaluator tells a good response from a bad one (`until_contrast`)."""
    judging = {place: one for place, one in panel(data, "evaluation").items() if one.kind not in _NO_JUDGES}
    named = [one for one in judging.values() if subject in (getattr(one, "name", None) or one.kind, "")]
    by = next(iter(named or judging.values()), None)
    if by is None:
        return {}
    return {
        place: {"kind": "until_contrast", "sampler": written(one), "evaluator": written(by), "most": 4 * one.n}
        for place, one in of_kind(data, "synthesis", "sample").items()
    }


@mitigation
def policy_too(data: Data, subject: str) -> Edits:
    """Sample from the policy as well."""
    assert data.recipe is not None
    name, sampled = policy(data.recipe), samplers(data)
    if name is None or any(name in _names(one) for one in sampled.values()):
        return {}
    most = max((one.n for one in sampled.values()), default=2)
    return added(data, "synthesis", {"kind": "sample", "model": name, "n": max(most, 2)})


@mitigation
def policy_only(data: Data, subject: str) -> Edits:
    """Sample from the policy alone, so that all responses are of one source."""
    assert data.recipe is not None
    name = policy(data.recipe)
    if of_kind(data, "synthesis", "given"):
        return {}
    return {
        f"{place}.model": name for place, one in samplers(data).items() if name in _names(one) and len(_names(one)) > 1
    }


@mitigation
def longer(data: Data, subject: str) -> Edits:
    """Allow answers twice as many tokens."""
    return {f"{place}.max_tokens": 2 * one.max_tokens for place, one in _answer_as(data, subject).items()}


@mitigation
def stopped_at_marks(data: Data, subject: str) -> Edits:
    """End answers at the marks of chat templates."""
    return {f"{place}.stop": list(_MARKS) for place, one in _answer_as(data, subject).items() if not one.stop}


@mitigation
def less_repetitive(data: Data, subject: str) -> Edits:
    """Make words less likely the more often an answer has them (`frequency_penalty`)."""
    assert data.recipe is not None
    return {
        f"models.{name}.extra_body.frequency_penalty": 0.5
        for name, spec in data.recipe.models.items()
        if spec.model == subject
        and spec.backend == "openai"
        and "frequency_penalty" not in spec.extra_body
        and any(name in _names(one) for one in samplers(data).values())
    }


@mitigation
def in_their_language(data: Data, subject: str) -> Edits:
    """Tell the model to answer in the language in which it is asked."""
    return {f"{place}.system": _IN_THEIR_LANGUAGE for place, one in _answer_as(data, subject).items() if not one.system}


@mitigation
def with_final_answer(data: Data, subject: str) -> Edits:
    """Tell the model in which form to end, so that the verifier can read its answer."""
    return {f"{place}.system": _END for place, one in samplers(data).items() if not one.system}


@mitigation
def patient(data: Data, subject: str) -> Edits:
    """Wait twice as long for the model's answers, and try twice as often."""
    assert data.recipe is not None
    return {
        f"models.{name}.{field}": value
        for name, spec in data.recipe.models.items()
        if spec.model == subject
        for field, value in (("timeout_s", 2 * spec.timeout_s), ("max_retries", 2 * spec.max_retries))
    }
