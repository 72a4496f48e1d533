"""Diagnostics of judges, verifiers and people: against independent computations, on planted faults and on clean data."""

from __future__ import annotations

import json
import math
import random
from itertools import combinations

import numpy as np
import polars as pl
import pytest

import triptych as tp
from test_findings import both_orders, judged, lazy, response, verified
from triptych.audit.agreement import preferences
from triptych.audit.audit import audit
from triptych.audit.coefficients import cohen_kappa, gwet_ac1, krippendorff_alpha
from triptych.audit.data import Data
from triptych.audit.estimates import auc, bounded_mean, logit, smooth
from triptych.audit.evaluation import DIAGNOSTICS
from triptych.audit.evaluation.calibration import CalibrationError, CalibrationSlope
from triptych.audit.evaluation.gold import GoldAccuracy, GoldAccuracyBySlice, GoldAlpha, GoldKappa
from triptych.audit.evaluation.length import (
    AccuracyGapByLength,
    LengthCoefficient,
    MarkupCoefficient,
)
from triptych.audit.evaluation.panel import EffectiveJudges
from triptych.audit.evaluation.position import FirstSlotInContradictions
from triptych.audit.evaluation.saturation import ScoreLevels, ScoresAtTheEnds, TiedPairs, TiedScores
from triptych.audit.evaluation.self_preference import OwnFamilyAgainstOtherJudges, SelfPreferenceGap, family
from triptych.audit.evaluation.stability import RepeatAgreement, WordingAgreement
from triptych.audit.evaluation.transitivity import CyclicTriads
from triptych.audit.evaluation.versions import ProxyWithoutGold
from triptych.records import Message, StepLocator, make_judgement, make_prompt

pytest.importorskip("statsmodels")
RANKS = {1: (1, 2), -1: (2, 1), 0: (1, 1)}


def data_of(responses=(), judgements=(), examples=(), prompts=(), **more):
    tables = {"responses": responses, "judgements": judgements, "examples": examples, "prompts": prompts}
    return Data({name: lazy(name, list(rows)) for name, rows in tables.items()}, **more)


def found(diagnostic, data):
    lacks = diagnostic.lacks(data)
    assert lacks is None, lacks.what
    return list(diagnostic.measure(data))


def only(diagnostic, data):
    (one,) = found(diagnostic, data)
    return one


def person(a, b, prefers, by="people", who="1"):
    return make_judgement(
        prompt_id=a.prompt_id, response_ids=(a.id, b.id), criterion="good", criterion_id="c", evaluator=by,
        evaluator_id=f"o_{by}_{who}", ranks=RANKS[prefers],
    )  # fmt: skip


def text(chars, rng=None):
    return "x" * int(chars)


def sigmoid(z):
    return 1 / (1 + math.exp(-z))


def judge_world(prompts, seed, *, length=0.0, skill=1.0, by="judge", model="big"):
    """Pairs with a truth and lengths by chance; a judge whose log-odds are skill x truth + length x difference in lengths."""
    rng = random.Random(seed)
    made, said, plain = [], [], []
    for number in range(prompts):
        sizes = [rng.randint(100, 900) for _ in range(2)]
        a, b = (response(f"p_{number}", i, text(sizes[i]) + str(i)) for i in range(2))
        truth = rng.choice([1, -1])
        z = skill * truth + length * (sizes[0] - sizes[1]) / 320
        said.append(person(a, b, truth))
        for first, second, turn in ((a, b, 1), (b, a, -1)):
            prefers = 1 if rng.random() < sigmoid(z) else -1
            said.append(judged([first, second], by=by, model=model, ranks=RANKS[prefers * turn]))
            plain.append((number, truth, sizes[0] - sizes[1], prefers))
        made += [a, b]
    return data_of(made, said), plain


# --- coefficients of agreement


def test_kappa_and_ac1_are_those_that_irrcac_publishes_for_100_abstracts():
    # cont3x3abstractors of Gwet's package irrCAC: Cohen's kappa 0.7964094, AC1 0.8493305.
    table = {(0, 0): 13, (1, 1): 20, (1, 2): 7, (2, 1): 4, (2, 2): 56}
    first, second = (np.array([cell[i] for cell, n in table.items() for _ in range(n)]) for i in range(2))
    clusters = np.arange(100)
    counts = np.column_stack([(first == label) * 1 + (second == label) * 1 for label in range(3)])
    assert cohen_kappa(first, second, clusters).value == pytest.approx(0.7964094, abs=5e-8)
    assert gwet_ac1(counts, clusters).value == pytest.approx(0.8493305, abs=5e-8)


