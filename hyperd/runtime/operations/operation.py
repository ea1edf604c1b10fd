"""What an operation is to who runs it: a kind, its steps, and how it shows in its object's status."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Generic, TypeVar

from hyperd.errors import HyperdError
from hyperd.progress import Progress, Report
from hyperd.resources.schema.kind import V
from hyperd.runtime.controller import Result

C = TypeVar("C")
"""What operations of one kind of object work with."""


class Step(ABC):
    """One step: an effect that the world shows.

    Before it runs, its name stands durably in the record; after a crash ``done`` tells from the world alone what
    came of it. What is only half there is the step's own to recognize, by the operation's ``op_uid`` in its name:
    ``run`` goes on with it or begins anew, as it likes.
    """

    name: ClassVar[str]

    @abstractmethod
    async def done(self) -> bool:
        """Whether its effect, and so that of the steps before it, is in the world."""

    @abstractmethod
    async def run(self, report: Report) -> None:
        """Bring it about; may be repeated after a crash anywhere in it.

        TemporaryError where trying again may help, PermanentError else. What it raises, or is cancelled by, leaves
        nothing but what a later try goes on with, which ``undo`` removes.
        """

    @abstractmethod
    async def undo(self) -> None:
        """Take back what ``run`` did, wholly or in part; nothing to do is fine, and so is a second time."""


class Operation(ABC, Generic[C, V]):
    """One operation on one object. The object's spec is that of now, also where the operation began under another.

    A type is registered in the ``TYPES`` of the room that has its kind of object.
    """

    kind: ClassVar[str]
    """In the record; unique, and for good."""
    deadline_seconds: ClassVar[float | None] = None
    """How long it may take in all, from its intent: with all tries, and all time without a daemon."""

    def __init__(self, context: C, obj: V, op_uid: str) -> None:
        self.context = context
        self.obj = obj
        self.op_uid = op_uid
        self.progress: Progress | None = None
        """The last report that is to be shown."""
        self.latest: Progress | None = None
        """The last report, shown or not."""

    @classmethod
    def wanted(cls, context: C, obj: V) -> bool:
        """Whether the object's state asks for it: then its controller begins it. Others begin it by its name."""
        return False

    @classmethod
    def digest(cls, context: C, obj: V) -> str:
        """Of what in the spec decides what it makes, for the record; empty where nobody will ask."""
        return ""

    @abstractmethod
    def steps(self) -> Sequence[Step]:
        """All of its steps, in order, whatever the spec: one that has nothing to do is done."""

    def first(self) -> str:
        """The step that an operation of this spec begins with: what the intent names, which saves a write."""
        return self.steps()[0].name

    def show(self, obj: V) -> None:
        """Into the status, while it goes on."""
        return

    async def succeeded(self, obj: V) -> Result | None:
        """Into the status, in place, by what is in the world now; returns when to look at the object again.

        What it raises counts as a failure: the status is what it was, and the operation is taken up again.
        """
        return None

    def failed(self, obj: V, err: HyperdError, *, final: bool) -> None:
        """Into the status: why, and whether that is the end."""
        return

    def late(self) -> str:
        """The sentence of one that has missed its deadline."""
        return f"The operation {self.kind} was not done within {self.deadline_seconds:g} seconds, and was undone."
