"""A home as small as can be: one object in one file, and operations whose effects are files beside it.

It lives in a process of its own, which the tests kill at the n-th place where the order of two steps matters.
"""

from __future__ import annotations

import asyncio
import copy
import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import orjson

from hyperd import clock, crashpoints, durable
from hyperd.backoff import backoff
from hyperd.errors import HyperdError, PermanentError, TemporaryError
from hyperd.progress import Progress, Report
from hyperd.resources.schema.kind import AnyObject, Object
from hyperd.runtime.controller import Result
from hyperd.runtime.operations.engine import Operations
from hyperd.runtime.operations.operation import Operation, Step

DEADLINE_SECONDS = 3600.0


class Layer(Step):
    """Writes ``<step>`` by way of ``.<step>.<opUid>``, in two halves, so that a crash leaves one."""

    def __init__(self, name: str, operation: Operation[Path, Object]) -> None:
        self.name = name  # type: ignore[misc]  # one class for all of them
        self._operation = operation
        self._world = operation.context
        self._made = self._world / name
        self._half = self._world / f".{name}.{operation.op_uid}"

    async def done(self) -> bool:
        return self._made.exists()

    async def run(self, report: Report) -> None:
        record = stored(self._world)["status"]["operation"]
        assert record["opUid"] == self._operation.op_uid
        assert record["step"] == self.name, "an effect without its intent"
        with (self._world / "log").open("a") as log:
            log.write(f"{self.name}\n")
        mood = self._operation.obj["spec"].get(self.name)
        self._half.write_text("half")
        report(Progress(0.4, 1, 1, 1))
        crashpoints.reached(crashpoints.CrashPoint.IMPORT_STREAMING)
        if mood == "refuses":
            self._half.unlink()
            raise PermanentError(f"{self.name} is refused.")
        if mood == "fails" and not (self._world / f"failed-{self.name}").exists():
            (self._world / f"failed-{self.name}").touch()
            raise TemporaryError(f"{self.name} failed.")
        if mood == "breaks":
            raise LookupError("nobody thought of that")
        if mood == "hangs":
            await asyncio.Event().wait()
        self._half.write_text(self.name)
        crashpoints.reached(crashpoints.CrashPoint.IMPORT_BEFORE_TAG)
        self._half.rename(self._made)

    async def undo(self) -> None:
        self._half.unlink(missing_ok=True)
        self._made.unlink(missing_ok=True)


class Build(Operation[Path, Object]):
    """Foundation, walls, roof."""

    kind = "Build"
    deadline_seconds: ClassVar = DEADLINE_SECONDS

    def steps(self) -> Sequence[Step]:
        return [Layer(name, self) for name in ("foundation", "walls", "roof")]

    def show(self, obj: Object) -> None:
        obj["status"]["phase"] = "Building"
        if self.progress is not None:
            obj["status"]["progress"] = self.progress.fraction

    async def succeeded(self, obj: Object) -> Result | None:
        obj["status"].clear()
        obj["status"]["phase"] = "Ready"
        if obj["spec"].get("end") == "breaks":
            raise LookupError("nobody thought of that")
        if obj["spec"].get("end") == "fails":
            raise TemporaryError("It is gone again.")
        return None

    def failed(self, obj: Object, err: HyperdError, *, final: bool) -> None:
        obj["status"]["message"] = err.message
        if final:
            obj["status"]["phase"] = "Failed"
            obj["status"].pop("progress", None)


class Paint(Operation[Path, Object]):
    """What a finished house is given that asks for it."""

    kind = "Paint"

    @classmethod
    def wanted(cls, context: Path, obj: Object) -> bool:
        return (
            "paint" in obj["spec"] and obj["status"].get("phase") == "Ready" and not (context / "paint").exists()
        )

    def steps(self) -> Sequence[Step]:
        return [Layer("paint", self)]


