"""Schedules put the examples of all prompts in order, through to the files of an export; pairs of like length."""

from __future__ import annotations

import json
import random

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

import triptych as tp
from triptych.export import rows as export_rows
from triptych.instantiation.compared_pairs import ComparedPairs
from triptych.instantiation.groups import Groups
from triptych.instantiation.pairs import Pairs
from triptych.instantiation.rankings import Rankings
from triptych.instantiation.schedule import Schedule
from triptych.instantiation.sft import Sft
from triptych.instantiation.stepwise import Stepwise
from triptych.instantiation.unpaired import Unpaired
from verdict_tables import Tables, judged, response, scored, tables


def several(*prompts):
    """Prompts whose responses have these scores from 1 to 5."""
    made = Tables()
    for number, scores in enumerate(prompts):
        here = scored(*scores, prompt=f"p_{number}")
        made.responses += here.responses
        made.judgements += here.judgements
    return made


FORMS = [
    Pairs(choose="all_pairs"),
    Pairs(criteria=("a", "b"), dimensions="each"),
    Unpaired(),
    Unpaired(criteria=("a", "b"), dimensions="each"),
    Groups(),
    Rankings(),
    Sft(keep=None),
    ComparedPairs(),
]


def scheduled(form, **schedule):
    return type(form)(**(dict(form) | {"schedule": Schedule(**schedule)}))


@pytest.mark.parametrize("form", FORMS, ids=lambda form: f"{form.kind}-{getattr(form, 'dimensions', '')}")
@given(made=tables(), first=st.sampled_from(["easiest", "hardest"]), by=st.sampled_from(["margin", "difficulty"]))
@settings(deadline=None, max_examples=25)
def test_a_schedule_orders_the_examples_and_changes_none(form, made, first, by):
    if by == "margin" and not form.has_margins:
        by = "difficulty"
    before, after = made.examples(form), made.examples(scheduled(form, by=by, first=first))

    def ease(row):
        if by == "margin":
            return row["margin"]
        return sum(row["scores"]) / len(row["scores"]) if row["scores"] else None

    def place(row):
        known = ease(row)
        return (known is None, 0 if known is None else round(known, 12) * (-1 if first == "easiest" else 1))

    rows = list(before.iter_rows(named=True))
    assert list(after.iter_rows(named=True)) == sorted(rows, key=place)  # Python's sort keeps the order of equal ones


def test_close_pairs_come_after_those_that_are_far_apart():
    made = several((3, 4), (1, 5), (2, 4), (3, 4))
    easy = made.examples(Pairs(schedule=Schedule(by="margin")))
    assert easy["prompt_id"].to_list() == ["p_1", "p_2", "p_0", "p_3"]
    hard = made.examples(Pairs(schedule=Schedule(by="margin", first="hardest")))
    assert hard["prompt_id"].to_list() == ["p_0", "p_3", "p_2", "p_1"]


def test_prompts_that_are_solved_most_often_are_the_easiest():
    made = several((1, 1, 5), (1, 5, 5), (1, 1, 1, 5))
    easy = made.examples(Groups(schedule=Schedule(by="difficulty")))
    assert easy["prompt_id"].to_list() == ["p_1", "p_0", "p_2"]


def test_a_schedule_needs_all_prompts_and_margins_to_go_by():
    assert Groups(schedule=Schedule(by="margin")).across_prompts
    assert not Groups().across_prompts
    for form in (Unpaired, Sft, Stepwise):
        with pytest.raises(ValidationError, match="have no margin"):
            form(schedule=Schedule(by="margin"))
        assert form(schedule=Schedule(by="difficulty")).identity() == form().identity()


def a_run(tmp_path, prompts=40, **schedule):
    rng = random.Random(1)
    rows = [
        {"prompt": f"Prompt {i}.", "constraints": [{"kind": "words", "max": 3}, {"kind": "all_lowercase"}],
         "responses": rng.sample(["a b c", "a b c d", "A b", "A b c d e", "one two", "One"], 4)}
        for i in range(prompts)
    ]  # fmt: skip
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    pairs = {"kind": "pairs", "choose": "all_pairs"} | ({"schedule": schedule} if schedule else {})
    recipe = tp.Recipe(
        name="scheduled",
        prompts={"kind": "file", "path": str(tmp_path / "prompts.jsonl")},
        synthesis={"kind": "given"},
        evaluation={"kind": "verify"},
        instantiation=[pairs, {"kind": "unpaired"}],
    )
    return tp.run(recipe, out=tmp_path / f"run-{len(schedule)}")


