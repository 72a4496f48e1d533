"""Repairs: what they drop and weigh anew, by counting; that the log tells all of it; that the audit after is the better one."""

from __future__ import annotations

import json
import random
import shutil
from collections import Counter
from dataclasses import replace

import msgspec
import polars as pl
import pytest

import triptych as tp
from planted.faults import FAULTS
from planted.world import clean, save
from test_audit import run as triptych
from triptych.audit.audit import audit
from triptych.audit.data import Data
from triptych.engines.repair import LOG, Repaired, repair_run
from triptych.errors import RunFolderError
from triptych.records import make_example
from triptych.store.tables import frame, records


@pytest.fixture
def planted(tmp_path):
    """From a fault's name and strength to a run folder with that fault."""

    def make(name=None, strength=None, change=lambda world: None):
        world = clean(3)
        for fault in FAULTS:
            if fault.name == name:
                fault.plant(world, fault.moderate if strength is None else strength, random.Random(8))
        change(world)
        return save(world, tmp_path / "run")

    return make


def rows(run):
    return run.examples().collect().to_dicts()


def texts(run):
    table = run.responses().select("id", pl.col("messages").list.first().struct.field("content")).collect()
    return dict(table.iter_rows())


def finding(run, name):
    (found,) = [f for f in audit(Data.of(run)).findings if f.name == name]
    return found


def test_length_matching_leaves_as_many_longer_as_shorter_in_every_band_of_length(planted, tmp_path):
    run = planted("pairs_whose_longer_side_is_chosen")
    assert finding(run, "chosen_longer").severity in ("warn", "error")
    done, log = repair_run(run, tmp_path / "new", ["length_match"])
    text = texts(run)
    signs = Counter()
    for row in rows(done):
        chosen, rejected = (len(text[id]) for id in row["response_ids"])
        signs[(chosen > rejected) - (chosen < rejected)] += 1
    assert signs[1] == signs[-1] > 5
    after = finding(done, "chosen_longer")
    assert (after.value, after.severity) == (0.5, "info")
    kept = {row["id"] for row in rows(done)}
    assert kept | {change.id for change in log.changes} == {row["id"] for row in rows(run)}
    assert not kept & {change.id for change in log.changes}


def test_contradictions_go_with_both_their_sides_and_nothing_else_does(planted, tmp_path):
    run = planted("pairs_that_contradict")
    turned = {tuple(row["response_ids"]) for row in rows(run)}
    innocent = [row["id"] for row in rows(run) if tuple(row["response_ids"][::-1]) not in turned]
    assert 0 < len(innocent) < len(rows(run))
    done, _ = repair_run(run, tmp_path / "new", ["drop_contradictions"])
    assert [row["id"] for row in rows(done)] == innocent


def test_contradictions_of_prompts_that_differ_in_white_space_and_case_alone_are_found_and_go(planted, tmp_path):
    def asked_again_the_other_way_round(world):
        for number in range(12):
            twin, pair = world.questions[number], world.pairs[number]
            world.questions.append(type(twin)(f" {twin.text.upper()}  ", list(twin.answers)))
            world.pairs.append(type(pair)(len(world.questions) - 1, pair.rejected, pair.chosen, pair.margin))

    clean_run = planted()
    assert finding(clean_run, "contradictory_pairs").value == 0
    before = [row["id"] for row in rows(clean_run)]
    shutil.rmtree(clean_run.path)
    run = planted(change=asked_again_the_other_way_round)
    assert finding(run, "contradictory_pairs").value == 24 / len(rows(run))
    done, _ = repair_run(run, tmp_path / "new", ["drop_contradictions"])
    assert [row["id"] for row in rows(done)] == before[12:]


def test_pairs_in_circles_go_until_an_order_agrees_with_all_that_stay(planted, tmp_path):
    """Ten prompts whose five answers go 0 over 1 ... over 4, but for 4 over 0; ten where three go round, and 3 and 4 hang on."""
    orders = [
        [(w, l) for w in range(5) for l in range(w + 1, 5) if (w, l) != (0, 4)] + [(4, 0)],  # noqa: E741
        [(0, 1), (1, 2), (2, 0), (0, 3), (3, 4)],
    ]
    kept = [[(0, 2), (0, 3), (1, 2), (1, 3), (1, 4), (2, 3), (2, 4)], [(0, 3), (3, 4)]]

    def round_and_round(world):
        first = world.pairs[0]
        world.pairs = [p for p in world.pairs if p.question >= 20]
        for number in range(20):
            answer = world.questions[number].answers[0]
            world.questions[number].answers = [replace(answer, text=f"{answer.text} {i}") for i in range(5)]
            world.pairs += [replace(first, question=number, chosen=w, rejected=l) for w, l in orders[number % 2]]  # noqa: E741
        for said in (world.scores, world.choices, world.checks, world.people):
            said.clear()
        world.labels, world.groups, world.stepwise, world.logprobs = [], [], [], {}

    run = planted(change=round_and_round)
    before = finding(run, "preference_cycles")
    assert (before.value, before.repair) == (1.0, "break_cycles")
    done, _ = repair_run(run, tmp_path / "new", ["break_cycles"])
    text = texts(run)
    left = Counter()
    for row in rows(done)[-sum(map(len, kept)) * 10 :]:
        left[tuple(int(text[id][-1]) for id in row["response_ids"])] += 1
    assert left == Counter([pair for some in kept for pair in some] * 10)
    assert len(rows(done)) == len(rows(run)) - 10 * (3 + 3)
    assert finding(done, "preference_cycles").value == 0


