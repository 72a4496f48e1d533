"""Operators inside of others: what they rest on, lack, read and cost counts for the one that holds them."""

import asyncio
import json

import pytest

from judging import Scripted, case
from test_steps import CHECK, Solver, solution
from triptych import operators
from triptych.errors import PromptError
from triptych.evaluation.rollouts import Rollouts
from triptych.evaluation.rubric import Rubric
from triptych.models.chat import CallFailed
from triptych.models.spec import OpenAIModel
from triptych.operators import Outlook
from triptych.recipes.recipe import Recipe
from triptych.recipes.schema import recipe_schema
from triptych.records import Criterion, Message, Objective, make_prompt
from triptych.synthesis.branch import Branch
from triptych.synthesis.search import Search
from triptych.verdicts import mean_verdicts

RUBRIC = {"kind": "rubric", "model": "judge", "criteria": ["good"]}
MODELS = {"policy": OpenAIModel(model="p"), "judge": OpenAIModel(model="j")}
OBJECTIVE = Objective(criteria={"good": Criterion(text="Good."), "brief": Criterion(text="Brief.")})


def identity(operator, objective=OBJECTIVE, **models):
    known = MODELS | models
    return operator.identity(known["policy"], held=operator.held(objective, known.__getitem__))


@pytest.mark.parametrize(
    "make", [lambda check: Rollouts(model="policy", check=check), lambda check: Search(model="policy", evaluator=check)]
)
def test_what_a_held_evaluator_rests_on_counts(make):
    one = make(RUBRIC)
    same = identity(one)
    assert identity(make(RUBRIC)) == same
    assert identity(one, judge=OpenAIModel(model="another")) != same
    assert identity(one, judge=OpenAIModel(model="j", version="2")) != same
    reworded = Objective(criteria={"good": Criterion(text="Very good.")})
    assert identity(one, reworded) != same
    assert identity(make(RUBRIC | {"criteria": ["good", "brief"]})) != same
    assert identity(make(RUBRIC | {"repeats": 3, "temperature": 0.5})) != same
    both = make(RUBRIC | {"criteria": ["good", "brief"]})
    heavier = Objective(criteria={"good": Criterion(text="Good.", weight=3), "brief": Criterion(text="Brief.")})
    assert identity(both) != identity(both, heavier)


def test_names_of_a_held_evaluator_and_of_its_model_do_not_count():
    one, other = (Rollouts(model="policy", check=RUBRIC | more) for more in ({}, {"name": "x", "model": "renamed"}))
    assert identity(one) == identity(other, renamed=MODELS["judge"])


def test_what_an_evaluator_inside_of_one_inside_rests_on_counts():
    within = {"kind": "rollouts", "model": "policy", "check": {"kind": "rollouts", "model": "policy", "check": RUBRIC}}
    one = Rollouts(model="policy", check=within)
    assert identity(one) != identity(one, judge=OpenAIModel(model="another"))


def test_an_evaluator_that_only_chooses_where_to_branch_does_not_count():
    steps = RUBRIC | {"unit": "step"}
    one = Branch(model="policy", evaluator=steps)
    assert identity(one) == identity(one, judge=OpenAIModel(model="another"))
    assert identity(one) == identity(Branch(model="policy", at="every_step"))


def test_a_critic_inside_counts():
    one = Rollouts(model="policy", check=RUBRIC | {"critic": "critic"})
    first, second = (OpenAIModel(model=name) for name in ("a", "b"))
    assert identity(one, critic=first) != identity(one, critic=second)


def recipe(evaluation, **more):
    content = {
        "name": "x",
        "models": {name: {"backend": "openai", "model": name} for name in ("policy", "judge", "other")},
        "prompts": {"kind": "inline", "prompts": ["Hi"]},
        "synthesis": {"kind": "sample", "model": "policy"},
        "objective": {"criteria": {"good": {"text": "Good."}}},
        "evaluation": evaluation,
    }
    return Recipe.model_validate(content | more)


def test_two_that_differ_in_the_model_of_what_they_hold_alone_are_two():
    rollouts = {"kind": "rollouts", "model": "policy", "check": RUBRIC}
    assert recipe([rollouts, rollouts | {"check": RUBRIC | {"model": "other"}}])
    with pytest.raises(ValueError, match="makes the same rows"):
        recipe([rollouts, rollouts | {"name": "again"}])


def test_what_a_prompt_lacks_for_a_held_evaluator_is_told_beforehand():
    check = RUBRIC | {"template": "{{ reference }} {{ response }} {{ criterion }} {{ wanted }}"}
    one = recipe({"kind": "rollouts", "model": "policy", "check": check})
    said = one.lacking(make_prompt((Message("user", "Hi"),)))
    assert said.startswith("evaluation.0.check: its template asks for a reference")
    assert one.lacking(make_prompt((Message("user", "Hi"),), reference="r")) is None


def test_files_of_a_held_evaluator_are_looked_at_beforehand(tmp_path):
    people = {"kind": "verdicts", "path": "none.jsonl", "scale": [0, 1]}
    one = recipe([], synthesis={"kind": "search", "model": "policy", "evaluator": people})
    with pytest.raises(PromptError, match=r"none\.jsonl"):
        one.prepare(tmp_path)


# --- what it costs


def judging(request):
    """Goes on as a policy, or judges what it is shown."""
    if request.response_schema is None:
        return "Step 99: and so on. The answer is 42."
    return json.dumps({"rationale": "r", "score": 5 if "42" in request.messages[-1].content else 1})


