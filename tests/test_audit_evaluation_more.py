"""Diagnostics of repeats, criteria, steps, verifiers, people, hacking and drift: against other ways of counting, and on planted
faults."""

from __future__ import annotations

import asyncio
import json
import math
import random
import statistics
from itertools import combinations

import krippendorff
import numpy as np
import polars as pl
import pytest

from planted.faults import FAULTS
from planted.world import clean
from test_findings import judged, lazy, only, response, told
from triptych.audit.audit import audit
from triptych.audit.data import Data
from triptych.audit.estimates import smooth
from triptych.audit.evaluation import DIAGNOSTICS
from triptych.audit.evaluation.annotators import AnnotatorAlpha, AnnotatorDistance, alpha
from triptych.audit.evaluation.coarseness import LabelDensity, StepScoreError, steps_of
from triptych.audit.evaluation.criteria import CriteriaConflict, CriterionDominance
from triptych.audit.evaluation.drift import GoldCoverageAuc, GoldCoverageIndex
from triptych.audit.evaluation.hacking import DisagreementAtTheTop, ProxyFollowsFlattery, ProxyFollowsLength
from triptych.audit.evaluation.repeats import ScoreReliability, reliability
from triptych.audit.evaluation.steps import OutcomeAucFromSteps, WrongEndsWithoutBadStep
from triptych.audit.evaluation.verifier_leaks import (
    PlantedRightFailed,
    PlantedWrongPassed,
    VerifierFalseNegatives,
    VerifierFalsePositives,
)
from triptych.audit.stability import stability
from triptych.parts import parts
from triptych.recipes.load import build_recipe, parse_recipe
from triptych.recipes.write import recipe_yaml
from triptych.records import Message, make_prompt
from triptych.records.judgement import StepLocator

MODES = {"E5", "E9", "E10", "E11", "E12", "E13", "E15", "E16"}
OURS = [each for each in DIAGNOSTICS if each.failure_mode in MODES]
PLANTED = {
    "scores_drawn_anew": "score_reliability",
    "scores_moved_where_no_gold_is": "gold_coverage_index",
    "texts_changed_where_no_gold_is": "gold_coverage_auc",
    "flattery_that_pays": "proxy_follows_flattery",
    "one_judge_that_is_fooled": "disagreement_at_the_top",
    "criteria_that_pull_apart": "criteria_conflict",
    "one_criterion_that_decides": "criterion_dominance",
    "long_answers_with_few_labels": "label_density",
    "steps_of_few_rollouts": "step_score_error",
    "steps_praised_by_a_coin": "outcome_auc_from_steps",
    "verifier_that_passes_wrong_answers": "verifier_false_positives",
    "verifier_that_fails_right_answers": "verifier_false_negatives",
    "checks_that_look_for_a_word": "planted_wrong_passed",
    "people_who_disagree": "annotator_alpha",
    "one_annotator_of_another_mind": "annotator_distance",
}


def scored(one, score, by="judge", criterion="good", **more):
    return judged([one], by=by, criterion=criterion, scores=(score,), **more)


def said_by(person, one, score, criterion="tone", **more):
    return scored(one, score, by=person, criterion=criterion, model=None, **more)


def recipe(**more):
    return build_recipe(
        {
            "name": "r",
            "seed": 1,
            "prompts": {"kind": "inline", "prompts": ["one"]},
            "synthesis": {"kind": "given"},
            "objective": {"criteria": {"good": {"text": "good"}}},
            "instantiation": {"kind": "pairs", "choose": "best_vs_worst"},
        }
        | more,
        "r",
    )


def data_of(made=None, **tables):
    return Data({name: lazy(name, rows) for name, rows in tables.items()}, recipe=made)


def only_of(diagnostic, data):
    (found,) = diagnostic.measure(data)
    return found


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_fault_is_found_where_it_is_and_not_where_it_is_not(name):
    fault = next(fault for fault in FAULTS if fault.name == name)
    named = [each for each in OURS if each.name == PLANTED[name]]
    for strength in (0.0, min(1.5 * fault.moderate, fault.most)):  # in few prompts a fault must be strong
        world = clean(2)
        fault.plant(world, strength, random.Random(name))
        found = audit(world.data(), named)
        assert any(each.severity != "info" for each in found.findings) == (strength > 0), found
        assert found.findings
        assert all(each.failure_mode == fault.mode for each in found.findings)
        for each in found.findings:
            if each.name in fault.truth and strength:
                assert abs(each.value - fault.truth[each.name](strength)) <= 1.5 * (each.high - each.low) + 1e-9


