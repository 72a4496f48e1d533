"""Bradley-Terry with a reliability and a leaning to the first place for each judge: against what was planted, and the
conditions that its optimum must meet, worked out by itself."""

from __future__ import annotations

import itertools
import math
import random
from collections import defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from triptych.instantiation.bradley_terry import BradleyTerry
from triptych.instantiation.groups import Groups
from triptych.instantiation.pairs import Pairs
from triptych.instantiation.scores import at_once, shown_responses, what_counts
from verdict_tables import OBJECTIVE, Tables, judged, response, tables

EFFECTS = BradleyTerry(judge_effects=True)


def scores(made, model=EFFECTS):
    rows = Groups(bradley_terry=model).ranked(*made.frames(), OBJECTIVE, 0).collect()
    found = dict(rows.select("response_id", "score").iter_rows())
    return [found.get(one.id) for one in made.responses]


def judges(made, model=EFFECTS, criterion="a"):
    """(choices, reliability, first) of each judge."""
    responses, judgements = made.frames()
    said = what_counts(at_once(shown_responses(responses)), judgements, OBJECTIVE, adjust=lambda rows: rows)
    found = model.judges(said, judgements)
    return {name.removeprefix("o_"): tuple(row) for crit, name, *row in found.iter_rows() if crit == criterion}


def logistic(odds):
    return 1 / (1 + math.exp(-odds))


def crowd(effects, *, prompts=60, size=4, seed=3, repeats=1, strengths=None):
    """Judges of these (reliability, leaning) on every two responses to each prompt, in both orders."""
    rng, drawn, made, planted = random.Random(seed), random.Random(f"strengths {seed}"), Tables(), []
    for number in range(prompts):
        here = [response(f"p_{number}", i) for i in range(size)]
        strong = strengths or [drawn.gauss(0, 1.5) for _ in here]
        made.responses += here
        planted += strong
        for by, (reliability, leaning) in effects.items():
            for (one, other), repeat in itertools.product(itertools.permutations(range(size), 2), range(repeats)):
                first = rng.random() < logistic(reliability * (strong[one] - strong[other]) + leaning)
                ranks = (1, 2) if first else (2, 1)
                made.judgements.append(judged([here[one], here[other]], ranks=ranks, by=by, repeat=repeat))
    return made, planted


def mean_chances(strengths, size=4):
    groups = [strengths[i : i + size] for i in range(0, len(strengths), size)]
    return [(sum(logistic(s - t) for t in group) - 0.5) / (size - 1) for group in groups for s in group]


def off(found, wanted):
    return math.sqrt(sum((a - b) ** 2 for a, b in zip(found, wanted, strict=True)) / len(found))


def test_planted_reliabilities_and_leanings_are_found_up_to_the_unit():
    effects = {"ann": (1.2, 0.0), "bob": (0.6, 0.8), "eve": (0.3, -1.5), "kim": (0.0, 0.5)}
    made, _ = crowd(effects, prompts=250)
    unit = sum(a * a for a, _ in effects.values()) / sum(a for a, _ in effects.values())
    for by, (choices, reliability, first) in judges(made).items():
        assert choices == 250 * 12
        assert reliability == pytest.approx(effects[by][0] / unit, abs=0.1)
        assert first == pytest.approx(effects[by][1], abs=0.15)


def test_scores_come_nearer_to_the_truth_than_those_that_count_all_judges_alike():
    made, planted = crowd({"good": (1.5, 0.0), "poor": (0.2, 0.0), "leaning": (0.2, 2.0)})
    truth = mean_chances([1.5 * s for s in planted])
    assert off(scores(made), truth) < off(scores(made, BradleyTerry(pooled=True)), truth) / 1.3
    assert off(scores(made), truth) < off(scores(made, BradleyTerry()), truth) / 1.3


def test_a_leaning_that_one_order_alone_would_turn_into_wins_is_taken_out():
    """Every pair is asked in one order, and a is always the first: it wins by its place."""
    made, _ = crowd({"fair": (1.0, 0.0), "leaning": (1.0, 3.0)}, strengths=[0.0, 0.0], size=2, prompts=200)
    first = {one.id for one in made.responses[::2]}
    made.judgements = [j for j in made.judgements if j.response_ids[0] in first]
    assert sum(scores(made)[::2]) / 200 == pytest.approx(0.5, abs=0.03)
    assert sum(scores(made, BradleyTerry(pooled=True))[::2]) / 200 > 0.6


