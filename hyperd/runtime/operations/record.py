"""What stands of a durable operation in its object's status: ``status.operation``, from intent to end.

``{opUid, kind, step, epoch}``, a ``digest`` of what in the spec decides its effects, where that matters, and
``remaining`` with its ``timer`` where there is a deadline. Never a path: what the operation has made is found in
the world, by ``opUid`` or by the object's uid.
"""

from __future__ import annotations

import math
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from hyperd import clock
from hyperd.clock import Timer
from hyperd.resources.schema.kind import AnyObject


@dataclass(frozen=True, slots=True)
class Record:
    """One operation. ``remaining`` are the seconds that were left of its deadline when ``timer`` began.

    ``epoch`` grows each time that it is taken up: by a try anew, after a restart, by another daemon.
    """

    op_uid: str
    kind: str
    step: str
    epoch: int
    remaining: float | None = None
    timer: Timer | None = None
    digest: str = ""

    @classmethod
    def new(cls, kind: str, deadline: float | None, digest: str = "") -> Record:
        """The intent: nothing is done yet."""
        timer = None if deadline is None else clock.timer()
        return cls(uuid.uuid4().hex, kind, "", 1, deadline, timer, digest)

    @classmethod
    def of(cls, obj: AnyObject) -> Record | None:
        """That of an object; None where none stands, or nothing that can be understood."""
        body = (obj.get("status") or {}).get("operation")
        if not isinstance(body, Mapping) or not body.get("opUid") or not body.get("kind"):
            return None
        remaining = body.get("remaining")
        return cls(
            str(body["opUid"]),
            str(body["kind"]),
            str(body.get("step") or ""),
            int(body.get("epoch") or 0),
            None if remaining is None else float(remaining),
            body.get("timer"),
            str(body.get("digest") or ""),
        )

    def left(self) -> float | None:
        """Seconds until the deadline, 0 when it has passed, None without one.

        Time without a daemon counts, except across a boot of the host.
        """
        if self.remaining is None:
            return None
        return max(0.0, self.remaining - clock.passed(self.timer or {}))

    def taken_up(self) -> Record:
        """By who goes on with it now."""
        return replace(self, epoch=self.epoch + 1).noted()

    def noted(self) -> Record:
        """With what is left by now, where that is due to be written: rarely, as each note is a durable write."""
        left = self.left()
        if left is None or not clock.due_to_note(self.timer or {}, self.remaining or 0.0):
            return self
        return replace(self, remaining=left, timer=clock.timer())

    def put(self, obj: AnyObject) -> None:
        """Into the status of ``obj``."""
        body: dict[str, Any] = {"opUid": self.op_uid, "kind": self.kind, "step": self.step, "epoch": self.epoch}
        if self.digest:
            body["digest"] = self.digest
        if self.remaining is not None:
            body |= {"remaining": math.ceil(self.remaining), "timer": self.timer}
        obj["status"]["operation"] = body


def drop(obj: AnyObject) -> None:
    """Nothing is under way on ``obj``."""
    obj["status"].pop("operation", None)
