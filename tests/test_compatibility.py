"""What evaluation gives and instantiation needs: ill-posed recipes are refused, lossy ones told."""

from itertools import pairwise

import pytest

import triptych as tp
from triptych.errors import RecipeError
from triptych.recipes.load import parse_recipe

RUBRIC = {"kind": "rubric", "model": "judge", "criteria": ["good"]}
BOTH = RUBRIC | {"criteria": ["good", "brief"]}
STEPS = RUBRIC | {"unit": "step"}
PAIRS = {"kind": "pairwise", "model": "judge", "criteria": ["good"]}
LISTS = PAIRS | {"kind": "listwise"}
RIGHT = {"kind": "verify", "constraints": [{"kind": "regex", "pattern": "x"}]}
SAMPLE = {"kind": "sample", "model": "judge"}
ROLLOUTS = {"kind": "rollouts", "model": "judge", "check": RIGHT}


def recipe(evaluation, instantiation, synthesis=SAMPLE):
    import yaml

    return parse_recipe(
        yaml.safe_dump(
            {
                "name": "x",
                "models": {"judge": {"backend": "openai", "model": "m", "logprobs": True, "given_logprobs": "vllm"}},
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


STEPS_OF_BRIEF = RUBRIC | {"name": "steps", "criteria": ["brief"], "unit": "step"}
TOKENS = {"kind": "implicit_reward", "model": "judge", "reference": "judge", "tokens": True}
PROBABLE = PAIRS | {"read": "logprobs"}
UNJUDGED = [
    (RUBRIC, {"token_weights": {"criterion": "good"}}, "token_weights", "tokens: true, criterion: good"),
    ([RUBRIC, TOKENS], {"criteria": ["good"], "token_weights": {"criterion": "good"}}, "token_weights", "tokens: true"),
    (
        [RUBRIC, TOKENS | {"tokens": False}],
        {"criteria": ["good"], "token_weights": {"criterion": "implicit_reward"}},
        "token_weights",
        "tokens",
    ),
    (RUBRIC, {"kind": "groups", "token_rewards": {"criterion": "good"}}, "token_rewards", "tokens: true"),
    (RUBRIC, {"part_weights": {}}, "part_weights", "unit: sentence or step"),
    ([RUBRIC, STEPS_OF_BRIEF], {"part_weights": {"criteria": ["good"]}}, "part_weights.criteria.0", "whole responses"),
    ([RUBRIC, STEPS_OF_BRIEF], {"part_weights": {"criteria": ["nosuch"]}}, "part_weights.criteria.0", "nobody"),
    ([RUBRIC, STEPS_OF_BRIEF], {"part_weights": {"evaluators": ["rubric"]}}, "part_weights", "unit: sentence or step"),
    ([RUBRIC, STEPS_OF_BRIEF], {"kind": "stepwise", "criteria": ["good"]}, "criteria.0", "on whole responses alone"),
    ([RUBRIC, STEPS_OF_BRIEF], {"criteria": ["brief"]}, "criteria.0", "fold: min"),
    ([RUBRIC, STEPS_OF_BRIEF], {"kind": "groups", "criteria": ["good", "brief"]}, "criteria.1", "on steps alone"),
    (RUBRIC, {"criteria": ["nosuch"]}, "criteria.0", "judged are: good"),
    (BOTH, {"evaluators": ["rubric"], "criteria": ["constraints"]}, "criteria.0", "judged are: brief, good"),
    (RUBRIC, {"within": "prefix"}, "within", "Add branch or search"),
    (RUBRIC, {"keep": [{"of": "chosen", "criterion": "nosuch", "min": 0.5}]}, "keep.0.criterion", "nobody"),
    (RUBRIC, {"calibrate": {"gold": "people"}}, "calibrate", "there are: rubric"),
    (PAIRS, {"soft_labels": {"by": "judged"}}, "soft_labels", "read: logprobs"),
    (RUBRIC | {"read": "logprobs"}, {"soft_labels": {"by": "judged"}}, "soft_labels", "Add pairwise"),
    (RUBRIC, {"soft_labels": {"by": "reward", "criterion": "good"}}, "soft_labels", "Add reward_model"),
    (RUBRIC, {"fold": "min"}, "fold", "no evaluator gives any"),
    (RUBRIC, {"weight": {"likelihood": "good"}}, "weight", "no implicit_reward"),
]


@pytest.mark.parametrize(("evaluation", "settings", "field", "said"), UNJUDGED)
def test_what_rests_on_verdicts_that_nobody_gives_is_refused(evaluation, settings, field, said):
    with pytest.raises(RecipeError) as raised:
        recipe(evaluation, {"kind": "pairs"} | settings)
    (problem,) = raised.value.problems
    assert problem.field == f"instantiation.{field}"
    assert said.replace("nobody", "no evaluator judges 'nosuch'") in problem.message
    assert problem.line is not None


BRANCHES = [SAMPLE | {"name": "whole"}, {"kind": "branch", "model": "judge", "evaluator": STEPS}]


@pytest.mark.parametrize(
    ("evaluation", "settings", "synthesis"),
    [
        ([RUBRIC, TOKENS], {"criteria": ["good"], "token_weights": {"criterion": "implicit_reward"}}, SAMPLE),
        ([RUBRIC, STEPS_OF_BRIEF], {"part_weights": {"criteria": ["brief"], "evaluators": ["steps"]}}, SAMPLE),
        ([RUBRIC, STEPS_OF_BRIEF], {"criteria": ["good", "brief"], "fold": "min"}, SAMPLE),
        ([RUBRIC, STEPS_OF_BRIEF], {"kind": "stepwise", "criteria": ["brief"]}, SAMPLE),
        (RUBRIC, {"within": "prefix"}, BRANCHES),
        (BOTH, {"criteria": ["good"], "keep": [{"of": "chosen", "criterion": "brief", "min": 0.5}]}, SAMPLE),
        ([RUBRIC, RUBRIC | {"name": "people", "scale": [0, 1]}], {"calibrate": {"gold": "people"}}, SAMPLE),
        (PROBABLE, {"soft_labels": {"by": "judged"}}, SAMPLE),
        ([RUBRIC, TOKENS], {"criteria": ["good"], "weight": {"likelihood": "implicit_reward"}}, SAMPLE),
        (
            {"kind": "verdicts", "path": "said.jsonl"},
            {"criteria": ["any"], "calibrate": {"gold": "people"}, "fold": "min"},
            SAMPLE,
        ),
        (RUBRIC, {}, {"kind": "given"}),
        (RUBRIC, {"kind": "sft"}, SAMPLE | {"n": 1}),
    ],
)
def test_what_rests_on_verdicts_that_are_given_is_taken(evaluation, settings, synthesis):
    assert recipe(evaluation, {"kind": "pairs"} | settings, synthesis)


@pytest.mark.parametrize("kind", ["pairs", "groups", "rankings"])
def test_one_response_a_prompt_gives_nothing_to_compare(kind):
    with pytest.raises(RecipeError) as raised:
        recipe(RUBRIC, {"kind": kind}, SAMPLE | {"n": 1})
    (problem,) = raised.value.problems
    assert f"{kind} need two responses to a prompt, and the synthesis makes 1" in problem.message
    assert recipe(RUBRIC, {"kind": kind}, SAMPLE | {"n": 2})


def test_groups_of_two_are_told_to_be_pairs():
    def notes(n):
        return [note for note in tp.plan(recipe(RUBRIC, {"kind": "groups"}, SAMPLE | {"n": n})).notes if "pair" in note]

    assert "no more than a pair" in notes(2)[0]
    assert not notes(3)


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
        (PAIRS, {"kind": "conditioned"}, "which is no absolute score"),
        (PAIRS, {"kind": "many_outputs"}, "which is no absolute score"),
        (LISTS, {"kind": "unpaired"}, "which is no absolute score"),
        (LISTS, {"kind": "groups"}, "which is no absolute score"),
        (LISTS, {"kind": "sft"}, "which is no absolute score"),
        ([PAIRS, RUBRIC | {"criteria": ["brief"]}], {"kind": "groups", "criteria": ["good"]}, "no absolute score"),
        (PAIRS, {"kind": "rankings"}, "ranks are made of win shares"),
        (BOTH, {"kind": "pairs"}, "dimensions: pareto or each keeps them apart"),
        (BOTH, {"kind": "groups"}, "several criteria become one score"),
    ],
)
def test_what_loses_information_is_told_by_the_plan(evaluation, instantiation, said):
    notes = tp.plan(recipe(evaluation, instantiation)).notes
    assert any(note.startswith("instantiation.0: ") and said in note for note in notes)


def test_the_name_of_an_evaluator_that_there_is_not_is_an_error_that_says_the_near_one():
    with pytest.raises(RecipeError, match=r"no evaluator is called 'rubrik'; did you mean 'rubric'\?"):
        recipe([RUBRIC, PAIRS], {"kind": "pairs", "evaluators": ["rubric", "rubrik"]})
    with pytest.raises(RecipeError, match="no evaluator is called 'crowd:ann'"):
        recipe([RUBRIC], {"kind": "pairs", "evaluators": ["crowd:ann"]})
    people = {"kind": "verdicts", "name": "crowd", "path": "v.jsonl"}
    assert recipe([RUBRIC, people], {"kind": "pairs", "evaluators": ["crowd:ann", "rubric"]})


def test_the_sets_of_udasa_leave_no_margin_out():
    """Margins are rounded to twelve decimals: between two sets there is none."""
    from triptych.recipes.load import load_recipe

    bounds = sorted((form.min_margin, form.max_margin) for form in load_recipe("udasa").instantiation)
    for (_, top), (least, _) in pairwise(bounds):
        assert round(least - top, 15) == 1e-12
