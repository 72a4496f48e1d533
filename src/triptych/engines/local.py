"""This machine as the engine: asyncio, a bounded window of prompts, rows written in prompt order."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext, suppress
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TypeVar

import msgspec

import triptych
from triptych.engines.checks import evolved, judged, responded
from triptych.engines.reader import NOT_YET, Aside, NotYet, PromptReader
from triptych.engines.tables import example_makers
from triptych.errors import Interrupted, OperatorFailed, PromptError, RunFolderError, TriptychError
from triptych.models.budget import Ledger
from triptych.models.calls import Calls, Counts
from triptych.operators import BadRow, Case, GivenResponse, PromptRow, Unmade
from triptych.recipes.recipe import Recipe
from triptych.recipes.write import recipe_file
from triptych.records import Judgement, Prompt, Response
from triptych.store.call_log import CallLog
from triptych.store.run import (
    RECIPE,
    SET_ASIDE,
    UNMADE,
    Manifest,
    Run,
    claim,
    has_tables,
    write_manifest,
    write_whole,
)
from triptych.store.writer import TableWriter

_In = TypeVar("_In")
_Out = TypeVar("_Out")
_LONGEST_QUEUE = 4096
_LONGEST_CONTENT = 2000
_STAGES = ("evolution", "synthesis", "evaluation")
_TICK_S = 0.2


class Progress(msgspec.Struct):
    """Where a run stands; one value, brought up to date as the run goes on."""

    total: int | None
    """Prompts of the source in all, where it can tell."""
    started: float
    """`time.monotonic()` at the start."""
    done: int = 0
    """Prompts of the source of which all rows are written."""
    evolved: int = 0
    synthesised: int = 0
    evaluated: int = 0
    evolution: Counts | None = None
    """None where the recipe makes no prompts of prompts."""
    synthesis: Counts = msgspec.field(default_factory=Counts)
    evaluation: Counts = msgspec.field(default_factory=Counts)
    spent_usd: float = 0.0
    """Over all sittings of this run."""
    in_flight: int = 0
    stopping: str | None = None
    """Why the run is coming to an end early."""


class _Finished(msgspec.Struct, frozen=True):
    row: int
    prompts: list[tuple[Prompt, tuple[Response, ...], tuple[Judgement, ...]]]
    """Those that came of the row, each with its own rows."""
    unmade: list[Unmade]


def run_once(
    recipe: Recipe,
    out: Path,
    *,
    limit: int | None,
    calls: str | Path | None,
    folder: Path,
    progress: Callable[[Progress], None] | None,
    skip: int = 0,
) -> Run:
    """Run a recipe into the folder `out`, all prompts or `limit` of them after the first `skip`."""
    manifest, lock = claim(out, recipe=recipe.name, recipe_id=recipe.id)
    try:
        manifest.calls = _call_log(out, manifest, calls)
        log = CallLog(out / manifest.calls)
        try:
            sitting = _Sitting(recipe, out, manifest, log, folder, (skip, limit), progress)
            try:
                with _seldom_collecting():
                    _to_its_end(sitting)
            except BaseException as error:
                if not manifest.status.startswith("stopped"):
                    manifest.status = f"stopped: {_stopping(error, 'the run')}"
                with suppress(RunFolderError):  # on a full disk the first error is the one to tell
                    write_manifest(out, manifest)
                raise
        finally:
            log.close()
    finally:
        lock.release()
    return Run(out, manifest)


def _call_log(out: Path, manifest: Manifest, calls: str | Path | None) -> str:
    """Where the run's calls are. A run keeps to its log: in another one its spending would start anew."""
    own = (out / manifest.calls).resolve()
    given = own if calls is None else Path(calls).resolve()
    if manifest.spent.get("calls") and not own.exists() and not given.exists():
        raise RunFolderError(
            f"the calls of the run in {out} were in {own}, which is not there, so all would be paid for again; "
            "name its new place with --calls, or choose another --out"
        )
    if own != given and own.exists():
        raise RunFolderError(
            f"the calls of the run in {out} are in {own}, not in {given}; leave --calls out, or choose another --out"
        )
    return manifest.calls if own == given else str(given)


def _to_its_end(sitting: _Sitting) -> None:
    """Run the sitting; where an event loop is running already, as in a notebook, in a thread with its own."""
    with _signals_to(sitting.interrupt):
        if asyncio._get_running_loop() is None:
            asyncio.run(sitting.run())
        else:
            with ThreadPoolExecutor(1, thread_name_prefix="run") as thread:
                thread.submit(asyncio.run, sitting.run()).result()


