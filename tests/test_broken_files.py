"""Broken files of every format that is imported: each break is said with its row, and the good rows are kept."""

from __future__ import annotations

import gzip
import json

import pytest

import triptych as tp
from test_import_formats import PAIRS, WHOLE
from triptych.imports.formats import formats

GOOD = {form: row for form, row in reversed(WHOLE)}
"""A row of each format."""
PAIR = {form: row for form, row, *_ in reversed(PAIRS.values())}


def lines(row, count):
    """Rows that differ from one another in what the answers say."""
    text = json.dumps(row)
    made = []
    for i in range(count):
        changed = text.replace("Apple.", f"Apple {i}.").replace("A dog.", f"A dog {i}.")
        made.append(changed.replace("2 + 2 = 4", f"2 + 2 = {i}").replace('"text": "5"', f'"text": "5{i}"').encode())
    assert len({*made}) == count
    return made


def imported(tmp_path, form, rows, name="data.jsonl"):
    content = b"".join(line + b"\n" for line in rows)
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    return read(tmp_path, form, name)


def read(tmp_path, form, name):
    run = tp.import_data(tmp_path / name, out=tmp_path / f"run of {name}", as_=form)
    told = map(json.loads, (run.path / "set_aside.jsonl").read_text().splitlines())
    return run.responses().collect().height, {row["row"]: row["reason"] for row in told}


def test_each_format_is_broken_here():
    assert set(GOOD) == set(formats())


@pytest.mark.parametrize("form", sorted(GOOD))
def test_lines_that_are_no_rows_of_the_format_are_set_aside_and_those_around_them_kept(tmp_path, form, monkeypatch):
    monkeypatch.setattr("triptych.prompts.text_files.LONGEST_ROW", 20_000)
    first, second = lines(GOOD[form], 2)
    alone, none = imported(tmp_path, form, [first, second], "good.jsonl")
    assert not none
    utf8 = first.replace(b"a", b"a\xff", 1)
    other = b'{"colour": "red", "size": 3}'
    cut = first[: len(first) // 2]
    long = b'{"x": "' + b"y" * 30_000 + b'"}'
    found, aside = imported(tmp_path, form, [first, utf8, other, cut, long, b"[1]", second])
    assert found == alone
    assert sorted(aside) == [2, 3, 4, 5, 6]
    assert "UTF-8" in aside[2]
    assert "JSON" in aside[4]
    assert "longer than" in aside[5]
    assert all(len(reason) > 10 for reason in aside.values())


@pytest.mark.parametrize("form", sorted(GOOD))
def test_of_a_compressed_file_that_is_cut_off_the_rows_before_the_cut_are_kept(tmp_path, form):
    rows = lines(GOOD[form], 400)
    whole, none = imported(tmp_path, form, rows, "whole.jsonl.gz")
    assert not none
    content = (tmp_path / "whole.jsonl.gz").read_bytes()
    (tmp_path / "cut.jsonl.gz").write_bytes(content[: len(content) * 2 // 3])
    found, aside = read(tmp_path, form, "cut.jsonl.gz")
    ((row, reason),) = aside.items()
    assert "ends early" in reason
    assert 0 < found < whole
    assert 1 < row <= 400


@pytest.mark.parametrize("form", sorted(PAIR))
@pytest.mark.parametrize("what", ["empty chosen", "chosen is rejected"])
def test_a_pair_without_a_chosen_answer_or_of_one_answer_is_set_aside(tmp_path, form, what):
    first, second = lines(PAIR[form], 2)
    if what == "empty chosen":
        broken = json.dumps(PAIR[form]).replace("Apple.", "").encode()
    else:
        broken = json.dumps(PAIR[form]).replace("A dog.", "Apple.").encode()
    alone, _ = imported(tmp_path, form, [first, second], "good.jsonl")
    found, aside = imported(tmp_path, form, [first, broken, second])
    assert (found, list(aside)) == (alone, [2])
    assert len(aside[2]) > 10
