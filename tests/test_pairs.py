"""Pairs against an oracle in plain Python, and what must never change them."""

from __future__ import annotations

import itertools
import random
from collections import defaultdict

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from triptych.instantiation.pairs import OUTCOMES, Pairs
from triptych.instantiation.scores import objective_scores, verdicts
from triptych.records import (
    Criterion,
    Judgement,
    Message,
    Objective,
    make_example,
    make_response,
)
from triptych.store.tables import frame, schema
from verdict_tables import OBJECTIVE, Tables, judged, oracle_scores, response, scored, tables


def oracle_couples(tables, pairs):
    """Every (chosen, rejected) that the settings allow, by prompt; of tied ones both orders."""
    scores = {i: s for i, (s, _) in oracle_scores(tables, pairs.criteria, pairs.evaluators).items() if s is not None}
    texts = {r.id: r.messages for r in tables.responses}
    by_prompt = defaultdict(list)
    for r in tables.responses:
        if r.id in scores:
            by_prompt[r.prompt_id].append(r.id)

    def tied(a, b):
        return abs(scores[a] - scores[b]) < 1e-9

    allowed = {}
    for prompt, ids in by_prompt.items():
        best = max(scores[i] for i in ids)
        couples = [
            (a, b)
            for a, b in itertools.permutations(ids, 2)
            if not (pairs.distinct and texts[a] == texts[b])
            and (scores[a] > scores[b] or tied(a, b))
            and (pairs.ties == "keep" or not tied(a, b))
            and (pairs.choose == "all_pairs" or scores[a] > best - 1e-9)
        ]
        allowed[prompt] = couples
    return scores, tied, allowed


def in_band(pairs, margin):
    return pairs.min_margin - 1e-9 <= margin <= (1 if pairs.max_margin is None else pairs.max_margin) + 1e-9


@st.composite
def strategies(draw):
    low, high = sorted(draw(st.tuples(*[st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.75, 1.0])] * 2)))
    return Pairs(
        choose=draw(st.sampled_from(["best_vs_worst", "best_vs_random", "all_pairs"])),
        criteria=draw(st.sampled_from([None, ("a",), ("a", "overall")])),
        evaluators=draw(st.sampled_from([None, ("rubric",), ("rubric", "pairwise")])),
        min_margin=draw(st.sampled_from([0.0, low])),
        max_margin=draw(st.sampled_from([None, high])),
        ties=draw(st.sampled_from(["drop", "keep"])),
        distinct=draw(st.booleans()),
        weight=draw(st.sampled_from(["one", "margin"])),
    )


def content(examples):
    """What the examples say, apart from what follows the order of the rows."""
    columns = ["prompt_id", "response_ids", "scores", "labels", "margin", "weight"]
    rows = [tuple(map(str, row)) for row in examples.select(columns).iter_rows()]
    rests_on = [frozenset(ids) for ids in examples["judgement_ids"].to_list()]
    return sorted(zip(rows, rests_on, strict=True), key=lambda row: row[0])


@given(tables())
@settings(deadline=None, max_examples=100)
def test_scores_are_what_the_judgements_say(made):
    found = objective_scores(*made.frames(), OBJECTIVE).collect()
    expected = oracle_scores(made)
    assert found["response_id"].to_list() == list(expected)
    for row in found.iter_rows(named=True):
        score, ids = expected[row["response_id"]]
        assert row["score"] == (None if score is None else pytest.approx(score, abs=1e-9))
        assert row["judgement_ids"] == ids


