"""The optimisation signal: log-probabilities that are asked for once, and what a loss would make of them, by hand."""

from __future__ import annotations

import math
import random
import socket
import statistics

import msgspec
import polars as pl
import pytest

import triptych as tp
from test_audit_instantiation import example, in_pairs
from test_findings import lazy, response
from triptych.audit.audit import audit
from triptych.audit.data import Data
from triptych.audit.signal import DIAGNOSTICS, Scoring, dpo, score_responses
from triptych.audit.signal.ches import Ches
from triptych.audit.signal.dpo import (
    GradientOnNearIdentical,
    GradientSampleSize,
    GradientWeight,
    ImplicitAccuracy,
    ImplicitFollowsExplicit,
    RankingAccuracy,
    effective,
)
from triptych.audit.signal.groups import ZeroAdvantageGroups
from triptych.errors import RecipeError, TriptychError
from triptych.models.budget import Budget
from world import token_logprobs, world


def recipe(base_url, **more):
    """A policy and a reference that say how likely a text is, and a judge that does not."""
    told = {"backend": "openai", "base_url": base_url, "given_logprobs": "vllm", "price": {"input": 1, "output": 1}}
    return tp.Recipe.model_validate(
        {
            "name": "r",
            "models": {
                "policy": told | {"model": "policy"},
                "ref": told | {"model": "ref"},
                "judge": {"backend": "openai", "base_url": base_url, "model": "judge"},
            },
            "prompts": {"kind": "inline", "prompts": [f"What of {n}?" for n in range(6)]},
            "synthesis": {"kind": "sample", "model": "policy", "n": 3},
            "objective": {"criteria": {"quality": {"text": "Good."}}},
            "evaluation": {"kind": "rubric", "model": "judge", "criteria": ["quality"], "scale": [0, 10]},
            "instantiation": {"kind": "pairs"},
            **more,
        }
    )


def test_responses_are_scored_once_and_then_from_the_log(tmp_path):
    with world() as (asked, base_url):
        run = tp.run(recipe(base_url), out=tmp_path / "run")
        seen: list[Scoring] = []
        scores = score_responses(run, "policy", "ref", progress=seen.append)
        texts = {r["id"]: r["messages"][0]["content"] for r in run.responses().collect().iter_rows(named=True)}
        assert sorted(scores["response_id"]) == sorted(texts)
        for response_id, logprob, tokens, reference in scores.iter_rows():
            each = {model: token_logprobs(model, "", texts[response_id]) for model in ("policy", "ref")}
            assert logprob == pytest.approx(sum(value for _, value in each["policy"]))
            assert reference == pytest.approx(sum(value for _, value in each["ref"]))
            assert tokens == len(each["policy"])
        assert (seen[-1].done, seen[-1].total, seen[-1].failed) == (18, 18, 0)
        assert seen[-1].counts.usd == pytest.approx(36 * 11 / 1e6)
        paid = sum(asked.asked[model, "given"] for model in ("policy", "ref"))
        assert score_responses(run, "policy", "ref").equals(scores)
        assert sum(asked.asked[model, "given"] for model in ("policy", "ref")) == paid
        before = run.manifest.spent["calls"]
        assert tp.run(recipe(base_url), out=tmp_path / "run").manifest.spent["calls"] == before  # the audit pays for itself
        alone = score_responses(run, "policy", most_prompts=2)
        assert alone["reference_logprob"].null_count() == alone.height == 6
        found = audit(Data.of(run, logprobs=scores), DIAGNOSTICS)
        assert {f.name for f in found.findings} >= {"ranking_accuracy", "implicit_accuracy", "dpo_gradient_weight"}
        assert {each.name for each in found.unmeasured} == {"ches", "zero_advantage_groups"}
        assert not any(each.defect for each in found.unmeasured)


def test_models_that_can_not_say_it_are_refused_before_anything_is_asked(tmp_path):
    with world() as (asked, base_url):
        run = tp.run(recipe(base_url), out=tmp_path / "run")
        with pytest.raises(RecipeError, match=r"'judge' gives no log-probabilities"):
            score_responses(run, "judge")
        with pytest.raises(RecipeError, match=r"'polici' is not declared; did you mean 'policy'"):
            score_responses(run, "policy", "polici")
        with pytest.raises(TriptychError, match="budget"):
            score_responses(run, "policy", budget=Budget(calls=0))
        assert not any(kind == "given" for _, kind in asked.asked)


def test_no_response_that_could_be_scored_is_an_error_with_the_reason(tmp_path):
    with world() as (_, base_url):
        run = tp.run(recipe(base_url), out=tmp_path / "run")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        known = {"given_logprobs": "vllm", "max_retries": 0, "timeout_s": 0.5, "patience_s": 0.5}
        deaf = {"policy": tp.OpenAIModel(model="x", base_url=f"http://127.0.0.1:{silent.getsockname()[1]}/v1", **known)}
        with pytest.raises(TriptychError, match=r"can not be reached: no answer in 0\.5 s"):
            score_responses(run, "policy", models=deaf, calls=tmp_path / "other.sqlite")


