"""Weights by sentence and by age, and the choice by length among equals, against what the papers' formulas give."""

from __future__ import annotations

import math
from datetime import UTC, datetime

import msgspec
import polars as pl
import pytest
from pydantic import ValidationError

import triptych as tp
from triptych.errors import TriptychError
from triptych.instantiation.decay import Decay
from triptych.instantiation.groups import Groups
from triptych.instantiation.pairs import Pairs
from triptych.instantiation.part_weights import PartWeights
from triptych.instantiation.sft import Sft
from triptych.instantiation.unpaired import Unpaired
from triptych.recipes.load import build_recipe
from triptych.records import Criterion, Message, Objective, StepLocator, make_prompt
from triptych.store.tables import frame, records
from verdict_tables import Tables, judged, response

GOOD = "First. Second. Third."
PLACES = [(0, 6), (7, 14), (15, 21)]


def sentences(one, criterion, scores, by="judge", unit="sentence"):
    return [
        judged(
            [one],
            criterion=criterion,
            by=by,
            scores=(float(score),),
            step=StepLocator(unit, place, 0, *PLACES[place]),
        )
        for place, score in enumerate(scores)
        if score is not None
    ]


def two(true=(1, 3, 5), sure=(5, 1, 5)):
    """A better and a worse response, each of three sentences that were judged on two criteria."""
    good, bad = response("p_1", 0, GOOD), response("p_1", 1, "Other. Thing? Here.")
    made = Tables([good, bad])
    made.judgements = [judged([good], criterion="whole", scores=(5.0,)), judged([bad], criterion="whole", scores=(1.0,))]
    for one in (good, bad):
        made.judgements += sentences(one, "true", true) + sentences(one, "sure", sure)
    return made


OBJECTIVE = Objective(criteria={"true": Criterion(text="T", weight=3), "sure": Criterion(text="S", weight=1)})


def rows(form, made, objective=OBJECTIVE, **more):
    return form.instantiate(*made.frames(), objective, 0, **more).collect()


def spans(row):
    return [(one["response"], one["start"], one["end"], one["value"]) for one in row["spans"]]


def test_sentences_of_the_chosen_response_weigh_one_more_than_their_relative_scores():
    weights = PartWeights(of="first", relative=True, criteria=("true", "sure"))
    (row,) = rows(Pairs(criteria=("whole",), part_weights=weights), two()).to_dicts()
    # w = alpha * S' + (1 - alpha) * P', each score between the least and the greatest of its response
    alpha, relative = 3 / 4, {"true": [0, 0.5, 1], "sure": [1, 0, 1]}
    wanted = [1 + alpha * one + (1 - alpha) * other for one, other in zip(*relative.values(), strict=True)]
    assert spans(row) == [(0, *place, pytest.approx(value)) for place, value in zip(PLACES, wanted, strict=True)]


@pytest.mark.parametrize("scores", [(4,), (4, 4, 4)])
def test_a_lone_sentence_or_equal_ones_weigh_as_if_nobody_had_told_them_apart(scores):
    made = two(true=scores, sure=())
    (row,) = rows(Pairs(criteria=("whole",), part_weights=PartWeights(relative=True)), made).to_dicts()
    assert {value for *_, value in spans(row)} == {1.0}


def test_rewards_of_parts_are_weighted_sums_over_kinds_of_error():
    weights = PartWeights(base=0, range=(-1, 1), join="sum")
    made = two(true=(1, 5, 5), sure=(5, 1, 5))
    (row,) = rows(Groups(criteria=("whole",), advantage="none", part_weights=weights), made).to_dicts()
    reward = [3 * one + 1 * other for one, other in zip((-1, 1, 1), (1, -1, 1), strict=True)]
    one_response = [(*place, value) for place, value in zip(PLACES, reward, strict=True)]
    assert spans(row) == [(number, *one) for number in (0, 1) for one in one_response]
    assert row["labels"] == [1.0, 0.0]