@given(tables(), strategies(), st.integers(0, 50))
@settings(deadline=None, max_examples=150)
def test_pairs_are_those_that_the_settings_allow(made, pairs, seed):
    scores, tied, allowed = oracle_couples(made, pairs)
    rests_on = {i: ids for i, (_, ids) in oracle_scores(made, pairs.criteria, pairs.evaluators).items()}
    examples = made.examples(pairs, seed)
    by_prompt = defaultdict(list)
    for row in examples.iter_rows(named=True):
        chosen, rejected = row["response_ids"]
        couples = allowed[row["prompt_id"]]
        margin = scores[chosen] - scores[rejected]
        assert (chosen, rejected) in couples
        assert row["margin"] == pytest.approx(max(margin, 0), abs=1e-9)
        assert row["scores"] == pytest.approx([scores[chosen], scores[rejected]], abs=1e-9)
        assert row["labels"] == ([0.5, 0.5] if tied(chosen, rejected) else [1.0, 0.0])
        assert row["weight"] == (row["margin"] if pairs.weight == "margin" else 1)
        assert in_band(pairs, margin)
        assert set(row["judgement_ids"]) == set(rests_on[chosen] + rests_on[rejected])
        assert len(row["judgement_ids"]) == len(set(row["judgement_ids"]))
        if pairs.choose == "best_vs_worst":
            assert scores[rejected] == pytest.approx(min(scores[b] for _, b in couples), abs=1e-9)
        if pairs.choose == "best_vs_random" and tied(chosen, rejected):
            assert all(tied(a, b) for a, b in couples)
        by_prompt[row["prompt_id"]].append({chosen, rejected})
    for prompt, couples in allowed.items():
        made_here = by_prompt[prompt]
        fit = {frozenset(c) for c in couples if in_band(pairs, scores[c[0]] - scores[c[1]])}
        if pairs.choose == "all_pairs":
            assert {frozenset(c) for c in made_here} == fit
            assert len(made_here) == len(fit)
        else:
            assert len(made_here) <= 1
            if len(fit) == len({frozenset(c) for c in couples}) > 0:  # whatever is drawn fits
                # an equal of the best may be identical to what the best alone would be paired with
                assert made_here or (pairs.distinct and len({a for a, _ in couples}) < _best(made, scores, prompt))


def _best(made, scores, prompt):
    here = [scores[r.id] for r in made.responses if r.prompt_id == prompt and r.id in scores]
    return sum(score > max(here) - 1e-9 for score in here)


@given(tables(), strategies(), st.randoms(use_true_random=False))
@settings(deadline=None, max_examples=50)
def test_the_order_of_rows_changes_no_pair(made, pairs, rng):
    shuffled = Tables(
        rng.sample(made.responses, len(made.responses)), rng.sample(made.judgements, len(made.judgements))
    )
    assert content(shuffled.examples(pairs)) == content(made.examples(pairs))
    assert shuffled.outcomes(pairs) == made.outcomes(pairs)


@given(tables(), strategies(), st.sampled_from([0.1, 3.0, 100.0]), st.sampled_from([-7.0, 0.0, 0.3]))
@settings(deadline=None, max_examples=50)
def test_another_scale_of_one_judge_changes_no_pair(made, pairs, factor, shift):
    def moved(j):
        if j.scores is None or j.evaluator != "rubric":
            return j
        scores = tuple(factor * s + shift for s in j.scores)
        return Judgement(**{f: getattr(j, f) for f in j.__struct_fields__} | {
            "scores": scores, "scale": tuple(factor * s + shift for s in j.scale)
        })  # fmt: skip

    other = Tables(made.responses, [moved(j) for j in made.judgements])
    assert other.examples(pairs).equals(made.examples(pairs))


@given(tables(), strategies())
@settings(deadline=None, max_examples=50)
def test_a_prompt_left_out_changes_only_its_own_rows(made, pairs):
    fewer = Tables(
        [r for r in made.responses if r.prompt_id != "p_0"],
        [j for j in made.judgements if j.prompt_id != "p_0"],
    )
    rest = made.examples(pairs).filter(pl.col("prompt_id") != "p_0")
    assert fewer.examples(pairs).equals(rest)


@pytest.mark.parametrize("choose", ["best_vs_worst", "best_vs_random"])
def test_no_draw_depends_on_another_prompt(choose):
    first, second = scored(5, 4, 3), scored(5, 5, 3, 3, 2, 2, prompt="p_2")
    both = Tables(first.responses + second.responses, first.judgements + second.judgements)
    settings = Pairs(choose=choose)
    drawn = [second.examples(settings, seed) for seed in range(20)]
    assert len({str(examples["response_ids"].to_list()) for examples in drawn}) > 1
    for seed, alone in enumerate(drawn):
        assert both.examples(settings, seed).filter(prompt_id="p_2").equals(alone)


@given(tables(), strategies())
@settings(deadline=None, max_examples=50)
def test_ids_are_those_of_the_record_and_rows_follow_the_responses(made, pairs):
    examples = made.examples(pairs)
    assert dict(examples.schema) == schema("examples")
    place = {r.id: i for i, r in enumerate(made.responses)}
    assert [[place[i] for i in ids] for ids in examples["response_ids"]] == sorted(
        [place[i] for i in ids] for ids in examples["response_ids"]
    )
    for row in examples.iter_rows(named=True):
        given_id = row.pop("id")
        assert make_example(**row).id == given_id
        assert (row["kind"], row["strategy"], row["strategy_id"]) == ("pair", pairs.choose, pairs.identity())
        assert row["objective_version"] == "v7"


