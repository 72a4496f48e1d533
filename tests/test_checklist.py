"""Checklists: each item of a prompt's own asked by itself, weighed, or written by a model first."""

import asyncio
import json
import re

import msgspec
import pytest
from pydantic import ValidationError

import triptych as tp
from judging import Scripted, case, tokens
from triptych.evaluation.checklist import Checklist
from triptych.evaluation.contrastive_checklist import ContrastiveChecklist
from triptych.instantiation.scores import objective_scores
from triptych.models.spec import OpenAIModel
from triptych.operators import Outlook
from triptych.records import Objective
from triptych.store.tables import frame

ITEMS = ({"name": "polite", "text": "It is polite.", "weight": 3}, {"text": "It names a colour."})


class Two(Scripted):
    """A judge and a writer."""

    def model(self, name):
        assert name in ("judge", "writer")
        return OpenAIModel(model=f"{name}-1", logprobs=True)


def says(request):
    text = request.messages[-1].content
    if "Write the checklist" in text:
        return json.dumps(
            {"checklist": [{"demand": "Names a colour.", "weight": 5}, {"demand": "Is short.", "weight": 1}]}
        )
    demand, shown = text.rpartition("<demand")[2], text.partition("<response")[2].partition("</response")[0]
    met = "please" in shown if "polite" in demand else "red" in shown if "colour" in demand else len(shown) < 60
    return json.dumps({"rationale": "Seen.", "met": "yes" if met else "no"})


def judged(one, script=None, **settings):
    script = script or Two(says)
    return asyncio.run(Checklist(model="judge", **settings).judge(one, script)), script


def scores(one, judgements):
    tables = frame("responses", list(one.responses)).lazy(), frame("judgements", judgements).lazy()
    return objective_scores(*tables, Objective()).collect()["score"].to_list()


def test_each_item_is_asked_by_itself_and_weighed():
    one = case("please, red", "red", "please", "no", criteria=None, prompt="Ask.")
    one = with_items(one, ITEMS)
    made, script = judged(one)
    assert len(script.requests) == 8
    assert [(j.check, j.weight, j.scores) for j in made[:2]] == [("polite", 3.0, (1.0,)), ("item 2", 1.0, (1.0,))]
    assert scores(one, made) == [1.0, 0.25, 0.75, 0.0]
    assert len({j.id for j in made}) == 8


def with_items(one, items):
    import msgspec

    return msgspec.structs.replace(one, prompt=msgspec.structs.replace(one.prompt, criteria=items))


def test_without_items_a_writer_is_asked_once_for_each_prompt():
    one = case("red", "a long answer without anything that was wanted, and so on and on and on and on")
    made, script = judged(one, writer="writer")
    assert [len(batch) for batch in script.batches] == [1, 4]
    assert [j.scores[0] for j in made] == [1.0, 1.0, 0.0, 0.0]
    assert scores(one, made) == [1.0, 0.0]
    other, _ = judged(with_items(one, ITEMS), writer="writer")
    assert other[0].evaluator_id != made[0].evaluator_id  # who wrote the items is part of the evaluator


def test_a_list_that_can_not_be_read_judges_nothing():
    one = case("red", "blue")

    def broken(request):
        return (
            '{"checklist": [{"demand": "", "weight": 9}]}'
            if "checklist" in request.messages[0].content
            else says(request)
        )

    made, script = judged(one, Two(broken), writer="writer")
    assert [j.status for j in made] == ["unparsed", "unparsed"]
    assert [len(batch) for batch in script.batches] == [1, 1]
    assert made[0].raw.count("checklist") == 2
    assert scores(one, made) == [None, None]


def test_the_probability_of_a_yes_may_be_the_score():
    one = with_items(case("red"), ITEMS[:1])
    made, _ = judged(one, Two(lambda request: tokens(Yes=-0.1, No=-2.4)), read="logprobs")
    assert made[0].scores[0] == pytest.approx(0.905 / (0.905 + 0.0907), abs=1e-3)


def test_common_criteria_are_items_of_every_list():
    one = with_items(case("please, red", criteria={"calm": "It is polite."}), ITEMS[1:])
    made, _script = judged(one, criteria=["calm"])
    assert [j.check for j in made] == ["item 1", "calm"]


@pytest.mark.parametrize("said", ["maybe", 1, None])
def test_an_answer_that_is_neither_yes_nor_no_is_unparsed(said):
    one = with_items(case("red"), ITEMS[:1])
    made, _ = judged(one, Two(lambda request: json.dumps({"rationale": "r", "met": said})))
    assert made[0].status == "unparsed"


def test_a_prompt_without_items_and_without_writer_is_told_before_anything_is_paid():
    judge = Checklist(model="judge")
    assert "no writer is named" in judge.lacking(case("x").prompt)
    assert judge.lacking(with_items(case("x"), ITEMS).prompt) is None
    assert "no number" in judge.lacking(with_items(case("x"), ({"text": "t", "weight": "heavy"},)).prompt)
    assert Checklist(model="judge", writer="writer").lacking(case("x").prompt) is None
    content = {
        "name": "x",
        "models": {"judge": {"backend": "openai", "model": "m"}},
        "prompts": {"kind": "inline", "prompts": ["Hi"]},
        "synthesis": {"kind": "given"},
        "evaluation": {"kind": "checklist", "model": "judge", "writer": "wrtier"},
    }
    with pytest.raises(ValidationError, match="'wrtier' is not declared"):
        tp.Recipe.model_validate(content)