# --- E5


def of_ratings(table, scale):
    """A response a prompt, scored several times."""
    return [
        judged([response(f"p_{number}", 0)], scores=(score / scale,), repeat=repeat)
        for number, scores in enumerate(table)
        for repeat, score in enumerate(scores)
    ]


def test_reliability_is_that_of_the_table_that_shrout_and_fleiss_print():
    table = [(9, 2, 5, 8), (6, 1, 3, 2), (8, 4, 6, 8), (7, 1, 2, 6), (10, 5, 6, 9), (6, 2, 4, 7)]
    assert only(ScoreReliability(), judgements=of_ratings(table, 10)).value == pytest.approx(0.17, abs=0.005)


def test_reliability_of_unequal_numbers_of_repeats_is_that_of_a_one_way_analysis_of_variance():
    rng = random.Random(3)
    table = [
        [min(max(rng.gauss(w := rng.random(), 0.1 * w), 0), 1) for _ in range(rng.choice((2, 3, 4)))] for _ in range(60)
    ]
    n, everything = sum(map(len, table)), [x for row in table for x in row]
    mean = statistics.fmean(everything)
    between = sum(len(row) * (statistics.fmean(row) - mean) ** 2 for row in table) / (len(table) - 1)
    within = sum(sum((x - statistics.fmean(row)) ** 2 for x in row) for row in table) / (n - len(table))
    k = (n - sum(len(row) ** 2 for row in table) / n) / (len(table) - 1)
    found = only(ScoreReliability(), judgements=[*of_ratings(table, 1), *of_ratings([(0.5,)] * 0, 1)])
    assert found.value == pytest.approx((between - within) / (between + (k - 1) * within))
    assert (found.n, found.prompts, found.subject) == (n, 60, "judge: good")


def test_scores_that_were_given_once_say_nothing_of_reliability():
    assert ScoreReliability().lacks(data_of(judgements=of_ratings([(1,), (2,)], 10))) is not None


# --- E11


def test_conflict_counts_pairs_that_both_criteria_tell_clearly_apart():
    rng, said, scores = random.Random(4), [], {}
    for number in range(50):
        for place in range(4):
            one = response(f"p_{number}", place)
            scores[number, place] = [round(rng.random(), 2) for _ in "ab"]
            said += [
                scored(one, score, criterion=name) for name, score in zip("ab", scores[number, place], strict=True)
            ]
    sd = [statistics.stdev(each[side] for each in scores.values()) for side in (0, 1)]
    both = against = 0
    for number in range(50):
        for i, j in combinations(range(4), 2):
            apart = [scores[number, i][side] - scores[number, j][side] for side in (0, 1)]
            if all(abs(each) >= least for each, least in zip(apart, sd, strict=True)):
                both += 1
                against += apart[0] * apart[1] < 0
    found = only(CriteriaConflict(), judgements=said)
    assert (found.value, found.n, found.severity) == (against / both, both, "warn")
    assert found.subject == "judge: a, b"


def test_a_judge_of_pairs_conflicts_where_its_winners_are_opposite():
    said = []
    for number in range(40):
        a, b = (response(f"p_{number}", place) for place in (0, 1))
        for criterion, first_wins in (("a", True), ("b", number % 4 != 0)):
            ranks = (1, 2) if first_wins else (2, 1)
            said.append(judged([a, b], ranks=ranks, criterion=criterion))
    found = only(CriteriaConflict(), judgements=said)
    assert (found.value, found.n, found.severity) == (0.25, 40, "info")  # its interval still holds 15 %


def test_the_share_of_a_criterion_is_its_covariance_with_the_overall_score():
    rng = np.random.default_rng(5)
    scores = rng.random((80, 3, 2)) * [1.0, 0.4]
    made = [[response(f"p_{number}", place) for place in range(3)] for number in range(80)]
    said = [
        scored(made[number][place], float(scores[number, place, side]), criterion=name)
        for number in range(80)
        for place in range(3)
        for side, name in enumerate("ab")
    ]
    weights = np.array([1.0, 2.0])
    apart = (scores - scores.mean(axis=1, keepdims=True)) * weights
    overall = apart.sum(-1)
    expected = (apart[..., 0] * overall).sum() / (overall**2).sum()
    criteria = {"a": {"text": "a"}, "b": {"text": "b", "weight": 2}}
    made_by = recipe(objective={"criteria": criteria})
    data = data_of(made_by, responses=[one for some in made for one in some], judgements=said)
    (found,) = CriterionDominance().measure(data)
    assert found.value == pytest.approx(expected)
    assert (found.subject, found.severity) == ("a", "info")
    assert sum(found.plot.values) == pytest.approx(1)