def test_the_order_reaches_the_files_of_an_export_where_few_rows_are_read_at_once(tmp_path, monkeypatch):
    plain, ordered = a_run(tmp_path), a_run(tmp_path, by="margin", first="hardest")
    monkeypatch.setattr(export_rows, "_ROWS_AT_ONCE", 7)
    monkeypatch.setattr(export_rows, "_SCATTERED_AT_ONCE", 11)
    monkeypatch.setattr(export_rows, "_SCATTERED", 1)
    read = []
    one = export_rows._by_prompt
    monkeypatch.setattr(export_rows, "_by_prompt", lambda *given: read.append(1) or one(*given))
    files = {}
    for name, run in (("plain", plain), ("ordered", ordered)):
        out = tmp_path / name
        tp.export_run(run, "jsonl", out)
        files[name] = [json.loads(line) for line in (out / "pair" / "train.jsonl").read_text().splitlines()]
    assert read  # the way through files was taken
    wanted = ordered.examples().filter(pl.col("kind") == "pair").collect()
    key = "example_id" if "example_id" in files["plain"][0] else "id"
    assert [row[key] for row in files["ordered"]] == wanted["id"].to_list()
    assert [row["margin"] for row in files["ordered"]] == sorted(row["margin"] for row in files["plain"])
    by_id = {row[key]: row for row in files["plain"]}
    assert all(by_id[row[key]] == row for row in files["ordered"])  # each with its own texts
    assert len(by_id) == len(files["ordered"]) > 50
    assert not [file for file in (tmp_path / "ordered").rglob("*") if file.suffix in (".arrow", ".piece")]


def test_a_split_holds_out_the_same_rows_in_the_order_of_the_schedule(tmp_path, monkeypatch):
    plain, ordered = a_run(tmp_path), a_run(tmp_path, by="difficulty")
    monkeypatch.setattr(export_rows, "_ROWS_AT_ONCE", 7)
    monkeypatch.setattr(export_rows, "_SCATTERED", 1)
    said = {}
    for name, run in (("plain", plain), ("ordered", ordered)):
        tp.export_run(run, "jsonl", tmp_path / name, split=0.3)
        said[name] = {
            part: [json.loads(line) for line in (tmp_path / name / "pair" / f"{part}.jsonl").read_text().splitlines()]
            for part in ("train", "test")
        }
    for part in ("train", "test"):
        by_prompt = [sorted(json.dumps(row, sort_keys=True) for row in said[name][part]) for name in ("plain", "ordered")]
        assert by_prompt[0] == by_prompt[1]
        means = [sum(row["scores"]) / 2 for row in said["ordered"][part]]
        assert means == sorted(means, reverse=True)


LENGTHS = st.lists(st.tuples(st.integers(1, 5), st.integers(0, 6)), min_size=2, max_size=6)


@given(LENGTHS, st.sampled_from([0.0, 0.25, 0.5]), st.sampled_from(["best_vs_worst", "all_pairs", "best_vs_rest", "best_vs_random"]))
@settings(deadline=None, max_examples=60)
def test_only_responses_of_like_length_are_paired(drawn, share, choose):
    texts = [chr(97 + i) * (length + 1) for i, (_, length) in enumerate(drawn)]
    made = scored(*(score for score, _ in drawn), texts=texts)
    pairs = Pairs(choose=choose, like_length=share)
    length = {one.id: len(text) for one, text in zip(made.responses, texts, strict=True)}
    score = {one.id: value for one, (value, _) in zip(made.responses, drawn, strict=True)}
    alike = {
        (a, b) for a in length for b in length
        if score[a] > score[b] and abs(length[a] - length[b]) <= share * max(length[a], length[b])
    }  # fmt: skip
    found = [tuple(ids) for ids in made.examples(pairs)["response_ids"]]
    assert set(found) <= alike
    if choose == "all_pairs":
        assert set(found) == alike
    elif choose == "best_vs_worst" and alike:
        ((chosen, rejected),) = found
        assert score[chosen] - score[rejected] == max(score[a] - score[b] for a, b in alike)
    else:
        best = {pair for pair in alike if score[pair[0]] == max(score.values())}
        assert bool(found) == bool(best)
        assert set(found) <= best


def test_the_tally_says_that_no_two_were_of_like_length():
    made = scored(1, 5, texts=["short", "much longer than that"])
    assert made.outcomes(Pairs(like_length=0.1)) == {"no two of like length": 1}
    assert made.outcomes(Pairs(like_length=0.9)) == {"pair": 1}
    assert Pairs(like_length=None).identity() == Pairs().identity() != Pairs(like_length=0.1).identity()


def test_length_is_that_of_all_messages_in_characters():
    made = Tables([response("p_1", 0, "\u00e4" * 10), response("p_1", 1, "b" * 11)])
    made.judgements = [judged([one], scores=(score,)) for one, score in zip(made.responses, (1.0, 5.0), strict=True)]
    assert made.examples(Pairs(like_length=0.1)).height == 1
    assert made.examples(Pairs(like_length=0.09)).height == 0
