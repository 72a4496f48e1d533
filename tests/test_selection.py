"""Active selection, rejection sampling and annotator pools: what is asked about, kept and flipped, by plain Python."""

import asyncio
import json
import math
import re
from itertools import combinations
from statistics import NormalDist, fmean, stdev

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

import triptych as tp
from judging import WHEN, Scripted, case
from triptych.errors import RecipeError
from triptych.evaluation.acquire import Acquire
from triptych.evaluation.annotators import Annotators
from triptych.models.chat import Reply, ScoreRequest
from triptych.operators import Outlook
from triptych.records import Criterion, Objective, draw
from triptych.synthesis.rejection import Rejection
from triptych.verdicts import estimated, mean_verdicts
from verdict_tables import judged as verdict
from verdict_tables import response
from world import quality, world

CHEAP = {
    "kind": "rubric", "model": "judge", "criteria": ["helpful"], "scale": [0, 100], "repeats": 3, "temperature": 1.0
}  # fmt: skip
DEAR = {"kind": "pairwise", "model": "judge", "criteria": ["honest"]}
SHOWN = re.compile(r"<response(?:_[ab])? \w+>\n(.*?)\n</response", re.DOTALL)


def says(request):
    """Scores a text by its numbers, one for each repeat; of two prefers the longer one."""
    shown = SHOWN.findall(request.messages[-1].content)
    if "score" in request.response_schema["properties"]:
        return json.dumps({"rationale": "r", "score": int(shown[0].split()[request.sample_index])})
    return json.dumps({"rationale": "r", "better": "A" if len(shown[0]) > len(shown[1]) else "B"})


def texts(scores):
    """Texts that the cheap judge scores so, and that differ in length."""
    return [" ".join(map(str, some)) + " ." * place for place, some in enumerate(scores)]


class Rewarding(Scripted):
    """Is a reward model too: a response is worth the number that it is."""

    def _reply(self, request):
        if not isinstance(request, ScoreRequest):
            return super()._reply(request)
        worth = (float(request.response[0].content),)
        return Reply(call_id="c", scores=worth, prompt_tokens=1, completion_tokens=0, cost_usd=0.0, created_at=WHEN)


REWARD = {"kind": "reward_model", "model": "judge"}


def acquired(scores, one=None, **settings):
    one = one or case(*texts(scores))
    script = Scripted(says)
    found = asyncio.run(Acquire(evaluator=DEAR, cheap=[CHEAP], **settings).judge(one, script))
    order = {response.id: place for place, response in enumerate(one.responses)}
    return [tuple(sorted(order[each] for each in judgement.response_ids)) for judgement in found], script, found


def estimates(scores):
    numbers = [[score / 100 for score in some] for some in scores]
    return [(fmean(some), stdev(some) / math.sqrt(len(some))) for some in numbers]


def entropy(chance):
    return -sum(p * math.log(p) for p in (chance, 1 - chance) if p > 0)


def sigmoid(gap):
    return 1 / (1 + math.exp(-gap / 0.25))


def information(one, other):
    """By a sum over a fine grid of gaps under their normal density."""
    gap, error = one[0] - other[0], math.hypot(one[1], other[1])
    if error == 0:
        return 0.0
    grid = [gap + error * (place - 2000) / 400 for place in range(4001)]
    weights = [NormalDist(gap, error).pdf(at) for at in grid]
    mean = sum(w * sigmoid(at) for w, at in zip(weights, grid, strict=True)) / sum(weights)
    return entropy(mean) - sum(w * entropy(sigmoid(at)) for w, at in zip(weights, grid, strict=True)) / sum(weights)


WORTH = {
    "certainty": lambda one, other: abs(one[0] - other[0]),
    "uncertainty": lambda one, other: entropy(sigmoid(one[0] - other[0])),
    "information": information,
    "delta_ucb": lambda one, other: max(one[0] + one[1] - other[0] + other[1], other[0] + other[1] - one[0] + one[1]),
}
SCORES = st.lists(st.lists(st.integers(0, 100), min_size=3, max_size=3), min_size=2, max_size=5)


