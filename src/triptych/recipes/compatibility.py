"""Which evaluations can feed which instantiations: what is ill-posed is an error, what loses information a warning.

After the survey's section on how evaluation bounds instantiation (arXiv:2605.26442, 7.2 and B.2).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from triptych.operators import with_inner
from triptych.recipes.judged import (
    ANYTHING,
    LISTS,
    OF_ANSWERS,
    OF_JUDGEMENTS,
    PAIRS_ONLY,
    REWARDS,
    Given,
    fed,
    is_ours,
    of_steps,
)
from triptych.recipes.made import made_per_prompt, too_few
from triptych.recipes.unjudged import unjudged

if TYPE_CHECKING:
    from triptych.recipes.recipe import Recipe

_WANT_STEPS = frozenset({"branch"})
_WANT_POINTS = frozenset({"rollouts", "search"})
_POINTS = frozenset({"groups", "unpaired", "sft", "conditioned", "many_outputs"})
_LISTS_MADE = frozenset({"groups", "rankings"})
_KEEP_CRITERIA = frozenset({"stepwise", "conditioned"})


def ill_posed(recipe: Recipe) -> Iterator[tuple[str, str]]:
    """What no loss can learn from: (field, what is wrong and what would fit)."""
    yield from _without_scale(recipe)
    yield from _nothing_to_compare(recipe)
    yield from unjudged(recipe)
    yield from too_few(recipe)
    for place, operator in enumerate(recipe.instantiation):
        yield from ((f"instantiation.{place}", said) for said in _without_answers(recipe, operator))
    for field, operator, given in fed(recipe):
        for check in _NEEDS:
            yield from ((f"{field}{at}", said) for at, said in check(operator, given))


_Problems = Iterator[tuple[str, str]]
"""Of one instantiation: what of it is wrong (nothing, or a point and a field), and why."""


def _steps_for_stepwise(operator: Any, given: Given) -> _Problems:
    if _kind(operator) == "stepwise" and not given.steps:
        yield (
            "",
            "needs verdicts on steps, and every evaluator judges whole responses: an outcome does not say which "
            "step went wrong. Add rollouts, which estimate steps from outcomes, or a rubric with unit: step",
        )


def _outcomes_for_wholes(operator: Any, given: Given) -> _Problems:
    wants_wholes = _kind(operator) not in ("stepwise", "", *OF_ANSWERS) and is_ours(operator)
    if wants_wholes and not given.outcomes and getattr(operator, "fold", None) is None:
        yield (
            "",
            "needs verdicts on whole responses, and every evaluator judges steps alone. Say what steps come to with "
            "fold: min, prod, last or mean, make stepwise rows, or add an evaluator of whole responses",
        )


def _several_for_pareto(operator: Any, given: Given) -> _Problems:
    alone = given.criteria is not None and len(given.criteria) < 2
    if getattr(operator, "dimensions", "joined") == "pareto" and alone:
        yield (
            ".dimensions",
            "pareto compares several criteria, and only "
            f"{', '.join(sorted(given.criteria or ())) or 'none'} is judged. Judge another one, or leave dimensions out",
        )


def _comparisons_for_compared(operator: Any, given: Given) -> _Problems:
    if _kind(operator) == "compared_pairs" and not given.comparisons:
        yield (
            "",
            "compared_pairs needs verdicts that compare two responses, and every evaluator judges single ones. Make "
            "pairs of their scores with kind: pairs, or add pairwise",
        )


def _diversity_for_diverse(operator: Any, given: Given) -> _Problems:
    known = _kind(operator) == "diverse_pairs" and given.judged is not None
    if known and operator.diversity not in (given.judged or ()):
        yield (
            ".diversity",
            f"no evaluator judges {operator.diversity!r}; add {{kind: diversity}} to the evaluation",
        )


_NEEDS = (
    _steps_for_stepwise,
    _outcomes_for_wholes,
    _several_for_pareto,
    _comparisons_for_compared,
    _diversity_for_diverse,
)


def _kind(operator: Any) -> str:
    return getattr(operator, "kind", "")


def _without_scale(recipe: Recipe) -> Iterator[tuple[str, str]]:
    """Instantiations that need scores between 0 and 1 and are not told how to get there from rewards."""
    rewards = {
        getattr(judge, "criterion", ""): judge.kind
        for judge in recipe.evaluation
        if judge.kind in REWARDS and getattr(judge, "scale", None) is None
    }
    unweighed = {name for name, criterion in recipe.objective.criteria.items() if criterion.weight == 0}
    for place, operator in enumerate(recipe.instantiation):
        if not is_ours(operator) or getattr(operator, "rescale", "none") is not None:
            continue
        criteria, keep = getattr(operator, "criteria", None), getattr(operator, "keep", ())
        scored = set(rewards) - unweighed if criteria is None else set(criteria)
        banded = {getattr(band, "criterion", None) for band in (keep if isinstance(keep, tuple) else ())}
        for name in sorted(name for name in rewards if name in scored | banded):
            yield (
                f"instantiation.{place}.rescale",
                f"the scores of {rewards[name]} on {name!r} have no scale. Say how they come between 0 and 1: rescale: "
                "rank by their order within a prompt, standard by their distance from the mean of all prompts, sigmoid "
                "where 0 is neither good nor bad; or name with criteria the ones that decide",
            )


def _nothing_to_compare(recipe: Recipe) -> Iterator[tuple[str, str]]:
    """Judges of judgements where nobody scores responses by themselves."""
    scoring = [judge for judge in recipe.evaluation if judge.kind not in PAIRS_ONLY | LISTS | OF_JUDGEMENTS]
    for place, judge in enumerate(recipe.evaluation):
        if judge.kind in OF_JUDGEMENTS and not scoring:
            said = "compares scores of one response, and no other evaluator gives any: add a rubric with repeats"
            yield f"evaluation.{place}", said


def _without_answers(recipe: Recipe, operator: Any) -> Iterator[str]:
    """What an instantiation lacks that learns from what judges answered."""
    judges = [judge for judge in recipe.evaluation if is_ours(judge)]
    if len(judges) < len(recipe.evaluation):
        return
    if getattr(operator, "kind", "") not in OF_ANSWERS:
        return
    names = operator.evaluators
    heard = [judge for judge in judges if names is None or (getattr(judge, "name", None) or judge.kind) in names]
    if operator.form == "unpaired":
        if not any(judge.kind == "checklist" for judge in heard):
            yield "form: unpaired makes rows of the items of a checklist, and there is none among its evaluators"
    elif not any(getattr(judge, "tells", False) for judge in heard):
        yield (
            "can't tell what its evaluators were asked and answered; it learns from rubrics without a critic, pairwise, "
            "listwise and checklist judges, with read: json"
        )
    if operator.form == "pair" and not any(judge.kind in OF_JUDGEMENTS for judge in judges):
        yield "form: pair needs comparisons of judgements: add compare_judgements to the evaluation"


def misplaced(recipe: Recipe) -> Iterator[tuple[str, str]]:
    """Evaluators that can't say what the operator that holds them asks: (field, what is wrong and what would fit)."""
    for panel in ("synthesis", "evaluation"):
        for place, operator in enumerate(getattr(recipe, panel)):
            for field, holder in with_inner(f"{panel}.{place}", operator):
                for name, inner in getattr(holder, "inner", {}).items():
                    if hasattr(inner, "judge") and is_ours(holder) and is_ours(inner):
                        yield from ((f"{field}.{name}", said) for said in _unfit(holder, inner))


