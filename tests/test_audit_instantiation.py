"""Diagnostics of training examples: counted by hand or by another way, silent on clean data, loud where a fault is planted."""

from __future__ import annotations

import math
import random
import statistics
from difflib import SequenceMatcher
from itertools import pairwise

import numpy as np
import polars as pl
import pytest
from scipy.stats import spearmanr

import triptych as tp
from test_findings import judged, lazy, only, response, told
from triptych.audit.data import Data
from triptych.audit.estimates import bounded_mean, cluster_sums, smooth
from triptych.audit.instantiation import DIAGNOSTICS
from triptych.audit.instantiation.advantages import (
    AdvantageFollowsLength,
    AdvantageMovedByNormaliser,
    within_groups,
)
from triptych.audit.instantiation.classes import ClassWeightRatio, GoodRows
from triptych.audit.instantiation.dimensions import LabelFlipsUnderWeights, ParetoIncomparablePairs
from triptych.audit.instantiation.extremes import RejectedZScore
from triptych.audit.instantiation.granularity import FineLabelsWithoutVerdicts, StepsFoldedIntoLabel
from triptych.audit.instantiation.kept import RelationsKept, ResponsesUsed
from triptych.audit.instantiation.labels import ContradictoryPairs, PreferenceCycles, SecondOpinionAgainst
from triptych.audit.instantiation.length import LabelAucFromLength, LengthEffect, MarginFollowsLength
from triptych.audit.instantiation.margins import MarginVariation, PairsWithinNoise, WeightFollowsMargin
from triptych.audit.instantiation.quality import ChosenBelowFloor, ChosenShortfall
from triptych.audit.instantiation.similarity import IdenticalPairs, NearIdenticalPairs
from triptych.audit.instantiation.splits import SameQuestionApart, TestPromptsInTraining
from triptych.recipes.load import parse_recipe
from triptych.records import Message, Span, make_example, make_prompt
from triptych.records.judgement import StepLocator

WORDS = [f"word{n}" for n in range(400)]


def example(kind, responses, **more):
    about = {"strategy": "best_vs_worst", "strategy_id": "o"} | more
    return make_example(
        kind=kind, prompt_id=responses[0].prompt_id, response_ids=tuple(r.id for r in responses), **about
    )


def pair(chosen, rejected, **more):
    return example("pair", (chosen, rejected), **({"margin": 0.5, "labels": (1.0, 0.0)} | more))


def in_pairs(chosen, rejected, **more):
    """A pair a prompt of the texts; what is given in `more` is a list with a value for each pair."""
    made, examples = [], []
    for number, texts in enumerate(zip(chosen, rejected, strict=True)):
        w, l = (response(f"p_{number}", place, text) for place, text in enumerate(texts))  # noqa: E741
        made += [w, l]
        examples.append(pair(w, l, **{name: values[number] for name, values in more.items()}))
    return {"responses": made, "examples": examples}


def scored(one, score, criterion="good", by="rubric", **more):
    return judged([one], by=by, criterion=criterion, scores=(score,), **more)


def pools(scores, choose):
    """A prompt for each list of scores; `choose` picks (chosen, rejected) pairs of places."""
    made, said, examples = [], [], []
    for number, each in enumerate(scores):
        responses = [response(f"p_{number}", place) for place in range(len(each))]
        said += [scored(one, score) for one, score in zip(responses, each, strict=True)]
        examples += [
            pair(responses[w], responses[l], margin=max(each[w] - each[l], 0.01))
            for w, l in choose(each)  # noqa: E741
        ]
        made += responses
    return {"responses": made, "judgements": said, "examples": examples}


def best_and_worst(scores):
    return [(scores.index(max(scores)), scores.index(min(scores)))]


# --- I5


def lengths(rng, count, longer):
    """Lengths of chosen and rejected; the chosen one's is drawn around `longer` times the other's."""
    rejected = [round(math.exp(rng.gauss(6, 0.5))) for _ in range(count)]
    return [round(math.exp(rng.gauss(6 + math.log(longer), 0.5))) for _ in range(count)], rejected


