"""Each fault, planted at moderate strength in real data, is found as what it is, and nothing else is told but what follows from it.

One seed of each, on an excerpt of some 75 pairs; all diagnostics are run. What is told of other failure modes must stand in
`ALSO`, with the reason why it is true of such data. `benchmarks/planted_faults.py` measures recall, false alarms and coverage
over many seeds, and on the whole set.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest

import triptych as tp
from planted.faults import FAULTS
from planted.world import clean
from triptych.audit.audit import DIAGNOSTICS, audit
from triptych.audit.modes import MODES

pytest.importorskip("statsmodels")
pytest.importorskip("sklearn.linear_model")  # it is there before its threads are counted
threadpoolctl = pytest.importorskip("threadpoolctl")

HERE = Path(__file__).parent / "data"
STRONGER = {"margins_lost_in_noise": 1.25}
"""Faults that one excerpt is too small for at moderate strength (56 pairs are left of this one): how much more is planted."""

LONGER = "other solutions stand before each answer, so that it has many steps, of which none is judged"
RECIPE = "the loop's recipe takes answers that came with the data, and weighs them by nothing"
AGAINST = "what is planted makes criteria say the opposite of what the pairs' labels say"
ALSO: dict[str, dict[str, str]] = {
    "answers_that_are_copies": {"I4": "two copies make an identical pair"},
    "scores_without_contrast": {
        "I3": "margins next to nothing are below the judges' noise",
        "I2": "where scores are next to equal any weight decides",
    },
    "prompts_that_all_or_none_solve": {
        "I2": "where all are as good any weight decides",
        "I8": "where none is right the chosen one is wrong too",
    },
    "answers_that_loop": {
        "S2": "the same words over and over are few different pairs of words",
        "E12": "a solution that goes round has many steps, of which none is judged",
    },
    "rejected_that_refuse": {
        "S8": "a short, poor rejected answer with a wide gap is the sign of a noisy prompt",
        "I5": "a refusal is shorter than what is chosen",
    },
    "a_policy_that_gets_worse": {
        "L4": "it gets worse on the anchors",
        "I8": "its best is poor",
        "R2.4": RECIPE,
        "E12": LONGER,
    },
    "answers_said_before": {
        "I3": "the margins are shrunk as well, to below the judges' noise",
        "R2.4": RECIPE,
        "E12": LONGER,
    },
    "prompts_that_make_no_sense": {
        "I5": "the rejected answers are made short, and those margins wide",
        "E2": "the judges score the answers that are made short low",
        "E10": "the judges score the answers that are made short low",
    },
    "examples_gone_stale": {
        "S1": "answers of the first round are not by the policy of this one",
        "R2.4": RECIPE,
        "E12": LONGER,
    },
    "rounds_that_lose_their_variety": {
        "S2": "it is less variety among the answers to a prompt",
        "I4": "two copies make an identical pair",
        "R2.4": RECIPE,
        "E12": LONGER,
    },
    "a_policy_that_leaves_its_judge_behind": {"R2.4": RECIPE, "E12": LONGER},
    "a_policy_that_forgets": {"L3": "what it forgets scores lower, so the scores move", "R2.4": RECIPE, "E12": LONGER},
    "judge_names_the_longer": {"E4": "it names the longer one where that is the worse one"},
    "scores_that_grow_with_length": {"E10": "scores that follow length follow it where gold does not"},
    "scores_at_the_top": {
        "E4": "most of what is true is tied",
        "E11": "of what is left at the top, noise decides which criterion names whom",
        "I2": "of what is left at the top, noise decides which criterion names whom",
        "I6": "what is left of the judges' opinions is noise, and labels are of before",
    },
    "criteria_in_conflict": {"E4": AGAINST, "E14": "judges are wrong together on that criterion", "I2": AGAINST},
    "criteria_that_pull_apart": {"E4": AGAINST, "E14": "judges are wrong together on that criterion", "I2": AGAINST},
    "weights_that_decide": {"E4": AGAINST, "E11": AGAINST, "E14": "judges are wrong together on that criterion"},
    "one_criterion_that_decides": {
        "I2": "scores are drawn anew, whatever the labels are",
        "I6": "scores are drawn anew, whatever the labels are",
        "I8": "scores are drawn anew, about the middle of the scale",
    },
    "scores_drawn_anew": {
        "E4": "a judge that says something else each time is often wrong",
        "I2": "scores are drawn anew, whatever the labels are",
        "I6": "scores are drawn anew, whatever the labels are",
    },
    "scores_moved_where_no_gold_is": {
        "E4": "scores moved for some answers are compared with those of others",
        "I2": "scores moved for some answers are compared with those of others",
        "I6": "scores moved for some answers are compared with those of others",
    },
    "long_answers_with_few_labels": {
        "S2": "one line stands there twenty times",
        "S10": "one line stands there twenty times",
        "E13": "the scores of steps are drawn, whatever comes of them",
        "I4": "answers that begin with the same line become the same",
    },
    "steps_of_few_rollouts": {"R3.1": "the recipe of that world has a model's rollouts and nobody beside them"},
    "people_who_disagree": {
        "I2": "ratings of tone are drawn, whatever the labels are",
        "I6": "ratings of tone are drawn, whatever the labels are",
    },
    "one_annotator_of_another_mind": {"I6": "half of what that annotator says is against the labels"},
    "steps_that_nobody_judged": {"E13": "labels of steps are drawn, whatever comes of them"},
    "margins_lost_in_noise": {
        "E4": "what judges see is noise for the most part",
        "E11": "what judges see is noise for the most part",
    },
    "rejected_far_below": {
        "E9": "the answers that are added are judged, and by no verifier",
        "S2": "the answers that are added are those that were there, with a sentence more",
        "I11": "of twelve answers two are used",
    },
    "chosen_that_are_poor": {"E9": "poor answers are judged, and by no verifier"},
    "lists_thrown_away": {"S2": "the answers that are added are those that were there, with a sentence more"},
    "pairs_whose_longer_side_is_chosen": {"I2": "a pair that is turned has its criteria against it"},
    "pairs_that_contradict": {"I2": "a pair that is turned has its criteria against it"},
    "prompts_in_both_splits": {"S9": "the copies are near copies of prompts"},
}


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Models of a few hundred rows are fitted in half the time by one thread."""
    with threadpoolctl.threadpool_limits(1):
        yield


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: f"{fault.mode}-{fault.name}")
def test_a_planted_fault_is_found_as_what_it_is_and_nothing_else_is_told_but_what_follows_from_it(fault):
    world = clean(2)
    strength = min(STRONGER.get(fault.name, 1.0) * fault.moderate, fault.most)
    fault.plant(world, strength, random.Random(fault.name))
    done = audit(world.data())
    assert not [each for each in done.unmeasured if each.defect]
    told = [each for each in done.findings if each.severity != "info"]
    assert fault.mode in {each.failure_mode for each in told}, [each.message for each in done.findings]
    known = {fault.mode, *ALSO.get(fault.name, ())}
    assert [(each.failure_mode, each.message) for each in told if each.failure_mode not in known] == []


