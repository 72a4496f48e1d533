"""Runs one program, limited. Triptych gives this text to a Python that runs apart: see `unit_tests`.

That may be any Python from 3.10 on Linux, in a container or not, so this imports the standard library alone. It reads a
job of `sys.argv[1]` bytes of JSON from standard input. Where there are tests a word stands after it, which is read only
when all tests have been run, and shows, said back, that this point was reached.
"""

from __future__ import annotations

import builtins
import contextlib
import ctypes
import json
import os
import signal
import sys
import tempfile
import types
from typing import Any

STARTED = b"triptych: started\n"
FAILED, TIME_IS_UP, NO_MEMORY, BROKEN_TESTS = 1, 124, 125, 126
_MIB = 2**20
_NOBODY = 65534
_PR_SET_NO_NEW_PRIVS = 38
_PR_SET_PDEATHSIG = 1
_CAPABILITY_VERSION_3 = 0x20080522


def main() -> None:
    """Start anew in an environment of our own; then run the job in a process of its own for so many seconds."""
    if os.environ.get("PYTHONHASHSEED") != "0":
        ours = {"PATH": os.defpath, "LANG": "C.UTF-8", "PYTHONHASHSEED": "0", "OPENBLAS_NUM_THREADS": "1"}
        folder = {"TMPDIR": os.environ["TMPDIR"]} if "TMPDIR" in os.environ else {}
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**ours, **folder})
    os.write(2, STARTED)
    job = json.loads(_read(int(sys.argv[1])))
    os.chdir(tempfile.mkdtemp())
    child = os.fork()
    if child == 0:
        _limit(job)
        sys.modules["__main__"] = types.ModuleType("__main__")  # the answer is not to find these names by chance
        os._exit(_against_tests(job) if job["tests"] else _as_program(job))

    def time_is_up(*_: Any) -> None:
        os.kill(child, signal.SIGKILL)
        os._exit(TIME_IS_UP)

    signal.signal(signal.SIGALRM, time_is_up)
    signal.setitimer(signal.ITIMER_REAL, job["seconds"])
    status = os.waitpid(child, 0)[1]
    os._exit(128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status))


def _read(size: int) -> bytes:
    """So many bytes of standard input and none more: what follows is not for now."""
    found = b""
    while len(found) < size:
        piece = os.read(0, size - len(found))
        if not piece:
            os._exit(FAILED)
        found += piece
    return found


def _limit(job: dict[str, Any]) -> None:
    import resource  # not there on Windows, where the constants of this file may be read

    # The limit on processes binds neither root nor who has capabilities. So root is counted as another user here and
    # gives its capabilities up; it still reads its own files, among which the library of this Python may be.
    libc = ctypes.CDLL(None)
    if os.getuid() == 0:
        with contextlib.suppress(OSError):  # without capabilities, or in a name space without such a user
            os.setresuid(_NOBODY, 0, 0)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    libc.capset(ctypes.byref((ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)), ctypes.byref((ctypes.c_uint32 * 6)()))
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)  # after the last change of who it is, which would unset it
    for limit, most in (
        (resource.RLIMIT_CPU, int(job["seconds"]) + 1),
        (resource.RLIMIT_AS, job["memory_mb"] * _MIB),
        (resource.RLIMIT_FSIZE, 16 * _MIB),
        (resource.RLIMIT_NOFILE, 64),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NPROC, 0),
    ):
        resource.setrlimit(limit, (most, most))


def _as_program(job: dict[str, Any]) -> int:
    """Run as `python answer.py < input`: what it writes goes out as it is."""
    with tempfile.TemporaryFile() as given:
        given.write(job["input"].encode("utf-8", "replace"))
        given.seek(0)
        os.dup2(given.fileno(), 0)
    write = os.write
    try:
        exec(compile(job["code"], "answer.py", "exec", dont_inherit=True), vars(sys.modules["__main__"]))
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException as error:
        code = _code(error)
        write(2, b"\n" + _words(error))
    try:
        sys.stdout.flush()
    except BaseException:
        code = FAILED
    return code & 0xFF


def _against_tests(job: dict[str, Any]) -> int:
    """Run the answer, then each test with its names. Only the report gets out: the word, and how many passed."""
    asked, report = os.dup(0), os.dup(1)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(nowhere, standard)
    # what the answer may put in the place of these must not decide
    run, read, write, words, clean = exec, os.read, os.write, _words, dict(vars(builtins))
    try:
        tests = [compile(test, "test.py", "exec", dont_inherit=True) for test in job["tests"]]
    except BaseException as error:
        write(report, b"\n%s 0 %s" % (read(asked, 100), words(error)))
        return BROKEN_TESTS
    module = sys.modules["answer"] = types.ModuleType("answer")  # dataclasses and pickle look for it there
    names = vars(module)
    passed, wrong, code = 0, b"", 0
    try:
        run(compile(job["code"], "answer.py", "exec", dont_inherit=True), names)
    except BaseException as error:  # SystemExit too: a program that ends passes nothing
        write(report, words(error))
        return _code(error)
    for number, test in enumerate(tests, 1):
        names["__builtins__"] = clean
        try:
            run(test, names)
            passed += 1
        except BaseException as error:
            wrong, code = wrong or b"test %d: " % number + words(error), code or _code(error)
    write(report, b"\n%s %d %s" % (read(asked, 100), passed, wrong))
    return code


def _code(error: BaseException) -> int:
    return NO_MEMORY if isinstance(error, MemoryError) else FAILED


def _words(error: BaseException) -> bytes:
    """What went wrong, in a line. An exception of the answer's may raise where it is asked what it is."""
    try:
        last = error.__traceback__
        while last is not None and last.tb_next:
            last = last.tb_next
        assert last is not None
        file = last.tb_frame.f_code.co_filename
        place = f" in line {last.tb_lineno} of the {file[:-3]}" if file in ("answer.py", "test.py") else ""
        said = " ".join(f"{type(error).__name__}{place}: {error}".split()).rstrip(":")
    except BaseException:
        said = "an exception that can't be told"
    return said.encode("utf-8", "replace")[:300]


if __name__ == "__main__":
    main()