@pytest.mark.parametrize(("longer", "severity"), [(1.0, "info"), (2.5, "error")])
def test_length_alone_tells_chosen_from_rejected(longer, severity):
    chosen, rejected = lengths(random.Random(3), 300, longer)
    tables = in_pairs(["x" * n for n in chosen], ["x" * n for n in rejected])
    wins = sum((w > r) + (w == r) / 2 for w in chosen for r in rejected)
    found = only(LabelAucFromLength(), **tables)
    assert found.value == pytest.approx(wins / len(chosen) / len(rejected))
    assert (found.failure_mode, found.severity, found.n) == ("I5", severity, 600)
    assert found.repair == ("length_match" if severity != "info" else "")
    logs = [[math.log1p(n) for n in side] for side in (chosen, rejected)]
    spread = math.sqrt(sum(map(statistics.variance, logs)) / 2)
    effect = only(LengthEffect(), **tables)
    assert effect.value == pytest.approx((statistics.mean(logs[0]) - statistics.mean(logs[1])) / spread)
    assert effect.severity == severity


@pytest.mark.parametrize("follows", [True, False])
def test_margins_that_follow_length_are_told(follows):
    rng = random.Random(4)
    chosen, rejected = lengths(rng, 200, 1.0)
    apart = [w - r for w, r in zip(chosen, rejected, strict=True)]
    margins = [1 / (1 + math.exp(-d / 200)) if follows else rng.uniform(0.01, 1) for d in apart]
    found = only(
        MarginFollowsLength(), **in_pairs(["x" * n for n in chosen], ["x" * n for n in rejected], margin=margins)
    )
    ours = pl.DataFrame({"m": margins, "d": apart}).select(pl.corr("m", "d", method="spearman")).item()
    assert found.value == pytest.approx(ours)
    assert found.severity == ("error" if follows else "info")


# --- I6


def test_contradictory_pairs_are_those_whose_opposite_is_there():
    tables = in_pairs([f"yes {n}" for n in range(60)], [f"no {n}" for n in range(60)])
    made, examples = tables["responses"], tables["examples"]
    clean = only(ContradictoryPairs(), **tables)
    assert (clean.value, clean.severity) == (0.0, "info")
    for number in range(12):  # the same texts, but for case and spaces, the other way round
        w, l = response(f"p_{number}", 5, f"NO  {number}"), response(f"p_{number}", 6, f"yes {number} ")  # noqa: E741
        made += [w, l]
        examples.append(pair(w, l))
    found = only(ContradictoryPairs(), responses=made, examples=examples)
    assert (found.value, found.n, found.severity, found.repair) == (24 / 72, 72, "error", "drop_contradictions")
    assert set(found.rows) <= {e.id for e in (*examples[:12], *examples[60:])}


@pytest.mark.parametrize("round_ones", [0, 10])
def test_pairs_that_go_round_in_circles_are_told(round_ones):
    made, examples = [], []
    for number in range(40):
        r = [response(f"p_{number}", place) for place in range(5)]
        made += r
        order = [(0, 1), (1, 2), (2, 3), (3, 4), (0, 4)]
        if number < round_ones:
            order[-1] = (3, 1)  # 1 over 2 over 3 over 1; 0 and 4 hang on to the circle
        examples += [pair(r[w], r[l]) for w, l in order]  # noqa: E741
    two = [response("p_two", place) for place in range(2)]
    examples += [pair(*two), pair(*two[::-1])]
    found = only(PreferenceCycles(), responses=made + two, examples=examples)
    assert (found.value, found.n) == (round_ones / 40, 40)
    assert found.severity == ("warn" if round_ones else "info")


def test_a_long_chain_of_pairs_is_no_circle():
    r = [response("p", place) for place in range(300)]
    chain = [pair(w, l) for w, l in pairwise(r)]  # noqa: E741
    assert only(PreferenceCycles(), responses=r, examples=chain).value == 0
    assert only(PreferenceCycles(), responses=r, examples=[*chain, pair(r[-1], r[0])]).value == 1


