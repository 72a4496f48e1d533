"""Rewards without a scale: as evaluators give them, and as instantiations read them."""

import asyncio
import math
from collections import defaultdict
from datetime import UTC, datetime
from itertools import pairwise
from statistics import fmean, stdev

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

import triptych as tp
from judging import case
from triptych.evaluation.implicit_reward import ImplicitReward
from triptych.evaluation.reward_model import RewardScores
from triptych.instantiation.groups import Groups
from triptych.instantiation.pairs import Pairs
from triptych.instantiation.rescale import rescaled
from triptych.models.chat import CallFailed, Choice, GivenRequest, GivenToken, Reply, ScoreRequest
from triptych.models.spec import OpenAIModel, RewardModel
from triptych.records import Message, Objective, Span, make_judgement, make_response
from triptych.store.tables import frame, schema
from triptych.synthesis.best_of_n import BestOfN

WHEN = datetime(2026, 1, 2, tzinfo=UTC)
NOTHING = Objective()


class Says:
    """An `Ask` whose models answer by a function of their name and the request."""

    def __init__(self, answer, **models):
        self.answer, self.models, self.asked = answer, models, []

    def model(self, name):
        return self.models[name]

    async def __call__(self, model, requests):
        self.asked += [(model, request) for request in requests]
        return [self._reply(model, request) for request in requests]

    def _reply(self, model, request):
        said = self.answer(model, request)
        if isinstance(said, CallFailed):
            return said
        common = {
            "call_id": f"{model}-{len(self.asked)}",
            "prompt_tokens": 1,
            "completion_tokens": 0,
            "created_at": WHEN,
        }
        return Reply(**common, **said, cost_usd=0.25)


def judged(evaluator, one, says):
    return asyncio.run(evaluator.judge(one, says))


# --- the evaluators


def test_a_reward_model_is_shown_the_conversation_and_its_score_is_recorded_as_it_comes():
    says = Says(lambda _, request: {"scores": (len(request.response[0].content) - 7.5,)}, rm=RewardModel(model="rm-1"))
    one = case("Hi!", "Hello there.")
    first, second = judged(RewardScores(model="rm", criterion="quality"), one, says)
    assert says.asked == [
        ("rm", ScoreRequest(messages=one.prompt.messages, response=response.messages)) for response in one.responses
    ]
    assert (first.scores, second.scores, first.scale) == ((-4.5,), (4.5,), None)
    assert (first.model, first.evaluator, first.criterion, first.cost_usd) == ("rm-1", "reward_model", "quality", 0.25)
    assert len(first.call_ids) == 1


def test_of_a_model_with_several_outputs_the_recipe_says_which_counts():
    says = Says(lambda *_: {"scores": (0.25, 0.75)}, rm=RewardModel(model="rm"))
    (undecided,) = judged(RewardScores(model="rm"), case("a"), says)
    (second,) = judged(RewardScores(model="rm", output=1, scale=(0, 1)), case("a"), says)
    (absent,) = judged(RewardScores(model="rm", output=2), case("a"), says)
    assert (undecided.status, undecided.scores, absent.status) == ("unparsed", None, "unparsed")
    assert "say which with output" in undecided.error
    assert (second.scores, second.scale) == ((0.75,), (0, 1))


def test_a_reward_off_the_declared_scale_is_no_verdict():
    says = Says(lambda *_: {"scores": (1.25,)}, rm=RewardModel(model="rm"))
    (judgement,) = judged(RewardScores(model="rm", scale=(0, 1)), case("a"), says)
    assert (judgement.status, judgement.scores, judgement.raw) == ("unparsed", None, "[1.25]")
    assert judgement.error == "the score 1.25 is not on the declared scale 0 to 1"


def test_a_reward_that_does_not_come_is_a_failed_judgement():
    says = Says(lambda *_: CallFailed(call_id="c", error="busy", attempts=3), rm=RewardModel(model="rm"))
    (judgement,) = judged(RewardScores(model="rm"), case("a"), says)
    assert (judgement.status, judgement.error, judgement.scores) == ("failed", "busy", None)


LOGPS = {"policy": {"Hi": (-1.0,), " you": (-0.5,)}, "base": {"Hi": (-3.0,), " you": (-0.25,)}}


def told(model, request):
    """Tokens of two known pieces."""
    tokens, at = [], 0
    for piece in ("Hi", " you"):
        if request.continuation[at:].startswith(piece):
            tokens.append(GivenToken(at, at + len(piece), LOGPS[model][piece][0]))
            at += len(piece)
    return {"tokens": tuple(tokens)}