# --- E12


def question(number, **more):
    return make_prompt((Message("user", f"question {number}"),), **more)


def test_steps_are_counted_as_the_judges_of_steps_count_them():
    texts = [
        "one\ntwo\n\n  \nthree\nfour",
        "a\nb\nc",
        "Step 1 a\nb\nStep 2: c\n\n**Step 3** d\ne",
        "a\n\nb\n\nc\n\n\nd",
        "\n\n x\ny \n z\n\n",
    ]
    prompt = question(0, reference="1")
    rows = [response(prompt.id, place, text) for place, text in enumerate(texts)]
    found = steps_of(data_of(prompts=[prompt], responses=rows)).collect()
    counted = dict(zip(found["response_id"], found["steps"], strict=True))
    for one, text in zip(rows, texts, strict=True):
        expected = len(parts(text, "step"))
        assert counted.get(one.id, 0) == (expected if expected >= 3 else 0), text


def test_label_density_is_labels_over_steps_of_long_solutions_that_can_be_checked():
    text = "\n".join(f"line {n}" for n in range(10))
    prompts = [question(number, reference="1" if number < 40 else None) for number in range(60)]
    rows = [response(prompt.id, 0, text) for prompt in prompts]
    said = [scored(one, 1.0) for one in rows]
    for one in rows[:10]:  # five of ten steps
        said += [scored(one, 1.0, step=StepLocator("step", step)) for step in range(5)]
    data = data_of(prompts=prompts, responses=rows, judgements=said)
    (found,) = LabelDensity().measure(data)
    assert (found.value, found.n, found.prompts) == ((10 * 5 + 30) / 400, 400, 40)
    (coarse,) = LabelDensity().measure(data_of(prompts=prompts, responses=rows, judgements=said[:60]))
    assert (coarse.value, coarse.severity) == (0.1, "warn")
    assert LabelDensity().lacks(data_of(prompts=prompts[40:], responses=rows[40:], judgements=said)) is not None


def test_the_error_of_step_scores_is_that_of_shares_and_more_rollouts_mend_it():
    check = {"kind": "verify", "use_prompt": False, "final_answer": True}
    made = recipe(
        models={"m": {"backend": "openai", "model": "m", "base_url": "http://localhost:1"}},
        evaluation=[{"kind": "rollouts", "model": "m", "n": 4, "check": check}],
        instantiation={"kind": "stepwise"},
    )
    shares = [0.5, 0.25, 1.0, 0.75]
    said = [
        scored(response(f"p_{number}", 0), share, by="rollouts", criterion="step", step=StepLocator("step", step))
        for number in range(30)
        for step, share in enumerate([*shares, 1.0])  # the last one is the end
    ]
    data = data_of(made, judgements=said)
    (found,) = StepScoreError().measure(data)
    assert found.value == pytest.approx(math.sqrt(statistics.fmean(p * (1 - p) / 3 for p in shares)))
    assert (found.severity, found.n) == ("warn", 120)
    changes = [f"{place}={json.dumps(value)}" for place, value in found.edits.items()]
    assert math.sqrt(0.25 / parse_recipe(recipe_yaml(made), changes=changes).evaluation[0].n) <= 0.15


# --- E13


def test_mean_step_scores_tell_ends_apart_as_often_as_counted():
    rng, said, rows = random.Random(6), [], []
    for number in range(60):
        right, one = rng.random() < 0.5, response(f"p_{number}", 0)
        steps = [round(min(max(rng.gauss(0.5 + 0.1 * right, 0.3), 0), 1), 1) for _ in range(3)]
        rows.append((right, sum(steps) / 3, min(steps)))
        said.append(scored(one, float(right), by="verify", model=None, criterion="correct", check="x"))
        said += [scored(one, score, by="prm", step=StepLocator("step", step)) for step, score in enumerate(steps)]
    good, bad = ([round(mean, 9) for right, mean, _ in rows if right == which] for which in (True, False))
    expected = statistics.fmean((g > b) + (g == b) / 2 for g in good for b in bad)
    found = only(OutcomeAucFromSteps(), judgements=said)
    assert found.value == pytest.approx(expected, abs=0.01)
    praised = [least >= 0.5 for right, _, least in rows if not right]
    without = only(WrongEndsWithoutBadStep(), judgements=said)
    assert (without.value, without.n) == (sum(praised) / len(praised), len(praised))


