"""The process that compares formulas: reads a line `["12", "24/2"]`, writes a line `true` or `false`, until it ends.

It runs apart from Triptych (see `math_process`) and imports nothing of it.
"""

from __future__ import annotations

import json
import logging
import signal
import sys

_MEMORY_BYTES = 4 * 2**30


def main() -> None:
    """Answer until the input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the one who asks; without it our input ends
    _limit_memory()
    logging.disable(logging.CRITICAL)
    for line in sys.stdin:
        answer, found = json.loads(line)
        print("true" if _same(answer, found) else "false", flush=True)


def _same(answer: str, found: str) -> bool:
    """Compare as LaTeX only: math-verify reads other expressions with Python's `eval`."""
    from math_verify import LatexExtractionConfig, parse, verify

    target = (LatexExtractionConfig(),)
    try:
        wanted, given = (
            parse(f"${each}$", target, fallback_mode="no_fallback", parsing_timeout=None) for each in (answer, found)
        )
        return bool(wanted) and bool(given) and bool(verify(wanted, given, timeout_seconds=None))
    except (Exception, RecursionError, MemoryError):
        return False


def _limit_memory() -> None:
    if sys.platform == "win32":
        return
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))


if __name__ == "__main__":
    main()
