"""The full audit: models that are asked from the command line and from Python, and texts of tests."""

from __future__ import annotations

import json

import pytest

import triptych as tp
from test_audit import longer_wins
from test_audit import run as triptych
from test_audit_signal import recipe
from triptych.errors import RecipeError
from world import world


def names(findings):
    return {each["name"] for each in findings}


def test_a_policy_and_a_reference_that_are_named_are_asked_once_and_their_findings_told(tmp_path):
    with world() as (asked, base_url):
        tp.run(recipe(base_url), out=tmp_path / "run")
        both = ("audit", tmp_path / "run", "--policy", "policy", "--reference", "ref")
        code, out, err = triptych(*both)
        assert code == 0
        assert "at most 36 calls" in err
        assert "18 of 18 responses scored; 36 calls, 0 from the log; 396 tokens, $0.0004" in " ".join(err.split())
        assert "quick audit" not in out
        assert "36 from the log" in triptych(*both)[2]
        assert sum(asked.asked[model, "given"] for model in ("policy", "ref")) == 36
        told = json.loads(triptych(*both, "--json")[1])["findings"]
        found = tp.audit_run(tmp_path / "run", policy="policy", reference="ref").findings
        assert {each.name for each in found} == names(told) >= {"implicit_accuracy", "ranking_accuracy"}
        code, quick, _ = triptych("audit", tmp_path / "run")
        assert (code, "quick audit" in quick, "implicit_accuracy  " in quick) == (0, True, False)


def test_models_that_are_not_there_and_references_without_a_policy_are_refused(tmp_path):
    with world() as (asked, base_url):
        tp.run(recipe(base_url), out=tmp_path / "run")
        for wrong in ({"reference": "ref"}, {"policy": "polici"}, {"embeddings": "nobody"}):
            with pytest.raises(RecipeError):
                tp.audit_run(tmp_path / "run", **wrong)
        assert not any(kind == "given" for _, kind in asked.asked)


@pytest.mark.parametrize("ending", ["txt", "jsonl"])
def test_texts_of_tests_are_read_from_files_and_looked_for_among_the_prompts(tmp_path, ending):
    data = longer_wins(tmp_path / "rows.jsonl", 20)
    long = "How many of the seven green birds that sat in the tree flew away at noon?"
    data.write_text(data.read_text().replace("Question 3?", long))
    tests = tmp_path / f"mine.{ending}"
    other = "Why does the old clock in the northern hall strike nine when it is ten?"
    lines = [json.dumps({"question": long}), json.dumps(other)] if ending == "jsonl" else [long, other]
    tests.write_text("\n".join(lines))
    code, out, _ = triptych("audit", data, "--test-set", f"mine={tests}", "--json")
    found = [each for each in json.loads(out)["findings"] if each["subject"] == "mine"]
    assert (code, [each["value"] for each in found]) == (0, [0.5])
    assert triptych("audit", data, "--test-set", f"mine={tmp_path / 'none.txt'}")[0] != 0
    once = ("--only", "drop_test_prompts", "--test-set", f"mine={tests}", "--html", tmp_path / "made.html", "--json")
    code, out, _ = triptych("repair", data, "--out", tmp_path / "new", *once)
    assert (code, json.loads(out)["repaired"]["counts"]) == (0, {"drop_test_prompts": 1})
    assert "drop_test_prompts" in (tmp_path / "made.html").read_text()


@pytest.mark.embedded
def test_calls_about_a_file_are_kept_beside_it_and_the_embedded_model_gives_both(tmp_path):
    pytest.importorskip("xllamacpp")
    data = longer_wins(tmp_path / "rows.jsonl", 2, 3)
    both = ("audit", data, "--policy", "embedded", "--embeddings", "embedded")
    code, _, err = triptych(*both)
    assert (code, "6 of 6 responses scored" in err, "Embeddings: 2 calls" in err) == (0, True, True), err
    assert (tmp_path / "rows.jsonl.audit.sqlite").exists()
    again = triptych(*both)[2]
    assert "0 calls, 6 from the log" in again
    assert "Embeddings: 0 calls" in again