def test_parts_of_two_kinds_have_weights_of_their_own():
    one = response("p_1", 0, GOOD)
    made = Tables([one], [judged([one], criterion="whole", scores=(5.0,))])
    whole = StepLocator("step", 0, 0, 0, 21)
    made.judgements += [*sentences(one, "true", (5, 5, 1)), judged([one], criterion="sure", scores=(1.0,), step=whole)]
    (row,) = rows(Sft(criteria=("whole",), part_weights=PartWeights(base=0)), made).to_dicts()
    assert spans(row) == [(0, 0, 6, 1.0), (0, 0, 21, 0.0), (0, 7, 14, 1.0), (0, 15, 21, 0.0)]


def test_a_sentence_that_lacks_a_criterion_has_no_weight_and_rows_rest_on_what_weighs_them():
    made = two(true=(1, None, 5))
    (row,) = rows(Sft(criteria=("whole",), part_weights=PartWeights()), made).to_dicts()
    assert [start for _, start, _, _ in spans(row)] == [0, 15]
    mine = {one.id: one for one in made.judgements}
    assert {mine[name].criterion for name in row["judgement_ids"]} == {"whole", "true", "sure"}
    assert {mine[name].step.index for name in row["judgement_ids"] if mine[name].step} == {0, 2}


def test_judges_are_joined_in_the_mean_before_criteria_are():
    made = two(true=(1, 1, 1), sure=())
    made.judgements += sentences(made.responses[0], "true", (5, 1, 3), by="other")
    weights = PartWeights(of="first")
    (row,) = rows(Pairs(criteria=("whole",), part_weights=weights), made).to_dicts()
    assert [value for *_, value in spans(row)] == [1.5, 1.0, 1.25]
    only = PartWeights(of="first", evaluators=("other",))
    (row,) = rows(Pairs(criteria=("whole",), part_weights=only), made).to_dicts()
    assert [value for *_, value in spans(row)] == [2.0, 1.0, 1.5]


def test_an_id_is_that_of_the_record_with_its_spans():
    (row,) = rows(Sft(criteria=("whole",), part_weights=PartWeights()), two()).to_dicts()
    (example,) = records("examples", [row])
    from triptych.records.example import make_example

    fields = {name: getattr(example, name) for name in example.__struct_fields__ if name != "id"}
    assert make_example(**fields).id == row["id"]
    (without,) = rows(Sft(criteria=("whole",)), two()).to_dicts()
    assert (without["spans"], without["id"] != row["id"]) == ([], True)


# Age.


def aged(times, tag="t:{}"):
    """Prompts with two responses each, the time of each prompt in a tag."""
    prompts, made = [], Tables()
    for number, time in enumerate(times):
        tags = ("other:9", tag.format(time)) if time is not None else ("t:x",)
        prompts.append(make_prompt((Message("user", f"Why {number}?"),), tags=tags))
        pair = [response(prompts[-1].id, place) for place in (0, 1)]
        made.responses += pair
        made.judgements += [judged([pair[0]], scores=(5.0,)), judged([pair[1]], scores=(3.0,))]
    return made, frame("prompts", prompts).lazy()


@pytest.mark.parametrize("form", [Pairs, Sft, Unpaired])
def test_weights_fall_by_gamma_for_each_unit_of_time(form):
    made, prompts = aged([1, 3, 2.5])
    found = rows(form(decay=Decay(gamma=0.9)), made, prompts=prompts)
    of_prompts = found.unique("prompt_id", maintain_order=True)["weight"].to_list()
    # gamma ** (T - t - 1) with T one step after the latest, as the paper counts
    assert of_prompts == pytest.approx([0.9 ** (4 - time - 1) for time in (1, 3, 2.5)])
    assert form(decay=Decay()).across_prompts
    assert form(decay=Decay()).wants == ("prompts",)


def test_age_may_be_counted_from_a_declared_now():
    made, prompts = aged([1, 3])
    pairs = Pairs(decay=Decay(gamma=0.5, now=5), weight="margin")
    assert rows(pairs, made, prompts=prompts)["weight"].to_list() == [0.5**4 * 0.5, 0.5**2 * 0.5]


def test_rounds_and_days_tell_the_age_by_the_latest_response():
    made, _ = aged([1, 2])
    day = datetime(2026, 1, 1, tzinfo=UTC)
    versions = ["", "round-2", "round-4", "round-3"]
    made.responses = [
        msgspec.structs.replace(one, model_version=version, created_at=day.replace(day=number))
        for number, (one, version) in enumerate(zip(made.responses, versions, strict=True), 1)
    ]
    assert rows(Pairs(decay=Decay(gamma=0.5, of="round")), made)["weight"].to_list() == [0.25, 1.0]
    by_day = Pairs(decay=Decay(gamma=0.5, of="created_at", days=2))
    assert rows(by_day, made)["weight"].to_list() == [0.5, 1.0]


