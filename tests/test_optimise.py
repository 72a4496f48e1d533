"""Prompts rewritten in view of a better and a worse response: what the rewriter of prompts learns."""

import asyncio
import json
import re

import pytest
from pydantic import ValidationError

from judging import Scripted, case
from triptych.errors import RecipeError
from triptych.models.chat import CallFailed
from triptych.operators import Outlook
from triptych.recipes.load import build_recipe
from triptych.synthesis.optimise import Optimise

RUBRIC = {"kind": "rubric", "model": "judge", "criteria": ["helpful"], "scale": [0, 10]}
REWRITTEN = '{"rationale": "A counts.", "prompt": "Say hi, and count to three."}'


def made(texts, says=REWRITTEN, scores=None, **settings):
    """What comes of responses whose scores stand in them."""

    def answer(request):
        said = request.messages[0].content
        if "rewrite the prompt" in said:
            return says
        shown = re.search(r"<response \w+>\n(.*?)\n</response", said, re.DOTALL)[1]
        found = scores(shown) if scores else re.search(r"\d+", shown)[0]
        return found if isinstance(found, CallFailed) else json.dumps({"rationale": "r", "score": float(found)})

    ask = Scripted(answer)
    asked = case(*texts, prompt="Say hi.")
    responses = asyncio.run(Optimise(model="judge", evaluator=RUBRIC, **settings).respond(asked, ask))
    return (
        asked,
        responses,
        [request for request in ask.requests if "rewrite the prompt" in request.messages[0].content],
    )


def test_the_best_and_the_worst_response_are_shown_and_the_rewritten_prompt_is_the_response():
    asked, (response,), (request,) = made(["worth 4", "worth 9", "worth 1"])
    said = request.messages[0].content
    assert re.search(r"<response_a (\w+)>\nworth 9\n", said)
    assert re.search(r"<response_b (\w+)>\nworth 1\n", said)
    assert "worth 4" not in said
    assert response.text == "Say hi, and count to three."
    assert response.prompt_id == asked.prompt.id
    best, worst = asked.responses[1], asked.responses[2]
    assert (response.params["better"], response.params["worse"]) == (best.id, worst.id)
    assert response.params["rationale"] == "A counts."
    assert (response.generator, response.model, response.model_version) == ("optimise", "judge-1", "v9")
    assert response.cost_usd == 0.5, "the evaluator's calls are paid for where they count"
    assert len(response.call_ids) == 1


def test_responses_that_are_all_as_good_give_nothing():
    _, responses, requests = made(["worth 4", "still 4"])
    assert responses == []
    assert requests == []


def test_what_could_not_be_judged_is_a_failure_that_is_told_of():
    failed = CallFailed(call_id="c", error="HTTP 500", attempts=1)
    _, (response,), requests = made(["worth 4", "worth 9"], scores=lambda shown: failed if "9" in shown else 4)
    assert response.status == "failed"
    assert response.error == "fewer than two responses could be judged"
    assert requests == []


def test_an_answer_that_can_not_be_read_is_asked_for_once_more_and_then_failed():
    _, (response,), requests = made(["worth 4", "worth 9"], says='{"rationale": "r", "prompt": " "}')
    assert response.status == "failed"
    assert response.error == "it has no prompt"
    assert len(requests) == 2


def test_only_the_named_generators_are_compared():
    _, responses, _ = made(["worth 4", "worth 9"], of=("other",))
    assert [response.status for response in responses] == ["failed"]
    _, (response,), _ = made(["worth 4", "worth 9"], of=("sample",))
    assert response.status == "ok"


def test_a_plan_expects_one_rewriting_beside_the_evaluators_calls():
    outlook = Outlook(prompt_tokens=50, responses=4, response_tokens=100, longest_response_tokens=300)
    loads, after = Optimise(model="judge", evaluator=RUBRIC).forecast(outlook)
    assert [(load.calls, load.most_calls) for load in loads] == [(4, 8), (1, 2)]
    assert after.responses == 5


def test_what_cannot_say_which_response_is_better_is_refused():
    held = {"kind": "rollouts", "model": "m", "check": {"kind": "verify"}}
    content = {
        "name": "x",
        "models": {"m": {"backend": "embedded"}},
        "prompts": {"kind": "examples", "name": "maths"},
        "synthesis": [{"kind": "optimise", "model": "m", "evaluator": held}],
    }
    with pytest.raises(RecipeError, match="optimise asks how good whole responses are"):
        build_recipe(content)
    with pytest.raises(ValidationError, match=r"(?s)can't be used"):
        Optimise(model="m", evaluator=RUBRIC, template="{{ nothing }}")