def test_a_label_that_nobody_gives_counts_for_nothing():
    """350 units of each label by the one rater, of which the other gets 420 of all 700 right, as many of each."""
    said = [(truth, truth if i < 210 else 1 - truth) for truth in (0, 1) for i in range(350)]
    shares = [sum(pair.count(label) for pair in said) / 1400 for label in (0, 1)]
    agreed, chance = sum(a == b for a, b in said) / 700, sum(p * (1 - p) for p in shares) / (2 - 1)
    by_hand = (agreed - chance) / (1 - chance)
    assert by_hand == pytest.approx(0.2)
    clusters = np.arange(700)
    for labels in ((0, 1), (0, 1, 2), (-1, 0, 1)):
        counts = np.array([[pair.count(label) for label in labels] for pair in said])
        assert gwet_ac1(counts, clusters).value == pytest.approx(by_hand)
        assert krippendorff_alpha(counts, clusters).value == pytest.approx(0.2 + 0.8 / 1400)  # Scott's pi, and its correction
    assert cohen_kappa(*np.array(said).T, clusters).value == pytest.approx(0.2)
    assert gwet_ac1(np.array([[0, 2, 0]] * 30), np.arange(30)) is None


def test_alpha_and_kappa_are_those_of_the_libraries():
    krippendorff = pytest.importorskip("krippendorff")
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(3)
    said = rng.integers(0, 3, (60, 5)).astype(float)
    said[:, 1] = said[:, 0]
    said[rng.random(said.shape) < 0.3] = np.nan
    counts = np.column_stack([(said == label).sum(1) for label in range(3)])
    expected = krippendorff.alpha(reliability_data=said.T, level_of_measurement="nominal")
    assert krippendorff_alpha(counts, np.arange(60)).value == pytest.approx(expected)
    x, y = rng.integers(0, 3, 80), rng.integers(0, 3, 80)
    assert cohen_kappa(x, y, np.arange(80)).value == pytest.approx(metrics.cohen_kappa_score(x, y))


@pytest.mark.parametrize("measure", ["kappa", "alpha", "ac1"])
def test_intervals_of_coefficients_cover_what_they_should(measure):
    """Two raters of clusters of three units, who name the truth with probability 0.85; truth is 1 for 70 % of clusters."""
    rng = np.random.default_rng(4)

    def draw(clusters):
        truth = np.repeat(rng.random(clusters) < 0.7, 3)
        said = [np.where(rng.random(3 * clusters) < 0.85, truth, ~truth).astype(int) for _ in range(2)]
        place = np.repeat(np.arange(clusters), 3)
        if measure == "kappa":
            return cohen_kappa(*said, place)
        counts = np.column_stack([(said[0] == label) * 1 + (said[1] == label) * 1 for label in (0, 1)])
        return {"alpha": krippendorff_alpha, "ac1": gwet_ac1}[measure](counts, place)

    true = draw(200_000).value
    drawn = [draw(40) for _ in range(300)]
    assert 0.9 <= np.mean([each.low <= true <= each.high for each in drawn]) <= 0.985


# --- position, length, gold


def test_of_contradictions_the_share_that_name_the_first_is_told():
    said = []
    for number, verdicts in enumerate([("a", "b")] * 45 + [("b", "a")] * 5 + [("a", "a")] * 10):
        said += both_orders(response(f"p_{number}", 0), response(f"p_{number}", 1), *verdicts)
    one = only(FirstSlotInContradictions(), data_of(judgements=said))
    from scipy.stats import binomtest

    assert (one.value, one.n, one.severity) == (0.9, 50, "warn")
    assert binomtest(45, 50).pvalue < 0.05
    assert one.low > 0.5


def test_the_length_coefficient_is_that_of_a_logistic_regression_and_planted_length_is_found():
    from sklearn.linear_model import LogisticRegression

    data, plain = judge_world(400, 1, length=1.5)
    one = only(LengthCoefficient(), data)
    x = np.array([(truth, size) for _, truth, size, _ in plain], dtype=float)
    x[:, 1] /= np.sqrt((x[:, 1] ** 2).mean())
    y = np.array([prefers > 0 for *_, prefers in plain])
    expected = LogisticRegression(C=1e9, fit_intercept=False, tol=1e-10).fit(x, y).coef_[0, 1]
    assert one.value == pytest.approx(expected, abs=1e-3)
    assert (one.severity, one.failure_mode, one.prompts) == ("error", "E2", 400)
    assert found(MarkupCoefficient(), data) == []  # there is no markup


