"""Which responses are paired, what the pair's label is, and which pairs are kept: against plain Python."""

from __future__ import annotations

import math
import random
from collections import defaultdict
from itertools import combinations, pairwise
from statistics import NormalDist, mean, stdev

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

import triptych as tp
from triptych.export.card import tallies
from triptych.instantiation.bands import Band
from triptych.instantiation.diverse_pairs import DiversePairs
from triptych.instantiation.labels import SoftLabels
from triptych.instantiation.pairs import Pairs
from triptych.records import Criterion, Objective, StepLocator
from verdict_tables import Tables, judged, response, tables

TWO = Objective(criteria={"a": Criterion(text="A", weight=2), "b": Criterion(text="B")})


def graded(*prompts, texts=None):
    """A table of prompts, each a list of responses given as scores on a and, where there are two, on b."""
    made = Tables([], [])
    for number, prompt in enumerate(prompts):
        for index, scores in enumerate(prompt):
            text = None if texts is None else texts[number][index]
            one = response(f"p_{number}", index, text)
            made.responses.append(one)
            for name, score in zip("ab", scores if isinstance(scores, tuple) else (scores,), strict=False):
                made.judgements.append(judged([one], criterion=name, scores=(float(score),), scale=(0.0, 1.0)))
    return made


def made_of(made, pairs, objective=TWO, seed=0):
    return pairs.instantiate(*made.frames(), objective, seed).collect()


def places(made, examples):
    """The pairs as (prompt, place of the chosen, place of the rejected)."""
    index = {one.id: (one.prompt_id, one.sample_index) for one in made.responses}
    return [(index[chosen][0], index[chosen][1], index[rejected][1]) for chosen, rejected in examples["response_ids"]]


SCORES = st.lists(st.lists(st.integers(0, 8).map(lambda n: n / 8), min_size=1, max_size=6), min_size=1, max_size=4)


@given(SCORES, st.integers(0, 9))
@settings(deadline=None, max_examples=60)
def test_the_best_is_paired_with_each_that_is_worse(scores, seed):
    made = graded(*scores)
    found = defaultdict(list)
    for prompt, chosen, rejected in places(made, made_of(made, Pairs(choose="best_vs_rest"), seed=seed)):
        found[prompt].append((chosen, rejected))
    for number, here in enumerate(scores):
        pairs = found[f"p_{number}"]
        assert len({chosen for chosen, _ in pairs}) <= 1
        assert all(here[chosen] == max(here) for chosen, _ in pairs)
        assert sorted(rejected for _, rejected in pairs) == [i for i, score in enumerate(here) if score < max(here)]


@given(SCORES, st.integers(0, 9))
@settings(deadline=None, max_examples=60)
def test_neighbours_in_rank_are_paired(scores, seed):
    made = graded(*scores)
    found = defaultdict(list)
    for prompt, chosen, rejected in places(made, made_of(made, Pairs(choose="adjacent"), seed=seed)):
        found[prompt].append((chosen, rejected))
    for number, here in enumerate(scores):
        levels = sorted({*here}, reverse=True)
        assert sorted(((here[c], here[r]) for c, r in found[f"p_{number}"]), reverse=True) == list(pairwise(levels))


@given(SCORES, st.sampled_from([0.0, 1.0, 2.0]))
@settings(deadline=None, max_examples=60)
def test_the_rejected_one_lies_nearest_to_so_many_deviations_below_the_mean(scores, deviations):
    made = graded(*scores)
    found = {
        prompt: (c, r)
        for prompt, c, r in places(made, made_of(made, Pairs(choose="best_vs_low", deviations=deviations)))
    }
    for number, here in enumerate(scores):
        worse = [score for score in here if score < max(here)]
        if not worse:
            assert f"p_{number}" not in found
            continue
        chosen, rejected = found[f"p_{number}"]
        aim = mean(here) - deviations * stdev(here)
        assert here[chosen] == max(here)
        assert abs(here[rejected] - aim) == pytest.approx(min(abs(score - aim) for score in worse), abs=1e-9)


