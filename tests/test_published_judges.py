"""Figures of real judges, as they were published: from the files through an import to the report on judges."""

from __future__ import annotations

import gzip
import json
from collections import defaultdict
from pathlib import Path

import pytest

import triptych as tp
from triptych.audit.data import Data
from triptych.audit.judges import judges

pytest.importorskip("statsmodels")
DATA = Path(__file__).parent / "data"
_PLACES = [parent / "shared" / "data" for parent in Path(__file__).resolve().parents]
REAL = next((place for place in _PLACES if place.is_dir()), None)
real = pytest.mark.skipif(
    REAL is None, reason="the real data sets are not here: they stand in shared/data beside a checkout"
)


def rows(name):
    with gzip.open(REAL / name, "rt") as file:
        return [json.loads(line) for line in file]


def write(file, content):
    file.write_text("".join(json.dumps(row) + "\n" for row in content))
    return file


def report(folder, instances, verdicts, form):
    run = tp.import_data(
        write(folder / "rows.jsonl", instances),
        out=folder / "run",
        as_=form,
        verdicts=write(folder / "verdicts.jsonl", verdicts),
    )
    return {judge.name: judge for judge in judges(Data.of(run), groups=()).judges}


def counted(share, n):
    """How many of n a share is."""
    assert share.n == n
    assert abs(share.value * n - round(share.value * n)) < 1e-6
    return round(share.value * n)


def published(text):
    """The counts in "33 / 92 = 35.86 %"."""
    hits, of = text.partition("=")[0].split("/")
    return int(hits), int(of)


@real
def test_llmbar_accuracy_and_positional_agreement_are_the_published_ones_in_every_cell(tmp_path):
    by_subset = defaultdict(list)
    for row in rows("llmbar_instances.jsonl.gz"):
        by_subset[row["subset"]].append(row)
    said = defaultdict(list)
    for row in rows("llmbar_verdicts.jsonl.gz"):
        if "Swap" not in row["strategy"]:
            said[row["subset"]].append(row)
    told = {}
    for number, (subset, instances) in enumerate(by_subset.items()):
        folder = tmp_path / str(number)
        folder.mkdir()
        told[subset] = report(folder, instances, said[subset], "llmbar")
    accuracies = agreements = 0
    for row in rows("llmbar_published_statistics.jsonl.gz"):
        if "Swap" in row["strategy"]:
            continue
        measures = told[row["subset"]][f"{row['judge']}/{row['strategy']}"].measures
        for name, order in (("False", "as_listed"), ("True", "turned")):
            hits, of = published(row[f"correct_{name}"])
            assert counted(measures[f"accuracy_{order}"], of) == hits, (row, order)
            accuracies += 1
        hits, of = published(row["equal"])
        assert counted(measures["positional_agreement"], of) == hits, row
        agreements += 1
    assert (accuracies, agreements) == (530, 265)


@real
def test_judgebench_accuracy_in_the_first_order_is_the_published_one(tmp_path):
    told = report(
        tmp_path, rows("judgebench_gpt4o_instances.jsonl.gz"), rows("judgebench_gpt4o_verdicts.jsonl.gz"), "judgebench"
    )
    first = {
        name.split("_")[-1][:9]: counted(judge.measures["accuracy_as_listed"], 350) for name, judge in told.items()
    }
    assert sorted(first.values()) == [208, 208, 218, 248]
    assert counted(told["o1-mini-2024-09-12/arena_hard"].measures["accuracy_as_listed"], 350) == 248
    assert counted(told["Skywork_Skywork-Reward-Llama-3.1-8B"].measures["accuracy_as_listed"], 350) == 218