def two_models():
    return {name: OpenAIModel(model=name, given_logprobs="vllm") for name in LOGPS}


@pytest.mark.parametrize(
    ("fields", "score"),
    [
        ({"reference": "base"}, 0.1 * ((-1 - 0.5) - (-3 - 0.25))),
        ({"reference": "base", "beta": 2, "normalise": True}, 2 * (-0.75 - -1.625)),
        ({"beta": 1}, -1.5),
        ({"beta": 1, "normalise": True}, -0.75),
    ],
)
def test_an_implicit_reward_is_the_scaled_difference_of_two_log_probabilities(fields, score):
    says = Says(told, **two_models())
    one = case("Hi you")
    (judgement,) = judged(ImplicitReward(model="policy", **fields), one, says)
    assert judgement.scores == pytest.approx((score,))
    assert (judgement.scale, judgement.spans) == (None, ())
    assert {model for model, _ in says.asked} == {
        "policy",
        *([fields["reference"]] if "reference" in fields else []),
    }
    assert says.asked[0][1] == GivenRequest(messages=one.prompt.messages, continuation="Hi you")
    assert judgement.cost_usd == 0.25 * len(says.asked)


def test_tokens_hold_the_difference_of_each_without_beta():
    (judgement,) = judged(
        ImplicitReward(model="policy", reference="base", tokens=True), case("Hi you"), Says(told, **two_models())
    )
    assert judgement.spans == (Span(0, 0, 0, 2, 2.0), Span(0, 0, 2, 6, -0.25))


def test_models_that_cut_the_response_otherwise_give_no_differences_of_tokens():
    def cut(model, request):
        return told(model, request) if model == "policy" else {"tokens": (GivenToken(0, 6, -2.0),)}

    (failed,) = judged(
        ImplicitReward(model="policy", reference="base", tokens=True), case("Hi you"), Says(cut, **two_models())
    )
    (whole,) = judged(ImplicitReward(model="policy", reference="base"), case("Hi you"), Says(cut, **two_models()))
    assert (failed.status, failed.scores) == ("failed", None)
    assert whole.scores == pytest.approx((0.05,))


def test_contrastive_models_are_one_model_under_two_system_messages():
    says = Says(told, **two_models())
    contrast = ImplicitReward(model="policy", reference="policy", system="Be good.", reference_system="Be bad.")
    judged(contrast, case("Hi"), says)
    assert [request.messages[0] for _, request in says.asked] == [
        Message("system", "Be good."),
        Message("system", "Be bad."),
    ]
    with pytest.raises(ValidationError, match="reference_system is for a reference"):
        ImplicitReward(model="policy", reference_system="Be bad.")


def test_a_trajectory_and_an_empty_response_have_no_implicit_reward():
    one = case("", prompt="Go.")
    trajectory = make_response(
        prompt_id=one.prompt.id,
        generator_id="o_2",
        generator="sample",
        model="m",
        sample_index=0,
        messages=(Message("assistant", "Hi"), Message("user", "?"), Message("assistant", "Hi")),
    )
    one = msgspec.structs.replace(one, responses=(*one.responses, trajectory))
    says = Says(told, **two_models())
    empty, long = judged(ImplicitReward(model="policy"), one, says)
    assert (empty.status, long.status) == ("failed", "failed")
    assert "only one message" in long.error
    assert len(says.asked) == 1


def test_another_reference_is_another_evaluator_and_its_name_is_none():
    policy, base, other = (OpenAIModel(model=name) for name in ("p", "b", "o"))
    judge = ImplicitReward(model="x", reference="y")
    assert judge.identity(policy, base) != judge.identity(policy, other)
    assert judge.identity(policy, base) == ImplicitReward(model="x", reference="z").identity(policy, base)


def test_the_best_of_several_is_kept_by_a_reward_however_large():
    rewards = {"a": 900.0, "bb": 900.5, "ccc": -4000.0}

    class Both(Says):
        async def __call__(self, model, requests):
            if model == "rm":
                return await super().__call__(model, requests)
            texts = sorted(rewards)
            return [
                Reply(call_id=text, choices=(Choice(text=text),), prompt_tokens=1, completion_tokens=1, created_at=WHEN)
                for text in texts
            ]

    says = Both(
        lambda _, request: {"scores": (rewards[request.response[0].content],)},
        rm=RewardModel(model="rm"),
        policy=OpenAIModel(model="p"),
    )
    best = BestOfN(
        sampler={"kind": "sample", "model": "policy", "n": 3},
        evaluator={"kind": "reward_model", "model": "rm"},
        worst=True,
    )
    kept = asyncio.run(best.respond(case(prompt="Say."), says))
    assert [response.text for response in kept] == ["bb", "ccc"]


