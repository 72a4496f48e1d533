"""Threads of their own for checks that take long."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import ParamSpec, TypeVar

_Given = ParamSpec("_Given")
_Found = TypeVar("_Found")


@lru_cache
def _threads(process: int, number: int) -> ThreadPoolExecutor:
    """The threads of a process for slow checks. Asyncio's own look up hosts, which must not wait for these."""
    return ThreadPoolExecutor(number, thread_name_prefix=f"checks-{process}")


def slowly(check: Callable[_Given, _Found], *given: _Given.args, **named: _Given.kwargs) -> Awaitable[_Found]:
    """Call a slow check in the thread for these, while the loop goes on."""
    return _called(1, lambda: check(*given, **named))


def beside_others(check: Callable[_Given, _Found], *given: _Given.args, **named: _Given.kwargs) -> Awaitable[_Found]:
    """Call a check that works in a process of its own, as many at a time as there are cores."""
    return _called(os.cpu_count() or 1, lambda: check(*given, **named))


def _called(threads: int, check: Callable[[], _Found]) -> Awaitable[_Found]:
    return asyncio.get_running_loop().run_in_executor(_threads(os.getpid(), threads), check)
