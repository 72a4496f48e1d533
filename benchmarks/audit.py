"""How long a quick audit of many pairs takes: texts and verdicts only, no model.

    python benchmarks/audit.py [--pairs 100000] [--data hh_harmless_base_test.jsonl.gz]

The pairs are real dialogues, each repeated with some of its words replaced, so that no two are the same. The audit runs
in a process of its own, from the Parquet tables of a run folder; the baseline is reading these tables once.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
EXCERPT = ROOT / "tests" / "data" / "hh_rlhf_excerpt.jsonl"
WANTED_S = 60


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--pairs", type=int, default=100_000)
    ask.add_argument("--data", type=Path, default=EXCERPT)
    ask.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    asked = ask.parse_args()
    if asked.child:
        print(json.dumps(timed(asked.child)))
        return
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "pairs.jsonl"
        write_pairs(file, asked.data, asked.pairs)
        import triptych as tp

        started = time.perf_counter()
        tp.import_data(file, "hh-rlhf", out=Path(folder) / "run")
        print(f"import of {asked.pairs:,} pairs: {time.perf_counter() - started:.1f} s")
        command = [sys.executable, __file__, "--child", str(Path(folder) / "run")]
        told = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])
    print(f"reading the tables:  {told['read_s']:.1f} s")
    ratio = told["audit_s"] / told["read_s"]
    print(
        f"audit:               {told['audit_s']:.1f} s (wanted {WANTED_S}), {ratio:.0f} x reading; {told['mb']:,.0f} MB"
    )
    print(f"  {told['diagnostics']} diagnostics said something, {told['unmeasured']} could not be measured")
    for name, seconds in told["slowest"]:
        print(f"  {seconds:6.2f} s  {name}")


def write_pairs(file: Path, data: Path, count: int) -> None:
    rng = random.Random(0)
    raw = data.read_bytes()
    rows = [json.loads(line) for line in (gzip.decompress(raw) if data.suffix == ".gz" else raw).splitlines()]
    words = sorted({word for row in rows for word in row["chosen"].split() if word.isalpha()})
    with file.open("w", encoding="utf-8") as out:
        for number in range(count):
            row = rows[number % len(rows)]
            human, sides = varied(row, words, rng)
            chosen, rejected = (f"\n\nHuman: {human}\n\nAssistant: {side}" for side in sides)
            out.write(json.dumps({"chosen": chosen, "rejected": rejected}) + "\n")


def varied(row: dict[str, str], words: list[str], rng: random.Random) -> tuple[str, list[str]]:
    """The last exchange of a dialogue, with every fifth word another one."""
    sides = [row[side].rsplit("\n\nAssistant:", 1) for side in ("chosen", "rejected")]
    human = sides[0][0].rsplit("\n\nHuman:", 1)[-1]

    def change(text: str) -> str:
        return " ".join(rng.choice(words) if rng.random() < 0.2 else word for word in text.split(" ")) or "-"

    return change(human), [change(side[-1].strip()) for side in sides]


def timed(folder: Path) -> dict[str, object]:
    import polars as pl

    import triptych as tp
    from triptych.audit.audit import audit
    from triptych.audit.data import Data

    run = tp.open_run(folder)
    started = time.perf_counter()
    for name in ("prompts", "responses", "judgements", "examples"):
        pl.read_parquet(folder / f"{name}.parquet")
    read_s = time.perf_counter() - started
    began: list[tuple[str, float]] = []
    started = time.perf_counter()
    done = audit(Data.of(run), progress=lambda name, *_: began.append((name, time.perf_counter())))
    ended = time.perf_counter()
    ends = [at for _, at in began[1:]] + [ended]
    took = sorted(((name, end - at) for (name, at), end in zip(began, ends, strict=True)), key=lambda item: -item[1])
    return {
        "read_s": read_s,
        "audit_s": ended - started,
        "mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "diagnostics": len({f.name for f in done.findings}),
        "unmeasured": len(done.unmeasured),
        "slowest": took[:8],
    }


if __name__ == "__main__":
    main()