# --- E15


def test_a_verifier_is_held_against_people_on_its_own_criterion():
    said = []
    for number in range(100):
        one, right = response(f"p_{number}", 0), number % 2 == 0
        passes = right != (number % 10 == 1)  # of the 50 wrong ones, numbers 1, 11, 21 and so on: ten
        said.append(scored(one, float(passes), by="verify", model=None, criterion="correct", check="final_answer"))
        said.append(said_by("ann", one, float(right), criterion="correct"))
        said.append(said_by("ann", one, 1.0 - right, criterion="tone"))
    positive, negative = (only(each(), judgements=said) for each in (VerifierFalsePositives, VerifierFalseNegatives))
    assert (positive.value, positive.n, positive.severity) == (0.2, 50, "warn")
    assert (negative.value, negative.n, negative.severity) == (0.0, 50, "info")


def test_a_check_that_looks_for_a_word_passes_the_wrong_answer_in_which_it_stands():
    lax = [
        question(n, reference=str(n), constraints=({"kind": "includes", "words": [str(n)]},)) for n in range(100, 150)
    ]
    strict = [
        question(n, constraints=({"kind": "final_answer", "answer": str(n)}, {"kind": "no_commas"}))
        for n in range(5000, 5050)
    ]
    made = recipe(evaluation=[{"kind": "verify"}])
    (passed,) = PlantedWrongPassed().measure(data_of(made, prompts=lax))
    assert (passed.value, passed.n, passed.severity) == (1 / 3, 150, "error")
    changes = [f"{place}={json.dumps(value)}" for place, value in passed.edits.items()]
    mended = parse_recipe(recipe_yaml(made), changes=changes)
    assert only_of(PlantedWrongPassed(), data_of(mended, prompts=lax)).value == 0
    (passed,) = PlantedWrongPassed().measure(data_of(made, prompts=strict))
    (failed,) = PlantedRightFailed().measure(data_of(made, prompts=strict))
    assert (passed.value, failed.value, passed.n, failed.n) == (0.0, 0.0, 150, 300)
    by_reference = recipe(evaluation=[{"kind": "verify", "name": "sums", "use_prompt": False, "final_answer": True}])
    (passed,) = PlantedWrongPassed().measure(data_of(by_reference, prompts=lax))
    assert (passed.value, passed.subject) == (0.0, "sums")


def test_a_pattern_that_wants_one_way_of_writing_fails_the_others():
    prompts = [
        question(n, reference=str(n), constraints=({"kind": "regex", "pattern": f"#### {n}$"},)) for n in range(10, 40)
    ]
    (failed,) = PlantedRightFailed().measure(data_of(recipe(evaluation=[{"kind": "verify"}]), prompts=prompts))
    assert (failed.value, failed.n, failed.severity) == (0.8, 150, "error")


def test_planted_answers_are_asked_also_within_a_running_loop_and_of_odd_prompts():
    odd = [question(0, reference="x^2"), question(1, reference="{{ 7*7 }}"), question(2, reference=""), question(3)]
    odd += [
        question(
            4, reference="5", constraints=({"kind": "nonsense", "answer": "5"}, {"kind": "regex", "pattern": "5("})
        )
    ]
    made = recipe(evaluation=[{"kind": "verify", "final_answer": True}])

    async def measured():
        data = data_of(made, prompts=[*odd, *(question(n, reference=f"{n}/7") for n in range(10, 40))])
        return [found for each in (PlantedWrongPassed(), PlantedRightFailed()) for found in each.measure(data)]

    assert [(found.value, found.prompts) for found in asyncio.run(measured())] == [(0.0, 30), (0.0, 30)]


# --- E16


def test_alpha_is_that_of_the_krippendorff_package():
    rng = random.Random(7)
    table = [
        [round(min(max(rng.gauss(w, 0.2), 0), 1), 1) if rng.random() < 0.8 else None for _ in range(4)]
        for w in (rng.random() for _ in range(60))
    ]
    said = [
        said_by(person, response(f"p_{number}", 0), score)
        for number, scores in enumerate(table)
        for person, score in zip(("ann", "ben", "cleo", "dan"), scores, strict=True)
        if score is not None
    ]
    by_rater = np.array([[np.nan if score is None else score for score in row] for row in table]).T
    expected = krippendorff.alpha(by_rater, level_of_measurement="interval")
    found = only(AnnotatorAlpha(), judgements=said)
    assert found.value == pytest.approx(expected)
    assert found.subject == "tone"