VECTORS = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=2, max_size=5)


@given(VECTORS)
@settings(deadline=None, max_examples=60)
def test_pareto_pairs_are_those_where_nothing_got_worse(vectors):
    here = [(a / 4, b / 4) for a, b in vectors]
    made = graded(here)
    found = {(c, r) for _, c, r in places(made, made_of(made, Pairs(choose="all_pairs", dimensions="pareto")))}
    assert found == {
        (i, j)
        for i, one in enumerate(here)
        for j, other in enumerate(here)
        if one != other and one[0] >= other[0] and one[1] >= other[1]
    }


@given(VECTORS)
@settings(deadline=None, max_examples=40)
def test_pairs_of_each_criterion_are_those_of_the_criterion_alone(vectors):
    made = graded([(a / 4, b / 4) for a, b in vectors])
    each = made_of(made, Pairs(choose="all_pairs", criteria=("a", "b"), dimensions="each"))
    for name in "ab":
        alone = made_of(made, Pairs(choose="all_pairs", criteria=(name,)))
        here = each.filter(strategy=f"all_pairs/{name}")
        assert here["response_ids"].to_list() == alone["response_ids"].to_list()
        assert here["margin"].to_list() == alone["margin"].to_list()
    assert each["id"].is_unique().all()
    counted = Pairs(criteria=("a", "b"), dimensions="each").tally(*made.frames(), TWO, 0)
    assert counted.group_by("strategy").len().height == 2


def test_soft_labels_are_the_chance_that_bradley_and_terry_give():
    made = graded([1.0, 0.5], [0.5, 0.5])
    rows = made_of(made, Pairs(ties="keep", soft_labels=SoftLabels(temperature=0.5)))
    assert rows["labels"].to_list()[0] == pytest.approx([1 / (1 + math.exp(-1)), 1 / (1 + math.exp(1))])
    assert rows["labels"].to_list()[1] == [0.5, 0.5]


def test_smoothed_labels_leave_the_declared_rate_of_flips():
    rows = made_of(graded([1.0, 0.5]), Pairs(soft_labels=SoftLabels(by="certain", smoothing=0.1)))
    assert rows["labels"].to_list() == [pytest.approx([0.9, 0.1])]


def test_judged_labels_are_the_mean_over_both_orders_whatever_is_chosen():
    one, other, third = (response("p_0", index) for index in range(3))
    made = Tables(
        [one, other, third],
        [
            judged([one, other], ranks=(1, 2), probability=0.9),
            judged([other, one], ranks=(2, 1), probability=0.3),
            judged([other, third], ranks=(1, 2)),
        ],
    )
    rows = made_of(made, Pairs(choose="all_pairs", soft_labels=SoftLabels(by="judged")))
    assert rows["response_ids"].to_list() == [[one.id, other.id]]
    assert rows["labels"].to_list() == [pytest.approx([0.8, 0.2])]
    counted = Pairs(soft_labels=SoftLabels(by="judged")).tally(*made.frames(), TWO, 0)
    assert counted["pairs"].sum() == 0


@given(SCORES, st.sampled_from([0.0, 0.25, 0.5, 0.9, 1.0]))
@settings(deadline=None, max_examples=60)
def test_a_quantile_is_of_the_pairs_of_all_prompts(scores, quantile):
    made = graded(*scores)
    everything = made_of(made, Pairs(choose="all_pairs"))
    kept = made_of(made, Pairs(choose="all_pairs", keep=[Band(of="margin", min_quantile=quantile)]))
    margins = sorted(everything["margin"].to_list())
    if margins:
        floor = everything["margin"].quantile(quantile, "nearest")
        assert sorted(kept["margin"].to_list()) == [margin for margin in margins if margin >= floor]
        assert max(margins) in kept["margin"].to_list()