@given(tables(), strategies())
@settings(deadline=None, max_examples=50)
def test_the_tally_accounts_for_every_prompt_and_pair(made, pairs):
    counted = pairs.tally(*made.frames(), OBJECTIVE, 0)
    examples = made.examples(pairs)
    assert counted["outcome"].to_list() == list(OUTCOMES)
    assert counted["prompts"].sum() == len({r.prompt_id for r in made.responses})
    assert counted["pairs"].to_list() == [examples.height, *[0] * (len(OUTCOMES) - 1)]
    assert counted["prompts"][0] == examples["prompt_id"].n_unique()


@pytest.mark.parametrize(
    ("made", "pairs", "outcome"),
    [
        (scored(1, 5), Pairs(), "pair"),
        (scored(4), Pairs(), "fewer than two scored responses"),
        (scored(1, 5, texts=["same", "same"]), Pairs(), "identical texts"),
        (scored(1, 5, texts=["same", "same"]), Pairs(distinct=False), "pair"),
        (scored(3, 3, 3), Pairs(), "all tied"),
        (scored(3, 3, 3), Pairs(ties="keep"), "pair"),
        (scored(3, 3, 3), Pairs(ties="keep", min_margin=0.1), "margin below the band"),
        (scored(3, 4), Pairs(min_margin=0.3), "margin below the band"),
        (scored(3, 4), Pairs(min_margin=0.25, max_margin=0.25), "pair"),
        (scored(1, 4, 5), Pairs(max_margin=0.9), "margin above the band"),
        (scored(1, 4, 5), Pairs(max_margin=0.9, choose="all_pairs"), "pair"),
        (scored(1, 4, 5), Pairs(criteria=("b",)), "fewer than two scored responses"),
        (
            Tables([response("p_1", 0), response("p_1", 1, status="failed")]),
            Pairs(),
            "fewer than two scored responses",
        ),
    ],
)
def test_the_tally_says_why_a_prompt_has_no_pair(made, pairs, outcome):
    assert made.outcomes(pairs) == {outcome: 1}
    assert (made.examples(pairs).height > 0) == (outcome == "pair")


def test_the_best_is_paired_with_the_worst():
    made = scored(2, 5, 1, 3)
    (row,) = made.examples().iter_rows(named=True)
    assert row["response_ids"] == [made.responses[1].id, made.responses[2].id]
    assert (row["scores"], row["margin"]) == ([1.0, 0.0], 1.0)
    assert row["judgement_ids"] == [made.judgements[1].id, made.judgements[2].id]


def test_a_response_that_says_what_the_best_says_is_passed_over():
    made = scored(5, 1, 2, texts=["good", "good", "bad"])
    (row,) = made.examples().iter_rows(named=True)
    assert row["response_ids"] == [made.responses[0].id, made.responses[2].id]


def test_of_equally_good_ones_the_one_that_makes_a_pair_is_chosen():
    """Whichever of the two best is drawn first, only `x` differs from the one that is worse."""
    for seed in range(10):
        for choose in ("best_vs_worst", "best_vs_random"):
            made = scored(4, 4, 2, texts=["x", "y", "y"])
            for ties in ("drop", "keep"):
                rows = made.examples(Pairs(choose=choose, ties=ties), seed)
                assert rows["response_ids"].to_list() == [[made.responses[0].id, made.responses[2].id]]


def test_a_pair_judged_against_itself_in_the_other_order_is_a_tie():
    a, b = response("p_1", 0), response("p_1", 1)
    made = Tables([a, b], [judged([a, b], ranks=(1, 2)), judged([b, a], ranks=(1, 2))])
    assert made.scores() == {a.id: 0.5, b.id: 0.5}
    assert made.examples().height == 0
    assert made.examples(Pairs(ties="keep"))["labels"].to_list() == [[0.5, 0.5]]


def test_a_ranking_shares_the_mean_rank_among_ties():
    made = [response("p_1", i) for i in range(5)]
    tables = Tables(made, [judged(made, ranks=(1, 2, 2, 3, 9))])
    assert list(tables.scores().values()) == [1.0, 0.625, 0.625, 0.25, 0.0]