@pytest.mark.parametrize("by", WORTH)
@given(scores=SCORES)
@settings(deadline=None, max_examples=25)
def test_the_pair_of_most_worth_is_asked_about_in_both_orders(by, scores):
    asked, script, _ = acquired(scores, by=by)
    known = estimates(scores)
    worth = {(a, b): WORTH[by](known[a], known[b]) for a, b in combinations(range(len(scores)), 2)}
    assert len(asked) == 2
    assert len({*asked}) == 1
    assert worth[asked[0]] == pytest.approx(max(worth.values()), abs=2e-3)
    assert len(script.requests) == 3 * len(scores) + 2


def test_the_standard_error_is_that_of_the_weighted_mean_over_criteria():
    one = response("p_0", 0)
    said = {"a": [0.9, 0.5, 0.7], "b": [0.2, 0.6], "c": [1.0]}
    judgements = [
        verdict([one], criterion=name, scores=(score,), scale=(0.0, 1.0), repeat=repeat)
        for name, scores in said.items()
        for repeat, score in enumerate(scores)
    ]
    objective = Objective(criteria={"a": Criterion(text="A", weight=2)})
    weights = {"a": 2, "b": 1, "c": 1}
    errors = [(weights[n] / 4) ** 2 * stdev(some) ** 2 / len(some) for n, some in said.items() if len(some) > 1]
    found = estimated(judgements, objective)[one.id]
    assert found.mean == pytest.approx(sum(weights[n] * fmean(some) for n, some in said.items()) / 4)
    assert found.mean == mean_verdicts(judgements, objective)[one.id]
    assert found.error == pytest.approx(math.sqrt(sum(errors)))


def test_pairs_are_asked_about_from_the_most_worth_down():
    scores = [[10] * 3, [50] * 3, [100] * 3]
    assert [*dict.fromkeys(acquired(scores, pairs=2)[0])] == [(0, 2), (1, 2)]
    assert [*dict.fromkeys(acquired(scores, pairs=9)[0])] == [(0, 2), (1, 2), (0, 1)]
    assert [*dict.fromkeys(acquired(scores, pairs=9, min_value=0.5)[0])] == [(0, 2), (1, 2)]


def test_below_the_threshold_nothing_is_asked():
    asked, script, _ = acquired([[40] * 3, [60] * 3], min_value=0.3)
    assert asked == []
    assert len(script.requests) == 6


def test_two_that_say_the_same_are_no_pair():
    one = case("90 90 90", "10 10 10", "90 90 90")
    assert {*acquired(None, one, pairs=5)[0]} == {(0, 1), (1, 2)}
    assert acquired(None, case("90 90 90", "90 90 90"), by="thompson")[0] == []


def asked_by_reward(rewards, **settings):
    """The pairs that are asked about, in their order, by rewards without a scale."""
    one = case(*map(str, rewards))
    found = asyncio.run(Acquire(evaluator=DEAR, cheap=[REWARD], **settings).judge(one, Rewarding(says)))
    order = {response.id: place for place, response in enumerate(one.responses)}
    return [*dict.fromkeys(tuple(sorted(order[each] for each in judgement.response_ids)) for judgement in found)]


@pytest.mark.parametrize("rewards", [[0.0, 0.9, 5.0, 5.8], [-30.0, 1.0, 2.5, 400.0], [-7.0, -6.5, 0.0, 0.25]])
def test_rewards_are_as_far_apart_as_they_come(rewards):
    gaps = {(a, b): abs(rewards[a] - rewards[b]) for a, b in combinations(range(4), 2)}
    by_gap = sorted(gaps, key=lambda pair: -gaps[pair])
    assert asked_by_reward(rewards, by="certainty", pairs=6) == by_gap
    assert asked_by_reward(rewards, by="delta_ucb", pairs=6) == by_gap
    assert asked_by_reward(rewards, by="certainty", pairs=6, min_value=gaps[by_gap[2]]) == by_gap[:3]