def rest_on(run, *judges):
    """Let each pair rest on what some judges say of its two responses together; of none if there are none."""
    said = run.judgements().filter(pl.col("response_ids").list.len() == 2, pl.col("evaluator").is_in(judges)).collect()
    by_pair = {}
    for row in said.iter_rows(named=True):
        by_pair.setdefault(frozenset(row["response_ids"]), []).append(row["id"])
    ids = [by_pair.get(frozenset(row["response_ids"]), []) for row in rows(run)]
    table = run.examples().collect().with_columns(judgement_ids=pl.Series(ids, dtype=pl.List(pl.String)))
    table.write_parquet(run.path / "examples.parquet")


def steady(run, judge):
    """The pairs of which a judge names the same winner in every order."""
    said = {}
    for row in run.judgements().filter(pl.col("evaluator") == judge).collect().iter_rows(named=True):
        winner = row["response_ids"][row["ranks"].index(1)]
        said.setdefault(frozenset(row["response_ids"]), set()).add(winner)
    return [row["id"] for row in rows(run) if len(said[frozenset(row["response_ids"])]) == 1]


def test_pairs_that_the_order_decides_go_where_orders_are_averaged(planted, tmp_path):
    run = planted("judge_names_the_first")
    rest_on(run, "gamma")
    stands = steady(run, "gamma")
    assert 0 < len(stands) < len(rows(run))
    done, _ = repair_run(run, tmp_path / "new", ["swap_average"])
    assert [row["id"] for row in rows(done)] == stands


@pytest.mark.parametrize("judges", [(), ("delta",), ("gamma", "delta")])
def test_a_judge_that_sways_takes_no_label_away_that_does_not_rest_on_it_alone(planted, tmp_path, judges):
    def asked_another(world):
        if "delta" in judges:
            world.choices += [replace(c, judge="delta", winner=min(c.first, c.second)) for c in world.choices]

    run = planted("judge_names_the_first", change=asked_another)
    rest_on(run, *judges)
    assert len(steady(run, "gamma")) < len(rows(run))
    _, log = repair_run(run, tmp_path / "new", ["swap_average"])
    assert log.changes == ()


def test_rows_that_would_teach_a_cut_off_text_go(planted, tmp_path):
    run = planted("answers_cut_off")
    cut = set(run.responses().filter(pl.col("finish_reason") == "length").collect()["id"])
    fine = [row["id"] for row in rows(run) if row["response_ids"][0] not in cut]
    assert 0 < len(fine) < len(rows(run))
    done, _ = repair_run(run, tmp_path / "new", ["drop_defective"])
    assert [row["id"] for row in rows(done)] == fine


def test_the_rarer_label_weighs_as_much_as_the_other(planted, tmp_path):
    run = planted("labels_of_one_kind", 0.7)
    done, log = repair_run(run, tmp_path / "new", ["balance_labels"])
    weights = Counter()
    for row in rows(done):
        if row["kind"] == "unpaired":
            weights[row["labels"][0]] += row["weight"]
    assert weights[0.0] == pytest.approx(weights[1.0])
    assert len(rows(done)) == len(rows(run))
    anew = {change.became for change in log.changes}
    table = run.examples().collect()
    assert anew
    assert anew.isdisjoint(table["id"])
    changed = done.examples().filter(pl.col("id").is_in(list(anew))).collect()
    for example in records("examples", changed.iter_rows(named=True)):  # an id is still the hash of all that a row says
        fields = {name: getattr(example, name) for name in example.__struct_fields__ if name != "id"}
        assert make_example(**fields).id == example.id


def test_of_rows_that_say_the_same_the_first_stays(planted, tmp_path):
    def twice(world):
        twin = world.questions[0]
        world.questions.append(type(twin)(twin.text.upper(), list(twin.answers)))
        world.pairs += [type(p)(len(world.questions) - 1, p.chosen, p.rejected, p.margin) for p in world.pairs[:1]]

    run = planted(change=twice)
    before = [row["id"] for row in rows(run)]
    done, _ = repair_run(run, tmp_path / "new", ["drop_duplicates"])
    assert [row["id"] for row in rows(done)] == before[:-1]


