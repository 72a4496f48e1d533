"""Reward models that compare two responses: how they are shown a pair, and what becomes of what they say."""

import asyncio
import math
from itertools import combinations, permutations

import polars as pl
import pytest
from pydantic import ValidationError

import triptych as tp
from asking import Wire, ask_at
from judging import case
from test_rewards import Says
from triptych.evaluation.pair_reward_model import PairRewardModel
from triptych.models.chat import CallFailed, ScoreRequest, call_id
from triptych.models.spec import ClassifierModel, RewardModel
from triptych.records import Message, make_response
from world import quality, world

HI = (Message("user", "Hi!"),)
PAIR = ScoreRequest(
    messages=HI, response=(Message("assistant", "Hello."),), other=(Message("assistant", "{{ prompt }} Go."),)
)
ONE_TEXT = "Q: {{ prompt }} 1: {{ response_a }} 2: {{ response_b }}"
TWO_TEXTS = ["{{ prompt }} / {{ response_a }}", "{{ response_b }}"]
FORMS = {
    "pooling": (
        "/pooling",
        {"model": "rm", "input": "Q: Hi! 1: Hello. 2: {{ prompt }} Go."},
        {"data": [{"data": [2.5]}]},
    ),
    "classify": (
        "/classify",
        {"model": "rm", "input": "Q: Hi! 1: Hello. 2: {{ prompt }} Go."},
        {"data": [{"probs": [2.5]}]},
    ),
    "score": (
        "/v1/score",
        {"model": "rm", "text_1": "Hi! / Hello.", "text_2": "{{ prompt }} Go."},
        {"data": [{"index": 0, "score": 2.5}]},
    ),
    "rerank": (
        "/v1/rerank",
        {"model": "rm", "query": "Hi! / Hello.", "documents": ["{{ prompt }} Go."]},
        {"results": [{"index": 0, "relevance_score": 2.5}]},
    ),
    "tei": (
        "/rerank",
        {"query": "Hi! / Hello.", "texts": ["{{ prompt }} Go."], "raw_scores": True},
        [{"index": 0, "score": 2.5}],
    ),
}


def templates(api):
    return ONE_TEXT if api in ("pooling", "classify") else TWO_TEXTS


def pair_model(**spec):
    return RewardModel(model="rm", api="score", pair=TWO_TEXTS, **spec)


def judged(numbers, *texts, **settings):
    """Judgements by a model that gives these numbers, or those that a function of the two texts gives."""
    give = numbers if callable(numbers) else lambda *_: numbers
    says = Says(lambda _, asked: {"scores": give(asked.response[0].content, asked.other[0].content)}, rm=pair_model())
    one = case(*(texts or ("a", "bb")), prompt="Hi!")
    made = PairRewardModel(model="rm", **{"gives": "logit"} | settings)
    return one, asyncio.run(made.judge(one, says)), says


@pytest.mark.parametrize("api", FORMS)
def test_each_api_is_sent_the_pair_in_the_texts_of_the_templates(tmp_path, api):
    path, body, answer = FORMS[api]
    wire = Wire(**{path.strip("/").replace("/", "__"): lambda _: answer})
    make = lambda url: RewardModel(model="rm", base_url=url, api=api, pair=templates(api), max_retries=0)  # noqa: E731
    (reply,) = asyncio.run(ask_at(tmp_path, wire, [PAIR], make))
    assert wire.sent == [(path, body)]
    assert reply.scores == (2.5,)


@pytest.mark.parametrize(
    ("spec", "request_", "said"),
    [
        ({"pair": TWO_TEXTS}, ScoreRequest(messages=HI, response=PAIR.response), "compares two responses"),
        ({}, PAIR, "scores one response at a time"),
    ],
)
def test_a_model_is_never_sent_another_number_of_responses_than_it_takes(tmp_path, spec, request_, said):
    wire = Wire(v1__score=lambda _: {"data": [{"score": 1.0}]})
    make = lambda url: RewardModel(model="rm", base_url=url, api="score", **spec)  # noqa: E731
    (reply,) = asyncio.run(ask_at(tmp_path, wire, [request_], make))
    assert isinstance(reply, CallFailed)
    assert said in reply.error
    assert wire.sent == []