def test_what_else_is_told_is_explained_of_faults_and_modes_that_there_are():
    assert set(ALSO) <= {fault.name for fault in FAULTS}
    assert {mode for also in ALSO.values() for mode in also} <= {*MODES, "R2.4", "R3.1"}


@pytest.mark.parametrize("seed", [1, 2])
def test_data_without_a_fault_give_no_alarm(seed):
    done = audit(clean(seed).data())
    assert not [each for each in done.unmeasured if each.defect]
    assert [each.message for each in done.findings if each.severity != "info"] == []
    assert len({each.name for each in done.findings}) > 60


REAL = {
    "llmbar_natural.jsonl.gz": {},
    "llmbar_natural.jsonl.gz with each row three times": {"S9": "two rows in three repeat an earlier one"},
}


@pytest.mark.parametrize("name", REAL)
def test_of_another_real_set_only_what_is_true_is_told(name, tmp_path):
    """100 instructions that people wrote or chose, with labels on which people agree for 90 % and more (arXiv:2310.07641)."""
    file = HERE / name.partition(" ")[0]
    if "three times" in name:
        thrice = tmp_path / file.name
        thrice.write_bytes(3 * file.read_bytes())  # gzip members one after another are one file
        file = thrice
    done = tp.audit_run(file)
    assert not [each for each in done.unmeasured if each.defect]
    assert {each.failure_mode for each in done.findings if each.severity != "info"} == set(REAL[name])
    assert len({each.name for each in done.findings}) > 25


def test_every_failure_mode_has_a_diagnostic_and_a_fault_that_is_planted():
    assert {each.failure_mode for each in DIAGNOSTICS} >= set(MODES)
    assert {fault.mode for fault in FAULTS} == set(MODES)
