"""Bradley-Terry scores of choices between responses: against choix, and against what can be worked out by hand."""

from __future__ import annotations

import itertools
import math
import random
import sys

import choix
import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from triptych.errors import MissingExtra
from triptych.instantiation.bradley_terry import BradleyTerry
from triptych.instantiation.groups import Groups
from triptych.instantiation.pairs import Pairs
from triptych.instantiation.stepwise import Stepwise
from verdict_tables import OBJECTIVE, Tables, judged, response, tables


def compared(size, choices, prompt="p_1", by="judge"):
    """Responses to a prompt and choices between two: (one, other, ranks of both)."""
    made = [response(prompt, i) for i in range(size)]
    return Tables(made, [judged([made[one], made[other]], ranks=ranks, by=by, repeat=i)
                         for i, (one, other, ranks) in enumerate(choices)])  # fmt: skip


def scores(made, *, more=None, **model):
    """The score of each response; None where it has none."""
    rows = Groups(bradley_terry=BradleyTerry(**model), **(more or {})).ranked(*made.frames(), OBJECTIVE, 0).collect()
    found = dict(rows.select("response_id", "score").iter_rows())
    return [found.get(one.id) for one in made.responses]


def by_the_library(made, prior):
    """The mean chances against the others, with the strengths that choix finds where the prior's ties are choices too."""
    ids = {one.id: place for place, one in enumerate(made.responses)}
    wins = np.full((len(ids), len(ids)), prior / 2 / (len(ids) - 1)) * (1 - np.eye(len(ids)))
    for j in made.judgements:
        (one, other), (first, second) = (ids[i] for i in j.response_ids), j.ranks
        wins[one, other] += 1.0 if first < second else 0.5 if first == second else 0.0
        wins[other, one] += 1.0 if second < first else 0.5 if first == second else 0.0
    strengths = choix.ilsr_pairwise_dense(wins, max_iter=10_000, tol=1e-12)
    chances = 1 / (1 + np.exp(strengths[None, :] - strengths[:, None]))
    return (chances.sum(axis=1) - 0.5) / (len(ids) - 1)


RANKS = st.sampled_from([(1, 2), (2, 1), (1, 1)])


@st.composite
def tournaments(draw):
    size = draw(st.integers(2, 5))
    every = list(itertools.permutations(range(size), 2))
    some = draw(st.lists(st.tuples(st.sampled_from(every), RANKS), min_size=1, max_size=20))
    ends = [((i, (i + 1) % size), draw(RANKS)) for i in range(size)]  # so that each is compared at all
    return compared(size, [(*two, ranks) for two, ranks in some + ends])


@given(tournaments(), st.sampled_from([0.05, 1.0, 4.0]))
@settings(deadline=None, max_examples=60)
def test_scores_are_those_of_the_library(made, prior):
    assert scores(made, prior=prior) == pytest.approx(by_the_library(made, prior), abs=1e-6)


@pytest.mark.parametrize("times", [1, 3])
@pytest.mark.parametrize("prior", [0.01, 1.0])
def test_where_each_two_are_compared_equally_often_the_score_is_the_share_that_was_won_and_the_prior_s_ties(times, prior):
    """Then the likeliest strengths give each response as many wins as it has: so much can be said without finding them."""
    rng = random.Random(7)
    outcomes = {two: [rng.choice([(1, 2), (2, 1), (1, 1)]) for _ in range(times)] for two in itertools.combinations(range(4), 2)}
    made = compared(4, [(*two, ranks) for two, said in outcomes.items() for ranks in said])
    won = [0.0] * 4
    for (one, other), said in outcomes.items():
        for first, second in said:
            won[one] += (first < second) + (first == second) / 2
            won[other] += (second < first) + (first == second) / 2
    wanted = [(w + prior / 2) / (3 * times + prior) for w in won]
    assert scores(made, prior=prior) == pytest.approx(wanted, abs=1e-9)


