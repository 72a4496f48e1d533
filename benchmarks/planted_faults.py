"""How well the audit finds what is wrong: faults planted at known strength in real data, and data without them.

    python benchmarks/planted_faults.py [--seeds 40] [--mode E1] [--strengths 0 1] [--json FILE]

Prints as it goes: how often each diagnostic gives an alarm on clean data; for each fault how often it is found (a finding of
its failure mode that is no mere note), at several strengths, and how often intervals hold the planted value, where a rule
says what that is; and the totals. The faults are planted by `tests/planted`, which uses nothing of the audit. The real solutions of
`gsm8k_example_model_solutions.jsonl.gz` are read whole where they are (`--data FILE`), else an excerpt.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import groupby
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from planted.faults import FAULTS, Fault  # noqa: E402
from planted.world import EXCERPT, clean  # noqa: E402
from triptych.audit.intervals import wilson  # noqa: E402

STRENGTHS = (0.0, 0.25, 0.5, 1.0, 1.25)
"""As multiples of the moderate strength. At 0 there is what the fault is planted in, such as people, without a fault."""
MOST_ALARMS, LEAST_RECALL, COVERAGE = 0.05, 0.95, (0.9, 0.98)
Found = list[dict[str, Any]]
"""What one audit says."""


def findings(name: str | None, strength: float, seed: int, file: Path) -> Found:
    """Audit one world; what each finding says, without its words."""
    from triptych.audit.audit import audit

    world = clean(seed, file=file)
    fault = next((fault for fault in FAULTS if fault.name == name), None)
    if fault is not None:
        fault.plant(world, strength, random.Random(f"{name} {strength} {seed}"))
    done = audit(world.data())
    return [
        {"name": f.name, "mode": f.failure_mode, "subject": f.subject, "value": f.value, "low": f.low, "high": f.high,
         "severity": f.severity}
        for f in done.findings
    ] + [{"name": u.name, "mode": u.failure_mode, "severity": "defect", "said": u.lacks} for u in done.unmeasured if u.defect]  # fmt: skip


def alarms(found: Found) -> Found:
    return [f for f in found if f["severity"] in ("warn", "error")]


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--seeds", type=int, default=40)
    ask.add_argument("--mode", help="only faults of this failure mode")
    ask.add_argument("--data", type=Path, default=EXCERPT)
    ask.add_argument("--strengths", type=float, nargs="+", default=STRENGTHS, help="as multiples of the moderate one")
    ask.add_argument("--json", type=Path, help="write every finding here")
    asked = ask.parse_args()
    faults = [fault for fault in FAULTS if asked.mode in (None, fault.mode)]
    jobs = [(None, 0.0, seed, asked.data) for seed in range(asked.seeds)]
    jobs += [
        (fault.name, strength_of(fault, times), seed, asked.data)
        for fault in faults
        for times in asked.strengths
        for seed in range(asked.seeds)
    ]
    rows: list[dict[str, Any]] = []
    recalls: list[float] = []
    held: list[tuple[int, int]] = []
    noisy, defects = 0, set()
    for name, worlds in as_they_come(jobs):
        rows += [{"fault": name, "strength": strength, "worlds": found} for strength, found in worlds.items()]
        told = [found for each in worlds.values() for found in each]
        defects |= {f"{f['name']}: {f['said']}" for found in told for f in found if f["severity"] == "defect"}
        if name is None:
            noisy = tell_clean(told)
            print(f"\nFound, by strength (wanted: {LEAST_RECALL:.0%} or more at the moderate strength, marked *)")
            continue
        fault = next(fault for fault in faults if fault.name == name)
        recalls += tell_recall(fault, worlds, asked.strengths)
        held += tell_coverage(fault, worlds)
    if asked.json:
        asked.json.write_text(json.dumps(rows))
    for defect in sorted(defects):
        print("defect:", defect)
    tell_totals(noisy, recalls, held)


def strength_of(fault: Fault, times: float) -> float:
    return min(round(fault.moderate * times, 4), fault.most)


def as_they_come(jobs: list[tuple[Any, ...]]) -> Iterator[tuple[str | None, dict[float, list[Found]]]]:
    """Each fault's worlds by strength, once all of them are audited; None's, the clean ones, come first."""
    with ProcessPoolExecutor(2) as pool:
        audited = zip(jobs, pool.map(findings, *zip(*jobs, strict=True), chunksize=2), strict=True)
        for name, group in groupby(audited, key=lambda item: item[0][0]):
            worlds: dict[float, list[Found]] = {}
            for (_, strength, _, _), found in group:
                worlds.setdefault(strength, []).append(found)
            yield name, worlds


def tell_clean(worlds: list[Found]) -> int:
    """Also gives how many diagnostics give an alarm too often."""
    print(
        f"False alarms on {len(worlds)} clean worlds (wanted: at most {MOST_ALARMS:.0%} of the worlds for each diagnostic)"
    )
    counts = Counter(name for found in worlds for name in {f["name"] for f in alarms(found)})
    for name, count in counts.most_common():
        print(f"  {name:<40} {count / len(worlds):6.1%}")
    every = [f for found in worlds for f in found]
    names = {f["name"] for f in every}
    print(
        f"  of all {len(every):,} findings of {len(names)} diagnostics: {len(alarms(every)) / max(len(every), 1):.2%}",
        flush=True,
    )
    return sum(count > MOST_ALARMS * len(worlds) for count in counts.values())


def tell_recall(fault: Fault, worlds: dict[float, list[Found]], strengths: Sequence[float]) -> list[float]:
    """Also gives the share found at the moderate strength, if that was asked for."""
    said, at_moderate = [], []
    for times in strengths:
        strength = strength_of(fault, times)
        recall = sum(any(f["mode"] == fault.mode for f in alarms(found)) for found in worlds[strength]) / len(
            worlds[strength]
        )
        said.append(f"{strength:g}{'*' * (times == 1)}: {recall:4.0%}")
        at_moderate += [recall] * (times == 1)
    moderate = worlds.get(strength_of(fault, 1), [])
    others = Counter(mode for found in moderate for mode in {f["mode"] for f in alarms(found)} - {fault.mode})
    beside = ", ".join(f"{mode} {n / len(moderate):.0%}" for mode, n in others.most_common(5))
    print(f"  {fault.mode:<4} {fault.name:<38} {'  '.join(said)}   also {beside or '-'}", flush=True)
    return at_moderate


def tell_coverage(fault: Fault, worlds: dict[float, list[Found]]) -> list[tuple[int, int]]:
    """Also gives, for each planted value, how many intervals hold it, of how many."""
    counts = []
    for name, truth in fault.truth.items():
        holds = [
            f["low"] <= truth(strength) <= f["high"]
            for strength, each in worlds.items()
            if strength
            for found in each
            for f in found
            if f["name"] == name and f["low"] is not None
        ]
        counts.append((sum(holds), len(holds)))
        print(f"       intervals of {name:<38} hold the planted value: {covered(*counts[-1])}", flush=True)
    return counts


def covered(held: int, asked: int) -> str:
    if not asked:
        return "none given"
    low, high = wilson(held / asked, asked)
    return f"{held / asked:6.1%} of {asked} (by chance {low:.0%} to {high:.0%})"


def tell_totals(noisy: int, recalls: list[float], held: list[tuple[int, int]]) -> None:
    found = sum(recall >= LEAST_RECALL for recall in recalls)
    chance = [wilson(good / asked, asked) for good, asked in held if asked]
    within = sum(high >= COVERAGE[0] and low <= COVERAGE[1] for low, high in chance)
    print(
        f"\nIn all: {found} of {len(recalls)} faults found in {LEAST_RECALL:.0%} of worlds or more at moderate strength; "
        f"{noisy} diagnostics with alarms in more than {MOST_ALARMS:.0%} of clean worlds; {within} of {len(held)} planted values "
        f"held by {COVERAGE[0]:.0%} to {COVERAGE[1]:.0%} of intervals, as far as so many worlds can tell"
    )


if __name__ == "__main__":
    main()
