"""Step-level judging against a solver whose steps are known: values by rollouts, first errors by bisection, rubrics."""

from __future__ import annotations

import asyncio
import json
import math
from itertools import accumulate

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from judging import Scripted, case
from triptych.evaluation.rollouts import Rollouts
from triptych.evaluation.rubric import Rubric
from triptych.models.chat import CallFailed
from triptych.operators import Outlook

CHECK = {"kind": "verify", "use_prompt": False, "final_answer": True}


def solution(steps):
    """Steps that are right or wrong, and an end that follows from them."""
    lines = [f"Step {number}: {'so far so good' if right else 'a slip'}." for number, right in enumerate(steps, 1)]
    lines[-1] += f" The answer is {42 if all(steps) else 7}."
    return "\n".join(lines)


class Solver(Scripted):
    """Goes on from a beginning: rightly with a known chance where there is no slip in it, else never."""

    def __init__(self, chance):
        super().__init__(self.go_on)
        self.chance = chance

    def go_on(self, request):
        slipped = "a slip" in request.messages[-1].content
        right = not slipped and (request.seed % 1000) / 1000 < self.chance
        return f"Step 99: and so on. The answer is {42 if right else 7}."


def asked(*texts):
    return case(*texts, reference="42")


def judged(solver, *texts, **settings):
    rollouts = Rollouts(model="judge", check=CHECK, **settings)
    return asyncio.run(rollouts.judge(asked(*texts), solver))


def labels(judgements, response_id):
    """Scores in the order of the steps."""
    mine = [one for one in judgements if one.response_ids == (response_id,)]
    assert [one.step.index for one in mine] == list(range(len(mine)))
    return [one.scores[0] for one in mine]


STEPS = st.lists(st.booleans(), min_size=1, max_size=9)


@given(st.lists(STEPS, min_size=1, max_size=3), st.booleans())
@settings(deadline=None, max_examples=40)
def test_hard_estimates_of_a_solver_that_never_fails_say_which_steps_can_still_come_right(solutions, prefill):
    texts = [solution(steps) for steps in solutions]
    one = asked(*texts)
    found = judged(Solver(1.0), *texts, n=1, estimate="hard", prefill=prefill)
    for response, steps in zip(one.responses, solutions, strict=True):
        assert labels(found, response.id) == [float(right) for right in accumulate(steps, lambda a, b: a and b)]


@pytest.mark.parametrize("chance", [0.2, 0.5, 0.9])
def test_soft_estimates_lie_within_what_chance_allows(chance):
    steps = [True, True, False, True]
    n = 300
    first, second, third, fourth = labels(
        found := judged(Solver(chance), solution(steps), n=n), asked(solution(steps)).responses[0].id
    )
    for value in (first, second):
        assert abs(value - chance) < 4 * math.sqrt(chance * (1 - chance) / n)
    assert (third, fourth) == (0.0, 0.0)
    assert len(found[0].call_ids) == n
    assert found[0].cost_usd == n * 0.5
    assert found[-1].call_ids == ()


@pytest.mark.parametrize("estimate", ["soft", "hard"])
def test_an_estimate_is_exactly_the_share_of_right_ends_or_whether_there_is_one(estimate):
    text, solver = solution([*[True] * 7, False]), Solver(0.4)
    found = labels(judged(solver, text, n=4, estimate=estimate), asked(text).responses[0].id)
    ends: dict[str, list[bool]] = {}
    for request in solver.requests:
        ends.setdefault(request.messages[-1].content, []).append("answer is 42" in solver.go_on(request))
    counts = [sum(ends[beginning]) for beginning in sorted(ends, key=len)]
    assert {len(each) for each in ends.values()} == {4}
    assert any(0 < count < 4 for count in counts), "some steps come right at times"
    assert found == [*(count / 4 if estimate == "soft" else float(count > 0) for count in counts), 0.0]


