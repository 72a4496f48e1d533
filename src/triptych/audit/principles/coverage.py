"""Principle 2: coverage precedes optimisation. What is not sampled can't be aligned."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from triptych.audit.principles.parts import generators, policy
from triptych.audit.principles.rule import Broken, Rule
from triptych.recipes.made import made_per_prompt

if TYPE_CHECKING:
    from triptych.recipes.recipe import Recipe

_GROUPS = frozenset({"groups", "rankings"})


def _groups_of_two(recipe: Recipe) -> Iterator[Broken]:
    made = made_per_prompt(recipe)
    instantiation: tuple[Any, ...] = recipe.instantiation
    for place, operator in enumerate(instantiation):
        if operator.kind in _GROUPS and made is not None and made <= 2:
            said = f"{operator.kind} of {made} responses to a prompt say no more than a pair; make more of them"
            yield Broken("warn", said, f"instantiation.{place}")


def _offline_uncorrected(recipe: Recipe) -> Iterator[Broken]:
    trained = policy(recipe)
    if trained is None or trained in generators(recipe) or not recipe.instantiation:
        return
    if not any(_corrects(operator) for operator in recipe.instantiation):
        said = (
            f"no response is by {trained}, the model that is trained, and no instantiation weighs rows by how likely they are "
            "under it: what it would never say is learnt from as much as what it would"
        )
        yield Broken("warn", said, "synthesis")


def _corrects(operator: object) -> bool:
    """Whether an instantiation weighs responses, sentences or tokens by what the policy makes of them."""
    weight = getattr(operator, "weight", None)
    likelihood = getattr(weight, "likelihood", None) is not None
    return likelihood or any(getattr(operator, name, None) is not None for name in ("token_weights", "part_weights"))


RULES = (
    Rule(
        id="R2.1",
        asks="two responses to a prompt, and more than two for groups and rankings",
        static=_groups_of_two,
        refused="pairs and groups of a single response are refused when a recipe is read",
    ),
    Rule(
        id="R2.2",
        asks="the responses to a prompt differ",
        modes=("S2",),
        statistics=(
            "unique_answers",
            "sibling_cosine",
            "sibling_cosine_of_embeddings",
            "vendi_share",
            "cluster_entropy",
            "distinct_2",
            "near_duplicate_siblings",
        ),
    ),
    Rule(
        id="R2.3",
        asks="every declared category of prompts has enough of them with a usable contrast",
        unchecked="a recipe does not declare which categories its prompts should cover",
    ),
    Rule(
        id="R2.4",
        asks="responses are the policy's own, or weighed by how likely they are under it",
        static=_offline_uncorrected,
        modes=("S1",),
        statistics=("off_policy_share", "policy_auc_from_text", "extra_nats_per_token", "effective_sample_share"),
    ),
    Rule(
        id="R2.5",
        asks="the label can't be told from the generator, the length or the format",
        modes=("S5", "I5"),
        statistics=(
            "label_auc_from_source_and_form",
            "label_source_information",
            "chosen_longer",
            "label_auc_from_length",
            "chosen_length_effect",
        ),
    ),
)