def test_the_less_rewards_are_apart_the_less_certain_is_the_choice_however_far_that_is():
    assert asked_by_reward([0.0, 0.9, 5.0, 5.8], by="uncertainty", temperature=1.0, pairs=2) == [(2, 3), (0, 1)]
    assert asked_by_reward([-1e6, 1e6, 1e6 + 1], by="uncertainty") == [(1, 2)]


def test_rewards_beside_scores_on_a_scale_have_no_unit_in_common_and_count_from_0_to_1():
    one, other = response("p_0", 0), response("p_0", 1)
    reward = verdict([one], scores=(3.0,), scale=None)
    scored = verdict([other], scores=(0.5,), scale=(0.0, 1.0))
    assert {name: each.mean for name, each in estimated([reward, scored], Objective()).items()} == {
        one.id: 0.875,
        other.id: 0.5,
    }
    assert estimated([reward], Objective())[one.id].mean == 3.0


def with_logprobs(one, *logprobs):
    told = [msgspec.structs.replace(r, token_logprobs=some) for r, some in zip(one.responses, logprobs, strict=True)]
    return msgspec.structs.replace(one, responses=tuple(told))


def test_a_prompt_whose_answers_the_policy_is_sure_of_costs_nothing():
    one = with_logprobs(case("90 90 90", "10 10 10"), (-0.2, -0.4), (-1.0, -2.0, -3.0))  # (0.3 + 2) / 2 nats
    assert acquired(None, one, min_entropy=1.149)[0] == [(0, 1), (0, 1)]
    asked, script, _ = acquired(None, one, min_entropy=1.151)
    assert (asked, script.requests) == ([], [])
    assert acquired(None, case("90 90 90", "10 10 10"), min_entropy=0.0)[1].requests == []


@given(SCORES, st.integers(0, 30), st.sampled_from([0.0, 1.0, 3.0]))
@settings(deadline=None, max_examples=40)
def test_thompson_takes_the_highest_of_one_draw_against_the_lowest_of_another(scores, seed, beta):
    one = msgspec.structs.replace(case(*texts(scores)), seed=seed)
    asked, _, _ = acquired(None, one, by="thompson", beta=beta)
    known = estimates(scores)

    def drawn(side):
        lots = [2 * draw(seed, "acquire", side, 0, response.id) / 2**63 - 1 for response in one.responses]
        return [mean + beta * lot * error for (mean, error), lot in zip(known, lots, strict=True)]

    high, low = drawn("high"), drawn("low")
    first = high.index(max(high))
    second = min((value, place) for place, value in enumerate(low) if place != first)
    (pair,) = {*asked}
    assert high[first] == pytest.approx(max(high))
    (other,) = {*pair} - {first} if first in pair else ()
    assert low[other] == pytest.approx(second[0])


def test_draws_differ_from_prompt_to_prompt_where_errors_are_great():
    scores = [[0, 50, 100]] * 4
    found = set()
    for seed in range(40):
        one = msgspec.structs.replace(case(*texts(scores)), seed=seed)
        found |= {*acquired(None, one, by="thompson")[0]}
    assert found == {*combinations(range(4), 2)}


def test_judgements_are_those_of_the_evaluator_under_the_name_of_who_acquired_them():
    one = case(*texts([[10] * 3, [90] * 3]))
    _, _, found = acquired(None, one, name="asked")
    direct = asyncio.run(tp.Pairwise(model="judge", criteria=["honest"]).judge(one, Scripted(says)))
    assert [each.evaluator for each in found] == ["asked"] * 2
    assert [each.id for each in found] == [each.id for each in direct]
    assert [each.ranks for each in found] == [each.ranks for each in direct] == [(2, 1), (1, 2)]


