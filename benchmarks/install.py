"""The core install: packages, size on disk, and how long `import triptych` and `triptych --help` take.

The baselines are an empty environment, and a Python that starts and does nothing.

    python benchmarks/install.py
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PROJECT = Path(__file__).parent.parent


def main() -> None:
    for constraints in (None, "requirements/small.txt"):
        measure(constraints)


def measure(constraints: str | None) -> None:
    """Install the core into an empty environment; say its size, and how long it takes to start."""
    name = f"core install with {constraints}" if constraints else "core install"
    with tempfile.TemporaryDirectory() as scratch:
        subprocess.run([sys.executable, "-m", "venv", scratch], check=True)
        python, site = Path(scratch) / "bin" / "python", next(Path(scratch).glob("lib/python*/site-packages"))
        empty = megabytes(site)
        install = [python, "-m", "pip", "install", "-q", "--no-compile", str(PROJECT)]
        subprocess.run(install + (["-c", str(PROJECT / constraints)] if constraints else []), check=True)
        packages = len(list(site.glob("*.dist-info"))) - 2  # less pip and setuptools, which every environment has
        size = megabytes(site) - empty
        polars = sum(megabytes(folder) for folder in site.glob("*polars*"))
        print(f"{name}: {packages} packages (wanted: at most 30)")
        print(
            f"{name}: {size:.0f} MB (wanted: at most 150), of which Polars {polars:.0f} MB, all else {size - polars:.0f} MB"
        )
        bare = seconds([python, "-c", "pass"])
        for name, command in {
            "import triptych": [python, "-c", "import triptych"],
            "triptych --help": [Path(scratch) / "bin" / "triptych", "--help"],
        }.items():
            taken = seconds(command)
            print(f"{name}: {taken:.3f} s, {taken / bare:.1f} x a Python that does nothing (wanted: under 0.3 s)")


def megabytes(folder: Path) -> float:
    """Size of all files below a folder."""
    files = (Path(path) / name for path, _, names in os.walk(folder) for name in names)
    return sum(file.stat().st_size for file in files) / 1e6


def seconds(command: list[object]) -> float:
    """Median of seven runs, after two that are not counted."""
    taken = []
    for _ in range(9):
        begun = time.perf_counter()
        subprocess.run(list(map(str, command)), check=True, capture_output=True)
        taken.append(time.perf_counter() - begun)
    return statistics.median(taken[2:])


if __name__ == "__main__":
    main()