@pytest.mark.parametrize(("against", "severity"), [(6, "info"), (50, "error")])
def test_second_opinions_are_those_of_evaluators_that_the_pair_does_not_rest_on(against, severity):
    made, said, examples = [], [], []
    for number in range(60):
        w, l = response(f"p_{number}", 0), response(f"p_{number}", 1)  # noqa: E741
        first = [scored(w, 0.9), scored(l, 0.1)]
        second = [scored(one, s, by="other") for one, s in ((w, 0.4), (l, 0.9 if number < against else 0.2))]
        made += [w, l]
        said += first + second
        examples.append(pair(w, l, judgement_ids=tuple(one.id for one in first)))
    found = only(SecondOpinionAgainst(), responses=made, judgements=said, examples=examples)
    assert (found.value, found.n, found.subject, found.severity) == (against / 60, 60, "other", severity)


def test_a_model_that_contradicts_gold_speaks_against_itself_and_not_against_the_label():
    made, said, examples = [], [], []
    for number in range(60):
        w, l = response(f"p_{number}", 0), response(f"p_{number}", 1)  # noqa: E741
        gold = [scored(one, s, by="people", model=None) for one, s in ((w, 1.0), (l, 0.0))]
        said += gold + [scored(one, s, by="other") for one, s in ((w, 0.1), (l, 0.9))]
        made += [w, l]
        examples.append(pair(w, l, judgement_ids=tuple(one.id for one in gold)))
    assert told(SecondOpinionAgainst(), responses=made, judgements=said, examples=examples) == []


# --- I3


@pytest.mark.parametrize(("kind", "severity"), [("even", "info"), ("wide", "warn")])
def test_margins_that_vary_and_are_not_passed_on_are_told(kind, severity):
    rng = random.Random(5)
    margins = [rng.uniform(0.3, 0.7) if kind == "even" or rng.random() < 0.1 else 0.01 for _ in range(150)]
    tables = in_pairs(map(str, range(150)), ["no"] * 150, margin=margins)
    found = only(MarginVariation(), **tables)
    assert found.value == pytest.approx(statistics.stdev(margins) / statistics.mean(margins))
    assert found.severity == severity
    weighed = in_pairs(map(str, range(150)), ["no"] * 150, margin=margins, weight=margins)
    assert told(MarginVariation(), **weighed) == []
    assert only(WeightFollowsMargin(), **weighed).value == pytest.approx(1)
    against = in_pairs(map(str, range(150)), ["no"] * 150, margin=margins, weight=[1 - m for m in margins])
    turned = only(WeightFollowsMargin(), **against)
    assert (turned.value, turned.severity) == (pytest.approx(-1), "error")


@pytest.mark.parametrize(("noise", "severity"), [(0.02, "info"), (0.4, "error")])
def test_pairs_within_the_noise_of_their_judge_are_told(noise, severity):
    rng = random.Random(6)
    made, said, examples, by_hand, variances = [], [], [], [], []
    for number in range(120):
        w, l = response(f"p_{number}", 0), response(f"p_{number}", 1)  # noqa: E741
        votes = [[min(max(rng.gauss(at, noise), 0), 1) for _ in range(2)] for at in (0.6, 0.4)]
        made += [w, l]
        said += [scored(one, v, repeat=i) for one, vs in zip((w, l), votes, strict=True) for i, v in enumerate(vs)]
        margin = statistics.mean(votes[0]) - statistics.mean(votes[1])
        if margin > 0:
            examples.append(pair(w, l, margin=margin))
            by_hand.append(margin)
        variances += [statistics.variance(vs) for vs in votes]
    error = math.sqrt(2 * statistics.mean(variances) / 2)  # of the difference of two means of two
    found = only(PairsWithinNoise(), responses=made, judgements=said, examples=examples)
    assert found.value == pytest.approx(sum(m < 2 * error for m in by_hand) / len(by_hand))
    assert found.severity == severity


# --- I4


def changed(rng, words, share):
    return [rng.choice(WORDS) if rng.random() < share else word for word in words]


