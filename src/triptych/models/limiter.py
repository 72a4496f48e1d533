"""How many requests one endpoint is given at once: as many as it answers well, never more than declared."""

from __future__ import annotations

import asyncio
import time
from collections import deque

START = 64
_MANY = 0.25
_GAIN = 1.05
_SLOWER = 1.5
_FORGET = 1.02  # what was best counts for a little less each time: endpoints change


class Limiter:
    """Adaptive concurrency: doubles while throughput grows, shrinks when refused, steps back when only slower.

    Answers are looked at in windows. As many answers as the limit allows in flight pass first, for they were asked
    for under the limit before; as many again are timed. Refusals (429, 503 or a time-out) shrink the limit by half of
    their share, once there are a quarter as many in a window as the limit allows in flight: a lone one says nothing of
    load. Those that were in flight together shrink it once. A window that is slower than the best one, with no more
    throughput, sends the limit back to the best one's.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.limit = float(min(START, most))
        self.in_flight = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._ramping = True
        self._shrunk_at = 0.0
        self._best: tuple[float, float] | None = None  # mean latency in seconds, limit
        self._start_window()

    async def acquire(self) -> float:
        """Wait for a place; returns the time at which it was given (`time.monotonic`)."""
        if self.in_flight >= int(self.limit) or self._waiting:
            place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(place)
            try:
                await place
            except asyncio.CancelledError:
                if place.done() and not place.cancelled() and place.exception() is None:
                    self._leave()
                raise
        else:
            self.in_flight += 1
        return time.monotonic()

    def answered(self, started: float) -> None:
        """Give the place back after an answer."""
        now = time.monotonic()
        self._answers += 1
        if self._answers > self.limit:
            self._timed += 1
            self._latency_sum += now - started
            if self._timed >= self.limit:
                self._adapt()
        self._leave()

    def refused(self, started: float) -> None:
        """Give the place back after a refusal or a time-out."""
        if started >= self._shrunk_at:
            self._refusals += 1
            if self._refusals >= max(2.0, self.limit * _MANY):
                share = self._refusals / (self._refusals + self._answers)
                self._ramping = False
                self.limit = max(1.0, self.limit * (1 - share / 2))
                self._shrunk_at = time.monotonic()
                self._best = None
                self._start_window()
        self._leave()

    def failed(self) -> None:
        """Give the place back after a failure that says nothing of load."""
        self._leave()

    def release_waiting(self, error: BaseException) -> None:
        """Turn away all that wait for a place."""
        while self._waiting:
            place = self._waiting.popleft()
            if not place.done():
                place.set_exception(error)

    def _leave(self) -> None:
        self.in_flight -= 1
        while self._waiting and self.in_flight < int(self.limit):
            place = self._waiting.popleft()
            if not place.done():
                self.in_flight += 1
                place.set_result(None)

    def _start_window(self) -> None:
        self._answers = 0
        self._refusals = 0
        self._timed = 0
        self._latency_sum = 0.0

    def _adapt(self) -> None:
        if self._waiting:  # otherwise the work, not the endpoint, sets the pace
            self._move(self._latency_sum / self._timed)
        self._start_window()

    def _move(self, latency: float) -> None:
        """Answers per second are the limit over the mean latency (Little's law), while work waits for a place."""
        best = self._best
        if best is None or self.limit / latency > best[1] / best[0] * _GAIN:
            self._best = (latency, self.limit)
        elif self.limit > best[1] and latency > best[0] * _SLOWER:
            self._ramping = False
            self.limit = best[1]
            self._best = (best[0] * _FORGET, best[1])
            return
        step = self.limit if self._ramping else max(1.0, self.limit * 0.05)
        self.limit = min(float(self.most), self.limit + step)