def test_what_the_check_of_continuations_cost_is_told():
    script = Scripted(judging)
    one = case(solution([True, True]), criteria={"good": "Good."})
    found = asyncio.run(Rollouts(model="judge", check=RUBRIC, n=3).judge(one, script))
    assert [len(row.call_ids) for row in found] == [6, 1]
    assert sum(row.cost_usd for row in found) == 0.5 * len(script.requests)
    assert all(row.created_at is not None for row in found)
    searched = asyncio.run(Rollouts(model="judge", check=RUBRIC, n=3, find="first_error").judge(one, script))
    assert [len(row.call_ids) for row in searched] == [1, 0]


def test_more_steps_than_usual_are_within_the_bound_of_the_check_too():
    """Twelve short steps, where 40 tokens a step would make two."""
    text = "\n".join(f"Step {number}: so." for number in range(1, 13))
    script = Scripted(judging)
    one = case(text, criteria={"good": "Good."})
    rollouts = Rollouts(model="judge", check=RUBRIC, n=2)
    asyncio.run(rollouts.judge(one, script))
    continuing, checking = rollouts.forecast(
        Outlook(prompt_tokens=5, responses=1, response_tokens=80, longest_response_tokens=80)
    )
    judged = sum(request.response_schema is not None for request in script.requests)
    assert (continuing.calls, checking.calls) == (2, 3)
    assert judged == 1 + 2 * 11 > checking.calls
    assert judged <= checking.most_calls
    assert len(script.requests) - judged <= continuing.most_calls


def test_items_of_a_checklist_weigh_in_a_mean_verdict():
    one = case("hi")
    judged = asyncio.run(
        Rubric(model="judge", criteria=["helpful"], repeats=2, temperature=1, scale=(0, 1)).judge(
            one, Scripted(lambda request: json.dumps({"rationale": "r", "score": request.sample_index}))
        )
    )
    from msgspec.structs import replace

    weighed = [replace(row, weight=weight) for row, weight in zip(judged, (3.0, 1.0), strict=True)]
    assert mean_verdicts(judged, one.objective) == {one.responses[0].id: 0.5}
    assert mean_verdicts(weighed, one.objective) == {one.responses[0].id: 0.25}


def test_branches_keep_their_ids_where_more_are_drawn():
    one = case(solution([True, False, True]), reference="42")
    steps = {"kind": "rollouts", "model": "judge", "check": CHECK, "n": 1, "find": "first_error"}
    few, more = (
        [row.id for row in asyncio.run(Branch(model="judge", evaluator=steps, n=n).respond(one, Solver(0.5)))]
        for n in (2, 5)
    )
    assert more[:2] == few
    assert len({*more}) == 5


def test_branches_at_two_steps_that_say_the_same_are_two_rows():
    one = case("a\nb\nc")
    script = Scripted(lambda request: {"a\n": "b\nc", "a\nb\n": "c"}[request.messages[-1].content])
    made = asyncio.run(Branch(model="judge", at="every_step", n=1, prefill=True).respond(one, script))
    assert [row.text for row in made] == ["a\nb\nc"] * 2
    assert made[0].id != made[1].id


def test_the_schema_of_recipes_lists_what_may_be_held_also_of_other_packages(monkeypatch):
    class Foreign(operators.Operator):
        kind: str = "foreign"

    classes = operators.operator_classes
    monkeypatch.setattr(
        operators, "operator_classes", lambda panel: (*classes(panel), *([Foreign] if panel == "evaluation" else []))
    )
    held_by = recipe_schema()["$defs"]
    for holder, field in (("Rollouts", "check"), ("Search", "evaluator")):
        kinds = held_by[holder]["properties"][field]["properties"]["kind"]["enum"]
        assert {"verify", "rubric", "rollouts", "foreign"} <= {*kinds}
    assert "foreign" in json.dumps(held_by["Branch"]["properties"]["evaluator"])


def test_an_end_in_the_middle_of_the_scale_is_not_right():
    """Right is above 0.5, and a step is wrong up to it."""
    script = Scripted(
        lambda request: "And so on." if request.response_schema is None else '{"rationale": "r", "score": 3}'
    )
    one = case("a\nb", criteria={"good": "Good."})
    found = asyncio.run(Rollouts(model="judge", check=RUBRIC, n=1).judge(one, script))
    assert [row.scores for row in found] == [(0.0,), (0.0,)]
    made = asyncio.run(Branch(model="judge", evaluator=RUBRIC | {"unit": "step"}, n=1).respond(one, script))
    assert [row.params["step"] for row in made] == [0]


def refuses(request):
    return CallFailed(call_id="c", error="no", attempts=1)


def test_calls_that_fail_become_failed_responses_that_say_where_they_belong():
    one = case("a\nb")
    (lost,) = asyncio.run(Branch(model="judge", at="every_step", n=1).respond(one, Scripted(refuses)))
    assert (lost.status, lost.error, lost.messages) == ("failed", "no", ())
    assert (lost.parent_id, lost.params["prefix"]) == (one.responses[0].id, 2)
    for how in ("mcts", "beam"):
        found = asyncio.run(
            Search(model="judge", evaluator=CHECK, how=how, rounds=5, branching=2).respond(case(), Scripted(refuses))
        )
        assert [row.status for row in found] == ["failed"] * 2  # nothing opened, nothing to go on from
        assert len({row.id for row in found}) == 2


def test_a_response_without_text_has_no_steps():
    script = Scripted(refuses)
    assert asyncio.run(Rollouts(model="judge", check=CHECK).judge(case("", " \n"), script)) == []
    assert asyncio.run(Branch(model="judge", at="every_step").respond(case(""), script)) == []
    assert not script.requests
