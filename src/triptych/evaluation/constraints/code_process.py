"""Running code that a model wrote: one process for each run, which is told nothing and ended whole."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec

from triptych.evaluation.constraints.code_worker import STARTED

RunWith = tuple[str, ...] | Literal["unsafe"]
"""A command that starts Python apart from all else, to which options are added; or `unsafe`: as the user, on this machine."""

MOST_OUTPUT = 2**20
"""How much a program may write before it is ended, in bytes."""
_START_LIMIT_S = 60.0
_LAST_WORDS_S = 5.0
_WORKER = Path(__file__).with_name("code_worker.py")


class Ran(NamedTuple):
    """How a program ended."""

    code: int
    """What it exited with; 128 and the signal where one ended it."""
    out: bytes
    err: bytes
    too_much: bool
    """Whether it was ended since it wrote too much."""


def run_apart(run_with: RunWith, job: Mapping[str, Any], word: bytes = b"") -> Ran:
    """Run the worker with a job, and with the word that it says back when it is through.

    The limits that the job states are the worker's to keep; here is made sure that it ends, that little is kept of what
    it says, and that nothing stays of it. Raises `ValueError` where the worker can't be started.
    """
    if run_with == "unsafe" and sys.platform != "linux":
        raise ValueError("its limits are those of Linux; let run_with start a container")
    sent = msgspec.json.encode(job)
    command = (sys.executable,) if run_with == "unsafe" else run_with
    options = ("-s", "-B", "-c", _WORKER.read_text(encoding="utf-8"), str(len(sent)))
    with (
        _folder() as folder,
        tempfile.TemporaryFile() as given,
    ):
        given.write(sent + word)
        given.seek(0)
        try:
            process = subprocess.Popen(
                (*command, *options),
                stdin=given,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                cwd=folder,
                env={"PATH": os.environ.get("PATH", os.defpath), "TMPDIR": folder},
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            raise ValueError(f"{command[0]} can't be started: {error}") from error
        with process:
            try:
                ran = _watched(process, time.monotonic() + job["seconds"] + _START_LIMIT_S)
            finally:
                _end(process)
    if STARTED not in ran.err:
        said = ran.err.decode("utf-8", "replace").strip()[-300:]
        raise ValueError(f"the command in run_with starts no Python: {said or f'it ended with {ran.code}'}")
    return ran


@contextmanager
def _folder() -> Iterator[str]:
    """A folder that goes with all in it, though its folders lie in one another deeper than Python can follow."""
    made = tempfile.TemporaryDirectory(prefix="triptych-code-", ignore_cleanup_errors=True)
    try:
        yield made.name
    finally:
        with suppress(RecursionError):
            made.cleanup()
        if os.path.lexists(made.name):
            subprocess.run(["rm", "-rf", made.name], check=False, stderr=subprocess.DEVNULL)


def _watched(process: subprocess.Popen[bytes], deadline: float) -> Ran:
    """Read what it writes until it ends, writes too much, or should long have ended."""
    assert process.stdout is not None
    assert process.stderr is not None
    said = {process.stdout: bytearray(), process.stderr: bytearray()}
    too_much = False
    with selectors.DefaultSelector() as open_ones:
        for stream in said:
            open_ones.register(stream, selectors.EVENT_READ)
        while open_ones.get_map() and not too_much and time.monotonic() < deadline:
            for key, _ in open_ones.select(timeout=0.05):
                piece = os.read(key.fd, 2**16)
                if not piece:
                    open_ones.unregister(key.fileobj)
                said[key.fileobj] += piece  # type: ignore[index]
                too_much |= len(said[key.fileobj]) > MOST_OUTPUT  # type: ignore[index]
            if _has_ended(process):
                _end(process)  # what it left behind may hold its output open
                deadline = min(deadline, time.monotonic() + _LAST_WORDS_S)  # even where that left its group
    if not too_much:
        with suppress(subprocess.TimeoutExpired):
            process.wait(max(0.0, deadline - time.monotonic()))
    _end(process)
    code = process.wait()
    out, err = map(bytes, said.values())
    return Ran(code if code >= 0 else 128 - code, out, err, too_much)


def _has_ended(process: subprocess.Popen[bytes]) -> bool:
    """Whether it has; where the system allows it is left to be waited for, so that its number stays its own."""
    if process.returncode is not None or not hasattr(os, "waitid"):
        return process.poll() is not None
    return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _end(process: subprocess.Popen[bytes]) -> None:
    """End it with all that it started."""
    if process.returncode is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