def test_a_win_over_a_strong_one_counts_for_more_than_one_over_a_weak_one():
    """0 and 3 both won one of one; 0's opponent beats all others, 3's loses to them."""
    made = compared(5, [(0, 1, (1, 2)), (1, 2, (1, 2)), (1, 4, (1, 2)), (2, 4, (1, 2)), (3, 4, (1, 2))])
    found = scores(made)
    assert found[0] > found[3] + 0.1
    shares = Groups().ranked(*made.frames(), OBJECTIVE, 0).collect()
    assert dict(shares.select("response_id", "score").iter_rows())[made.responses[0].id] == 1.0
    assert shares.filter(pl.col("score") == 1.0).height == 2


def test_responses_that_no_chain_of_choices_connects_stand_around_the_same_mean():
    made = compared(4, [(0, 1, (1, 2)), (2, 3, (1, 2)), (2, 3, (1, 2))])
    found = scores(made)
    assert found == pytest.approx(by_the_library(made, 1.0), abs=1e-6)
    assert all(0 < score < 1 for score in found)
    assert found[2] > found[0] > 0.5 > found[1] > found[3]  # two wins are more than one
    assert sum(found) / 4 == pytest.approx(0.5, abs=1e-9)


def test_the_more_often_one_wins_the_surer_is_its_score_and_it_is_never_certain():
    found = [scores(compared(2, [(0, 1, (1, 2))] * times))[0] for times in (1, 2, 10, 1000)]
    assert found == pytest.approx([(times + 0.5) / (times + 1) for times in (1, 2, 10, 1000)], abs=1e-9)


def test_a_ranking_is_the_choices_between_every_two_at_the_weight_of_one_less_than_it_is_long():
    made = [response("p_1", i) for i in range(4)]
    found = scores(Tables(made, [judged(made, ranks=(1, 3, 3, 2))]))
    won = [3.0, 0.5, 0.5, 2.0]
    assert found == pytest.approx([(w / 2 + 0.5) / (3 / 2 + 1) for w in won], abs=1e-9)
    alone = compared(4, [(one, other, (1, 2) if won[one] > won[other] else (2, 1) if won[other] > won[one] else (1, 1))
                         for one, other in itertools.combinations(range(4), 2)])  # fmt: skip
    assert found == pytest.approx(scores(alone, prior=2.0), abs=1e-9)  # twice the weight, and twice the prior


def test_rankings_drawn_by_plackett_and_luce_give_their_strengths_back():
    strengths, rng, size = (0.0, 0.5, 1.0, 2.0), random.Random(11), 4
    made = [response("p_1", i) for i in range(size)]
    said = []
    for repeat in range(3000):
        left, ranks = list(range(size)), [0] * size
        for rank in range(1, size + 1):
            (next_,) = rng.choices(left, [math.exp(strengths[i]) for i in left])
            left.remove(next_)
            ranks[next_] = rank
        said.append(judged(made, ranks=tuple(ranks), repeat=repeat))
    chance = [[1 / (1 + math.exp(b - a)) for b in strengths] for a in strengths]
    wanted = [(sum(row) - 0.5) / (size - 1) for row in chance]
    assert scores(Tables(made, said)) == pytest.approx(wanted, abs=0.015)  # about three standard errors


def test_evaluators_have_strengths_of_their_own_or_share_them():
    ann, bob = [(0, 1, (1, 2))], [(1, 2, (1, 2)), (0, 2, (1, 2)), (0, 1, (1, 2))]
    both = compared(3, ann, by="ann")
    both.judgements += compared(3, bob, by="bob").judgements
    apart, together = scores(both), scores(both, pooled=True)
    by_bob = scores(compared(3, bob, by="bob"))
    # ann compared two, so the prior's ties are with the one alone
    assert apart == pytest.approx([(0.75 + by_bob[0]) / 2, (0.25 + by_bob[1]) / 2, by_bob[2]], abs=1e-9)
    assert together == pytest.approx(by_the_library(both, 1.0), abs=1e-6)
    assert together != pytest.approx(apart, abs=1e-3)