def test_the_order_of_a_pair_and_the_templates_are_part_of_the_key_and_single_scores_keep_theirs():
    turned = ScoreRequest(messages=HI, response=PAIR.other, other=PAIR.response)
    models = [pair_model(), RewardModel(model="rm", api="score", pair=["{{ response_b }}", "{{ response_a }}"])]
    assert len({call_id(model.identity, request) for model in models for request in (PAIR, turned)}) == 4
    plain = RewardModel(model="rm")
    assert plain.identity == b'{"api":"pooling","model":"rm","version":""}'
    single = ScoreRequest(messages=HI, response=PAIR.response)
    assert call_id(plain.identity, single) == "599834ab36d9a908a735767903d7eb28"


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"pair": ONE_TEXT, "api": "score"}, "sends 2 texts; pair has 1"),
        ({"pair": TWO_TEXTS, "api": "pooling"}, "sends 1 text; pair has 2"),
        ({"pair": "{{ prompt }} {{ response_a }}"}, "does not show response_b"),
        ({"pair": "{% for x in response_a %}{% endfor %}"}, "holds what templates may not"),
        ({"pair": ONE_TEXT, "template": "{{ response }}"}, "template shows one response and pair shows two"),
    ],
)
def test_templates_that_can_not_show_a_pair_are_an_error(spec, said):
    with pytest.raises(ValidationError, match=said):
        RewardModel(model="rm", **spec)
    if "api" not in spec:
        with pytest.raises(ValidationError, match=said):
            ClassifierModel(path="rm", **spec)


def test_each_pair_is_asked_in_both_orders_and_a_model_that_contradicts_itself_is_recorded_so():
    one, found, says = judged((0.75,), "a", "bb", "ccc")
    ids = [response.id for response in one.responses]
    wanted = [order for pair in combinations(ids, 2) for order in (pair, pair[::-1])]
    assert [judgement.response_ids for judgement in found] == wanted
    assert [(said.response, said.other) for _, said in says.asked] == [
        tuple(next(r.messages for r in one.responses if r.id == name) for name in order) for order in wanted
    ]
    assert {judgement.ranks for judgement in found} == {(1, 2)}  # the first, whichever it is
    assert {judgement.status for judgement in found} == {"ok"}
    assert found[0].rationale == "the model gave 0.75"
    assert len({judgement.id for judgement in found}) == 6


@pytest.mark.parametrize(
    ("numbers", "gives", "first"),
    [
        ((1.25,), "logit", 1 / (1 + math.exp(-1.25))),
        ((-800.0,), "logit", 0.0),
        ((1e308, -1e308), "logit", 1.0),
        ((2.0, 3.5), "logit", math.exp(2) / (math.exp(2) + math.exp(3.5))),
        ((0.0,), "logit", 0.5),
        ((0.2,), "probability", 0.2),
        ((0.7, 0.3002), "probability", 0.7 / 1.0002),
    ],
)
def test_the_probability_that_the_first_is_better_follows_from_what_the_model_gives(numbers, gives, first):
    _, (verdict,), _ = judged(numbers, gives=gives, both_orders=False)
    assert verdict.probability == pytest.approx(first, abs=1e-12)
    assert verdict.ranks == ((1, 2) if first > 0.5 else (2, 1) if first < 0.5 else (1, 1))


@pytest.mark.parametrize(
    ("numbers", "gives", "said"),
    [
        ((1.25,), "probability", "are no probabilities"),
        ((0.9, 0.9), "probability", "are no probabilities"),
        ((1.0, 2.0, 3.0), "logit", "gives 3 numbers"),
        ((), "logit", "gives 0 numbers"),
    ],
)
def test_numbers_that_say_nothing_of_a_pair_never_become_a_verdict(numbers, gives, said):
    _, (verdict,), _ = judged(numbers, gives=gives, both_orders=False)
    assert (verdict.status, verdict.ranks, verdict.probability) == ("unparsed", None, None)
    assert said in verdict.error


def test_responses_of_the_same_text_are_not_compared_and_a_call_that_fails_is_no_verdict():
    _, found, says = judged((1.0,), "same", "same")
    assert (found, says.asked) == ([], [])
    says = Says(lambda *_: CallFailed(call_id="c", error="busy", attempts=2), rm=pair_model())
    failed = asyncio.run(PairRewardModel(model="rm", gives="logit").judge(case("a", "b", prompt="Hi!"), says))
    assert [(one.status, one.error, one.ranks) for one in failed] == [("failed", "busy", None)] * 2