def test_a_judge_that_does_not_mind_length_is_no_warning():
    alarms = 0
    for seed in range(20):
        data, _ = judge_world(60, 100 + seed)
        alarms += sum(
            one.severity != "info" for d in (LengthCoefficient(), AccuracyGapByLength()) for one in found(d, data)
        )
    assert alarms <= 2


def test_the_interval_of_a_coefficient_covers_what_it_should():
    rng = np.random.default_rng(5)
    covered = 0
    for _ in range(250):
        x = rng.normal(size=(60, 2)).repeat(2, axis=0)
        z = 0.8 * x[:, 0] - 0.5 * x[:, 1] + rng.normal(size=60).repeat(2) * 0.01
        y = rng.random(120) < 1 / (1 + np.exp(-z))
        rows = pl.DataFrame({"prompt_id": np.arange(60).repeat(2), "y": y.astype(float), "x": x[:, 0], "w": x[:, 1]})
        fitted = logit(rows, "y", ["x", "w"])["x"]
        covered += fitted.low <= 0.8 <= fitted.high
    assert 0.9 <= covered / 250 <= 0.985


@pytest.mark.parametrize(("share", "prompts"), [(0.97, 40), (0.03, 40), (0.95, 25), (0.5, 40)])
def test_the_interval_of_a_share_covers_it_near_0_and_1_too(share, prompts):
    rng = np.random.default_rng(8)
    covered = 0
    for _ in range(300):
        rows = pl.DataFrame({"prompt_id": np.arange(prompts), "x": (rng.random(prompts) < share).astype(float)})
        one = bounded_mean(rows, "x")
        covered += one.low <= share <= one.high
    assert covered / 300 >= 0.92


def test_the_interval_of_a_kappa_near_1_covers_it():
    rng = np.random.default_rng(9)
    covered = 0
    for _ in range(300):
        said = rng.integers(0, 2, 40)
        kappa = cohen_kappa(said, np.where(rng.random(40) < 0.03, 1 - said, said), np.arange(40))
        covered += kappa.low <= 0.94 <= kappa.high
    assert covered / 300 >= 0.85  # by the jackknife alone it would be 0.69


@pytest.mark.filterwarnings("error")
def test_at_the_end_of_its_range_a_statistic_is_not_sure_of_itself_and_nothing_is_divided_by_zero():
    sums = np.column_stack([np.zeros(30), np.ones(30)])
    least = smooth(sums, lambda s: s[..., 0] / s[..., 1], n=30, within=(0.0, math.inf))
    assert (least.value, least.low, least.high) == (0.0, 0.0, math.inf)
    sums[0, 0] = 3.0
    below = smooth(sums, lambda s: np.maximum(s[..., 0] / s[..., 1] - 0.1, 0.0), n=30, within=(0.0, math.inf))
    assert below.value == 0.0
    assert 0.0 < smooth(sums, lambda s: s[..., 0] / s[..., 1], n=30, within=(0.0, math.inf)).high < 1.0
    almost = smooth(np.column_stack([[0.0] + [1.0] * 29, np.ones(30)]), lambda s: s[..., 0] / s[..., 1], n=30, within=(0.0, 1.0))
    assert almost.low < 0.9 < almost.value < 0.98 < almost.high


def test_of_many_responses_to_a_prompt_the_same_few_are_compared_whoever_scored_them():
    made = [response("p", index, str(index)) for index in range(200)]
    least = sorted(each.id for each in made)[:32]
    by_all = [judged([one], by="all", scores=(place / 200,)) for place, one in enumerate(made)]
    by_some = [judged([one], by="some", scores=(place / 200,)) for place, one in enumerate(made[::2])]
    rows = preferences(lazy("judgements", by_all + by_some)).collect()
    of_all, of_some = (rows.filter(pl.col("evaluator") == name) for name in ("all", "some"))
    assert (of_all.height, of_some.height) == (32 * 31 / 2, 32 * 31 / 2)
    assert set(of_all["a"]) | set(of_all["b"]) == set(least)
    place = {one.id: number for number, one in enumerate(made)}
    assert all((place[a] > place[b]) == (prefers > 0) for a, b, prefers in of_all.select("a", "b", "prefers").iter_rows())
    seen = {one.id for one in made[::2]} & set(least)
    both = of_all.join(of_some, on=["a", "b"])
    assert both.height == len(seen) * (len(seen) - 1) / 2


