"""Rows whose texts are not the prompt and the responses as they are: attributes, other outputs, questions to judges."""

from __future__ import annotations

import pytest

from triptych.instantiation.conditioned import Conditioned
from triptych.instantiation.many_outputs import ManyOutputs
from triptych.records import Criterion, Message, Objective, make_prompt, make_response
from triptych.store.tables import frame, records
from verdict_tables import judged

WHY = (Message("user", "Why?"),)
TWO = Objective(criteria={"quality": Criterion(text="Q"), "toxicity": Criterion(text="T")})


class Made:
    """A prompt of these messages, and responses with scores on quality and toxicity."""

    def __init__(self, *scores, messages=WHY, scale=(0.0, 4.0), **about):
        self.prompt = make_prompt(messages, **about)
        self.responses, self.judgements = [], []
        for place, each in enumerate(scores):
            one = make_response(
                prompt_id=self.prompt.id,
                generator="g",
                generator_id="o_g",
                model="m",
                sample_index=place,
                messages=(Message("assistant", f"Because {place}."),),
            )
            self.responses.append(one)
            for name, score in zip(("quality", "toxicity"), each, strict=False):
                self.judgements.append(judged([one], criterion=name, scores=(float(score),), scale=scale))

    def rows(self, form, objective=TWO, **more):
        tables = {name: frame(name, getattr(self, name)).lazy() for name in ("responses", "judgements")}
        prompts = frame("prompts", [self.prompt]).lazy()
        made = form.instantiate(*tables.values(), objective, 0, prompts=prompts, **more).collect()
        return records("examples", made.iter_rows(named=True))


def test_attributes_stand_after_the_prompt_on_their_own_scale():
    made = Made((4, 0), (1, 3), messages=(Message("system", "Be kind."), Message("user", "Why?")))
    rows = made.rows(Conditioned(template="[{{ attributes }}]"))
    assert [row.kind for row in rows] == ["sft", "sft"]
    shown = {row.response_ids: row.input for row in rows}
    for one, line in zip(made.responses, ("quality:4,toxicity:0", "quality:1,toxicity:3"), strict=True):
        assert shown[(one.id,)] == (Message("system", "Be kind."), Message("user", f"Why?\n\n[{line}]"))
    assert all(row.outputs == () for row in rows)  # the model learns to say what the response says


@pytest.mark.parametrize(
    ("messages", "place", "wanted"),
    [
        ((Message("user", "Why?"),), "system", (Message("system", "quality:4"), Message("user", "Why?"))),
        (
            (Message("system", "Be."), Message("user", "Why?")),
            "system",
            (Message("system", "Be.\n\nquality:4"), Message("user", "Why?")),
        ),
        (
            (Message("user", "Why?"), Message("assistant", "So.")),
            "user",
            (Message("user", "Why?"), Message("assistant", "So."), Message("user", "quality:4")),
        ),
    ],
)
def test_attributes_stand_where_the_recipe_says(messages, place, wanted):
    made = Made((4,), messages=messages)
    (row,) = made.rows(Conditioned(template="{{ attributes }}", place=place))
    assert row.input == wanted


def test_named_criteria_come_in_their_order_and_others_not_at_all():
    made = Made((4, 1))
    (row,) = made.rows(Conditioned(template="{{ attributes }}", criteria=("toxicity", "quality")))
    assert row.input[-1].content == "Why?\n\ntoxicity:1,quality:4"
    (row,) = made.rows(Conditioned(template="{{ attributes }}", criteria=("toxicity",)))
    assert row.input[-1].content == "Why?\n\ntoxicity:1"


def test_several_judges_give_their_mean_on_the_first_ones_scale():
    made = Made((4,))
    made.judgements.append(judged([made.responses[0]], criterion="quality", by="other", scores=(2.0,), scale=(1.0, 5.0)))
    (row,) = made.rows(Conditioned(template="{{ attributes }}", decimals=2))
    assert row.input[-1].content == "Why?\n\nquality:2.5"  # the mean of 1 and 0.25 on the scale from 0 to 4
    (row,) = made.rows(Conditioned(template="{{ attributes }}", scale=(0, 100)))
    assert row.input[-1].content == "Why?\n\nquality:62"


def test_what_a_prompt_says_is_no_template():
    made = Made((4, 1), messages=(Message("user", "{{ attributes }} {% if"),))
    (row,) = made.rows(Conditioned())
    assert row.input[0].content.startswith("{{ attributes }} {% if\n\n")
    with pytest.raises(ValueError, match="may use attributes"):
        Conditioned(template="{{ prompt }}")


def test_the_best_are_kept_where_that_is_asked():
    made = Made((4, 4), (1, 1), (3, 3))
    assert len(made.rows(Conditioned(keep=2))) == 2
    assert [row.scores for row in made.rows(Conditioned(min_score=0.7))] == [(1.0,), (0.75,)]


# Many outputs of one prompt.


def conversation(row, made):
    """A row as one text: what is shown and what is learnt."""
    texts = {one.id: one.text for one in made.responses}
    return [*(message.content for message in row.input), texts[row.response_ids[0]]]


def test_each_valid_output_is_learnt_with_those_before_it_in_view():
    made = Made((4,), (4,), (0,), (4,))
    rows = made.rows(ManyOutputs(drop=0, ask="More."))
    assert [len(row.input) for row in rows] == [1, 3, 5]
    longest = conversation(rows[-1], made)
    assert [conversation(row, made) for row in rows] == [longest[: 2 * place + 2] for place in range(3)]
    assert longest[::2] == ["Why?", "More.", "More."]
    assert sorted(longest[1::2]) == ["Because 0.", "Because 1.", "Because 3."]
    assert [message.role for message in rows[-1].input] == ["user", "assistant"] * 2 + ["user"]
    assert [len(row.judgement_ids) for row in rows] == [1, 2, 3]


def test_without_a_description_the_first_output_is_not_learnt():
    made = Made((4,), (4,), (4,))
    rows = made.rows(ManyOutputs(drop=1, ask="More."))
    assert [len(row.input) for row in rows] == [3, 5]
    assert {row.input[0].content for row in rows} == {"More."}
    kept = made.rows(ManyOutputs(drop=0, ask="More."))
    assert [row.response_ids for row in rows] == [row.response_ids for row in kept[1:]]


def test_the_share_of_descriptions_left_out_is_about_the_declared_one():
    left_out = 0
    for number in range(100):
        made = Made((4,), (4,), messages=(Message("user", f"Why {number}?"),))
        left_out += made.rows(ManyOutputs())[0].input[0].content == "One more."
    assert 7 < left_out < 33  # 20 are expected; these are more than three standard deviations


def test_one_valid_output_alone_makes_no_row_and_no_prompt_more_than_the_most():
    assert Made((4,), (1,)).rows(ManyOutputs(drop=0)) == []
    assert len(Made((4,), (4,), (4,)).rows(ManyOutputs(drop=0, most=2))) == 2