@contextmanager
def _signals_to(interrupt: Callable[[str], None]) -> Iterator[None]:
    """First Ctrl-C (or SIGTERM): end in order. The second one ends at once; the call log stays sound."""
    pressed = 0

    def handle(number: int, frame: object) -> None:
        nonlocal pressed
        pressed += 1
        if pressed > 1:
            os._exit(Interrupted.exit_code)
        interrupt("Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)


class _Sitting:
    """One go at a run, from the first prompt to the tables."""

    def __init__(
        self,
        recipe: Recipe,
        out: Path,
        manifest: Manifest,
        log: CallLog,
        folder: Path,
        window: tuple[int, int | None],
        report: Callable[[Progress], None] | None,
    ) -> None:
        self.recipe = recipe
        self.out = out
        self.manifest = manifest
        self.folder = folder
        self.report = report
        recipe.prepare(folder)
        spent = log.spent(manifest.run)
        self.ledger = Ledger(recipe.budget, calls=spent.calls, tokens=spent.tokens, usd=spent.usd)
        self.calls = Calls(recipe.models, log, self.ledger, manifest.run)
        self.writer = TableWriter(out, *example_makers(recipe))
        self.at_once = [judge for judge in recipe.evaluation if not getattr(judge, "reads_judgements", False)]
        self.afterwards = [judge for judge in recipe.evaluation if getattr(judge, "reads_judgements", False)]
        self.progress = Progress(total=_total(recipe, folder, *window), started=time.monotonic())
        if recipe.evolution:
            self.progress.evolution = Counts()
        self.aside, self.unmade = Aside(out / SET_ASIDE), Aside(out / UNMADE)
        self.rows = PromptReader(recipe.prompts.rows(folder), self.aside, *window)
        self.asks = tuple(self.calls.ask(getattr(self.progress, stage) or Counts()) for stage in _STAGES)
        self.written: set[int] = set()
        """First 64 bits of the ids of the prompts written, where prompts are made of prompts and may come out alike."""
        self.news = asyncio.Event()
        self.loop: asyncio.AbstractEventLoop | None = None
        self.window = max(8, sum(spec.concurrency for spec in recipe.models.values()) * 3 // 2)

    async def run(self) -> None:
        """Go through all prompts, or to where the run has to stop."""
        self.loop = asyncio.get_running_loop()
        self._begin()
        async with self.calls:
            ticker = asyncio.create_task(self._tick())
            with self.unmade if self.recipe.evolution else nullcontext():
                await self._all_prompts()
            ticker.cancel()
        try:
            self._end()
        finally:
            if self.calls.stopped is not None:
                raise self.calls.stopped

    def interrupt(self, by: str) -> None:
        """End in order, as after Ctrl-C; may be called from another thread, or in the middle of anything."""
        if self.loop is None:
            self._stop(_interrupted(by))
        else:
            with suppress(RuntimeError):  # the loop is closed: the run is at its end
                self.loop.call_soon_threadsafe(self._stop, _interrupted(by))

    def _stop(self, reason: TriptychError) -> None:
        self.calls.stop(reason)
        self.news.set()

    def _begin(self) -> None:
        self.manifest.status = "running"
        write_manifest(self.out, self.manifest)  # first: by it the folder is known, should we be killed
        if not has_tables(self.out):
            self._sign()

    def _sign(self) -> None:
        """Say which recipe makes the tables. Those of an earlier sitting keep theirs until there are new ones."""
        manifest, recipe = self.manifest, self.recipe
        manifest.recipe_id, manifest.version = recipe.id, triptych.__version__
        manifest.addresses = {name: spec.address for name, spec in recipe.models.items()}
        write_whole(self.out / RECIPE, recipe_file(recipe, self.folder))
        write_manifest(self.out, manifest)

    def _end(self) -> None:
        """Write the tables. Where no prompt was completed, those of an earlier sitting are kept."""
        self._say()  # before the status is: it may fail
        manifest, ledger, stopped = self.manifest, self.ledger, self.calls.stopped
        manifest.spent = {"calls": ledger.calls, "tokens": ledger.tokens, "usd": ledger.usd}
        manifest.status = "finished" if stopped is None else f"stopped: {stopped}"
        if stopped is not None and self.writer.prompts == 0 and has_tables(self.out):
            self.writer.give_up()
            manifest.status += " (before any prompt was complete; the tables are of the sitting before)"
            write_manifest(self.out, manifest)
        else:
            self._finish_tables()
            self.aside.keep()
            (self.out / UNMADE).unlink(missing_ok=True)  # of a sitting that made prompts of prompts
            self.unmade.keep()
            self._sum_up()
            self._sign()

    def _finish_tables(self) -> None:
        try:
            failed = self.writer.finish()
        except TriptychError:
            self.writer.give_up()
            raise
        except BaseException as error:  # a panic of Polars is no Exception
            self.writer.give_up()
            raise _stopping(error, "writing the tables") from error
        if failed is not None:
            self.calls.stop(failed)
            self.manifest.status = f"stopped: {failed}"

    def _sum_up(self) -> None:
        manifest, progress = self.manifest, self.progress
        manifest.prompts, manifest.set_aside, manifest.unmade = self.writer.prompts, self.aside.rows, self.unmade.rows
        counted = {stage: getattr(progress, stage) for stage in _STAGES}
        manifest.counts = {stage: msgspec.structs.asdict(counts) for stage, counts in counted.items() if counts}
        manifest.seconds = round(time.monotonic() - progress.started, 3)

    async def _all_prompts(self) -> None:
        """Keep a window of prompts open; write the finished ones in the order in which they came."""
        queue: deque[asyncio.Task[_Finished]] = deque()
        news = self.news
        if self.progress.total is None:
            self.rows.read_ahead(news)
        open_prompts = 0

        def closed(task: asyncio.Task[_Finished]) -> None:
            nonlocal open_prompts
            open_prompts -= 1
            news.set()  # first of all: whatever else fails here, nobody may wait for ever
            self._note_failure(task)

        more = True
        while more or queue:
            news.clear()
            waiting = False
            while more and open_prompts < self.window and len(queue) < _LONGEST_QUEUE:
                row = self._next_row()
                more, waiting = row is not None, row is NOT_YET
                if row is None or row is NOT_YET:
                    break
                task = asyncio.create_task(self._one_row(row))
                task.add_done_callback(closed)
                queue.append(task)
                open_prompts += 1
            while queue and queue[0].done():
                self._write(queue.popleft())
            if waiting or (queue and not queue[0].done()):
                await news.wait()
        if self.calls.stopped is None and self.writer.prompts == 0 and self.aside.rows:
            self.calls.stop(
                PromptError(f"none of the {self.aside.rows:,} rows is a prompt; they are set aside with the reasons")
            )
        await self.calls.drain()

    def _next_row(self) -> PromptRow | NotYet | None:
        """The next prompt, if there is one and the run goes on."""
        if self.calls.stopped is not None:
            return None
        try:
            row = self.rows.take()
            fixed = not self.recipe.evolution  # otherwise the prompt may not even stay
            if fixed and isinstance(row, PromptRow) and (said := self.recipe.lacking(row.prompt)) is not None:
                raise PromptError(f"row {row.row} can't be worked on: {said}")
            return row
        except TriptychError as error:
            self.calls.stop(error)  # what is in flight is paid for, and comes in first
            return None
        except BaseException as error:  # a panic of Polars is no Exception
            self.calls.stop(_stopping(error, "reading the prompts"))
            return None

    async def _one_row(self, row: PromptRow) -> _Finished:
        """All that comes of one row: of its prompt, or of those that are made of it."""
        prompts, unmade = await self._evolved(row)
        self.progress.evolved += 1
        cases = [self._case(prompt, row.given if prompt.id == row.prompt.id else ()) for prompt in prompts]
        cases = await _of_each(self._answered, cases)
        self.progress.synthesised += 1
        cases = await _of_each(self._judged, cases)
        self.progress.evaluated += 1
        return _Finished(row.row, [(case.prompt, case.responses, case.judgements) for case in cases], unmade)

    async def _evolved(self, row: PromptRow) -> tuple[list[Prompt], list[Unmade]]:
        """The prompts that come of a row's one, and what did not come about."""
        prompts, unmade = [row.prompt], list[Unmade]()
        for turn, evolver in enumerate(self.recipe.evolution):
            cases = [self._case(prompt, turn=turn) for prompt in prompts]
            made = await _of_each(partial(evolved, evolver, ask=self.asks[0]), cases)
            prompts = list(_told_apart(evolver.kind, chain.from_iterable(made), unmade))
        if self.recipe.evolution:
            prompts = list(self._workable(prompts, unmade))
        return prompts, unmade

    def _workable(self, prompts: list[Prompt], unmade: list[Unmade]) -> Iterator[Prompt]:
        """The prompts that no operator lacks anything of; the others are noted as unmade."""
        for prompt in prompts:
            if (said := self.recipe.lacking(prompt)) is None:
                yield prompt
            else:
                unmade.append(Unmade(said, prompt.text))

    def _case(self, prompt: Prompt, given: tuple[GivenResponse, ...] = (), turn: int = 0) -> Case:
        return Case(
            prompt=prompt,
            given=given,
            objective=self.recipe.objective,
            folder=self.folder,
            seed=self.recipe.seed,
            turn=turn,
        )

    async def _answered(self, case: Case) -> Case:
        """The case with the responses that all generators make."""
        for generator in self.recipe.synthesis:
            made = await responded(generator, case, self.asks[1])
            case = msgspec.structs.replace(case, responses=(*case.responses, *made))
        return case

    async def _judged(self, case: Case) -> Case:
        """The case with what all evaluators say of its responses."""
        ask = self.asks[2]
        if len(self.at_once) == 1:
            verdicts = [await judged(self.at_once[0], case, ask)]
        else:
            verdicts = await asyncio.gather(*(judged(judge, case, ask) for judge in self.at_once))
        case = msgspec.structs.replace(case, judgements=tuple(one for some in verdicts for one in some))
        for judge in self.afterwards:
            case = msgspec.structs.replace(case, judgements=(*case.judgements, *await judged(judge, case, ask)))
        return case

    def _note_failure(self, task: asyncio.Task[_Finished]) -> None:
        if task.cancelled():
            return
        if (error := task.exception()) is not None:
            self.calls.stop(_stopping(error))

    def _write(self, task: asyncio.Task[_Finished]) -> None:
        if task.exception() is not None:  # stopped half-way: what it paid for is in the log
            return
        finished = task.result()
        try:
            for prompt, responses, judgements in finished.prompts:
                if self._is_new(prompt):
                    self.writer.add(prompt, responses, judgements)
                else:
                    finished.unmade.append(Unmade("repeats a prompt of an earlier row", prompt.text))
            for one in finished.unmade:
                self.unmade.write(BadRow(finished.row, one.reason, one.content[:_LONGEST_CONTENT]))
        except BaseException as error:  # what is in flight is paid for, and comes in first
            self.calls.stop(_stopping(error, "writing the tables"))
        self.progress.done += 1

    def _is_new(self, prompt: Prompt) -> bool:
        """Whether no earlier row has come to the same prompt; sources see to that themselves where none are made."""
        if not self.recipe.evolution:
            return True
        before = len(self.written)
        self.written.add(int(prompt.id[2:18], 16))
        return len(self.written) > before

    async def _tick(self) -> None:
        while True:
            self._say()
            await asyncio.sleep(_TICK_S)

    def _say(self) -> None:
        if self.report is None:
            return
        self.progress.spent_usd = self.ledger.usd
        self.progress.in_flight = self.calls.in_flight
        self.progress.stopping = str(self.calls.stopped) if self.calls.stopped else None
        try:
            self.report(self.progress)
        except BaseException as error:  # what is in flight is paid for, and comes in first
            self.report = None
            self._stop(_stopping(error, "telling the progress"))


def _told_apart(kind: str, made: Iterable[Prompt | Unmade], unmade: list[Unmade]) -> Iterator[Prompt]:
    """The prompts that an operator made of those of a row, each once; what it did not make, or made again, is noted."""
    seen = set()
    for one in made:
        if isinstance(one, Unmade):
            unmade.append(one)
        elif one.id in seen or one.id == one.parent_id:
            unmade.append(Unmade(f"{kind}: repeats another prompt of its row", one.text))
        else:
            seen.add(one.id)
            yield one


async def _of_each(work: Callable[[_In], Awaitable[_Out]], things: Sequence[_In]) -> list[_Out]:
    """What comes of each of some things, all worked on at once; a single one, the usual case, without a task of its own."""
    return [await work(things[0])] if len(things) == 1 else await asyncio.gather(*map(work, things))


def _total(recipe: Recipe, folder: Path, skip: int, limit: int | None) -> int | None:
    """How many prompts there are, where the source can tell without being used up."""
    total: int | None = recipe.prompts.count(folder)
    total = total if total is None else max(total - skip, 0)
    return total if total is None or limit is None else min(total, limit)


@contextmanager
def _seldom_collecting() -> Iterator[None]:
    """Let the garbage collector rest for longer: records hold no cycles, and looking for some costs a tenth of a run."""
    before = gc.get_threshold()
    gc.set_threshold(100_000, 20, 20)
    try:
        yield
    finally:
        gc.set_threshold(*before)


def _stopping(error: BaseException, what: str = "an operator of the recipe") -> TriptychError:
    """What to end a run with: the error, or a word about one that nobody foresaw."""
    if isinstance(error, TriptychError):
        return error
    stop = OperatorFailed(f"{what} failed with {type(error).__name__}: {error}")
    stop.__cause__ = error
    return stop


def _interrupted(by: str) -> Interrupted:
    return Interrupted(f"stopped by {by}; what was paid for is kept, run the same command again to go on")