def test_the_similarity_of_a_pair_is_near_the_share_of_words_that_stay():
    rng = random.Random(7)
    texts = [[rng.choice(WORDS) for _ in range(200)] for _ in range(40)]
    others = [changed(rng, words, 0.01 * number) for number, words in enumerate(texts)]
    tables = in_pairs([" ".join(t) for t in texts], [" ".join(t) for t in others])
    found = Data({name: lazy(name, rows) for name, rows in tables.items()}).similarity
    of = dict(found.iter_rows())
    ours = [of[e.id] for e in tables["examples"]]
    by_edits = [SequenceMatcher(None, a, b, autojunk=False).ratio() for a, b in zip(texts, others, strict=True)]
    assert max(abs(a - b) for a, b in zip(ours, by_edits, strict=True)) < 0.05
    assert ours[0] == 1
    han = in_pairs(["今天天气很好我们去公园吧"], ["今天天气很好我们去海边吧"])
    assert 0.6 < Data({n: lazy(n, r) for n, r in han.items()}).similarity["similarity"].item() < 0.95


@pytest.mark.parametrize(("near", "severity"), [(0, "info"), (25, "warn")])
def test_pairs_that_hardly_differ_are_told(near, severity):
    rng = random.Random(8)
    texts = [[rng.choice(WORDS) for _ in range(120)] for _ in range(100)]
    others = [changed(rng, t, 0.01) if n < near else changed(rng, t, 0.9) for n, t in enumerate(texts)]
    tables = in_pairs([" ".join(t) for t in texts], [" ".join(t) for t in others])
    found = only(NearIdenticalPairs(), **tables)
    assert (found.value, found.severity, found.failure_mode) == (near / 100, severity, "I4")
    assert set(found.rows) <= {e.id for e in tables["examples"][:near]}
    same = in_pairs(["A  b"] * near + ["c"] * 100, ["a b "] * near + ["d"] * 100)
    told_ = only(IdenticalPairs(), **same)
    assert (told_.value, told_.severity) == (near / (100 + near), "error" if near else "info")


# --- I2


@pytest.mark.parametrize(("conflicts", "flips", "severity"), [(0, 0, "info"), (10, 0, "info"), (50, 30, "warn")])
def test_labels_that_turn_round_with_the_weights_are_told(conflicts, flips, severity):
    made, said, examples = [], [], []
    for number in range(100):
        w, l = response(f"p_{number}", 0), response(f"p_{number}", 1)  # noqa: E741
        # helpful: 0.9 against 0.4; safe: the rejected is better by 0.2 where they conflict (no flip: 0.25 > 0.4 x ... not so)
        worse = 0.3 if number < flips else 0.1 if number < conflicts else -0.1
        for one, helpful, safe in ((w, 0.9, 0.5), (l, 0.4, 0.5 + worse)):
            said += [scored(one, helpful, "helpful"), scored(one, safe, "safe")]
        made += [w, l]
        examples.append(pair(w, l))
    tables = {"responses": made, "judgements": said, "examples": examples}
    # Weights halved and doubled: 0.5 / 2 against 0.3 x 2 turns round, 0.5 / 2 against 0.1 x 2 does not.
    found = only(LabelFlipsUnderWeights(), **tables)
    assert (found.value, found.n, found.severity) == (flips / 100, 100, severity)
    apart = only(ParetoIncomparablePairs(), **tables)
    assert (apart.value, apart.severity) == (conflicts / 100, "warn" if conflicts == 50 else "info")


# --- I7, I8, I11


@pytest.mark.parametrize(("outlier", "severity"), [(False, "info"), (True, "warn")])
def test_rejected_responses_far_below_the_others_are_told(outlier, severity):
    rng = random.Random(9)
    scores = [
        [*(rng.uniform(0.6, 0.9) for _ in range(9)), 0.0 if outlier else rng.uniform(0.6, 0.9)] for _ in range(60)
    ]
    tables = pools(scores, best_and_worst)
    found = only(RejectedZScore(), **tables)
    z = [(min(s) - statistics.mean(s)) / statistics.stdev(s) for s in scores]
    assert found.value == pytest.approx(statistics.mean(z))
    assert (found.severity, found.threshold_source) == (severity, "arXiv:2502.16825")


@pytest.mark.parametrize(("best", "severity"), [(0.9, "info"), (0.35, "error")])
def test_chosen_responses_that_are_the_best_of_a_bad_lot_are_told(best, severity):
    scores = [[best - 0.001 * (n % 9), 0.1, 0.2] for n in range(50)]
    found = only(ChosenBelowFloor(), **pools(scores, best_and_worst))
    assert (found.value, found.severity) == (float(best < 0.5), severity)
    assert only(ChosenShortfall(), **pools(scores, best_and_worst)).value == 0
    second = only(ChosenShortfall(), **pools(scores, lambda s: [(2, 1)]))
    assert second.value == pytest.approx(statistics.mean(s[0] - 0.2 for s in scores))
    assert second.severity == ("error" if best == 0.9 else "info")


