"""Memory: peak resident memory of a run with 10,000 prompts, and of the same run with 100,000.

python benchmarks/memory.py [--small 10000] [--large 100000]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from setting import endpoint, write_prompts

WANTED = 1.5
_RUN = """
import json, resource, sys, time
import triptych as tp
prompts, base_url, out = sys.argv[1:]
recipe = tp.Recipe(
    name="memory",
    models={"m": tp.OpenAIModel(model="m", base_url=base_url, concurrency=128)},
    prompts=tp.PromptFile(path=prompts),
    synthesis=[tp.Sample(model="m", n=2, max_tokens=200)],
    evaluation=[tp.Verify(constraints=[{"kind": "words", "max": 40}])],
    instantiation=[tp.Pairs()],
)
begun = time.perf_counter()
run = tp.run(recipe, out)
peak_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps([run.manifest.prompts, peak_kb / 1024, time.perf_counter() - begun]))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", type=int, default=10_000)
    parser.add_argument("--large", type=int, default=100_000)
    options = parser.parse_args()
    small, large = peak_mb(options.small), peak_mb(options.large)
    print(
        f"memory: {large:.0f} MB with {options.large:,} prompts, {large / small:.2f} x that with {options.small:,} (wanted: at most {WANTED} x)"
    )


def peak_mb(count: int) -> float:
    """Run so many prompts in a process of their own; its peak resident memory in MB."""
    with tempfile.TemporaryDirectory() as scratch, endpoint(latency_ms=0) as server:
        prompts = write_prompts(Path(scratch) / "prompts.jsonl", count)
        command = [sys.executable, "-c", _RUN, str(prompts), server.base_url, f"{scratch}/run"]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
    prompts_run, peak, seconds = json.loads(done.stdout)
    print(f"{prompts_run:,} prompts: peak {peak:.0f} MB, {seconds:.0f} s", flush=True)
    return float(peak)


if __name__ == "__main__":
    main()
