"""Several evaluators: panels against plain Python and crowd-kit, calibration against scikit-learn, length taken out."""

from __future__ import annotations

import random
from collections import defaultdict
from statistics import fmean, median, stdev
from warnings import simplefilter

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

import triptych as tp
from triptych.errors import TriptychError
from triptych.instantiation.adjust import Calibration
from triptych.instantiation.pairs import Pairs
from triptych.instantiation.panel import Panel, annotators
from triptych.instantiation.scores import evaluator_means, objective_scores, shown_responses, verdicts
from triptych.instantiation.unpaired import Unpaired
from verdict_tables import OBJECTIVE, Tables, judged, response

SAID = st.lists(
    st.dictionaries(
        st.sampled_from(["ann", "bob", "cy", "di"]),
        st.lists(st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]), min_size=1, max_size=2),
        min_size=1,
    ),
    min_size=1,
    max_size=5,
)


def told(responses, criterion="a"):
    """Responses to one prompt, each a map from evaluators to what they say of it."""
    made = Tables()
    for index, said in enumerate(responses):
        one = response("p_0", index)
        made.responses.append(one)
        for by, verdicts_ in said.items():
            made.judgements += [
                judged([one], by=by, criterion=criterion, scores=(score,), scale=(0.0, 1.0), repeat=repeat)
                for repeat, score in enumerate(verdicts_)
            ]
    return made


def scores(made, panel, objective=OBJECTIVE):
    return objective_scores(*made.frames(), objective, panel=panel).collect()["score"].to_list()


def vote(means, weights):
    return sum(weights[by] * (0.5 if said == 0.5 else float(said > 0.5)) for by, said in means.items()) / sum(
        weights[by] for by in means
    )


WEIGHTS = defaultdict(lambda: 1.0, {"ann": 3.0})
ORACLE = {
    "median": lambda means: median(means.values()),
    "min": lambda means: min(means.values()),
    "mean": lambda means: sum(WEIGHTS[by] * said for by, said in means.items()) / sum(WEIGHTS[by] for by in means),
    "vote": lambda means: vote(means, WEIGHTS),
    "lower_bound": lambda means: max(
        fmean(means.values()) - 2 * (stdev(means.values()) if len(means) > 1 else 0.0), 0.0
    ),
}


@pytest.mark.parametrize("combine", ORACLE)
@given(responses=SAID, rng=st.randoms(use_true_random=False))
@settings(deadline=None, max_examples=30)
def test_a_panel_says_what_plain_python_says_in_whatever_order(combine, responses, rng):
    weights = {"ann": 3.0} if combine in ("mean", "vote") else {}
    panel = Panel(combine=combine, weights=weights, spread=2.0)
    made = told(responses)
    wanted = [ORACLE[combine]({by: fmean(said) for by, said in one.items()}) for one in responses]
    assert scores(made, panel) == pytest.approx(wanted, abs=1e-9)
    rng.shuffle(made.judgements)
    assert scores(made, panel) == pytest.approx(wanted, abs=1e-9)


def test_the_mean_of_a_panel_is_what_there_is_without_one():
    made = told([{"ann": [1.0, 0.0], "bob": [1.0]}, {"bob": [0.25]}])
    assert scores(made, None) == scores(made, Panel()) == [0.75, 0.25]
    assert Pairs(panel=None).identity() == Pairs().identity()


def planted(prompts=150, seed=3):
    """Two responses to each prompt, of a true label; five annotators who err each in their own way."""
    rng = random.Random(seed)
    chances = {
        "sharp": (0.95, 0.05),
        "fair": (0.8, 0.2),
        "lax": (0.95, 0.6),
        "blind": (0.5, 0.5),
        "wrong": (0.25, 0.75),
    }
    made, truth = Tables(), {}
    for number in range(prompts):
        for index in range(2):
            one = response(f"p_{number}", index)
            made.responses.append(one)
            truth[one.id] = rng.random() < 0.5
            for by, (if_high, if_low) in chances.items():
                high = rng.random() < (if_high if truth[one.id] else if_low)
                made.judgements.append(judged([one], by=by, scores=(1.0 if high else 0.0,), scale=(0.0, 1.0)))
    return made, truth, chances