def test_choices_of_people_agree_whichever_response_was_shown_first():
    rng, said, table = random.Random(8), [], []
    for number in range(50):
        a, b = (response(f"p_{number}", place) for place in (0, 1))
        votes = [rng.random() < 0.8 for _ in range(3)]
        table.append(votes)
        for person, for_a in zip(("ann", "ben", "cleo"), votes, strict=True):
            shown = [a, b] if rng.random() < 0.5 else [b, a]
            ranks = (1, 2) if for_a == (shown[0] is a) else (2, 1)
            said.append(judged(shown, by=person, model=None, ranks=ranks))
    least = [min(response(f"p_{n}", 0).id, response(f"p_{n}", 1).id) == response(f"p_{n}", 0).id for n in range(50)]
    by_rater = np.array([[vote == first for vote in votes] for votes, first in zip(table, least, strict=True)]).T
    expected = krippendorff.alpha(by_rater.astype(int), level_of_measurement="nominal", value_domain=[0, 1])
    assert only(AnnotatorAlpha(), judgements=said).value == pytest.approx(expected)


def test_somebody_who_contradicts_herself_is_not_several_people():
    said, ratings = [], []
    for number in range(60):
        a, b = (response(f"p_{number}", place) for place in (0, 1))
        said += [judged([a, b], by="ann", model=None, ranks=ranks) for ranks in ((1, 2), (2, 1))]
        ratings.append(said_by("ann", a, number % 2))
    for diagnostic in (AnnotatorAlpha(), AnnotatorDistance()):
        assert diagnostic.lacks(data_of(judgements=said)) is not None
    # What she says at other times counts as one rating, the mean.
    again = [said_by("ann", response(f"p_{number}", 0), 1 - number % 2, repeat=1) for number in range(60)]
    ben = [said_by("ben", response(f"p_{number}", 0), number % 2) for number in range(60)]
    expected = krippendorff.alpha([[n % 2 for n in range(60)], [0.5] * 60], level_of_measurement="interval")
    found = only(AnnotatorAlpha(), judgements=[*said, *ratings, *again, *ben])
    assert (found.value, found.n) == (pytest.approx(expected), 120)


def test_an_annotator_of_another_mind_is_told_and_named():
    rng, said = random.Random(9), []
    farther = []
    for number in range(60):
        one, truth = response(f"p_{number}", 0), rng.random() < 0.5
        votes = {"ann": truth, "ben": truth, "cleo": truth, "dan": truth != (number % 2 == 0)}
        said += [said_by(person, one, float(vote)) for person, vote in votes.items()]
        apart = {who: abs(v - statistics.fmean(o for w, o in votes.items() if w != who)) for who, v in votes.items()}
        farther.append(apart["dan"] - statistics.fmean(d for who, d in apart.items() if who != "dan"))
    found = only(AnnotatorDistance(), judgements=said)
    assert found.value == pytest.approx(statistics.fmean(farther))
    assert (found.subject, found.severity, len(found.plot.labels)) == ("dan", "warn", 4)


# --- E10 and E9


def with_texts(rng, count=80, flattery=0.0):
    rows, said, numbers = [], [], []
    for number in range(count):
        for place in range(4):
            flatters, right = rng.random() < 0.5, rng.random() < 0.5
            words = "word " * rng.randrange(5, 60)
            one = response(f"p_{number}", place, ("Great question! " if flatters else "") + words + f"{place}.")
            proxy = min(max(0.4 + 0.2 * right + flattery * flatters + rng.gauss(0, 0.08), 0), 1)
            rows.append(one)
            said += [
                scored(one, proxy),
                scored(one, float(right), by="verify", model=None, check="x", criterion="correct"),
            ]
            numbers.append((number, proxy, right, math.log(1 + flatters), math.log(1 + len(one.messages[0].content))))
    return rows, said, np.array(numbers, dtype=float)


