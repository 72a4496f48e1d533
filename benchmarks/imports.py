"""Importing at scale: rows a second and peak memory, of pairs and of rows whose prompts come back far away.

Each import runs in a process of its own. Beside it stands how fast plain Python reads the same lines with `json`, which
says how fast the machine is just now.

    python benchmarks/imports.py [--rows 100000]
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import triptych as tp

WORDS = [f"word{number}" for number in range(5000)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        return report_one(*options.one)
    with tempfile.TemporaryDirectory() as scratch:
        for name, make in (("pairs", pairs), ("scattered", scattered)):
            for rows in (options.rows // 10, options.rows):
                file = Path(scratch) / f"{name}.jsonl"
                with file.open("w") as out:
                    out.writelines(json.dumps(row) + "\n" for row in make(rows))
                compare(name, file, rows, Path(scratch) / f"{name}-{rows}")


def text(draws: random.Random, words: int) -> str:
    return " ".join(draws.choices(WORDS, k=words))


def pairs(rows: int) -> Iterator[dict[str, object]]:
    """Preference rows of TRL's, each of a prompt of its own; 2.5 kB a row."""
    draws = random.Random(1)
    for number in range(rows):
        yield {
            "prompt": [{"role": "user", "content": f"{number} {text(draws, 30)}"}],
            "chosen": [{"role": "assistant", "content": text(draws, 120)}],
            "rejected": [{"role": "assistant", "content": text(draws, 120)}],
        }


def scattered(rows: int) -> Iterator[dict[str, object]]:
    """Thumbs, two for each prompt, the second one half a file after the first; 1.2 kB a row."""
    draws = random.Random(2)
    asked = [f"{number} {text(draws, 10)}" for number in range(rows // 2)]
    for label in (True, False):
        for prompt in asked:
            yield {"prompt": prompt, "completion": text(draws, 120), "label": label}


def compare(name: str, file: Path, rows: int, out: Path) -> None:
    """Import in a process of its own, and read the lines in plain Python right after."""
    words = [sys.executable, __file__, "--one", str(file), str(out)]
    told = json.loads(subprocess.run(words, check=True, stdout=subprocess.PIPE).stdout)
    started = time.perf_counter()
    with file.open() as lines:
        for line in lines:
            json.loads(line)
    plain = time.perf_counter() - started
    print(
        f"{name}, {rows:,} rows of {file.stat().st_size / 2**20:,.0f} MB: {told['seconds']:.1f} s, "
        f"{rows / told['seconds']:,.0f} rows/s ({told['cpu']:.1f} s of CPU), peak {told['mb']:,.0f} MB; "
        f"{told['prompts']:,} prompts, {told['examples']:,} examples; plain json.loads: {plain:.1f} s",
        flush=True,
    )


def report_one(file: str, out: str) -> None:
    started = time.perf_counter()
    run = tp.import_data(file, out=out)
    seconds = time.perf_counter() - started
    used = resource.getrusage(resource.RUSAGE_SELF)
    told = {
        "seconds": seconds,
        "cpu": used.ru_utime + used.ru_stime,
        "mb": used.ru_maxrss / 2**10,
        "prompts": run.manifest.prompts,
        "examples": run.examples().select("id").collect().height,
    }
    print(json.dumps(told))


if __name__ == "__main__":
    main()
