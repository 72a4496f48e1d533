"""Verdicts of people from a file: matched to responses by id or text, each annotator an evaluator of its own."""

import json

import pytest

import triptych as tp
from triptych.errors import PromptError

PROMPTS = [
    {"prompt": "Name a fruit.", "responses": ["Apple.", "Carrot.", "Pear."]},
    {"prompt": "Count to two.", "responses": ["1\n2", "2\n1"]},
]
ROWS = [
    {"prompt": "Name a fruit.", "response": "Apple.", "score": 4, "annotator": "ann", "rationale": "a fruit"},
    {"prompt": "Name a fruit.", "response": "Carrot.", "score": 1, "annotator": "ann"},
    {"prompt": "Name a fruit.", "responses": ["Pear.", "Carrot."], "choice": "A", "annotator": "bob"},
    {"prompt": "Name a fruit.", "responses": ["Pear.", "Apple.", "Carrot."], "ranks": [1, 1, 2], "criterion": "taste"},
    {"prompt": "Count to two.", "response": "1\n2", "score": 5, "step": 1},
    {"prompt": "Count to two.", "response": "1\n2", "score": 5, "step": 7},
    {"prompt": "Nobody asked.", "response": "Apple.", "score": 5},
    {"prompt": "Name a fruit.", "response": "Unknown.", "score": 5},
]


def recipe(**more):
    return tp.Recipe.model_validate(
        {
            "name": "people",
            "prompts": {"kind": "inline", "prompts": PROMPTS},
            "synthesis": {"kind": "given"},
            "evaluation": {"kind": "verdicts", "name": "people", "path": "verdicts.jsonl", "scale": [1, 5]} | more,
            "instantiation": {"kind": "pairs", "choose": "all_pairs"},
        }
    )


def run(folder, rows, **more):
    (folder / "verdicts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tp.run(recipe(**more), folder / "run", folder=folder)


def test_rows_become_judgements_of_what_the_run_has(tmp_path):
    made = run(tmp_path, ROWS).judgements().collect()
    texts = {
        row["id"]: row["messages"][0]["content"]
        for row in tp.open_run(tmp_path / "run").responses().collect().iter_rows(named=True)
    }
    told = [
        (row["evaluator"], row["criterion"], [texts[one] for one in row["response_ids"]], row["scores"], row["ranks"])
        for row in made.iter_rows(named=True)
    ]
    assert told == [
        ("people:ann", "overall", ["Apple."], [4.0], None),
        ("people:ann", "overall", ["Carrot."], [1.0], None),
        ("people:bob", "overall", ["Pear.", "Carrot."], None, [1, 2]),
        ("people", "taste", ["Pear.", "Apple.", "Carrot."], None, [1, 1, 2]),
        ("people", "overall", ["1\n2"], [5.0], None),
    ]
    assert made["step"].struct.field("index").to_list() == [None, None, None, None, 1]
    assert made["rationale"][0] == "a fruit"
    assert made["evaluator_id"].n_unique() == 3
    assert made["id"].is_unique().all()


def test_responses_may_be_named_by_id(tmp_path):
    ids = run(tmp_path, ROWS).responses().collect()
    first, second = ids["id"][:2]
    prompt = ids["prompt_id"][0]
    rows = [
        {"prompt_id": prompt, "response_id": first, "score": 5},
        {"prompt_id": prompt, "responses": [first, second], "choice": "B"},
    ]
    made = run(tmp_path, rows).judgements().collect()
    assert made["response_ids"].to_list() == [[first], [first, second]]
    assert made["ranks"].to_list() == [None, [2, 1]]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"response": "Apple.", "score": 4}, "row 1 names no prompt"),
        ({"prompt": "p", "score": 4}, "names no response"),
        ({"prompt": "p", "response": "r"}, "either a score, or ranks or a choice"),
        ({"prompt": "p", "response": "r", "score": 4, "choice": "A"}, "either a score, or ranks or a choice"),
        ({"prompt": "p", "responses": ["r", "s"], "score": 4}, "one score for several"),
        ({"prompt": "p", "responses": ["r", "s"], "ranks": [1]}, "ranks 1 responses and names 2"),
        ({"prompt": "p", "response": "r", "choice": "A"}, "ranks 2 responses and names 1"),
        ({"prompt": "p", "response": "r", "score": 9}, "not on the declared scale 1 to 5"),
        ({"prompt": "p", "response": "r", "score": "high"}, "Expected `float"),
    ],
)
def test_a_row_that_can_not_be_used_stops_the_run_and_says_where(tmp_path, row, said):
    with pytest.raises(PromptError, match=said) as raised:
        run(tmp_path, [row])
    assert "verdicts.jsonl, row 1" in str(raised.value)


def test_a_missing_file_is_told_by_the_plan_and_before_anything_is_asked(tmp_path):
    plan = tp.plan(recipe(), folder=tmp_path)
    assert any("verdicts.jsonl" in said for said in plan.not_ready)
    with pytest.raises(PromptError, match="No such file"):
        tp.run(recipe(), tmp_path / "run", folder=tmp_path)
