"""What happens to an object between the client and the commit, in the order of a kube-apiserver.

Decode, prune, default, metadata, schema, cross-field rules, admission. The rule it keeps: nothing reaches the
file that did not pass all of it, and what a client may not set (uid, times, generation, status) it cannot set.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Literal

import orjson

from hyperd.errors import Cause, Conflict, Forbidden
from hyperd.resources.schema.kind import Kind, Object
from hyperd.resources.schema.structural import invalid
from hyperd.store.grammar.beside import Beside
from hyperd.store.grammar.preparing import differs_outside
from hyperd.store.interface import AdmissionRequest, Admit, Reader, Write

NAME_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
_RANDOM_LENGTH = 5
_PREFIX_LENGTH = 63 - _RANDOM_LENGTH


class Pipeline:
    """Prepares objects for the ledger; ``admit`` is asked for at each write, so it may be set late."""

    def __init__(self, reader: Reader, admit: Callable[[], Admit | None], beside: Beside) -> None:
        self._reader = reader
        self._admit = admit
        self._beside = beside
        self.decode = beside.decode

    async def create(
        self, kind: Kind, new: Object, write: Write, *, applied: bool = False, large: bool = False
    ) -> Object:
        """Make the decoded ``new``, which has its name, ready to be stored for the first time.

        ``applied`` says that it has its managedFields already, ``large`` that it is not for the event loop.
        """
        new = await self._beside.created(large, kind, new, write, applied=applied)
        return await self._admitted("CREATE", kind, new, None, write)

    async def update(
        self,
        kind: Kind,
        new: Object,
        old: Object,
        write: Write,
        *,
        applied: bool = False,
        large: bool = False,
        through: str = "",
    ) -> Object:
        """Make the decoded ``new`` ready to replace ``old``; status stays what it is.

        ``applied`` says that it has its managedFields already, ``large`` that both are not for the event loop;
        ``through`` is the subresource that it was written to.
        """
        new, differs = await self._beside.updated(large, kind, new, old, write, applied=applied)
        new = await self._admitted("UPDATE", kind, new, old, write, through)
        if not kind.core and (differs or differs_outside(new, old, "metadata", "status")):
            new["metadata"]["generation"] = old["metadata"].get("generation", 0) + 1
        return new

    async def update_status(
        self, kind: Kind, new: Object, old: Object, write: Write, *, applied: bool = False, large: bool = False
    ) -> Object:
        """``old`` with the status of the decoded ``new``. Admission has no say in status.

        ``applied`` and ``large`` are as for ``update``.
        """
        return await self._beside.status_updated(large, kind, new, old, write, applied=applied)

    async def delete(self, kind: Kind, old: Object, write: Write) -> None:
        """Ask admission whether ``old`` may be deleted."""
        await self._ask("DELETE", kind, None, old, write)

    async def _admitted(
        self,
        operation: Literal["CREATE", "UPDATE"],
        kind: Kind,
        new: Object,
        old: Object | None,
        write: Write,
        through: str = "",
    ) -> Object:
        """``new`` after admission, which may rely on what schema and rules promise. Raises Invalid, Forbidden."""
        new, causes = await self._ask(operation, kind, new, old, write, through)
        if causes:
            raise invalid(kind, new["metadata"]["name"], causes)
        return new

    async def _ask(
        self,
        operation: Literal["CREATE", "UPDATE", "DELETE"],
        kind: Kind,
        new: Object | None,
        old: Object | None,
        write: Write,
        through: str = "",
    ) -> tuple[Object, list[Cause]]:
        subject: Object = new if new is not None else old  # type: ignore[assignment]  # one of them is there
        admit = self._admit()
        if admit is None:
            return subject, []
        meta = subject["metadata"]
        response = await admit(
            AdmissionRequest(
                operation,
                kind,
                meta.get("namespace", ""),
                meta["name"],
                new,
                # A rule must not be able to change what is stored.
                old if old is None else orjson.loads(orjson.dumps(old)),
                write.user,
                self._reader,
                subresource=through,
                dry_run=write.dry_run,
            )
        )
        for warning in response.warnings:
            write.warn(warning)
        if response.forbidden:
            raise Forbidden(response.forbidden, kind=kind.plural, group=kind.group, name=meta["name"])
        if response.causes and operation == "DELETE":
            raise invalid(kind, meta["name"], response.causes)
        return (response.object if response.object is not None else subject), response.causes


def random_name(prefix: str) -> str:
    """A name made from ``generateName``."""
    suffix = "".join(secrets.choice(NAME_ALPHABET) for _ in range(_RANDOM_LENGTH))
    return prefix[:_PREFIX_LENGTH] + suffix


def precondition_failed(kind: Kind, name: str, text: str) -> Conflict:
    """A 409, worded as a kube-apiserver does."""
    return Conflict(
        f'Operation cannot be fulfilled on {kind.qualified_resource} "{name}": {text}',
        kind=kind.plural,
        group=kind.group,
        name=name,
    )