def test_relations_that_the_rows_do_not_keep_are_counted():
    rng = random.Random(10)
    scores = [[round(rng.random(), 6) for _ in range(8)] for _ in range(40)]
    one = pools(scores, best_and_worst)
    found = only(RelationsKept(), **one)
    assert (found.value, found.n, found.severity) == (pytest.approx(1 / 28), 40 * 28, "warn")
    assert only(ResponsesUsed(), **one).value == 2 / 8
    tied = pools([[0.9, 0.5, 0.5, 0.1]] * 30, lambda s: [(0, 1), (0, 3), (0, 3)])
    assert only(RelationsKept(), **tied).value == 2 / 5  # of six relations one is a tie; a pair counts once
    groups = [example("group", one["responses"][8 * n : 8 * n + 8], scores=tuple(s)) for n, s in enumerate(scores)]
    whole = only(RelationsKept(), **(one | {"examples": groups}))
    assert (whole.value, whole.severity) == (1.0, "info")


# --- I10


def test_classes_that_outweigh_one_another_are_told():
    def rows(good, bad, **more):
        made = [response(f"p_{n}", 0) for n in range(good + bad)]
        return [example("unpaired", (one,), labels=(float(n < good),), **more) for n, one in enumerate(made)]

    even = only(ClassWeightRatio(), examples=rows(55, 45))
    assert (even.value, even.severity, even.n) == (pytest.approx(55 / 45), "info", 100)
    skewed = only(ClassWeightRatio(), examples=rows(20, 80))
    assert (skewed.value, skewed.severity) == (0.25, "warn")
    assert skewed.change == "set desirable_weight to 4 in the trainer"
    recipe = tp.load_recipe("kto", ["method.trl.desirable_weight=4.0"])
    (weighed,) = ClassWeightRatio().measure(Data({"examples": lazy("examples", rows(20, 80))}, recipe=recipe))
    assert (weighed.value, weighed.severity) == (1.0, "info")
    assert only(GoodRows(), examples=rows(95, 5)).severity == "warn"
    assert only(GoodRows(), examples=rows(60, 40)).value == 0.6
    assert told(ClassWeightRatio(), examples=rows(30, 0)) == []  # one class: no ratio, and GoodRows says it
    assert only(GoodRows(), examples=rows(30, 0)).severity == "warn"


# --- I12


def asked(text, *tags, **more):
    return make_prompt((Message("user", text),), tags=tags, source="s", **more)


def test_questions_that_a_split_would_put_on_both_sides_are_told():
    fresh = [asked(f"Question {n}?") for n in range(80)]
    assert only(SameQuestionApart(), prompts=fresh).severity == "info"
    twice = [asked(f"question   {n}!", reference="known") for n in range(20)]
    found = only(SameQuestionApart(), prompts=fresh + twice)
    assert (found.value, found.n, found.severity) == (0.4, 100, "warn")
    together = [asked(f"{word} {n}", family_id=f"f{n}") for n in range(30) for word in ("Say", "say")]
    assert only(SameQuestionApart(), prompts=together).value == 0


def test_test_prompts_that_are_in_the_training_set_are_told():
    train = [asked(f"Question {n}?", "train") for n in range(60)]
    fresh = [asked(f"Fresh {n}", "Test") for n in range(40)]
    assert only(TestPromptsInTraining(), prompts=train + fresh).severity == "info"
    copied = [asked(f"question {n}", "test") for n in range(6)]
    found = only(TestPromptsInTraining(), prompts=train + fresh + copied)
    assert (found.value, found.n, found.severity) == (6 / 46, 46, "warn")
    assert set(found.rows) == {p.id for p in copied}
    assert TestPromptsInTraining().lacks(Data({"prompts": lazy("prompts", train)})).what.startswith("prompts tagged")


# --- I9