def test_a_response_in_two_pairs_is_scored_once():
    one = case(*texts([[10] * 3, [50] * 3, [90] * 3]))
    dear = CHEAP | {"criteria": ["honest"], "repeats": 1}
    found = asyncio.run(Acquire(evaluator=dear, cheap=[CHEAP], pairs=2).judge(one, Scripted(says)))
    assert [each.response_ids for each in found] == [(one.responses[place].id,) for place in (0, 2, 1)]


def test_a_plan_expects_the_cheap_ones_on_all_and_the_other_on_the_pairs():
    outlook = Outlook(prompt_tokens=10, responses=4, response_tokens=20, longest_response_tokens=40)
    cheap, dear = Acquire(evaluator=DEAR, cheap=[CHEAP], pairs=3).forecast(outlook)
    assert (cheap.calls, dear.calls) == (12, 6)
    two = msgspec.structs.replace(outlook, responses=2.0)
    assert Acquire(evaluator=DEAR, cheap=[CHEAP], pairs=3).forecast(two)[1].calls == 2


def test_where_the_cheap_ones_can_not_be_read_it_is_told():
    script = Scripted(lambda request: "no idea")
    found = asyncio.run(Acquire(evaluator=DEAR, cheap=[CHEAP]).judge(case("x", "yy"), script))
    assert {(each.evaluator, each.status) for each in found} == {("acquire", "unparsed")}
    assert len(found) == 2 * 3


# --- annotators

ONE = DEAR | {"criteria": ["helpful"], "name": "ann", "both_orders": True}
TWO = ONE | {"name": "bob", "system": "You are in a hurry."}
TABLE = Outlook(prompt_tokens=10, responses=4, response_tokens=20, longest_response_tokens=40)


def annotated(one, flip, pool=(ONE, TWO), **settings):
    script = Scripted(says)
    return asyncio.run(Annotators(pool=pool, flip=flip, **settings).judge(one, script)), script


def test_each_pair_goes_to_one_annotator_and_all_of_them_are_drawn():
    one = case(*texts([[9] * 3] * 6))
    found, script = annotated(one, 0.0)
    assert len(script.requests) == len(found) == 2 * 15
    by = {}
    for judgement in found:
        by.setdefault(frozenset(judgement.response_ids), set()).add(judgement.evaluator)
    assert all(len(names) == 1 for names in by.values())
    assert {name for names in by.values() for name in names} == {"annotators:ann", "annotators:bob"}
    assert {*by} == {frozenset((a.id, b.id)) for a, b in combinations(one.responses, 2)}
    assert all(judgement.ranks == (2, 1) or "flipped" not in judgement.rationale for judgement in found)


def test_a_flip_is_the_opposite_verdict_in_both_orders_and_is_told():
    one = case("short", "a longer one")
    (first, second), _ = annotated(one, 0.0, pool=[ONE])
    flipped, _ = annotated(one, 1.0, pool=[ONE])
    assert (first.ranks, second.ranks) == ((2, 1), (1, 2))
    assert [each.ranks for each in flipped] == [(1, 2), (2, 1)]
    assert flipped[0].rationale == "[flipped on purpose; the judge said: ranks (2, 1)] r"
    assert not {each.id for each in flipped} & {first.id, second.id}


def test_scores_are_mirrored_on_their_scale():
    one = case("70 0 0", "10 0 0")
    scored = CHEAP | {"repeats": 1, "scale": [0, 90]}
    found, script = annotated(one, 1.0, pool=[scored], about="response")
    assert [each.scores for each in found] == [(20.0,), (80.0,)]
    assert [each.evaluator for each in found] == ["annotators:1"] * 2
    assert len(script.requests) == 2


def test_about_the_declared_share_is_flipped():
    flipped = asked = 0
    for seed in range(60):
        one = msgspec.structs.replace(case(*texts([[9] * 3] * 4)), seed=seed)
        found, _ = annotated(one, 0.25, pool=[ONE])
        told = {frozenset(each.response_ids): "flipped on purpose" in each.rationale for each in found}
        asked += len(told)
        flipped += sum(told.values())
    assert asked == 360
    assert abs(flipped / asked - 0.25) < 4 * math.sqrt(0.25 * 0.75 / 360)