def means_of(made):
    responses, judgements = made.frames()
    shown = shown_responses(responses)
    return evaluator_means(verdicts(judgements).drop("prompt_id").join(shown, on="response_id"))


def test_dawid_and_skene_recover_how_annotators_err():
    made, _, chances = planted()
    for row in annotators(means_of(made)).iter_rows(named=True):
        high, low = chances[row["evaluator_id"].removeprefix("o_")]
        # four standard errors of a share of about 150, and what the unknown labels add
        assert row["high_if_high"] == pytest.approx(high, abs=0.13)
        assert row["high_if_low"] == pytest.approx(low, abs=0.13)


def test_dawid_and_skene_is_the_library_s_and_better_than_the_mean():
    from crowdkit.aggregation import DawidSkene
    from pandas import DataFrame

    made, truth, _ = planted()
    simplefilter("ignore", DeprecationWarning)
    ids = [one.id for one in made.responses]
    found = dict(zip(ids, scores(made, Panel(combine="dawid_skene")), strict=True))
    labels = [(j.response_ids[0], j.evaluator, int(j.scores[0] > 0.5)) for j in made.judgements]
    by_hand = DawidSkene(n_iter=200, tol=1e-8).fit_predict_proba(DataFrame(labels, columns=["task", "worker", "label"]))
    for one in ids:
        assert found[one] == pytest.approx(by_hand.loc[one, 1], abs=1e-6)
    mean_says = dict(zip(ids, scores(made, None), strict=True))
    right = {
        name: sum((said[one] > 0.5) == truth[one] for one in ids) for name, said in (("ds", found), ("mean", mean_says))
    }
    assert right["ds"] > right["mean"]


def gold_and_judge(n=600, seed=5):
    """A judge who is right about the order and wrong about the chance: it says p ** 3 where p is the chance."""
    rng = random.Random(seed)
    made, chance = Tables(), {}
    for number in range(n):
        one = response(f"p_{number}", 0)
        made.responses.append(one)
        chance[one.id] = rng.randrange(1, 20) / 20
        good = rng.random() < chance[one.id]
        made.judgements.append(judged([one], by="judge", scores=(chance[one.id] ** 3,), scale=(0.0, 1.0)))
        made.judgements.append(judged([one], by="people", scores=(float(good),), scale=(0.0, 1.0)))
    return made, chance


def calibrated(made, **how):
    scored = Unpaired(calibrate=Calibration(gold="people", **how))
    assert scored.across_prompts
    responses, judgements = made.frames()
    return dict(scored.ranked(responses, judgements, OBJECTIVE, 0).select("response_id", "score").collect().iter_rows())


@pytest.mark.parametrize("method", ["platt", "isotonic", "temperature"])
def test_calibration_brings_what_is_said_nearer_to_the_chance(method):
    made, chance = gold_and_judge()
    found = calibrated(made, method=method)
    before = fmean(abs(chance[one] ** 3 - chance[one]) for one in chance)
    after = fmean(abs(found[one] - chance[one]) for one in chance)
    assert after < (0.6 if method == "temperature" else 0.35) * before


def test_calibration_is_scikit_learn_s():
    from sklearn.isotonic import IsotonicRegression
    from sklearn.linear_model import LogisticRegression

    made, _chance = gold_and_judge(200)
    said = [[judgement.scores[0]] for judgement in made.judgements if judgement.evaluator == "judge"]
    good = [judgement.scores[0] for judgement in made.judgements if judgement.evaluator == "people"]
    ids = [one.id for one in made.responses]
    platt = LogisticRegression(C=1e6).fit(said, good).predict_proba(said)[:, 1]
    rising = (
        IsotonicRegression(out_of_bounds="clip").fit([each[0] for each in said], good).predict([e[0] for e in said])
    )
    for method, wanted in (("platt", platt), ("isotonic", rising)):
        found = calibrated(made, method=method)
        assert [found[one] for one in ids] == pytest.approx(list(wanted), abs=1e-6)


