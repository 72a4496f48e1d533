"""A recipe's verifiers as a reward function, for trainers that draw and score responses of their own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec

from triptych.errors import TriptychError
from triptych.evaluation.verify import Verify
from triptych.instantiation.groups import Groups
from triptych.operators import Case
from triptych.recipes.recipe import Recipe
from triptych.records import Judgement, Message, Prompt, Response, make_prompt, make_response
from triptych.records.messages import Role, message_from_openai

Said = str | Sequence[dict[str, Any]]
"""A text, or messages in OpenAI's form."""
_NOBODY: Any = None
"""Who answers what a verifier asks, which is nothing."""


def reward_function(recipe: Recipe) -> Callable[..., list[float | None]]:
    """Score completions as a run of the recipe scores responses, by its `verify` evaluators alone.

    The function that is returned takes what TRL's GRPOTrainer and RLOOTrainer give to theirs: `prompts` and `completions`,
    each a text or messages, and the exported columns `constraints` and `reference` as lists, where there are any; it
    ignores others. Its rewards are the objective's scores, from 0 to 1, with the criteria and evaluators that the recipe's
    groups count; None where nothing could be checked. What else the groups may say of scores is left out: `panel`, `join`,
    `fold`, `rescale`, `calibrate`, `bradley_terry` and `length`, some of which need the responses to all prompts. It makes no call and may be used in any thread.

    Raises `TriptychError` where no verifier of the recipe gives such a score; what is returned does where code is to be
    run and the recipe does not say with what.
    """
    from triptych.instantiation.scores import objective_scores
    from triptych.store.tables import frame

    groups = next((one for one in recipe.instantiation if isinstance(one, Groups)), Groups())
    verifiers = [one for one in recipe.evaluation if isinstance(one, Verify) and _counts(one, groups)]
    if not verifiers:
        raise TriptychError(f"no verify evaluator of the recipe {recipe.name} gives a score that its groups count")

    def verified(
        prompts: Sequence[Said],
        completions: Sequence[Said],
        constraints: Sequence[str | None] | None = None,
        reference: Sequence[str | None] | None = None,
        **others: Any,
    ) -> list[float | None]:
        none = [None] * len(completions)
        asked = [_prompt(*row) for row in zip(prompts, constraints or none, reference or none, strict=True)]
        for lacking in (one.lacking(prompt) for prompt in asked for one in verifiers):
            if lacking is not None:
                raise TriptychError(lacking)
        said = [
            _response(prompt, place, text) for place, (prompt, text) in enumerate(zip(asked, completions, strict=True))
        ]
        cases = [
            Case(prompt=prompt, responses=(response,), objective=recipe.objective, seed=recipe.seed)
            for prompt, response in zip(asked, said, strict=True)
        ]
        found = _in_a_loop(verifiers, cases)
        scores = objective_scores(
            frame("responses", said).lazy(),
            frame("judgements", found).lazy(),
            recipe.objective,
            groups.criteria,
            groups.evaluators,
        ).collect()
        by_id = dict(scores.select("response_id", "score").iter_rows())
        return [by_id[response.id] for response in said]

    return verified


def _counts(verifier: Verify, groups: Groups) -> bool:
    named = verifier.name or verifier.kind
    return (groups.criteria is None or verifier.criterion in groups.criteria) and (
        groups.evaluators is None or named in groups.evaluators
    )


def _prompt(shown: Said, constraints: str | None, reference: str | None) -> Prompt:
    checks = tuple(msgspec.json.decode(constraints)) if constraints else ()
    return make_prompt(_messages(shown, "user"), constraints=checks, reference=reference)


def _response(prompt: Prompt, place: int, said: Said) -> Response:
    """A completion as a response; its place tells apart those that say the same."""
    return make_response(
        prompt_id=prompt.id,
        generator="trainer",
        generator_id="trainer",
        model="",
        sample_index=place,
        messages=_messages(said, "assistant"),
    )


def _messages(said: Said, role: Role) -> tuple[Message, ...]:
    if isinstance(said, str):
        return (Message(role, said),)
    return tuple(message_from_openai(message) for message in said)


def _in_a_loop(verifiers: Sequence[Verify], cases: Sequence[Case]) -> list[Judgement]:
    """Judge all cases in a thread of their own, since the caller's may run a loop already, as notebooks do."""

    async def judged() -> list[Judgement]:
        return [one for case in cases for verifier in verifiers for one in await verifier.judge(case, _NOBODY)]

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, judged()).result()