# --- what a loss makes of log-probabilities


def drawn(count=120, better=0.3, reference=True, weight=None, near=0, seed=1):
    """Pairs with log-probabilities; the policy's implicit margin is around `better` / 0.1 x 0.1."""
    rng = random.Random(seed)
    weights = {} if weight is None else {"weight": weight}
    texts = [[f"w{rng.randrange(300)}" for _ in range(100)] for _ in range(count)]
    others = [[*t[:50], "x", *t[51:]] if n < near else t[::-1] for n, t in enumerate(texts)]
    margins = [rng.uniform(0.1, 0.9) for _ in range(count)]
    tables = in_pairs([" ".join(t) for t in texts], [" ".join(t) for t in others], margin=margins, **weights)
    ids = {each.response_ids: each for each in tables["examples"]}
    rows, by_hand = [], []
    for (w, l), each in ids.items():  # noqa: E741
        ref = [rng.gauss(-100, 10), rng.gauss(-100, 10)]
        shift = [rng.gauss(better * 10, 10), rng.gauss(0, 10)]
        logps = [r + s for r, s in zip(ref, shift, strict=True)]
        rows += [(one, p, 100, r if reference else None) for one, p, r in zip((w, l), logps, ref, strict=True)]
        by_hand.append((each, logps, ref))
    columns = {"response_id": pl.String, "logprob": pl.Float64, "tokens": pl.Int64, "reference_logprob": pl.Float64}
    data = Data(
        {name: lazy(name, table) for name, table in tables.items()}, logprobs=pl.DataFrame(rows, columns, orient="row")
    )
    return data, by_hand


def margin_of(logps, ref, beta=0.1):
    return beta * ((logps[0] - ref[0]) - (logps[1] - ref[1]))


def one(diagnostic, data):
    (found,) = diagnostic.measure(data)
    return found


def test_a_pair_gets_from_dpo_what_its_formula_says():
    told = {"chosen_logprob": -10.0, "chosen_reference": -12.0, "rejected_logprob": -20.0, "rejected_reference": -15.0}
    far = {"chosen_logprob": -1e5, "chosen_reference": 0.0, "rejected_logprob": 0.0, "rejected_reference": -1e5}
    near, extreme = dpo(pl.DataFrame([told, far]), 0.2).iter_rows(named=True)
    assert (near["chosen_reward"], near["rejected_reward"]) == (pytest.approx(0.4), pytest.approx(-1.0))
    assert near["implicit"] == pytest.approx(1.4)
    assert near["gradient"] == pytest.approx(1 / (1 + math.exp(1.4)))
    assert near["loss"] == pytest.approx(math.log1p(math.exp(-1.4)))
    assert (extreme["gradient"], extreme["loss"]) == (1.0, pytest.approx(40_000))


def test_the_signal_of_pairs_is_that_of_their_implicit_margins():
    weights = [1.0 + (n % 3) for n in range(120)]
    data, by_hand = drawn(weight=weights, near=30)
    margins = [margin_of(logps, ref) for _, logps, ref in by_hand]
    pull = [1 / (1 + math.exp(m)) for m in margins]
    assert one(ImplicitAccuracy(), data).value == sum(m > 0 for m in margins) / 120
    assert one(RankingAccuracy(), data).value == sum(p[0] > p[1] for _, p, _ in by_hand) / 120
    found = one(GradientWeight(), data)
    assert found.value == pytest.approx(statistics.mean(pull))
    assert sum(found.plot.counts) == 120
    v = [w * p for w, p in zip(weights, pull, strict=True)]
    assert one(GradientSampleSize(), data).value == pytest.approx(sum(v) ** 2 / 120 / sum(x * x for x in v))
    near = one(GradientOnNearIdentical(), data)
    assert near.value == pytest.approx(sum(pull[:30]) / sum(pull))
    assert (near.severity, near.failure_mode) == ("warn", "I4")
    assert set(near.rows) <= {each.id for each, _, _ in by_hand[:30]}
    explicit = [each.margin for each, _, _ in by_hand]
    ranks = pl.DataFrame({"a": explicit, "b": margins}).select(pl.corr("a", "b", method="spearman")).item()
    assert one(ImplicitFollowsExplicit(), data).value == pytest.approx(ranks)