def _unfit(holder: Any, judge: Any) -> Iterator[str]:
    if judge.reads_judgements:
        yield f"{judge.kind} judges by what other evaluators said, and {holder.kind} has nobody else judge"
    elif holder.kind in _WANT_STEPS:
        if not of_steps(judge):
            yield (
                f"{holder.kind} looks for wrong steps, and {judge.kind} judges whole responses; take rollouts, or a "
                "rubric with unit: step"
            )
    elif holder.kind == "annotators" and (judge.kind in PAIRS_ONLY) != (holder.about == "pair"):
        yield (
            f"a question to annotators is about a {holder.about}, and {judge.kind} "
            + ("scores single responses" if holder.about == "pair" else "compares two")
            + f"; set about: {'response' if holder.about == 'pair' else 'pair'}"
        )
    elif of_steps(judge) and judge.kind not in ANYTHING:
        yield (
            f"{holder.kind} asks how good whole responses are, and {judge.kind} judges steps alone; take verify, or a "
            "rubric with unit: response"
        )
    elif holder.kind in _WANT_POINTS and judge.kind in PAIRS_ONLY | LISTS:
        yield (
            f"{holder.kind} needs a score of each response by itself, and {judge.kind} compares responses, so that all "
            "might be right and half of them lose; take verify or a rubric"
        )


def lossy(recipe: Recipe) -> Iterator[str]:
    """What gives up some of what was paid for, in a sentence each."""
    made = made_per_prompt(recipe)
    for field, operator, given in fed(recipe):
        for check in _LOSSES:
            yield from (f"{field}: {said}" for said in check(operator, given, made))


def _folded(operator: Any, given: Given, made: int | None) -> Iterator[str]:
    if getattr(operator, "fold", None) is not None:
        yield "fold makes one score of the steps, which loses where a response went wrong"


def _points_of_comparisons(operator: Any, given: Given, made: int | None) -> Iterator[str]:
    kind = _kind(operator)
    if kind in _POINTS and given.outcomes and not given.points:
        yield (
            f"the evaluation compares responses, and {kind} needs a score of each: its share of "
            "comparisons won among those of its prompt stands for it, which is no absolute score"
        )


def _ranks_of_comparisons(operator: Any, given: Given, made: int | None) -> Iterator[str]:
    if _kind(operator) == "rankings" and given.outcomes and not given.lists:
        yield (
            "the evaluation compares pairs, so that ranks are made of win shares, which hide circles; "
            "listwise ranks all responses at once, and compared_pairs keeps the comparisons"
        )


def _lists_of_two(operator: Any, given: Given, made: int | None) -> Iterator[str]:
    kind = _kind(operator)
    if kind in _LISTS_MADE and made == 2:
        yield f"two responses a prompt make {kind} of two, which say no more than a pair; make more of them"


def _joined_criteria(operator: Any, given: Given, made: int | None) -> Iterator[str]:
    kind = _kind(operator)
    several = given.criteria is not None and len(given.criteria - {getattr(operator, "diversity", "")}) > 1
    joined = getattr(operator, "dimensions", "joined") == "joined"
    if several and joined and is_ours(operator) and kind not in _KEEP_CRITERIA | OF_ANSWERS:
        yield "several criteria become one score, which hides where they disagree" + (
            "; dimensions: pareto or each keeps them apart" if kind == "pairs" else ""
        )


_LOSSES = (_folded, _points_of_comparisons, _ranks_of_comparisons, _lists_of_two, _joined_criteria)
