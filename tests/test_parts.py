"""Steps and sentences of a text, by where they stand."""

import time
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from triptych.parts import parts
from triptych.units import sentences

SOLUTION = """We add first.

Step 1: 2 + 3 = 5.
It is 5.
**Step 2:** 5 * 2 = 10.

Step 3: The answer is 10."""


def pieces(text, unit):
    return [text[part.start : part.end] for part in parts(text, unit)]


def test_numbered_steps_hold_what_follows_them():
    assert pieces(SOLUTION, "step") == [
        "We add first.\n\nStep 1: 2 + 3 = 5.\nIt is 5.",
        "**Step 2:** 5 * 2 = 10.",
        "Step 3: The answer is 10.",
    ]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("One.\nstill one.\n\nTwo.", ["One.\nstill one.", "Two."]),
        ("One.\nTwo.\n  Three.", ["One.", "Two.", "Three."]),
        ("Just one. Still.", ["Just one. Still."]),
        ("  \n ", []),
        ("", []),
    ],
)
def test_without_numbers_steps_are_paragraphs_or_lines(text, wanted):
    assert pieces(text, "step") == wanted


def test_a_long_sentence_takes_no_long_time():
    begun = time.monotonic()
    assert len(parts("word " * 200_000 + "end. Next.", "sentence")) == 2
    assert time.monotonic() - begun < 1.5


def test_sentences_are_found_where_they_stand():
    text = "- Dr. Smith has 3.5 apples.\r\n- He ate one! Now,\r\nhow many?"
    assert pieces(text, "sentence") == ["Dr. Smith has 3.5 apples.", "He ate one!", "Now,\r\nhow many?"]


SHORT = st.text(alphabet="aB1 .!?\n\r\t-*。")
LONG = st.lists(
    st.sampled_from(
        ["a ", "a ", "b\n", "- ", "1. ", "a1 ", "c\r\n", "d\u2028", "e\x85", "f\x1c", "...", ".\n\n", "! "]
    ),
    min_size=20,
    max_size=80,
).map("".join)


@given(SHORT | LONG, st.sampled_from(["step", "sentence"]))
@settings(max_examples=300, deadline=None)
def test_parts_follow_one_another_and_lose_nothing_that_counts(text, unit):
    found = parts(text, unit)
    assert all(0 <= one.start < one.end <= len(text) for one in found)
    assert all(one.end <= other.start for one, other in pairwise(found))
    assert all(text[one.start : one.end].strip() == text[one.start : one.end] for one in found)
    if unit == "step":
        assert "".join("".join(pieces(text, unit)).split()) == "".join(text.split())
    else:
        assert [" ".join(piece.split()) for piece in pieces(text, unit)] == [
            " ".join(sentence.split()) for sentence in sentences(text)
        ]