def test_an_unknown_age_is_an_error_that_says_how_many_lack_it():
    made, prompts = aged([1, None])
    with pytest.raises(TriptychError, match=r"1 of 2 examples .* no tag such as t:3"):
        rows(Pairs(decay=Decay()), made, prompts=prompts)
    with pytest.raises(TriptychError, match="not recorded"):
        rows(Pairs(decay=Decay(of="created_at")), made)


# Length among equals.


def test_the_shortest_of_the_best_is_chosen_and_the_longest_of_the_worst_rejected():
    scores, texts = (5, 4.8, 4.4, 2, 1.3, 1), ("long" * 9, "short", "x", "m", "longest " * 9, "z")
    found = [response("p_1", place, text) for place, text in enumerate(texts)]
    made = Tables(found, [judged([one], scores=(score,)) for one, score in zip(found, scores, strict=True)])
    (row,) = rows(Pairs(tier=0.1), made).to_dicts()
    # Best are those from 5 - 0.1 * 4 up, worst those from 1 + 0.1 * 4 down.
    assert row["response_ids"] == [found[1].id, found[4].id]
    (row,) = rows(Pairs(), made).to_dicts()
    assert row["response_ids"] == [found[0].id, found[5].id]
    with pytest.raises(ValidationError, match="does not go with all_pairs"):
        Pairs(tier=0.1, choose="all_pairs")


def test_equal_scores_make_no_pair_whatever_their_length():
    found = [response("p_1", place, "x" * (place + 1)) for place in range(3)]
    made = Tables(found, [judged([one], scores=(3.0,)) for one in found])
    assert rows(Pairs(tier=0.2), made).height == 0
    assert math.isclose(rows(Pairs(tier=0.2, ties="keep"), made)["margin"][0], 0)


def test_nothing_changes_without_them():
    made = two()
    assert rows(Pairs(criteria=("whole",)), made)["spans"].list.len().sum() == 0
    assert rows(Pairs(criteria=("whole",)), made).select(pl.col("weight")).to_series().to_list() == [1.0]


def test_what_is_made_anew_is_what_a_run_makes(tmp_path):
    content = {
        "name": "texts",
        "models": {},
        "prompts": {
            "kind": "inline",
            "prompts": [
                {"prompt": f"Say {number}.", "tags": [f"t:{number}"], "constraints": [{"kind": "words", "max": 1}],
                 "responses": ["One", "One two"]}
                for number in range(3)
            ],
        },
        "synthesis": {"kind": "given"},
        "evaluation": {"kind": "verify"},
        "instantiation": [
            {"kind": "pairs", "decay": {"gamma": 0.5}},
            {"kind": "conditioned"},
            {"kind": "many_outputs", "min_score": 0},
        ],
    }  # fmt: skip
    recipe = build_recipe(content)
    run = tp.run(recipe, tmp_path / "run")
    anew = tp.instantiate(run, recipe, tmp_path / "anew")
    assert (anew.path / "examples.parquet").read_bytes() == (run.path / "examples.parquet").read_bytes()
    examples = run.examples().collect()
    assert {*examples["strategy"]} == {"best_vs_worst", "conditioned", "many_outputs"}
    assert examples.filter(kind="pair")["weight"].to_list() == [0.25, 0.5, 1.0]


def test_an_unknown_age_leaves_the_other_tables_of_a_run(tmp_path):
    content = {
        "name": "ages",
        "prompts": {"kind": "inline", "prompts": [{"prompt": "Hi", "responses": ["Yes", "Yes, no"],
                                                   "constraints": [{"kind": "words", "max": 1}]}]},
        "synthesis": {"kind": "given"},
        "evaluation": {"kind": "verify"},
        "instantiation": {"kind": "pairs", "decay": {}},
    }  # fmt: skip
    with pytest.raises(TriptychError, match="no tag such as t:3"):
        tp.run(build_recipe(content), tmp_path / "run")
    assert tp.open_run(tmp_path / "run").judgements().collect().height == 2