def test_what_was_scored_stays_and_is_joined_with_what_was_chosen():
    made = compared(2, [(0, 1, (1, 2))])
    made.judgements += [judged([one], by="rubric", scores=(score,)) for one, score in zip(made.responses, (1.0, 5.0), strict=True)]
    made.judgements.append(judged(made.responses, by="both", scores=(2.0, 4.0), ranks=(1, 2)))  # its scores count
    assert scores(made) == pytest.approx([(0.75 + 0 + 0.25) / 3, (0.25 + 1 + 0.75) / 3], abs=1e-9)


def test_a_choice_whose_other_order_could_not_be_read_still_decides_nothing():
    made = compared(2, [(0, 1, (1, 2))])
    made.judgements.append(judged(made.responses[::-1], status="unparsed"))
    assert scores(made) == [None, None]


def test_a_response_whose_only_opponent_is_not_there_has_no_score():
    made = compared(3, [(0, 1, (1, 2)), (1, 2, (1, 2))])
    failed = response("p_1", 2, status="refused")
    made.judgements[1] = judged([made.responses[0], failed], ranks=(2, 1))
    made.responses[2] = failed
    assert scores(made) == [pytest.approx(0.75), pytest.approx(0.25), None]


@given(tables(), st.randoms(use_true_random=False), st.booleans())
@settings(deadline=None, max_examples=40)
def test_neither_the_order_of_rows_nor_another_prompt_changes_a_bit(made, rng, pooled):
    pairs = Pairs(choose="all_pairs", bradley_terry=BradleyTerry(pooled=pooled))
    found = made.examples(pairs)
    assert found["id"].n_unique() == found.height
    shuffled = Tables(rng.sample(made.responses, len(made.responses)), rng.sample(made.judgements, len(made.judgements)))
    columns = ["response_ids", "scores", "margin"]
    assert sorted(shuffled.examples(pairs).select(columns).rows()) == sorted(found.select(columns).rows())
    fewer = Tables([r for r in made.responses if r.prompt_id != "p_0"], [j for j in made.judgements if j.prompt_id != "p_0"])
    assert fewer.examples(pairs).equals(found.filter(pl.col("prompt_id") != "p_0"))


def test_many_large_groups_are_worked_on_some_at_a_time_and_each_as_if_alone():
    rng, made, alone = random.Random(2), Tables(), []
    for number in range(300):
        size = 64 if number % 2 else 3
        choices = [(*rng.sample(range(size), 2), rng.choice([(1, 2), (2, 1)])) for _ in range(2 * size)]
        here = compared(size, choices, prompt=f"p_{number}")
        made.responses += here.responses
        made.judgements += here.judgements
        if number in (0, 1, 298, 299):
            alone.append((len(made.responses), scores(here)))
    found = scores(made)
    for stop, wanted in alone:
        assert found[stop - len(wanted) : stop] == wanted


def test_without_numpy_it_is_said_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "numpy", None)
    with pytest.raises(MissingExtra, match=r"triptych\[panels\]"):
        scores(compared(2, [(0, 1, (1, 2))]))


def test_it_is_off_by_default_and_refused_where_it_says_nothing():
    assert Pairs(bradley_terry=None).identity() == Pairs().identity() != Pairs(bradley_terry=BradleyTerry()).identity()
    with pytest.raises(ValidationError, match="between responses"):
        Stepwise(bradley_terry=BradleyTerry())
    with pytest.raises(ValidationError):
        BradleyTerry(prior=0)


def test_no_choices_at_all_leave_everything_as_it_is():
    made = Tables([response("p_1", i) for i in range(2)])
    made.judgements = [judged([one], scores=(score,)) for one, score in zip(made.responses, (2.0, 4.0), strict=True)]
    assert scores(made) == [0.25, 0.75]
    assert scores(Tables()) == []