@pytest.mark.parametrize(("flattery", "severity"), [(0.0, "info"), (0.15, "warn")])
def test_what_a_proxy_pays_beyond_gold_is_a_partial_correlation(flattery, severity):
    rows, said, numbers = with_texts(random.Random(10), flattery=flattery)
    centred = numbers.reshape(-1, 4, 5)
    centred = (centred - centred.mean(axis=1, keepdims=True)).reshape(-1, 5)

    def beyond_gold(column):
        gold = centred[:, 2]
        return column - gold * (gold @ column) / (gold @ gold)

    for diagnostic, place in ((ProxyFollowsFlattery(), 3), (ProxyFollowsLength(), 4)):
        found = only(diagnostic, responses=rows, judgements=said)
        expected = np.corrcoef(beyond_gold(centred[:, 1]), beyond_gold(centred[:, place]))[0, 1]
        assert found.value == pytest.approx(expected)
        assert found.severity == (severity if place == 3 else "info")


def test_disagreement_at_the_top_is_the_variance_there_over_all():
    rng, said, table = random.Random(11), [], []
    for number in range(200):
        one, worth = response(f"p_{number}", 0), rng.random()
        fooled = number % 20 == 0
        table.append([1.0 if fooled else 0.6 * worth, 0.3 * worth + 0.05 * rng.random()])
        said += [scored(one, score, by=who) for who, score in zip(("x", "y"), table[-1], strict=True)]
    z = np.array(table)
    z = (z - z.mean(axis=0)) / z.std(axis=0, ddof=1)
    variance, means = z.var(axis=1, ddof=1), z.mean(axis=1)
    top = means >= np.sort(means)[round(0.9 * 199)]
    found = only(DisagreementAtTheTop(), judgements=said)
    assert found.value == pytest.approx(variance[top].mean() / variance.mean())
    assert found.severity in {"warn", "error"}


def test_the_shift_of_scores_where_no_gold_is_is_a_population_stability_index():
    rng, said, counts = random.Random(12), [], np.zeros((2, 10))
    for number in range(300):
        gold = number < 150
        one, level = response(f"p_{number}", 0), rng.randrange(10) if gold else rng.randrange(5, 10)
        counts[0 if gold else 1, level] += 1
        said.append(scored(one, level / 10 + 0.05))
        if gold:
            said.append(said_by("ann", one, 1.0))
    p, q = ((each + 0.5) / (each.sum() + 5) for each in counts)
    by_chance = sum(each / 150 * (1 - each / 150) / 150 for each in counts) / ((p + q) / 2)
    expected = ((q - p) * np.log(q / p) - by_chance).sum()
    found = only(GoldCoverageIndex(), judgements=said)
    assert found.value == pytest.approx(expected)
    assert found.severity in {"warn", "error"}


@pytest.mark.parametrize(("longer", "severity"), [(1, "info"), (4, "error")])
def test_responses_without_gold_are_told_from_those_with_it_by_their_form(longer, severity):
    rng, rows, said = random.Random(13), [], []
    for number in range(200):
        gold = number % 2 == 0
        one = response(f"p_{number}", 0, "word " * rng.randrange(20, 40) * (1 if gold else longer))
        rows.append(one)
        said += [scored(one, 0.5), *([said_by("ann", one, 1.0)] if gold else [])]
    assert only(GoldCoverageAuc(), responses=rows, judgements=said).severity == severity


# --- intervals


def _icc(rng, prompts):
    worth = (
        rng.normal(0, 0.7**0.5, prompts)[:, None, None] * 0.6**0.5 + rng.normal(0, 0.7**0.5, (prompts, 2, 1)) * 0.4**0.5
    )
    x = worth + rng.normal(0, 0.3**0.5, (prompts, 2, 3))
    k = np.full((prompts, 2), 3.0)
    columns = [np.ones_like(k), k, k * k, x.sum(-1), x.sum(-1) ** 2 / 3, (x**2).sum(-1)]
    return np.stack([each.sum(1) for each in columns], axis=1), reliability, 0.7, (-1.0, 1.0)


def _alpha(rng, prompts):
    x = rng.normal(0, 0.5**0.5, (prompts, 2, 1)) + rng.normal(0, 0.5**0.5, (prompts, 2, 3))
    m, total, squares = np.full((prompts, 2), 3.0), x.sum(-1), (x**2).sum(-1)
    columns = [m, total, squares, (m * squares - total**2) / (m - 1)]
    return np.stack([each.sum(1) for each in columns], axis=1), alpha, 0.5, (-1.0, 1.0)