# --- scores put between 0 and 1


def tables(rewards, criterion="reward", spans=None):
    """Responses and judgements of prompts; each prompt is a list of raw scores."""
    responses, judgements = [], []
    for number, scores in enumerate(rewards):
        for index, score in enumerate(scores):
            made = make_response(
                prompt_id=f"p{number}", generator_id="o_1", generator="sample", sample_index=index, model="m",
                messages=(Message("assistant", f"text {number} {index}"),),
            )  # fmt: skip
            responses.append(made)
            judgements.append(
                make_judgement(
                    prompt_id=f"p{number}", response_ids=(made.id,), evaluator_id="o_rm", criterion_id="c_1",
                    criterion=criterion, evaluator="reward_model", scores=(score,),
                    spans=tuple(Span(0, 0, at, at + 1, value) for at, value in enumerate((spans or {}).get((number, index), ()))),
                )
            )  # fmt: skip
    return frame("responses", responses).lazy(), frame("judgements", judgements).lazy()


def values(judgements, how):
    """The scores of each prompt, as they are read."""
    found = defaultdict(list)
    for row in rescaled(judgements, how).collect().iter_rows(named=True):
        found[row["prompt_id"]].append((row["scores"][0], row["scale"]))
    return list(found.values())


numbers = st.floats(-50, 50, allow_nan=False).map(lambda number: round(number, 3))
prompts = st.lists(st.lists(numbers, min_size=1, max_size=5), min_size=1, max_size=6)


@settings(deadline=None, max_examples=60)
@given(prompts, st.sampled_from(["sigmoid", "standard", "rank"]))
def test_order_within_a_prompt_is_kept_and_all_lies_between_0_and_1(rewards, how):
    for raw, read in zip(rewards, values(tables(rewards)[1], how), strict=True):
        if how == "rank" and len(raw) == 1:
            assert read == [(raw[0], None)]
            continue
        assert all(0 <= score <= 1 and scale == [0, 1] for score, scale in read)
        for (one, (first, _)), (other, (second, _)) in pairwise(zip(raw, read, strict=True)):
            assert (first >= second) if one >= other else (first <= second)
            if how == "rank":
                assert (first > second) == (one > other)


@settings(deadline=None, max_examples=60)
@given(prompts)
def test_each_way_is_what_it_says(rewards):
    everything = [score for scores in rewards for score in scores]
    spread = stdev(everything) if len(everything) > 1 else 0
    for raw, sigmoid, standard, rank in zip(
        rewards, *(values(tables(rewards)[1], how) for how in ("sigmoid", "standard", "rank")), strict=True
    ):
        for score, (one, _), (two, _), (three, _) in zip(raw, sigmoid, standard, rank, strict=True):
            assert one == pytest.approx(1 / (1 + math.exp(-score)), abs=1e-11)
            z = (score - fmean(everything)) / spread if len({*everything}) > 1 else 0
            assert two == pytest.approx(1 / (1 + math.exp(-z)), abs=1e-6)
            if len(raw) > 1:
                below = sum(other < score for other in raw) + (sum(other == score for other in raw) - 1) / 2
                assert three == pytest.approx(below / (len(raw) - 1))


def test_scores_with_a_scale_and_failed_judgements_are_left_as_they_are():
    shared = {"prompt_id": "p", "evaluator_id": "o", "criterion_id": "c", "criterion": "q", "evaluator": "e"}
    made = [
        make_judgement(**shared, response_ids=("a",), scores=(3.0,), scale=(1, 5)),
        make_judgement(**shared, response_ids=("b",), status="failed", error="x"),
        make_judgement(**shared, response_ids=("c", "d"), ranks=(1, 2)),
        make_judgement(**shared, response_ids=("e", "f"), scores=(2.0, -1.0)),
    ]
    before = frame("judgements", made)
    after = rescaled(before.lazy(), "rank").collect()
    assert after.schema == before.schema
    assert after[:3].equals(before[:3])
    assert (after["scores"][3].to_list(), after["scale"][3].to_list()) == ([1.0, 0.0], [0.0, 1.0])


