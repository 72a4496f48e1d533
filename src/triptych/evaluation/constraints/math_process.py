"""Comparing formulas with math-verify in a process of its own, so that none of them can hang or fill this one."""

from __future__ import annotations

import atexit
import os
import shlex
import subprocess
import sys
import threading
from contextlib import suppress
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import msgspec

from triptych.errors import MissingExtra

LIMIT_S = 5.0
"""How long one comparison may take, in seconds."""
_START_LIMIT_S = 120.0

# math-verify's own time limits are signals, which work in the main thread only, and SymPy can't be stopped from
# another thread while it computes a power such as 9^9^9^9. A process can.
_WORKER = Path(__file__).with_name("math_worker.py")
_lock = threading.Lock()
_processes: dict[int, subprocess.Popen[str]] = {}
_never_started: set[int] = set()
"""The processes of this one where it did not start: no other comparison waits for it again."""


@lru_cache(maxsize=4096)
def same_mathematics(answer: str, found: str) -> bool:
    """Whether two formulas in LaTeX are equal, for math-verify. What it can't read or decide in time is unequal.

    Raises `MissingExtra` where math-verify is not installed, or the process does not start.
    """
    if find_spec("math_verify") is None:
        raise MissingExtra("final_answer needs math-verify for formulas: pip install 'triptych[verify]'")
    with _lock:
        worker = _worker()
        return _ask(worker, [answer, found], LIMIT_S) == "true"


def _worker() -> subprocess.Popen[str]:
    """The process of this process; a fork gets its own."""
    worker = _processes.get(os.getpid())
    if worker is None or worker.poll() is not None:
        worker = _processes[os.getpid()] = _started()
    return worker


def _started() -> subprocess.Popen[str]:
    # -P: the worker's folder has modules named like the standard library's, and must not be searched
    command = [sys.executable, "-P", str(_WORKER)]
    with suppress(OSError):
        if os.getpid() not in _never_started:
            worker = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                encoding="utf-8",
            )
            atexit.register(worker.kill)
            if _ask(worker, ["1", "1"], _START_LIMIT_S) == "true":
                return worker
    _never_started.add(os.getpid())
    raise MissingExtra(
        "final_answer can't compare formulas: its process with math-verify does not start. To see why: "
        f"echo '[\"1\", \"1\"]' | {shlex.join(command)}"
    )


def _ask(worker: subprocess.Popen[str], formulas: list[str], limit_s: float) -> str:
    """Ask the worker; empty where it ended, be it of itself or for taking too long."""
    assert worker.stdin is not None
    assert worker.stdout is not None
    timer = threading.Timer(limit_s, worker.kill)
    timer.start()
    try:
        worker.stdin.write(msgspec.json.encode(formulas).decode() + "\n")
        worker.stdin.flush()
        answer = worker.stdout.readline().strip()
    except (OSError, UnicodeError):
        answer = ""
    finally:
        timer.cancel()
    if not answer:
        worker.kill()
        worker.wait()
    return answer