def test_only_as_many_pairs_are_asked_about_as_the_recipe_allows():
    texts = ("a", "bb", "ccc", "dddd")
    assert len(judged((1.0,), *texts, max_pairs=2, both_orders=False)[1]) == 2
    assert len(judged((1.0,), *texts, pairs="adjacent")[1]) == 6
    evaluator, outlook = PairRewardModel(model="rm", gives="logit"), outlook_of(4)
    assert [load.calls for load in evaluator.forecast(outlook)] == [12]
    assert [load.prompt_tokens for load in evaluator.forecast(outlook)] == [12 * (10 + 2 * 5)]


def outlook_of(responses):
    from triptych.operators import Outlook

    return Outlook(prompt_tokens=10, responses=responses, response_tokens=5, longest_response_tokens=9)


def recipe(base_url, **more):
    return tp.Recipe.model_validate(
        {
            "name": "pair-rm",
            "models": {
                "policy": {"backend": "openai", "model": "policy", "base_url": base_url},
                "rm": {"backend": "reward", "model": "rm", "base_url": base_url, "api": "score", "pair": TWO_TEXTS},
            },
            "prompts": {"kind": "inline", "prompts": ["Name a colour.", "Name a fruit.", "Name a tree."]},
            "synthesis": {"kind": "sample", "model": "policy", "n": 4},
            "evaluation": {"kind": "pair_reward_model", "model": "rm", "gives": "logit"},
            "instantiation": {"kind": "rankings", "ties": "keep"},
        }
        | more
    )


def test_a_run_ranks_by_wins_in_both_orders_so_that_a_bias_for_the_first_makes_ties_and_no_winners(tmp_path):
    with world() as (asked, base_url):
        run = tp.run(recipe(base_url), tmp_path / "run")
    said = {one["id"]: quality(one["messages"][0]["content"]) for one in run.responses().collect().to_dicts()}
    assert asked.asked["rm", "score"] == sum(
        len({*pair}) == 2 or said[pair[0]] != said[pair[1]]
        for ids in run.responses().collect().group_by("prompt_id").agg("id")["id"].to_list()
        for pair in permutations(ids, 2)
    )
    for example in run.examples().collect().to_dicts():
        found = [said[name] for name in example["response_ids"]]
        # the world's model is off by 1.5 for the first: only a difference of 2 or more wins in both orders
        shares = [sum(1 if a - b >= 2 else 0 if b - a >= 2 else 0.5 for b in found) - 0.5 for a in found]
        assert example["scores"] == pytest.approx([share / (len(found) - 1) for share in shares])
        assert example["scores"] == sorted(example["scores"], reverse=True)
    contradicted = run.judgements().select((pl.col("ranks").list.first() == 1).mean()).collect().item()
    assert contradicted > 0.5


def test_a_pair_model_scores_no_single_responses_and_a_single_one_compares_none():
    with pytest.raises(ValidationError, match="reward_model can't use model 'rm', which is no reward model of single"):
        recipe("http://a/v1", evaluation={"kind": "reward_model", "model": "rm"}, instantiation=[])
    single = {"rm": {"backend": "reward", "model": "rm"}, "policy": {"backend": "embedded"}}
    with pytest.raises(ValidationError, match="pair_reward_model can't use model 'rm', which compares no responses"):
        recipe("http://a/v1", models=single)


def test_what_is_made_of_its_comparisons_is_checked_as_of_a_judge_of_pairs():
    from triptych.recipes.compatibility import lossy

    assert any("ranks are made of win shares" in said for said in lossy(recipe("http://a/v1")))
    assert not list(lossy(recipe("http://a/v1", instantiation={"kind": "compared_pairs"})))


def test_a_trajectory_is_shown_whole():
    says = Says(lambda *_: {"scores": (1.0,)}, rm=pair_model())
    one = case("a", prompt="Hi!")
    said = (Message("assistant", "Wait."), Message("user", "Well?"), Message("assistant", "Yes."))
    long = make_response(
        prompt_id=one.prompt.id, generator_id="o_2", generator="g", model="m", sample_index=0, messages=said
    )
    both = type(one)(prompt=one.prompt, objective=one.objective, seed=0, responses=(*one.responses, long))
    asyncio.run(PairRewardModel(model="rm", gives="logit", both_orders=False).judge(both, says))
    assert says.asked[0][1].other == said