def test_no_prompt_keeps_more_than_four_times_the_median_and_the_widest_margins_stay(planted, tmp_path):
    def many(world):
        first = world.pairs[0]
        world.pairs += [
            type(first)(0, first.chosen, first.rejected, margin=0.01 * i, weight=1 + i) for i in range(1, 9)
        ]

    run = planted(change=many)
    prompt = rows(run)[0]["prompt_id"]
    margins = sorted((row["margin"] for row in rows(run) if row["prompt_id"] == prompt), reverse=True)
    done, _ = repair_run(run, tmp_path / "new", ["cap_per_prompt"])
    kept = [row["margin"] for row in rows(done) if row["prompt_id"] == prompt]
    assert sorted(kept, reverse=True) == margins[:4]
    assert len(rows(done)) == len(rows(run)) - len(margins) + 4


def test_prompts_that_are_alike_become_one_family_and_a_split_keeps_them_together(planted, tmp_path):
    run = planted("prompts_in_both_splits")
    done, log = repair_run(run, tmp_path / "new", ["resplit"])
    assert log.counts["resplit"] > 0
    families = {}
    for row in done.prompts().collect().iter_rows(named=True):
        families.setdefault(row["messages"][0]["content"].strip(), set()).add(row["family_id"] or row["id"])
    assert all(len(family) == 1 for family in families.values())
    tp.export_run(done, "trl", tmp_path / "files", split=0.3)
    sides = {}
    for file in ("train", "test"):
        for prompt in pl.read_parquet(tmp_path / "files" / f"{file}.parquet")["prompt"].to_list():
            sides.setdefault(prompt[0]["content"].strip(), set()).add(file)
    assert all(len(side) == 1 for side in sides.values())
    assert {next(iter(side)) for side in sides.values()} == {"train", "test"}


def test_a_repair_of_clean_data_changes_nothing_much_and_of_a_repaired_set_nothing_at_all(planted, tmp_path):
    run = planted("pairs_that_contradict")
    rest_on(run, "gamma")
    names = ["drop_contradictions", "length_match", "swap_average"]
    once, _ = repair_run(run, tmp_path / "once", names)
    twice, log = repair_run(once, tmp_path / "twice", names)
    assert rows(once) == rows(twice)
    assert log.changes == ()


def test_the_same_repair_gives_the_same_bytes_and_the_log_is_in_the_folder(planted, tmp_path):
    run = planted("pairs_whose_longer_side_is_chosen")
    one, log = repair_run(run, tmp_path / "one", ["length_match"])
    other, _ = repair_run(run, tmp_path / "other", ["length_match"])
    assert (one.path / "examples.parquet").read_bytes() == (other.path / "examples.parquet").read_bytes()
    assert msgspec.json.decode((one.path / LOG).read_bytes(), type=Repaired) == log
    assert tp.open_run(one.path).manifest.repairs == ("length_match",)


def test_a_repair_that_would_leave_nothing_is_refused(planted, tmp_path):
    run = planted("judge_names_the_first", 1.0)
    rest_on(run, "gamma")
    with pytest.raises(RunFolderError, match="nothing would be left"):
        repair_run(run, tmp_path / "new", ["swap_average"])


def test_a_repair_does_not_write_where_the_run_is(planted, tmp_path):
    run = planted()
    with pytest.raises(RunFolderError, match="name another folder"):
        repair_run(run, run.path, ["length_match"])


def test_groups_without_contrast_go(planted, tmp_path):
    run = planted()
    prompt = run.prompts().collect()["id"][0]
    groups = [
        make_example(
            kind="group",
            prompt_id=prompt,
            response_ids=("r_1", "r_2"),
            scores=scores,
            labels=(0.0, 0.0),
            strategy="g",
            strategy_id="i_g",
        )
        for scores in ((0.5, 0.5), (0.25, 0.75))
    ]
    frame("examples", groups).write_parquet(run.path / "examples.parquet")
    done, _ = repair_run(run, tmp_path / "new", ["drop_zero_groups"])
    assert [row["scores"] for row in rows(done)] == [[0.25, 0.75]]


def test_pairs_of_nearly_the_same_text_go(planted, tmp_path):
    run = planted("pairs_nearly_alike")
    text = texts(run)

    def differ(row):
        chosen, rejected = (text[id].split(" ") for id in row["response_ids"])
        return len(chosen) != len(rejected) or sum(a != b for a, b in zip(chosen, rejected, strict=True)) > 1

    wanted = [row["id"] for row in rows(run) if differ(row)]
    assert 0 < len(wanted) < len(rows(run))
    done, _ = repair_run(run, tmp_path / "new", ["drop_near_identical"])
    # of a text of few words, one that differs is more than one in twenty: such a pair may stay
    left = [row["id"] for row in rows(done)]
    assert set(wanted) <= set(left)
    assert all(len(text[row["response_ids"][0]].split(" ")) < 25 for row in rows(done) if not differ(row))