def test_repeats_do_not_outvote_another_evaluator_and_weights_join_criteria():
    (r,) = made = [response("p_1", 0)]
    said = [judged(made, by="x", scores=(5.0,), repeat=i) for i in range(3)]
    said.append(judged(made, by="y", scores=(1.0,)))  # a: mean of 1 and 0
    said.append(judged(made, by="y", criterion="b", scores=(2.0,)))  # b: 0.25
    said.append(judged(made, by="y", criterion="idle", scores=(1.0,)))  # weighs nothing
    tables = Tables(made, said)
    assert tables.scores() == {r.id: pytest.approx((2 * 0.5 + 0.25) / 3)}
    alone = {name: tables.scores(criteria=[name])[r.id] for name in ("a", "b", "idle")}
    assert alone == {"a": 0.5, "b": 0.25, "idle": None}


def test_the_order_of_a_sum_makes_no_difference():
    made = Tables([response("p_1", i) for i in range(30)])
    for place, one in enumerate(made.responses):
        scores = random.Random(place).sample((0.1, 0.2, 0.3, 0.7, 0.9), 5)
        for criterion, score in zip("bcdef", scores, strict=True):
            made.judgements.append(judged([one], criterion=criterion, scores=(score,), scale=(0.0, 1.0)))
    assert set(made.scores().values()) == {0.44}
    assert made.outcomes() == {"all tied": 1}


def test_a_response_without_a_verdict_that_its_siblings_have_is_never_paired():
    made = scored(1, 3, 5)
    made.judgements += [judged([r], criterion="b", scores=(3.0,)) for r in made.responses[:2]]
    found = objective_scores(*made.frames(), OBJECTIVE).collect()
    assert found["score"].is_null().to_list() == [False, False, True]
    assert found["lacks"].to_list() == [[], [], ["b"]]
    (row,) = made.examples(Pairs(choose="all_pairs")).iter_rows(named=True)
    assert made.responses[2].id not in row["response_ids"]


def test_scores_outside_their_scale_or_without_one_or_broken():
    r = [response("p_1", 0)]
    said = [judged(r, scores=(9.0,)), judged(r, scores=(3.0,), scale=None, repeat=1)]
    said += [judged(r, scores=(float("nan"),), repeat=2), judged(r, ranks=(1,), repeat=3)]
    found = verdicts(frame("judgements", said).lazy()).collect()
    assert found["verdict"].to_list() == [1.0]


def test_the_drawn_response_is_uniform_over_seeds():
    made = scored(5, 1, 2, 3, 4)
    times, counts = 120, defaultdict(int)
    for seed in range(times):
        counts[made.examples(Pairs(choose="best_vs_random"), seed)["response_ids"][0][1]] += 1
    expected = times / 4
    assert len(counts) == 4
    assert sum((count - expected) ** 2 / expected for count in counts.values()) < 16.3  # chi-square, 3 df, p = 0.001


def test_the_draw_is_uniform_over_prompts_and_breaks_ties_evenly():
    made = Tables()
    for number in range(3000):
        here = scored(5, 5, 2, 1, 1, prompt=f"p_{number}")
        made.responses += here.responses
        made.judgements += here.judgements
    rejected, chosen = defaultdict(int), defaultdict(int)
    index = {r.id: r.sample_index for r in made.responses}
    for ids in made.examples(Pairs(choose="best_vs_random"))["response_ids"]:
        chosen[index[ids[0]]] += 1
        rejected[index[ids[1]]] += 1
    for counts, places in ((chosen, (0, 1)), (rejected, (2, 3, 4))):
        expected = 3000 / len(places)
        assert sorted(counts) == list(places)
        assert sum((n - expected) ** 2 / expected for n in counts.values()) < 13.8


def test_the_draw_stays_what_it_was_when_examples_were_first_made():
    made = scored(5, 1, 2, 3, 4)
    drawn = [made.examples(Pairs(choose="best_vs_random"), seed)["scores"][0][1] for seed in range(12)]
    assert drawn == [0.25, 0.0, 0.0, 0.25, 0.25, 0.5, 0.0, 0.75, 0.0, 0.0, 0.0, 0.0]