def test_what_can_not_be_read_is_not_flipped():
    script = Scripted(lambda request: "no idea")
    found = asyncio.run(Annotators(pool=[ONE], flip=1.0).judge(case("x", "yy"), script))
    assert {each.status for each in found} == {"unparsed"}
    assert all(each.rationale is None for each in found)


def test_a_plan_expects_each_annotator_to_have_its_share():
    loads = Annotators(pool=[ONE, TWO], flip=0.1).forecast(TABLE)
    assert [load.calls for load in loads] == [6, 6]
    assert [load.most_calls for load in loads] == [24, 24]


def recipe(evaluation, instantiation=None):
    return tp.Recipe.model_validate(
        {
            "name": "x",
            "models": {"judge": {"backend": "openai", "model": "m"}},
            "prompts": {"kind": "inline", "prompts": ["Hi"]},
            "synthesis": {"kind": "sample", "model": "judge"},
            "objective": {"criteria": {"helpful": {"text": "Helps."}, "honest": {"text": "True."}}},
            "evaluation": evaluation,
            "instantiation": instantiation or {"kind": "pairs"},
        }
    )


@pytest.mark.parametrize(
    ("evaluation", "said"),
    [
        ({"kind": "annotators", "pool": [CHEAP]}, "set about: response"),
        ({"kind": "annotators", "pool": [DEAR], "about": "response"}, "set about: pair"),
        ({"kind": "annotators", "pool": [DEAR | {"model": "jude"}]}, "did you mean 'judge'"),
        ({"kind": "acquire", "evaluator": DEAR, "cheap": [CHEAP | {"unit": "step"}]}, "judges steps alone"),
        ({"kind": "acquire", "evaluator": DEAR, "cheap": []}, "cheap"),
    ],
)
def test_what_does_not_fit_together_is_told(evaluation, said):
    with pytest.raises((ValidationError, RecipeError), match=said):
        recipe(evaluation)


def test_an_instantiation_may_name_who_acquired_and_single_annotators():
    asking = {"kind": "acquire", "name": "asked", "evaluator": DEAR, "cheap": [CHEAP]}
    pool = {"kind": "annotators", "pool": [ONE, TWO]}
    assert recipe([asking, CHEAP], {"kind": "pairs", "evaluators": ["asked"], "criteria": ["honest"]})
    assert recipe(pool, {"kind": "pairs", "evaluators": ["annotators:bob"]})
    with pytest.raises(ValidationError, match="only honest is judged"):
        recipe(asking, {"kind": "pairs", "dimensions": "pareto"})


def test_how_a_pair_was_found_is_no_part_of_what_is_said_of_it():
    one, other = (Acquire(evaluator=DEAR, cheap=[CHEAP], by=by) for by in ("certainty", "thompson"))
    assert one.identity() == other.identity() == Acquire(evaluator=DEAR, cheap=[CHEAP | {"repeats": 1}]).identity()
    assert one.identity() != Acquire(evaluator=DEAR | {"both_orders": True, "ties": True}, cheap=[CHEAP]).identity()


# --- rejection sampling


def statistical_rejection(scores, keep, beta, lot):
    """The algorithm with its draws given: round by round, each of the rest in turn, until there are enough."""
    rest, accepted, turn = dict(enumerate(scores)), [], 0
    while rest and len(accepted) < keep:
        best = max(rest.values())
        removed = []
        for place, score in rest.items():
            if lot(place, turn) >= math.exp((score - best) / beta):
                continue
            accepted.append(place)
            removed.append(place)
            if len(accepted) == keep:
                break
        for place in removed:
            del rest[place]
        turn += 1
    return accepted