def test_standard_scores_of_rewards_near_the_ends_of_floats_are_those_of_the_same_rewards_made_smaller():
    for size in (1e308, 1e-200, 1.0):
        rewards = [[size, -size, 0.5 * size], [0.25 * size, -0.75 * size]]
        plain = [0.25, -0.75, 1.0, -1.0, 0.5]
        mean, spread = fmean(plain), stdev(plain)
        for scores, read in zip(rewards, values(tables(rewards)[1], "standard"), strict=True):
            assert [value for value, _ in read] == pytest.approx([1 / (1 + math.exp(-(score / size - mean) / spread)) for score in scores])


def test_standard_scores_need_all_prompts_at_once_and_the_others_do_not():
    assert Pairs(rescale="standard").across_prompts
    assert not Pairs(rescale="rank").across_prompts
    assert not Pairs(rescale="sigmoid").across_prompts


def examples(made, **settings):
    return Pairs(**settings).instantiate(*made, NOTHING, 0).collect()


def test_pairs_of_rewards_need_to_be_told_how_to_read_them():
    made = tables([[-3.0, 4.0, 1.0]])
    assert examples(made).height == 0
    (pair,) = examples(made, rescale="sigmoid").iter_rows(named=True)
    expected = [round(1 / (1 + math.exp(-score)), 12) for score in (4.0, -3.0)]
    assert pair["scores"] == expected
    assert pair["margin"] == pytest.approx(expected[0] - expected[1])


def test_labels_by_reward_are_the_chance_of_the_raw_difference():
    labels = {"by": "reward", "criterion": "reward", "temperature": 2}
    (pair,) = examples(tables([[-3.0, 4.0]]), rescale="rank", soft_labels=labels).iter_rows(named=True)
    assert pair["labels"] == pytest.approx([1 / (1 + math.exp(-7 / 2)), 1 - 1 / (1 + math.exp(-7 / 2))])
    with pytest.raises(ValidationError, match="needs the criterion of the rewards"):
        Pairs(soft_labels={"by": "reward"})


def test_a_pair_weighs_what_the_policy_finds_of_both_responses():
    made = tables([[-0.5, -1.25]])
    (pair,) = examples(made, rescale="rank", weight={"likelihood": "reward"}).iter_rows(named=True)
    assert pair["weight"] == pytest.approx(math.exp(-0.5) * math.exp(-1.25))
    assert examples(made, rescale="rank", weight={"likelihood": "absent"}).height == 0


# --- weights and rewards of tokens


def test_token_weights_are_those_of_the_formula():
    differences = {(0, 0): [0.2, -4.0], (0, 1): [3.0, 0.0, -0.1]}
    made = tables([[2.0, 1.0]], spans=differences)
    weights = {"criterion": "reward", "low": -0.5, "high": 1.5, "mu": 2, "scale": 3}
    (pair,) = examples(made, rescale="rank", token_weights=weights).iter_rows(named=True)
    expected = [
        (place, at, at + 1, pytest.approx(3 * math.exp((2 if place == 0 else -2) * min(max(value, -0.5), 1.5))))
        for place in (0, 1)
        for at, value in enumerate(differences[0, place])
    ]
    assert [(s["response"], s["start"], s["end"], s["value"]) for s in pair["spans"]] == expected
    assert pair["id"] != examples(made, rescale="rank")["id"][0]


def test_a_pair_without_the_tokens_of_both_is_left_out():
    made = tables([[2.0, 1.0]], spans={(0, 0): [0.2]})
    assert examples(made, rescale="rank", token_weights={"criterion": "reward"}).height == 0
    told = Pairs(rescale="rank", token_weights={"criterion": "reward"}).tally(*made, NOTHING, 0)
    assert dict(told.select("outcome", "prompts").iter_rows())["left out by keep, labels or weights"] == 1


def test_groups_hold_the_rewards_of_the_tokens_of_each_response():
    differences = {(0, 0): [0.5], (0, 1): [1.0, -2.0], (1, 0): [0.1]}
    made = tables([[2.0, 1.0], [0.0, 1.0]], spans=differences)
    group = Groups(rescale="rank", token_rewards={"criterion": "reward", "beta": 0.5})
    (row,) = group.instantiate(*made, NOTHING, 0).collect().iter_rows(named=True)
    found = [(s["response"], s["start"], s["value"]) for s in row["spans"]]
    assert found == [(0, 0, 0.25), (1, 0, 0.5), (1, 1, -1.0)]
    assert row["prompt_id"] == "p0"