def test_tables_read_lazily_from_disk_give_the_same(tmp_path):
    rng = random.Random(5)
    made = Tables()
    for number in range(50):
        here = scored(*[rng.randint(1, 5) for _ in range(4)], prompt=f"p_{number}")
        made.responses += here.responses
        made.judgements += here.judgements
    for name, table in zip(("responses", "judgements"), made.frames(), strict=True):
        table.collect().write_parquet(tmp_path / f"{name}.parquet")
    on_disk = [pl.scan_parquet(tmp_path / f"{name}.parquet") for name in ("responses", "judgements")]
    for choose in ("best_vs_worst", "best_vs_random", "all_pairs"):
        pairs = Pairs(choose=choose)
        assert pairs.instantiate(*on_disk, OBJECTIVE, 3).collect().equals(made.examples(pairs, 3))


def test_no_rows_give_no_pairs():
    assert Tables().examples().height == 0
    assert dict(Tables().examples().schema) == schema("examples")
    assert Tables().outcomes() == {}


def test_a_response_that_stands_twice_in_the_table_counts_once():
    made = scored(1, 5)
    made.responses.append(made.responses[0])
    assert made.examples(Pairs(choose="all_pairs", distinct=False)).height == 1


def test_trajectories_that_differ_in_their_calls_alone_are_distinct():
    from triptych.records import ToolCall

    def acts(index, name):
        messages = (
            Message("assistant", "", (ToolCall("c", name, "{}"),)),
            Message("tool", "ok", tool_call_id="c"),
        )
        return make_response(
            prompt_id="p", generator="g", generator_id="o", model="m", sample_index=index, messages=messages
        )

    made = [acts(0, "read"), acts(1, "write"), acts(2, "read")]
    said = [judged([r], scores=(s,)) for r, s in zip(made, (5.0, 2.0, 1.0), strict=True)]
    (row,) = Tables(made, said).examples().iter_rows(named=True)
    assert row["response_ids"] == [made[0].id, made[1].id]


def test_settings_that_leave_no_band_are_refused():
    with pytest.raises(ValidationError, match="below min_margin"):
        Pairs(min_margin=0.5, max_margin=0.1)
    for bad in ({"min_margin": -0.1}, {"max_margin": 1.5}, {"criteria": ()}, {"choose": "worst"}):
        with pytest.raises(ValidationError):
            Pairs(**bad)


def test_a_misspelt_criterion_is_a_problem_and_a_verifiers_own_is_none():
    objective = Objective(criteria={"helpfulness": Criterion(text="h")})
    pairs = Pairs(criteria=("helpfulness", "helpfullness", "correctness"))
    assert list(pairs.problems({}, objective)) == [
        ("criteria.1", "criterion 'helpfullness' is not in the objective; did you mean 'helpfulness'?")
    ]


def test_the_defaults_do_not_count_in_the_identity():
    assert (
        Pairs().identity() == Pairs(choose="best_vs_worst", min_margin=0).identity() != Pairs(min_margin=0.1).identity()
    )


def test_a_check_that_could_not_be_made_makes_no_response_the_better_one():
    unchecked, wrong, right = (response("p_1", i) for i in range(3))
    checks = {"words": (1.0, 1.0, 1.0), "json": (None, 0.0, 1.0)}
    judgements = [
        judged(
            [one],
            by="verify",
            check=check,
            **({"status": "failed"} if score is None else {"scores": (score,), "scale": (0.0, 1.0)}),
        )
        for check, scores in checks.items()
        for one, score in zip((unchecked, wrong, right), scores, strict=True)
    ]
    made = Tables([unchecked, wrong, right], judgements)
    assert made.scores()[unchecked.id] is None
    assert made.examples()["response_ids"].to_list() == [[right.id, wrong.id]]


@pytest.mark.parametrize("status", ["unparsed", "refused", "failed"])
def test_a_score_on_a_judgement_that_is_not_ok_does_not_count(status):
    good, bad = response("p_1", 0), response("p_1", 1)
    judgements = [judged([one], scores=(score,), scale=(0.0, 1.0)) for one, score in ((good, 1.0), (bad, 0.0))]
    judgements += [
        judged([one], scores=(score,), scale=(0.0, 1.0), status=status, repeat=1) for one, score in ((good, 0.0), (bad, 1.0))
    ]
    scores = Tables([good, bad], judgements).scores()
    assert (scores[good.id], scores[bad.id]) == (1.0, 0.0)


def test_one_readable_order_of_two_decides_nothing():
    a, b = response("p_1", 0), response("p_1", 1)
    made = Tables([a, b], [judged([a, b], ranks=(1, 2)), judged([b, a], status="unparsed")])
    assert made.scores() == {a.id: None, b.id: None}
    assert made.examples().height == 0