def clustered(seed, clusters=80, size=12):
    """Rows of clusters that have nearly all in common: x, and y of which x tells something."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=clusters).repeat(size) + 0.2 * rng.normal(size=clusters * size)
    z = 0.7 * x + 1.5 * rng.normal(size=clusters).repeat(size)
    y = z + 0.2 * rng.normal(size=clusters * size) > 0
    return pl.DataFrame({"prompt_id": np.arange(clusters).repeat(size), "x": x, "y": y, "w": rng.normal(size=clusters * size)})


def test_the_interval_of_an_auc_is_that_of_a_bootstrap_of_clusters():
    rows = clustered(6)
    one = auc(rows, "x", "y")
    metrics = pytest.importorskip("sklearn.metrics")
    assert one.value == pytest.approx(metrics.roc_auc_score(rows["y"], rows["x"]))
    rng = np.random.default_rng(7)
    parts = np.arange(rows.height).reshape(80, -1)
    x, y = rows["x"].to_numpy(), rows["y"].to_numpy()
    drawn = [parts[rng.integers(0, 80, 80)].ravel() for _ in range(400)]
    low, high = np.quantile([metrics.roc_auc_score(y[at], x[at]) for at in drawn], [0.025, 0.975])
    assert one.high - one.low == pytest.approx(high - low, rel=0.25)
    apart = auc(rows.with_columns(prompt_id=np.arange(rows.height)), "x", "y")
    assert one.high - one.low > 2.5 * (apart.high - apart.low)


def test_the_interval_of_a_logistic_coefficient_is_that_of_the_sandwich_of_clusters():
    rows = clustered(8)
    found = logit(rows.with_columns(pl.col("y").cast(pl.Float64)), "y", ["x", "w"])
    b = np.array([found["x"].value, found["w"].value])
    x, y = rows.select("x", "w").to_numpy(), rows["y"].to_numpy().astype(float)
    p = 1 / (1 + np.exp(-x @ b))
    scores = (x * (y - p)[:, None]).reshape(80, -1, 2).sum(axis=1)
    assert scores.sum(axis=0) == pytest.approx([0, 0], abs=1e-5)  # the coefficients are the best ones
    bread = np.linalg.inv((x * (p * (1 - p))[:, None]).T @ x)
    n = rows.height
    variance = np.diag(bread @ scores.T @ scores @ bread) * 80 / 79 * (n - 1) / (n - 2)
    from scipy.stats import t

    for each, by_hand in zip((found["x"], found["w"]), t.ppf(0.975, 79) * np.sqrt(variance), strict=True):
        assert (each.high - each.low) / 2 == pytest.approx(by_hand, rel=1e-3)
    rng = np.random.default_rng(9)
    parts = np.arange(n).reshape(80, -1)
    drawn = []
    for _ in range(100):
        at = parts[rng.integers(0, 80, 80)].ravel()
        again = rows[at].with_columns(pl.col("y").cast(pl.Float64), prompt_id=np.arange(n))
        drawn.append(logit(again, "y", ["x", "w"])["x"].value)
    low, high = np.quantile(drawn, [0.025, 0.975])
    assert found["x"].high - found["x"].low == pytest.approx(high - low, rel=0.35)


def test_the_accuracy_gap_compares_within_fifths():
    data, plain = judge_world(300, 2, length=2.0)
    one = only(AccuracyGapByLength(), data)
    plain = [row for row in plain if row[2]]
    order = sorted(abs(row[2]) for row in plain)
    rank = {size: np.mean([i for i, s in enumerate(order) if s == size]) for size in set(order)}
    weights, gaps = [], []
    for fifth in range(5):
        part = [row for row in plain if int(rank[abs(row[2])] * 5 / len(plain)) == fifth]
        right = {way: [r[1] == r[3] for r in part if (r[1] * r[2] > 0) == way] for way in (True, False)}
        n = [len(right[way]) for way in (True, False)]
        weights.append(n[0] * n[1] / sum(n))
        gaps.append(np.mean(right[True]) - np.mean(right[False]))
    assert one.value == pytest.approx(np.average(gaps, weights=weights))
    assert one.severity != "info"
    assert one.value > 0.3


def test_gold_accuracy_kappa_and_alpha_are_what_counting_gives():
    metrics = pytest.importorskip("sklearn.metrics")
    data, plain = judge_world(120, 6, skill=0.5)
    one = only(GoldAccuracy(), data)
    assert one.value == np.mean([truth == prefers for _, truth, _, prefers in plain])
    places = [(1, -1)[i % 2] for i in range(len(plain))]  # shown first, then second
    said, true = ([row[k] * place for row, place in zip(plain, places, strict=True)] for k in (3, 1))
    assert only(GoldKappa(), data).value == pytest.approx(metrics.cohen_kappa_score(said, true))
    assert {only(each, data).severity for each in (GoldKappa(), GoldAlpha())} == {"info"}
    assert "for you to judge" in only(GoldAlpha(), data).message
    fine, _ = judge_world(120, 7, skill=4.0)
    assert {f.severity for d in (GoldAccuracy(), GoldKappa(), GoldAlpha()) for f in found(d, fine)} == {"info"}


def test_accuracy_is_told_by_tag():
    prompts, made, said = [], [], []
    for number in range(60):
        prompt = make_prompt((Message("user", f"{number}"),), tags=("hard",) if number < 30 else ("easy",))
        a, b = response(prompt.id, 0), response(prompt.id, 1)
        right = number >= 30 or number % 10 == 0
        said += [person(a, b, 1), *both_orders(a, b, *(("a", "a") if right else ("b", "b")))]
        prompts.append(prompt)
        made += [a, b]
    easy, hard = found(GoldAccuracyBySlice(), data_of(made, said, prompts=prompts))
    assert (easy.subject, easy.value, easy.severity) == ("judge: easy", 1.0, "info")
    assert (hard.subject, hard.value, hard.severity) == ("judge: hard", 0.1, "error")
    done = audit(data_of(made, said, prompts=prompts), FIDELITY)
    every = {each.subject: each.severity for each in done.findings if each.name.startswith("gold_accuracy")}
    assert every["judge"] == "warn"  # of 55 %
    assert every["judge: hard"] == "error"  # graver than what is said of all


FIDELITY = tuple(each for each in DIAGNOSTICS if each.failure_mode == "E4")


def test_a_judge_that_is_often_wrong_is_one_warning_whatever_is_counted():
    prompts, made, said = [], [], []
    for number in range(200):
        prompt = make_prompt((Message("user", f"{number}"),), tags=("odd",) if number % 2 else ("even",))
        a, b = response(prompt.id, 0), response(prompt.id, 1)
        said += [person(a, b, 1), *both_orders(a, b, *(("a", "a") if number % 20 < 10 else ("b", "b")))]
        prompts.append(prompt)
        made += [a, b]
    done = audit(data_of(made, said, prompts=prompts), FIDELITY)
    assert [each.name for each in done.findings if each.severity != "info"] == ["gold_accuracy"]
    even = next(each for each in done.findings if each.subject == "judge: even")
    assert even.message.endswith("gold_accuracy says so already.")
    assert {each.name for each in done.findings} >= {"gold_kappa", "gold_alpha"}


def test_seventy_per_cent_right_of_balanced_labels_are_a_kappa_and_an_alpha_of_two_fifths():
    rights = [n % 10 < 7 for n in range(2000)]
    true = np.array([1 if (n // 10) % 2 else -1 for n in range(2000)])
    said = np.where(rights, true, -true)
    clusters = np.arange(2000)
    counts = np.column_stack([(said == k) + 1.0 * (true == k) for k in (-1, 1)])
    assert cohen_kappa(said, true, clusters).value == pytest.approx(0.4)
    assert krippendorff_alpha(counts, clusters).value == pytest.approx(0.4, abs=0.001)
    assert GoldAccuracy.good[0] == 0.7


# --- own family, circles, calibration, scales


def test_families_are_read_from_names():
    names = ["openai/gpt-4o", "o1-mini", "claude-2.1", "Mixtral-8x7B", "vicuna-13b", "Meta-Llama-3-8B", "mine", "given"]
    told = pl.DataFrame({"m": names}).select(family(pl.col("m")))["m"].to_list()
    assert told == ["gpt", "gpt", "claude", "mistral", "llama", "llama", "mine", None]


def own_world(favour):
    rng = random.Random(8)
    made, said, counts = [], [], {True: [], False: []}
    for number in range(150):
        own = response(f"p_{number}", 0, "own", model="gpt-3.5-turbo")
        other = response(f"p_{number}", 1, "other", model="claude-2.1")
        truth = rng.choice([1, -1])
        picks_own = rng.random() < (sigmoid(1.5 * truth + favour))
        said += [person(own, other, truth), judged([own, other], model="gpt-4", ranks=RANKS[1 if picks_own else -1])]
        said += [judged([own, other], by="second", model="llama-3", ranks=RANKS[truth])]
        counts[truth == 1].append(picks_own == (truth == 1))
        made += [own, other]
    return data_of(made, said), np.mean(counts[True]) - np.mean(counts[False])


def test_self_preference_is_the_gap_between_own_and_others_wins():
    data, expected = own_world(1.5)
    one = only(SelfPreferenceGap(), data)
    assert one.value == pytest.approx(expected)
    assert (one.severity, one.subject, one.failure_mode) == ("warn", "judge", "E3")
    against = only(OwnFamilyAgainstOtherJudges(), data)
    assert against.severity == "warn"
    fair, _ = own_world(0.0)
    assert {f.severity for d in (SelfPreferenceGap(), OwnFamilyAgainstOtherJudges()) for f in found(d, fair)} == {
        "info"
    }


def test_circles_are_counted_among_all_triads():
    rng = random.Random(9)
    said, circles, triads = [], 0, 0
    for number in range(40):
        made = [response(f"p_{number}", i) for i in range(5)]
        wins = {}
        for x, y in combinations(range(5), 2):
            wins[x, y] = rng.random() < 0.5
            said += both_orders(made[x], made[y], *(("a", "a") if wins[x, y] else ("b", "b")))
        for x, y, z in combinations(range(5), 3):
            triads += 1
            circles += wins[x, y] == wins[y, z] != wins[x, z]
    one = only(CyclicTriads(), data_of([response("p_0", 0), response("p_0", 1)], said))
    assert (one.value, one.n, one.severity) == (circles / triads, triads, "error")


def sure_world(sharpen, prompts=300, seed=10):
    """A judge whose log-odds are `sharpen` times the true ones."""
    rng = random.Random(seed)
    made, said, plain = [], [], []
    for number in range(prompts):
        a, b = response(f"p_{number}", 0), response(f"p_{number}", 1)
        z = rng.gauss(0, 1.5)
        truth = 1 if rng.random() < sigmoid(z) else -1
        p = sigmoid(sharpen * z)
        said += [person(a, b, truth), judged([a, b], ranks=RANKS[1 if p > 0.5 else -1], probability=p)]
        plain.append((p, truth > 0))
        made += [a, b]
    return data_of(made, said), plain


def test_a_judge_that_is_too_sure_has_a_slope_below_one_and_an_error():
    from sklearn.linear_model import LogisticRegression

    data, plain = sure_world(4.0, 900)
    slope, error = only(CalibrationSlope(), data), only(CalibrationError(), data)
    assert slope.severity == error.severity == "warn"
    odds = np.log([[p / (1 - p)] for p in np.clip([p for p, _ in plain], 0.001, 0.999)])
    expected = (
        LogisticRegression(C=1e9, fit_intercept=False, tol=1e-10).fit(odds, [true for _, true in plain]).coef_[0, 0]
    )
    assert slope.value == pytest.approx(expected, abs=1e-3)
    assert slope.plot.diagonal
    clean = [
        f
        for seed in range(10)
        for d in (CalibrationSlope(), CalibrationError())
        for f in found(d, sure_world(1.0, 100, seed)[0])
    ]
    assert sum(f.severity != "info" for f in clean) <= 1
    from sklearn.metrics import brier_score_loss

    from triptych.audit.judges import judges

    (judge,) = judges(data).judges
    p, true = zip(*plain, strict=True)
    assert judge.measures["brier"].value == pytest.approx(brier_score_loss(true, p))
    assert judge.measures["expected_calibration_error"].value > 0.1


def scored_world(scores):
    made, said = [], []
    for number, each in enumerate(scores):
        for index, score in enumerate(each):
            one = response(f"p_{number}", index)
            made.append(one)
            said.append(judged([one], scores=(score,)))
    return data_of(made, said)


def test_saturated_scores_are_told():
    data = scored_world([(1.0, 1.0, 1.0)] * 36 + [(0.5, 1.0, 0.2)] * 4)
    assert (only(ScoresAtTheEnds(), data).value, only(ScoresAtTheEnds(), data).severity) == (112 / 120, "warn")
    assert (only(TiedScores(), data).value, only(TiedScores(), data).n) == (108 / 120, 120)
    levels = only(ScoreLevels(), data)
    entropy = -sum(p * math.log(p) for p in (112 / 120, 4 / 120, 4 / 120))
    assert levels.value == pytest.approx(math.exp(entropy))
    assert levels.severity == "warn"
    rng = random.Random(1)
    fine = scored_world([[rng.randint(1, 9) / 10 for _ in range(3)] for _ in range(40)])
    assert {f.severity for d in (ScoresAtTheEnds(), TiedScores(), ScoreLevels()) for f in found(d, fine)} == {"info"}


def test_ties_in_pairs_are_counted():
    said = [
        v
        for n in range(30)
        for v in both_orders(response(f"p_{n}", 0), response(f"p_{n}", 1), "tie", "tie" if n < 24 else "a")
    ]
    assert (
        only(TiedPairs(), data_of(judgements=said)).value,
        only(TiedPairs(), data_of(judgements=said)).severity,
    ) == (0.9, "warn")


# --- repeats, panels


def test_repeats_that_differ_are_counted_two_by_two():
    said = []
    for number in range(40):
        a, b = response(f"p_{number}", 0), response(f"p_{number}", 1)
        said += [judged([a, b], ranks=RANKS[1 if number % 2 or r < 2 else -1], repeat=r) for r in range(3)]
    one = only(RepeatAgreement(), data_of(judgements=said))
    assert (one.value, one.n, one.severity, one.failure_mode) == ((20 * 3 + 20) / 120, 120, "warn", "E5")


def test_an_import_that_keeps_only_verdicts_that_differ_says_nothing_of_repeats(tmp_path):
    instance = {"subset": "Natural", "output_1": "Yes.", "output_2": "No.", "label": 1}
    said = {"subset": "Natural", "judge": "j", "strategy": "plain", "swapped": False}
    instances, verdicts = tmp_path / "instances.jsonl", tmp_path / "verdicts.jsonl"
    instances.write_text(
        "".join(f"{json.dumps({**instance, 'index': n, 'input': f'Is it {n}?'})}\n" for n in range(40))
    )
    asked = [{**said, "index": n, "winner": winner} for n in range(40) for winner in (1, 1, 2 if n < 10 else 1)]
    verdicts.write_text("".join(f"{json.dumps(each)}\n" for each in asked))
    run = tp.import_data(instances, out=tmp_path / "run", verdicts=verdicts)
    assert RepeatAgreement().lacks(Data.of(run)) is not None


def test_other_words_are_compared_within_a_model():
    said = []
    for number in range(40):
        a, b = response(f"p_{number}", 0), response(f"p_{number}", 1)
        said += [
            judged([a, b], by="one", ranks=(1, 2)),
            judged([a, b], by="two", ranks=RANKS[1 if number < 10 else -1]),
        ]
    one = only(WordingAgreement(), data_of(judgements=said))
    assert (one.value, one.subject, one.severity) == (0.25, "big", "error")


def panel_world(together):
    rng = random.Random(11)
    made, said, errors = [], [], []
    for number in range(200):
        a, b = response(f"p_{number}", 0), response(f"p_{number}", 1)
        shared, row = rng.random() < 0.3, []
        for judge in range(4):
            wrong = shared if rng.random() < together else rng.random() < 0.3
            said.append(judged([a, b], by=f"j{judge}", model=f"m{judge}", ranks=RANKS[-1 if wrong else 1]))
            row.append(float(wrong))
        said.append(person(a, b, 1))
        errors.append(row)
        made += [a, b]
    return data_of(made, said), np.array(errors)


def test_the_effective_number_of_judges_comes_from_the_correlations_of_their_errors():
    data, errors = panel_world(0.9)
    rho = np.corrcoef(errors.T)[np.triu_indices(4, 1)].mean()
    one = only(EffectiveJudges(), data)
    assert one.value == pytest.approx(1 / (1 + 3 * rho))
    assert one.severity == "warn"
    apart, _ = panel_world(0.0)
    assert only(EffectiveJudges(), apart).severity == "info"


# --- several aims, hacking


def hacking_world(weight, versions=("",)):
    rng = random.Random(12)
    made, said = [], []
    for number in range(60):
        for index in range(4):
            version, size = versions[index % len(versions)], rng.randint(10, 1000)
            one = response(f"p_{number}", index, text(size) + str(index))
            one = type(one)(**{f: getattr(one, f) for f in one.__struct_fields__} | {"model_version": version})
            right = float(rng.random() < 0.5)
            late = versions.index(version) if len(versions) > 1 else 0
            score = (1 - weight) * right + weight * (size / 1000 if len(versions) == 1 else late / len(versions))
            made.append(one)
            said += [verified(one, right), judged([one], scores=(min(1.0, max(0.0, 0.9 * score + rng.random() / 10)),))]
    return data_of(made, said)


def test_scores_that_rise_over_versions_without_gold_are_told():
    assert only(ProxyWithoutGold(), hacking_world(0.7, ("1", "2", "10"))).severity != "info"
    assert only(ProxyWithoutGold(), hacking_world(0.0, ("1", "2", "10"))).severity == "info"


# --- steps, verifiers, people, shift


def step(one, index, score, n=None):
    return make_judgement(
        prompt_id=one.prompt_id, response_ids=(one.id,), criterion="step", criterion_id="s", evaluator="rollouts",
        evaluator_id="o_s", model="big", step=StepLocator("step", index), scores=(score,), scale=(0.0, 1.0),
    )  # fmt: skip


def step_world(useful, recipe=None):
    rng = random.Random(14)
    prompts, made, said = [], [], []
    for number in range(50):
        prompt = make_prompt((Message("user", f"{number}"),), reference="4")
        prompts.append(prompt)
        for index in range(4):
            one = response(prompt.id, index, f"a\nb\nc\n{index}")
            right = float(rng.random() < 0.5)
            made.append(one)
            said.append(verified(one, right))
            for place in range(rng.randint(3, 6)):
                value = rng.choice([0.5, 0.75]) if not useful else min(1.0, 0.25 + 0.5 * right + rng.choice([0, 0.25]))
                said.append(step(one, place, value))
    return data_of(made, said, prompts=prompts, recipe=recipe)


def label(one, right):
    return make_judgement(
        prompt_id=one.prompt_id, response_ids=(one.id,), criterion="right", criterion_id="r", evaluator="people",
        evaluator_id="o_p", scores=(right,), scale=(0.0, 1.0),
    )  # fmt: skip


def people_world(apart):
    rng = random.Random(15)
    said, rows = [], []
    for number in range(80):
        a, b = response(f"p_{number}", 0), response(f"p_{number}", 1)
        truth, row = rng.choice([1, -1]), []
        for group in ("north", "south"):
            for who in range(2):
                flip = rng.random() < (0.1 if group == "north" or not apart else 0.9)
                said.append(person(a, b, -truth if flip else truth, by=group, who=str(who)))
                row.append(-truth if flip else truth)
        rows.append([each if a.id < b.id else -each for each in row])
    return data_of(judgements=said), np.array(rows)


def shift_world(longer):
    rng = random.Random(16)
    made, said = [], []
    for number in range(120):
        fresh = number >= 60
        a, b = (
            response(f"p_{number}", i, text(rng.randint(50, 500) * (longer if fresh else 1)) + str(i)) for i in range(2)
        )
        p = 0.6 if fresh and longer > 1 else 0.95
        said.append(judged([a, b], ranks=(1, 2), probability=p))
        if not fresh:
            said.append(person(a, b, 1))
        made += [a, b]
    return data_of(made, said)


# --- hostile data


def hostile():
    one = response("p", 0, "")
    two = response("p", 1, "\u202eאבג 👍")
    nan = float("nan")
    yield "nothing", {}
    yield "one row", {"responses": [one], "judgements": [judged([one], scores=(0.5,))]}
    yield (
        "scores that are no numbers",
        {
            "responses": [one, two],
            "judgements": [
                judged([r], scores=(s,), repeat=i) for i, (r, s) in enumerate([(one, nan), (two, float("inf"))])
            ],
        },
    )
    alike = [response(f"p_{i}", j, "same") for i in range(30) for j in range(2)]
    verdicts = [v for i in range(30) for v in both_orders(alike[2 * i], alike[2 * i + 1], "a", "a")]
    gold = [person(alike[2 * i], alike[2 * i + 1], 1) for i in range(30)]
    yield "all alike, one label", {"responses": alike, "judgements": verdicts + gold}
    yield (
        "nothing readable",
        {
            "responses": alike,
            "judgements": [judged([alike[2 * i], alike[2 * i + 1]], status="failed") for i in range(30)] + gold,
        },
    )
    yield "a judge of unknown responses", {"judgements": verdicts + gold}
    yield (
        "all probabilities one",
        {
            "responses": alike,
            "judgements": [judged([alike[2 * i], alike[2 * i + 1]], ranks=(1, 2), probability=1.0) for i in range(30)]
            + gold,
        },
    )


@pytest.mark.parametrize(("what", "tables"), list(hostile()), ids=lambda value: value if isinstance(value, str) else "")
def test_hostile_data_crash_nothing_and_give_no_number_that_is_none(what, tables):
    from triptych.audit.judges import judges

    told = audit(data_of(**tables), DIAGNOSTICS)
    assert [each for each in told.unmeasured if each.defect] == []
    for one in told.findings:
        assert one.value is None or math.isfinite(one.value), one
    for judge in judges(data_of(**tables)).judges:
        assert all(math.isfinite(each.value) for each in judge.measures.values())