def test_examples_of_spans_fit_the_table():
    made = tables([[2.0, 1.0]], spans={(0, 0): [0.2], (0, 1): [0.1]})
    assert examples(made, rescale="rank", token_weights={"criterion": "reward"}).schema == schema("examples")


@pytest.mark.parametrize(
    "form",
    [
        Pairs(rescale="rank"),
        Pairs(rescale="rank", like_length=0.5),
        Pairs(rescale="rank", length="residual"),
        Pairs(rescale="rank", token_weights={"criterion": "reward"}),
        Pairs(rescale="rank", soft_labels={"by": "reward", "criterion": "reward"}),
        Groups(rescale="rank"),
        Groups(rescale="rank", style="residual"),
        Groups(rescale="rank", token_rewards={"criterion": "reward"}),
        tp.Unpaired(rescale="rank"),
        tp.Unpaired(rescale="rank", length="residual", against="prompt_mean", good=0.1),
    ],
    ids=lambda form: f"{form.kind}-{'-'.join(sorted(form.model_fields_set))}",
)
def test_no_column_that_settings_need_is_left_unread(form):
    rewards = [[2.0, 1.0, 0.5], [0.0, 1.0, 3.0]]
    tokens = {(prompt, index): [0.1 * prompt, -0.3 * index] for prompt in range(2) for index in range(3)}
    made = tables(rewards, spans=tokens)
    read = [table.select(sorted(form.reads[name])) for name, table in zip(("responses", "judgements"), made, strict=True)]
    whole = form.instantiate(*made, NOTHING, 0).collect()
    assert whole.height > 0
    assert form.instantiate(*read, NOTHING, 0).collect().equals(whole)


# --- what a plan says


def content(**instantiation):
    return {
        "name": "r",
        "models": {"p": {"backend": "embedded"}, "rm": {"backend": "reward", "model": "rm"}},
        "prompts": {"kind": "inline", "prompts": ["a"]},
        "synthesis": {"kind": "sample", "model": "p"},
        "objective": {"criteria": {"quality": {"text": "Good."}}},
        "evaluation": [
            {"kind": "reward_model", "model": "rm"},
            {"kind": "implicit_reward", "model": "p"},
            {"kind": "rubric", "model": "p", "criteria": ["quality"]},
        ],
        "instantiation": {"kind": "pairs", **instantiation},
    }


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"criteria": ["reward", "quality"]},
        {"criteria": ["quality"], "keep": [{"of": "potential", "criterion": "implicit_reward", "min_quantile": 0.6}]},
    ],
)
def test_rewards_that_are_to_decide_without_a_scale_are_an_error_that_says_what_fits(settings):
    with pytest.raises(ValidationError, match=r"have no scale.*rescale: rank .*standard .*sigmoid"):
        tp.Recipe.model_validate(content(**settings))
    assert tp.Recipe.model_validate(content(rescale="rank", **settings))


def test_rewards_that_only_weigh_or_that_have_a_scale_need_none():
    assert tp.Recipe.model_validate(content(criteria=["quality"], weight={"likelihood": "implicit_reward"}))
    scaled = content()
    scaled["evaluation"] = [{"kind": "reward_model", "model": "rm", "scale": [0, 1]}]
    assert tp.Recipe.model_validate(scaled)


def test_two_evaluators_that_differ_in_their_reference_alone_do_not_make_the_same_rows():
    both = content(criteria=["quality"])
    both["models"]["q"] = {"backend": "embedded", "version": "base"}
    implicit = {"kind": "implicit_reward", "model": "p"}
    both["evaluation"] += [implicit | {"reference": "q", "criterion": "gain"}]
    assert tp.Recipe.model_validate(both)
    both["evaluation"] += [implicit | {"reference": "q", "criterion": "gain"}]
    with pytest.raises(ValidationError, match="makes the same rows"):
        tp.Recipe.model_validate(both)


def test_a_model_that_can_not_tell_log_probabilities_of_given_texts_is_an_error():
    bad = content(rescale="rank")
    bad["evaluation"] = [{"kind": "implicit_reward", "model": "chat"}]
    bad["models"]["chat"] = {"backend": "openai", "model": "m"}
    with pytest.raises(ValidationError, match=r"can't use model 'chat'.*given_logprobs"):
        tp.Recipe.model_validate(bad)


def test_the_reference_has_to_be_declared():
    bad = content(rescale="rank")
    bad["evaluation"] = [{"kind": "implicit_reward", "model": "p", "reference": "nobody"}]
    with pytest.raises(ValidationError, match="'nobody' is not declared"):
        tp.Recipe.model_validate(bad)
