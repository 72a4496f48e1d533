"""Figures of real judges, as they were published: from the files through an import to the report on judges."""

from __future__ import annotations

import csv
import gzip
import json
from collections import defaultdict
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from click.testing import CliRunner

import triptych as tp
from triptych.app.cli import cli
from triptych.audit.data import Data
from triptych.audit.judges import judges
from triptych.audit.win_rates import length_controlled, win_rates
from triptych.errors import TriptychError

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


@real
def test_length_controlled_win_rates_come_close_to_the_leaderboard_for_ten_of_twelve_models(tmp_path):
    run = tp.import_data(
        REAL / "alpaca_eval2_reference.jsonl.gz",
        out=tmp_path / "run",
        verdicts=REAL / "alpaca_eval2_annotations.jsonl.gz",
    )
    with (REAL / "alpaca_eval2_leaderboard.csv").open() as file:
        board = {row[""]: row for row in csv.DictReader(file)}
    told = win_rates(Data.of(run), "gpt4_1106_preview")
    assert len(told) == 12
    raw = [100 * each.win_rate.value - float(board[each.model]["win_rate"]) for each in told]
    off = [100 * each.length_controlled - float(board[each.model]["length_controlled_winrate"]) for each in told]
    assert max(map(abs, raw)) < 0.3  # the import leaves out outputs that say what the reference says
    assert sum(abs(each) <= 0.5 for each in off) >= 10
    assert max(map(abs, off)) < 2.5


def test_the_figures_of_an_excerpt_are_what_counting_gives(tmp_path):
    instances = {row["index"]: row for row in map(json.loads, (DATA / "llmbar_excerpt.jsonl").open())}
    said = list(map(json.loads, (DATA / "llmbar_verdicts_excerpt.jsonl").open()))
    told = report(tmp_path, instances.values(), said, "llmbar")
    winners = defaultdict(dict)
    for row in said:
        winners[f"{row['judge']}/{row['strategy']}"][row["index"], row["swapped"]] = row["winner"]
    assert set(told) == set(winners)
    for name, each in winners.items():
        for order, swapped in (("as_listed", False), ("turned", True)):
            mine = {index: winner for (index, turned), winner in each.items() if turned == swapped}
            right = sum(winner == str(instances[index]["label"]) for index, winner in mine.items())
            assert counted(told[name].measures[f"accuracy_{order}"], len(mine)) == right
        both = [index for index, swapped in each if swapped and (index, False) in each]
        same = sum(each[index, True] == each[index, False] for index in both)
        assert counted(told[name].measures["positional_agreement"], len(both)) == same


def test_a_model_that_wins_by_length_alone_is_even_at_equal_length():
    rng = np.random.default_rng(0)
    rows = []
    for model, skill in (("long", 0.0), ("short", 0.0), ("good", 1.5)):
        for prompt in range(600):
            longer = rng.normal({"long": 400, "short": -400, "good": 0}[model], 400)
            won = 1 / (1 + np.exp(-(skill + 2 * np.tanh(longer / 400))))
            rows.append((f"p{prompt}", model, float(rng.random() < won), longer))
    table = pl.DataFrame(rows, ["prompt_id", "model", "won", "longer"], orient="row")
    raw = dict(table.group_by("model").agg(pl.col("won").mean()).iter_rows())
    held = length_controlled(table)
    assert raw["long"] > 0.65 > 0.35 > raw["short"]
    assert held["long"] == pytest.approx(0.5, abs=0.07)
    assert held["short"] == pytest.approx(0.5, abs=0.07)
    assert held["good"] == pytest.approx(1 / (1 + np.exp(-1.5)), abs=0.07)


def shown(*arguments):
    return CliRunner().invoke(cli, ["judges", *map(str, arguments)], catch_exceptions=False).output


EXCERPT = (DATA / "llmbar_excerpt.jsonl", "--verdicts", DATA / "llmbar_verdicts_excerpt.jsonl")


def test_the_command_takes_a_file_or_its_import_and_gives_all_figures_as_json(tmp_path):
    run = tp.import_data(EXCERPT[0], out=tmp_path / "run", verdicts=EXCERPT[2])
    told = json.loads(shown(run.path, "--json"))
    assert told == json.loads(shown(*EXCERPT, "--as", "llmbar", "--json"))
    assert {judge["measures"]["positional_agreement"]["n"] for judge in told["judges"]} == {4}
    assert told["gold"] == ["llmbar"]


