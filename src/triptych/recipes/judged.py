"""What a recipe's evaluators give its instantiations: verdicts on which criteria, on steps or wholes, of one or of two."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from triptych.recipes.recipe import Recipe

STEPS = frozenset({"rollouts", "atomic_consistency"})
REWARDS = frozenset({"reward_model", "implicit_reward"})
ANYTHING = frozenset({"verdicts"})
"""Evaluators of which only their data says what they judge."""
PAIRS_ONLY = frozenset({"pairwise", "debate", "meta_judge", "pair_reward_model"})
OF_JUDGEMENTS = frozenset({"compare_judgements"})
"""Evaluators that say nothing of responses, but of what others said of them."""
LISTS = frozenset({"listwise"})
_CHECKLISTS = frozenset({"checklist", "contrastive_checklist"})
OF_ANSWERS = frozenset({"judge_rows"})
"""Instantiations that learn from what judges said, and not from what it comes to as a score of a response."""


class Given(NamedTuple):
    """What an evaluation gives."""

    outcomes: bool
    steps: bool
    comparisons: bool
    """Whether any verdict is on two responses at once."""
    points: bool
    """Whether any verdict that counts is on a response by itself."""
    lists: bool
    """Whether any verdict that counts is on a response by itself, or on a list of more than two."""
    judged: frozenset[str] | None
    """The names of all criteria that are judged, as far as the recipe tells."""
    criteria: frozenset[str] | None
    """The names of the criteria that responses are scored on, as far as the recipe tells."""


def fed(recipe: Recipe) -> Iterator[tuple[str, Any, Given]]:
    """Each instantiation with what the evaluators that it takes give it."""
    if not recipe.evaluation:
        return
    for place, operator in enumerate(recipe.instantiation):
        heard = heard_of(recipe, getattr(operator, "evaluators", None))
        if heard:
            criteria, fold = getattr(operator, "criteria", None), getattr(operator, "fold", None)
            yield f"instantiation.{place}", operator, _given(heard, criteria, fold=fold is not None)


def heard_of(recipe: Recipe, names: Collection[str] | None = None) -> list[Any]:
    """The evaluators of responses, of these names if any are given; none where it is not known of all what they say."""
    heard = [
        judge
        for one in recipe.evaluation
        for called, judge in voices(one)
        if judge.kind not in OF_JUDGEMENTS
        if names is None or called in names or judge.kind in ANYTHING
    ]
    return heard if all(is_ours(judge) for judge in heard) else []


def on(criterion: str, judges: list[Any]) -> list[Any]:
    """Those among evaluators that judge a criterion, or of which only their data says."""
    named = ((judge, criteria_of(judge)) for judge in judges)
    return [judge for judge, names in named if names is None or criterion in names]


def voices(judge: Any) -> list[tuple[str, Any]]:
    """Who judges, each under the name in its judgements: the evaluators that another one only passes questions on to."""
    if judge.kind == "annotators" and is_ours(judge):
        return [(judge.called(place), one) for place, one in enumerate(judge.pool)]
    called = getattr(judge, "name", None) or judge.kind
    return [(called, judge.evaluator if judge.kind == "acquire" and is_ours(judge) else judge)]


def is_ours(operator: Any) -> bool:
    """Whether it is one of Triptych's own, of which it is known what they give and take."""
    return type(operator).__module__.startswith("triptych.")


def _given(judges: list[Any], wanted: tuple[str, ...] | None, *, fold: bool) -> Given:
    steps = [judge for judge in judges if of_steps(judge)]
    whole = [judge for judge in judges if not of_steps(judge) or judge.kind in ANYTHING]
    named = [criteria_of(judge) for judge in (judges if fold else whole)]
    known = None if any(names is None for names in named) else frozenset().union(*(names or () for names in named))
    counting = whole if wanted is None else [judge for name in wanted for judge in on(name, whole)]
    return Given(
        outcomes=bool(whole),
        steps=bool(steps),
        comparisons=any(judge.kind in PAIRS_ONLY | LISTS | ANYTHING for judge in whole),
        points=any(judge.kind not in PAIRS_ONLY | LISTS for judge in counting) or not counting,
        lists=any(judge.kind not in PAIRS_ONLY for judge in counting) or not counting,
        judged=known,
        criteria=known if known is None or wanted is None else known & frozenset(wanted),
    )


def of_steps(judge: Any) -> bool:
    """Whether its verdicts are on steps or sentences, or may be."""
    return judge.kind in STEPS | ANYTHING or getattr(judge, "unit", "response") != "response"


def criteria_of(judge: Any) -> frozenset[str] | None:
    """The criteria that an evaluator judges; None where only its data says."""
    if judge.kind in ANYTHING:
        return None
    if judge.kind in _CHECKLISTS:
        return frozenset({judge.criterion})
    named = getattr(judge, "criteria", None)
    return frozenset(named) if named else frozenset({getattr(judge, "criterion", "")})
