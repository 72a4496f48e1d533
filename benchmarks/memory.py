"""Memory: peak resident memory of each command on 10,000 prompts, and of the same command on 100,000.

python benchmarks/memory.py [--small 10000] [--large 100000]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import triptych as tp
from setting import endpoint, write_prompts

WANTED = 1.3
_PEAK = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""
"""A small process that starts the command, since a child's peak counts what its parent had when it forked."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", type=int, default=10_000)
    parser.add_argument("--large", type=int, default=100_000)
    options = parser.parse_args()
    small, large = peaks_mb(options.small), peaks_mb(options.large)
    for command, peak in large.items():
        print(
            f"memory: triptych {command:<12} {peak:.0f} MB with {options.large:,} prompts, "
            f"{peak / small[command]:.2f} x that with {options.small:,} (wanted: at most {WANTED} x)"
        )


def peaks_mb(count: int) -> dict[str, float]:
    """Run so many prompts, then look at the run; each command's peak resident memory in MB."""
    with tempfile.TemporaryDirectory() as scratch, endpoint(latency_ms=0) as server:
        prompts = write_prompts(Path(scratch) / "prompts.jsonl", count)
        recipe, out = Path(scratch) / "recipe.yaml", f"{scratch}/run"
        recipe.write_text(json.dumps(_recipe(server.base_url, prompts).model_dump(mode="json", exclude_unset=True)))
        commands = {
            "run": ("run", str(recipe), "--out", out),
            "show DIR": ("show", out),
            "show DIR ID": ("show", out, str(count)),
            "export DIR": ("export", out, "--to", "trl"),
        }
        return {name: peak_mb(f"{count:,} prompts, {name}", *arguments) for name, arguments in commands.items()}


def peak_mb(what: str, *arguments: str) -> float:
    """One command in a process of its own."""
    begun = time.perf_counter()
    command = [sys.executable, "-c", _PEAK, sys.executable, "-m", "triptych", *arguments]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    peak = int(done.stdout) / 1024
    print(f"{what}: peak {peak:.0f} MB, {time.perf_counter() - begun:.0f} s", flush=True)
    return peak


def _recipe(base_url: str, prompts: Path) -> tp.Recipe:
    return tp.Recipe(
        name="memory",
        models={"m": tp.OpenAIModel(model="m", base_url=base_url, concurrency=128)},
        prompts=tp.PromptFile(path=str(prompts)),
        synthesis=[tp.Sample(model="m", n=2, max_tokens=200)],
        evaluation=[tp.Verify(constraints=[{"kind": "words", "max": 40}])],
        instantiation=[tp.Pairs()],
    )


if __name__ == "__main__":
    main()