def test_the_plan_counts_items_and_the_writer():
    own = Checklist(model="judge").forecast(Outlook(prompt_tokens=1, responses=2, criteria=3))
    assert [(load.model, load.calls, load.most_calls) for load in own] == [("judge", 6, 12)]
    written = Checklist(model="judge", writer="writer", most=8).forecast(Outlook(prompt_tokens=1, responses=2))
    assert [(load.model, load.calls, load.most_calls) for load in written] == [("judge", 10, 32), ("writer", 1, 2)]


# --- contrastive checklists

BETTER = {"kind": "assumed", "scores": {"good": 1.0, "middling": 0.5, "bad": 0.0}}
LIST = [
    {"kind": "rule", "demand": "Names a colour.", "weight": 5},
    {"kind": "principle", "demand": "Is polite.", "weight": 1},
]


def contrasting(texts, entries=LIST, script=None, **settings):
    """Judge texts whose makers are called `good`, `middling`, `bad` in turn; gives all with the case."""
    one = case(*texts, criteria={"helpful": "It helps."})
    made = tuple(
        msgspec.structs.replace(response, model=name)
        for response, name in zip(one.responses, ("good", "middling", "bad"), strict=False)
    )
    one = msgspec.structs.replace(one, responses=made)

    def wrote(request):
        if "Write the checklist" in request.messages[0].content:
            return json.dumps({"checklist": entries})
        return says(request)

    script = script or Two(wrote)
    judge = ContrastiveChecklist(**{"model": "judge", "writer": "writer", "preference": BETTER} | settings)
    return one, asyncio.run(judge.judge(one, script)), script


def test_a_list_is_written_from_the_better_and_the_worse_and_judges_all():
    one, found, script = contrasting(["a red one, please", "a red one", "no"])
    writing, *asked = script.requests
    text = writing.messages[0].content
    assert re.search(r"<better \w+>\na red one, please\n", text)
    assert re.search(r"<worse \w+>\nno\n", text)
    assert "a red one\n" not in text
    assert writing.response_schema["properties"]["checklist"]["items"]["required"] == ["kind", "demand", "weight"]
    assert len(asked) == len(found) == 3 * 2
    assert [judgement.check for judgement in found[:2]] == ["rule 1", "principle 2"]
    assert [judgement.response_ids[0] for judgement in found] == [r.id for r in one.responses for _ in range(2)]
    assert scores(one, found) == pytest.approx([1.0, 5 / 6, 0.0])


@pytest.mark.parametrize("texts", [["no", "so", "a red one"], ["a red one", "so", "another red one"]])
def test_a_list_that_does_not_prefer_the_better_one_is_thrown_away(texts):
    one, found, script = contrasting(texts)
    assert len(script.requests) == 1 + 2 * 2  # what is neither the best nor the worst is not asked about
    assert {judgement.status for judgement in found} == {"failed"}
    assert len(found) == 3
    assert "thrown away" in found[0].error
    assert [len(judgement.call_ids) for judgement in found] == [4, 0, 0]
    assert [judgement.cost_usd for judgement in found] == [2.0, 0.0, 0.0]
    assert scores(one, found) == [None] * 3


def test_without_a_difference_there_is_no_list():
    _, found, script = contrasting(["x", "y"], preference=BETTER | {"scores": {"good": 0.5, "middling": 0.5}})
    assert (found, script.requests) == ([], [])
    assert contrasting(["x"])[1] == []


def test_where_nobody_can_tell_which_is_better_what_went_wrong_is_told():
    rubric = {"kind": "rubric", "model": "judge", "criteria": ["helpful"]}
    _, found, _ = contrasting(["x", "y"], script=Two(lambda request: "hm"), preference=rubric)
    assert [(judgement.evaluator, judgement.status) for judgement in found] == [
        ("contrastive_checklist", "unparsed")
    ] * 2


@pytest.mark.parametrize("kind", [None, "whim"])
def test_an_entry_must_be_a_rule_or_a_principle(kind):
    _, found, _ = contrasting(["a red one", "x", "no"], entries=[LIST[0] | {"kind": kind}])
    assert {judgement.status for judgement in found} == {"unparsed"}
    assert "neither rule nor principle" in found[0].error


def test_who_prefers_and_who_writes_make_another_evaluator():
    names = set()
    for more in ({}, {"preference": BETTER | {"scores": {"good": 1.0, "middling": 0.2, "bad": 0.0}}}):
        _, found, _ = contrasting(["a red one, please", "a red one", "no"], **more)
        names.add(found[0].evaluator_id)
    assert len(names) == 2
    assert (
        ContrastiveChecklist(model="judge", writer="writer", preference=BETTER).lacking(
            tp.Prompt(id="p", messages=(tp.Message("user", "Hi"),))
        )
        is None
    )


def test_a_plan_expects_the_preference_the_list_and_its_items():
    outlook = Outlook(prompt_tokens=10, responses=3, response_tokens=20, longest_response_tokens=40)
    pairs = {"kind": "pairwise", "model": "judge", "criteria": ["helpful"]}
    preferring, writing, judging = ContrastiveChecklist(
        model="judge", writer="writer", preference=pairs, most=4
    ).forecast(outlook)
    assert (preferring.calls, writing.calls, judging.calls, judging.most_calls) == (6, 1, 12, 24)
    assert (writing.model, judging.model) == ("writer", "judge")
