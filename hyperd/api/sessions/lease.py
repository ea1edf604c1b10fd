"""Who holds a session, told to everybody: a Lease beside the VM, renewed while the session lives.

The lease informs (``?probe=true``, ``kubectl get leases``) and lets another daemon of a cluster take over; that
two sessions of one daemon exclude each other does not hang on it. So a session goes on when it cannot be written.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import secrets
from collections.abc import Awaitable, Coroutine
from dataclasses import dataclass, field
from enum import StrEnum

from hyperd import clock
from hyperd.errors import AlreadyExists, Conflict, HyperdError, NotFound
from hyperd.resources.core.kinds import LEASE
from hyperd.resources.schema.kind import AnyObject, Object
from hyperd.resources.values.meta import now_micro, parse_time
from hyperd.store.interface import Preconditions, Store

log = logging.getLogger(__name__)

DURATION_SECONDS = 30
RENEW_SECONDS = 10.0
_CLIENT = "virtualization.deckhouse.io/session-client"
_SESSION = "virtualization.deckhouse.io/session-id"
_MAX_NAME = 253
_MAX_CLIENT = 128
_ATTEMPTS = 3
_seen = clock.Seen()
"""How long leases have stood as they do."""


class SessionKind(StrEnum):
    """What is held: the subresource's name."""

    CONSOLE = "console"
    VNC = "vnc"


@dataclass(frozen=True)
class Holder:
    """Who has a session, since when (RFC 3339), and with which program.

    ``nonce`` is what the client calls its session by, to come back to it after its connection broke.
    """

    user: str
    client: str
    since: str
    nonce: str = ""


def client_name(user_agent: str) -> str:
    """A user agent fit for an annotation: printable, at most 128 characters."""
    return "".join(c for c in user_agent if c.isprintable())[:_MAX_CLIENT]


def lease_name(kind: SessionKind, vm: AnyObject) -> str:
    """``d8v-vm-console-NAME-UID``, its end replaced by a hash where that is too long for a name."""
    name = f"d8v-vm-{kind}-{vm['metadata']['name']}-{vm['metadata']['uid']}"
    if len(name) <= _MAX_NAME:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:16]
    return f"{name[: _MAX_NAME - len(digest) - 1].rstrip('-.')}-{digest}"


async def current_holder(store: Store, kind: SessionKind, vm: AnyObject) -> Holder | None:
    """Who holds the session by its lease; None when there is none, or it expired."""
    try:
        item = await store.get(LEASE, vm["metadata"]["namespace"], lease_name(kind, vm))
    except NotFound:
        return None
    lease = item.object()
    spec = lease.get("spec", {})
    if not spec.get("holderIdentity") or _expired(item.uid, spec):
        return None
    client = lease["metadata"].get("annotations", {}).get(_CLIENT, "")
    return Holder(spec["holderIdentity"], client, spec.get("acquireTime", ""))


def _expired(uid: str, spec: Object) -> bool:
    """Whether it was not renewed for its duration.

    That is seen from its record, which then does not change here. Only of a lease that is seen for the first time
    its own stamp is believed.
    """
    seconds = float(spec.get("leaseDurationSeconds", DURATION_SECONDS))
    try:
        stamped = (clock.now() - parse_time(spec["renewTime"])).total_seconds()
    except (KeyError, TypeError, ValueError):
        return True
    return _seen.age(uid, spec["renewTime"], hint=stamped, within=seconds) > seconds


@dataclass
class SessionLease:
    """The lease of one session."""

    store: Store
    kind: SessionKind
    vm: AnyObject
    holder: Holder
    renew_seconds: float = RENEW_SECONDS
    _id: str = field(default_factory=lambda: secrets.token_hex(8))
    _writing: asyncio.Task[bool | None] | None = None

    async def keep(self) -> None:
        """Take the lease and renew it; returns when somebody else took it."""
        await self._whole(self._quietly("taken", self._take()))
        while True:
            await asyncio.sleep(self.renew_seconds)
            if await self._whole(self._quietly("renewed", self._renew())) is False:
                return

    async def release(self) -> None:
        """Remove the lease if it is still this session's."""
        if self._writing is not None:
            await self._writing
        await self._quietly("removed", self._remove())

    async def _whole(self, step: Coroutine[None, None, bool | None]) -> bool | None:
        """A write goes to its end also when the session ends meanwhile, or it would land after the removal."""
        self._writing = asyncio.create_task(step)
        return await asyncio.shield(self._writing)

    async def _quietly(self, done: str, step: Awaitable[bool]) -> bool | None:
        try:
            return await step
        except HyperdError as error:
            log.warning("The lease of a %s session could not be %s: %s", self.kind, done, error)
            return None

    @property
    def _namespace(self) -> str:
        return str(self.vm["metadata"]["namespace"])

    @property
    def _name(self) -> str:
        return lease_name(self.kind, self.vm)

    async def _take(self) -> bool:
        for _ in range(_ATTEMPTS):
            try:
                found = (await self.store.get(LEASE, self._namespace, self._name)).object()
                wanted = self._object()
                wanted["metadata"]["resourceVersion"] = found["metadata"]["resourceVersion"]
                await self.store.update(LEASE, self._namespace, self._name, wanted)
            except NotFound:
                try:
                    await self.store.create(LEASE, self._namespace, self._object())
                except AlreadyExists:
                    continue
            except Conflict:
                continue
            return True
        return False

    async def _renew(self) -> bool:
        try:
            lease = (await self.store.get(LEASE, self._namespace, self._name)).object()
        except NotFound:
            return await self._take()
        if not self._ours(lease):
            return False
        lease["spec"]["renewTime"] = now_micro()
        try:
            await self.store.update(LEASE, self._namespace, self._name, lease)
        except (Conflict, NotFound):
            return True  # the next renewal sees who it was
        return True

    async def _remove(self) -> bool:
        try:
            lease = (await self.store.get(LEASE, self._namespace, self._name)).object()
            if not self._ours(lease):
                return False
            meta = lease["metadata"]
            same = Preconditions(uid=meta["uid"], resource_version=meta["resourceVersion"])
            await self.store.delete(LEASE, self._namespace, self._name, preconditions=same)
        except (Conflict, NotFound):
            return False
        return True

    def _ours(self, lease: Object) -> bool:
        return bool(lease["metadata"].get("annotations", {}).get(_SESSION) == self._id)

    def _object(self) -> Object:
        meta = self.vm["metadata"]
        owner = {
            "apiVersion": self.vm["apiVersion"],
            "kind": self.vm["kind"],
            "name": meta["name"],
            "uid": meta["uid"],
        }
        return {
            "apiVersion": LEASE.api_version,
            "kind": LEASE.kind,
            "metadata": {
                "name": self._name,
                "namespace": self._namespace,
                "annotations": {_CLIENT: self.holder.client, _SESSION: self._id},
                "ownerReferences": [owner],
            },
            "spec": {
                "holderIdentity": self.holder.user,
                "leaseDurationSeconds": DURATION_SECONDS,
                "acquireTime": self.holder.since,
                "renewTime": now_micro(),
            },
        }