def test_a_quantile_holds_over_all_prompts_of_a_run(tmp_path, monkeypatch):
    """More prompts than are turned into examples at a time."""
    monkeypatch.setattr("triptych.store.writer.PROMPTS_A_PART", 100)
    prompts = [{"prompt": f"Say yes ({number}).", "responses": ["yes" + "!" * number, "no"]} for number in range(150)]
    recipe = tp.Recipe.model_validate(
        {
            "name": "shortest",
            "prompts": {"kind": "inline", "prompts": prompts},
            "synthesis": {"kind": "given"},
            "evaluation": {"kind": "verify", "constraints": [{"kind": "regex", "pattern": "yes"}]},
            "instantiation": {"kind": "pairs", "keep": [{"of": "chosen_length", "max_quantile": 0.1}]},
        }
    )
    run = tp.run(recipe, tmp_path / "run")
    texts = run.responses().collect().select("id", pl.col("messages").list.get(0).struct.field("content"))
    chosen = run.examples().select(pl.col("response_ids").list.get(0).alias("id")).collect().join(texts, on="id")
    assert sorted(map(len, chosen["content"])) == list(range(3, 19))
    told = {row["outcome"]: row["prompts"] for row in tallies(run).iter_rows(named=True) if row["prompts"]}
    assert told == {"pair": 16, "left out by keep, labels or weights": 134}


def test_bands_are_on_scores_lengths_and_margins():
    made = graded([1.0, 0.6, 0.1], texts=[["long enough", "short", "mid one"]])
    every = Pairs(choose="all_pairs")
    wanted = {
        Band(of="margin", max=0.45): [(0, 1)],
        Band(of="chosen", min=0.9): [(0, 1), (0, 2)],
        Band(of="rejected", min=0.5): [(0, 1)],
        Band(of="chosen_length", max=5): [(1, 2)],
        Band(of="rejected_length", min=6): [(0, 2), (1, 2)],
        Band(of="length_difference", max=-2): [(1, 2)],
    }
    for band, pairs in wanted.items():
        found = made_of(made, every.model_copy(update={"keep": (band,)}))
        assert [(chosen, rejected) for _, chosen, rejected in places(made, found)] == sorted(pairs)


def test_bands_may_hold_one_criterion_against_all():
    """b stands for what the policy's own likelihood says: an implicit reward."""
    made = graded([(1.0, 0.2), (0.6, 0.9), (0.0, 0.0)])
    judged_on_a = Pairs(choose="all_pairs", criteria=("a",))

    def kept(**band):
        found = made_of(made, judged_on_a.model_copy(update={"keep": (Band(criterion="b", **band),)}))
        return [(chosen, rejected) for _, chosen, rejected in places(made, found)]

    assert kept(of="margin", max=0.0) == [(0, 1)]
    assert kept(of="potential", min=0.8) == [(0, 1), (0, 2)]
    p, q = (1 + 0.6) / 2, (1 + 0.9) / 2
    fused = p * q / (p * q + (1 - p) * (1 - q))
    assert kept(of="fused", min=fused - 1e-9, max=fused + 1e-9) == [(1, 2)]


def test_noise_is_the_standard_error_of_the_margin():
    one, other = response("p_0", 0), response("p_0", 1)
    made = Tables(
        [one, other],
        [
            judged([each], scores=(score,), scale=(0.0, 1.0), repeat=repeat)
            for each, said in ((one, (1.0, 0.8)), (other, (0.2, 0.6)))
            for repeat, score in enumerate(said)
        ],
    )
    error = math.sqrt(stdev([1.0, 0.8]) ** 2 / 2 + stdev([0.2, 0.6]) ** 2 / 2)
    for slack, height in ((1e-9, 1), (-1e-9, 0)):
        assert made_of(made, Pairs(keep=[Band(of="noise", max=error + slack)])).height == height


