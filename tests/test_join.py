"""Several criteria as one score: the least, in order of weight, under constraints, each against plain Python."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

import triptych as tp
from triptych.instantiation.scores import objective_scores
from triptych.records import Criterion, Objective
from verdict_tables import Tables, judged, response

OBJECTIVE = Objective(
    criteria={
        "help": Criterion(text="H", weight=3),
        "style": Criterion(text="S", weight=1),
        "safe": Criterion(text="N", weight=2, kind="hard"),
    }
)
SCORES = st.fixed_dictionaries({name: st.sampled_from([1.0, 2.0, 3.0, 4.0, 5.0]) for name in OBJECTIVE.criteria})


def made_of(prompts):
    """Tables of prompts, each a list of what every response scores on the criteria, from 1 to 5."""
    made = Tables()
    for number, rows in enumerate(prompts):
        for place, row in enumerate(rows):
            one = response(f"p_{number}", place)
            made.responses.append(one)
            made.judgements += [judged([one], criterion=name, scores=(score,)) for name, score in row.items()]
    return made


def scores(prompts, join):
    return objective_scores(*made_of(prompts).frames(), OBJECTIVE, join=join).collect()["score"].to_list()


def unit(row):
    return {name: (score - 1) / 4 for name, score in row.items()}


def plain_constrained(row):
    on = unit(row)
    return 0.5 + (3 * on["help"] + on["style"]) / 4 / 2 if on["safe"] >= 0.5 else on["safe"] / 2


def plain_lexicographic(rows):
    order = [[unit(row)[name] for name in ("help", "safe", "style")] for row in rows]
    if len(order) == 1:
        return [0.5]
    wins = [sum((other < one) + 0.5 * (other == one) for other in order) - 0.5 for one in order]
    return [won / (len(order) - 1) for won in wins]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(SCORES, min_size=1, max_size=5), min_size=1, max_size=4))
def test_each_way_to_join_criteria_is_that_of_plain_python(prompts):
    rows = [row for here in prompts for row in here]
    assert scores(prompts, "min") == pytest.approx([min(unit(row).values()) for row in rows])
    assert scores(prompts, "constrained") == pytest.approx([plain_constrained(row) for row in rows])
    assert scores(prompts, "lexicographic") == pytest.approx([s for here in prompts for s in plain_lexicographic(here)])


@settings(max_examples=40, deadline=None)
@given(st.lists(SCORES, min_size=2, max_size=5))
def test_what_meets_the_constraints_is_chosen_before_what_does_not(rows):
    pairs = made_of([rows]).examples(tp.Pairs(choose="all_pairs", join="constrained"), objective=OBJECTIVE)
    safe = {f"{place}": row["safe"] >= 3 for place, row in enumerate(rows)}
    place = {one.id: str(at) for at, one in enumerate(made_of([rows]).responses)}
    for chosen, rejected in pairs["response_ids"].to_list():
        assert safe[place[chosen]] or not safe[place[rejected]]


def test_constraints_want_a_hard_criterion():
    with pytest.raises(ValidationError, match="needs a criterion of kind hard"):
        tp.Recipe(
            name="x",
            prompts=tp.InlinePrompts(prompts=["p"]),
            synthesis=tp.Given(),
            objective=tp.Objective(criteria={"a": tp.Criterion(text="A")}),
            instantiation=tp.Pairs(join="constrained"),
        )
