"""A thread of its own for checks that take long."""

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
def _thread(process: int) -> ThreadPoolExecutor:
    """The thread of a process for slow checks. Asyncio's own threads look up hosts, which must not wait for these."""
    return ThreadPoolExecutor(1, thread_name_prefix=f"checks-{process}")


def slowly(check: Callable[_Given, _Found], *given: _Given.args, **named: _Given.kwargs) -> Awaitable[_Found]:
    """Call a slow check in the thread for these, while the loop goes on."""
    return asyncio.get_running_loop().run_in_executor(_thread(os.getpid()), lambda: check(*given, **named))
