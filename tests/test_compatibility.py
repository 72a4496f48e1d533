"""What evaluation gives and instantiation needs: ill-posed recipes are refused, lossy ones told."""

import pytest

import triptych as tp
from triptych.errors import RecipeError
from triptych.recipes.load import parse_recipe

RUBRIC = {"kind": "rubric", "model": "judge", "criteria": ["good"]}
BOTH = RUBRIC | {"criteria": ["good", "brief"]}
STEPS = RUBRIC | {"unit": "step"}
PAIRS = {"kind": "pairwise", "model": "judge", "criteria": ["good"]}
RIGHT = {"kind": "verify", "constraints": [{"kind": "regex", "pattern": "x"}]}
SAMPLE = {"kind": "sample", "model": "judge"}
ROLLOUTS = {"kind": "rollouts", "model": "judge", "check": RIGHT}


def recipe(evaluation, instantiation, synthesis=SAMPLE):
    import yaml

    return parse_recipe(
        yaml.safe_dump(
            {
                "name": "x",
                "models": {"judge": {"backend": "openai", "model": "m"}},
                "prompts": {"kind": "inline", "prompts": ["Hi"]},
                "synthesis": synthesis,
                "objective": {"criteria": {"good": {"text": "Good."}, "brief": {"text": "Brief."}}},
                "evaluation": evaluation,
                "instantiation": instantiation,
            }
        )
    )


@pytest.mark.parametrize(
    ("evaluation", "instantiation", "said"),
    [
        (RUBRIC, {"kind": "stepwise"}, "an outcome does not say which step went wrong"),
        (PAIRS, {"kind": "stepwise"}, "Add rollouts"),
        (RIGHT, {"kind": "stepwise"}, "Add rollouts"),
        (STEPS, {"kind": "pairs"}, "with fold"),
        (ROLLOUTS, {"kind": "groups"}, "every evaluator judges steps alone"),
        ([RUBRIC, STEPS | {"name": "steps"}], {"kind": "pairs", "evaluators": ["steps"]}, "judges steps alone"),
        (
            RUBRIC,
            {"kind": "pairs", "dimensions": "pareto"},
            "pareto compares several criteria, and only good is judged",
        ),
        (BOTH, {"kind": "pairs", "dimensions": "pareto", "criteria": ["brief"]}, "only brief is judged"),
        (RUBRIC, {"kind": "diverse_pairs"}, "add {kind: diversity}"),
    ],
)
def test_what_no_loss_can_learn_from_is_refused_with_what_would_fit(evaluation, instantiation, said):
    with pytest.raises(RecipeError) as raised:
        recipe(evaluation, instantiation)
    (problem,) = raised.value.problems
    assert said in problem.message
    assert problem.field.startswith("instantiation")
    assert problem.line is not None


@pytest.mark.parametrize(
    ("evaluation", "instantiation"),
    [
        (STEPS, {"kind": "stepwise"}),
        (ROLLOUTS, {"kind": "stepwise"}),
        ([RIGHT, ROLLOUTS], [{"kind": "stepwise"}, {"kind": "pairs"}]),
        (BOTH, {"kind": "pairs", "dimensions": "pareto"}),
        (BOTH, {"kind": "pairs", "dimensions": "each", "criteria": ["good", "brief"]}),
        (RUBRIC, {"kind": "groups"}),
        ([RUBRIC, {"kind": "diversity"}], {"kind": "diverse_pairs"}),
    ],
)
def test_what_fits_is_neither_refused_nor_warned_of(evaluation, instantiation):
    assert not [note for note in tp.plan(recipe(evaluation, instantiation)).notes if note.startswith("instantiation")]


def held(by, field, evaluator):
    """A recipe with an operator that holds an evaluator, in the panel that it belongs to."""
    more = {"model": "judge"} if by in ("branch", "search", "rollouts") else {"sampler": SAMPLE}
    holder = {"kind": by, **more, field: evaluator}
    if by == "rollouts":
        return recipe([holder], {"kind": "stepwise"})
    return recipe([RUBRIC], {"kind": "pairs"}, [SAMPLE | {"name": "first"}, holder])


META = {"kind": "meta_judge", "model": "judge", "criteria": ["good"]}
MISPLACED = [
    ("rollouts", "check", STEPS, "rollouts asks how good whole responses are"),
    ("rollouts", "check", PAIRS, "needs a score of each response by itself"),
    ("rollouts", "check", META, "has nobody else judge"),
    ("search", "evaluator", ROLLOUTS, "take verify"),
    ("search", "evaluator", PAIRS | {"kind": "listwise"}, "might be right and half of them lose"),
    ("branch", "evaluator", RUBRIC, "take rollouts"),
    ("branch", "evaluator", RIGHT, "looks for wrong steps"),
    ("best_of_n", "evaluator", STEPS, "judges steps alone"),
]


@pytest.mark.parametrize(("by", "field", "evaluator", "said"), MISPLACED)
def test_an_evaluator_that_can_not_say_what_its_holder_asks_is_refused(by, field, evaluator, said):
    with pytest.raises(RecipeError) as raised:
        held(by, field, evaluator)
    (problem,) = raised.value.problems
    assert said in problem.message
    assert problem.field.endswith(field)
    assert problem.line is not None


@pytest.mark.parametrize(
    ("by", "field", "evaluator"),
    [
        ("rollouts", "check", RUBRIC),
        ("search", "evaluator", RIGHT),
        ("branch", "evaluator", STEPS),
        ("branch", "evaluator", ROLLOUTS),
        ("best_of_n", "evaluator", PAIRS),
    ],
)
def test_an_evaluator_that_says_what_its_holder_asks_is_taken(by, field, evaluator):
    assert held(by, field, evaluator)


@pytest.mark.parametrize(
    ("evaluation", "instantiation", "said"),
    [
        (STEPS, {"kind": "pairs", "fold": "min"}, "loses where a response went wrong"),
        (PAIRS, {"kind": "groups"}, "which is no absolute score"),
        (PAIRS, {"kind": "unpaired"}, "which is no absolute score"),
        (BOTH, {"kind": "pairs"}, "dimensions: pareto or each keeps them apart"),
        (BOTH, {"kind": "groups"}, "several criteria become one score"),
    ],
)
def test_what_loses_information_is_told_by_the_plan(evaluation, instantiation, said):
    notes = tp.plan(recipe(evaluation, instantiation)).notes
    assert any(note.startswith("instantiation.0: ") and said in note for note in notes)
