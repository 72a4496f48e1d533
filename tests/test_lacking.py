"""What can't be measured is listed with what it would need, and how to get that, whatever the data are."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import triptych as tp
from planted.world import clean
from test_import_formats import RATED
from triptych.audit.audit import DIAGNOSTICS, audit
from triptych.audit.diagnostic import KIND

pytest.importorskip("statsmodels")

HERE = Path(__file__).parent / "data"
MANY = range(30)
MADE = {
    "a single row": [{"prompt": "p", "chosen": "aa b c", "rejected": "b"}],
    "binary rows": [{"prompt": f"p {n}", "completion": f"an answer {n}", "label": n % 2 == 0} for n in MANY],
    "rows to imitate": [{"prompt": f"p {n}", "completion": f"an answer {n}"} for n in MANY],
    "pairs with scores": [
        {"prompt": f"p {n}", "chosen": f"yes {n}", "rejected": f"no {n}", "score_chosen": 4.0, "score_rejected": n % 3}
        for n in MANY
    ],
    "ratings": [
        {"prompt": f"p {n // 3}", "response": f"answer {n}", "helpfulness": n % 5, "verbosity": 1} for n in MANY
    ],
}


def checked(told, where):
    named = {each.name for each in told.findings} | {each.name for each in told.unmeasured}
    # Of what `orders_asked` finds `swap_consistency` is told, as what could not be measured.
    assert named >= {each.name for each in DIAGNOSTICS} - {"orders_asked"}
    assert [each for each in told.unmeasured if each.defect] == []
    silent = {each.name for each in told.unmeasured if each.lacks in ("", "-", KIND) or len(each.how) < 3}
    assert silent == set(), where


@pytest.mark.parametrize("name", MADE)
def test_what_small_data_lack_is_said(tmp_path, name):
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in MADE[name]))
    checked(tp.audit_run(file), name)
    if name == "pairs with scores":
        checked(tp.audit_run(file, scale=(0, 5)), name)


@pytest.mark.parametrize("form", ["ultrafeedback", "nectar", "distilabel", "prm800k"])
def test_what_a_row_of_a_format_lacks_is_said(tmp_path, form):
    file = tmp_path / "rows.jsonl"
    file.write_text(json.dumps(RATED[form]) + "\n")
    checked(tp.audit_run(file, form), form)


@pytest.mark.parametrize("file", ["hh_rlhf_excerpt.jsonl", "llmbar_excerpt.jsonl"])
def test_what_real_data_lack_is_said(file):
    checked(tp.audit_run(HERE / file), file)


def test_what_a_world_with_judges_lacks_is_said():
    checked(audit(clean(1).data()), "clean")