def test_one_who_always_takes_the_first_counts_for_nothing():
    made, _ = crowd({"good": (1.0, 0.0)})
    alone = scores(made)
    for j in list(made.judgements):
        here = [one for one in made.responses if one.prompt_id == j.prompt_id]
        shown = [next(one for one in here if one.id == i) for i in j.response_ids]
        made.judgements.append(judged(shown, ranks=(1, 2), by="first"))
    found = judges(made)
    assert found["first"][1] < 0.2 < 3 < found["first"][2]
    assert max(abs(a - b) for a, b in zip(scores(made), alone, strict=True)) < 0.01
    assert off(scores(made, BradleyTerry(pooled=True)), alone) > 0.05


def test_one_who_says_the_contrary_counts_for_nothing_and_not_for_its_contrary():
    made, _ = crowd({"ann": (1.0, 0.0), "bob": (1.0, 0.0)})
    alone = scores(made)
    contrary, _ = crowd({"contrary": (-1.0, 0.0)})  # the same strengths, by the same seed
    made.judgements += contrary.judgements
    assert judges(made)["contrary"][1] == 0
    assert scores(made) == pytest.approx(alone, abs=1e-9)


RANKS = st.sampled_from([(1, 2), (2, 1), (1, 1)])


@given(st.lists(RANKS, min_size=6, max_size=6), st.sampled_from([0.05, 1.0, 4.0]))
@settings(deadline=None, max_examples=40)
def test_one_judge_who_says_the_same_in_both_orders_gives_the_plain_scores(said, prior):
    made = Tables([response("p_1", i) for i in range(4)])
    for (one, other), ranks in zip(itertools.combinations(made.responses, 2), said, strict=True):
        made.judgements += [judged([one, other], ranks=ranks), judged([other, one], ranks=ranks[::-1])]
    assert scores(made, BradleyTerry(judge_effects=True, prior=prior)) == pytest.approx(
        scores(made, BradleyTerry(prior=prior)), abs=1e-8
    )
    assert judges(made)["judge"] == pytest.approx((12, 1, 0), abs=1e-8)


def slopes(made, strengths, effects, prior):
    """How the log-likelihood with its prior changes with each strength and each judge's two effects, in plain Python."""
    groups, by_strength, by_judge = defaultdict(list), defaultdict(float), {by: [1 - a, -b] for by, (_, a, b) in effects.items()}
    for one in made.responses:
        groups[one.prompt_id].append(one.id)
    for here in groups.values():
        for one, other in itertools.permutations(here, 2):
            by_strength[one] += prior / (len(here) - 1) * (0.5 - logistic(strengths[one] - strengths[other]))
    for j in made.judgements:
        by, ids, weight = j.evaluator_id.removeprefix("o_"), j.response_ids, 2 / len(j.response_ids)
        _, a, b = effects[by]
        for one, other in itertools.combinations(range(len(ids)), 2):
            won = (1 + (j.ranks[one] < j.ranks[other]) - (j.ranks[one] > j.ranks[other])) / 2
            apart = strengths[ids[one]] - strengths[ids[other]]
            rest = weight * (won - logistic(a * apart + b))
            by_strength[ids[one]] += a * rest
            by_strength[ids[other]] -= a * rest
            by_judge[by][0] += rest * apart
            by_judge[by][1] += rest
    return by_strength, by_judge


