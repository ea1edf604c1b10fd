"""Who does the cluster-wide work: one daemon at a time, by a Lease.

The rules it keeps: a lease is taken over only when its record did not change for the whole of its duration as seen
here, so clocks of different nodes never matter; and the holder stops believing in itself before anybody else may
take over, by a clock that goes on while the process is stopped. What it had begun by then is harmless because
every write of a controller is compare-and-set.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Awaitable, Callable

from hyperd.errors import AlreadyExists, Conflict, HyperdError, NotFound
from hyperd.resources.core.kinds import LEASE
from hyperd.resources.schema.kind import Object
from hyperd.resources.values.meta import now_micro
from hyperd.store.interface import Store

LEADER_LEASE = "hyperd-leader"
"""In the system's namespace; its holder does the cluster-wide work."""
_log = logging.getLogger(__name__)

_TRUSTED_SHARE = 2 / 3
"""Part of a lease's duration for which its holder counts on it."""
_RENEWALS = 6
"""How often in a lease's duration it is renewed, or tried for."""


def boot_clock() -> float:
    """Seconds that pass also while the host sleeps and while this process is stopped."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def identity_on(node: str) -> str:
    """What a process on ``node`` calls itself, unlike any other."""
    return f"{node}_{uuid.uuid4().hex[:12]}"


def node_of(lease: Object) -> str:
    """The node of the process that holds ``lease``; empty where none does."""
    return str((lease.get("spec") or {}).get("holderIdentity") or "").rpartition("_")[0]


class Leader:
    """A candidate for one Lease. ``run`` it; ask ``leads`` right before acting."""

    def __init__(
        self,
        store: Store,
        *,
        namespace: str,
        name: str,
        identity: str,
        seconds: float,
        clock: Callable[[], float] = boot_clock,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """``identity`` is unique to this process; ``seconds`` is the lease's duration."""
        self._store = store
        self._namespace = namespace
        self._name = name
        self._identity = identity
        self._seconds = seconds
        self._clock = clock
        self._sleep = sleep
        self._trusted_until = 0.0
        self._seen = ""
        self._seen_at = 0.0
        self._leading = False
        self._logged = ""
        self._changed: list[Callable[[bool], None]] = []

    def on_change(self, tell: Callable[[bool], None]) -> None:
        """Call ``tell`` with True when this process begins to lead, with False when it ends to."""
        self._changed.append(tell)

    def leads(self) -> bool:
        """Whether cluster-wide work is this process's now."""
        return self._clock() < self._trusted_until

    async def run(self) -> None:
        """Try for the lease, then keep it, until cancelled."""
        while True:
            began = self._clock()
            try:
                held = await asyncio.wait_for(self._hold(), self._seconds * _TRUSTED_SHARE)
            except (HyperdError, TimeoutError) as err:
                held = False
                self._complain(str(err) or "no answer")
            else:
                self._logged = ""
            if held:
                self._trusted_until = began + self._seconds * _TRUSTED_SHARE
            self._tell()
            await self._sleep(self._seconds / _RENEWALS)

    async def release(self) -> None:
        """Let go of the lease, so that another takes over at once; what cannot be told expires by itself."""
        self._trusted_until = 0.0
        was, self._leading = self._leading, False
        if not was:
            return
        try:
            async with asyncio.timeout(self._seconds / _RENEWALS):
                lease = (await self._store.get(LEASE, self._namespace, self._name)).object()
                if lease["spec"].get("holderIdentity") == self._identity:
                    lease["spec"].update(holderIdentity="", leaseDurationSeconds=1, renewTime=now_micro())
                    await self._store.update(LEASE, self._namespace, self._name, lease)
        except (HyperdError, TimeoutError) as err:
            _log.info("The leader's lease was not released: %s", err)

    async def _hold(self) -> bool:
        """One attempt to take or renew; whether the lease is ours now."""
        try:
            lease = (await self._store.get(LEASE, self._namespace, self._name)).object()
        except NotFound:
            return await self._create()
        version = lease["metadata"]["resourceVersion"]
        if version != self._seen:
            self._seen, self._seen_at = version, self._clock()
        spec = lease.setdefault("spec", {})
        holder = spec.get("holderIdentity") or ""
        if holder not in ("", self._identity):
            duration = float(spec.get("leaseDurationSeconds") or self._seconds)
            if self._clock() < self._seen_at + duration:
                self._trusted_until = 0.0
                return False
        if holder != self._identity:
            spec["leaseTransitions"] = int(spec.get("leaseTransitions") or 0) + 1
            spec["acquireTime"] = now_micro()
        spec.update(holderIdentity=self._identity, leaseDurationSeconds=self._whole, renewTime=now_micro())
        try:
            item = await self._store.update(LEASE, self._namespace, self._name, lease)
        except (Conflict, NotFound):
            return False
        self._seen, self._seen_at = item.resource_version, self._clock()
        return True

    async def _create(self) -> bool:
        now = now_micro()
        spec: Object = {
            "holderIdentity": self._identity,
            "leaseDurationSeconds": self._whole,
            "acquireTime": now,
            "renewTime": now,
            "leaseTransitions": 0,
        }
        body: Object = {
            "apiVersion": LEASE.api_version,
            "kind": LEASE.kind,
            "metadata": {"name": self._name, "namespace": self._namespace},
            "spec": spec,
        }
        try:
            await self._store.create(LEASE, self._namespace, body)
        except AlreadyExists:
            return False
        return True

    @property
    def _whole(self) -> int:
        return max(1, round(self._seconds))

    def _tell(self) -> None:
        leads = self.leads()
        if leads == self._leading:
            return
        self._leading = leads
        _log.info("This daemon %s the cluster-wide work.", "does" if leads else "no longer does")
        for tell in self._changed:
            tell(leads)

    def _complain(self, why: str) -> None:
        if why != self._logged:
            self._logged = why
            _log.warning("The leader's lease %s/%s cannot be held: %s", self._namespace, self._name, why)
