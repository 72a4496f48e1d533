"""How well the audit finds what is wrong: faults planted at known strength in real data, and data without them.

    python benchmarks/planted_faults.py [--seeds 40] [--mode E1] [--strengths 0 1] [--json FILE]

Prints for each fault how often it is found (a finding of its failure mode that is no mere note), at several strengths; how
often each diagnostic gives an alarm on clean data; and how often its interval holds the planted value, where a rule says what
that is. The faults are planted by `tests/planted`, which uses nothing of the audit. The real solutions of
`gsm8k_example_model_solutions.jsonl.gz` are read whole where they are (`--data FILE`), else an excerpt.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from planted.faults import FAULTS, Fault  # noqa: E402
from planted.world import EXCERPT, clean  # noqa: E402

STRENGTHS = (0.0, 0.25, 0.5, 1.0, 1.25)
"""As multiples of the moderate strength. At 0 there is what the fault is planted in, such as people, without a fault."""


def findings(name: str | None, strength: float, seed: int, file: Path) -> list[dict[str, Any]]:
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


def alarms(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
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
        (fault.name, min(round(fault.moderate * times, 4), fault.most), seed, asked.data)
        for fault in faults
        for times in asked.strengths
        for seed in range(asked.seeds)
    ]
    with ProcessPoolExecutor(2) as pool:
        told = list(pool.map(findings, *zip(*jobs, strict=True), chunksize=8))
    results: dict[tuple[str | None, float], list[list[dict[str, Any]]]] = defaultdict(list)
    for (name, strength, _, _), found in zip(jobs, told, strict=True):
        results[name, strength].append(found)
    if asked.json:
        rows = [{"fault": name, "strength": s, "worlds": found} for (name, s), found in results.items()]
        asked.json.write_text(json.dumps(rows))
    tell_clean(results[None, 0.0])
    tell_recall(faults, results, asked.strengths)
    tell_coverage(faults, results, asked.strengths)
    defects = {f"{f['name']}: {f['said']}" for found in told for f in found if f["severity"] == "defect"}
    for defect in sorted(defects):
        print("defect:", defect)


def tell_clean(worlds: list[list[dict[str, Any]]]) -> None:
    print(f"\nFalse alarms on {len(worlds)} clean worlds (wanted: at most 5 % of the worlds for each diagnostic)")
    rates = defaultdict(int)
    names = {f["name"] for found in worlds for f in found}
    for found in worlds:
        for name in {f["name"] for f in alarms(found)}:
            rates[name] += 1
    for name, count in sorted(rates.items(), key=lambda item: -item[1]):
        print(f"  {name:<40} {count / len(worlds):6.1%}")
    every = [f for found in worlds for f in found]
    print(
        f"  of all {len(every):,} findings of {len(names)} diagnostics: {len(alarms(every)) / max(len(every), 1):.2%}"
    )


def tell_recall(faults: list[Fault], results: dict[tuple[str | None, float], list[list[dict[str, Any]]]], strengths: Sequence[float]) -> None:
    print("\nFound, by strength (wanted: at least 95 % at the moderate strength, marked *)")
    for fault in faults:
        said = []
        for times in strengths:
            strength = min(round(fault.moderate * times, 4), fault.most)
            worlds = results[fault.name, strength]
            hits = sum(any(f["mode"] == fault.mode for f in alarms(found)) for found in worlds)
            said.append(f"{strength:g}{'*' * (times == 1)}: {hits / len(worlds):4.0%}")
        others = defaultdict(int)
        moderate = results[fault.name, fault.moderate]
        for found in moderate:
            for mode in {f["mode"] for f in alarms(found)} - {fault.mode}:
                others[mode] += 1
        beside = ", ".join(
            f"{mode} {n / len(moderate):.0%}" for mode, n in sorted(others.items(), key=lambda i: -i[1])[:5]
        )
        print(f"  {fault.mode:<4} {fault.name:<38} {'  '.join(said)}   also {beside or '-'}")


def tell_coverage(faults: list[Fault], results: dict[tuple[str | None, float], list[list[dict[str, Any]]]], strengths: Sequence[float]) -> None:
    print("\nIntervals that hold the planted value (wanted: 90 % to 98 %)")
    for fault in faults:
        for name, truth in fault.truth.items():
            held = asked = 0
            for times in filter(None, strengths):
                strength = min(round(fault.moderate * times, 4), fault.most)
                for found in results[fault.name, strength]:
                    for f in found:
                        if f["name"] == name and f["low"] is not None:
                            asked += 1
                            held += f["low"] <= truth(strength) <= f["high"]
            print(f"  {fault.mode:<4} {name:<38} {held / asked if asked else float('nan'):6.1%} of {asked}")


if __name__ == "__main__":
    main()