def test_the_tally_says_that_a_pair_was_not_kept():
    made = graded([1.0, 0.0], [0.5])
    counted = Pairs(keep=[Band(of="chosen", max=0.9)]).tally(*made.frames(), TWO, 0)
    told = {row["outcome"]: row["prompts"] for row in counted.iter_rows(named=True) if row["prompts"]}
    assert told == {"left out by keep, labels or weights": 1, "fewer than two scored responses": 1}


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"of": "potential", "min": 0}, "needs the criterion"),
        ({"of": "chosen_length", "criterion": "a", "min": 0}, "does not depend on a criterion"),
        ({"of": "margin"}, "has no bound"),
        ({"of": "margin", "min": 0.5, "max": 0.1}, "no pair fits"),
        ({"of": "margin", "min_quantile": 0.5, "max_quantile": 0.1}, "no pair fits"),
    ],
)
def test_a_band_that_makes_no_sense_says_so(settings, said):
    with pytest.raises(ValidationError, match=said):
        Band(**settings)


def test_labels_are_held_within_what_is_declared():
    every = {"choose": "all_pairs"}
    free = made_of(graded([1.0, 0.9, 0.1]), Pairs(soft_labels=SoftLabels(), **every))["labels"].to_list()
    held = made_of(graded([1.0, 0.9, 0.1]), Pairs(soft_labels=SoftLabels(clamp=(0.4, 0.6)), **every))["labels"].to_list()
    assert held == [[min(chosen, 0.6), max(rejected, 0.4)] for chosen, rejected in free]
    assert {chosen > 0.6 for chosen, _ in free} == {True, False}
    (sure,) = made_of(graded([1.0, 0.0]), Pairs(soft_labels=SoftLabels(by="certain", clamp=(0.4, 0.6))))["labels"].to_list()
    assert sure == [0.6, 0.4]
    with pytest.raises(ValidationError, match=r"holds 0\.5"):
        SoftLabels(clamp=(0.6, 0.4))


def test_each_needs_names_and_certain_labels_need_smoothing():
    with pytest.raises(ValidationError, match="needs the names"):
        Pairs(dimensions="each")
    with pytest.raises(ValidationError, match="leave soft_labels out"):
        SoftLabels(by="certain")


def test_new_settings_leave_the_identity_of_old_ones():
    assert Pairs().identity() == "o_a07210a9afa9e0070994ae80"
    assert Pairs(choose="all_pairs", min_margin=0.25).identity() == "o_ac4dec1612b9c48f30f854f7"


@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=6), st.sampled_from([0.0, 0.25, 0.4])
)
@settings(deadline=None, max_examples=60)
def test_rare_good_ones_are_paired_with_common_bad_ones(vectors, band):
    here = [(quality / 4, rarity / 4) for quality, rarity in vectors]
    made = graded(here)
    found = places(made, DiversePairs(diversity="b", band=band).instantiate(*made.frames(), TWO, 0).collect())
    best, worst = max(q for q, _ in here), min(q for q, _ in here)
    if best == worst:
        assert found == []
        return
    ((_, chosen, rejected),) = found
    reach = band * (best - worst) + 1e-9
    good = [r for q, r in here if q >= best - reach]
    bad = [r for q, r in here if q <= worst + reach]
    assert here[chosen][0] >= best - reach
    assert here[chosen][1] == max(good)
    assert here[rejected][0] <= worst + reach
    assert here[rejected][1] == min(bad)


@given(SCORES, st.integers(0, 9))
@settings(deadline=None, max_examples=60)
def test_random_pairs_take_each_response_once_at_most(scores, seed):
    made = graded(*scores)
    kept = made_of(made, Pairs(choose="random_pairs", ties="keep", distinct=False), seed=seed)
    for number, prompt in enumerate(scores):
        pairs = [(one, other) for name, one, other in places(made, kept) if name == f"p_{number}"]
        taken = [place for pair in pairs for place in pair]
        assert len(taken) == len({*taken}) == len(prompt) // 2 * 2
        assert all(prompt[one] >= prompt[other] for one, other in pairs)