def groups(rng, how, count=60, size=8, long=0.0, spread=(0.1, 0.1)):
    made, examples = [], []
    for number in range(count):
        wide = rng.uniform(*spread)
        scores = [rng.gauss(0.5, wide) for _ in range(size)]
        middle, deviation = statistics.mean(scores), statistics.stdev(scores)
        labels = [(s - middle) / (deviation if how == "mean_std" else 1) for s in scores]
        r = [
            response(f"p_{number}", place, "x" * max(1, round(math.exp(5 + rng.gauss(0, 0.3) + long * a))))
            for place, a in enumerate(labels)
        ]
        made += r
        examples.append(example("group", r, scores=tuple(scores), labels=tuple(labels), strategy=how))
    return {"responses": made, "examples": examples}


@pytest.mark.parametrize(("long", "severity"), [(0.0, "info"), (0.3, "warn")])
def test_advantages_that_follow_length_are_told(long, severity):
    tables = groups(random.Random(11), "mean_std", long=long)
    found = only(AdvantageFollowsLength(), **tables)
    text = {r.id: len(r.messages[0].content) for r in tables["responses"]}
    rho = [spearmanr(e.labels, [text[one] for one in e.response_ids]).statistic for e in tables["examples"]]
    assert found.value == pytest.approx(statistics.mean(rho))
    assert (found.severity, found.n) == (severity, 60)


def test_one_group_of_extremes_is_no_sign_that_advantages_follow_length():
    tables = groups(random.Random(11), "mean_std", count=40)
    last = tables["examples"].pop()
    extreme = [response(last.prompt_id, place, "x" * 10**place) for place in range(6)]
    labels = tuple(float(10**place) for place in range(6))
    tables["responses"] += extreme
    tables["examples"].append(example("group", extreme, scores=labels, labels=labels, strategy="mean_std"))
    found = only(AdvantageFollowsLength(), **tables)
    assert found.severity == "info"
    assert found.low < 0 < found.high
    text = {r.id: len(r.messages[0].content) for r in tables["responses"]}
    pairs = [
        (a, math.log1p(text[one])) for e in tables["examples"] for a, one in zip(e.labels, e.response_ids, strict=True)
    ]
    assert statistics.correlation(*zip(*pairs, strict=True)) > 0.5  # it rules a correlation over all responses


def test_a_group_whose_responses_are_alike_says_nothing_of_length():
    tables = groups(random.Random(12), "mean_std", count=1)
    flat = [response("p_flat", place, "x" * 9) for place in range(4)]
    tables["responses"] += flat
    tables["examples"].append(example("group", flat, scores=(1.0, 0.0, 1.0, 0.0), labels=(0.5, -0.5, 0.5, -0.5), strategy="mean_std"))  # fmt: skip
    assert only(AdvantageFollowsLength(), **tables).n == 1


@pytest.mark.parametrize("long", [0.0, 0.5])
@pytest.mark.parametrize("count", [20, 60])
def test_the_interval_of_the_mean_rank_correlation_within_groups_holds_the_truth(count, long):
    rng = np.random.default_rng(13)

    def drawn(many):
        a = rng.normal(size=(many, 6))
        return a, rng.normal(size=(many, 6)) + long * a

    def rhos(a, length):
        ranks = [np.argsort(np.argsort(each, axis=1), axis=1) - 2.5 for each in (a, length)]
        return (ranks[0] * ranks[1]).sum(axis=1) / (ranks[0] ** 2).sum(axis=1)

    truth, held = rhos(*drawn(200_000)).mean(), 0
    for _ in range(200):
        a, length = drawn(count)
        each = np.repeat(np.arange(count), 6)
        rows = {"id": each, "prompt_id": each, "advantage": a.ravel(), "chars": length.ravel()}
        found = bounded_mean(within_groups(pl.DataFrame(rows)), "rho", (-1.0, 1.0))
        held += found.low <= truth <= found.high
    assert 0.9 <= held / 200 <= 0.985