def test_the_command_has_a_row_for_each_judge_the_most_accurate_first():
    told = json.loads(shown(*EXCERPT, "--json"))["judges"]
    lines = shown(*EXCERPT).splitlines()
    head = lines[2].split()
    rows = [line.split() for line in lines[3 : 3 + len(told)]]
    assert head[:3] == ["judge", "verdicts", "accuracy"]
    assert [row[0] for row in rows] == [judge["name"] for judge in told]
    right = [judge["measures"]["gold_accuracy"]["value"] for judge in told]
    assert right == sorted(right, reverse=True)
    assert [float(row[2]) for row in rows] == [round(100 * each) for each in right]
    assert len(lines) < 60


def test_one_judge_is_shown_whole_and_an_unknown_one_is_an_error_in_a_sentence():
    told = json.loads(shown(*EXCERPT, "--json"))["judges"][0]
    lines = [line.split() for line in shown(*EXCERPT, "--judge", told["name"]).splitlines()[1:]]
    assert {name for line in lines for name in line if name in told["measures"]} == set(told["measures"])
    assert [judge["name"] for judge in json.loads(shown(*EXCERPT, "--judge", told["name"], "--json"))["judges"]] == [
        told["name"]
    ]
    for wrong, said in (
        (("--judge", "nobody"), "no judge here is called 'nobody'"),
        (("--gold", "nobody"), "no evaluator here is called 'nobody'"),
        (("--baseline", "nothing"), "no judge here compares a response of 'nothing'"),
    ):
        with pytest.raises(TriptychError, match=said):
            shown(*EXCERPT, *wrong)


def test_data_that_no_model_judged_has_no_judges(tmp_path):
    file = write(tmp_path / "pairs.jsonl", [{"prompt": "a", "chosen": "b", "rejected": "c"}])
    assert "No model judged anything here." in shown(file, "--html", tmp_path / "page.html")
    assert "No model judged anything here." in (tmp_path / "page.html").read_text()


def versus(folder, models):
    """AlpacaEval's two files: a reference's answers of 40 characters and models' of about 23 to 110; the longer one wins."""
    asked = [
        {"index": n, "instruction": f"Say {n}.", "reference_output": "r" * 40, "reference_generator": "base"}
        for n in range(30)
    ]
    said = [
        {"index": n, "generator": name, "output": "m" * (20 + 3 * size) + name, "preference": 2.0 if size > 6 else 1.0}
        for turn, name in enumerate(models)
        for n in range(30)
        for size in [n if turn else 29 - n]
    ]
    return write(folder / "asked.jsonl", asked), "--verdicts", write(folder / "said.jsonl", said)


def test_win_rates_are_shown_where_all_comparisons_are_with_one_model(tmp_path):
    files = versus(tmp_path, ("one", "other"))
    told = json.loads(shown(*files, "--json"))["win_rates"]
    assert [(each["model"], each["baseline"]) for each in told] == [("one", "base"), ("other", "base")]
    assert [each["win_rate"]["value"] for each in told] == pytest.approx([23 / 30] * 2)
    assert all(0 < each["length_controlled"] < each["win_rate"]["value"] for each in told)
    assert "Win rates in % against base, by alpaca-eval" in shown(*files)
    (named,) = json.loads(shown(*files, "--baseline", "one", "--json"))["win_rates"]
    assert named["model"] == "base"
    assert named["win_rate"]["value"] == pytest.approx(7 / 30)


def test_of_two_models_neither_is_taken_for_a_baseline(tmp_path):
    assert json.loads(shown(*versus(tmp_path, ("one",)), "--json"))["win_rates"] == []


def test_the_page_of_judges_lets_nothing_through_and_has_them_all(tmp_path):
    hostile = "<script>alert(1)</script>"
    rows = [json.loads(line) for line in EXCERPT[2].open()]
    for row in rows:
        row["judge"] = hostile
    shown(EXCERPT[0], "--verdicts", write(tmp_path / "said.jsonl", rows), "--html", tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text()
    assert "<script" not in text
    assert "&lt;script&gt;" in text
    assert "gold_accuracy" in text
    assert "http" not in text.replace("http-equiv", "")