def _shift(rng, prompts):
    q = np.array([0.07] * 9 + [0.37])
    draws = [rng.multinomial(3, p, prompts) for p in (np.full(10, 0.1), q)]
    half = np.arange(prompts) % 2 == 0
    return np.concatenate([draws[0] * half[:, None], draws[1] * ~half[:, None]], axis=1), q


@pytest.mark.parametrize("drawn", [_icc, _alpha])
def test_intervals_hold_the_truth_as_often_as_they_say(drawn):
    rng, held = np.random.default_rng(14), 0
    for _ in range(400):
        sums, statistic, truth, within = drawn(rng, 150)
        found = smooth(sums, statistic, n=len(sums), within=within)
        held += found.low <= truth <= found.high
    assert 0.90 <= held / 400 <= 0.98, held / 400


@pytest.mark.parametrize("prompts", [50, 150])
def test_the_interval_of_a_shift_of_scores_holds_the_truth_as_often_as_it_says(prompts):
    rng, held = np.random.default_rng(16), 0
    for _ in range(300):
        cells, q = _shift(rng, prompts)
        found = stability(cells, n=int(cells.sum()))
        held += found.low <= float(((q - 0.1) * np.log(q / 0.1)).sum()) <= found.high
    assert 0.90 <= held / 300 <= 0.985, held / 300


def test_scores_that_prompts_share_are_no_shift():
    rng, shifts = np.random.default_rng(15), []
    for _ in range(200):  # 60 prompts, all twenty responses to which have the same score
        cells = np.zeros((60, 20))
        cells[np.arange(60), rng.integers(0, 10, 60) + 10 * (np.arange(60) % 2)] = 20
        shifts.append(stability(cells, n=1200))
    assert abs(statistics.fmean(found.value for found in shifts)) < 0.15
    assert sum(found.low > 0.25 for found in shifts) <= 0.05 * len(shifts)


# --- hostile data


def hostile():
    some = [response(f"p_{n}", place, "مرحبا\n\nשלום\nc") for n in range(30) for place in (0, 1)]
    steps = [scored(one, 0.5, step=StepLocator("step", 0)) for one in some]
    bad = [math.nan, math.inf, -math.inf, 0.5]
    yield "nothing", {}
    yield "one response", {"responses": some[:1], "judgements": [scored(some[0], 1.0), said_by("ann", some[0], 1.0)]}
    yield (
        "all alike",
        {
            "responses": some,
            "judgements": [
                *steps,
                *(
                    scored(one, 0.5, by=by, criterion=c, repeat=r)
                    for one in some
                    for by in "xy"
                    for c in "ab"
                    for r in (0, 1)
                ),
                *(said_by(who, one, 1.0, criterion="a") for one in some for who in ("ann", "ben", "cleo")),
            ],
        },
    )
    yield (
        "no numbers",
        {
            "responses": some,
            "judgements": [
                scored(one, bad[(n + len(by) + r) % 4], by=by, criterion=c, repeat=r, **more)
                for n, one in enumerate(some)
                for c in "ab"
                for r in (0, 1)
                for by, more in (("x", {}), ("yy", {}), ("ann", {"model": None}), ("v", {"model": None, "check": "k"}))
            ],
        },
    )
    yield (
        "long",
        {
            "prompts": [(prompt := question(0, reference="1"))],
            "responses": [(one := response(prompt.id, 0, "word\n" * 2_000_000))],
            "judgements": [scored(one, 1.0), said_by("ann", one, 1.0)],
        },
    )


@pytest.mark.parametrize(("name", "tables"), [*hostile()], ids=lambda each: each if isinstance(each, str) else "")
def test_hostile_data_crash_nothing_and_give_no_certainty(name, tables):
    for made in (None, recipe(evaluation=[{"kind": "verify", "final_answer": True}])):
        found = audit(data_of(made, **tables), OURS)
        assert not [each for each in found.unmeasured if each.defect], found.unmeasured
        for each in found.findings:
            assert math.isfinite(each.value), each
            assert not math.isnan(each.low), each
            assert not math.isnan(each.high), each
            assert each.prompts >= 20 or each.severity == "info"


def test_every_diagnostic_says_what_it_lacks_and_what_to_change():
    for each in OURS:
        assert each.lacks(data_of()) is not None or not told(each), each.name
        assert each.change, each.name
    assert pl.DataFrame({"name": [each.name for each in DIAGNOSTICS]})["name"].is_unique().all()
