"""Runs durable operations: intent before effect, one step after another, each found again after a crash.

A reconcile asks ``advance``, which puts the record and what is to be shown into the object's status; once that is
written the reconcile says so by ``written``, and only then does the next step run. So nothing is ever done that no
record tells of. After a restart the record is all that is known, and the steps' ``done`` the rest.
"""

from __future__ import annotations

import asyncio
import copy
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final, Generic, Protocol

from hyperd import clock, crashpoints
from hyperd.crashpoints import CrashPoint
from hyperd.errors import HyperdError, InternalError, PermanentError, TemporaryError
from hyperd.progress import Progress
from hyperd.resources.schema.kind import AnyObject, V
from hyperd.resources.values.meta import Key
from hyperd.runtime.controller import Result
from hyperd.runtime.operations.operation import C, Operation
from hyperd.runtime.operations.pacing import Pacing
from hyperd.runtime.operations.record import Record, drop

PROGRESS_SECONDS: Final = 2.0
"""How often progress is written, beside its tenths."""
STOP_SECONDS: Final = 15.0
"""How long an operation that is told to end may take to do so."""
DEADLINE: Final = "DeadlineExceeded"
_LATE_SECONDS: Final = 1.0
"""How soon to look at one whose deadline has passed and that has not ended yet: its end tells of itself."""
_DEFECT: Final = "The work failed by a defect of hyperd, which its log tells of; it is tried again."
_log = logging.getLogger(__name__)


class Waits(Protocol):
    """When what failed is tried again; noted in the object's status."""

    def failed(self, obj: AnyObject, err: HyperdError, /) -> float:
        """Seconds until the next try."""
        ...

    def left(self, obj: AnyObject, /) -> float:
        """Seconds of them that are left, 0 when it is time."""
        ...

    def look_again(self, left: float, /) -> float:
        """When to look at an object that waits."""
        ...

    def forget(self, obj: AnyObject, /) -> None:
        """There is nothing to wait for."""
        ...


class _Running(Generic[C, V]):
    """One operation in this process: intended, then begun, then ended."""

    def __init__(
        self, operation: Operation[C, V], record: Record, key: Key, notify: Callable[[Key], None]
    ) -> None:
        self.operation = operation
        self.record = record
        self.key = key
        self.shown = False
        """Whether its end stands in the status that is about to be written."""
        self.task: asyncio.Task[None] | None = None
        self._notify = notify
        self._pacing = Pacing(PROGRESS_SECONDS)
        self._stands = asyncio.Event()

    @property
    def ended(self) -> bool:
        return self.task is not None and self.task.done()

    def begin(self) -> None:
        """The intent stands in the store."""
        self.task = asyncio.create_task(self._run(), name=f"{self.record.kind} {self.record.op_uid}")
        self.task.add_done_callback(self._on_end)

    def written(self) -> None:
        """The record stands in the store as it is here."""
        self._stands.set()

    def outcome(self) -> None:
        """Raises what it ended by: our own errors, and as InternalError whatever else."""
        assert self.task is not None  # noqa: S101  only asked once it ended
        try:
            self.task.result()
        except HyperdError:
            raise
        except asyncio.CancelledError as err:
            raise InternalError("The work was cancelled.") from err
        except OSError as err:
            raise InternalError(f"The work failed: {err.strerror or err}.") from err
        except Exception as err:
            raise InternalError(_DEFECT) from err

    async def stop(self) -> None:
        """End it and wait until it has cleaned up after itself; TemporaryError where that takes too long."""
        if self.task is None:
            return
        self.task.cancel()
        await asyncio.wait([self.task], timeout=STOP_SECONDS)
        if not self.task.done():
            raise TemporaryError(f"The operation {self.record.kind} of {self.key} is still being ended.")

    async def _run(self) -> None:
        try:
            await self._within_deadline()
        except PermanentError:
            await undo(self.operation, self.record)
            raise
        crashpoints.reached(CrashPoint.DURABLE_BEFORE_END)

    async def _within_deadline(self) -> None:
        try:
            async with asyncio.timeout(self.record.left()) as deadline:
                await self._steps()
        except TimeoutError:
            if not deadline.expired():
                raise
            raise PermanentError(self.operation.late(), key=DEADLINE) from None

    async def _steps(self) -> None:
        steps = self.operation.steps()
        first = len(steps)
        while first and not await steps[first - 1].done():
            first -= 1
        for step in steps[first:]:
            await self._note(step.name)
            crashpoints.reached(CrashPoint.DURABLE_BEFORE_STEP)
            await step.run(self._report)
            crashpoints.reached(CrashPoint.DURABLE_AFTER_STEP)

    async def _note(self, step: str) -> None:
        """Have ``step`` stand in the record."""
        if step == self.record.step:
            return
        self._stands.clear()
        self.record = replace(self.record, step=step)
        self._notify(self.key)
        await self._stands.wait()

    def _report(self, progress: Progress) -> None:
        self.operation.latest = progress
        if self._pacing.due(progress):
            self.operation.progress = progress
            self._notify(self.key)

    def _on_end(self, task: asyncio.Task[None]) -> None:
        # Asked here, once: it may be forgotten unasked, and its outcome looked at again after a lost race.
        error = None if task.cancelled() else task.exception()
        if isinstance(error, Exception) and not isinstance(error, HyperdError | OSError):
            _log.error("The operation %s of %s failed by a defect", self.record.kind, self.key, exc_info=error)
        self._notify(self.key)


