"""Scores by origin: the flows of SPIN and RLCD, where nobody judges."""

import polars as pl
import pytest
from pydantic import ValidationError

import triptych as tp
from endpoint import endpoint
from judging import case, judged


def test_each_response_gets_what_its_origin_is_declared_to_be_worth():
    one = case("x", "y")
    by_generator = judged(tp.Assumed(scores={"sample": 0.25, "secret-model-name": 1}), one)
    assert [j.scores for j in by_generator] == [(0.25,), (0.25,)]
    by_model = judged(tp.Assumed(scores={"secret-model-name": 1}), one)
    assert [(j.scores, j.model, j.check) for j in by_model] == [((1.0,), None, None)] * 2
    assert judged(tp.Assumed(scores={"another": 1}), one) == []
    assert len({j.evaluator_id for j in (*by_generator, *by_model)}) == 2


@pytest.mark.parametrize("scores", [{}, {"sample": 1.5}])
def test_scores_that_are_none_are_refused(scores):
    with pytest.raises(ValidationError):
        tp.Assumed(scores=scores)


def pairs_of(recipe, out):
    run = tp.run(recipe, out)
    responses = run.responses().select("id", "generator", "model", "params").collect()
    by_id = {row["id"]: row for row in responses.iter_rows(named=True)}
    assert run.judgements().filter(pl.col("call_ids").list.len() > 0).collect().is_empty()
    return run, [[by_id[each] for each in ids] for ids in run.examples().collect()["response_ids"]]


def test_gold_against_self_as_in_spin(tmp_path):
    prompts = [{"prompt": f"Question {i}?", "responses": [{"text": f"Gold {i}.", "source": "gold"}]} for i in range(5)]
    with endpoint() as server:
        recipe = tp.Recipe(
            name="spin",
            models={"policy": tp.OpenAIModel(model="m", base_url=server.base_url)},
            prompts=tp.InlinePrompts(prompts=prompts),
            synthesis=[tp.Given(), tp.Sample(model="policy", n=1)],
            evaluation=[tp.Assumed(scores={"given": 1, "sample": 0})],
            instantiation=[tp.Pairs()],
        )
        run, pairs = pairs_of(recipe, tmp_path / "run")
        assert server.stats()["requests"] == 5
    assert [(chosen["generator"], rejected["generator"]) for chosen, rejected in pairs] == [("given", "sample")] * 5
    assert run.examples().collect()["margin"].to_list() == [1.0] * 5


def test_the_prompts_polarity_as_in_rlcd(tmp_path):
    with endpoint() as server:
        recipe = tp.Recipe(
            name="rlcd",
            models={"policy": tp.OpenAIModel(model="m", base_url=server.base_url)},
            prompts=tp.InlinePrompts(prompts=[f"Question {i}?" for i in range(5)]),
            synthesis=[
                tp.Sample(name="positive", model="policy", n=1, system=["Be harmless."]),
                tp.Sample(name="negative", model="policy", n=1, system=["Be harmful."]),
            ],
            evaluation=[tp.Assumed(scores={"positive": 1, "negative": 0})],
            instantiation=[tp.Pairs()],
        )
        _, pairs = pairs_of(recipe, tmp_path / "run")
        assert server.stats()["requests"] == 10
    assert len(pairs) == 5
    for chosen, rejected in pairs:
        assert "harmless" in chosen["params"]
        assert "harmful" in rejected["params"]