def test_random_pairs_differ_with_the_seed():
    made = graded([0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
    assert len({tuple(places(made, made_of(made, Pairs(choose="random_pairs"), seed=seed))) for seed in range(20)}) > 5


def repeated(*said):
    """Responses to one prompt, each with these verdicts by one judge."""
    made = Tables([], [])
    for index, scores in enumerate(said):
        one = response("p_0", index)
        made.responses.append(one)
        made.judgements += [
            judged([one], scores=(score,), scale=(0.0, 1.0), repeat=repeat) for repeat, score in enumerate(scores)
        ]
    return made


@given(
    st.lists(st.integers(0, 20).map(lambda n: n / 20), min_size=2, max_size=5),
    st.lists(st.integers(0, 20).map(lambda n: n / 20), min_size=2, max_size=5),
)
@settings(deadline=None, max_examples=30)
def test_a_pair_weighs_by_the_chance_that_its_margin_is_real(one, other):
    made = repeated(one, other)
    found = made_of(made, Pairs(weight="certainty", ties="keep", distinct=False))
    margin = round(abs(mean(one) - mean(other)), 12)
    error = math.sqrt(stdev(one) ** 2 / len(one) + stdev(other) ** 2 / len(other))
    chance = NormalDist(margin, error).cdf(0) if error else 0.5 if margin == 0 else 0.0
    assert found["weight"].to_list() == [pytest.approx(1 - chance, abs=2e-7)]
    for least, height in ((1 - chance - 1e-6, 1), (1 - chance + 1e-6, 0)):
        kept = made_of(made, Pairs(keep=[Band(of="certainty", min=least)], ties="keep", distinct=False))
        assert kept.height == height


def test_a_pair_without_an_estimate_is_handled_as_declared():
    made = repeated([0.9], [0.1, 0.3])
    assert made_of(made, Pairs(weight="certainty"))["weight"].to_list() == [1.0]
    assert made_of(made, Pairs(weight="certainty", unestimated="drop")).height == 0
    assert made_of(made, Pairs(keep=[Band(of="certainty", min=0.0)])).height == 0


def test_a_surer_pair_weighs_more_and_a_band_on_it_may_stand_beside_the_weight():
    sure, vague = repeated([0.8, 0.9, 0.85], [0.2, 0.1, 0.15]), repeated([1.0, 0.2], [0.0, 0.9])
    pairs = Pairs(weight="certainty", keep=[Band(of="certainty", min=0.5), Band(of="noise", max=1)])
    (high,), (low,) = (made_of(made, pairs)["weight"].to_list() for made in (sure, vague))
    assert high > 0.999 > low > 0.5


@given(tables(), st.integers(1, 4), st.integers(0, 5))
@settings(deadline=None, max_examples=60)
def test_a_cap_keeps_the_pairs_with_the_greatest_margins(made, most, seed):
    every = made.examples(Pairs(choose="all_pairs"), seed)
    kept = made.examples(Pairs(choose="all_pairs", most=most), seed)
    for (prompt,), pairs in every.group_by("prompt_id"):
        here = kept.filter(prompt_id=prompt)
        assert sorted(here["margin"], reverse=True) == sorted(pairs["margin"], reverse=True)[:most]
        assert {*map(tuple, here["response_ids"])} <= {*map(tuple, pairs["response_ids"])}
    assert kept["prompt_id"].n_unique() == every["prompt_id"].n_unique()


# --- what is said of single criteria is what enters the score


WAYS = [
    {"panel": {"combine": "min"}},
    {"panel": {"combine": "vote"}},
    {"panel": {"weights": {"strict": 9.0}}},
    {"fold": "min"},
    {"bradley_terry": {}},
    {"calibrate": {"gold": "people", "min_gold": 4}},
    {"length": "residual"},
    {"evaluators": ("strict",)},
    {},
]


def judged_in_many_ways(numbers):
    """Four responses to a prompt: scores by two judges and by people, choices, steps, and texts of different lengths."""
    rng = random.Random(numbers)
    made = Tables([response("p_0", place, "x" * rng.randint(1, 90)) for place in range(4)], [])
    for one in made.responses:
        for evaluator in ("kind", "strict", "people"):
            score = rng.randint(0, 4) / 4
            made.judgements.append(judged([one], criterion="a", by=evaluator, scores=(score,), scale=(0.0, 1.0)))
        for place in range(2):
            made.judgements.append(
                judged([one], criterion="a", by="kind", scores=(rng.randint(0, 4) / 4,), scale=(0.0, 1.0),
                       step=StepLocator("step", place, 0, place, place + 1))
            )  # fmt: skip
    for one, other in combinations(made.responses, 2):
        made.judgements.append(judged([one, other], criterion="a", by="kind", ranks=rng.choice([(1, 2), (2, 1)])))
    return made


@pytest.mark.parametrize("way", WAYS, ids=[" ".join(way) for way in WAYS])
def test_the_score_on_the_one_criterion_that_counts_is_the_objectives(way):
    for number in range(5):
        made = judged_in_many_ways(number)
        both_good = {j.response_ids[0]: j.scores[0] for j in made.judgements if j.evaluator == "people"}
        if "calibrate" in way and len({score > 0.5 for score in both_good.values()}) < 2:
            continue
        every = made_of(made, Pairs(choose="all_pairs", **way))
        pareto = made_of(made, Pairs(choose="all_pairs", dimensions="pareto", **way))
        assert pareto["response_ids"].to_list() == every["response_ids"].to_list()
        for of, place in (("chosen", 0), ("rejected", 1)):
            found = every["scores"].list.get(place)
            low = max(found.sort()[len(found) // 2] - 1e-6, 0.0)
            kept = made_of(made, Pairs(choose="all_pairs", keep=(Band(of=of, criterion="a", min=low),), **way))
            assert kept["response_ids"].to_list() == every.filter(found >= low)["response_ids"].to_list()


def test_a_criterion_without_weight_makes_no_two_responses_incomparable():
    objective = Objective(criteria={"a": Criterion(text="A"), "b": Criterion(text="B", weight=0)})
    made = graded([(1.0, 0.0), (0.0, 1.0)])
    assert places(made, made_of(made, Pairs(dimensions="pareto"), objective)) == [("p_0", 0, 1)]
    assert made_of(made, Pairs(dimensions="pareto")).height == 0


def test_an_implicit_reward_that_does_not_count_is_held_against_calibrated_scores():
    """By hand: gold calls the first good; calibrated by isotonic regression, the judge's 0.6 and 0.4 become 1 and 0."""
    made = graded([(0.6, 0.7), (0.4, 0.4)])
    for one, score in zip(made.responses, (1.0, 0.0), strict=True):
        made.judgements.append(judged([one], criterion="a", by="people", scores=(score,), scale=(0.0, 1.0)))
    settings = {"criteria": ("a",), "calibrate": {"gold": "people", "min_gold": 2}}
    for low, pairs in ((0.7, 1), (0.701, 0)):
        kept = made_of(made, Pairs(keep=(Band(of="potential", criterion="b", min=low),), **settings))
        assert kept.height == pairs
        assert kept["margin"].to_list() == [1.0] * pairs


@pytest.mark.parametrize("other", [{"panel": {"combine": "min"}}, {"join": "min"}], ids=["panel", "join"])
@pytest.mark.parametrize("estimate", [{"weight": "certainty"}, {"keep": [{"of": "noise", "max": 0.1}]}], ids=["weight", "keep"])
def test_standard_errors_are_of_means_alone(other, estimate):
    with pytest.raises(ValidationError, match="between means of verdicts"):
        Pairs(**other, **estimate)
    Pairs(panel={"combine": "mean"}, **estimate)