class Operations(Generic[C, V]):
    """The operations of one controller's objects, by the object's uid. One at a time on each."""

    def __init__(
        self,
        context: C,
        types: Sequence[type[Operation[C, V]]],
        *,
        waits: Waits,
        notify: Callable[[Key], None],
    ) -> None:
        """``notify`` has the object looked at again: its operation moved or ended."""
        self._context = context
        self._types = {type_.kind: type_ for type_ in types}
        self._waits = waits
        self._notify = notify
        self._running: dict[str, _Running[C, V]] = {}

    def running(self, obj: V) -> bool:
        """Whether one is under way here, or ended and its end is not written yet."""
        return obj["metadata"]["uid"] in self._running

    async def look(self, obj: V) -> Result | None:
        """Go on with what the record names, else with what the object's state asks for, if anything."""
        record = Record.of(obj)
        if record is not None and record.kind in self._types:
            return await self.advance(obj, record.kind)
        for type_ in self._types.values():
            if type_.wanted(self._context, obj):
                return await self.advance(obj, type_.kind)
        return None

    async def advance(self, obj: V, kind: str) -> Result | None:
        """Bring the operation ``kind`` on ``obj`` into its status: begun, under way, to be tried again, or ended.

        Say ``written`` once the status is. The object must not have another operation in its record: ``undo`` it.
        """
        running, record = self._running.get(obj["metadata"]["uid"]), Record.of(obj)
        if running is not None and record is not None and _overtaken(running.record, record):
            await self._stop(obj)
            running = None
        if running is None or running.task is None:
            left = self._left(obj, record)
            if left:
                # One that was intended by a status that nobody wrote is intended anew when it is time.
                self._running.pop(obj["metadata"]["uid"], None)
                return Result(self._waits.look_again(left))
            running = self._intend(obj, kind, record)
        if running.ended:
            return await self._ended(obj, running)
        running.operation.show(obj)
        running.record = running.record.noted()
        running.record.put(obj)
        left_ = running.record.left()
        if left_ is None:
            return None
        return Result(max(_LATE_SECONDS, clock.next_look(left_, running.record.remaining or 0.0)))

    def written(self, obj: V) -> None:
        """The status of ``obj`` is in the store: what waits for that goes on, what is told is forgotten."""
        uid = obj["metadata"]["uid"]
        running, record = self._running.get(uid), Record.of(obj)
        if running is None:
            return
        if running.shown or record is None or record.op_uid != running.record.op_uid:
            if running.shown or running.task is None:
                del self._running[uid]
        elif (record.epoch, record.step) != (running.record.epoch, running.record.step):
            return  # another status than the one with this intent: it is still to be written
        elif running.task is None:
            running.begin()
        else:
            running.written()

    async def undo(self, obj: V) -> bool:
        """The object goes, or what is wanted of it is another: end its operation, and take back what that did.

        False where there was none. TemporaryError, or what a step raises, where that has to be said again. To be
        written as ever; after a crash before that it is said again.
        """
        record = Record.of(obj)
        found = await self._stop(obj) or record is not None
        if record is not None:
            type_ = self._types.get(record.kind)
            if type_ is None:
                _log.warning("An operation %r that this version does not know is given up.", record.kind)
            else:
                await undo(type_(self._context, obj, record.op_uid), record)
            drop(obj)
        return found

    async def keep_only(self, key: Key, uid: str = "") -> None:
        """The object of that name is the one of ``uid``, or gone: end what is under way on an earlier one."""
        for other in [other for other, each in self._running.items() if each.key == key and other != uid]:
            await self._running[other].stop()
            self._running.pop(other, None)

    async def close(self) -> None:
        """End all; they are taken up again from their records. In ``STOP_SECONDS``, whatever they do."""
        running, self._running = list(self._running.values()), {}
        ends = await asyncio.gather(*(each.stop() for each in running), return_exceptions=True)
        for error in ends:
            if isinstance(error, HyperdError):
                _log.warning("%s", error.message)

    def _left(self, obj: V, record: Record | None) -> float:
        """Seconds until it is to be tried again: not beyond its deadline."""
        left = self._waits.left(obj)
        until = None if record is None else record.left()
        return left if until is None else min(left, until)

    def _intend(self, obj: V, kind: str, record: Record | None) -> _Running[C, V]:
        type_, meta = self._types[kind], obj["metadata"]
        if record is None or record.kind != kind:
            record = Record.new(kind, type_.deadline_seconds, type_.digest(self._context, obj))
        else:
            record = record.taken_up()
        operation = type_(self._context, obj, record.op_uid)
        record = replace(record, step=record.step or operation.first())
        key = Key(meta.get("namespace", ""), meta["name"])
        running = self._running[meta["uid"]] = _Running(operation, record, key, self._notify)
        return running

    async def _ended(self, obj: V, running: _Running[C, V]) -> Result | None:
        running.shown = True
        try:
            running.outcome()
        except PermanentError as err:
            self._forget(obj)
            running.operation.failed(obj, err, final=True)
            return None
        except HyperdError as err:
            return self._later(obj, running, err)
        before = copy.deepcopy(obj["status"])
        try:
            again = await running.operation.succeeded(obj)
        except Exception as err:  # noqa: BLE001  border: a defect is tried again as a failure is, ever later
            obj["status"].clear()
            obj["status"].update(before)
            if not isinstance(err, HyperdError):
                _log.exception("The end of operation %s of %s failed", running.record.kind, running.key)
                err = InternalError(_DEFECT)
            return self._later(obj, running, err)  # the world is another by now: taken up again
        self._forget(obj)
        return again

    def _later(self, obj: V, running: _Running[C, V], err: HyperdError) -> Result:
        """Have it taken up again, after a wait that grows with each failure."""
        running.record.noted().put(obj)
        running.operation.failed(obj, err, final=False)
        return Result(self._waits.look_again(self._waits.failed(obj, err)))

    def _forget(self, obj: V) -> None:
        self._waits.forget(obj)
        drop(obj)

    async def _stop(self, obj: V) -> bool:
        """Whether there was one."""
        uid = obj["metadata"]["uid"]
        running = self._running.get(uid)
        if running is None:
            return False
        await running.stop()
        self._running.pop(uid, None)
        return True


async def undo(operation: Operation[C, V], record: Record) -> None:
    """Take back the steps up to the one in the record, the last first."""
    steps = operation.steps()
    names = [step.name for step in steps]
    begun = names.index(record.step) + 1 if record.step in names else len(steps)
    for step in reversed(steps[:begun]):
        crashpoints.reached(CrashPoint.DURABLE_BEFORE_UNDO)
        await step.undo()
    crashpoints.reached(CrashPoint.DURABLE_AFTER_UNDO)


def _overtaken(ours: Record, stored: Record) -> bool:
    """Whether somebody else has taken up the same operation after us."""
    return stored.op_uid == ours.op_uid and stored.epoch > ours.epoch