def test_pairs_that_are_learnt_already_are_told_and_fresh_ones_are_not():
    learnt, _ = drawn(better=12.0)
    fresh, _ = drawn(better=0.0)
    assert one(ImplicitAccuracy(), learnt).severity == "warn"
    assert one(GradientWeight(), learnt).severity == "error"
    assert {one(each, fresh).severity for each in (ImplicitAccuracy(), GradientWeight(), GradientSampleSize())} == {"info"}
    heavy, _ = drawn(better=0.0, weight=[1000.0 if n % 40 == 0 else 1.0 for n in range(120)])
    assert one(GradientSampleSize(), heavy).severity == "error"
    weak, _ = drawn(reference=False)
    assert GradientWeight().lacks(weak).how == "name both: --policy MODEL --reference MODEL"
    assert RankingAccuracy().lacks(weak) is None


def test_beta_is_that_of_the_recipes_trainer():
    data, by_hand = drawn()
    data.recipe = tp.load_recipe("dpo", ["method.trl.beta=0.5"])
    pull = [1 / (1 + math.exp(margin_of(logps, ref, 0.5))) for _, logps, ref in by_hand]
    assert one(GradientWeight(), data).value == pytest.approx(statistics.mean(pull))


def test_odd_log_probabilities_break_nothing():
    data, _ = drawn()
    data.logprobs = data.logprobs.with_columns(
        logprob=pl.when(pl.int_range(pl.len()) % 3 == 0).then(math.nan).otherwise("logprob"),
        reference_logprob=pl.when(pl.int_range(pl.len()) % 5 == 0).then(-math.inf).otherwise("reference_logprob"),
    )
    same, _ = drawn()
    same.logprobs = same.logprobs.with_columns(logprob=-1.0, reference_logprob=-1.0)
    nothing, _ = drawn()
    nothing.logprobs = nothing.logprobs.clear()
    for each in DIAGNOSTICS:
        for odd in (data, same, nothing):
            for found in each.measure(odd) if each.lacks(odd) is None else ():
                assert math.isfinite(found.value)
                assert found.low <= found.value <= found.high
                assert msgspec.json.encode(found)


@pytest.mark.parametrize(("equal", "severity"), [(3, "info"), (30, "warn")])
def test_groups_without_any_advantage_are_told(equal, severity):
    made = [response(f"p_{n}", i) for n in range(50) for i in range(4)]
    scores = [(0.5,) * 4 if n < equal else (0.0, 0.0, 1.0, 0.5) for n in range(50)]
    rows = [example("group", made[4 * n : 4 * n + 4], scores=s, labels=s, strategy="mean") for n, s in enumerate(scores)]
    found = one(ZeroAdvantageGroups(), Data({"examples": lazy("examples", rows)}))
    assert (found.value, found.severity, found.subject) == (equal / 50, severity, "mean")


def test_ches_scores_rank_the_pairs_that_they_are_given_for():
    data, by_hand = drawn(30)
    ids = [each.id for each, _, _ in by_hand]
    data.ches = pl.DataFrame({"id": ids, "ches": [0.0] * 30, "ches_normalised": [float(n) for n in range(30)]})
    found = one(Ches(), data)
    assert (found.value, found.severity) == (14.5, "info")
    assert set(found.rows) == set(ids[20:])


@pytest.mark.embedded
def test_the_embedded_model_says_how_likely_responses_of_imported_data_are(tmp_path):
    pytest.importorskip("xllamacpp")
    (tmp_path / "rows.jsonl").write_text(
        "".join(
            f'{{"prompt": "What is the capital of {land}?", "chosen": "{city}.", "rejected": "Green seven the."}}\n'
            for land, city in (("France", "Paris"), ("Italy", "Rome"))
        )
    )
    run = tp.import_data(tmp_path / "rows.jsonl", out=tmp_path / "run")
    scores = score_responses(run, "embedded", "embedded")
    assert scores.height == 4
    assert scores["logprob"].to_list() == scores["reference_logprob"].to_list()
    (found,) = RankingAccuracy().measure(Data.of(run, logprobs=scores))
    assert (found.value, found.n) == (1.0, 2)  # it does know its capitals


def test_the_interval_of_the_effective_pairs_covers_the_truth():
    def pulls(rng, count):
        return [1 / (1 + math.exp(rng.gauss(0.5, 2))) for _ in range(count)]

    many = pulls(random.Random(0), 400_000)
    truth = statistics.fmean(many) ** 2 / statistics.fmean(x * x for x in many)
    inside = 0
    for seed in range(200):
        v = pulls(random.Random(seed), 100)
        told = [(f"p_{n}", f"e_{n}", "s", "s", 1.0, x) for n, x in enumerate(v)]
        pairs = pl.DataFrame(told, ["prompt_id", "id", "strategy", "strategy_id", "weight", "gradient"], orient="row")
        found, bound = effective(pairs)
        assert found.low == 0 or not bound
        inside += found.low <= truth <= found.high
    assert 0.9 <= inside / 200 <= 0.98