@pytest.mark.parametrize("seed", range(3))
def test_what_is_found_is_the_optimum_under_its_mean(seed):
    rng = random.Random(seed)
    made, _ = crowd({"ann": (1.5, 0.3), "bob": (0.5, -1.0), "eve": (0.0, 1.0)}, prompts=5, seed=seed)
    made.judgements = rng.sample(made.judgements, len(made.judgements) * 2 // 3)
    last = made.responses[-4:]
    made.judgements += [judged(rng.sample(last, 4), ranks=(1, 3, 3, 2), by="list"), judged(last[:2], ranks=(1, 1), by="bob", repeat=9)]
    prior, effects = 0.7, None
    model = BradleyTerry(judge_effects=True, prior=prior)
    effects = judges(made, model)
    strengths = strengths_of(made, model)
    by_strength, by_judge = slopes(made, strengths, effects, prior)
    assert max(map(abs, by_strength.values())) < 1e-6
    assert max(abs(slope) for _, slope in by_judge.values()) < 1e-6
    counted = {by: n * a for by, (n, a, _) in effects.items() if a > 0}
    assert sum(weight * effects[by][1] for by, weight in counted.items()) == pytest.approx(sum(counted.values()), abs=1e-6)
    unit = [by_judge[by][0] / weight for by, weight in counted.items()]  # the mean alone holds them back, all alike
    assert max(unit) - min(unit) < 1e-6
    assert all(by_judge[by][0] <= 1e-6 for by, (_, a, _) in effects.items() if a == 0)


def strengths_of(made, model):
    responses, judgements = made.frames()
    said = what_counts(at_once(shown_responses(responses)), judgements, OBJECTIVE, adjust=lambda rows: rows)
    found = model.strengths(said, judgements)
    ids = [one.id for one in made.responses]
    return {ids[row]: strength for row, strength in found.select("row", "strength").iter_rows()}


@given(tables(), st.randoms(use_true_random=False))
@settings(deadline=None, max_examples=40)
def test_the_order_of_rows_changes_no_bit_and_no_table_is_too_odd(made, rng):
    pairs = Pairs(choose="all_pairs", bradley_terry=EFFECTS)
    found = made.examples(pairs)
    shuffled = Tables(rng.sample(made.responses, len(made.responses)), rng.sample(made.judgements, len(made.judgements)))
    columns = ["response_ids", "scores", "margin"]
    assert sorted(shuffled.examples(pairs).select(columns).rows()) == sorted(found.select(columns).rows())
    assert all(0 <= score <= 1 for pair in found["scores"] for score in pair)


def test_a_single_choice_tells_little_of_a_judge():
    made, _ = crowd({"ann": (1.0, 0.0)})
    better, worse = sorted(zip(scores(made), range(4), strict=False), reverse=True)[:2]
    made.judgements.append(judged([made.responses[better[1]], made.responses[worse[1]]], ranks=(1, 2), by="once"))
    choices, reliability, first = judges(made)["once"]
    assert choices == 1
    assert 0.5 < reliability < 1.5
    assert abs(first) < 0.5


def test_judges_of_different_prompts_whom_nothing_connects_are_told_apart_by_whether_they_agree_with_themselves():
    made, _ = crowd({"steady": (2.0, 0.0)}, prompts=80, repeats=2)
    rest, _ = crowd({"random": (0.0, 0.0)}, prompts=80, repeats=2)
    renamed = {one.id: response(f"q{one.prompt_id}", one.sample_index) for one in rest.responses}
    made.responses += renamed.values()
    made.judgements += [
        judged([renamed[i] for i in j.response_ids], ranks=j.ranks, by="random", repeat=place)
        for place, j in enumerate(rest.judgements)
    ]
    found = judges(made)
    assert found["random"][1] < found["steady"][1] / 2


@pytest.mark.parametrize("ranks", [(1, 2), (1, 1)])
def test_where_all_say_the_same_there_are_scores(ranks):
    made = Tables([response(f"p_{i // 2}", i) for i in range(6)])
    made.judgements = [judged(made.responses[i : i + 2], ranks=ranks, by=by) for i in (0, 2, 4) for by in ("ann", "bob")]
    found = scores(made)
    assert found[0] == found[2] == found[4] == pytest.approx(1 - found[1])
    assert (found[0] > 0.5) == (ranks == (1, 2))


def test_a_judge_has_other_effects_on_another_criterion():
    made, _ = crowd({"ann": (1.0, 0.0), "bob": (1.0, 0.0)}, prompts=40)
    other, _ = crowd({"bob": (0.0, 2.0), "ann": (1.0, 0.0)}, prompts=40)
    ids = {one.id: one for one in made.responses}
    alone = judges(made)
    made.judgements += [judged([ids[i] for i in j.response_ids], ranks=j.ranks, by=j.evaluator, criterion="b") for j in other.judgements]
    assert all(judges(made)[by] == pytest.approx(alone[by], abs=1e-9) for by in ("ann", "bob"))
    assert judges(made, criterion="b")["bob"][1] < 0.3 < 1 < judges(made, criterion="b")["bob"][2]


def test_it_needs_the_whole_table_and_is_off_by_default():
    assert Pairs(bradley_terry=EFFECTS).across_prompts
    assert not Pairs(bradley_terry=BradleyTerry(pooled=True)).across_prompts
    assert BradleyTerry() == BradleyTerry(judge_effects=False)