@pytest.mark.parametrize(
    ("how", "spread", "severity"),
    [("mean", (0.001, 0.3), "info"), ("mean_std", (0.1, 0.1), "info"), ("mean_std", (0.001, 0.3), "warn")],
)
def test_weight_that_the_normaliser_moves_between_prompts_is_told(how, spread, severity):
    tables = groups(random.Random(12), how, count=100, spread=spread)
    found = only(AdvantageMovedByNormaliser(), **tables)
    a = [math.sqrt(statistics.fmean(v * v for v in e.labels)) for e in tables["examples"]]
    s = [statistics.pstdev(e.scores) for e in tables["examples"]]
    assert found.value == pytest.approx(
        sum(abs(x / sum(a) - y / sum(s)) for x, y in zip(a, s, strict=True)) / 2, abs=1e-9
    )
    assert (found.severity, found.low <= found.value <= found.high) == (severity, True)


# --- I1


def test_steps_that_are_folded_into_one_label_are_told():
    made, said, folded, fine = [], [], [], []
    for number in range(30):
        one = response(f"p_{number}", 0, "a b c")
        steps = [
            judged([one], scores=(1.0,), step=StepLocator("step", i, start=2 * i, end=2 * i + 1)) for i in range(3)
        ]
        made.append(one)
        said += steps
        rests = tuple(each.id for each in steps)
        folded.append(example("unpaired", (one,), labels=(1.0,), judgement_ids=rests))
        fine.append(example("stepwise", (one,), labels=(1.0, 1.0, 0.0), judgement_ids=rests))
    found = only(StepsFoldedIntoLabel(), responses=made, judgements=said, examples=folded)
    assert (found.value, found.subject, found.severity, found.n) == (3.0, "unpaired", "warn", 30)
    assert told(StepsFoldedIntoLabel(), responses=made, judgements=said, examples=fine) == []
    assert only(FineLabelsWithoutVerdicts(), judgements=said, examples=fine).value == 0
    whole = [scored(one, 1.0) for one in made]
    spans = (Span(0, 0, 0, 1, 0.5),)
    pairs = [example("pair", (one, one), spans=spans) for one in made]
    bare = only(FineLabelsWithoutVerdicts(), judgements=whole, examples=pairs)
    assert (bare.value, bare.subject, bare.severity) == (1.0, "pair", "error")


# --- all of them


RECIPE = """
name: r
prompts: {kind: inline, prompts: [{prompt: x}]}
models: {m: {backend: openai, model: m, base_url: "http://127.0.0.1:1/v1"}}
synthesis: {kind: sample, model: m, n: 8, temperature: 0.7}
objective: {criteria: {helpful: {text: h}, safe: {text: s}}}
evaluation: {kind: rubric, model: m, criteria: [helpful, safe], scale: [1, 5]}
instantiation:
  - {kind: pairs, keep: [{of: margin, min: 0.1}]}
  - {kind: pairs, choose: all_pairs}
  - {kind: groups}
"""


def hostile():
    """Tables that are odd, by their names."""
    rng = random.Random(13)
    yield "nothing", {}
    one = in_pairs(["a"], ["b"])
    yield "one pair", one
    yield (
        "empty texts",
        {
            "responses": [response(f"p_{n}", i, " ") for n in range(30) for i in range(2)],
            "examples": [pair(response(f"p_{n}", 0, " "), response(f"p_{n}", 1, " ")) for n in range(30)],
        },
    )
    yield "all the same", in_pairs(["same"] * 40, ["same"] * 40)
    yield "right to left", in_pairs(["שלום עולם"] * 30, ["مرحبا"] * 30)
    yield "a huge text", in_pairs(["word " * 2_000_000, "b"], ["a", "c"])
    odd = pools([[0.5, 0.5, 0.5, 0.5]] * 25, lambda s: [(0, 1)])
    yield "all tied", odd
    bad = [math.nan, math.inf, -math.inf, 0.1]
    yield (
        "not numbers",
        in_pairs(
            map(str, range(40)),
            ["x"] * 40,
            margin=[rng.choice(bad) for _ in range(40)],
            weight=[rng.choice(bad) for _ in range(40)],
        ),
    )
    r = [response(f"p_{n}", i) for n in range(30) for i in range(3)]
    yield (
        "groups of no numbers",
        {
            "responses": r,
            "examples": [
                example("group", r[3 * n : 3 * n + 3], scores=(math.nan, 1.0, 0.0), labels=(math.inf, 0.0, 0.0))
                for n in range(30)
            ],
        },
    )
    yield "lost texts", {"examples": one["examples"] * 30, "responses": []}
    yield "no margins", in_pairs(map(str, range(30)), ["x"] * 30, margin=[None] * 30)
    yield "one class", {"examples": [example("unpaired", (one,), labels=(0.0,), weight=math.nan) for one in r]}