def test_pairs_weigh_as_their_margins_are(planted, tmp_path):
    run = planted()
    before = {tuple(row["response_ids"]): row for row in rows(run)}
    done, _ = repair_run(run, tmp_path / "new", ["weight_by_margin"])
    total = sum(row["margin"] for row in before.values())
    for row in rows(done):
        assert row["weight"] == pytest.approx(len(before) * before[tuple(row["response_ids"])]["margin"] / total)


def test_pairs_whose_chosen_side_is_poor_go(planted, tmp_path):
    def marked_down(world):
        for said in world.scores:
            said.score = max(said.score - 6 * (said.question < 40), 1.0)
        world.checks = [said for said in world.checks if said.question >= 40]
        world.choices = []

    run = planted(change=marked_down)
    scores = {}
    for row in run.judgements().filter(pl.col("evaluator").is_in(["alpha", "beta"])).collect().iter_rows(named=True):
        scores.setdefault((row["response_ids"][0], row["criterion"]), []).append((row["scores"][0] - 1) / 9)
    for row in run.judgements().filter(pl.col("evaluator") == "verify").collect().iter_rows(named=True):
        scores.setdefault((row["response_ids"][0], "correct"), []).append(row["scores"][0])
    means = {}
    for (id, _), said in scores.items():
        means.setdefault(id, []).append(sum(said) / len(said))

    def poor(row):
        of = means[row["response_ids"][0]]
        return sum(of) / len(of) < 0.5

    wanted = [row["id"] for row in rows(run) if not poor(row)]
    assert 0 < len(wanted) < len(rows(run))
    done, _ = repair_run(run, tmp_path / "new", ["drop_low_chosen"])
    assert [row["id"] for row in rows(done)] == wanted


def test_every_repair_that_a_diagnostic_names_is_there():
    from triptych.audit.audit import DIAGNOSTICS
    from triptych.audit.repairs import REPAIRS

    named = {each.repair for each in DIAGNOSTICS if each.repair}
    assert named <= set(REPAIRS)
    assert {"length_match", "drop_contradictions", "swap_average", "resplit"} <= named


def test_the_help_names_every_repair():
    from triptych.app.cli import repair
    from triptych.audit.repairs import REPAIRS

    said = repair.help.split("NAME is one of")[1].replace(".", "").split(",")
    assert [name.strip() for name in said] == list(REPAIRS)


def test_sums_that_differ_in_a_sign_alone_are_two_prompts(planted, tmp_path):
    def sums(world):
        for number, question in enumerate(world.questions):
            question.text = (
                f"What is {number // 2} {'+-'[number % 2]} 5? Say nothing else but the number that comes out."
            )

    run = planted(change=sums)
    _, log = repair_run(run, tmp_path / "new", ["drop_duplicates", "drop_copied_prompts", "resplit"])
    assert log.counts == {"drop_copied_prompts": 0, "drop_duplicates": 0, "resplit": 0}
    found = {each.name: each.value for each in audit(Data.of(run)).findings}
    assert found["same_question_apart"] == 0


def file_of_pairs(path):
    rows = []
    for n in range(40):
        sides = (f"Yes, it is {n}.", f"No, {n}.")
        chosen, rejected = sides if n < 30 else sides[::-1]
        rows.append({"prompt": f"Question {n}?", "chosen": chosen, "rejected": rejected})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_a_repair_of_a_file_names_the_file_and_can_be_made_again(tmp_path):
    file = file_of_pairs(tmp_path / "rows.jsonl")
    for _ in range(2):
        code, _, err = triptych("repair", file, "--out", tmp_path / "new", "--only", "length_match")
        assert code == 0, err
    assert msgspec.json.decode((tmp_path / "new" / LOG).read_bytes(), type=Repaired).of == str(file)
    code, _, err = triptych(
        "repair", file_of_pairs(tmp_path / "b.jsonl"), "--out", tmp_path / "new", "--only", "resplit"
    )
    assert code == 3
    assert "rows.jsonl" in err
    assert "triptych-" not in err


def test_a_repair_that_changed_nothing_says_so(tmp_path):
    file = file_of_pairs(tmp_path / "rows.jsonl")
    out = triptych("repair", file, "--out", tmp_path / "new", "--only", "drop_duplicates")[1]
    assert "40 of 40 training examples are left" in out
    assert "nothing was changed" in out
    assert "nothing was changed" not in triptych("repair", file, "--out", tmp_path / "b", "--only", "length_match")[1]
