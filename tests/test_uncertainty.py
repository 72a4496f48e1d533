"""How sure a policy was: against plain arithmetic on its log-probabilities, whole and part by part."""

import json
import math

import msgspec
import polars as pl
import pytest

import triptych as tp
from judging import WHEN, case, judged
from triptych.evaluation.uncertainty import Uncertainty
from triptych.models.chat import ChatRequest, Choice, Reply, TokenLogprob
from triptych.models.wire import read_answer, request_body
from triptych.synthesis._answers import answered
from triptych.synthesis.sample import Sample

TOKENS = ("Step 1", ": one", ".\n", "Step 2", ": two", ".")
LOGPROBS = (-0.1, -0.2, -0.3, -1.0, -2.0, -0.6)
TOPS = tuple((logprob, logprob - 1.0, logprob - 2.0) for logprob in LOGPROBS)


def of(tokens=TOKENS, logprobs=LOGPROBS, tops=TOPS, text=None):
    here = case("".join(tokens) if text is None else text)
    (response,) = here.responses
    told = msgspec.structs.replace(
        response, call_ids=("c",), tokens=tokens, token_logprobs=logprobs, token_top_logprobs=tops
    )
    return msgspec.structs.replace(here, responses=(told,))


def entropy(tops):
    chances = [math.exp(one) for one in tops]
    chances = [chance for chance in [*chances, 1 - sum(chances)] if chance > 0]
    return -sum(chance / sum(chances) * math.log(chance / sum(chances)) for chance in chances)


def mean(values):
    return sum(values) / len(values)


@pytest.mark.parametrize(
    ("by", "wanted"),
    [
        ("likelihood", math.prod(map(math.exp, LOGPROBS)) ** (1 / 6)),
        ("entropy", math.exp(-mean([entropy(tops) for tops in TOPS]))),
        ("gap", mean([math.exp(tops[0]) - math.exp(tops[1]) for tops in TOPS])),
    ],
)
def test_a_response_scores_by_how_sure_its_tokens_were(by, wanted):
    (one,) = judged(Uncertainty(by=by), of())
    assert one.scores == (pytest.approx(wanted, abs=1e-12),)
    assert one.scale == (0.0, 1.0)
    assert "over 6 tokens" in one.rationale
    assert one.step is None


def test_more_probability_on_fewer_alternatives_is_more_certain():
    sure = tuple((-0.01, -6.0) for _ in TOKENS)
    for by in ("entropy", "gap"):
        (one,), (other,) = judged(Uncertainty(by=by), of(tops=sure)), judged(Uncertainty(by=by), of())
        assert one.scores > other.scores


def test_each_step_scores_by_its_own_tokens():
    first, second = judged(Uncertainty(unit="step"), of())
    assert first.scores == (pytest.approx(math.exp(mean(LOGPROBS[:3]))),)
    assert second.scores == (pytest.approx(math.exp(mean(LOGPROBS[3:]))),)
    assert [(one.step.unit, one.step.index) for one in (first, second)] == [("step", 0), ("step", 1)]
    text = "".join(TOKENS)
    assert [text[one.step.start : one.step.end] for one in (first, second)] == ["Step 1: one.", "Step 2: two."]


@pytest.mark.parametrize(
    ("changes", "settings", "said"),
    [
        ({"logprobs": None}, {}, "no log-probabilities"),
        ({"logprobs": ()}, {}, "no log-probabilities"),
        ({"tops": None}, {"by": "entropy"}, "needs top_logprobs"),
        ({"text": "Something else."}, {"unit": "step"}, "do not spell"),
    ],
)
def test_what_is_missing_is_told_and_never_a_score(changes, settings, said):
    (one,) = judged(Uncertainty(**settings), of(**changes))
    assert one.status == "failed"
    assert one.scores is None
    assert said in one.error


def test_given_responses_are_passed_over():
    assert judged(Uncertainty(), case("What a person said.")) == []


