"""Records: ids come from content, and rows survive the tables."""

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from triptych.records import (
    Message,
    StepLocator,
    ToolCall,
    content_id,
    draw,
    make_example,
    make_judgement,
    make_prompt,
    make_response,
    message_from_openai,
    message_to_openai,
)
from triptych.store.tables import frame, records, schema

text = st.text(st.characters(exclude_categories=("Cs",)), max_size=40)
messages = st.builds(
    Message,
    role=st.sampled_from(["system", "user", "assistant", "tool"]),
    content=text,
    tool_calls=st.lists(st.builds(ToolCall, id=text, name=text, arguments=text), max_size=2).map(tuple),
    tool_call_id=st.none() | text,
    name=st.none() | text,
)
json_objects = st.dictionaries(text, st.integers(-5, 5) | text | st.none(), max_size=3)


def test_equal_content_has_one_id_and_other_content_another():
    prompt = make_prompt((Message("user", "hi"),))
    assert prompt.id == make_prompt((Message("user", "hi"),)).id
    assert prompt.id != make_prompt((Message("user", "hi!"),)).id
    assert prompt.id != make_prompt((Message("user", "hi"),), reference="12").id


def test_where_a_prompt_comes_from_does_not_change_its_id():
    prompt = make_prompt((Message("user", "hi"),))
    assert prompt.id == make_prompt((Message("user", "hi"),), source="elsewhere", tags=("a",), family_id="f").id


def test_ids_stay_what_they_are_over_versions():
    assert content_id("p", {"b": 1, "a": [1.5, "é"]}) == "p_" + "40f4f4c1b0ddb8d048a395b1"
    assert make_prompt((Message("user", "hi"),)).id == "p_" + "4ef9c5471f70a88e474641f3"


def test_the_order_of_keys_does_not_change_an_id():
    assert content_id("x", {"a": 1, "b": 2}) == content_id("x", {"b": 2, "a": 1})


def test_draws_depend_on_their_address_and_seed_only():
    assert draw(1, "p", 0) == draw(1, "p", 0)
    assert len({draw(seed, "p", index) for seed in range(20) for index in range(20)}) == 400
    assert all(0 <= draw(0, index) < 2**63 for index in range(100))


@given(st.lists(messages, min_size=1, max_size=3), st.lists(json_objects, max_size=2), st.none() | text)
def test_prompts_survive_the_table(chat, constraints, reference):
    prompt = make_prompt(tuple(chat), constraints=tuple(constraints), reference=reference, tags=("a", "b"))
    assert records("prompts", frame("prompts", [prompt]).iter_rows(named=True)) == [prompt]


@given(st.lists(messages, max_size=3), st.none() | st.floats(-1e6, 0), json_objects)
def test_responses_survive_the_table(chat, logprob, params):
    response = make_response(
        prompt_id="p_1",
        generator_id="o_1",
        sample_index=3,
        messages=tuple(chat),
        generator="sample",
        model="m",
        params=params,
        logprob=logprob,
        token_logprobs=None if logprob is None else (logprob,),
        call_ids=("a", "b"),
    )
    assert records("responses", frame("responses", [response]).iter_rows(named=True)) == [response]


def test_judgements_with_steps_and_examples_survive_the_tables():
    judgement = make_judgement(
        prompt_id="p",
        response_ids=("r1", "r2"),
        evaluator_id="o",
        criterion_id="c",
        criterion="honesty",
        evaluator="judge",
        ranks=(1, 2),
        probability=0.75,
        step=StepLocator("step", 2, message=1, start=3, end=9),
    )
    example = make_example(
        kind="pair", prompt_id="p", response_ids=("r1", "r2"), strategy="s", strategy_id="o", margin=0.5
    )
    assert records("judgements", frame("judgements", [judgement]).iter_rows(named=True)) == [judgement]
    assert records("examples", frame("examples", [example]).iter_rows(named=True)) == [example]


def test_a_message_without_words_has_empty_content_and_not_none():
    prompt = make_prompt((Message("user", ""), Message("assistant", "", (ToolCall("1", "look", "{}"),))))
    assert [m["content"] for m in frame("prompts", [prompt])["messages"][0]] == ["", ""]


def test_a_table_without_rows_has_its_columns():
    for table in ("prompts", "responses", "judgements", "examples"):
        assert frame(table, []).schema == pl.Schema(schema(table))


@given(messages)
def test_messages_survive_openai_form(message):
    assert message_from_openai(message_to_openai(message)) == message


def test_text_parts_are_joined_and_other_parts_refused():
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    assert message_from_openai({"role": "user", "content": parts}).content == "ab"


@pytest.mark.parametrize(
    "bad",
    [
        {"role": "user", "content": [{"type": "image_url"}]},
        {"role": "king", "content": ""},
        {"role": "user", "content": 3},
    ],
)
def test_what_is_no_message_is_refused_with_a_reason(bad):
    with pytest.raises(ValueError, match="message"):
        message_from_openai(bad)