@given(
    st.lists(st.integers(0, 10).map(lambda n: n / 10), min_size=1, max_size=12),
    st.integers(1, 8),
    st.sampled_from([0.02, 0.2, 0.5, 5.0]),
    st.integers(0, 99),
)
@settings(deadline=None, max_examples=80)
def test_what_is_taken_is_what_the_algorithm_takes(scores, keep, beta, seed):
    made = [response("p_0", place) for place in range(len(scores))]
    sampler = {"kind": "sample", "model": "policy", "n": 4}
    operator = Rejection(sampler=sampler, evaluator=CHEAP, keep=keep, beta=beta)
    found = [place for place, _ in operator._taken(seed, made, scores)]
    wanted = statistical_rejection(
        scores, keep, beta, lambda place, turn: draw(seed, "rejection", made[place].id, turn) / 2**63
    )
    assert found == wanted
    assert len(found) == min(keep, len(scores))


@given(
    st.lists(st.integers(-400, 400).map(lambda n: n / 10), min_size=12, max_size=12), st.sampled_from([0.5, 5.0, 40.0])
)
@settings(deadline=None, max_examples=25)
def test_rewards_are_sampled_by_as_they_come(rewards, beta):
    script = Rewarding(lambda request: str(rewards[request.sample_index]))
    sampler = {"kind": "sample", "model": "judge", "n": 12}
    operator = Rejection(sampler=sampler, evaluator=REWARD, keep=6, beta=beta)
    kept = asyncio.run(operator.respond(case(), script))
    drawn = asyncio.run(operator.sampler.some(case(), script, None, operator))
    first = {one.messages: one for one in reversed(drawn)}  # of those that say the same, the first
    distinct = [one for one in drawn if first[one.messages] is one]
    scores = [float(one.messages[0].content) for one in distinct]
    wanted = statistical_rejection(
        scores, 6, beta, lambda place, turn: draw(5, "rejection", distinct[place].id, turn) / 2**63
    )
    assert [one.id for one in kept] == [distinct[place].id for place in wanted]
    assert [one.params["score"] for one in kept] == [scores[place] for place in wanted]


def rejecting(base_url, **more):
    model = {"backend": "openai", "base_url": base_url}
    judge = {"kind": "rubric", "model": "judge", "criteria": ["good"], "scale": [1, 10]}
    drawing = {"kind": "rejection", "sampler": {"kind": "sample", "model": "policy", "n": 12}, "evaluator": judge}
    return tp.Recipe.model_validate(
        {
            "name": "rejection",
            "models": {"policy": model | {"model": "policy"}, "judge": model | {"model": "judge"}},
            "prompts": {"kind": "examples", "name": "everyday"},
            "synthesis": drawing | {"keep": 4} | more,
            "objective": {"criteria": {"good": {"text": "It is good."}}},
            "evaluation": judge,
            "instantiation": {"kind": "pairs", "choose": "random_pairs"},
        }
    )


def test_a_small_beta_keeps_the_best_and_a_great_one_what_was_drawn_first(tmp_path):
    with world() as (_, base_url):
        strict = tp.run(rejecting(base_url, beta=0.01), tmp_path / "strict", limit=10)
        loose = tp.run(rejecting(base_url, beta=1e6), tmp_path / "loose", limit=10)
        planned = tp.plan(rejecting(base_url), limit=10)
    assert planned.calls == 10 * (12 + 12 + 4)
    for run, check in ((strict, "best"), (loose, "first")):
        rows = run.responses().collect()
        assert rows.height == 40
        for (_,), here in rows.group_by("prompt_id"):
            params = [json.loads(one) for one in here["params"]]
            assert {one["of"] for one in params} == {12}
            if check == "first":
                assert here["sample_index"].to_list() == [0, 1, 2, 3]
            else:
                assert [one["score"] for one in params] == sorted((one["score"] for one in params), reverse=True)
    seen = {
        name: fmean(quality(row[0]["content"]) for row in run.responses().collect()["messages"])
        for name, run in (("strict", strict), ("loose", loose))
    }
    assert seen["strict"] > seen["loose"] + 2