def test_a_generator_keeps_tokens_and_alternatives_with_the_drawn_one_among_them():
    said = (TokenLogprob("Hi", -2.0, (("Yo", -0.5), ("Oh", -1.5))), TokenLogprob("!", -0.1, (("!", -0.1), ("?", -3.0))))
    reply = Reply(
        call_id="c",
        choices=(Choice(text="Hi!", logprobs=said),),
        prompt_tokens=1,
        completion_tokens=2,
        created_at=WHEN,
    )
    told = answered(reply, 0)
    assert told["tokens"] == ("Hi", "!")
    assert told["token_top_logprobs"] == ((-0.5, -1.5, -2.0), (-0.1, -3.0))


def test_alternatives_are_asked_for_where_they_are_wanted_and_stand_in_the_table(tmp_path):
    from endpoint import endpoint

    with endpoint() as server:
        model = tp.OpenAIModel(model="m", base_url=server.base_url, logprobs=True)
        recipe = tp.Recipe(
            name="sure",
            models={"m": model},
            prompts=tp.InlinePrompts(prompts=["Say something.", "Say more."]),
            synthesis=[tp.Sample(model="m", n=3, logprobs=True, top_logprobs=4, max_tokens=20)],
            evaluation=[Uncertainty(by="entropy"), Uncertainty(name="parts", unit="sentence")],
            instantiation=[tp.Pairs(criteria=["certainty"], evaluators=["uncertainty"])],
        )
        run = tp.run(recipe, tmp_path / "run")
    made = run.responses().collect()
    for row in made.iter_rows(named=True):
        assert "".join(row["tokens"]) == row["messages"][-1]["content"]
        assert len(row["tokens"]) == len(row["token_logprobs"]) == len(row["token_top_logprobs"])
        assert all(
            logprob in tops for logprob, tops in zip(row["token_logprobs"], row["token_top_logprobs"], strict=True)
        )
    whole = run.judgements().filter(pl.col("evaluator") == "uncertainty").collect()
    wanted = {row["id"]: math.exp(-mean([entropy(t) for t in row["token_top_logprobs"]])) for row in made.to_dicts()}
    for (response,), (score,) in whole.select("response_ids", "scores").iter_rows():
        assert score == pytest.approx(wanted[response])
    for example in run.examples().collect().to_dicts():
        chosen, rejected = (wanted[one] for one in example["response_ids"])
        assert chosen > rejected


def test_where_no_alternatives_are_wanted_none_are_kept_though_one_is_asked_for():
    """With none asked for, llama.cpp gives no log-probabilities at all."""
    request = ChatRequest(messages=(tp.Message("user", "Hi"),), top_logprobs=0)
    body = json.loads(request_body(tp.OpenAIModel(model="m", logprobs=True), request))
    assert (body["logprobs"], body["top_logprobs"]) == (True, 1)
    token = {"token": "Yo", "logprob": -0.5, "top_logprobs": [{"token": "Yo", "logprob": -0.5}]}
    choice = {"message": {"content": "Yo"}, "logprobs": {"content": [token]}}
    ((read,), _) = read_answer(json.dumps({"choices": [choice]}).encode(), request)
    assert read.logprobs == (TokenLogprob("Yo", -0.5),)


@pytest.mark.embedded
def test_the_embedded_model_says_how_sure_it_is(tmp_path):
    pytest.importorskip("xllamacpp", reason="needs triptych[embedded]")
    recipe = tp.Recipe(
        name="sure",
        models={"m": tp.EmbeddedModel(slots=2, context_tokens=512)},
        prompts=tp.InlinePrompts(prompts=["Name a colour."]),
        synthesis=[tp.Sample(model="m", n=2, max_tokens=8, logprobs=True)],
        evaluation=[Uncertainty(), Uncertainty(name="parts", unit="sentence")],
        instantiation=[tp.Pairs(criteria=["certainty"], evaluators=["uncertainty"])],
    )
    judged = tp.run(recipe, tmp_path / "run").judgements().collect()
    assert {*judged["status"]} == {"ok"}
    assert all(0 < score < 1 for (score,) in judged["scores"])


def test_alternatives_without_log_probabilities_make_no_sense():
    with pytest.raises(ValueError, match="logprobs: true"):
        Sample(model="m", top_logprobs=3)
    assert Sample(model="m", logprobs=True, top_logprobs=3).identity() == Sample(model="m").identity()
