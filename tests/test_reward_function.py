"""A recipe's verifiers as a reward function give completions the scores that a run gives the same texts."""

import asyncio
import json

import pytest

import triptych as tp
from triptych.errors import TriptychError

ANSWERS = {
    "Name three fruits in lower case.": ["apple, pear, plum", "Apple, pear", "APPLE"],
    "What is 7 + 5?": ["7 + 5 = 12", "13", "12, said he."],
}
CONSTRAINTS = {
    "Name three fruits in lower case.": [{"kind": "all_lowercase"}, {"kind": "words", "min": 3}],
    "What is 7 + 5?": [{"kind": "words", "max": 2}],
}
REFERENCES = {"What is 7 + 5?": "12"}


def recipe(tmp_path, **more):
    rows = [
        {"prompt": text, "constraints": CONSTRAINTS[text], "responses": said}
        | ({"reference": REFERENCES[text]} if text in REFERENCES else {})
        for text, said in ANSWERS.items()
    ]
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings = {
        "name": "checked",
        "prompts": {"kind": "file", "path": str(tmp_path / "prompts.jsonl")},
        "synthesis": {"kind": "given"},
        "objective": {"criteria": {"answer": {"text": "The answer is right.", "weight": 3}}},
        "evaluation": [
            {"kind": "verify"},
            {"kind": "verify", "name": "answers", "criterion": "answer", "use_prompt": False, "final_answer": True},
        ],
        "instantiation": {"kind": "groups", "zero_variance": "keep", "advantage": "none"},
    }
    return tp.Recipe.model_validate(settings | more)


def exported(tmp_path, given):
    """The exported prompts, and the run's own scores by the text of its responses."""
    run = tp.run(given, out=tmp_path / "run")
    result = tp.export_run(run, out=tmp_path / "out")
    said = {row["id"]: row["messages"][0]["content"] for row in run.responses().collect().iter_rows(named=True)}
    scores = {
        said[one]: score
        for row in run.examples().collect().iter_rows(named=True)
        for one, score in zip(row["response_ids"], row["scores"], strict=True)
    }
    rows = [json.loads(line) for line in (result.path / "train.jsonl").read_text().splitlines()]
    return rows, scores


def as_trainers_give_them(rows, *, messages=True):
    """All answers to all rows, with the columns as lists and more besides, as TRL gives them."""
    given = [(row, text) for row in rows for text in ANSWERS[row["prompt"][0]["content"]]]
    columns = {name: [row[name] for row, _ in given] for name in ("constraints", "reference", "scores", "example_id")}
    return columns | {
        "prompts": [row["prompt"] if messages else row["prompt"][0]["content"] for row, _ in given],
        "completions": [[{"role": "assistant", "content": text}] if messages else text for _, text in given],
        "completion_ids": [[1]] * len(given),
        "trainer_state": None,
    }


@pytest.mark.parametrize("messages", [True, False])
def test_rewards_are_the_scores_of_the_run(tmp_path, messages):
    given = recipe(tmp_path)
    rows, scores = exported(tmp_path, given)
    wanted = [scores[text] for answers in ANSWERS.values() for text in answers]
    # A share of the constraints where there is no reference; else a quarter of it and three of the answer.
    assert wanted == pytest.approx([1.0, 0.0, 0.0, 0.75, 0.25, 0.75])
    rewards = tp.reward_function(given)(**as_trainers_give_them(rows, messages=messages))
    assert rewards == wanted


def test_only_the_criteria_and_evaluators_count_that_the_groups_count(tmp_path):
    rows, _ = exported(tmp_path, recipe(tmp_path))
    given = recipe(tmp_path, instantiation={"kind": "groups", "criteria": ["answer"], "zero_variance": "keep"})
    rewards = tp.reward_function(given)(**as_trainers_give_them(rows))
    assert rewards == [None, None, None, 1.0, 0.0, 1.0]  # the first prompt has no reference, so nothing to check
    by_name = recipe(tmp_path, instantiation={"kind": "groups", "evaluators": ["answers"]})
    assert tp.reward_function(by_name)(**as_trainers_give_them(rows)) == rewards


def test_it_can_be_called_where_a_loop_runs_as_in_a_notebook(tmp_path):
    given = recipe(tmp_path)
    rows, _ = exported(tmp_path, given)
    reward, columns = tp.reward_function(given), as_trainers_give_them(rows)

    async def cell():
        return reward(**columns)

    assert asyncio.run(cell()) == reward(**columns)


def test_a_constraint_that_cannot_be_checked_is_no_reward(tmp_path):
    reward = tp.reward_function(recipe(tmp_path))
    assert reward(["Hi", "Hi"], ["a", "b"], constraints=['[{"kind":"strange"}]', '[{"kind":"words","max":1}]']) == [None, 1.0]


def test_columns_of_other_lengths_are_an_error(tmp_path):
    with pytest.raises(ValueError, match="zip"):
        tp.reward_function(recipe(tmp_path))(["Hi"], ["a", "b"])


def test_a_recipe_without_a_verifier_that_counts_is_an_error(tmp_path):
    evaluation = [{"kind": "verify"}, {"kind": "diversity"}]
    other = recipe(tmp_path, evaluation=evaluation, instantiation={"kind": "groups", "evaluators": ["diversity"]})
    with pytest.raises(TriptychError, match="no verify evaluator of the recipe checked"):
        tp.reward_function(other)
    judged = tp.load_recipe("rloo")
    with pytest.raises(TriptychError, match="rloo"):
        tp.reward_function(judged)


def test_the_card_of_groups_that_a_verifier_scored_shows_its_reward(tmp_path):
    exported(tmp_path, recipe(tmp_path))
    text = (tmp_path / "out/README.md").read_text()
    assert 'your_reward = tp.reward_function(tp.load_recipe("recipe.yaml"))' in text
    assert "reward_funcs=your_reward" in text


def test_code_is_not_passed_over_where_nothing_says_how_it_is_run(tmp_path):
    checks = [json.dumps([{"kind": "unit_tests", "tests": ["assert f(1) == 1"]}])]
    asked = {"prompts": ["Write f."], "completions": ["def f(x): return x"], "constraints": checks}
    with pytest.raises(TriptychError, match="Say in `run_with`"):
        tp.reward_function(recipe(tmp_path))(**asked)
    unsafe = recipe(tmp_path, evaluation={"kind": "verify", "run_with": "unsafe"})
    assert tp.reward_function(unsafe)(**asked) == [1.0]
