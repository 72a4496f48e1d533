"""What all principles presuppose: no near-identical pairs, no contradictions, no leakage, groups that vary."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from triptych.audit.principles.parts import generators, operators, policy
from triptych.audit.principles.rule import Broken, Rule
from triptych.recipes.made import made_per_prompt

if TYPE_CHECKING:
    from triptych.recipes.recipe import Recipe

_OF_MANY = frozenset({"groups", "rankings", "stepwise"})


def _unlike_mathematics(recipe: Recipe) -> Iterator[Broken]:
    """Where a program checks final answers, the survey has the policy answer several times, and its answers in groups."""
    checked = any(getattr(judge, "final_answer", False) for _, judge in operators(recipe, "evaluation"))
    if not checked or recipe.method is not None:
        return
    why = (
        "a program checks final answers, as in mathematics and code, for which the survey (arXiv:2605.26442) recommends"
    )
    trained, made = policy(recipe), made_per_prompt(recipe)
    if trained is not None and trained not in generators(recipe):
        yield Broken("info", f"{why} responses of the policy itself; here none is {trained}'s", "synthesis")
    elif made is not None and made < 2:
        yield Broken("info", f"{why} several responses to a prompt; here there is one", "synthesis")
    made_of = {operator.kind for _, operator in operators(recipe, "instantiation")}
    if made_of and not made_of & _OF_MANY:
        yield Broken("info", f"{why} groups; here there are {', '.join(sorted(made_of))}", "instantiation")


RULES = (
    Rule(
        id="R7.1",
        asks="chosen and rejected are not nearly the same, in text or in hidden states (arXiv:2410.08847)",
        modes=("I4",),
        statistics=("identical_pairs", "near_identical_pairs", "gradient_on_near_identical", "ches"),
    ),
    Rule(
        id="R7.2",
        asks="no label contradicts another",
        modes=("I6",),
        statistics=("contradictory_pairs", "preference_cycles"),
    ),
    Rule(
        id="R7.3",
        asks="no prompt is in training and test, and no prompt or row is a copy of another",
        modes=("I12", "S9"),
        statistics=(
            "same_question_apart",
            "test_prompts_in_training",
            "tests_seen",
            "near_duplicate_prompts",
            "repeated_rows",
        ),
    ),
    Rule(
        id="R7.4",
        asks="groups are not all right or all wrong (arXiv:2503.14476)",
        modes=("S4",),
        statistics=("no_contrast", "always_or_never_solved", "groups_without_spread", "zero_advantage_groups"),
    ),
    Rule(
        id="R7.5",
        asks="the recipe is of the kind that its scenario calls for, or a published method",
        static=_unlike_mathematics,
        limits=(
            "of the scenarios mathematics and code are told by their checked answers, and compliance is R5.4; a recipe does "
            "not say whether it is for chat, for what is creative, for a new domain, or whether memory is short"
        ),
    ),
)
