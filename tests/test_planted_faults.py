"""Each fault, planted at moderate strength in real data, is found as what it is; data without one gives no alarm.

One seed of each, on an excerpt. `benchmarks/planted_faults.py` measures recall, false alarms and coverage over many.
"""

from __future__ import annotations

import random

import pytest

from planted.faults import FAULTS
from planted.world import clean
from triptych.audit.audit import DIAGNOSTICS, audit
from triptych.audit.modes import MODES

pytest.importorskip("statsmodels")


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: f"{fault.mode}-{fault.name}")
def test_a_planted_fault_is_found_as_what_it_is(fault):
    world = clean(2)
    fault.plant(world, min(1.25 * fault.moderate, fault.most), random.Random(fault.name))
    its = [each for each in DIAGNOSTICS if each.failure_mode == fault.mode]
    done = audit(world.data(), its)
    assert not [each for each in done.unmeasured if each.defect]
    told = [each for each in done.findings if each.failure_mode == fault.mode and each.severity != "info"]
    assert told, [each.message for each in done.findings]
    assert all(
        each.stage == {"S": "synthesis", "E": "evaluation", "I": "instantiation", "L": "loop"}[fault.mode[0]]
        for each in told
    )


@pytest.mark.parametrize("seed", [1, 2])
def test_data_without_a_fault_give_no_alarm(seed):
    done = audit(clean(seed).data())
    assert not [each for each in done.unmeasured if each.defect]
    assert [each.message for each in done.findings if each.severity != "info"] == []
    assert len({each.name for each in done.findings}) > 60


def test_every_failure_mode_has_a_diagnostic_and_a_fault_that_is_planted():
    assert {each.failure_mode for each in DIAGNOSTICS} >= set(MODES)
    assert {fault.mode for fault in FAULTS} == set(MODES)
