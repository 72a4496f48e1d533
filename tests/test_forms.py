"""Unpaired rows, groups, rankings and rows to imitate, each against an oracle in plain Python."""

from __future__ import annotations

import itertools
from collections import defaultdict
from statistics import mean, stdev

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from triptych.instantiation.groups import Groups
from triptych.instantiation.rankings import Rankings
from triptych.instantiation.sft import Sft
from triptych.instantiation.unpaired import Unpaired
from triptych.records import make_example
from triptych.store.tables import schema
from verdict_tables import OBJECTIVE, Tables, oracle_scores, scored, tables


def made_by(form, made, seed=0):
    return form.instantiate(*made.frames(), OBJECTIVE, seed).collect()


def by_prompt(made):
    """Prompt -> [(response id, score)] of the scored responses, in table order."""
    scores = oracle_scores(made)
    found = defaultdict(list)
    for r in made.responses:
        if scores.get(r.id, (None,))[0] is not None:
            found[r.prompt_id].append((r.id, scores[r.id][0]))
    return found


def close(got, wanted):
    assert len(got) == len(wanted)
    assert got == pytest.approx(wanted, abs=1e-9)


FORMS = st.one_of(
    st.builds(Unpaired, good=st.sampled_from([0.5, 0.75]), bad=st.sampled_from([None, 0.25])),
    st.builds(
        Unpaired, against=st.just("prompt_mean"), good=st.sampled_from([0.0, 0.2]), bad=st.sampled_from([None, 0.1])
    ),
    st.builds(
        Groups,
        advantage=st.sampled_from(["mean_std", "mean", "leave_one_out", "none"]),
        zero_variance=st.sampled_from(["drop", "keep"]),
        min_size=st.integers(2, 3),
    ),
    st.builds(Rankings, ties=st.sampled_from(["drop", "keep"]), max_size=st.sampled_from([None, 2, 3])),
    st.builds(Sft, keep=st.sampled_from([None, 1, 2]), min_score=st.sampled_from([0, 0.5]), distinct=st.booleans()),
)


@settings(max_examples=60, deadline=None)
@given(tables(), FORMS, st.integers(0, 3))
def test_rows_are_whole_and_their_ids_are_those_of_the_record(made, form, seed):
    rows = made_by(form, made, seed)
    assert rows.schema == schema("examples")
    scores = oracle_scores(made)
    for row in rows.iter_rows(named=True):
        content = {name: tuple(value) if isinstance(value, list) else value for name, value in row.items()}
        assert content.pop("id") == make_example(**content).id
        close(row["scores"], [scores[response][0] for response in row["response_ids"]])
        assert set(row["judgement_ids"]) == {j for response in row["response_ids"] for j in scores[response][1]}
        assert len(row["labels"]) in (0, len(row["response_ids"]))
        assert row["objective_version"] == "v7"
        assert row["strategy_id"] == form.identity()
    assert rows["id"].is_unique().all()


@settings(max_examples=40, deadline=None)
@given(tables(), FORMS, st.randoms())
def test_the_order_of_judgements_changes_no_row(made, form, rng):
    shuffled = Tables(made.responses, rng.sample(made.judgements, len(made.judgements)))
    drop = ("id", "judgement_ids")  # which say in what order the judgements stand
    assert made_by(form, made).drop(drop).equals(made_by(form, shuffled).drop(drop))


@settings(max_examples=60, deadline=None)
@given(tables(), st.sampled_from([0.5, 0.75]), st.sampled_from([None, 0.25]), st.sampled_from(["one", "distance"]))
def test_responses_are_marked_by_thresholds_on_the_scale(made, good, bad, weight):
    rows = made_by(Unpaired(good=good, bad=bad, weight=weight), made)
    wanted = {}
    for scores in by_prompt(made).values():
        for response, score in scores:
            if score > good - 1e-9:
                wanted[response] = (1.0, abs(score - 0.5))
            elif bad is None or score < bad + 1e-9:
                wanted[response] = (0.0, abs(score - 0.5))
    got = {row["response_ids"][0]: (row["labels"][0], row["weight"]) for row in rows.iter_rows(named=True)}
    assert got.keys() == wanted.keys()
    for response, (label, distance) in wanted.items():
        close(got[response], (label, distance if weight == "distance" else 1.0))


@settings(max_examples=60, deadline=None)
@given(tables(), st.sampled_from([0.0, 0.2]), st.sampled_from([None, 0.0, 0.1]))
def test_responses_are_marked_by_their_distance_from_the_prompts_mean(made, good, bad):
    rows = made_by(Unpaired(against="prompt_mean", good=good, bad=bad), made)
    wanted = {}
    for scores in by_prompt(made).values():
        middle = mean(score for _, score in scores)
        for response, score in scores:
            if score - middle > good - 1e-9:
                wanted[response] = 1.0
            elif bad is None or score - middle < -bad + 1e-9:
                wanted[response] = 0.0
    assert {row["response_ids"][0]: row["labels"][0] for row in rows.iter_rows(named=True)} == wanted


ADVANTAGES = {
    "none": lambda all_, one: one,
    "mean": lambda all_, one: one - mean(all_),
    "leave_one_out": lambda all_, one: one - (sum(all_) - one) / (len(all_) - 1),
    "mean_std": lambda all_, one: (one - mean(all_)) / stdev(all_) if max(all_) - min(all_) > 1e-9 else 0.0,
}