@pytest.mark.parametrize(("name", "tables"), [*hostile()], ids=lambda each: each if isinstance(each, str) else "")
def test_odd_data_break_no_diagnostic_and_give_no_number_that_is_none(name, tables):
    data = Data({name: lazy(name, rows) for name, rows in tables.items()}, recipe=parse_recipe(RECIPE))
    for diagnostic in DIAGNOSTICS:
        if diagnostic.lacks(data) is None:
            for found in diagnostic.measure(data):
                assert math.isfinite(found.value), found
                known = [
                    each for each in (found.low, found.value, found.high) if each is not None
                ]  # an end may be unknown
                assert all(map(math.isfinite, known)), found
                assert known == sorted(known), found
                assert found.message


# --- intervals


def covered(times, draw, estimate, truth):
    inside = 0
    for number in range(times):
        found = estimate(draw(random.Random(number)))
        inside += found.low <= truth <= found.high
    return inside / times


def test_the_intervals_of_smooth_statistics_cover_the_truth():
    from triptych.audit.instantiation.advantages import _moved
    from triptych.audit.instantiation.length import _cohens_d
    from triptych.audit.instantiation.margins import _variation

    def effect(rng):
        """Prompts of 1 to 4 pairs that share what their prompt is like; d is 0.6."""
        rows = []
        for prompt in range(60):
            own = rng.gauss(0, 0.6)
            for _ in range(rng.randint(1, 4)):
                w, l = 0.6 + own + rng.gauss(0, 0.8), own + rng.gauss(0, 0.8)  # noqa: E741
                rows.append((prompt, w, l, w * w, l * l, 1.0))
        return rows

    def table(rows, names):
        return pl.DataFrame(rows, ["prompt_id", *names], orient="row")

    def d(rows):
        names = ["w", "l", "ww", "ll", "one"]
        return smooth(cluster_sums(table(rows, names), names), _cohens_d, n=len(rows))

    assert 0.9 <= covered(200, effect, d, 0.6) <= 0.98

    def margins(rng):
        return [(prompt, m, m * m, 1.0) for prompt in range(150) for m in [rng.lognormvariate(0, 0.5)]]

    def variation(rows):
        names = ["m", "mm", "one"]
        return smooth(cluster_sums(table(rows, names), names), _variation, n=len(rows), within=(0.0, math.inf))

    assert 0.9 <= covered(200, margins, variation, math.sqrt(math.exp(0.25) - 1)) <= 0.98

    def moved(rng):
        """Spreads are uniform in [0, 1] and all advantages alike: half the mean of |1 - 2 u|, which is 1/4."""
        return [rng.random() for _ in range(200)]

    def normaliser(spreads):
        signs = [1 if 1 / len(spreads) > s / sum(spreads) else -1 for s in spreads]
        rows = [(n, t, t * s, 1.0, s) for n, (t, s) in enumerate(zip(signs, spreads, strict=True))]
        names = ["ta", "ts", "a", "s"]
        return smooth(cluster_sums(table(rows, names), names), _moved, n=len(rows), within=(0.0, 1.0))

    assert 0.9 <= covered(200, moved, normaliser, 0.25) <= 0.98

    def marked(rng):
        """Prompts of 1 to 6 rows that are alike in how good they are; 0.3 of all are good."""
        rows = []
        for prompt in range(100):
            own = rng.betavariate(1.2, 2.8)
            for _ in range(rng.randint(1, 6)):
                good = float(rng.random() < own)
                rows.append((prompt, good, 1 - good))
        return rows

    def ratio(rows):
        names = ["w", "l"]
        sums = cluster_sums(table(rows, names), names)
        return smooth(sums, lambda s: s[..., 0] / s[..., 1], n=len(rows), within=(0.0, math.inf))

    assert 0.9 <= covered(200, marked, ratio, 0.3 / 0.7) <= 0.98
