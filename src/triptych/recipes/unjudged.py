"""Settings of instantiations that rest on verdicts which no evaluator gives."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from triptych.operators import suggestion
from triptych.recipes.judged import (
    ANYTHING,
    OF_ANSWERS,
    OF_JUDGEMENTS,
    PAIRS_ONLY,
    REWARDS,
    criteria_of,
    heard_of,
    is_ours,
    of_steps,
    on,
    voices,
)

if TYPE_CHECKING:
    from triptych.recipes.recipe import Recipe

_Problems = Iterator[tuple[str, str]]


def unjudged(recipe: Recipe) -> _Problems:
    """What instantiations rest on that nobody judges, or not in the way they need: (field, what is wrong)."""
    yield from _unknown_evaluators(recipe)
    everybody = heard_of(recipe)
    if not everybody:
        return
    for place, operator in enumerate(recipe.instantiation):
        if not is_ours(operator):
            continue
        heard = heard_of(recipe, getattr(operator, "evaluators", None))
        for check in _CHECKS:
            yield from ((f"instantiation.{place}.{field}", said) for field, said in check(operator, heard, everybody))
        for field, said in (*_part_weights(operator, recipe), *_without_gold(operator, recipe)):
            yield f"instantiation.{place}.{field}", said


def _unknown_evaluators(recipe: Recipe) -> _Problems:
    """Names of evaluators that no evaluator of the recipe has; annotators of verdicts have theirs after a colon."""
    names = [name for one in recipe.evaluation for name, _ in voices(one)]
    called = {name for one in recipe.evaluation for name, judge in voices(one) if judge.kind in ANYTHING}
    for place, operator in enumerate(recipe.instantiation):
        for at, name in enumerate(getattr(operator, "evaluators", None) or () if recipe.evaluation else ()):
            if name not in names and name.partition(":")[0] not in called:
                yield f"instantiation.{place}.evaluators.{at}", f"no evaluator is called {name!r}{suggestion(name, names)}"


def _criteria(operator: Any, heard: list[Any], everybody: list[Any]) -> _Problems:
    """Criteria that nobody judges, or only of steps where responses are asked about, or the other way round."""
    if operator.kind in OF_ANSWERS or not heard:
        return
    for place, name in enumerate(getattr(operator, "criteria", None) or ()):
        judges = on(name, heard)
        if not judges:
            yield f"criteria.{place}", _nobody(name, heard)
        elif operator.kind == "stepwise":
            if _one_lacks(of_steps, judges, heard):
                yield (
                    f"criteria.{place}",
                    f"{name!r} is judged on whole responses alone, and stepwise needs verdicts on steps. Judge it by a "
                    "rubric with unit: step, or leave it out",
                )
        elif getattr(operator, "fold", None) is None and _one_lacks(_of_wholes, judges, heard):
            yield (
                f"criteria.{place}",
                f"{name!r} is judged on steps alone. Say what steps come to with fold: min, prod, last or mean, make "
                "stepwise rows, or judge it on whole responses as well",
            )


def _fold(operator: Any, heard: list[Any], everybody: list[Any]) -> _Problems:
    if getattr(operator, "fold", None) is not None and heard and not any(map(of_steps, heard)):
        yield "fold", "makes one score of verdicts on steps, and no evaluator gives any; leave it out, or judge steps"


def _tokens(operator: Any, heard: list[Any], everybody: list[Any]) -> _Problems:
    for field in ("token_weights", "token_rewards"):
        setting = getattr(operator, field, None)
        if setting is not None and not any(getattr(one, "tokens", False) for one in on(setting.criterion, everybody)):
            yield (
                field,
                f"needs what tokens are worth on {setting.criterion!r}, and no evaluator says it. Add {{kind: "
                f"implicit_reward, tokens: true, criterion: {setting.criterion}}} with its model",
            )


def _part_weights(operator: Any, recipe: Recipe) -> _Problems:
    setting = getattr(operator, "part_weights", None)
    if setting is None:
        return
    heard = heard_of(recipe, setting.evaluators)
    if not any(map(of_steps, heard)):
        yield (
            "part_weights",
            "needs verdicts on sentences or steps: add a rubric with unit: sentence or step, or rollouts",
        )
        return
    for place, name in enumerate(setting.criteria or ()):
        judges = on(name, heard)
        if not any(map(of_steps, judges)):
            lacking = f"{name!r} is judged on whole responses alone; judge it by a rubric with unit: sentence or step"
            yield f"part_weights.criteria.{place}", lacking if judges else _nobody(name, heard)


def _bands(operator: Any, heard: list[Any], everybody: list[Any]) -> _Problems:
    keep = getattr(operator, "keep", ())
    for place, band in enumerate(keep if isinstance(keep, tuple) else ()):
        name = getattr(band, "criterion", None)
        if name is not None and not on(name, everybody):
            yield f"keep.{place}.criterion", _nobody(name, everybody)


def _soft_labels(operator: Any, heard: list[Any], everybody: list[Any]) -> _Problems:
    labels = getattr(operator, "soft_labels", None)
    by = getattr(labels, "by", None)
    if by == "judged" and not any(
        judge.kind in PAIRS_ONLY and getattr(judge, "read", "json") == "logprobs" for judge in everybody
    ):
        yield (
            "soft_labels",
            "by: judged needs a judge's probabilities, and no evaluator gives any. Add pairwise with read: logprobs, or "
            "take by: sigmoid, which makes labels of margins",
        )
    if by == "reward" and labels is not None and not _rewards(labels.criterion, everybody):
        yield "soft_labels", f"by: reward needs {_a_reward(labels.criterion)}, or take by: sigmoid"


def _likelihood(operator: Any, heard: list[Any], everybody: list[Any]) -> _Problems:
    name = getattr(getattr(operator, "weight", None), "likelihood", None)
    if name is not None and not any(judge.kind == "implicit_reward" for judge in _rewards(name, everybody)):
        yield (
            "weight",
            f"needs log-probabilities on {name!r}, and no implicit_reward gives them. Add {{kind: implicit_reward, "
            f"criterion: {name}, beta: 1, normalise: true}} with its model",
        )


_CHECKS: tuple[Callable[[Any, list[Any], list[Any]], _Problems], ...] = (
    _criteria,
    _fold,
    _tokens,
    _bands,
    _soft_labels,
    _likelihood,
)


def _without_gold(operator: Any, recipe: Recipe) -> _Problems:
    gold = getattr(getattr(operator, "calibrate", None), "gold", None)
    named = [voice for one in recipe.evaluation for voice in voices(one) if voice[1].kind not in OF_JUDGEMENTS]
    if gold is None or any(judge.kind in ANYTHING for _, judge in named):  # their data may name who judged
        return
    names = list(dict.fromkeys(called for called, _ in named))
    if gold not in names:
        yield "calibrate", f"no evaluator is called {gold!r}; there are: {', '.join(names)}"


def _one_lacks(gives: Callable[[Any], bool], judges: list[Any], all_heard: list[Any]) -> bool:
    """Whether some evaluators give what these don't; where nobody gives it, the whole instantiation is refused."""
    return any(map(gives, all_heard)) and not any(map(gives, judges))


def _of_wholes(judge: Any) -> bool:
    return judge.kind in ANYTHING or not of_steps(judge)


def _rewards(criterion: str, judges: list[Any]) -> list[Any]:
    """Those that give rewards on a criterion as they came, without a scale."""
    return [one for one in on(criterion, judges) if one.kind in REWARDS and getattr(one, "scale", None) is None]


def _a_reward(criterion: str) -> str:
    return (
        f"rewards without a scale on {criterion!r}, and no evaluator gives any. Add reward_model or implicit_reward with "
        f"criterion: {criterion}"
    )


def _nobody(name: str, judges: list[Any]) -> str:
    known = sorted({each for judge in judges for each in criteria_of(judge) or ()})
    return f"no evaluator judges {name!r}; judged are: {', '.join(known)}"