@settings(max_examples=80, deadline=None)
@given(tables(), st.sampled_from(list(ADVANTAGES)), st.sampled_from(["drop", "keep"]), st.integers(2, 4))
def test_groups_hold_all_scored_responses_and_their_advantages(made, advantage, zero_variance, min_size):
    rows = made_by(Groups(advantage=advantage, zero_variance=zero_variance, min_size=min_size), made)
    wanted = {}
    for prompt, scores in by_prompt(made).items():
        all_ = [score for _, score in scores]
        if len(all_) < min_size or (zero_variance == "drop" and max(all_) - min(all_) < 1e-9):
            continue
        wanted[prompt] = ([r for r, _ in scores], [ADVANTAGES[advantage](all_, one) for one in all_])
    got = {row["prompt_id"]: (row["response_ids"], row["labels"]) for row in rows.iter_rows(named=True)}
    assert got.keys() == wanted.keys()
    for prompt, (responses, labels) in wanted.items():
        assert got[prompt][0] == responses
        close(got[prompt][1], labels)
        if advantage in ("mean", "mean_std", "leave_one_out"):
            assert sum(got[prompt][1]) == pytest.approx(0, abs=1e-9)


@settings(max_examples=80, deadline=None)
@given(tables(), st.sampled_from(["drop", "keep"]), st.integers(2, 3))
def test_rankings_go_from_best_to_worst(made, ties, min_size):
    rows = made_by(Rankings(ties=ties, min_size=min_size), made)
    got = {row["prompt_id"]: row for row in rows.iter_rows(named=True)}
    for prompt, scores in by_prompt(made).items():
        values = sorted((round(score, 9) for _, score in scores), reverse=True)
        if ties == "drop":
            values = sorted(set(values), reverse=True)
        if len(values) < min_size:
            assert prompt not in got
            continue
        close(got[prompt]["scores"], values)
        assert got[prompt]["labels"] == got[prompt]["scores"]
        assert got[prompt]["margin"] == pytest.approx(values[0] - values[-1], abs=1e-9)
        if ties == "keep":
            assert sorted(got[prompt]["response_ids"]) == sorted(response for response, _ in scores)


@pytest.mark.parametrize(("size", "most"), [(2, 2), (3, 2), (6, 3), (6, 5), (7, 4), (4, 9), (20, 7)])
def test_a_long_list_keeps_its_ends_and_an_even_spread(size, most):
    made = scored(*(1 + 4 * i / 20 for i in range(size)))
    kept = made_by(Rankings(max_size=most), made)["scores"].to_list()[0]
    all_ = sorted(oracle_scores(made).values(), reverse=True)
    ranks = [[round(score, 9) for score, _ in all_].index(round(score, 9)) for score in kept]
    assert len(ranks) == min(size, most)
    assert (ranks[0], ranks[-1]) == (0, size - 1)
    gaps = [after - before for before, after in itertools.pairwise(ranks)]
    assert max(gaps) - min(gaps) <= 1


@settings(max_examples=80, deadline=None)
@given(tables(), st.sampled_from([None, 1, 2]), st.sampled_from([0, 0.5]), st.sampled_from(["one", "score"]))
def test_the_best_responses_are_kept_to_imitate(made, keep, min_score, weight):
    rows = made_by(Sft(keep=keep, min_score=min_score, distinct=False, weight=weight), made)
    got = defaultdict(list)
    for row in rows.iter_rows(named=True):
        assert row["labels"] == []
        assert row["weight"] == (row["scores"][0] if weight == "score" else 1)
        got[row["prompt_id"]].append(row["scores"][0])
    for prompt, scores in by_prompt(made).items():
        close(got[prompt], sorted((s for _, s in scores if s > min_score - 1e-9), reverse=True)[:keep])


def test_two_that_say_the_same_are_one_row_to_imitate():
    made = scored(5, 4, 3, texts=["a", "a", "b"])
    assert made_by(Sft(keep=None), made)["scores"].to_list() == [[1.0], [0.5]]
    assert len(made_by(Sft(keep=None, distinct=False), made)) == 3


def test_equal_scores_are_put_in_order_by_the_draw_alone():
    made = Tables()
    for number in range(200):
        made.responses += (one := scored(3, 3, prompt=f"p_{number}")).responses
        made.judgements += one.judgements
    first = {r.id for r in made.responses[::2]}
    drawn = made_by(Sft(), made)["response_ids"].explode().to_list()
    assert 60 < len(first & set(drawn)) < 140
    assert drawn != made_by(Sft(), made, seed=1)["response_ids"].explode().to_list()


def test_no_rows_give_no_examples():
    for form in (Unpaired(), Groups(), Rankings(), Sft()):
        assert made_by(form, Tables()).equals(pl.DataFrame(schema=schema("examples")))


@pytest.mark.parametrize(
    ("form", "settings_", "said"),
    [
        (Unpaired, {"good": 0.5, "bad": 0.5}, "a response would be both"),
        (Rankings, {"min_size": 4, "max_size": 3}, "no list fits"),
        (Groups, {"min_size": 1}, "greater than or equal to 2"),
        (Sft, {"keep": 0}, "greater than or equal to 1"),
    ],
)
def test_settings_that_can_not_hold_are_refused(form, settings_, said):
    with pytest.raises(ValidationError, match=said):
        form(**settings_)