def test_too_little_gold_is_said_and_loses_nothing(tmp_path):
    recipe = tp.Recipe.model_validate(
        {
            "name": "few",
            "prompts": {"kind": "inline", "prompts": [{"prompt": "Hi", "responses": ["a", "b"]}]},
            "synthesis": {"kind": "given"},
            "evaluation": [
                {"kind": "verify", "constraints": [{"kind": "regex", "pattern": "a"}]},
                {"kind": "verify", "name": "people", "constraints": [{"kind": "regex", "pattern": "a|z"}]},
            ],
            "instantiation": [{"kind": "pairs"}, {"kind": "pairs", "calibrate": {"gold": "people"}}],
        }
    )
    with pytest.raises(TriptychError, match="2 of the responses that it judged have a gold verdict"):
        tp.run(recipe, tmp_path / "run")
    run = tp.open_run(tmp_path / "run")
    assert run.examples().collect().height == 1
    assert run.judgements().collect().height == 4
    assert "can't be calibrated" in run.manifest.status


def test_what_length_explains_is_taken_out_and_quality_stays():
    rng = random.Random(1)
    made, quality, characters = Tables(), {}, {}
    for number in range(200):
        for index in range(4):
            one = response(f"p_{number}", index, "x" * rng.randrange(20, 2000))
            made.responses.append(one)
            quality[one.id], characters[one.id] = rng.choice([0.0, 0.2]), len(one.text)
            said = 0.3 + quality[one.id] + 0.08 * (len(bin(len(one.text))) - 8)
            made.judgements.append(judged([one], scores=(said,), scale=(0.0, 1.0)))
    responses, judgements = made.frames()

    def correlations(length):
        found = (
            Unpaired(length=length).ranked(responses, judgements, OBJECTIVE, 0).select("response_id", "score").collect()
        )
        prompts = {one.id: one.prompt_id for one in made.responses}
        table = found.with_columns(
            prompt=pl.col("response_id").replace_strict(prompts),
            quality=pl.col("response_id").replace_strict(quality),
            length=pl.col("response_id").replace_strict(characters).log(),
        )
        # Of responses to one prompt: which of them are compared.
        table = table.with_columns(
            pl.col("score", "quality", "length") - pl.col("score", "quality", "length").mean().over("prompt")
        )
        return table.select(pl.corr("score", "length")).item(), table.select(pl.corr("score", "quality")).item()

    assert correlations("keep")[0] > 0.7
    with_length, with_quality = correlations("residual")
    assert abs(with_length) < 0.1
    assert with_quality > correlations("keep")[1] + 0.1


def test_style_is_taken_out_as_least_squares_on_all_of_its_features_takes_it_out():
    import re

    import numpy as np

    rng, made, features, verdict = random.Random(2), Tables(), [], []
    for number in range(40):
        for index in range(4):
            marks = [rng.randrange(4) for _ in range(3)]
            text = "# A\n" * marks[0] + "- b c\n" * marks[1] + "so **bold** it is " * marks[2] + "x" * rng.randrange(9, 90)
            one = response(f"p_{number}", index, text)
            counts = [len(re.findall(p, text)) for p in (r"(?m)^# ", r"(?m)^- ", r"\*\*bold\*\*")]
            assert counts == marks
            features.append([np.log(len(text) + 1), *(np.log1p(count) for count in counts)])
            said = 0.5 + rng.uniform(-0.1, 0.1) + 0.02 * float(np.dot([1, 2, -1, 1], features[-1])) - 0.1
            verdict.append(said)
            made.responses.append(one)
            made.judgements.append(judged([one], scores=(said,), scale=(0.0, 1.0)))
    x, y = np.array(features).reshape(40, 4, 4), np.array(verdict).reshape(40, 4)
    away, above = x - x.mean(axis=1, keepdims=True), y - y.mean(axis=1, keepdims=True)
    slopes, *_ = np.linalg.lstsq(away.reshape(-1, 4), above.reshape(-1), rcond=None)
    wanted = (y - away @ slopes).reshape(-1)
    responses, judgements = made.frames()
    scores = Unpaired(style="residual").ranked(responses, judgements, OBJECTIVE, 0).select("response_id", "score").collect()
    found = dict(scores.iter_rows())
    assert [found[one.id] for one in made.responses] == pytest.approx(wanted.tolist(), abs=1e-9)
    assert max(abs(wanted - verdict)) > 0.01


def test_weights_that_would_not_count_are_refused():
    with pytest.raises(ValidationError, match="not with min"):
        Panel(combine="min", weights={"a": 2})