@given(st.lists(STEPS, min_size=1, max_size=4))
@settings(deadline=None, max_examples=60)
def test_bisection_finds_exactly_the_first_error_in_few_probes(solutions):
    texts = [solution(steps) for steps in solutions]
    one, solver = asked(*texts), Solver(1.0)
    found = judged(solver, *texts, n=2, find="first_error")
    for response, steps in zip(one.responses, solutions, strict=True):
        first = steps.index(False) if False in steps else None
        wanted = [1.0] * len(steps) if first is None else [1.0] * first + [0.0]
        assert labels(found, response.id) == wanted
    longest = max((len(steps) for steps in solutions if False in steps), default=1)
    assert len(solver.batches) <= math.ceil(math.log2(longest))
    probes = sum(math.ceil(math.log2(len(steps))) for steps in solutions if False in steps)
    assert len(solver.requests) <= 2 * probes


def test_bisection_equals_looking_at_all_steps():
    for steps in ([True, True, False, True, False, True], [False, True], [True, False]):
        text = solution(steps)
        by_all = labels(judged(Solver(1.0), text, n=1, estimate="hard"), asked(text).responses[0].id)
        by_bisection = labels(judged(Solver(1.0), text, n=1, find="first_error"), asked(text).responses[0].id)
        assert by_bisection == by_all[: by_all.index(0.0) + 1]


def test_a_step_that_could_not_be_continued_has_no_score():
    def refuses(request):
        return CallFailed(call_id="c", error="no", attempts=1)

    text = solution([True, False, True])
    found = judged(Scripted(refuses), text, n=2)
    assert [one.status for one in found] == ["failed", "failed", "ok"]
    assert all(one.scores is None for one in found[:2])
    (lone,) = judged(Scripted(refuses), text, n=2, find="first_error")
    assert (lone.status, lone.scores) == ("failed", None)


def test_the_plan_is_what_a_solution_of_usual_steps_takes():
    outlook = Outlook(prompt_tokens=10, responses=2, response_tokens=160, longest_response_tokens=1000)
    everything = Rollouts(model="judge", check=CHECK, n=3, max_parts=8).forecast(outlook)
    assert (everything[0].calls, everything[0].most_calls) == (2 * 3 * 3, 2 * 7 * 3)
    bisected = Rollouts(model="judge", check=CHECK, n=3, find="first_error", max_parts=8).forecast(outlook)
    assert (bisected[0].calls, bisected[0].most_calls) == (2 * 2 * 3, 2 * 3 * 3)


# --- rubrics on parts


def test_a_rubric_scores_each_step_with_what_comes_before_it_in_view():
    text = "Step 1: one. More.\nStep 2: two.\nStep 3: three."
    script = Scripted(
        lambda request: json.dumps({"rationale": "r", "score": 1 + request.messages[-1].content.count("Step")})
    )
    one = case(text, criteria={"sound": "Is it sound?"})
    found = asyncio.run(Rubric(model="judge", criteria=["sound"], unit="step").judge(one, script))
    assert [(j.step.unit, j.step.index, text[j.step.start : j.step.end]) for j in found] == [
        ("step", 0, "Step 1: one. More."),
        ("step", 1, "Step 2: two."),
        ("step", 2, "Step 3: three."),
    ]
    assert len({j.id for j in found}) == 3
    first = script.requests[0].messages[-1].content
    assert "Step 2" not in first
    assert "Score this part" in first


def test_sentences_beyond_the_most_are_one_part():
    script = Scripted(lambda request: '{"rationale": "r", "score": 3}')
    one = case("One. Two. Three. Four.", criteria={"sound": "Is it sound?"})
    found = asyncio.run(Rubric(model="judge", criteria=["sound"], unit="sentence", max_parts=2).judge(one, script))
    assert [(j.step.start, j.step.end) for j in found] == [(0, 4), (5, 22)]
    (load,) = Rubric(model="judge", criteria=["sound"], unit="sentence", max_parts=2).forecast(
        Outlook(prompt_tokens=1, responses=1, response_tokens=400, longest_response_tokens=400)
    )
    assert (load.calls, load.most_calls) == (2, 4)