class Soon:
    """Tries again at once, and counts in the status."""

    def __init__(self) -> None:
        self.waits = 0.0

    def failed(self, obj: AnyObject, err: HyperdError, /) -> float:
        obj["status"]["failures"] = obj["status"].get("failures", 0) + 1
        return backoff(obj["status"]["failures"], first=0.01, last=0.01)

    def left(self, obj: AnyObject, /) -> float:
        return self.waits

    def look_again(self, left: float, /) -> float:
        return left

    def forget(self, obj: AnyObject, /) -> None:
        obj["status"].pop("failures", None)


def create(world: Path, **spec: str) -> None:
    world.mkdir(exist_ok=True)
    meta = {"namespace": "ns", "name": "house", "uid": "u1", "generation": 1}
    _write(world, {"metadata": meta, "spec": spec, "status": {}})


def delete(world: Path) -> None:
    """Ask for it; a life does it."""
    if (world / "object").exists():
        body = stored(world)
        body["metadata"]["deletionTimestamp"] = "now"
        _write(world, body)


def stored(world: Path) -> Object:
    found: Object = orjson.loads((world / "object").read_bytes())
    return found


def files(world: Path) -> list[str]:
    """All that the operation has made, whole or half."""
    return sorted(path.name for path in world.iterdir() if path.name not in ("object", "log", "failed-walls"))


def log(world: Path) -> list[str]:
    """The steps that ran, in order."""
    return (world / "log").read_text().split() if (world / "log").exists() else []


def _write(world: Path, body: Any) -> None:
    durable.write(world / "object", orjson.dumps(body))


def _remove(world: Path) -> None:
    (world / "object").unlink()


class Home:
    """One life of a daemon."""

    def __init__(self, world: Path) -> None:
        self.world = world
        self._looks: asyncio.Queue[None] = asyncio.Queue()
        self.waits = Soon()
        self.operations: Operations[Path, Object] = Operations(
            world, (Build, Paint), waits=self.waits, notify=lambda _: self._looks.put_nowait(None)
        )

    async def reconcile(self) -> Result | None:
        if not (self.world / "object").exists():
            return None
        before = stored(self.world)
        after = copy.deepcopy(before)
        if "deletionTimestamp" in before["metadata"]:
            await self.operations.undo(after)
            _remove(self.world)
            return None
        if before["status"].get("phase") == "Ready":
            result = await self.operations.look(after)
        else:
            result = await self.operations.advance(after, Build.kind)
        if after != before:
            _write(self.world, after)
        self.operations.written(after)
        return result

    def settled(self) -> bool:
        return not (self.world / "object").exists() or stored(self.world)["status"].get("phase") in (
            "Ready",
            "Failed",
        )

    async def live(self, until: Callable[[Home], bool]) -> None:
        """Look and look again."""
        gone = False
        while not gone:
            result = await self.reconcile()
            gone = until(self)
            if not gone:
                timeout = None if result is None else result.requeue_after
                try:
                    await asyncio.wait_for(self._looks.get(), timeout)
                except TimeoutError:
                    continue
        await self.operations.close()


def live(
    world: Path,
    *,
    crash_at: int = 0,
    later: float = 0.0,
    boot: str = "",
    until: Callable[[Home], bool] = Home.settled,
) -> bool:
    """A life in a process of its own, ``later`` seconds after the last; whether it was killed at a place."""
    pid = os.fork()
    if not pid:
        try:
            asyncio.run(_child(world, crash_at, later, boot, until))
        except BaseException as err:  # noqa: BLE001  nothing of pytest's may run in the child
            os.write(2, repr(err).encode())
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return True
    assert os.WEXITSTATUS(status) == 0, "the life ended by an error"
    return False


async def _child(world: Path, crash_at: int, later: float, boot: str, until: Callable[[Home], bool]) -> None:
    count = 0

    def reached(point: crashpoints.CrashPoint) -> None:
        nonlocal count
        count += 1
        if count == crash_at:
            os.kill(os.getpid(), signal.SIGKILL)

    crashpoints.reached = reached
    elapsed, boot_id = clock.elapsed, clock.boot_id()
    clock.elapsed = lambda: elapsed() + later
    clock.boot_id = lambda: boot or boot_id  # type: ignore[assignment]
    async with asyncio.timeout(30):
        await Home(world).live(until)
